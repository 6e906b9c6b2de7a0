"""The default engine equals Newton-Raphson, whatever it starts from, up to the most that a grid can carry."""

from __future__ import annotations

import numpy as np
import pandapower.networks as networks
import pytest
from grids import random_nets, small_net, table_injection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine
from feederlab.models.powerflow.continuation import Continuation

TOLERANCE = 1e-9  # p.u.


def newton_is_asked(monkeypatch) -> list[bool]:
    """Return a list to which every later continuation adds whether it found voltages."""
    asked: list[bool] = []
    solve = Continuation.solve

    def counted(self, s, slack_u):
        found = solve(self, s, slack_u)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(Continuation, "solve", counted)
    return asked


@settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
@given(random_nets(meshed=True), st.integers(0, 10_000))
def test_random_nets_loads_and_starts(nets, seed):
    feeder = Feeder.from_pandapower(nets[0], validate=False)
    rng = np.random.default_rng(seed)
    injection = table_injection(feeder) * rng.uniform(-3, 3, (12, 1)) + 0.1 * rng.standard_normal((12, feeder.n_nodes))
    slack = rng.uniform(0.95, 1.05, 12)
    start = 1 + 0.1 * (rng.standard_normal((12, feeder.n_nodes)) + 1j * rng.standard_normal((12, feeder.n_nodes)))
    start[:2] = np.nan
    flow = engine(feeder, "fixed-point")
    expected = engine(feeder, "power-grid-model").solve_batch(injection, slack_vm=slack).u
    assert np.isfinite(expected.real).all()
    for guess in (None, start, expected):
        found = flow.solve_batch(injection, slack_vm=slack, start=guess).u
        assert np.abs(found - expected).max() < TOLERANCE
    for k in (0, 11):
        one = flow.solve(injection[k], slack_vm=float(slack[k]), start=start[k])
        assert np.abs(one.u - expected[k]).max() < TOLERANCE


def test_it_does_without_newton_where_feeders_are_loaded_as_they_are(monkeypatch):
    feeder = Feeder.from_pandapower(networks.case33bw())
    asked = newton_is_asked(monkeypatch)
    flow, load = engine(feeder), table_injection(feeder)
    flow.solve(load)
    assert flow.solve_batch(load * np.linspace(-2, 2, 600)[:, None]).converged.all()
    assert asked == []


@pytest.mark.parametrize("make", [small_net, networks.case33bw], ids=["small", "case33bw"])
def test_up_to_the_most_that_the_grid_can_carry(make, monkeypatch):
    """Near the maximum power transfer, where the iteration grows slow, Newton's method takes over; beyond, no one."""
    feeder = Feeder.from_pandapower(make())
    load, newton, flow = table_injection(feeder), engine(feeder, "power-grid-model"), engine(feeder)
    low, high = 1.0, 1000.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if newton.solve(middle * load).converged else (low, middle)
    scale = low * np.array([0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.01, 1.1, 5.0])
    expected = newton.solve_batch(scale[:, None] * load)
    asked = newton_is_asked(monkeypatch)
    found = flow.solve_batch(scale[:, None] * load)
    assert 3 <= len(asked) < 10
    assert asked.count(False) == 3
    assert found.converged.tolist() == [True] * 7 + [False] * 3
    assert np.abs(found.u - expected.u)[:7].max() < TOLERANCE
    for k in range(10):
        one = flow.solve(scale[k] * load)
        assert np.allclose(one.u, expected.u[k], rtol=0, atol=TOLERANCE, equal_nan=True)


@pytest.mark.parametrize("make", [small_net, networks.case33bw], ids=["small", "case33bw"])
def test_the_voltages_are_those_that_no_load_grows_into(make):
    """Much reactive power fed in: power-grid-model finds lower voltages, or none; pandapower agrees."""
    feeder = Feeder.from_pandapower(make())
    flow, other = engine(feeder), engine(feeder, "power-grid-model")
    fed_in = 1j * np.abs(table_injection(feeder).real)
    path = np.outer(np.geomspace(0.01, 1e4, 400), fed_in)
    u = flow.solve_batch(path).u
    carried = int(np.argmin(np.isfinite(u.real).all(axis=1)))
    assert np.isfinite(u[:carried].real).all()
    assert np.abs(u[:carried]).max() > 1.3
    assert not np.isfinite(u[carried:].real).any()
    moved = np.abs(np.diff(u[:carried], axis=0)).max(axis=1)
    assert (moved[1:] / moved[:-1]).max() < 2.5  # no jump to other voltages on the way
    astray = np.nan_to_num(np.abs(other.solve_batch(path[:carried]).u - u[:carried]).max(axis=1), nan=1.0) > 0.1
    known = np.flatnonzero(astray[:-5])  # the last 20 % are too much for pandapower as well
    assert len(known) >= 3
    reference = engine(feeder, "pandapower")
    for k in known:
        assert np.abs(reference.solve(path[k]).u - u[k]).max() < 1e-8


@pytest.mark.parametrize("start", [0.0, 1e-3, 1e3, np.inf], ids=str)
def test_an_absurd_start_is_survived(start):
    feeder = Feeder.from_pandapower(networks.case33bw())
    load = table_injection(feeder)
    flow, guess = engine(feeder), np.full(feeder.n_nodes, start, dtype=complex)
    expected = flow.solve(load).u
    assert np.abs(flow.solve(load, start=guess).u - expected).max() < TOLERANCE
    assert np.abs(flow.solve_batch(load[None, :], start=guess[None, :]).u[0] - expected).max() < TOLERANCE


@pytest.mark.parametrize("ohm", [1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("slack_line", [True, False])
def test_lines_of_next_to_no_impedance(ohm, slack_line):
    """Against fusing the line's ends, whose voltages differ by the line's own drop alone."""
    net = networks.case33bw()
    line = 0 if slack_line else 10
    net.line.loc[line, ["r_ohm_per_km", "x_ohm_per_km"]] = ohm
    feeder = Feeder.from_pandapower(net)
    net.line.loc[line, ["r_ohm_per_km", "x_ohm_per_km"]] = 0.0
    fused = Feeder.from_pandapower(net)
    assert fused.n_nodes == feeder.n_nodes - 1
    load = table_injection(feeder)
    expected = fused.to_buses(engine(fused).solve(table_injection(fused)).vm)
    drop = 5 * ohm / 12.66**2  # MVA, kV: at most this, p.u.
    found = [engine(feeder).solve(load).vm, *engine(feeder).solve_batch(np.array([load, load])).vm]
    for vm in found:
        assert np.abs(feeder.to_buses(vm) - expected).max() < 1e-11 + 2 * drop


def test_blocks_do_not_show():
    """Points are iterated in blocks; who else is in a block does not matter."""
    feeder = Feeder.from_pandapower(networks.case33bw())
    injection = table_injection(feeder) * np.random.default_rng(1).uniform(-2, 2, (1500, 1))
    injection[[3, 700]] *= 100  # no solution
    flow = engine(feeder)
    whole = flow.solve_batch(injection)
    assert np.flatnonzero(~whole.converged).tolist() == [3, 700]
    parts = np.vstack([flow.solve_batch(injection[k : k + 7]).u for k in range(0, 1500, 7)])
    assert np.allclose(whole.u, parts, rtol=0, atol=1e-11, equal_nan=True)
    assert flow.solve_batch(injection[:0]).u.shape == (0, 33)
