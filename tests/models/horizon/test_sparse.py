"""A program written through the voltages has the same answer as the one written in the controls alone."""

from __future__ import annotations

import pytest

from feederlab.controllers.mpc import Mpc
from feederlab.models.horizon import convex, model
from feederlab.simulate import simulate
from feederlab.testing import example_scenario


@pytest.mark.parametrize("objective", ["losses", "voltage_deviation", "substation_import=1+control_effort=0.01"])
def test_both_forms_have_one_answer(objective, monkeypatch):
    monkeypatch.setattr(model, "_DENSE", 0)
    solve, pairs = convex._solve, []

    def both(program, *rest):
        assert program.sparse
        through, program.sparse = program.sparse, ()
        dense = solve(program, *rest)
        program.sparse = through
        found = solve(program, *rest)
        pairs.append((found, dense))
        return found

    monkeypatch.setattr(convex, "_solve", both)
    scenario = example_scenario().resample("3h").window("2016-06-21 09:00", 4)
    run = simulate(scenario, Mpc(objective=objective, rounds=2)).data
    assert int(run.rung.max()) == 0
    assert len(pairs) > 8
    for found, dense in pairs:
        assert found.value == pytest.approx(dense.value, rel=1e-6, abs=1e-7)
