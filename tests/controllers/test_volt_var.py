from dataclasses import replace

import numpy as np
import pytest

from feederlab.controllers.base import Settle
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.powerflow.pandapower import PandapowerFlow
from feederlab.models.sensitivity import Sensitivity
from feederlab.simulate import simulate
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


@pytest.fixture(scope="module")
def measurement(scenario):
    return Case(VoltVar(), scenario, 1e-6, 0).measurements[1]


def decide(controller, scenario, measurement):
    prepared = Case(controller, scenario, 1e-6, 0).prepare()
    return prepared.step(prepared.initial_state(), measurement)[0]


def at_noon(scenario, steps=1):
    return scenario.window("2016-06-21 12:00", steps)


def test_mapdn_is_the_published_rule(scenario, measurement):
    inverters = scenario.feeder.inverters
    q = decide(VoltVar(), scenario, measurement).q_mvar
    for i, node in enumerate(inverters.node):
        v = measurement.vm[node]
        q_max = np.sqrt(inverters.s_mva[i] ** 2 - measurement.p_available_mw[i] ** 2)
        rule = q_max if v <= 0.95 else -q_max if v > 1.05 else -q_max * (v - 1.0) / 0.05
        assert q[i] == pytest.approx(rule, abs=1e-12)


def test_p1_settling_by_the_letter_on_the_reference_engine(scenario):
    """q <- 0.9 q + 0.1 f(v) from q = 0 until the PV nodes' voltages move less than 1e-4, by pandapower."""
    window = at_noon(scenario)
    feeder, series, flow = scenario.feeder, window.series(), PandapowerFlow(scenario.feeder)
    inverters, available = feeder.inverters, series.p_available_mw[0]
    q_max = np.sqrt(inverters.s_mva**2 - available**2)
    q, rounds, before = np.zeros(len(inverters)), 0, None
    while True:
        injection = -series.load_mva[0]
        injection[inverters.node] += available + 1j * q
        vm = flow.solve(injection).vm[inverters.node]
        if before is not None and np.linalg.norm(vm - before) < 1e-4:
            break
        before, rounds = vm, rounds + 1
        q = 0.9 * q + 0.1 * q_max * np.clip(-(vm - 1) / 0.05, -1, 1)
    run = simulate(window, VoltVar()).data
    assert run.rounds.item() == rounds > 5
    assert bool(run.settled)
    np.testing.assert_allclose(run.q_mvar[0], q, atol=1e-7)


@pytest.mark.parametrize("curve", ["mapdn", "ieee1547_a", "ieee1547_b", "rule21", "hawaii14h", "vde4105"])
@pytest.mark.parametrize("start", ["zero", "previous"])
def test_every_preset_settles_on_its_curve(scenario, curve, start):
    controller = VoltVar(curve=curve, start=start, tol=1e-10, max_rounds=400)
    run = simulate(at_noon(scenario, 3), controller).data
    assert bool(run.settled.all())
    assert int(run.clipped.sum()) == 0
    inverters = scenario.feeder.inverters
    for t in range(3):
        vm = run.vm_pu.sel(bus=inverters.bus).to_numpy()[t]
        available = run.p_available_mw.to_numpy()[t]
        wanted = {
            "mapdn": np.clip(-(vm - 1) / 0.05, -1, 1) * np.sqrt(inverters.s_mva**2 - available**2),
            "ieee1547_b": -0.44 * np.clip((np.abs(vm - 1) - 0.02) / 0.06, 0, 1) * np.sign(vm - 1) * inverters.s_mva,
        }.get(curve)
        if wanted is not None:
            np.testing.assert_allclose(run.q_mvar[t], wanted, atol=1e-6)


def test_watt_priority_keeps_p_and_var_priority_keeps_q(scenario, measurement):
    steep = "0.90:1/0.97:1/0.98:1/1.2:1"  # asks for q = S everywhere
    bright = replace(measurement, p_available_mw=0.95 * scenario.feeder.inverters.s_mva)
    s = scenario.feeder.inverters.s_mva
    watt = decide(VoltVar(curve=steep), scenario, bright)
    assert watt.p_mw is None
    np.testing.assert_allclose(watt.q_mvar, s * np.sqrt(1 - 0.95**2))
    var = decide(VoltVar(curve="0.9:0.6/1.2:0.6", priority="var"), scenario, bright)
    np.testing.assert_allclose(var.q_mvar, 0.6 * s)
    np.testing.assert_allclose(var.p_mw, 0.8 * s)


def test_var_priority_costs_energy_in_the_closed_loop(scenario):
    curve = "0.9:0.9/0.999:0.9/1.0:0.9/1.1:0.9"
    watt = simulate(at_noon(scenario), VoltVar(curve=curve, tol=1e-8)).data
    var = simulate(at_noon(scenario), VoltVar(curve=curve, priority="var", tol=1e-8, max_rounds=300)).data
    s = scenario.feeder.inverters.s_mva
    np.testing.assert_allclose(watt.p_mw[0], watt.p_available_mw[0])
    np.testing.assert_allclose(var.q_mvar[0], 0.9 * s, rtol=1e-5)
    np.testing.assert_allclose(var.p_mw[0], np.minimum(var.p_available_mw[0], np.sqrt(0.19) * s), rtol=1e-4, atol=1e-9)


def test_a_lost_reading_leaves_the_last_one_standing(scenario, measurement):
    prepared = Case(VoltVar(), scenario, 1e-6, 0).prepare()
    first, state = prepared.step(prepared.initial_state(), measurement)
    lost = replace(measurement, vm=np.full(len(measurement.vm), np.nan))
    second, _ = prepared.step(state, lost)
    np.testing.assert_array_equal(first.q_mvar, second.q_mvar)
    before_any, _ = prepared.step(prepared.initial_state(), lost)
    np.testing.assert_array_equal(before_any.q_mvar, 0.0)


def test_the_stability_condition_separates_settling_from_oscillating(scenario):
    """A damped droop settles if damping * (1 + rho) < 2, rho the spectral radius of diag(K S) dvm/dq."""
    night = scenario.window("2016-06-21 00:00", 1)
    inverters = scenario.feeder.inverters
    vm0 = simulate(night, VoltVar(curve="0.5:0/1.5:0")).data.vm_pu.sel(bus=inverters.bus).to_numpy()[0]
    by_q = Sensitivity.of(scenario.feeder, inverters.node).v_by_q[inverters.node] / (2 * vm0[:, None])
    slope = 60.0
    rho = float(np.abs(np.linalg.eigvals(slope * inverters.s_mva[:, None] * by_q)).max())
    # A line of this slope through each voltage near its own working point, wide enough not to saturate.
    curve = f"{0.95 - 1 / slope}:1/{0.95 + 1 / slope}:-1"
    limit = 2 / (1 + rho)
    assert 0.05 < limit < 0.9
    calm = simulate(night, VoltVar(curve=curve, damping=0.8 * limit, tol=1e-7, max_rounds=500)).data
    wild = simulate(night, VoltVar(curve=curve, damping=min(1.25 * limit, 1.0), tol=1e-7, max_rounds=500)).data
    assert bool(calm.settled.all())
    assert not bool(wild.settled.any())
    assert int(wild.rounds[0]) == 500


def test_response_time_limits_the_rounds_of_a_step():
    settle = VoltVar(curve="ieee1547_b", response_s=5.0).settle
    assert settle.start == "previous"
    # One round of damping 0.1 lasts tau ln(1 / 0.9), tau = 5 / ln 10.
    assert settle.rounds(1.0) == int(1.0 / (5 / np.log(10) * np.log(1 / 0.9))) == 4
    assert settle.rounds(0.01) == 1
    assert settle.rounds(3600.0) == settle.max_rounds
    assert VoltVar().settle.rounds(0.01) == 100


def test_open_loop_response_reaches_90_percent_in_the_response_time(scenario):
    """With a curve that ignores the voltage, q follows 1 - exp(-t / tau)."""
    controller = VoltVar(curve="0.5:0.3/1.5:0.3", response_s=10.0, damping=0.01, tol=1e-12)
    seconds = scenario.resample("1s").window("2016-06-21 00:00", 10)
    run = simulate(seconds, controller).data
    assert run.q_mvar.to_numpy()[-1] / (0.3 * scenario.feeder.inverters.s_mva) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    "settings", [{"damping": 0.0}, {"damping": 1.1}, {"tol": 0.0}, {"max_rounds": 0}, {"response_s": -1.0}]
)
def test_impossible_settling_is_refused(settings):
    with pytest.raises(InputError, match="settling loop"):
        VoltVar(**settings)


def test_unknown_words_are_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean 'ieee1547_b'"):
        VoltVar(curve="ieee1547b")
    with pytest.raises(UnknownNameError, match="did you mean 'watt'"):
        VoltVar(priority="watts")
    with pytest.raises(UnknownNameError, match="known: previous, zero"):
        Settle(start="middle")
