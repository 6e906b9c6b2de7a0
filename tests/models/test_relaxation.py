"""The relaxation: its bound holds, its tight solutions are AC solutions, its parts agree with known answers."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.errors import InputError
from feederlab.models.branchflow.exact import state_of
from feederlab.models.branchflow.relaxation import V_MAX, V_MIN, Relaxation, Step
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import band_of
from feederlab.models.scoring import setpoint_cost, voltage_penalty
from feederlab.papers.feeders import compensated
from strategies import operating_points, radial_feeders, setpoints

OBJECTIVES = [
    "losses", "voltage_deviation", "substation_import", "curtailment", "control_effort",
    "losses=1+voltage_deviation=0.1+control_effort=0.01",
]  # fmt: skip


def compensation(*buses: int) -> tuple[Feeder, OperatingPoint]:
    """The 33-bus feeder with reactive power of any size at `buses` (numbered from 1)."""
    feeder = Feeder.from_pandapower(compensated(buses))
    load = np.zeros(feeder.n_nodes, dtype=complex)
    np.add.at(load, feeder.loads.node, feeder.loads.p_mw + 1j * feeder.loads.q_mvar)
    return feeder, OperatingPoint(load, np.zeros(len(buses)), 1.0)


def two_bus(r=0.03, x=0.02, p=0.0, q=0.0, s=1.0, curtail_p=0.0):
    net = pp.create_empty_network(sn_mva=1.0)
    a, b = pp.create_bus(net, 1.0), pp.create_bus(net, 1.0)
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, 1.0, r, x, 0.0, 1.0)
    pp.create_load(net, b, p, q)
    pp.create_sgen(net, b, curtail_p, 0.0, sn_mva=s, controllable=True)
    feeder = Feeder.from_pandapower(net)
    return feeder, OperatingPoint(np.array([0.0, p + 1j * q]), np.array([curtail_p]), 1.0)


@pytest.mark.parametrize(
    ("buses", "losses_kw"), [((30,), 143.602), ((12, 30), 135.753), ((13, 24, 30), 132.173), (range(2, 34), 129.254)]
)
def test_loss_optimal_compensation_of_case33bw(buses, losses_kw):
    feeder, point = compensation(*buses)
    found = Relaxation(feeder, band_of(feeder, (0.8, 1.2)), Objective(), 500.0).solve(point)
    assert 1e3 * found.objective == pytest.approx(losses_kw, abs=6e-4)
    solved = engine(feeder).solve(point.injection_mva(feeder, found.p_mw, found.q_mvar))
    assert found.cone_gap < 1e-6
    assert found.vm == pytest.approx(solved.vm, abs=1e-7)
    assert found.bound <= solved.losses_mw() * (1 + 1e-8)
    assert found.bound == pytest.approx(float(solved.losses_mw()), rel=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from(OBJECTIVES), st.booleans())
def test_bound_holds_for_every_setpoint(data, objective, curtail):
    """For random setpoints, the relaxation's own, and the best of all its claims."""
    feeder = data.draw(radial_feeders())
    point, flow = data.draw(operating_points(feeder)), engine(feeder)
    goal, band = Objective.parse(objective), band_of(feeder, (0.97, 1.03))
    penalty = voltage_penalty(goal, feeder)
    found = Relaxation(feeder, band, goal, penalty, curtail=curtail).solve(point)
    least = Relaxation(feeder, band, goal, penalty, curtail=curtail).least_violation(point)
    assert found.status != "failed"
    tried = [(found.p_mw, found.q_mvar), (least.p_mw, least.q_mvar)]
    for _ in range(4):
        p, q = data.draw(setpoints(feeder, point))
        tried.append((p * data.draw(st.integers(0, 10)) / 10 if curtail else p, q))
    for p, q in tried:
        cost, excess = setpoint_cost(goal, penalty, flow, band, point, p, q)
        assert found.bound <= cost + 1e-8 * max(1.0, abs(cost))
        assert least.bound <= excess + 1e-9
    cost, _ = setpoint_cost(goal, penalty, flow, band, point, found.p_mw, found.q_mvar)
    if found.cone_gap < 1e-6:
        assert found.objective == pytest.approx(cost, rel=1e-5, abs=1e-6 * penalty)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.booleans())
def test_setpoints_keep_the_device_limits(data, curtail):
    feeder = data.draw(radial_feeders())
    point = data.draw(operating_points(feeder))
    relaxation = Relaxation(feeder, band_of(feeder, (0.99, 1.01)), Objective(), 1e3, curtail=curtail)
    s, available = feeder.inverters.s_mva, np.minimum(point.p_available_mw, feeder.inverters.s_mva)
    for found in (relaxation.solve(point), relaxation.least_violation(point)):
        assert (np.hypot(found.p_mw, found.q_mvar) <= s * (1 + 1e-12)).all()
        assert (found.p_mw <= available).all()
        assert (found.p_mw >= 0).all()
        if not curtail:
            assert found.p_mw == pytest.approx(available)


def test_two_buses_by_hand():
    """Losses are least where the load's reactive power is met on the spot: l = p^2 / v, v from the quadratic."""
    feeder, point = two_bus(p=0.8, q=0.5)
    found = Relaxation(feeder, band_of(feeder, (0.8, 1.2)), Objective(), 100.0).solve(point)
    # v^2 - (1 - 2 r p) v + (r^2 + x^2) p^2 = 0
    r, x, p = 0.03, 0.02, 0.8
    half = (1 - 2 * r * p) / 2
    v = half + np.sqrt(half**2 - (r**2 + x**2) * p**2)
    # The inverter also meets what the line's own x takes, and a little more, for the voltage.
    assert found.q_mvar[0] == pytest.approx(0.5, abs=2e-2)
    assert found.objective == pytest.approx(r * p**2 / v, rel=2e-3)
    assert found.bound == pytest.approx(found.objective, rel=1e-7)


def test_unavoidable_violation_is_proven():
    """A load that no reactive power of this size can lift into the band."""
    feeder, point = two_bus(r=0.1, x=0.05, p=1.5, q=0.5, s=0.3)
    relaxation = Relaxation(feeder, band_of(feeder, (0.95, 1.05)), Objective(), 100.0)
    least = relaxation.least_violation(point)
    _, excess = setpoint_cost(Objective(), 0.0, engine(feeder), band_of(feeder, (0.95, 1.05)), point, *_full(feeder))
    assert least.bound == pytest.approx(excess, rel=1e-5)
    assert least.q_mvar[0] == pytest.approx(0.3, abs=1e-6)
    assert relaxation.solve(point).excess == pytest.approx(excess, rel=1e-5)


def _full(feeder):
    return np.zeros(1), feeder.inverters.s_mva


def test_invented_current_is_seen_in_the_cone_gap():
    """Reverse flow and a voltage that is too high: without a price of losses the relaxation burns the surplus."""
    feeder, point = two_bus(r=0.1, x=0.1, s=1.1, curtail_p=1.0)
    goal, band = Objective.parse("voltage_deviation"), band_of(feeder, (0.5, 1.5))
    loose = Relaxation(feeder, band, goal, 1.0, loss_weight=0.0).solve(point)
    assert loose.cone_gap > 1e-2
    cost, _ = setpoint_cost(goal, 1.0, engine(feeder), band, point, loose.p_mw, loose.q_mvar)
    assert loose.bound < 0.9 * cost
    priced = Relaxation(feeder, band, goal, 1.0, loss_weight=1.0).solve(point)
    assert priced.cone_gap < 1e-5
    assert priced.bound == pytest.approx(loose.bound, abs=1e-6)


def test_hardly_any_load_against_a_large_price_is_solved():
    """The band costs 4,000 times what voltages deviate: the solver's own scaling makes 100 iterations fall short."""
    net = pp.create_empty_network(sn_mva=1.0)
    buses = [pp.create_bus(net, 10.0) for _ in range(6)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.02)
    for k, (r, x, c) in enumerate([(0.1, 0.1, 0), (1.2, 0.3, 250), (1.3, 0.8, 0), (0.4, 0.9, 250), (0.7, 0.6, 250)]):
        pp.create_line_from_parameters(net, buses[k], buses[k + 1], 1.0, r, x, c, 0.4)
    pp.create_sgen(net, buses[-1], 0.1, 0.0, sn_mva=2.2, controllable=True)
    feeder, goal = Feeder.from_pandapower(net), Objective.parse("voltage_deviation")
    band, penalty = band_of(feeder, (0.97, 1.03)), voltage_penalty(goal, feeder)
    point = OperatingPoint(np.zeros(6, dtype=complex), np.array([0.1]), 1.02)
    found = Relaxation(feeder, band, goal, penalty, loss_weight=0.0).solve(point)
    assert found.status == "solved"
    assert found.bound == pytest.approx(found.objective, rel=1e-5)


def test_what_cannot_be_negative_is_bounded_by_zero():
    """Where nothing has to be paid, the solver's last digits must not read as a gap of 100 %."""
    feeder, point = two_bus(r=0.01, x=0.01, p=0.01, curtail_p=0.0)
    band = band_of(feeder, (0.9, 1.1))
    for text in ("control_effort", "curtailment", "losses=1e-9+control_effort"):
        found = Relaxation(feeder, band, Objective.parse(text), 100.0, curtail=True).solve(point)
        assert 0 <= found.bound < 1e-9
    assert Relaxation(feeder, band, Objective.parse("substation_import"), 100.0).solve(point).bound > 0.01
    exporting, point = two_bus(r=0.01, x=0.01, s=1.0, curtail_p=0.5)
    assert Relaxation(exporting, band, Objective.parse("substation_import"), 100.0).solve(point).bound < -0.49


@settings(max_examples=8, deadline=None)
@given(st.data(), st.booleans())
def test_no_current_exceeds_the_box_of_the_bound(data, curtail):
    """Also where load and sun cancel, so that only losses flow."""
    feeder = data.draw(radial_feeders())
    point = data.draw(operating_points(feeder))
    point = OperatingPoint(point.load_mva * data.draw(st.integers(1, 8)), point.p_available_mw, point.slack_vm)
    step = Step(Relaxation(feeder, band_of(feeder, None), Objective(), 1.0, curtail=curtail), point)
    for _ in range(4):
        p, q = data.draw(setpoints(feeder, point))
        p = p * data.draw(st.integers(0, 10)) / 10 if curtail else p
        solved = engine(feeder).solve(point.injection_mva(feeder, p, q))
        if not solved.converged or not ((solved.vm**2 > V_MIN) & (solved.vm**2 < V_MAX)).all():
            continue
        state, scale = state_of(step.flow, solved), step.model.flow_scale
        assert (state.l / scale**2 <= step.current_max * (1 + 1e-9)).all()
        assert (np.abs(state.s) / scale <= step.flow_max * (1 + 1e-9)).all()


def test_curtailment_bound_against_two_buses_by_hand():
    """Over r alone 1 = v - 2 r p + r^2 s^2 / v at full current; the relaxation exports more by inventing current."""
    feeder, point = two_bus(r=0.1, x=0.0001, s=1.1, curtail_p=1.0)
    goal, band = Objective.parse("curtailment"), band_of(feeder, (0.95, 1.05))
    penalty = voltage_penalty(goal, feeder)
    found = Relaxation(feeder, band, goal, penalty, curtail=True).solve(point)
    p = (1.05**2 - 1 + 0.01 * 1.1**2 / 1.05**2) / 0.2
    cost, excess = setpoint_cost(
        goal, penalty, engine(feeder), band, point, np.array([p]), np.array([-np.sqrt(1.1**2 - p**2)])
    )
    assert excess < 2e-4
    assert cost - penalty * excess == pytest.approx(1 - p)
    assert found.bound <= 1 - p
    assert found.cone_gap > 1e-3


def test_taps_and_steps_change_the_model_in_place():
    net = pn.create_cigre_network_mv()
    pp.create_sgen(net, 8, 0.0, 0.0, sn_mva=2.0, controllable=True)
    pp.create_shunt(net, 5, q_mvar=-0.5, step=0, max_step=4)
    feeder = Feeder.from_pandapower(net)
    band, flow = band_of(feeder, (0.9, 1.1)), engine(feeder)
    load = np.zeros(feeder.n_nodes, dtype=complex)
    np.add.at(load, feeder.loads.node, 0.5 * (feeder.loads.p_mw + 1j * feeder.loads.q_mvar))
    relaxation = Relaxation(feeder, band, Objective(), 1e3)
    zero = feeder.tap_changers.tap
    for taps, steps in ((zero, 0), (zero + 2, 3), (zero, 0), (zero - 1, 4)):
        point = OperatingPoint(load, np.zeros(1), 1.03, taps, np.array([steps]))
        found = relaxation.solve(point)
        fresh = Relaxation(feeder, band, Objective(), 1e3).solve(point)
        cost, _ = setpoint_cost(Objective(), 1e3, flow, band, point, found.p_mw, found.q_mvar)
        assert found.objective == pytest.approx(cost, rel=1e-6)
        assert found.q_mvar == pytest.approx(fresh.q_mvar, abs=1e-5)


def test_cost_is_refused():
    feeder, _ = two_bus()
    with pytest.raises(InputError, match="cost"):
        Relaxation(feeder, band_of(feeder, None), Objective.parse("cost"), 1.0)


def test_no_inverters_still_gives_the_state():
    feeder, point = compensation()
    found = Relaxation(feeder, band_of(feeder, (0.8, 1.2)), Objective(), 100.0).solve(point)
    assert 1e3 * found.bound == pytest.approx(202.677, abs=1e-3)
