"""LinDistFlow setpoints: known answers, both expansions, lost readings, and the fallback ladder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import toy
from feederlab.controllers.base import Measurement
from feederlab.controllers.ladder import HELD, climb_down, complete, initial_memory
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.none import NoControl
from feederlab.controllers.socp import Socp
from feederlab.errors import InputError, NotRadialError
from feederlab.models.branchflow.linear_setpoints import LinearSetpoints
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.coneprogram import ConeProgram
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import engine
from feederlab.simulate import simulate


def total(result) -> float:
    return float((result.data.realised + result.data.penalty).sum())


@pytest.fixture(scope="module")
def scenario():
    return toy.short(12)


@pytest.fixture(scope="module")
def best(scenario):
    """Each step's cost at the relaxation's setpoints, which are exact on this feeder."""
    return simulate(scenario, Socp())


def test_comes_close_to_the_optimum(scenario, best):
    """The linear model neglects losses' own effect on voltages only: within 1 % of the optimal losses."""
    result, idle = simulate(scenario, LinDistFlow()), simulate(scenario, NoControl())
    assert float(result.data.losses_mw.sum()) == pytest.approx(float(best.data.losses_mw.sum()), rel=1e-2)
    assert float(result.data.voltage_excess.max()) < 0.02 * float(idle.data.voltage_excess.max())


def test_repeated_measurements_remove_the_offset(scenario):
    """At a standing operating point the expansion about the measurement settles on the band's edge."""
    task, series = scenario.task(), scenario.series()
    prepared = LinDistFlow(margin=0.0).prepare(task)
    load, p = 0.3 * series.load_mva[4], series.p_available_mw[4]
    point, flow = OperatingPoint(load, p, 1.0), engine(scenario.feeder)
    state, q = prepared.initial_state(), np.zeros(len(p))
    highest = []
    for _ in range(6):
        vm = flow.solve(point.injection_mva(scenario.feeder, p, q), slack_vm=1.0).vm
        highest.append(vm.max())
        made, state = prepared.step(state, measured(scenario, vm, load, p, q))
        q = made.q_mvar
    assert highest[0] > 1.06
    assert highest[-1] == pytest.approx(1.05, abs=1e-5)


def measured(scenario, vm, load, p, q):
    none = np.zeros(0)
    return Measurement(
        scenario.times[0], 0, vm, load.real, load.imag, 1.0, p, p, q, none, none, none,
        none.astype(int), none.astype(int),
    )  # fmt: skip


def test_flat_needs_no_voltage(scenario):
    task, series = scenario.task(), scenario.series()
    load, p = series.load_mva[0], series.p_available_mw[0]
    prepared = LinDistFlow(about="flat").prepare(task)
    blind = measured(scenario, np.full(task.nodes, np.nan), load, p, np.zeros(len(p)))
    seeing = replace(blind, vm=np.ones(task.nodes))
    a, _ = prepared.step(prepared.initial_state(), blind)
    b, _ = prepared.step(prepared.initial_state(), seeing)
    assert a.q_mvar == pytest.approx(b.q_mvar)


def test_lost_voltages_take_the_models(scenario):
    task, series = scenario.task(), scenario.series()
    load, p = series.load_mva[0], series.p_available_mw[0]
    prepared = LinDistFlow().prepare(task)
    made, state = prepared.step(
        prepared.initial_state(), measured(scenario, np.full(task.nodes, np.nan), load, p, np.zeros(len(p)))
    )
    assert made.info.rung == 0
    assert np.isfinite(made.q_mvar).all()
    everything_lost = measured(scenario, np.full(task.nodes, np.nan), load * np.nan, p * np.nan, p * np.nan)
    again, _ = prepared.step(state, everything_lost)
    assert np.isfinite(again.q_mvar).all()


def test_curtailment_only_when_allowed(scenario):
    task, series = scenario.task(), scenario.series()
    point = OperatingPoint(0.2 * series.load_mva[4], 1.2 * series.p_available_mw[4], 1.0)
    flow = BranchFlow.of(scenario.feeder)
    tight = np.repeat([[0.99], [1.005]], task.nodes, axis=1)
    goal = Objective.parse("curtailment=1+losses=0.1")
    for curtail in (False, True):
        program = LinearSetpoints(flow, tight, goal, 1e4, curtail=curtail)
        q, p, solved = program.solve(point, program.at_rest(point))
        assert solved.usable
        assert (np.hypot(p, q) <= scenario.feeder.inverters.s_mva * (1 + 1e-12)).all()
        assert (p < point.p_available_mw - 1e-3).any() == curtail


@pytest.mark.parametrize("objective", ["losses", "voltage_deviation", "control_effort=1+losses=1"])
def test_gradient_and_curvature_are_those_of_the_model(scenario, objective):
    """No small step within the limits improves the model's own objective, evaluated state by state."""
    series, flow = scenario.series(), BranchFlow.of(scenario.feeder)
    wide = np.repeat([[0.5], [1.5]], scenario.feeder.n_nodes, axis=1)
    program = LinearSetpoints(flow, wide, Objective.parse(objective), 1.0)
    point = OperatingPoint(series.load_mva[0], 0.2 * series.p_available_mw[0], 1.0)
    q, p, _ = program.solve(point, program.at_rest(point))
    room = np.sqrt(scenario.feeder.inverters.s_mva**2 - p**2)

    def cost(q_mvar):
        take = flow.consumption(point.injection_mva(scenario.feeder, p, q_mvar))
        state = program.model.solve(take, 1.0)
        w = program.model.solve(0 * take, 1.0).v[scenario.feeder.tree.parent] / flow.ratio2
        # Losses at the no-load voltages, and how they change with the voltage at the expansion.
        at_rest = program.at_rest(point)
        i2 = (at_rest.p_flow**2 + at_rest.q_flow**2) / at_rest.w**2
        losses = flow.r @ ((state.p**2 + state.q**2) / w) - flow.r @ (i2 * state.v[scenario.feeder.tree.parent])
        goal = Objective.parse(objective)
        return (
            goal.weight("losses") * scenario.feeder.base_mva * losses
            + goal.weight("voltage_deviation") * ((state.v - 1) ** 2).sum()
            + goal.weight("control_effort") * ((q_mvar / scenario.feeder.inverters.s_mva) ** 2).sum()
        )

    best = cost(q)
    for k in range(len(q)):
        for step in (-0.02, 0.02):
            moved = q.copy()
            moved[k] = np.clip(moved[k] + step, -room[k], room[k])
            assert cost(moved) >= best - 1e-9 * abs(best)


def test_clarabel_answers_when_piqp_does_not(scenario, monkeypatch):
    task = scenario.task()
    series = scenario.series()
    program = LinearSetpoints(BranchFlow.of(scenario.feeder), task.band, task.objective, task.voltage_penalty)
    point = OperatingPoint(series.load_mva[0], series.p_available_mw[0], 1.0)
    q, _, first = program.solve(point, program.at_rest(point))
    solve = ConeProgram.solve

    def fail_piqp(self, **parameters):
        found = solve(self, **parameters)
        return replace(found, status="failed") if found.solver == "piqp" else found

    monkeypatch.setattr(ConeProgram, "solve", fail_piqp)
    q2, _, second = program.solve(point, program.at_rest(point))
    assert (first.solver, second.solver) == ("piqp", "clarabel")
    assert q2 == pytest.approx(q, abs=1e-4)


def test_last_setpoints_are_held_when_nothing_answers(scenario):
    task = scenario.task()
    state = initial_memory(task) | {"q_mvar": np.array([0.1, 0.2, 0.3])}

    def broken():
        raise RuntimeError("no")

    made, after = climb_down([broken, lambda: None], state)
    assert made.info.rung == HELD
    assert made.q_mvar == pytest.approx([0.1, 0.2, 0.3])
    assert made.p_mw is None
    assert after["q_mvar"] is state["q_mvar"]


def test_complete_remembers_the_last_good_reading(scenario):
    task, series = scenario.task(), scenario.series()
    load, p = series.load_mva[0], series.p_available_mw[0]
    good = measured(scenario, np.full(task.nodes, 1.01), load, p, np.zeros(len(p)))
    _, state = complete(good, initial_memory(task))
    lost = replace(good, vm=np.full(task.nodes, np.nan), load_p_mw=np.full(task.nodes, np.nan), slack_vm=np.nan)
    whole, _ = complete(lost, state)
    assert (whole.vm == 1.01).all()
    assert whole.load_p_mw == pytest.approx(load.real)
    assert whole.slack_vm == 1.0


def test_loops_and_bad_settings_are_refused():
    task = toy.scenario(meshed=True).task()
    for controller in (LinDistFlow(), Socp()):
        with pytest.raises(NotRadialError, match=r"line .*opf"):
            controller.prepare(task)
    with pytest.raises(InputError, match="about"):
        LinDistFlow(about="noon")  # type: ignore[arg-type]


def test_margin_keeps_the_models_error_inside_the_band(scenario):
    task, series = scenario.task(), scenario.series()
    load, p = 0.3 * series.load_mva[4], series.p_available_mw[4]
    point, flow = OperatingPoint(load, p, 1.0), engine(scenario.feeder)
    highest = {}
    for margin in (0.0, 2e-3):
        prepared, q = LinDistFlow(margin=margin).prepare(task), np.zeros(len(p))
        state = prepared.initial_state()
        for _ in range(6):
            vm = flow.solve(point.injection_mva(scenario.feeder, p, q), slack_vm=1.0).vm
            made, state = prepared.step(state, measured(scenario, vm, load, p, q))
            q = made.q_mvar
        highest[margin] = flow.solve(point.injection_mva(scenario.feeder, p, q), slack_vm=1.0).vm.max()
    assert highest[2e-3] == pytest.approx(highest[0.0] - 2e-3, abs=1e-5)
    with pytest.raises(InputError, match="margin"):
        LinDistFlow(margin=0.06).prepare(task)
