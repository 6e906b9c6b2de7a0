"""Setpoints of the relaxation: optimal where it is tight, checked in AC where it is not."""

from __future__ import annotations

import numpy as np
import pytest

import toy
from feederlab.controllers.ladder import CONVEX, PRIMARY
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.socp import Socp
from feederlab.errors import InputError
from feederlab.models.objective import Objective
from feederlab.simulate import RunOptions, simulate


@pytest.fixture(scope="module")
def scenario():
    return toy.short(8)


def cost(result) -> np.ndarray:
    return (result.data.realised + result.data.penalty).to_numpy()


def test_tight_steps_are_certified_optima(scenario):
    result = simulate(scenario, Socp())
    assert (result.data.rung == PRIMARY).all()
    assert (result.data.status == "tight").all()
    assert (result.data.cone_gap < 1e-5).all()
    assert cost(result) == pytest.approx(result.data.bound.to_numpy(), rel=1e-5)
    assert (result.data.bound <= cost(result) * (1 + 1e-8)).all()
    assert (result.data.voltage_excess < 1e-7).all()
    assert (result.data.clipped == 0).all()


def test_loose_steps_are_priced_in_ac(scenario):
    """Voltage deviation under reverse flow without a price of losses: the relaxation alone would do harm."""
    options = RunOptions(objective=Objective.parse("voltage_deviation"))
    result = simulate(scenario, Socp(loss_weight=0.0), options)
    linear = simulate(scenario, LinDistFlow(), options)
    loose = result.data.cone_gap.to_numpy() > Socp().gap_tol
    assert loose.any()
    assert (result.data.rung.to_numpy()[loose] == CONVEX).any()
    assert cost(result).sum() <= cost(linear).sum() * 1.05
    assert (result.data.bound <= cost(result) + 1e-9).all()
    # The decision's own objective is the AC cost, which the plant then realises.
    assert result.data.objective.to_numpy()[loose] == pytest.approx(cost(result)[loose], rel=1e-6)


def test_relaxation_alone_is_what_the_fallback_protects_from(scenario):
    options = RunOptions(objective=Objective.parse("voltage_deviation"))
    trusting = simulate(scenario, Socp(loss_weight=0.0, gap_tol=1e9), options)
    careful = simulate(scenario, Socp(loss_weight=0.0), options)
    assert (trusting.data.rung == PRIMARY).all()
    assert cost(careful).sum() < 0.9 * cost(trusting).sum()


def test_own_objective_and_curtailment(scenario):
    result = simulate(scenario, Socp(objective="curtailment=1+losses=10", curtail=True))
    assert (result.data.voltage_excess < 1e-6).all()
    assert float((result.data.p_available_mw - result.data.p_mw).sum()) > 0


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="gap_tol"):
        Socp(gap_tol=0.0)
