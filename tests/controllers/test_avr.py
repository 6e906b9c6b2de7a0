"""The tap changer's rule: deadband, delay, the direction of the taps, and the compensated drop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.avr import Avr
from feederlab.controllers.base import Measurement
from feederlab.errors import InputError
from feederlab.models.plant import DeviceState, Plant
from feederlab.models.powerflow.base import engine
from feederlab.simulate import simulate
from feederlab.testing import example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


def reading(scenario, vm: float, tap: int = 0, p: float = 0.0, q: float = 0.0) -> Measurement:
    feeder = scenario.feeder
    plant = Plant(feeder, engine(feeder), 0.25)
    devices, sun = DeviceState.initial(feeder), np.zeros(len(feeder.inverters))
    load = np.zeros(feeder.n_nodes, dtype=complex)
    seen = Measurement.take(pd.Timestamp("2016-06-21"), 0, plant.solve(load, devices, 1.0), load, devices, sun, 1.0)
    one = np.ones(1)
    return replace(
        seen, vm=np.full(feeder.n_nodes, vm), tap=np.array([tap]), tap_p_mw=p * one, tap_q_mvar=q * one
    )  # fmt: skip


@pytest.mark.parametrize(("vm", "moves"), [(1.0, 0), (1.009, 0), (0.991, 0), (1.011, 1), (0.985, -1), (1.031, 2),
                                           (0.90, -4), (np.nan, 0)])  # fmt: skip
def test_it_moves_by_the_error(scenario, vm, moves):
    # The taps are on the high-voltage side, 1.25 % each: one position up lowers the busbar's voltage.
    ready = Avr().prepare(scenario.task())
    made, _ = ready.step(ready.initial_state(), reading(scenario, vm))
    assert made.tap.tolist() == [moves]


def test_taps_on_the_other_winding_move_the_other_way(scenario):
    task = scenario.task()
    other = replace(task, tap_changers=replace(task.tap_changers, rise_pu=-task.tap_changers.rise_pu))
    ready = Avr().prepare(other)
    assert ready.step(ready.initial_state(), reading(scenario, 1.03))[0].tap.tolist() == [-2]


def test_it_waits_until_the_delay_has_passed_on_one_side(scenario):
    ready = Avr(delay=2000).prepare(scenario.task())  # steps of 900 s
    state, taps = ready.initial_state(), []
    for vm in (1.03, 1.03, 1.0, 1.03, 1.03, 0.97, 1.03, 1.03, 1.03):
        made, state = ready.step(state, reading(scenario, vm))
        taps.append(int(made.tap[0]))
    assert taps == [0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_the_compensated_drop_is_that_of_a_line(scenario):
    kv, p, q, r, x = 12.66, 3.0, 1.5, 0.8, 1.2
    u = 1.02 * kv
    far = abs(u - (r + 1j * x) * np.conj((p + 1j * q) / u)) / kv  # exact two-bus drop, sending-end power given
    ready = Avr(r=r, x=x, target=far, deadband=0.007).prepare(scenario.task())
    assert ready.step(ready.initial_state(), reading(scenario, 1.02, p=p, q=q))[0].tap.tolist() == [0]
    for shift, moves in ((0.008, -1), (-0.008, 1)):
        ready = Avr(r=r, x=x, target=far + shift, deadband=0.007).prepare(scenario.task())
        assert ready.step(ready.initial_state(), reading(scenario, 1.02, p=p, q=q))[0].tap.tolist() == [moves]


def test_it_holds_its_busbar_over_a_day_and_rests(scenario):
    run = simulate(scenario, Avr(target=1.02)).data
    node = scenario.feeder.tap_changers.node[0]
    bus = scenario.feeder.node_bus[node]
    vm = run.vm_pu.sel(bus=bus).to_numpy()
    assert (np.abs(vm - 1.02) < 0.75 * 0.0125 + 0.005).all()
    assert 0 < int(run.tap_moves.sum()) < 12
    assert int(run.clipped.sum()) == 0


def test_what_cannot_work_is_said(scenario):
    task = scenario.task()
    none = replace(task, tap_changers=replace(task.tap_changers, index=np.zeros(0, dtype=int)))
    with pytest.raises(InputError, match=r"no tap changers; it has switched capacitor banks \(cap_rule"):
        Avr().prepare(none)
    with pytest.raises(InputError, match=r"too narrow for transformer 0.*give more than 0.00625"):
        Avr(deadband=0.006).prepare(task)
    with pytest.raises(InputError, match="target must lie"):
        Avr(target=12.6)
