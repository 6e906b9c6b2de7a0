"""The plant never lets a device leave its limits, counts what it refuses, and keeps the energy balance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest
from grids import small_net
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.models.feeder import Feeder
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine

STEP_H = 0.25


def build_plant() -> Plant:
    net = small_net()
    pp.create_sgen(net, 2, 0.02, 0.0, sn_mva=0.02, controllable=True)
    feeder = Feeder.from_pandapower(net)
    return Plant(feeder, engine(feeder), STEP_H)


PLANT = build_plant()
_any = st.one_of(st.floats(-1, 1), st.just(np.nan), st.just(np.inf), st.just(-np.inf), st.floats(-0.03, 0.03))


def arrays(length, value=_any):
    return st.one_of(st.none(), st.lists(value, min_size=length, max_size=length).map(np.array))


wanted = st.builds(
    Wanted, q_mvar=arrays(2), p_mw=arrays(2), storage_p_mw=arrays(1), storage_q_mvar=arrays(1),
    tap=arrays(1, st.integers(-9, 9)), step=arrays(1, st.integers(-3, 9)),
)  # fmt: skip
available = st.lists(st.floats(0, 0.08), min_size=2, max_size=2).map(np.array)


def assert_within_limits(state: DeviceState, p_available) -> None:
    feeder, store = PLANT.feeder, PLANT.feeder.storages
    assert (state.p_mw >= 0).all()
    assert (state.p_mw <= p_available).all()
    assert (np.hypot(state.p_mw, state.q_mvar) <= feeder.inverters.s_mva * (1 + 1e-12)).all()
    assert (store.p_min_mw <= state.storage_p_mw).all()
    assert (state.storage_p_mw <= store.p_max_mw).all()
    assert (np.hypot(state.storage_p_mw, state.storage_q_mvar) <= store.s_mva * (1 + 1e-12)).all()
    assert (store.e_min_mwh - 1e-12 <= state.soc * store.e_max_mwh).all()
    assert (state.soc <= 1 + 1e-12).all()
    assert -2 <= state.tap[0] <= 2
    assert 0 <= state.step[0] <= 3


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(wanted, available), min_size=1, max_size=6))
def test_no_limit_is_violated_and_the_energy_balances(steps):
    state, store = DeviceState.initial(PLANT.feeder), PLANT.feeder.storages
    for wish, p_available in steps:
        state, clipped = PLANT.apply(state, wish, p_available)
        assert_within_limits(state, p_available)
        assert clipped == _refused(state, wish)
        after = PLANT.advance(state)
        p, eta = state.storage_p_mw, store.efficiency
        energy = np.where(p > 0, eta * p, p / eta) * STEP_H
        assert np.allclose((after.soc - state.soc) * store.e_max_mwh, energy, atol=1e-15)
        assert_within_limits(after, p_available)
        state = after


def _refused(state: DeviceState, wish: Wanted) -> int:
    total = 0
    for name in ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar", "tap", "step"):
        asked = getattr(wish, name)
        if asked is not None:
            total += int((~(np.abs(getattr(state, name) - asked) <= 1e-9)).sum())
    return total


@settings(derandomize=True, deadline=None)
@given(available, st.floats(0, 1), st.floats(-1, 1))
def test_what_is_possible_is_done_exactly(p_available, share, direction):
    s = PLANT.feeder.inverters.s_mva
    p = share * np.minimum(p_available, s)
    q = direction * np.sqrt(np.maximum(s**2 - p**2, 0))
    state, clipped = PLANT.apply(DeviceState.initial(PLANT.feeder), Wanted(q_mvar=q, p_mw=p), p_available)
    assert clipped == 0
    assert np.allclose(state.q_mvar, q, atol=1e-12)
    assert np.array_equal(state.p_mw, p)


def test_what_is_not_finite_leaves_the_device_as_it_was():
    state, _ = PLANT.apply(
        DeviceState.initial(PLANT.feeder), Wanted(q_mvar=np.array([0.01, -0.01]), tap=np.array([1])), np.zeros(2)
    )
    state, clipped = PLANT.apply(
        state, Wanted(q_mvar=np.array([np.nan, 0.005]), tap=np.array([np.nan]), step=np.array([np.nan])), np.zeros(2)
    )
    assert clipped == 3
    assert state.q_mvar.tolist() == [0.01, 0.005]
    assert (state.tap.tolist(), state.step.tolist()) == ([1], [1])


def test_taps_and_steps_are_whole():
    state, clipped = PLANT.apply(
        DeviceState.initial(PLANT.feeder), Wanted(tap=np.array([1.6]), step=np.array([2.0])), np.zeros(2)
    )
    assert (state.tap.tolist(), state.step.tolist(), clipped) == ([2], [2], 1)


def test_a_full_storage_does_not_charge():
    state = DeviceState.initial(PLANT.feeder)
    for _ in range(40):
        state, _ = PLANT.apply(state, Wanted(storage_p_mw=np.array([0.02])), np.zeros(2))
        state = PLANT.advance(state)
    assert state.soc[0] == pytest.approx(1.0, abs=1e-12)
    state, clipped = PLANT.apply(state, Wanted(storage_p_mw=np.array([0.02])), np.zeros(2))
    assert clipped == 1
    assert state.storage_p_mw[0] == pytest.approx(0.0, abs=1e-12)


def test_storage_without_supply_stands_still():
    net = small_net()
    dead = pp.create_bus(net, vn_kv=0.4, in_service=False)
    net.storage["bus"] = dead
    feeder = Feeder.from_pandapower(net)
    assert feeder.storages.node.tolist() == [-1]
    plant = Plant(feeder, engine(feeder), STEP_H)
    wish = Wanted(storage_p_mw=np.array([0.02]), storage_q_mvar=np.array([0.001]))
    state, clipped = plant.apply(DeviceState.initial(feeder), wish, np.zeros(len(feeder.inverters)))
    assert clipped == 2
    assert (state.storage_p_mw[0], state.storage_q_mvar[0]) == (0.0, 0.0)
    assert plant.advance(state).soc[0] == feeder.storages.soc[0]


def test_injections_have_pandapowers_signs():
    state, _ = PLANT.apply(
        DeviceState.initial(PLANT.feeder),
        Wanted(q_mvar=np.array([0.01, 0.0]), storage_p_mw=np.array([0.015])),
        np.array([0.03, 0.0]),
    )
    total = PLANT.injection_mva(np.zeros(PLANT.feeder.n_nodes, dtype=complex), state)
    assert total[PLANT.feeder.inverters.node[0]] == pytest.approx(0.03 + 0.01j)
    assert total[PLANT.feeder.storages.node[0]] == pytest.approx(-0.015)


def test_mechanisms_keep_their_pace():
    net = small_net()
    net.trafo["tap_delay_s"], net.shunt["dwell_s"] = 600.0, 2000.0
    feeder = Feeder.from_pandapower(net)
    plant = Plant(feeder, engine(feeder), STEP_H)  # 900 s
    sun, state = np.zeros(len(feeder.inverters)), DeviceState.initial(feeder)
    first, closed = int(state.tap[0]), int(state.step[0])
    wish = Wanted(tap=state.tap + 2, step=np.array([closed + 1]))
    state, clipped = plant.apply(state, wish, sun)
    assert (state.tap[0], state.step[0], clipped) == (first + 1, closed + 1, 1)  # one position takes 600 s
    again, clipped = plant.apply(state, wish, sun)
    assert (again.tap[0], clipped) == (first + 1, 1)  # no second one within the step
    state = plant.advance(state)
    state, clipped = plant.apply(state, Wanted(tap=wish.tap, step=np.array([closed])), sun)
    assert (state.tap[0], state.step[0], clipped) == (first + 2, closed + 1, 1)  # the bank rests 2000 s
    state = plant.advance(plant.advance(state))
    state, clipped = plant.apply(state, Wanted(step=np.array([closed])), sun)
    assert (state.step[0], clipped) == (closed, 0)


_share = st.floats(0.01, 1.0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    rate=_share, converter=_share, energy=st.floats(0.001, 5.0), floor=st.floats(0, 0.9), efficiency=_share,
    soc=_share, delay=st.floats(0, 3000), dwell=st.floats(0, 3000),
    wishes=st.lists(st.tuples(_any, _any, st.integers(-9, 9), st.integers(-3, 9)), min_size=1, max_size=8),
)  # fmt: skip
def test_any_device_keeps_its_limits(rate, converter, energy, floor, efficiency, soc, delay, dwell, wishes):
    one = np.ones(1)
    feeder = replace(
        PLANT.feeder,
        storages=replace(
            PLANT.feeder.storages, p_min_mw=-rate * one, p_max_mw=rate * one, s_mva=converter * one,
            e_max_mwh=energy * one, e_min_mwh=floor * energy * one, efficiency=efficiency * one,
            soc=(floor + (1 - floor) * soc) * one,
        ),
        tap_changers=replace(PLANT.feeder.tap_changers, delay_s=delay * one),
        capacitors=replace(PLANT.feeder.capacitors, dwell_s=dwell * one),
    )  # fmt: skip
    plant, state, sun, idle_s = Plant(feeder, PLANT.flow, STEP_H), DeviceState.initial(feeder), np.zeros(2), np.inf
    stored = state.soc * energy
    for p, q, tap, step in wishes:
        before = state
        state, clipped = plant.apply(
            state, Wanted(None, None, p * one, q * one, np.array([tap]), np.array([step])), sun
        )  # fmt: skip
        refused = [abs(state.storage_p_mw[0] - p), abs(state.storage_q_mvar[0] - q), abs(state.tap[0] - tap),
                   abs(state.step[0] - step)]  # fmt: skip
        assert clipped == sum(not far <= 1e-9 for far in refused)
        assert abs(state.storage_p_mw[0]) <= rate
        assert np.hypot(state.storage_p_mw[0], state.storage_q_mvar[0]) <= converter * (1 + 1e-12)
        assert feeder.tap_changers.tap_min[0] <= state.tap[0] <= feeder.tap_changers.tap_max[0]
        assert 0 <= state.step[0] <= feeder.capacitors.max_step[0]
        assert delay == 0 or abs(state.tap[0] - before.tap[0]) <= max(900 // delay, 1)
        if state.step[0] != before.step[0]:
            assert idle_s >= dwell
            idle_s = 0.0
        state = plant.advance(state)
        idle_s += 3600 * STEP_H
        p = state.storage_p_mw[0]
        stored += STEP_H * (efficiency * max(p, 0) - max(-p, 0) / efficiency)
        assert state.soc * energy == pytest.approx(stored, abs=1e-9)
        assert floor * energy - 1e-9 <= state.soc[0] * energy <= energy + 1e-9
