from dataclasses import replace

import numpy as np
import pytest

from feederlab.controllers.feedback import Feedback
from feederlab.controllers.none import NoControl
from feederlab.errors import InputError
from feederlab.models.scenario import Scenario
from feederlab.models.sensitivity import Sensitivity
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


def convex_optimum(scenario, task, m):
    """The same problem, written down afresh and given to an interior-point solver."""
    import cvxpy as cp

    feeder, inverters = scenario.feeder, scenario.feeder.inverters
    model = Sensitivity.of(feeder, inverters.node)
    p = np.minimum(m.p_available_mw, inverters.s_mva)
    injection = -(m.load_p_mw + 1j * m.load_q_mvar)
    injection[inverters.node] += p
    injection[feeder.storages.node] -= m.storage_p_mw + 1j * m.storage_q_mvar
    slope = model.loss_at_rest + model.loss_by_p @ injection.real + model.loss_by_q @ injection.imag
    q = cp.Variable(len(inverters))
    v = m.vm**2 + model.v_by_q @ (q - m.q_mvar)
    low, high = task.band**2
    keep = np.arange(len(low)) != feeder.slack
    outside = cp.pos(v - high)[keep] + cp.pos(low - v)[keep]
    weights, goal = task.objective, 0
    curvature = model.loss_by_q[:, inverters.node]
    goal += weights.weight("losses") * (cp.quad_form(q, cp.psd_wrap((curvature + curvature.T) / 2)) / 2 + slope @ q)
    goal += weights.weight("voltage_deviation") * cp.sum_squares(v[keep] - weights.v0**2)
    goal += weights.weight("control_effort") * cp.sum_squares(q / inverters.s_mva)
    room = np.sqrt(inverters.s_mva**2 - p**2)
    cp.Problem(cp.Minimize(goal + task.voltage_penalty * cp.sum(outside)), [cp.abs(q) <= room]).solve(cp.CLARABEL)
    return q, goal, cp.sum(outside)


@pytest.mark.parametrize("objective", ["losses", "voltage_deviation", "losses=1+control_effort=0.01"])
@pytest.mark.parametrize("band", [(0.95, 1.05), (0.97, 1.02)])
def test_it_finds_the_convex_optimum(scenario, objective, band):
    narrow = scenario.with_band(*band)
    task = narrow.task(objective)
    prepared = Feedback(iterations=20000, tol=1e-7, margin=0.0).prepare(task)
    for m in Case(Feedback(), narrow, 1e-6, 0).measurements:
        q, goal, outside = convex_optimum(narrow, task, m)
        best, least = goal.value, outside.value
        q.value = prepared.step(prepared.initial_state(), m)[0].q_mvar
        assert goal.value == pytest.approx(best, rel=1e-4, abs=1e-6)
        assert outside.value == pytest.approx(least, abs=2e-6)


def test_it_beats_no_control_and_brings_the_voltage_into_the_band(scenario):
    none, feedback = (simulate(scenario, c).data for c in (NoControl(), Feedback()))
    low, high = scenario.band[:, 1]

    def out(run):
        vm = run.vm_pu.to_numpy()
        return float(np.mean((vm < low) | (vm > high)))

    assert out(none) > 0.05
    assert out(feedback) == 0.0
    assert float(feedback.losses_mw.mean()) < 0.8 * float(none.losses_mw.mean())
    assert int(feedback.clipped.sum()) == 0


def test_measured_voltages_make_up_for_a_wrong_model(scenario):
    window = scenario.window("2016-06-21 17:00", 8).with_band(0.965, 1.05)
    wrong = RunOptions(mismatch=0.5, seed=3)
    assert float(simulate(window, NoControl()).data.vm_pu.min()) < 0.95
    lowest = simulate(window, Feedback(rounds=8, margin=0.0), wrong).data.vm_pu.min(dim="bus")
    assert float(lowest.min()) > 0.965 - 5e-4


def test_a_lost_reading_is_replaced_by_the_last_one(scenario):
    case = Case(Feedback(), scenario, 1e-6, 0)
    prepared = case.prepare()
    _, state = prepared.step(prepared.initial_state(), case.measurements[0])
    whole, _ = prepared.step(state, case.measurements[0])
    partly = replace(case.measurements[0], vm=np.where(np.arange(34) % 3 == 0, np.nan, case.measurements[0].vm))
    np.testing.assert_allclose(prepared.step(state, partly)[0].q_mvar, whole.q_mvar, atol=1e-9)


def test_what_reactive_power_cannot_do_is_refused(scenario):
    task = scenario.task("cost")
    with pytest.raises(InputError, match="single optimal power flows only"):
        Feedback().prepare(task)
    with pytest.raises(InputError, match="iterations >= 1"):
        Feedback(iterations=0)
    with pytest.raises(InputError, match="leaves nothing of the voltage band"):
        Feedback(margin=0.05).prepare(scenario.task())


def test_a_feeder_without_inverters_is_left_alone():
    import pandapower.networks as networks
    import pandas as pd

    from feederlab.models.feeder import Feeder

    net = networks.case33bw()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 0.9, 1.1
    times = pd.date_range("2016-01-01", periods=2, freq="15min")
    load = pd.DataFrame([net.load.p_mw.to_numpy()] * 2, index=times, columns=net.load.index)
    plain = Scenario.build(Feeder.from_pandapower(net), {("load", "p_mw"): load})
    assert simulate(plain, Feedback()).data.q_mvar.shape == (2, 0)
