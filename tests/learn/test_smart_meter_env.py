"""The household's environment: what it promises Gymnasium, what its numbers mean, and where they come from."""

import json
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pandas as pd
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_for_learner

import feederlab.learn  # noqa: F401  (registers the environments)
from feederlab.errors import InputError
from feederlab.learn.smart_meter.env import SmartMeterEnv
from feederlab.learn.smart_meter.estimate import fit_voltage_model
from feederlab.learn.smart_meter.known import decisions
from feederlab.learn.smart_meter.memory import Memory, battery_of, power_of, share_of_rate
from feederlab.learn.smart_meter.recording import bus_index, record, recorded
from feederlab.learn.smart_meter.rehearsal import Rehearsal
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import ENTRIES, Sight
from feederlab.learn.smart_meter.vector import SmartMeterVecEnv
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine
from feederlab.papers.smart_meter_case import bus_of, smart_meter_scenario

DAYS = ["2016-03-01", "2016-03-02", "2016-06-05"]


@pytest.fixture(scope="module")
def scenario():
    return smart_meter_scenario(3)


@pytest.fixture(scope="module")
def history(scenario):
    return record(scenario, [bus_of(scenario, "R16")], DAYS, seed=3)[bus_of(scenario, "R16")]


@pytest.fixture(scope="module")
def model(history):
    return fit_voltage_model(history, stages="H")


def make(history, model, **more):
    return SmartMeterEnv(history, model, **more)


def test_it_keeps_the_promises_of_gymnasium(history, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(history, model), skip_render_check=True)
        check_for_learner(make(history, model))


def test_a_plain_user_makes_it_from_a_scenario_by_name(scenario):
    env = gymnasium.make("feederlab/SmartMeter-v0", scenario=scenario, bus="Bus R14", days=DAYS[:1])
    seen, about = env.reset(seed=1)
    assert about == {"day": DAYS[0]}
    assert seen in env.observation_space
    added = SmartMeterEnv(scenario=smart_meter_scenario(0), bus="Bus R10", storage="0.02:0.5", days=DAYS[:1])
    battery = added.rehearsal.battery
    assert (battery.p_max_mw, battery.e_max_mwh, battery.e_min_mwh) == pytest.approx((0.02, 0.45, 0.05))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "needs a history, or a scenario and a bus"),
        ({"scenario": "case33bw"}, "needs a history, or a scenario and a bus"),
        ({"scenario": smart_meter_scenario(3), "bus": "R16"}, "no bus 'R16'"),
        ({"scenario": smart_meter_scenario(3), "bus": "Bus R10", "days": DAYS[:1]}, "no storage at bus Bus R10"),
        ({"scenario": smart_meter_scenario(3), "bus": 999}, "no bus 999"),
        ({"scenario": smart_meter_scenario(0), "bus": "Bus R10", "storage": "much"}, "write MW:MWh"),
    ],
)
def test_what_cannot_be_made_says_why(wrong, message):
    with pytest.raises(InputError, match=message):
        SmartMeterEnv(**wrong)


def test_impossible_uses_are_refused(history, model):
    env = make(history, model)
    with pytest.raises(InputError, match="call reset"):
        env.step([0.0])
    env.reset(seed=0)
    with pytest.raises(InputError, match="must be a number"):
        env.step([np.nan])
    with pytest.raises(InputError, match="none of this"):
        env.reset(options={"day": "2016-07-01"})
    for wrong in ({"band": (1.05, 0.95)}, {"days": ["2016-07-01"]}):
        with pytest.raises(InputError):
            make(history, model, **wrong)
    with pytest.raises(InputError, match="no storage"):
        make(replace(history, battery=None), model)


def test_the_state_is_that_of_26(history, model):
    """Every entry by hand, over half a day, from the history, the model and the environment's own voltages."""
    env = make(history, model)
    day = pd.Timestamp(DAYS[0])
    seen, _ = env.reset(options={"day": day, "soc": 0.6})
    rows, known = decisions(history, model.guard)
    mine = np.flatnonzero(history.times[rows].normalize() == day)
    demand, sight = history.demand_p_mw, Sight.of(history.demand_p_mw)
    vm, soc, rng = [history.vm[rows[mine[0]] - 2], history.vm[rows[mine[0]] - 1]], 0.6, np.random.default_rng(0)
    for k in mine[:48]:
        t = rows[k]
        state = [demand[t], soc, float(model.predict(0.0, known[k])), vm[-1], vm[-2], demand[t - 1], demand[t - 2]]
        np.testing.assert_allclose(seen, sight.read(np.array(state)), rtol=0, atol=2e-6)
        action = rng.uniform(-1, 1)
        seen, reward, ended, _, about = env.step([action])
        assert not ended
        vm.append(float(model.predict(action * 0.06, known[k])))
        eta = history.battery.efficiency
        soc += action * (eta if action > 0 else 1 / eta) * 0.06 * 0.25 / 2.7
        assert about["vm"] == pytest.approx(vm[-1])
        assert reward == pytest.approx(float(RelaxedReward()(vm[-1], action, 0.95, 1.05)))


def test_an_episode_is_a_day_and_only_its_decidable_steps(history, model):
    env = make(history, model)
    for day, steps in ((DAYS[0], 94), (DAYS[1], 96), (DAYS[2], 94)):  # two readings come first after a gap
        env.reset(options={"day": day})
        count, over = 0, False
        while not over:
            _, _, _, over, _ = env.step([0.0])
            count += 1
        assert count == steps
        with pytest.raises(InputError, match="call reset"):
            env.step([0.0])


@pytest.mark.parametrize(
    ("vm", "share", "expected"),
    [
        (1.0, 0.5, -0.5),
        (1.0451, 0.0, -1.0 - 300 * 0.0001),  # within the band, but not by the margin
        (1.0449, 0.0, 0.0),
        (1.06, -0.5, -0.5 - 1.0 - 300 * 0.015),
        (0.94, 1.0, -1.0 - 1.0 - 300 * 0.015),
        (np.nan, 0.0, -1.0 - 300),
    ],
)
def test_the_reward_by_hand(vm, share, expected):
    assert float(RelaxedReward()(vm, share, 0.95, 1.05)) == pytest.approx(expected)


def test_the_price_counts_outside_alone():
    """(28): C stands in the penalty's branch, which is looked at first."""
    reward = RelaxedReward(w_p=2.0, w_l=3.0, penalty=0.5, slope=0.0, price=4.0, z_hi=0.0, z_lo=0.0)
    assert float(reward(1.0, 0.25, 0.95, 1.05)) == pytest.approx(-2 * 0.25)
    assert float(reward(1.051, 0.25, 0.95, 1.05)) == pytest.approx(-2 * 4 * 0.25 - 3 * 0.5)
    with pytest.raises(InputError, match="not negative"):
        RelaxedReward(z_hi=-0.01)


@given(
    action=st.floats(-1, 1), soc=st.floats(0.0, 1.0), low=st.floats(-0.5, 0.0), high=st.floats(0.01, 0.5),
    efficiency=st.floats(0.5, 1.0),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_battery_is_the_plants(action, soc, low, high, efficiency):
    """Power and energy of a household's own arithmetic, against the simulator's."""
    case = smart_meter_scenario(3)
    table = case.feeder.storages
    units = replace(
        table, p_min_mw=np.full(3, low), p_max_mw=np.full(3, high), efficiency=np.full(3, efficiency),
        s_mva=np.full(3, 0.3), e_min_mwh=np.full(3, 0.1), e_max_mwh=np.full(3, 0.4), soc=np.full(3, soc),
    )  # fmt: skip
    feeder = replace(case.feeder, storages=units)
    plant, battery = Plant(feeder, engine(feeder), 0.25), battery_of(units, 1)
    asked = action * (battery.p_max_mw if action > 0 else -battery.p_min_mw)
    state, _ = plant.apply(DeviceState.initial(feeder), Wanted(storage_p_mw=np.full(3, asked)), np.zeros(0))
    mine = power_of(battery, action, soc * 0.4, 0.25)
    assert float(mine) == pytest.approx(state.storage_p_mw[1], abs=1e-12)
    after = float(battery.after(soc * 0.4, mine, 0.25)) / 0.4
    assert after == pytest.approx(plant.advance(state).soc[1], abs=1e-12)
    assert abs(float(share_of_rate(battery, mine))) <= 1 + 1e-12


def test_state_and_restore_repeat_a_life(history, model):
    env, other = make(history, model), make(history, model)
    env.reset(seed=7)
    rng = np.random.default_rng(1)
    for _ in range(30):
        env.step(rng.uniform(-1, 1, 1))
    kept = json.loads(json.dumps(env.state()))
    np.testing.assert_array_equal(other.restore(kept), env.rehearsal.seen()[0])
    for _ in range(200):
        action = rng.uniform(-1, 1, 1)
        one, two = env.step(action), other.step(action)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:] == two[1:]
        if one[3]:
            np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_copies_are_single_environments(history, model):
    """A vector environment gives, copy by copy, what single ones with the same seeds give; and can be put back."""
    count, rng = 5, np.random.default_rng(2)
    herd = SmartMeterVecEnv(Rehearsal(history, model, copies=count))
    singles = [make(history, model) for _ in range(count)]
    herd.seed(11)
    seen = herd.reset()
    for k, env in enumerate(singles):
        np.testing.assert_array_equal(seen[k], env.reset(seed=11 + k)[0])
    for step in range(150):
        if step == 60:
            kept = json.loads(json.dumps(herd.state()))
            herd = SmartMeterVecEnv(Rehearsal(history, model, copies=count))
            np.testing.assert_array_equal(herd.restore(kept), seen)
        actions = rng.uniform(-1.2, 1.2, (count, 1))
        seen, rewards, over, infos = herd.step(actions)
        for k, env in enumerate(singles):
            own, reward, _, ended, about = env.step(actions[k])
            assert (ended, reward) == (over[k], pytest.approx(rewards[k], rel=1e-6))
            assert about["vm"] == pytest.approx(infos[k]["vm"], abs=1e-12)
            if ended:
                np.testing.assert_allclose(infos[k]["terminal_observation"], own, atol=1e-6)
                own = env.reset()[0]
            np.testing.assert_allclose(seen[k], own, atol=1e-6)


def test_other_days_share_what_was_fitted(scenario):
    env = SmartMeterEnv(scenario=scenario, bus="Bus R14", days=DAYS[:1])
    other = env.on(DAYS[2:])
    assert other.rehearsal.model is env.rehearsal.model
    assert other.rehearsal.sight == env.rehearsal.sight
    assert other.days == (pd.Timestamp(DAYS[2]),)
    other.reset(seed=0)
    assert env.days == (pd.Timestamp(DAYS[0]),)


def test_what_is_fitted_has_not_seen_the_days_left_out(history):
    alone = SmartMeterEnv(history.on(DAYS[:2]))
    chosen = SmartMeterEnv(history, days=DAYS[:2])
    point = chosen.rehearsal._known[5]
    assert float(alone.rehearsal.model.predict(0.03, point)) == float(chosen.rehearsal.model.predict(0.03, point))
    assert alone.rehearsal.sight == chosen.rehearsal.sight


def test_a_record_is_repeatable_and_one_household_of_many(scenario):
    buses = [bus_index(scenario, f"Bus {name}") for name in ("R9", "R14")]
    both, again = (record(scenario, buses, DAYS[:2], seed=5) for _ in range(2))
    alone = recorded(scenario, "Bus R14", days=DAYS[:2], seed=5)
    np.testing.assert_array_equal(both[buses[1]].vm, again[buses[1]].vm)
    np.testing.assert_array_equal(both[buses[1]].vm, alone.vm)
    assert np.ptp(both[buses[0]].storage_p_mw) > 0.05
    assert not np.array_equal(both[buses[0]].storage_p_mw, both[buses[1]].storage_p_mw)


def test_sight_and_memory_are_plain():
    sight = Sight.of(np.array([0.01, 0.03]))
    assert Sight.from_record(json.loads(json.dumps(sight.record()))) == sight
    state = np.array([0.02, 0.5, 1.0, 1.05, 0.95, 0.03, np.nan])
    np.testing.assert_allclose(sight.read(state), [0, 0, 0, 1, -1, 1, 0], atol=1e-6)
    assert sight.read(np.full(7, 1e9)).max() == 10
    assert len(ENTRIES) == 7
    memory = Memory(np.asarray(1.5), np.array([1.0, 0.99]), np.array([0.01, 0.02]))
    again = Memory.of(json.loads(json.dumps(memory.record()))).after(1.6, 1.01, 0.03)
    assert (again.vm.tolist(), again.demand_mw.tolist()) == ([1.01, 1.0], [0.03, 0.01])
