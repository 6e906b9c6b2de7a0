"""Predictors, least change and its bounds, against finite differences, brute force and sampling."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandapower as pp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine
from feederlab.models.powerflow.jacobian import ReducedGrid
from feederlab.models.predictors.actions import Actions, Limits
from feederlab.models.predictors.exact import ExactPredictor
from feederlab.models.predictors.least_change import least_change
from feederlab.models.predictors.linear import LinearPredictor, slopes_of
from feederlab.models.predictors.neighbours import links_text, neighbourhoods
from feederlab.models.predictors.polynomial import VoltagePolynomials, exponents, fit_group
from feederlab.models.predictors.reach import Reach
from feederlab.models.sensitivity import Sensitivity
from strategies import operating_points, radial_feeders

BAND = (0.95, 1.05)


def two_agents(load_mw: float = 0.05) -> Feeder:
    """A street of 0.4 kV with storage at its middle and end, and a load between them."""
    net = pp.create_empty_network(sn_mva=0.1)
    buses = [pp.create_bus(net, 0.4) for _ in range(4)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.0)
    for a, b in pairwise(buses):
        pp.create_line_from_parameters(
            net, a, b, length_km=0.15, r_ohm_per_km=0.32, x_ohm_per_km=0.08, c_nf_per_km=0.0, max_i_ka=0.27
        )
    pp.create_load(net, buses[2], load_mw, 0.3 * load_mw)
    for bus in (buses[1], buses[3]):
        pp.create_storage(
            net, bus, p_mw=0.0, max_e_mwh=1.0, min_e_mwh=0.0, soc_percent=50.0, sn_mva=0.06, min_p_mw=-0.06,
            max_p_mw=0.06, controllable=True,
        )  # fmt: skip
    return Feeder.from_pandapower(net, "street")


def of_storage(feeder: Feeder) -> tuple[Actions, Limits]:
    units, n = feeder.storages, len(feeder.storages)
    actions = Actions.of(np.full(n, 2), np.arange(n), units.node)
    return actions, Limits.of(actions, units.p_min_mw, units.p_max_mw, units.s_mva)


def of_inverters(feeder: Feeder, point, curtail: bool) -> tuple[Actions, Limits, np.ndarray]:
    """q, or q and p, of all inverters, and the injection of everything else."""
    inverters, n = feeder.inverters, len(feeder.inverters)
    p = np.minimum(point.p_available_mw, inverters.s_mva)
    kinds = [0, 1] if curtail else [0]
    actions = Actions.of(np.repeat(kinds, n), np.tile(np.arange(n), len(kinds)), np.tile(inverters.node, len(kinds)))
    room = inverters.s_mva if curtail else np.sqrt(inverters.s_mva**2 - p**2)
    low, high = (-room, room) if not curtail else (np.append(-room, 0 * p), np.append(room, p))
    rest = point.injection_mva(feeder, 0 * p if curtail else p, 0 * p)
    return actions, Limits.of(actions, low, high, np.tile(inverters.s_mva, len(kinds))), rest


def exact(feeder: Feeder, actions: Actions, rest: np.ndarray, slack_vm: float = 1.0) -> ExactPredictor:
    taps, steps = feeder.tap_changers.tap, feeder.capacitors.step
    watched = np.flatnonzero(np.arange(feeder.n_nodes) != feeder.slack)
    return ExactPredictor(
        engine(feeder), ReducedGrid.of(feeder, taps, steps), actions, rest, taps, steps, slack_vm, watched
    )  # fmt: skip


def rest_of(feeder: Feeder) -> np.ndarray:
    rest = np.zeros(feeder.n_nodes, dtype=complex)
    np.subtract.at(rest, feeder.loads.node, feeder.loads.p_mw + 1j * feeder.loads.q_mvar)
    return rest


def squared(feeder: Feeder, band: tuple[float, float] = BAND) -> np.ndarray:
    return np.repeat(np.square(band)[:, None], feeder.n_nodes - 1, axis=1)


def shortfall(v: np.ndarray, band2: np.ndarray) -> np.ndarray:
    """Largest excursion over the nodes; v : (..., n)."""
    return np.maximum(np.maximum(v - band2[1], band2[0] - v), 0).max(axis=-1)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_exact_derivatives(data):
    feeder = data.draw(radial_feeders(max_buses=5))
    actions, limits, rest = of_inverters(feeder, data.draw(operating_points(feeder)), curtail=True)
    predictor = exact(feeder, actions, rest, feeder.slack_vm)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a = limits.project(rng.uniform(limits.low, limits.high))
    at = predictor(a)
    weights, h = rng.normal(size=len(at.v)), 1e-4
    steps = h * np.eye(len(a))
    slopes = np.stack([(predictor(a + d).v - predictor(a - d).v) / (2 * h) for d in steps], axis=1)
    np.testing.assert_allclose(at.slopes, slopes, atol=1e-6)
    hessian = np.stack(
        [weights @ (predictor(a + d).slopes - predictor(a - d).slopes) / (2 * h) for d in steps]
    )  # fmt: skip
    np.testing.assert_allclose(at.curvature(weights), hessian, atol=1e-6 * (1 + np.abs(hessian).max()))


@pytest.mark.parametrize("wanted", [(-0.06, -0.06), (0.06, 0.06), (0.06, -0.06), (0.02, 0.055)])
def test_least_change_is_that_of_a_grid_search(wanted):
    feeder = two_agents()
    actions, limits = of_storage(feeder)
    rest, band2, wanted = rest_of(feeder), squared(feeder), np.array(wanted)
    found = least_change(exact(feeder, actions, rest), wanted, limits, band2, np.zeros(2))
    assert found.converged
    assert found.short < 1e-9
    axis = np.linspace(-0.06, 0.06, 241)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    injection = np.repeat(rest[None], len(grid), axis=0)
    np.subtract.at(injection.T, actions.node, grid.T)
    v = np.delete(engine(feeder).solve_batch(injection).vm, feeder.slack, axis=1) ** 2
    change = 0.5 * np.square(grid - wanted).sum(axis=1)
    best = change[shortfall(v, band2) == 0].min()
    cell = axis[1] - axis[0]
    assert found.change <= best + 1e-12
    assert np.sqrt(2 * best) - np.sqrt(2 * found.change) < 2 * cell


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_least_change_on_random_feeders(data):
    """Limits hold, bounds are bounds, and what is out of band no sampled action keeps in."""
    feeder = data.draw(radial_feeders(max_buses=5))
    point, curtail = data.draw(operating_points(feeder)), data.draw(st.booleans())
    actions, limits, rest = of_inverters(feeder, point, curtail)
    band = (0.97, data.draw(st.sampled_from([1.005, 1.02])))
    band2, rng = squared(feeder, band), np.random.default_rng(data.draw(st.integers(0, 99)))
    wanted = limits.clip(rng.uniform(limits.low, limits.high))
    predictor = exact(feeder, actions, rest, feeder.slack_vm)
    found = least_change(predictor, wanted, limits, band2, 0 * wanted)
    a, room = found.actions, 1e-9 * feeder.inverters.s_mva.max()
    assert (a >= limits.low - room).all()
    assert (a <= limits.high + room).all()
    assert (np.hypot(*a[limits.pairs].T) <= limits.s_mva + room).all()
    flow = BranchFlow.of(feeder)
    reach = Reach(flow, np.repeat(np.array(band)[:, None], feeder.n_nodes, axis=1), actions, limits.high.max())
    excess = reach.least_excess(rest, feeder.slack_vm, limits).value
    short_of = np.maximum(predictor(a).v - band2[1], 0) + np.maximum(band2[0] - predictor(a).v, 0)
    assert excess <= short_of.sum() + 1e-9
    if found.short < 1e-8:
        assert reach.least_change(rest, feeder.slack_vm, limits, wanted).value <= found.change * (1 + 1e-6) + 1e-9
        return
    corners = np.array(np.meshgrid(*zip(limits.low, limits.high, strict=True))).reshape(len(a), -1).T
    samples = np.vstack([corners, rng.uniform(limits.low, limits.high, (300, len(a)))])
    samples = np.array([limits.project(s) for s in samples])
    injection = np.repeat(rest[None], len(samples), axis=0)
    np.add.at(injection.T, actions.node, (samples * actions.unit).T)
    v = np.delete(engine(feeder).solve_batch(injection, slack_vm=feeder.slack_vm).vm, feeder.slack, axis=1) ** 2
    assert shortfall(v, band2).min() > 0


def test_unavoidable_undervoltage_is_proven():
    feeder = two_agents(load_mw=0.25)
    actions, limits = of_storage(feeder)
    predictor, band2 = exact(feeder, actions, rest_of(feeder)), squared(feeder)
    found = least_change(predictor, np.array([0.06, 0.0]), limits, band2, np.zeros(2))
    reach = Reach(BranchFlow.of(feeder), np.repeat([[0.95], [1.05]], feeder.n_nodes, axis=1), actions, 0.06)
    bound = reach.least_excess(rest_of(feeder), 1.0, limits)
    np.testing.assert_allclose(found.actions, [-0.06, -0.06], atol=1e-6)
    missed = np.maximum(band2[0] - predictor(found.actions).v, 0).sum()
    assert missed > 1e-3
    assert bound.value == pytest.approx(missed, rel=1e-5)


def test_linear_predictor_is_exact_about_no_load():
    feeder = two_agents(load_mw=0.0)
    actions, _ = of_storage(feeder)
    watched = np.flatnonzero(np.arange(feeder.n_nodes) != feeder.slack)
    nodes = np.unique(actions.node)
    place = np.zeros(feeder.n_nodes, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    slopes = slopes_of(Sensitivity.of(feeder, nodes), place, actions)[watched]
    truth = exact(feeder, actions, np.zeros(feeder.n_nodes, dtype=complex))
    np.testing.assert_allclose(slopes, truth(np.zeros(2)).slopes, atol=1e-9)
    measured = truth(np.array([0.01, 0.0])).v
    guess = LinearPredictor(measured, np.array([0.01, 0.0]), slopes)(np.array([0.015, 0.005])).v
    np.testing.assert_allclose(guess, truth(np.array([0.015, 0.005])).v, atol=2e-4)


def polynomial(rng, order=3):
    """A cubic truth of two actions and two voltages, and the fit of it."""
    change, before = rng.normal(0, 0.05, (400, 2)), rng.uniform(0.95, 1.05, (400, 2))
    rise = change @ [[0.3, 0.1], [0.2, 0.5]] * before + 2 * change[:, :1] ** 2 * change[:, 1:]
    fitted = fit_group(("a", "b"), (3, 7), (3, 7), order, change, before, before, np.sqrt(before**2 + rise))
    return fitted, change, before, rise


def test_polynomial_finds_a_polynomial_and_its_derivatives(tmp_path):
    rng = np.random.default_rng(0)
    fitted, change, before, rise = polynomial(rng)
    for t in (3, 50):
        found = fitted.at(before[t], before[t], np.zeros(2))(change[t])
        np.testing.assert_allclose(found.v - before[t] ** 2, rise[t], atol=1e-6)
    at, a, h = fitted.at(before[0], before[0], np.array([0.01, 0.02])), np.array([0.03, -0.05]), 1e-5
    slopes = np.stack([(at(a + d).v - at(a - d).v) / (2 * h) for d in h * np.eye(2)], axis=1)
    np.testing.assert_allclose(at(a).slopes, slopes, atol=1e-7)
    weights = np.array([1.0, -2.0])
    hessian = np.stack([weights @ (at(a + d).slopes - at(a - d).slopes) / (2 * h) for d in h * np.eye(2)])
    np.testing.assert_allclose(at(a).curvature(weights), hessian, atol=1e-6)
    path = VoltagePolynomials("street", "all", (fitted,)).save(tmp_path / "p.json")
    again = VoltagePolynomials.load(path).groups[0]
    np.testing.assert_array_equal(again.coefficients, fitted.coefficients)
    np.testing.assert_array_equal(
        again.at(before[0], before[0], 0 * a)(a).v, fitted.at(before[0], before[0], 0 * a)(a).v
    )


def test_polynomial_refuses(tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="1 to 4, not 5"):
        polynomial(rng, order=5)
    one = np.ones((10, 2))
    with pytest.raises(InputError, match="15 terms, more than the 10 steps"):
        fit_group(("a", "b"), (1, 2), (1, 2), 2, one, one, one, one)
    with pytest.raises(InputError, match="fit them with fit_polynomial"):
        VoltagePolynomials.load(tmp_path / "none.json")
    for text in ("{", "[]", '{"kind": "net"}', '{"kind": "feederlab voltage polynomials 1"}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="does not hold voltage polynomials"):
            VoltagePolynomials.load(tmp_path / "bad.json")
    path = VoltagePolynomials("street", "all", (polynomial(rng)[0],)).save(tmp_path / "p.json")
    path.write_text(path.read_text().replace('"order": 3', '"order": 2'))
    with pytest.raises(InputError, match="number of coefficients"):
        VoltagePolynomials.load(path)


def test_exponents():
    assert exponents(2, 2).tolist() == [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]


def test_neighbourhoods():
    feeder = two_agents()
    node = {bus: int(feeder.bus_node[bus]) for bus in range(4)}
    acting, zone = np.array([node[1], node[2], node[3]]), ("",) * feeder.n_nodes
    by = {rule: neighbourhoods(rule, acting, feeder, zone) for rule in ("all", "line", "1-3")}
    one, two, three = (node[k] for k in (1, 2, 3))
    assert by["all"] == {k: {one, two, three} for k in (one, two, three)}
    assert by["line"] == {one: {one, two}, two: {one, two, three}, three: {two, three}}
    assert by["1-3"] == {one: {one, three}, two: {two}, three: {one, three}}
    zoned = ["", "", "", ""]
    zoned[one] = zoned[two] = "west"
    in_zones = neighbourhoods("zone", acting, feeder, tuple(zoned))
    assert in_zones == {one: {one, two}, two: {one, two}, three: {three}}
    assert links_text({3: [1], 1: [3, 2]}) == "1-2/1-3"
    with pytest.raises(InputError, match=r"nothing acts at bus 0; devices act at \[1, 2, 3\]"):
        neighbourhoods("0-1", acting, feeder, zone)
    with pytest.raises(InputError, match="write pairs of buses"):
        links_text("1-2/3-x")
    with pytest.raises(UnknownNameError, match="did you mean 'zone'"):
        links_text("zones")
