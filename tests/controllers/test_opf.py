"""The OPF controller: certified where the relaxation is exact, polished elsewhere, and never without an answer."""

from dataclasses import replace

import numpy as np
import pandapower
import pandapower.networks as networks
import pandas as pd
import pytest

from feederlab.controllers.base import ControlTask, Measurement
from feederlab.controllers.ladder import CONVEX, HELD, LOOSER, PRIMARY
from feederlab.controllers.opf import Opf
from feederlab.errors import InputError
from feederlab.models.acopf.ipopt import Ipopt
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.scenario import Scenario, band_of
from feederlab.models.scoring import voltage_penalty
from feederlab.simulate import RunOptions, simulate


def feeder(meshed: bool = False, pv: float = 1.0) -> Feeder:
    net = networks.case33bw()
    net.line["in_service"] |= meshed
    for bus, p in ((12, 0.5), (17, 0.6), (21, 0.4), (24, 1.0), (32, 0.5)):
        pandapower.create_sgen(net, bus, p_mw=pv * p, sn_mva=1.2 * pv * p, controllable=True)
    return Feeder.from_pandapower(net)


def task_of(grid: Feeder, objective: str = "losses", band: tuple[float, float] = (0.95, 1.05)) -> ControlTask:
    wanted = Objective.parse(objective)
    return ControlTask(
        feeder=grid, nodes=grid.n_nodes, inverters=grid.inverters, storages=grid.storages, capacitors=grid.capacitors,
        tap_changers=grid.tap_changers, band=band_of(grid, band), zone=grid.node_zone, step_s=180.0,
        objective=wanted, voltage_penalty=voltage_penalty(wanted, grid),
    )  # fmt: skip


def measure(grid: Feeder, load: float = 1.0, sun: float = 1.0) -> Measurement:
    total = np.zeros(grid.n_nodes, dtype=complex)
    np.add.at(total, grid.loads.node, load * (grid.loads.p_mw + 1j * grid.loads.q_mvar))
    n, none = len(grid.inverters), np.zeros(0)
    return Measurement(
        time=pd.Timestamp("2016-06-21 12:00"), settle_round=0, vm=np.ones(grid.n_nodes), load_p_mw=total.real,
        load_q_mvar=total.imag, slack_vm=grid.slack_vm, p_available_mw=sun * grid.inverters.p_mw,
        p_mw=sun * grid.inverters.p_mw, q_mvar=np.zeros(n), storage_p_mw=none, storage_q_mvar=none, soc=none,
        tap=none.astype(int), step=none.astype(int),
    )  # fmt: skip


@pytest.mark.parametrize("curtail", [False, True])
def test_certified_setpoints_are_those_of_ipopt(curtail: bool) -> None:
    grid = feeder()
    certified, exact = (Opf(certify=c, curtail=curtail).prepare(task_of(grid)) for c in (True, False))
    for load, sun in ((1.0, 0.0), (0.3, 0.6), (0.7, 1.0)):
        one, _ = certified.step(certified.initial_state(), measure(grid, load, sun))
        two, _ = exact.step(exact.initial_state(), measure(grid, load, sun))
        assert (one.info.solver, one.info.status, one.info.rung) == ("clarabel", "global", PRIMARY)
        assert (two.info.solver, two.info.status) == ("ipopt", "local")
        assert one.info.objective == pytest.approx(two.info.objective, rel=3e-6)
        assert one.info.bound <= two.info.objective * (1 + 1e-6)
        assert np.isnan(two.info.bound)
        np.testing.assert_allclose(one.q_mvar, two.q_mvar, atol=3e-3)
        assert (one.p_mw is None) is not curtail


def test_polishes_what_the_relaxation_gets_wrong() -> None:
    """Under reverse flow and with voltage deviation as the objective the relaxation invents current."""
    grid = feeder(pv=3.0)
    task = task_of(grid, "voltage_deviation")
    prepared = Opf().prepare(task)
    setpoints, _ = prepared.step(prepared.initial_state(), measure(grid, 0.2, 1.0))
    relaxed = prepared.relaxation.solve(measure(grid, 0.2, 1.0).operating_point(task))
    cost, _ = prepared.model.verify(measure(grid, 0.2, 1.0).operating_point(task), relaxed.q_mvar, relaxed.p_mw)
    assert setpoints.info.solver == "ipopt"
    assert setpoints.info.rung == PRIMARY
    assert setpoints.info.bound <= setpoints.info.objective < cost - 1e-6


def test_an_unreachable_band_is_a_normal_day() -> None:
    grid = feeder()
    prepared = Opf().prepare(task_of(grid, band=(1.01, 1.02)))
    setpoints, state = prepared.step(prepared.initial_state(), measure(grid, 1.5, 0.0))
    assert setpoints.info.rung == PRIMARY
    assert setpoints.info.objective > 1.0
    assert np.isfinite(setpoints.q_mvar).all()
    assert not len(state["warm_x"])  # out of band, the next step starts afresh


def test_meshed_feeder_needs_no_relaxation_and_starts_warm() -> None:
    grid = feeder(meshed=True)
    prepared = Opf().prepare(task_of(grid))
    first, state = prepared.step(prepared.initial_state(), measure(grid, 0.8))
    second, _ = prepared.step(state, measure(grid, 0.82))
    cold, _ = prepared.step(prepared.initial_state(), measure(grid, 0.82))
    assert (first.info.solver, first.info.status) == ("ipopt", "local")
    assert np.isnan(first.info.bound)
    assert second.info.objective == pytest.approx(cold.info.objective, rel=1e-6)
    assert second.info.iterations < cold.info.iterations


def test_lost_readings_are_the_last_ones() -> None:
    grid = feeder()
    prepared = Opf().prepare(task_of(grid))
    good = measure(grid, 0.6, 0.5)
    first, state = prepared.step(prepared.initial_state(), good)
    nothing = np.full(grid.n_nodes, np.nan)
    lost = replace(
        good, vm=nothing, load_p_mw=nothing, load_q_mvar=nothing, slack_vm=np.nan,
        p_available_mw=np.full(len(grid.inverters), np.nan),
    )  # fmt: skip
    second, _ = prepared.step(state, lost)
    np.testing.assert_allclose(second.q_mvar, first.q_mvar, atol=1e-6)


def test_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ipopt failing at its tolerance, then altogether, then the relaxation too."""
    grid = feeder()
    prepared = Opf(tol=1e-15).prepare(task_of(grid))  # nothing is certified
    primary = prepared.step(prepared.initial_state(), measure(grid, 0.7))[0].info
    assert primary.rung == PRIMARY
    solve, exact = Ipopt.solve, prepared.model.ipopt.tol

    def stumbling(self: Ipopt, *given: object):
        result = solve(self, *given)
        return result if self.tol > exact else replace(result, solved=False)

    monkeypatch.setattr(Ipopt, "solve", stumbling)
    looser, state = prepared.step(prepared.initial_state(), measure(grid, 0.7))
    assert (looser.info.rung, looser.info.objective) == (LOOSER, pytest.approx(primary.objective, rel=1e-3))
    monkeypatch.setattr(Ipopt, "solve", lambda self, *given: replace(solve(self, *given), solved=False))
    convex, _ = prepared.step(prepared.initial_state(), measure(grid, 0.7))
    assert (convex.info.rung, convex.info.solver) == (CONVEX, "clarabel")
    relaxed = prepared.relaxation.solve(measure(grid, 0.7).operating_point(prepared.task))
    monkeypatch.setattr(prepared.relaxation, "solve", lambda point: replace(relaxed, status="failed"))
    held, _ = prepared.step(state, measure(grid, 0.7))
    assert held.info.rung == HELD
    np.testing.assert_array_equal(held.q_mvar, looser.q_mvar)


def test_a_collapsing_grid_holds_the_last_setpoints_within_its_time() -> None:
    grid = feeder()
    prepared = Opf(max_time_s=0.5).prepare(task_of(grid))
    first, state = prepared.step(prepared.initial_state(), measure(grid, 0.7))
    collapsed, _ = prepared.step(state, measure(grid, 60.0))
    assert collapsed.info.rung == HELD
    assert collapsed.info.solver_time_s < 5.0
    np.testing.assert_array_equal(collapsed.q_mvar, first.q_mvar)


def test_closed_loop_keeps_the_band_and_never_beats_its_bound() -> None:
    grid = feeder(pv=1.5)
    hour = np.arange(0.0, 24.0, 1.0)
    times = pd.date_range("2016-06-21", periods=24, freq="1h")
    demand = 0.5 + 0.3 * np.exp(-((hour - 19) ** 2) / 8)
    sun = np.maximum(0.0, np.sin((hour - 5) / 15 * np.pi))
    load = pd.DataFrame(demand[:, None] * grid.loads.p_mw, times, grid.loads.index)
    profiles = {
        ("load", "p_mw"): load,
        ("load", "q_mvar"): pd.DataFrame(demand[:, None] * grid.loads.q_mvar, times, grid.loads.index),
        ("sgen", "p_mw"): pd.DataFrame(sun[:, None] * grid.inverters.p_mw, times, grid.inverters.index),
    }
    scenario = Scenario.build(grid, profiles, band=(0.95, 1.05))
    data = simulate(scenario, Opf(), RunOptions()).data
    idle = simulate(scenario, Opf(certify=False), RunOptions()).data
    assert (data["rung"] == PRIMARY).all()
    assert float(data["voltage_excess"].max()) < 1e-6
    assert float(data["clipped"].max()) == 0
    assert (data["losses_mw"] >= data["bound"] * (1 - 1e-8) - 1e-9).all()
    np.testing.assert_allclose(data["losses_mw"], idle["losses_mw"], rtol=1e-4)


def test_refuses_what_can_be_known_to_be_impossible() -> None:
    with pytest.raises(InputError, match="objective 'cost'"):
        Opf().prepare(replace(task_of(feeder()), objective=Objective((("cost", 1.0),))))
    with pytest.raises(InputError, match="must be positive"):
        Opf(tol=0.0)
