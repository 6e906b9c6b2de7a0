"""The tightened relaxation: never above what setpoints cost in AC, never below the plain one, and tight at noon."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_relaxation import OBJECTIVES, two_bus

from feederlab.certify import lower_bounds
from feederlab.controllers.opf import Opf
from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.branchflow.exact import state_of
from feederlab.models.branchflow.intervals import flow_intervals
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.branchflow.tightening import Tightening
from feederlab.models.coneprogram import ConeProgram
from feederlab.models.library import load
from feederlab.models.objective import Objective
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import band_of
from feederlab.models.scoring import setpoint_cost, voltage_penalty
from feederlab.simulate import simulate
from strategies import operating_points, radial_feeders, setpoints


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from(OBJECTIVES), st.booleans())
def test_no_setpoints_beat_the_bound(data, objective, curtail):
    """Upper limits close to the slack's voltage: sun and little load break them."""
    feeder = data.draw(radial_feeders())
    point, flow = data.draw(operating_points(feeder)), engine(feeder)
    goal, band = Objective.parse(objective), band_of(feeder, (0.97, feeder.slack_vm + 0.005))
    penalty = voltage_penalty(goal, feeder)
    relaxation = Relaxation(feeder, band, goal, penalty, curtail=curtail)
    plain, tightening = relaxation.solve(point), Tightening(relaxation)
    best = AcOpf(feeder, band, goal, penalty, curtail=curtail).solve(point)
    tried = [(best.p_mw, best.q_mvar), (plain.p_mw, plain.q_mvar)]
    for _ in range(4):
        p, q = data.draw(setpoints(feeder, point))
        tried.append((p * data.draw(st.integers(0, 10)) / 10 if curtail else p, q))
    costs, excesses = zip(*(setpoint_cost(goal, penalty, flow, band, point, p, q) for p, q in tried), strict=True)
    known = data.draw(st.sampled_from([min(costs), costs[-1], np.inf]))
    rounds = tightening.of_cost(point, plain)
    for _ in range(3):
        found = rounds.round(known)
        assert found.bound <= min(costs) + 1e-8 * max(1.0, abs(min(costs)))
        if found.status == plain.status == "solved":
            assert found.bound >= min(plain.bound, known) - 1e-7 * max(penalty / 100, 1.0)
    rounds = tightening.of_excess(point)
    for _ in range(2):
        assert rounds.round(min(excesses)).bound <= min(excesses) + 1e-9


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_intervals_hold_every_state(data):
    feeder = data.draw(radial_feeders())
    point, flow = data.draw(operating_points(feeder)), BranchFlow.of(feeder)
    p, room = np.minimum(point.p_available_mw, feeder.inverters.s_mva), feeder.inverters.s_mva
    room = np.sqrt(room**2 - p**2)
    low, high = (flow.consumption(point.injection_mva(feeder, p, q)) for q in (room, -room))
    states = []
    for _ in range(4):
        solved = engine(feeder).solve(point.injection_mva(feeder, *data.draw(setpoints(feeder, point))))
        states.append(state_of(flow, solved))
    v = np.stack([state.v for state in states])
    at = flow_intervals(flow, low, high, np.stack([v.min(axis=0), v.max(axis=0)]))
    for state in states:
        w = state.v[feeder.tree.parent] / flow.ratio2
        for value, interval in (
            (state.s.real, at.p), (state.s.imag, at.q), (state.l, at.current), (w, at.w),
            (state.v[feeder.tree.child], at.v),
        ):  # fmt: skip
            assert (value >= interval[0] - 1e-9).all()
            assert (value <= interval[1] + 1e-9).all()


def test_invented_current_is_cut_off():
    """Voltage deviation under reverse flow over one line: the plain bound is far off, the tightened one is not."""
    feeder, point = two_bus(r=0.1, x=0.1, s=1.1, curtail_p=1.0)
    goal, band = Objective.parse("voltage_deviation"), band_of(feeder, (0.5, 1.5))
    relaxation = Relaxation(feeder, band, goal, 1.0, loss_weight=0.0)
    plain = relaxation.solve(point)
    best = AcOpf(feeder, band, goal, 1.0).solve(point).cost
    assert plain.bound < 0.9 * best
    rounds = Tightening(relaxation).of_cost(point, plain)
    for _ in range(3):
        found = rounds.round(best)
    assert found.bound == pytest.approx(best, rel=1e-3)


def test_an_unavoidable_rise_is_proven():
    """Hardly any reactance: reactive power cannot lower the voltage, invented current would."""
    feeder, point = two_bus(r=0.1, x=0.0001, s=1.1, curtail_p=1.0)
    band = band_of(feeder, (0.95, 1.05))
    relaxation = Relaxation(feeder, band, Objective(), 100.0)
    assert relaxation.least_violation(point).bound < 1e-8
    best = AcOpf(feeder, band, Objective(), 100.0).least_violation(point, [None])
    found = Tightening(relaxation).of_excess(point).round(best.excess)
    assert best.excess > 0.05
    assert found.bound == pytest.approx(best.excess, rel=1e-3)


def test_sunny_noon_of_the_322_bus_network():
    """Reverse flow against upper voltage limits, where the plain relaxation falls short by a quarter."""
    scenario = load("mapdn322").resample("3min")
    scenario = scenario.window(str(scenario.data_span[0] + pd.Timedelta(days=172, hours=10)), 2)
    task, run = scenario.task(), simulate(scenario, Opf()).data
    cost = (run["realised"] + run["penalty"]).to_numpy()
    bounds = lower_bounds(scenario, task, upper=cost)
    assert (bounds["tightened"] == 1).all()
    assert (cost > 1.1 * bounds["bound_plain"].to_numpy()).all()
    assert (cost >= bounds["bound"].to_numpy()).all()
    assert (cost < 1.0005 * bounds["bound"].to_numpy()).all()
    alone = lower_bounds(scenario, task)
    assert (alone["upper"] > cost).all()
    assert (cost < 1.01 * alone["bound"].to_numpy()).all()
    assert (alone["bound"].to_numpy() <= cost * (1 + 1e-8)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_narrowed_boxes_keep_what_is_cheap(seed):
    rng = np.random.default_rng(seed)
    x, a = cp.Variable(3, name="x"), cp.Parameter(3, name="a", value=rng.uniform(0.5, 2, 3))
    c = rng.normal(size=3)
    problem = cp.Problem(
        cp.Minimize(c @ x + 0.2 * cp.sum_squares(x)),
        [cp.multiply(a, x) <= 1.0, x >= -1.0, cp.sum(x) == 0.1, x[0] - x[1] <= 0.7, cp.SOC(cp.Constant(1.5), x)],
    )
    program = ConeProgram(problem)
    solved = program.solve()
    box = program.box({"x": (-1.0, 2.0)})
    points = rng.uniform(-1.0, 2.0, (4000, 3))
    points[:, 2] = 0.1 - points[:, 0] - points[:, 1]
    points = points[((a.value * points <= 1) & (points >= -1)).all(axis=1) & (points[:, 0] - points[:, 1] <= 0.7)]
    points = points[np.linalg.norm(points, axis=1) <= 1.5]
    values = points @ c + 0.2 * (points**2).sum(axis=1)
    upper = solved.primal + 0.05
    low, high = program.narrowed(solved, box, upper)
    cheap = points[values <= upper]
    assert (cheap >= low - 1e-9).all()
    assert (cheap <= high + 1e-9).all()
    assert (high - low).sum() < (box[1] - box[0]).sum() - 0.5
