"""`opf:method=sqp`: Ipopt's answers, its starts, its deadline, and limits on loading."""

from dataclasses import replace

import numpy as np
import pytest
from test_opf import feeder, measure, task_of

from feederlab.controllers.ladder import HELD, PRIMARY
from feederlab.controllers.opf import Opf
from feederlab.controllers.registry import create
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.feeder import Feeder
from feederlab.models.setpoints import SetpointProblem

SITUATIONS = [(1.0, 0.0), (0.2, 1.0), (0.7, 0.6)]


@pytest.mark.parametrize("meshed", [False, True])
@pytest.mark.parametrize("objective", ["losses", "voltage_deviation"])
def test_decides_what_ipopt_decides(meshed: bool, objective: str) -> None:
    grid = feeder(meshed, pv=2.0)
    ours, reference = (Opf(method=m, certify=False).prepare(task_of(grid, objective)) for m in ("sqp", "ipopt"))
    for load, sun in SITUATIONS:
        mine, _ = ours.step(ours.initial_state(), measure(grid, load, sun))
        theirs, _ = reference.step(reference.initial_state(), measure(grid, load, sun))
        assert (mine.info.solver, mine.info.status, mine.info.rung) == ("sqp", "local", PRIMARY)
        assert mine.info.objective == pytest.approx(theirs.info.objective, rel=1e-6)
        assert mine.p_mw is None


def test_the_relaxation_certifies_and_is_a_start() -> None:
    grid = feeder(pv=3.0)
    tight, loose = (Opf(method="sqp", certify=True).prepare(task_of(grid, o)) for o in ("losses", "voltage_deviation"))
    certified, _ = tight.step(tight.initial_state(), measure(grid, 1.0, 0.0))
    assert (certified.info.solver, certified.info.status) == ("clarabel", "global")
    found, _ = loose.step(loose.initial_state(), measure(grid, 0.2, 1.0))
    assert (found.info.solver, found.info.rung) == ("sqp", PRIMARY)
    assert found.info.bound <= found.info.objective


def test_starts_where_it_was() -> None:
    grid = feeder()
    prepared = Opf(method="sqp").prepare(task_of(grid))
    first, state = prepared.step(prepared.initial_state(), measure(grid, 0.8))
    again, _ = prepared.step(state, measure(grid, 0.8))
    assert again.info.iterations == 1 < first.info.iterations
    np.testing.assert_allclose(again.q_mvar, first.q_mvar, atol=1e-6)


@pytest.mark.parametrize("deadline_ms", [0.6, 2.0, 500.0])
def test_a_deadline_never_costs_more_than_standing_still(deadline_ms: float) -> None:
    grid = feeder(pv=2.0)
    task = task_of(grid, band=(0.98, 1.02))
    prepared = Opf(method="sqp", deadline_ms=deadline_ms).prepare(task)
    problem = SetpointProblem(grid, task.band, task.objective, task.voltage_penalty)
    rng, state, ends = np.random.default_rng(1), prepared.initial_state(), []
    for _ in range(25):
        now = measure(grid, float(rng.uniform(0.1, 1.2)), float(rng.uniform(0, 1)))
        point = now.operating_point(task)
        held = problem.verify(point, *problem.feasible(point, state["q_mvar"]))[0]
        made, state = prepared.step(state, now)
        cost = problem.verify(point, *problem.feasible(point, made.q_mvar))[0]
        assert made.info.rung == PRIMARY
        assert cost == pytest.approx(made.info.objective, rel=1e-9)
        assert cost <= held * (1 + 1e-9)
        ends.append(made.info.status)
    assert set(ends) <= {"local", "out of time"}
    if deadline_ms > 100:
        assert set(ends) == {"local"}
    if deadline_ms < 1:  # most of it is kept back to hand the answer over
        assert "out of time" in ends


def test_a_collapsing_grid_holds_the_last_setpoints() -> None:
    grid = feeder()
    prepared = Opf(method="sqp").prepare(task_of(grid))
    first, state = prepared.step(prepared.initial_state(), measure(grid, 0.7))
    collapsed, _ = prepared.step(state, measure(grid, 60.0))
    assert collapsed.info.rung == HELD
    np.testing.assert_array_equal(collapsed.q_mvar, first.q_mvar)


def rated(pv: float) -> Feeder:
    """The 33-bus feeder with exports, every line rated at 0.1 kA."""
    grid = feeder(pv=pv)
    limit = np.full(len(grid.branches), 0.1)
    return replace(grid, branches=replace(grid.branches, i_max_f_ka=limit, i_max_t_ka=limit))


@pytest.mark.parametrize("method", ["ipopt", "sqp"])
def test_a_loading_limit_is_kept_and_its_setpoints_are_no_longer_the_relaxations(method: str) -> None:
    grid = rated(4.0)
    task, now = task_of(grid, "curtailment=1+losses=0.1", band=(0.9, 1.1)), measure(grid, 0.3, 1.0)
    point = now.operating_point(task)
    made = {}
    for percent in (0.0, 90.0):
        prepared = Opf(method=method, certify=True, curtail=True, max_loading_percent=percent).prepare(task)
        made[percent], _ = prepared.step(prepared.initial_state(), now)
    free = SetpointProblem(grid, task.band, task.objective, task.voltage_penalty, curtail=True)
    loads = {k: np.nanmax(free.solve(point, m.q_mvar, m.p_mw).loading_percent()) for k, m in made.items()}
    assert loads[0.0] > 95.0
    assert loads[90.0] == pytest.approx(90.0, abs=1e-3)
    assert made[90.0].info.solver == method
    assert made[90.0].info.bound <= made[90.0].info.objective  # a bound without limits is still one
    assert made[0.0].info.objective < made[90.0].info.objective


@pytest.mark.parametrize("pv", [1.0, 3.0])
def test_both_methods_keep_a_loading_limit_at_like_cost(pv: float) -> None:
    """There are several local optima: neither method finds the better one every time."""
    grid = rated(pv)
    task, now = task_of(grid, "curtailment=1+losses=0.1", band=(0.9, 1.1)), measure(grid, 0.3, 1.0)
    problem = SetpointProblem(
        grid, task.band, task.objective, task.voltage_penalty, curtail=True, max_loading_percent=70.0
    )
    prices = []
    for method in ("ipopt", "sqp"):
        prepared = Opf(method=method, curtail=True, max_loading_percent=70.0).prepare(task)
        made, _ = prepared.step(prepared.initial_state(), now)
        point = now.operating_point(task)
        solved = problem.solve(point, made.q_mvar, made.p_mw)
        prices.append(problem.price(point, solved, made.q_mvar, made.p_mw))
        assert prices[-1].excess + prices[-1].overload < 1e-6
        assert np.nanmax(solved.loading_percent()) < 70.01
    assert prices[1].cost <= prices[0].cost * (1 + 5e-3)


def test_refuses_settings_that_cannot_be_meant() -> None:
    with pytest.raises(InputError, match="deadline_ms needs method=sqp"):
        Opf(deadline_ms=20.0)
    with pytest.raises(InputError, match="must be 0 \\(none\\) or positive"):
        Opf(method="sqp", deadline_ms=-1.0)
    with pytest.raises(InputError, match="must be 0 \\(none\\) or positive"):
        Opf(max_loading_percent=-5.0)
    with pytest.raises(UnknownNameError, match="opf method"):
        Opf(method="snopt")
    with pytest.raises(InputError, match="method must be"):
        create("opf:method=snopt")
    grid = feeder()
    unlimited = np.full(len(grid.branches), np.nan)
    bare = replace(grid, branches=replace(grid.branches, i_max_f_ka=unlimited, i_max_t_ka=unlimited))
    with pytest.raises(InputError, match="no line or transformer"):
        Opf(max_loading_percent=80.0).prepare(task_of(bare))
