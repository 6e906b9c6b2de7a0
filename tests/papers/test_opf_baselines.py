"""Reference values of power flow and optimal power flow."""

from __future__ import annotations

import numpy as np
import pandapower
import pytest

from feederlab.models.matpower_case import BR_R, BR_X, F_BUS, PD, QD, T_BUS, read_tables
from feederlab.papers import opf_baselines
from feederlab.papers.feeders import case33bw, compensated
from feederlab.papers.opf_baselines import COMPENSATION, OPTIMA, OpfBaselines
from feederlab.papers.reproduction import Reproduced


@pytest.fixture(scope="module")
def found() -> Reproduced:
    return OpfBaselines(cases=("case5", "case9"), networks=("case33",), steps=4).run()


def test_reported_values_are_reached(found: Reproduced) -> None:
    losses = [row for row in found.rows if row.row != "AC optimum above bound" and row.quantity != "relative gap"]
    assert len(losses) == 8 + len(COMPENSATION) + 2
    assert [row for row in losses if not row.agrees] == []
    assert all("agrees to the digits reported" in row.why for row in losses)


def test_bounds_close(found: Reproduced) -> None:
    table = found.tables["Reactive compensation of case33bw"]
    assert (table["gap"].abs() < 1e-6).all()
    assert (table["bound kW"] <= table["losses kW"] * (1 + 1e-8)).all()
    worst = next(row for row in found.rows if row.case == "case33")
    assert worst.reproduced < 1e-3
    assert worst.n == 4
    assert "4 of 4 steps within" in worst.why


def test_a_wrong_reference_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMA, "case9", (5296.5, 3))
    row, _ = opf_baselines._optimum("case9")
    assert row.why.startswith("differs by +0.186 $/h")


def test_the_two_feeders_of_33_buses_differ_in_one_line() -> None:
    ohm = {}
    for name in ("case33bw", "case33mg"):
        case = read_tables(name)
        ohm[name] = case.branch[:, [BR_R, BR_X]] * 12.66**2 / case.base_mva
    ours, theirs = read_tables("case33bw"), read_tables("case33mg")
    np.testing.assert_array_equal(ours.branch[:, [F_BUS, T_BUS]], theirs.branch[:, [F_BUS, T_BUS]])
    np.testing.assert_allclose(ours.bus[:, [PD, QD]], theirs.bus[:, [PD, QD]], atol=1e-12)
    different = ~np.isclose(ohm["case33bw"], ohm["case33mg"], rtol=1e-6).all(axis=1)
    assert ours.branch[different][:, [F_BUS, T_BUS]].tolist() == [[7, 8]]


def test_reconfigured_feeder_by_pandapower() -> None:
    net = case33bw((7, 9, 14, 32, 37))
    assert sorted(net.line.index[~net.line.in_service] + 1) == [7, 9, 14, 32, 37]
    pandapower.runpp(net, numba=False)
    assert 1e3 * net.res_line.pl_mw.sum() == pytest.approx(139.551, abs=6e-4)


def test_compensation_by_pandapower() -> None:
    """The losses at the setpoints that the table prints, by another power flow."""
    net = compensated((12, 30))
    net.sgen["q_mvar"] = [0.469, 1.058]
    pandapower.runpp(net, numba=False)
    assert 1e3 * net.res_line.pl_mw.sum() == pytest.approx(135.753, abs=6e-4)


@pytest.mark.slow
def test_all_of_it() -> None:
    found = OpfBaselines().run()
    assert found.seconds < 180
    for row in found.rows:
        if np.isfinite(row.reported) and row.unit == "$/h":
            assert row.reproduced == pytest.approx(row.reported, rel=1e-6)
        elif np.isfinite(row.reported) and row.unit in ("kW", "p.u."):
            assert row.agrees
        elif np.isfinite(row.reported):
            assert row.reproduced <= row.reported
