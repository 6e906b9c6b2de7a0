"""The environment is the closed loop of `simulate`, keeps Gymnasium's promises, and can be put back to any step."""

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_for_learner

import toy
import toy_banks
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.errors import InputError
from feederlab.learn import CapacitorsEnv, Dqn
from feederlab.learn.observation import net_power
from feederlab.models.objective import Objective
from feederlab.simulate import RunOptions, simulate

GOAL = RunOptions(objective=Objective.parse("voltage_deviation"))


def live(env, choose, day):
    seen, _ = env.reset(options={"day": day})
    costs, rewards, over = [], [], False
    while not over:
        seen, reward, ended, over, info = env.step(choose(seen))
        assert not ended
        costs.append(info["cost"])
        rewards.append(reward)
    return np.array(costs), np.array(rewards)


def test_it_keeps_gymnasiums_promises(banks):
    made = gymnasium.make("feederlab.learn:feederlab/Capacitors-v0", scenario=banks, every="4h", fast="none")
    check_env(made.unwrapped)
    check_for_learner(made.unwrapped)


@pytest.mark.parametrize(
    "fast", ["lindistflow", "lindistflow:about=flat", "volt_var", "volt_var:start=previous", "none"]
)
def test_a_day_is_what_simulate_makes_of_it(fast, banks, make_policy, tmp_path):
    policy = make_policy(banks)
    file = policy.save(tmp_path / "policy.safetensors")
    env = CapacitorsEnv(banks, fast, "1h", observation=policy.observation, cost_scale=2.0)
    day = env.days[2]
    live(env, lambda seen: 1, env.days[0])  # a day leaves no trace on the next
    costs, rewards = live(env, lambda seen: int(policy.values(seen).argmax()), day)
    run = simulate(banks.days(day), TwoTimescale(slow=Dqn(str(file)), fast=env.fast, every="1h"), GOAL)
    expected = run.data["voltage_deviation"].to_numpy().reshape(-1, 4).sum(axis=1)
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rewards, -costs / 2)
    assert len(np.unique(run.data["step"].to_numpy(), axis=0)) > 1  # the policy did switch


def test_the_observation_is_the_mean_of_the_interval_before(banks):
    env = CapacitorsEnv(banks, "none", "1h", cost_scale=1.0)
    feeder, day = banks.feeder, env.days[1]
    series = banks.days(day).series()
    first, _ = env.reset(options={"day": day})
    second = env.step(4)[0]

    def raw(seen):
        return seen * env.observation.scale + env.observation.centre

    net = series.load_mva.real.copy()
    for k, node in enumerate(feeder.inverters.node):
        net[:, node] -= np.minimum(series.p_available_mw[:, k], feeder.inverters.s_mva[k])
    others = np.delete(np.arange(feeder.n_nodes), feeder.slack)
    np.testing.assert_allclose(raw(first), [*net[0, others], 0, 0], atol=1e-6)
    np.testing.assert_allclose(raw(second), [*net[:4, others].mean(axis=0), *env.actions[4]], atol=1e-6)
    assert env.observation.names[-2:] == ("step of bank 0", "step of bank 1")


def test_net_power_counts_generation_negative_and_charging_positive():
    from feederlab.testing import example_scenario
    from feederlab.testing.trials import measurements

    case = example_scenario()
    now = replace(measurements(case, 0)[0], storage_p_mw=np.array([0.2, -0.1]))
    net = net_power(now, case.feeder.inverters, case.feeder.storages)
    assert net.sum() == pytest.approx(now.load_p_mw.sum() - now.p_mw.sum() + 0.1)


@given(
    day=st.integers(0, 3),
    taken=st.lists(st.integers(0, 5), max_size=3),
    then=st.lists(st.integers(0, 5), min_size=1, max_size=3),
)
@settings(max_examples=4, deadline=None)
def test_it_goes_on_from_where_its_state_was_taken(day, taken, then):
    env, other = (CapacitorsEnv(toy_banks.scenario(), "lindistflow", "4h", cost_scale=1.0) for _ in range(2))
    env.reset(seed=day)
    for action in taken:
        env.step(action)
    seen = other.restore(json.loads(json.dumps(env.state())))
    mine = [env.step(action) for action in then]
    theirs = [other.step(action) for action in then]
    for (a, reward, _, over, info), (b, *rest) in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert [reward, False, over, info] == rest
    assert seen.shape == mine[0][0].shape
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])  # and the next day is drawn alike


def test_a_slot_without_solution_costs_as_if_there_were_no_voltage(banks, monkeypatch):
    env = CapacitorsEnv(banks, "none", "1h", cost_scale=1.0)
    env.reset(options={"day": env.days[0]})
    life = env._living()
    monkeypatch.setattr(life.recorder, "u", life.recorder.u * np.nan)
    monkeypatch.setattr(life.recorder, "keep", lambda *_: None)
    _, reward, _, _, info = env.step(0)
    assert info["cost"] == -reward == 4 * (banks.feeder.n_nodes - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "20min"}, "no multiple of the slot, 900 s"),
        ({"every": "7h"}, "does not divide a day"),
        ({"every": "soon"}, "is no duration"),
        ({"days": ["2016-07-01"]}, "no whole day of 'toy', whose days are 2016-06-20 to 2016-06-23"),
        ({"days": []}, "no day is given"),
        ({"cost_scale": 0.0}, "must be a positive number, not 0.0"),
    ],
)
def test_what_cannot_be(options, message, banks):
    with pytest.raises(InputError, match=message):
        CapacitorsEnv(banks, "none", **{"every": "1h", **options})


def test_wrong_use_says_so(banks):
    env = CapacitorsEnv(banks, "none", "12h", cost_scale=1.0)
    with pytest.raises(InputError, match="call reset"):
        env.step(0)
    env.reset()
    with pytest.raises(InputError, match="give 0 to 5"):
        env.step(6)
    env.step(0)
    assert env.step(0)[3]
    with pytest.raises(InputError, match="the day is over"):
        env.step(0)


def test_a_feeder_without_banks_is_refused():
    with pytest.raises(InputError, match="no capacitor bank to switch"):
        CapacitorsEnv(toy.scenario(), "none", "1h")
