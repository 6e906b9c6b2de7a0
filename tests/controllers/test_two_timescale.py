"""The two-timescale scheduler: when each layer decides, on what, and what stands in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.base import GLOBAL, Controller, Decision, Information, Prepared, Setpoints
from feederlab.controllers.cap_rule import CapRule
from feederlab.controllers.enumerate import Enumerate
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.none import NoControl
from feederlab.controllers.random_switching import RandomSwitching
from feederlab.controllers.registry import create
from feederlab.controllers.socp import Socp
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.controllers.together import Together
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.objective import Objective
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import example_scenario

SLOTS = 4


@pytest.fixture(scope="module")
def day():
    return example_scenario().window("2016-06-21 06:00", 5 * SLOTS)


@dataclass(frozen=True)
class Listening(Controller):
    """Keeps what it is shown, and sets what `script` says for each decision in turn."""

    script: tuple[Any, ...] = ()
    log: list[Any] = field(default_factory=list, compare=False)
    sees: ClassVar[Information] = Information(GLOBAL.scope, forecast=True)

    def prepare(self, task, *, seed=None):
        self.log.append(task)
        return _Listening(self)


class _Listening(Prepared):
    def __init__(self, settings):
        self._settings = settings

    def initial_state(self):
        return {"count": np.zeros(1, dtype=int)}

    def step(self, state, measurement):
        self._settings.log.append(measurement)
        script, k = self._settings.script, int(state["count"][0])
        return (script[k % len(script)] if script else Setpoints()), {"count": state["count"] + 1}


def test_the_slow_layer_sees_the_averages_of_the_interval_before(day):
    slow, fast = Listening(), Listening()
    run = simulate(day, TwoTimescale(slow, fast, "1h")).data
    (task, *seen), (_, *slots) = slow.log, fast.log
    assert task.step_s == 3600
    assert [m.time for m in seen] == list(day.times[::SLOTS])
    assert len(slots) == len(day.times)
    np.testing.assert_array_equal(seen[0].vm, slots[0].vm)
    for k, m in enumerate(seen[1:]):
        before = slots[k * SLOTS : (k + 1) * SLOTS]
        for name in ("vm", "load_p_mw", "p_available_mw", "q_mvar", "tap_q_mvar", "capacitor_p_mw"):
            np.testing.assert_allclose(getattr(m, name), np.mean([getattr(one, name) for one in before], axis=0))
    np.testing.assert_allclose(run.q_mvar, 0)


def test_what_it_sets_stands_and_the_fast_layer_sees_the_outcome(day):
    script = (Setpoints(step=np.array([3, 0, 0])), Setpoints(step=np.array([0, 2, 0]), tap=np.array([1])))
    fast = Listening((Setpoints(q_mvar=np.full(6, 0.01)),))
    run = simulate(day, TwoTimescale(Listening(script), fast, "1h")).data
    assert run.step.to_numpy()[:, 0].tolist() == [3] * 4 + [0] * 4 + [3] * 4 + [0] * 4 + [3] * 4
    assert run.tap.to_numpy()[:, 0].tolist() == [0] * 4 + [1] * 16  # only the second decision moves it
    for t, m in enumerate(fast.log[1:]):
        assert (m.settle_round, m.step.tolist()) == (0, run.step[t].values.tolist())
    assert run.rounds.to_numpy().tolist() == [2, 1, 1, 1] * 5
    moved = fast.log[1 + SLOTS]
    again = simulate(day.window(day.times[SLOTS], 1), Together((Fixed("0/2/0", "1"), NoControl()))).data
    assert np.abs(moved.vm - np.abs(again.vm_pu.to_numpy()[0])[day.feeder.node_bus]).max() < 0.02


def test_lost_readings_do_not_enter_the_averages(day):
    slow = Listening()
    simulate(day, TwoTimescale(slow, NoControl(), "1h"), RunOptions(dropout=0.3, seed=4))
    for m in slow.log[2:]:
        known = np.isfinite(m.vm)
        assert known.mean() > 0.9
        assert (m.vm[known] > 0.9).all()


def test_the_slow_forecast_is_in_intervals(day):
    slow = Listening()
    simulate(day, TwoTimescale(slow, NoControl(), "1h"))
    task, series = slow.log[0], day.series()
    ahead = task.forecast(day.times[SLOTS], 99)
    assert len(ahead) == 4
    np.testing.assert_allclose(ahead.load_mva[0], series.load_mva[SLOTS : 2 * SLOTS].mean(axis=0))
    assert list(ahead.times) == list(day.times[SLOTS::SLOTS])


def test_a_settling_fast_layer_settles_within_the_slot(day):
    run = simulate(day, TwoTimescale(Fixed("2"), VoltVar(), "30min")).data
    alone = simulate(day, Together((Fixed("2"), VoltVar()))).data
    np.testing.assert_allclose(run.vm_pu, alone.vm_pu, atol=1e-12)


@pytest.mark.parametrize("fast", [LinDistFlow(about="flat"), Socp(), VoltVar(), NoControl()])
@pytest.mark.parametrize("slow", [Fixed("1/0/2"), RandomSwitching(), CapRule(delay=0)])
def test_any_slow_with_any_fast(day, slow, fast):
    run = simulate(day, TwoTimescale(slow, fast, "1h")).data
    assert bool(run.converged.all())
    assert (np.diff(run.step, axis=0)[np.arange(1, len(run.time)) % SLOTS != 0] == 0).all()


def few_banks():
    scenario = example_scenario()
    net = scenario.feeder.net
    net.shunt["max_step"], net.shunt["step"] = 1, 0
    return type(scenario).build(type(scenario.feeder).from_pandapower(net, "few"), scenario.profiles, band=(0.95, 1.05))


def test_enumeration_finds_what_brute_force_finds():
    scenario = few_banks().window("2016-06-21 10:00", 1)
    objective = RunOptions(objective=Objective.parse("voltage_deviation"))
    for fast in (NoControl(), VoltVar(), LinDistFlow(about="flat")):
        found = simulate(scenario, TwoTimescale(Enumerate(), fast, "15min"), objective).data
        costs = {
            steps: simulate(scenario, TwoTimescale(Fixed("/".join(map(str, steps))), fast, "15min"), objective).data
            for steps in product((0, 1), repeat=3)
        }
        total = {steps: float(run.realised[0] + run.penalty[0]) for steps, run in costs.items()}
        assert float(found.realised[0] + found.penalty[0]) == pytest.approx(min(total.values()), rel=1e-9)
        assert tuple(found.step.to_numpy()[0]) == min(total, key=total.get)


def test_what_enumeration_promises_counts_storage():
    scenario = few_banks().window("2016-06-21 10:00", 4)
    options = RunOptions(objective=Objective.parse("losses=1+storage_use=0.5"))
    both = Together((StorageSchedule(charge="0-24", discharge="", share=0.2), Enumerate(NoControl())))
    run = simulate(scenario, both, options).data
    assert float(run.storage_p_mw.min()) > 0.01
    promised, cost = run.objective.to_numpy(), (run.realised + run.penalty).to_numpy()
    np.testing.assert_allclose(promised[1:], cost[1:], rtol=1e-9)  # from the second step on it has seen them charge


def test_moves_have_a_price():
    scenario, moves = few_banks().window("2016-06-21 06:00", 24), []
    for cost in (0.0, 1e3):
        slow = Enumerate(objective="voltage_deviation", move_cost=cost)
        moves.append(int(simulate(scenario, TwoTimescale(slow, NoControl(), "30min")).data.capacitor_moves.sum()))
    assert moves[1] == 0
    assert moves[0] > 0


def test_settings_follow_the_layer_they_belong_to():
    spec = "two_timescale:slow=cap_rule,control=var,share=0.7,fast=lindistflow,about=flat,every=15min"
    made = TwoTimescale(CapRule(control="var", share=0.7), LinDistFlow(about="flat"), "15min")
    assert create(spec) == made
    dotted = "two_timescale:every=15min,slow=cap_rule,fast=lindistflow,fast.about=flat,slow.control=var,slow.share=0.7"
    assert create(dotted) == made
    assert create("two_timescale:slow=enumerate,fast=volt_var").layers[0] == Enumerate(fast=VoltVar())
    with pytest.raises(UnknownNameError, match="colour"):
        create("two_timescale:slow=fixed,colour=red")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TwoTimescale(every="7min"), "an interval of 7min is no multiple of the step of 900 s"),
    (lambda: TwoTimescale(every="20min"), "no multiple"),
    (lambda: TwoTimescale(every="often"), "'often' is no duration"),
    (lambda: TwoTimescale(every="-5min"), "positive duration"),
    (lambda: TwoTimescale(slow=VoltVar()), "VoltVar is a fast local loop"),
    (lambda: Enumerate(limit=7), "64 configurations are more than the limit of 7"),
])  # fmt: skip
def test_what_cannot_work_is_said(day, make, message):
    with pytest.raises(InputError, match=message):
        make().prepare(day.task())


def test_interval_times_are_those_of_the_run(day):
    assert pd.Timedelta(TwoTimescale(every="1h").interval) == SLOTS * day.step


@pytest.mark.parametrize("fast", [LinDistFlow(), VoltVar()])
def test_what_the_slow_layer_says_of_its_decision_is_recorded(day, fast):
    said = Setpoints(step=np.array([2, 0, 0]), info=Decision("HiGHS", "time limit", 1, solver_time_s=0.5, mip_gap=0.2))
    moving = replace(said, step=np.array([1, 1, 0]))
    run = simulate(day, TwoTimescale(Listening((said, moving)), fast, "1h"))
    asked = np.arange(len(day.times)) % SLOTS == 0
    np.testing.assert_array_equal(run.data.rung, np.where(asked, 1, 0))
    np.testing.assert_array_equal(run.data.mip_gap, np.where(asked, 0.2, np.nan))
    np.testing.assert_array_equal(run.timing.solver_s >= 0.5, asked)


@pytest.mark.parametrize("layers", [
    {"slow": TwoTimescale()}, {"fast": TwoTimescale()}, {"fast": Together((TwoTimescale(), Fixed()))},
])  # fmt: skip
def test_layers_within_layers_are_refused(layers):
    with pytest.raises(InputError, match="cannot be, or hold, a two_timescale"):
        TwoTimescale(**layers)


def test_a_settling_fast_layer_is_averaged_as_it_settled(day):
    slow, fast = Listening(), VoltVar(tol=1e-7, max_rounds=500)
    run = simulate(day, TwoTimescale(slow, fast, "1h")).data
    at = day.feeder.inverters.node[day.feeder.inverters.node >= 0]
    buses = day.feeder.node_bus[at]
    settled = run.vm_pu.sel(bus=buses).to_numpy().reshape(-1, SLOTS, len(at)).mean(axis=1)
    assert float(np.abs(run.q_mvar).max()) > 0.01
    for m, vm, q in zip(slow.log[2:], settled, run.q_mvar.to_numpy().reshape(-1, SLOTS, len(at)).mean(axis=1),
                        strict=False):  # fmt: skip
        np.testing.assert_allclose(m.vm[at], vm, atol=1e-6)
        np.testing.assert_allclose(m.q_mvar, q, atol=1e-4)
