"""Optimal power flow of feeders: published compensation optima, other methods, and the plant's own scoring."""

import numpy as np
import pandapower
import pandapower.networks as networks
import pytest

from feederlab.errors import InputError
from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint

LOSSES = Objective()


def case33(inverters: dict[int, tuple[float, float]]) -> Feeder:
    """The 33-bus feeder with inverters {bus: (p, s)}, MW and MVA."""
    net = networks.case33bw()
    for bus, (p, s) in inverters.items():
        pandapower.create_sgen(net, bus, p_mw=p, sn_mva=s, controllable=True)
    return Feeder.from_pandapower(net)


def with_pv() -> Feeder:
    return case33({12: (0.5, 0.6), 17: (0.6, 0.72), 21: (0.4, 0.48), 24: (1.0, 1.2), 32: (0.5, 0.6), 29: (0.0, 0.7)})


def point_of(feeder: Feeder, load: float = 1.0, sun: float = 1.0, **settings: object) -> OperatingPoint:
    total = np.zeros(feeder.n_nodes, dtype=complex)
    np.add.at(total, feeder.loads.node, load * (feeder.loads.p_mw + 1j * feeder.loads.q_mvar))
    return OperatingPoint(total, sun * feeder.inverters.p_mw, feeder.slack_vm, **settings)


def band(feeder: Feeder, low: float = 0.95, high: float = 1.05) -> FloatArray:
    return np.repeat([[low], [high]], feeder.n_nodes, axis=1)


@pytest.mark.parametrize(
    ("buses", "losses_kw"),
    [([30], 143.602), ([12, 30], 135.753), ([13, 24, 30], 132.173), (range(2, 34), 129.254)],
)
def test_loss_optimal_compensation_of_case33bw(buses, losses_kw: float) -> None:
    feeder = case33({bus - 1: (0.0, 5.0) for bus in buses})  # the papers count buses from 1
    model, point = AcOpf(feeder, band(feeder, 0.0, np.inf), LOSSES, 1e3), point_of(feeder)
    found = model.solve(point)
    assert found.solved
    assert found.objective * 1e3 == pytest.approx(losses_kw, abs=6e-4)
    assert model.verify(point, found.q_mvar, found.p_mw)[0] == pytest.approx(found.cost, rel=1e-7)


@pytest.mark.parametrize("objective", ["losses", "substation_import", "losses=1+control_effort=0.02", "curtailment"])
@pytest.mark.parametrize("curtail", [False, True])
def test_reaches_the_certified_bound(objective: str, curtail: bool) -> None:
    feeder = with_pv()
    wanted = Objective.parse(objective)
    if objective == "curtailment" and not curtail:
        wanted = Objective.parse("curtailment=1+losses=1")
    relaxation = Relaxation(feeder, band(feeder), wanted, 400.0, curtail=curtail)
    model = AcOpf(feeder, band(feeder), wanted, 400.0, curtail=curtail)
    point = point_of(feeder, load=0.6)
    found, bound = model.solve(point), relaxation.solve(point).bound
    cost, _ = model.verify(point, found.q_mvar, found.p_mw)
    assert found.solved
    assert found.cost == pytest.approx(cost, rel=1e-6, abs=1e-7)
    assert bound - 1e-7 <= cost <= bound + 2e-6 * max(abs(bound), 1.0)


def test_respects_devices_and_band() -> None:
    feeder = with_pv()
    point, s = point_of(feeder, load=0.2, sun=1.1), feeder.inverters.s_mva
    for curtail in (False, True):
        model = AcOpf(feeder, band(feeder, 0.97, 1.03), LOSSES, 400.0, curtail=curtail)
        idle = model.verify(point, *model.feasible(point, np.zeros_like(s)))[1].vm
        assert idle.max() > 1.03
        found = model.solve(point)
        assert found.solved
        assert np.all(np.hypot(found.p_mw, found.q_mvar) <= s + 1e-8)
        assert np.all(found.p_mw <= np.minimum(point.p_available_mw, s) + 1e-9)
        vm = np.abs(model.verify(point, found.q_mvar, found.p_mw)[1].u)
        assert vm.min() > 0.97 - 1e-6
        assert vm.max() < 1.03 + 1e-6
        assert found.excess < 1e-6
    assert found.p_mw.sum() < point.p_available_mw.sum() - 0.05  # losses alone make it worth curtailing


def test_an_impossible_band_costs_a_penalty_not_an_answer() -> None:
    feeder = with_pv()
    model, point = AcOpf(feeder, band(feeder, 0.99, 1.0), LOSSES, 400.0), point_of(feeder, load=1.3, sun=0.0)
    found = model.solve(point)
    assert found.solved
    assert found.excess > 0.01
    assert found.cost == pytest.approx(found.objective + 400.0 * found.excess)
    starts = [model.start(point, q) for q in (feeder.inverters.s_mva, -feeder.inverters.s_mva)]
    least = model.least_violation(point, [None, *starts])
    assert least.excess <= found.excess + 1e-8
    proven = Relaxation(feeder, band(feeder, 0.99, 1.0), LOSSES, 400.0).least_violation(point).bound
    assert 0.0 < proven <= least.excess + 1e-8


def test_meshed_feeder_beats_any_random_setpoints() -> None:
    net = networks.case33bw()
    net.line["in_service"] = True
    for bus in (17, 24, 32):
        pandapower.create_sgen(net, bus, p_mw=0.4, sn_mva=0.9, controllable=True)
    feeder = Feeder.from_pandapower(net)
    assert not feeder.is_radial
    model, point, rng = AcOpf(feeder, band(feeder), LOSSES, 400.0), point_of(feeder), np.random.default_rng(0)
    found = model.solve(point)
    best, _ = model.verify(point, found.q_mvar, found.p_mw)
    assert found.solved
    near = found.q_mvar + rng.normal(scale=0.02, size=(20, 3))
    for q in [*near, *rng.uniform(-0.8, 0.8, (20, 3))]:
        feasible = model.feasible(point, q)
        assert model.verify(point, *feasible)[0] >= best - 1e-9


def test_phase_shifts_taps_and_capacitors() -> None:
    """An 110/20 kV transformer of vector group Dyn5, tap positions, and a capacitor bank; radial, so a bound exists."""
    net = networks.create_cigre_network_mv(with_der="pv_wind")
    net.sgen["controllable"] = True
    net.sgen["sn_mva"] = 1.2 * net.sgen.p_mw
    net.trafo[["tap_min", "tap_max", "tap_neutral", "tap_pos", "tap_step_percent"]] = -4, 4, 0, 0, 1.5
    net.trafo["shift_degree"] = 150.0
    net.trafo["tap_side"], net.trafo["tap_changer_type"] = "hv", "Ratio"
    pandapower.create_shunt(net, 6, q_mvar=-0.2, step=1, max_step=3, controllable=True)
    feeder = Feeder.from_pandapower(net)
    assert np.any(np.abs(feeder.branches.two_port.shift_rad) > 1)
    model, costs = AcOpf(feeder, band(feeder, 0.9, 1.1), LOSSES, 400.0), []
    relaxation = Relaxation(feeder, band(feeder, 0.9, 1.1), LOSSES, 400.0)
    for tap, step in ((0, 1), (-3, 0), (2, 3)):
        settings = {"taps": np.full(len(feeder.tap_changers), tap), "steps": np.array([step])}
        point = point_of(feeder, load=0.7, **settings)
        found = model.solve(point)
        costs.append(model.verify(point, found.q_mvar, found.p_mw)[0])
        assert found.solved
        assert costs[-1] == pytest.approx(relaxation.solve(point).bound, rel=1e-5)
    assert len(set(np.round(costs, 6))) == 3


def test_start_without_a_power_flow_is_the_unloaded_feeder() -> None:
    feeder = with_pv()
    model, point = AcOpf(feeder, band(feeder), LOSSES, 400.0), point_of(feeder, load=50.0)
    start = model.start(point, np.zeros(len(feeder.inverters)))
    np.testing.assert_allclose(np.abs(start.u), feeder.slack_vm, atol=1e-9)
    assert not model.solve(point, start).solved


def test_warm_start_is_the_same_optimum_sooner() -> None:
    feeder = with_pv()
    model = AcOpf(feeder, band(feeder), LOSSES, 400.0)
    before, point = model.solve(point_of(feeder, load=0.8)), point_of(feeder, load=0.82)
    warm, cold = model.solve(point, before.end), model.solve(point)
    assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
    assert warm.iterations < cold.iterations


def test_refuses_cost_and_voltage_controlled_generators() -> None:
    feeder = with_pv()
    with pytest.raises(InputError, match="objective 'cost'"):
        AcOpf(feeder, band(feeder), Objective((("cost", 1.0),)), 1.0)
    net = networks.case33bw()
    pandapower.create_gen(net, 10, p_mw=0.1, vm_pu=1.0)
    held = Feeder.from_pandapower(net)
    with pytest.raises(InputError, match="voltage-controlled generators"):
        AcOpf(held, band(held), LOSSES, 1.0)
