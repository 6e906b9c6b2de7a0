"""Rules, fixed positions and random switching of capacitor banks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_avr import reading

from feederlab.controllers.cap_rule import CapRule
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.random_switching import RandomSwitching
from feederlab.errors import InputError, UnknownNameError
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


def decided(controller, scenario, measurements):
    ready = controller.prepare(scenario.task(), seed=1)
    state, steps = ready.initial_state(), []
    for m in measurements:
        made, state = ready.step(state, m)
        steps.append(made.step.tolist())
    return steps


def test_by_voltage_with_a_delay(scenario):
    seen = [reading(scenario, vm) for vm in (0.97, 0.97, 1.0, 1.04, 1.04, np.nan)]
    assert decided(CapRule(delay=900), scenario, seen)[:2] == [[2, 2, 2], [2, 2, 2]]  # one step above the bank's 1
    assert decided(CapRule(delay=1800), scenario, seen) == [[1] * 3, [2] * 3, [1] * 3, [1] * 3, [0] * 3, [1] * 3]


def test_a_reactor_is_switched_the_other_way(scenario):
    task = scenario.task()
    reactors = replace(task, capacitors=replace(task.capacitors, q_step_mvar=-task.capacitors.q_step_mvar))
    ready = CapRule().prepare(reactors)
    assert ready.step(ready.initial_state(), reading(scenario, 0.97))[0].step.tolist() == [0, 0, 0]


def test_a_bank_without_supply_stays_as_it_is(scenario):
    task = scenario.task()
    nodes = np.array([-1, *task.capacitors.node[1:]])
    ready = CapRule().prepare(replace(task, capacitors=replace(task.capacitors, node=nodes)))
    assert ready.step(ready.initial_state(), reading(scenario, 0.97))[0].step.tolist() == [1, 2, 2]


def test_by_reactive_power(scenario):
    def arriving(q):
        return replace(reading(scenario, 1.0), capacitor_q_mvar=np.array(q))

    rule = CapRule(control="var", share=0.6)  # of steps of 0.15 MVAr
    assert decided(rule, scenario, [arriving([0.10, 0.08, -0.10])]) == [[2, 1, 0]]


def test_by_the_clock(scenario):
    def at(hour):
        return replace(reading(scenario, 1.0), time=pd.Timestamp("2016-06-21") + pd.Timedelta(hours=hour))

    hours = [0, 7.75, 8, 19.75, 20]
    by_day = decided(CapRule(control="time"), scenario, [at(h) for h in hours])
    assert [s[0] for s in by_day] == [0, 0, 3, 3, 0]
    by_night = decided(CapRule(control="time", hours="20-8"), scenario, [at(h) for h in hours])
    assert [s[0] for s in by_night] == [3, 3, 0, 0, 3]


def test_a_bank_that_follows_reactive_power_does_not_hunt(scenario):
    run = simulate(scenario, CapRule(control="var")).data
    assert 0 < int(run.capacitor_moves.sum()) <= 12
    assert abs(run.slack_q_mvar).mean() < abs(simulate(scenario, Fixed()).data.slack_q_mvar).mean()


def test_fixed_positions_stand(scenario):
    run = simulate(scenario, Fixed(step="0/3/2", tap="-2")).data
    assert (run.step == [0, 3, 2]).all()
    assert (run.tap == -2).all()
    assert int(run.capacitor_moves.sum()) == 1 + 2 + 1
    assert int(run.tap_moves.sum()) == 2


@pytest.mark.parametrize(("settings", "message"), [
    ({"step": "4"}, r"step 4 of device 0 is not possible; it takes 0..3"),
    ({"step": "1/1"}, "has 2 positions; the feeder has 3"),
    ({"tap": "-5"}, r"tap -5 of device 0 is not possible; it takes -4..4"),
    ({"step": "9" * 20}, "whole numbers like 1/0/2, not '9999"),
    ({"step": "on"}, "whole numbers like 1/0/2, not 'on'"),
])  # fmt: skip
def test_positions_that_do_not_exist(scenario, settings, message):
    with pytest.raises(InputError, match=message):
        Fixed(**settings).prepare(scenario.task())


def test_random_switching_follows_the_seed_and_visits_everything(scenario):
    runs = [simulate(scenario, RandomSwitching(), RunOptions(seed=seed)).data.step.to_numpy() for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert all(set(runs[0][:, k]) == {0, 1, 2, 3} for k in range(3))
    held = simulate(scenario, RandomSwitching(hold=4), RunOptions(seed=1)).data.step.to_numpy()
    assert all((held[k] == held[k - k % 4]).all() for k in range(len(held)))


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: CapRule(control="volts"), UnknownNameError, "did you mean"),
    (lambda: CapRule(low=1.0, high=0.9), InputError, "low < high"),
    (lambda: CapRule(share=0.4), InputError, "open again"),
    (lambda: CapRule(hours="8 to 20"), InputError, "written like 8-20"),
    (lambda: RandomSwitching(hold=0), InputError, "positive number"),
])  # fmt: skip
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_without_banks_it_says_what_there_is(scenario):
    task = scenario.task()
    bare = replace(task, capacitors=replace(task.capacitors, index=np.zeros(0, dtype=int)))
    for controller in (CapRule(), RandomSwitching(), Fixed(step="1")):
        with pytest.raises(InputError, match=r"no switched capacitor banks; it has tap changers \(avr"):
            controller.prepare(bare)
