"""The reduced-space method against Ipopt, under a deadline, and on days when nothing helps."""

import time

import numpy as np
import pandapower
import pandapower.networks as networks
import pytest
from grids import random_nets
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.reduced.model import ReducedModel
from feederlab.models.reduced.sqp import Sqp, SqpResult
from feederlab.models.scenario import band_of
from feederlab.models.scoring import voltage_penalty
from feederlab.models.setpoints import SetpointProblem
from strategies import operating_points, radial_feeders

OBJECTIVES = [
    "losses", "voltage_deviation", "substation_import", "losses=1+control_effort=0.02", "curtailment=1+losses=1",
]  # fmt: skip


def problem_of(feeder: Feeder, objective: str, band: tuple[float, float], **limits) -> SetpointProblem:
    wanted = Objective.parse(objective)
    return SetpointProblem(feeder, band_of(feeder, band), wanted, voltage_penalty(wanted, feeder), **limits)


def solved(problem: SetpointProblem, point: OperatingPoint, **options) -> SqpResult:
    """From q = 0 and all available power."""
    model = ReducedModel(problem)
    q, p = problem.feasible(point, np.zeros(len(problem.feeder.inverters)))
    return Sqp().solve(model, point, model.evaluate(point, model.position(q, p)), **options)


def by_ipopt(problem: SetpointProblem, point: OperatingPoint, max_loading_percent: float = 0.0) -> float:
    model = AcOpf(
        problem.feeder, problem.band, problem.objective, problem.voltage_penalty, curtail=problem.curtail,
        max_loading_percent=max_loading_percent,
    )  # fmt: skip
    found = model.solve(point)
    assert found.solved
    return model.verify(point, *model.feasible(point, found.q_mvar, found.p_mw))[0]


def loaded(grid: Feeder, load: float, sun: float) -> OperatingPoint:
    total = np.zeros(grid.n_nodes, dtype=complex)
    np.add.at(total, grid.loads.node, load * (grid.loads.p_mw + 1j * grid.loads.q_mvar))
    return OperatingPoint(total, sun * grid.inverters.p_mw, grid.slack_vm)


def case33(pv: float = 1.0) -> Feeder:
    net = networks.case33bw()
    for bus, p in ((12, 0.5), (17, 0.6), (21, 0.4), (24, 1.0), (32, 0.5)):
        pandapower.create_sgen(net, bus, p_mw=pv * p, sn_mva=1.2 * pv * p, controllable=True)
    return Feeder.from_pandapower(net)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_equals_ipopt_on_random_feeders(data) -> None:
    if data.draw(st.booleans()):
        feeder = data.draw(radial_feeders(6))
    else:
        feeder = Feeder.from_pandapower(data.draw(random_nets(meshed=True))[0])
    point = data.draw(operating_points(feeder))
    band = data.draw(st.sampled_from([(0.95, 1.05), (0.98, 1.02), (1.0, 1.01)]))
    problem = problem_of(feeder, data.draw(st.sampled_from(OBJECTIVES)), band, curtail=data.draw(st.booleans()))
    found = solved(problem, point)
    scale = max(abs(found.best.cost), 1e-3 * problem.unit_cost)
    assert found.best.cost <= by_ipopt(problem, point) + 1e-5 * scale
    assert found.iterations <= 30


@pytest.mark.parametrize("name", ["mapdn33", "mapdn141", "mapdn322"])
def test_equals_ipopt_on_the_library_networks(scenario, name: str) -> None:
    whole = scenario(name)
    for when in ("2016-01-20 18:30", "2016-06-13 10:00"):  # one with low voltages, one at the upper limit
        window = whole.window(when, 1)
        series, task = window.series(), window.task()
        point = OperatingPoint(series.load_mva[0], series.p_available_mw[0], float(series.slack_vm[0]))
        problem = SetpointProblem(window.feeder, task.band, task.objective, task.voltage_penalty)
        found = solved(problem, point)
        assert found.status == "converged"
        assert found.iterations <= 10
        assert found.best.cost == pytest.approx(by_ipopt(problem, point), rel=1e-6)


def test_what_cannot_be_brought_into_band_ends_soon(scenario) -> None:
    """Half as much sun again as the sunniest noon: 1.17 p.u. whatever the inverters do."""
    window = scenario("mapdn322").window("2016-05-26 11:45", 1)
    series, task = window.series(), window.task()
    sun = np.minimum(1.5 * series.p_available_mw[0], window.feeder.inverters.s_mva)
    point = OperatingPoint(series.load_mva[0], sun, float(series.slack_vm[0]))
    problem = SetpointProblem(window.feeder, task.band, task.objective, task.voltage_penalty)
    found = solved(problem, point)
    assert found.status == "converged"
    assert found.iterations <= 6
    assert found.best.price.excess > 1.0
    assert found.best.cost == pytest.approx(by_ipopt(problem, point), rel=1e-6)


def test_stops_at_its_deadline_no_worse_than_it_started() -> None:
    grid = case33(pv=3.0)
    problem = problem_of(grid, "losses", (0.98, 1.02))
    model, rng = ReducedModel(problem), np.random.default_rng(0)
    optimum, reached = {}, []
    for k in range(40):
        point = loaded(grid, float(rng.uniform(0.1, 1.2)), float(rng.uniform(0.0, 1.0)))
        start = model.evaluate(point, model.project(point, rng.uniform(-1, 1, model.size)))
        optimum[k] = Sqp().solve(model, point, start).best.cost
        budget = float(rng.choice([0.0, 1e-3, 3e-3, 1.0]))
        found = Sqp().solve(model, point, start, deadline=time.perf_counter() + budget)
        cost, _ = problem.verify(point, found.best.q_mvar, found.best.p_mw)
        assert cost == pytest.approx(found.best.cost, rel=1e-9)
        assert optimum[k] * (1 - 1e-6) <= cost <= start.cost * (1 + 1e-9)
        if budget == 0.0:
            assert (found.status, found.iterations) == ("out of time", 0)
            assert found.best is start
        reached.append(found.status == "converged")
    assert any(reached)


def test_an_iteration_that_would_not_fit_is_not_begun() -> None:
    grid = case33()
    model, point = ReducedModel(problem_of(grid, "losses", (0.95, 1.05))), loaded(grid, 1.0, 0.5)
    start = model.evaluate(point, np.zeros(model.size))
    found = Sqp().solve(model, point, start, deadline=time.perf_counter() + 1.0, pace_s=2.0)
    assert (found.status, found.flows) == ("out of time", 0)


def test_a_grid_that_collapses_has_no_answer() -> None:
    grid = case33()
    found = solved(problem_of(grid, "losses", (0.95, 1.05)), loaded(grid, 60.0, 0.0))
    assert (found.status, found.best.cost) == ("no power flow", np.inf)


def test_beats_a_grid_search_with_curtailment_and_a_loading_limit() -> None:
    """One inverter behind a thin cable, its setpoints tried one by one."""
    net = pandapower.create_empty_network()
    a, b = pandapower.create_bus(net, 0.4), pandapower.create_bus(net, 0.4)
    pandapower.create_ext_grid(net, a, vm_pu=1.02)
    pandapower.create_line(net, a, b, 0.3, "NAYY 4x50 SE")  # 142 A: 98 kVA
    pandapower.create_load(net, b, 0.01, 0.004)
    pandapower.create_sgen(net, b, p_mw=0.12, sn_mva=0.13, controllable=True)
    grid = Feeder.from_pandapower(net)
    problem = problem_of(grid, "curtailment=1+losses=0.1", (0.95, 1.05), curtail=True, max_loading_percent=80.0)
    point = loaded(grid, 1.0, 1.0)
    found = solved(problem, point)
    p, q = (axis.ravel() for axis in np.meshgrid(np.linspace(0.0, 0.12, 121), np.linspace(-0.13, 0.13, 131)))
    inside = p**2 + q**2 <= 0.13**2
    tried = [problem.verify(point, np.array([y]), np.array([x]))[0] for x, y in zip(p[inside], q[inside], strict=True)]
    assert found.best.cost <= min(tried) + 1e-9
    assert found.best.cost >= min(tried) - 2e-3  # what one step of the grid makes
    assert found.best.price.excess + found.best.price.overload < 1e-7
    assert found.best.p_mw[0] < 0.119
    assert found.best.cost == pytest.approx(by_ipopt(problem, point, 80.0), rel=1e-5)
