"""The branch-flow models against solved power flows."""

from __future__ import annotations

import warnings

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from grids import random_nets, small_net, table_injection
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.errors import NotRadialError
from feederlab.models.branchflow.exact import residuals, solve_exact, state_of
from feederlab.models.branchflow.linear import LinearModel, flows_at
from feederlab.models.branchflow.parameters import BranchFlow, rated_flow
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine
from strategies import operating_points, radial_feeders, setpoints

QUICK = settings(max_examples=10, deadline=None)


def check(feeder: Feeder, injection, taps=None, steps=None) -> None:
    """A solved power flow meets every equation, has the same losses, and is what the exact model finds."""
    solved = engine(feeder).solve(injection, taps=taps, steps=steps)
    if not solved.converged:
        return
    flow = BranchFlow.of(feeder, taps, steps)
    state, take = state_of(flow, solved), flow.consumption(injection)
    scale = max(1.0, float(np.abs(state.s).max()))
    for name, left in residuals(flow, state, take).items():
        assert np.abs(left).max() < 1e-9 * scale**2, name
    assert state.losses_mw(flow) == pytest.approx(float(solved.losses_mw()), rel=1e-9, abs=1e-9 * feeder.base_mva)
    found = solve_exact(flow, take, feeder.slack_vm**2)
    if found is not None:
        assert np.sqrt(found.v) == pytest.approx(solved.vm, abs=1e-9)


@QUICK
@given(random_nets(meshed=False))
def test_power_flow_meets_branch_flow_on_random_nets(nets):
    feeder = Feeder.from_pandapower(nets[0], validate=False)  # an open switch may leave an island behind
    if feeder.is_radial:
        check(feeder, table_injection(feeder))


@QUICK
@given(st.data())
def test_power_flow_meets_branch_flow_with_taps_steps_and_setpoints(data):
    feeder = data.draw(radial_feeders())
    point = data.draw(operating_points(feeder))
    p, q = data.draw(setpoints(feeder, point))
    changers, banks = feeder.tap_changers, feeder.capacitors
    # Transformers in parallel and far off each other's tap drive a circulating current that no feeder survives.
    taps = np.array([data.draw(st.integers(-2, 2)) for _ in range(len(changers))])
    steps = np.array([data.draw(st.integers(0, int(n))) for n in banks.max_step])
    check(feeder, point.injection_mva(feeder, p, q), taps, steps)


@pytest.mark.parametrize("make", [small_net, pn.create_cigre_network_lv, pn.create_cigre_network_mv, pn.case33bw])
def test_power_flow_meets_branch_flow_on_known_nets(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feeder = Feeder.from_pandapower(make())
    check(feeder, table_injection(feeder))


def test_reversed_and_parallel_transformers():
    net = small_net()
    pp.create_transformer(net, 0, 1, "0.4 MVA 20/0.4 kV", tap_pos=1)
    high = pp.create_bus(net, 20.0)
    pp.create_transformer(net, high, 3, "0.25 MVA 20/0.4 kV", tap_pos=2)  # fed from its low-voltage side
    pp.create_load(net, high, 0.05, 0.01)
    feeder = Feeder.from_pandapower(net)
    assert feeder.tree.flipped.any()
    assert len(feeder.tree) == len(feeder.branches) - 1
    check(feeder, table_injection(feeder))


def test_simbench_mv(simbench_net):
    feeder = Feeder.from_pandapower(simbench_net("1-MV-comm--0-sw"))
    check(feeder, table_injection(feeder))


def test_loops_are_refused():
    net = pn.case33bw()
    net.line["in_service"] = True
    with pytest.raises(NotRadialError, match="line 3"):
        BranchFlow.of(Feeder.from_pandapower(net))


@QUICK
@given(st.data())
def test_linear_model_is_the_limit_of_small_flows(data):
    """Its error grows with the square of the injections, and its slope at no load is the exact model's.

    The slopes are not quite equal where shunts draw current already: losses of the two currents' product.
    """
    feeder = data.draw(radial_feeders())
    flow, idle = BranchFlow.of(feeder), np.zeros(feeder.n_nodes, dtype=complex)
    model, v_slack = LinearModel(flow), feeder.slack_vm**2
    take = flow.consumption(table_injection(feeder))
    linear_0, exact_0 = model.solve(idle, v_slack).v, solve_exact(flow, idle, v_slack).v

    def error(share):
        exact = solve_exact(flow, share * take, v_slack).v - exact_0
        return exact - (model.solve(share * take, v_slack).v - linear_0)

    def bend(share):
        return np.abs(error(2 * share) - 2 * error(share)).max()

    moved = np.abs(model.solve(1e-3 * take, v_slack).v - linear_0).max()
    assert bend(1e-3) <= 0.015 * bend(1e-2) + 1e-10
    assert np.abs(error(1e-3)).max() <= 0.03 * moved + 1e-10


@QUICK
@given(st.data())
def test_responses_are_the_linear_models_derivatives(data):
    feeder = data.draw(radial_feeders())
    model = LinearModel(BranchFlow.of(feeder))
    take = model.flow.consumption(table_injection(feeder))
    active, reactive = model.response(feeder.inverters.node)
    before = model.solve(take, 1.0)
    for k, node in enumerate(feeder.inverters.node):
        for unit, by in ((1.0, active), (1j, reactive)):
            moved = take.copy()
            moved[node] -= 0.01 * unit
            after = model.solve(moved, 1.0)
            for name in ("v", "p", "q"):
                change = getattr(after, name) - getattr(before, name)
                assert change == pytest.approx(0.01 * getattr(by, name)[:, k], abs=1e-10)


def test_response_ignores_the_slack_and_missing_nodes():
    feeder = Feeder.from_pandapower(small_net())
    active, reactive = LinearModel(BranchFlow.of(feeder)).response(np.array([feeder.slack, -1]))
    assert not active.v.any()
    assert not reactive.p.any()


def test_flows_at_known_voltages_are_nearly_exact():
    feeder = Feeder.from_pandapower(pn.case33bw())
    flow, injection = BranchFlow.of(feeder), table_injection(feeder)
    solved = engine(feeder).solve(injection)
    exact = state_of(flow, solved)
    p, q, w = flows_at(flow, flow.consumption(injection), solved.vm**2)
    assert w == pytest.approx(solved.vm[feeder.tree.parent] ** 2)
    below = feeder.tree.descendants() @ flow.consumption(injection)
    assert np.abs(p + 1j * q - exact.s).max() < 0.2 * np.abs(below - exact.s).max()


def test_rated_flow_is_positive_and_sums_what_is_below():
    feeder = Feeder.from_pandapower(small_net())
    rated = rated_flow(feeder)
    assert (rated > 0).all()
    assert rated[0] == pytest.approx(rated.max())
    everything = np.hypot(0.03, 0.01) + np.hypot(0.05, 0.02) + 0.05 + 0.03
    net, bank = feeder.net, 3 * 0.01
    no_load = (0.01 * net.trafo.i0_percent * net.trafo.sn_mva).sum() / 2  # the other half hangs on the slack
    charging = (2 * np.pi * 50 * net.line.c_nf_per_km * 1e-9 * net.line.length_km * 0.4**2).sum()
    assert rated[0] * feeder.base_mva == pytest.approx(everything + bank + no_load + charging)
