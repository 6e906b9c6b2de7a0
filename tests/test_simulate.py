"""The closed loop, step by step, against hand-driven power flows."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from feederlab.controllers.base import GLOBAL, LOCAL, Controller, Information, Prepared, Setpoints, Settle
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError
from feederlab.models.objective import Objective
from feederlab.models.powerflow.pandapower import PandapowerFlow
from feederlab.models.scoring import voltage_penalty
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import example_scenario


@dataclass(frozen=True)
class Script(Controller):
    """Plays back setpoints, one per call (the last one for ever), and keeps what it was shown."""

    play: tuple = ()
    log: list = field(default_factory=list, compare=False, repr=False)
    how: Settle | None = None
    tasks: list = field(default_factory=list, compare=False, repr=False)

    sees: ClassVar[Information] = GLOBAL

    @property
    def settle(self):
        return self.how

    def prepare(self, task, *, seed=None):
        self.tasks.append((task, seed))
        return ScriptReady(self)


@dataclass(frozen=True)
class LocalScript(Script):
    sees: ClassVar[Information] = LOCAL


class ScriptReady(Prepared):
    def __init__(self, script):
        self.script = script

    def initial_state(self):
        return {"call": 0}

    def step(self, state, measurement):
        script = self.script
        script.log.append(measurement)
        wanted = script.play[min(state["call"], len(script.play) - 1)] if script.play else Setpoints()
        return wanted, {"call": state["call"] + 1}


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


@pytest.fixture(scope="module")
def noon(scenario):
    return scenario.window("2016-06-21 12:00", 4)


def solve(scenario, t, p, q, storage_p=0.0):
    """Voltages by pandapower at step `t` with the inverters at p + jq and all storage charging at `storage_p`."""
    feeder, series = scenario.feeder, scenario.series()
    injection = -series.load_mva[t]
    injection[feeder.inverters.node] += p + 1j * q
    injection[feeder.storages.node] -= storage_p
    return PandapowerFlow(feeder).solve(injection, slack_vm=float(series.slack_vm[t])).vm


def test_a_controller_that_writes_into_what_it_is_shown_is_stopped():
    @dataclass(frozen=True)
    class Vandal(Controller):
        sees: ClassVar[Information] = GLOBAL

        def prepare(self, task, *, seed=None):
            return VandalReady()

    class VandalReady(Prepared):
        def step(self, state, measurement):
            measurement.load_p_mw[:] = 0.0
            return Setpoints(), state

    with pytest.raises(ValueError, match="read-only"):
        simulate(example_scenario(), Vandal())


def test_an_objective_that_no_feeder_has_is_refused():
    with pytest.raises(InputError, match="single optimal power flows only"):
        simulate(example_scenario(), NoControl(), RunOptions(objective=Objective.parse("cost")))


def test_the_measurement_shows_the_new_loads_under_the_old_setpoints(noon):
    s = noon.feeder.inverters.s_mva
    script = Script((Setpoints(q_mvar=-0.2 * s), Setpoints(q_mvar=0.1 * s)))
    run = simulate(noon, script).data
    available = noon.series().p_available_mw
    for t, (before, after) in enumerate([(0 * s, -0.2 * s), (-0.2 * s, 0.1 * s), (0.1 * s, 0.1 * s)]):
        seen = script.log[t]
        assert seen.time == noon.times[t]
        np.testing.assert_allclose(seen.q_mvar, before, atol=1e-12)
        np.testing.assert_allclose(seen.vm, solve(noon, t, available[t], before), atol=1e-8)
        np.testing.assert_allclose(run.q_mvar[t], after, atol=1e-12)
        after_bus = noon.feeder.to_buses(solve(noon, t, available[t], after))
        np.testing.assert_allclose(run.vm_pu[t], after_bus, atol=1e-8)


def test_what_is_clipped_is_counted(noon):
    feeder, s = noon.feeder, noon.feeder.inverters.s_mva
    available = noon.series().p_available_mw
    play = (
        Setpoints(q_mvar=np.where(np.arange(6) < 2, 10 * s, 0.0)),  # two beyond the rating
        Setpoints(q_mvar=0 * s, p_mw=np.where(np.arange(6) == 1, -1.0, 0.0)),  # one below zero
        Setpoints(tap=np.array([9]), step=np.array([4, -1, 2])),  # a tap and two steps beyond their range
        Setpoints(storage_p_mw=np.array([5.0, 0.1]), q_mvar=np.full(6, np.nan)),  # one rate; six that are no number
    )
    run = simulate(noon, Script(play)).data
    assert run.clipped.to_numpy().tolist() == [2, 1, 3, 7]
    room = np.sqrt(s**2 - available[0] ** 2)
    np.testing.assert_allclose(run.q_mvar[0], np.where(np.arange(6) < 2, room, 0.0), atol=1e-12)
    np.testing.assert_array_equal(run.p_mw[1], 0.0)
    assert run.tap[2].item() == feeder.tap_changers.tap_max[0]
    assert run.step[2].to_numpy().tolist() == [3, 0, 2]
    np.testing.assert_array_equal(run.q_mvar[3], run.q_mvar[2])
    np.testing.assert_allclose(run.storage_p_mw[3], [0.3, 0.1])


def test_none_leaves_every_device_as_it_is(noon):
    first = Setpoints(
        q_mvar=np.full(6, 0.05), storage_p_mw=np.array([0.1, -0.1]), storage_q_mvar=np.array([0.05, 0.0]),
        tap=np.array([2]), step=np.array([0, 3, 2]),
    )  # fmt: skip
    run = simulate(noon, Script((first, Setpoints()))).data
    for name in ("q_mvar", "storage_p_mw", "storage_q_mvar", "tap", "step"):
        for t in range(1, 4):
            np.testing.assert_array_equal(run[name][t], run[name][0], err_msg=name)
    assert int(run.clipped.sum()) == 0


def test_a_cap_on_active_power_stands_until_it_is_lifted(scenario):
    morning = scenario.window("2016-06-21 06:00", 4)
    script = Script((Setpoints(p_mw=np.full(6, 0.02)), Setpoints()))
    run = simulate(morning, script).data
    available = morning.series().p_available_mw
    np.testing.assert_allclose(script.log[0].p_mw, available[0])
    np.testing.assert_allclose(script.log[1].p_mw, np.minimum(available[1], 0.02))
    np.testing.assert_allclose(script.log[2].p_mw, available[2])
    np.testing.assert_allclose(run.p_mw[0], np.minimum(available[0], 0.02))
    np.testing.assert_allclose(run.p_mw[1:], available[1:])


def test_storage_follows_its_energy_balance_and_stops_when_empty(scenario):
    day = scenario.window("2016-06-21 00:00", 16)
    units = scenario.feeder.storages
    run = simulate(day, Script((Setpoints(storage_p_mw=np.array([0.2, -0.2])),))).data
    soc, hours = units.soc.copy(), 0.25
    for t in range(16):
        np.testing.assert_allclose(run.soc[t], soc, atol=1e-12)
        p = run.storage_p_mw.to_numpy()[t]
        energy = soc * units.e_max_mwh + hours * np.where(p > 0, p * units.efficiency, p / units.efficiency)
        soc = energy / units.e_max_mwh
    assert soc[0] == pytest.approx(1.0)
    assert soc[1] == pytest.approx(units.e_min_mwh[1] / units.e_max_mwh[1])
    assert int(run.clipped[0]) == 0
    assert int(run.clipped[-1]) == 2


def test_taps_and_capacitors_act_on_the_grid(noon):
    base = simulate(noon, NoControl()).data.vm_pu
    raised = simulate(noon, Script((Setpoints(step=np.array([3, 3, 3])),))).data.vm_pu
    tapped = simulate(noon, Script((Setpoints(tap=np.array([-4])),))).data.vm_pu
    assert float((raised - base).min()) > -1e-9
    assert float((raised - base).max()) > 1e-3
    np.testing.assert_allclose((tapped - base).isel(bus=slice(0, 33)).mean(), 0.05, atol=0.01)


def test_settling_repeats_inside_the_step(noon):
    script = Script((Setpoints(q_mvar=np.full(6, 0.1)),), how=Settle("zero", 0.5, 1e-12, 4))
    run = simulate(noon.window(noon.start, 2), script).data
    assert [m.settle_round for m in script.log] == [0, 1, 2, 3] * 2
    assert run.rounds.to_numpy().tolist() == [4, 4]
    assert run.settled.to_numpy().tolist() == [False, False]
    np.testing.assert_allclose([m.q_mvar[0] for m in script.log[:4]], [0, 0.05, 0.075, 0.0875])
    np.testing.assert_allclose(script.log[4].q_mvar, 0.0)
    np.testing.assert_allclose(run.q_mvar, 0.1 * (1 - 0.5**4))


def test_settling_may_start_from_the_previous_setpoints(noon):
    script = Script((Setpoints(q_mvar=np.full(6, 0.1)),), how=Settle("previous", 0.5, 1e-12, 4))
    simulate(noon.window(noon.start, 2), script)
    np.testing.assert_allclose(script.log[4].q_mvar, 0.1 * (1 - 0.5**4))


def test_active_power_is_damped_too(noon):
    script = Script((Setpoints(p_mw=np.zeros(6)),), how=Settle("zero", 0.5, 1e-12, 3))
    run = simulate(noon.window(noon.start, 1), script).data
    np.testing.assert_allclose(run.p_mw[0], noon.series().p_available_mw[0] / 8)


@pytest.mark.parametrize("start", ["zero", "previous"])
@pytest.mark.parametrize("cap", [1.0, 10.0])
def test_a_settling_loop_follows_the_sun(scenario, start, cap):
    """A controller that wants no curtailment gets none on a sunrise, nor does an old curtailment outlive its cause."""
    morning = scenario.window("2016-06-21 05:30", 20)
    offered = morning.series().p_available_mw
    assert (np.diff(offered.sum(axis=1)) > 0).all()
    how = Settle(start, 0.5, 1e-12, 5)
    free = simulate(morning, Script((Setpoints(p_mw=cap * scenario.feeder.inverters.s_mva),), how=how)).data
    np.testing.assert_array_equal(free.p_mw, offered)
    capped = [Setpoints(p_mw=np.zeros(6))] * 5
    eased = simulate(morning, Script((*capped, Setpoints(p_mw=np.full(6, 9.0))), how=how)).data
    first = offered[0] * (1 - 0.5**5)
    held = np.array([first * (0.5 ** (5 * t) if start == "previous" else t == 0) for t in range(20)])
    np.testing.assert_allclose(eased.p_mw, offered - held, atol=1e-9)


def test_settling_stops_when_the_device_voltages_stand_still(noon):
    run = simulate(noon, Script((Setpoints(q_mvar=np.full(6, 0.1)),), how=Settle("zero", 1.0, 1e-9, 50))).data
    assert run.rounds.to_numpy().tolist() == [2] * 4
    assert bool(run.settled.all())


def test_delay_shows_the_measurement_of_earlier_steps(noon):
    script = Script()
    simulate(noon, script, RunOptions(delay=2))
    assert [m.time for m in script.log] == [noon.times[0], noon.times[0], noon.times[0], noon.times[1]]


def test_delayed_droop_settles_on_the_old_voltage(noon):
    """The settling part is re-stepped, the measurement is not: q goes to f(v of the step before)."""
    run = simulate(noon, VoltVar(tol=1e-10, max_rounds=500), RunOptions(delay=1)).data
    inverters = noon.feeder.inverters
    vm = run.vm_pu.sel(bus=inverters.bus).to_numpy()
    available = noon.series().p_available_mw
    for t in range(1, 4):
        wanted = np.sqrt(inverters.s_mva**2 - available[t - 1] ** 2) * np.clip(-(vm[t - 1] - 1) / 0.05, -1, 1)
        room = np.sqrt(inverters.s_mva**2 - available[t] ** 2)
        np.testing.assert_allclose(run.q_mvar[t], np.clip(wanted, -room, room), atol=1e-6)


def test_noise_and_lost_readings_reach_the_controller_but_not_the_grid(noon):
    perfect, noisy = Script(), Script()
    options = RunOptions(vm_noise=0.01, dropout=0.3, seed=5)
    quiet = simulate(noon, perfect).data
    loud = simulate(noon, noisy, options).data
    np.testing.assert_array_equal(quiet.vm_pu, loud.vm_pu)
    lost = np.array([np.isnan(m.vm) for m in noisy.log])
    assert 0.1 < lost.mean() < 0.5
    errors = np.array([n.vm - p.vm for n, p in zip(noisy.log, perfect.log, strict=True)])
    assert 0.005 < np.nanstd(errors) < 0.015
    again = Script()
    simulate(noon, again, options)
    for a, b in zip(noisy.log, again.log, strict=True):
        np.testing.assert_array_equal(a.vm, b.vm)


def test_noise_is_the_same_in_every_round_of_a_step(noon):
    script = Script((Setpoints(q_mvar=np.full(6, 1e-7)),), how=Settle("zero", 0.5, 1e-12, 3))
    simulate(noon.window(noon.start, 2), script, RunOptions(vm_noise=0.01, dropout=0.2))
    first, second = script.log[:3], script.log[3:]
    for step in (first, second):
        for m in step[1:]:
            np.testing.assert_allclose(m.vm, step[0].vm, atol=1e-6, equal_nan=True)
    assert not np.allclose(first[0].vm, second[0].vm, atol=1e-4, equal_nan=True)


def test_a_local_controller_gets_no_grid_and_sees_its_own_nodes_only(noon):
    script = LocalScript()
    simulate(noon, script)
    task, _ = script.tasks[0]
    assert task.feeder is None
    own = {*task.inverters.node, *task.storages.node, *task.capacitors.node, *task.tap_changers.node}
    assert set(np.flatnonzero(np.isfinite(script.log[0].vm))) == own


def test_mismatch_changes_what_controllers_know_and_not_the_grid(noon):
    right, wrong = Script(), Script()
    true = simulate(noon, right).data
    same = simulate(noon, wrong, RunOptions(mismatch=0.2, seed=1)).data
    np.testing.assert_array_equal(true.vm_pu, same.vm_pu)
    known = wrong.tasks[0][0].feeder.branches.two_port
    actual = noon.feeder.branches.two_port
    ratio = known.r / actual.r
    assert 0.8 <= ratio.min() < 0.95
    assert 1.05 < ratio.max() <= 1.2
    assert right.tasks[0][0].feeder is noon.feeder


def test_the_seed_reaches_the_controller(noon):
    script = Script()
    simulate(noon, script, RunOptions(seed=42))
    assert script.tasks[0][1] == 42


def test_an_unsolvable_step_is_recorded_not_raised(noon):
    feeder = replace(noon.feeder, loads=replace(noon.feeder.loads, scaling=np.full(32, 100.0)))
    for controller in (NoControl(), VoltVar()):
        run = simulate(replace(noon, feeder=feeder), controller).data
        assert not bool(run.converged.any())
        assert np.isnan(run.vm_pu).all()
    assert not bool(run.settled.any())


def test_progress_is_reported_per_step(noon):
    done = []
    simulate(noon, NoControl(), progress=done.append)
    assert sum(done) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"delay": -1},
        {"vm_noise": -0.1},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"mismatch": 1.0},
        {"record": "some"},
        {"vm_noise": float("nan")},
        {"vm_noise": float("inf")},
        {"seed": -1},
    ],
)
def test_impossible_options_are_refused(settings):
    with pytest.raises(InputError):
        RunOptions(**settings)


def test_the_task_prices_voltage_excess_for_the_objective_at_hand(scenario):
    objective = Objective.parse("voltage_deviation")
    task = scenario.task(objective)
    assert task.objective == objective
    assert task.voltage_penalty == voltage_penalty(objective, scenario.feeder)
