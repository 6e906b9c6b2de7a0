"""The volt-var environment is the simulator, opened at the controller; its copies are the single environment."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import toy
from feederlab.controllers.base import GLOBAL, Controller, Prepared, Setpoints
from feederlab.errors import FeederlabError, InputError, UnknownNameError
from feederlab.learn.volt_var.env import VoltVarEnv
from feederlab.learn.volt_var.layout import Layout
from feederlab.learn.volt_var.sb3 import VoltVarVecEnv
from feederlab.learn.volt_var.vector import VoltVarVectorEnv
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario
from feederlab.simulate import RunOptions, simulate
from feederlab.testing.example import example_scenario

DAYS = ["2016-06-21", "2016-12-01"]
NAME = "feederlab.learn:feederlab/VoltVar-v0"


@dataclass(frozen=True, eq=False)
class Told(Controller):
    """Takes given actions in turn, as the environment understands them."""

    actions: tuple = ()
    bound: float = 1.0
    sees: ClassVar = GLOBAL

    def prepare(self, task, *, seed=None):
        return _Told(self, task.inverters.s_mva)


class _Told(Prepared):
    def __init__(self, told, s_mva):
        self.told, self.s_mva = told, s_mva

    def initial_state(self):
        return {"t": 0}

    def step(self, state, measurement):
        p = np.minimum(measurement.p_available_mw, self.s_mva)
        q = self.told.bound * np.array(self.told.actions[state["t"]]) * np.sqrt(self.s_mva**2 - p**2)
        return Setpoints(q_mvar=q), {"t": state["t"] + 1}


@pytest.mark.parametrize("scenario", ["mapdn33", "simbench:1-LV-rural1--1-sw", "cigre_mv"])
@pytest.mark.parametrize("copies", [1, 3])
def test_rollouts_are_those_of_the_simulator(scenario, copies):
    case = load_scenario(scenario, step="15min")
    env = VoltVarVecEnv(copies, case, days=["2016-06-21"], episode=40, bound=0.8)
    env.seed(7)
    env.reset()
    problem, rng = env.problem, np.random.default_rng(1)
    first, actions, vm, q, losses, seen = problem.time(0), [], [], [], [], []
    for _ in range(40):
        action = rng.uniform(-1, 1, (copies, problem.inverters))
        seen.append(problem.copies.seen())
        found = problem.step(action)
        actions.append(action[0])
        vm.append(found.taken.solved.vm[0])
        q.append(found.taken.q_mvar[0])
        losses.append(found.about["losses_mw"][0])
        assert found.taken.clipped[0] == 0
    told = Told(tuple(map(tuple, actions)), 0.8)
    run = simulate(case.window(first, 40), told, RunOptions(batch=False)).data
    vm = np.array(vm)[:, case.feeder.bus_node]
    if copies == 1:  # the same calls in the same order
        np.testing.assert_array_equal(run["vm_pu"], vm)
        np.testing.assert_array_equal(run["q_mvar"], q)
    np.testing.assert_allclose(run["vm_pu"], vm, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run["q_mvar"], q, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run["losses_mw"], losses, rtol=0, atol=1e-12 if copies == 1 else 1e-11)
    assert found.over.all()


def test_what_is_seen_is_what_a_controller_measures():
    case = load_scenario("mapdn33")
    env = VoltVarEnv(case, days=["2016-06-21"], episode=5, observation="global")
    rng, actions, seen = np.random.default_rng(2), [], []
    first, info = env.reset(seed=3)
    seen.append(first)
    for _ in range(5):
        actions.append(rng.uniform(-1, 1, 6))
        seen.append(env.step(actions[-1])[0])
    listening = Listening(tuple(map(tuple, actions)), env.layout)
    simulate(case.window(info["time"], 5), listening, RunOptions(batch=False))
    np.testing.assert_array_equal(HEARD, seen[:5])


HEARD: list = []


@dataclass(frozen=True, eq=False)
class Listening(Controller):
    actions: tuple
    layout: Layout
    sees: ClassVar = GLOBAL

    def prepare(self, task, *, seed=None):
        HEARD.clear()
        return _Listening(self, task.inverters.s_mva)


class _Listening(_Told):
    def __init__(self, told, s_mva):
        super().__init__(Told(told.actions), s_mva)
        self.layout = told.layout

    def step(self, state, measurement):
        HEARD.append(self.layout.read(measurement)[0])
        return super().step(state, measurement)


@pytest.mark.parametrize("observation", ["global", "zone", "local"])
def test_gymnasiums_own_check(observation):
    env = gym.make(NAME, scenario="mapdn33", days=DAYS, observation=observation)
    check_env(env.unwrapped, skip_render_check=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your observation  has an unconventional shape")  # rows, for shared actors
        check_for_sb3(env.unwrapped)


def test_the_example_with_every_kind_of_device():
    env = VoltVarEnv(example_scenario(), observation="local")
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("made", [VoltVarVecEnv, VoltVarVectorEnv])
def test_copies_equal_single_environments(made):
    settings = {"scenario": load_scenario("mapdn33"), "days": DAYS, "episode": 7, "observation": "zone"}
    herd, alone = made(4, **settings), [VoltVarEnv(**settings) for _ in range(4)]
    if made is VoltVarVecEnv:
        herd.seed(11)
        seen = herd.reset()
    else:
        seen, _ = herd.reset(seed=11)
    for k, env in enumerate(alone):
        np.testing.assert_allclose(seen[k], env.reset(seed=11 + k)[0], atol=1e-6)
    rng = np.random.default_rng(5)
    for _ in range(20):  # nearly three episodes
        actions = rng.uniform(-1, 1, (4, 6)).astype(np.float32)
        answer = herd.step(actions)
        for k, env in enumerate(alone):
            last, reward, lost, over, about = env.step(actions[k])
            first = env.reset()[0] if lost or over else last
            np.testing.assert_allclose(answer[0][k], first, atol=1e-6)
            np.testing.assert_allclose(herd.problem.copies.u[k], env.problem.copies.u[0], atol=1e-12)
            if made is VoltVarVecEnv:
                assert answer[2][k] == (lost or over)
                info = answer[3][k]
                final = info.get("terminal_observation")
                assert info.get("TimeLimit.truncated", False) == over
                assert answer[1][k] == pytest.approx(reward, abs=1e-6)  # float32, as the learners have it
            else:
                assert (answer[2][k], answer[3][k]) == (lost, over)
                info = {name: answer[4][name][k] for name in ("losses_mw", "in_band")}
                final = answer[4]["final_obs"][k] if over else None
                assert answer[1][k] == pytest.approx(reward, rel=1e-10)
            assert info["losses_mw"] == pytest.approx(about["losses_mw"], rel=1e-10)
            if over:
                np.testing.assert_allclose(final, last, atol=1e-6)


def test_a_state_is_taken_up_again_bit_by_bit():
    settings = {"scenario": load_scenario("mapdn33"), "days": DAYS, "episode": 6}
    herd = VoltVarVecEnv(3, **settings)
    herd.seed(1)
    herd.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 3, 6))
    for a in actions[:8]:
        herd.step(a)
    kept = herd.state()
    ahead = [herd.step(a) for a in actions[8:]]
    other = VoltVarVecEnv(3, **settings)
    other.restore(kept)
    for a, (seen, reward, done, info) in zip(actions[8:], ahead, strict=True):
        again = other.step(a)
        np.testing.assert_array_equal(again[0], seen)
        np.testing.assert_array_equal(again[1], reward)
        np.testing.assert_array_equal(again[2], done)
        assert [i["losses_mw"] for i in again[3]] == [i["losses_mw"] for i in info]


def test_a_copy_may_begin_while_the_others_go_on():
    herd = VoltVarVectorEnv(3, load_scenario("mapdn33"), days=DAYS)
    before, _ = herd.reset(seed=2)
    after, _ = herd.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])


def test_no_solution_ends_an_episode_with_the_reward_of_the_state_before_less_200():
    base = load_scenario("mapdn33", step="15min")
    heavy = base.with_devices(inverters={17: (60.0, 0.0)})  # it can pull the feeder down
    env = VoltVarEnv(heavy, days=["2016-06-21"], episode=8, reward="l1")
    env.reset(options={"start": "2016-06-21T18:00"})
    before = env.problem.copies.seen().vm[0]
    action = np.zeros(7)
    action[-1] = -1.0
    seen, reward, lost, over, about = env.step(action)
    assert (lost, over, about["in_band"]) == (True, False, 0.0)
    assert reward == pytest.approx(-np.abs(before - 1).mean() - 200, rel=1e-9)
    assert np.isfinite(seen).all()
    with pytest.raises(InputError, match="call reset"):
        env.step(action)


def test_an_action_is_a_share_of_what_the_rating_leaves():
    env = VoltVarEnv(load_scenario("mapdn33"), days=["2016-06-21"], episode=8, bound=0.8)
    env.reset(options={"start": "2016-06-21T12:00"})
    problem = env.problem
    s = problem.scenario.feeder.inverters.s_mva
    p = np.minimum(problem.copies.p_available_mw[0], s)
    found = problem.step(np.full((1, 6), 5.0))  # beyond its range: cut
    np.testing.assert_allclose(found.taken.q_mvar[0], 0.8 * np.sqrt(s**2 - p**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"observation": "everything"}, UnknownNameError, "scope"),
        ({"reward": "l3"}, UnknownNameError, "l1"),
        ({"reward": "l1 + switching"}, InputError, "inverters alone"),
        ({"bound": 1.5}, InputError, "bound"),
        ({"episode": 481}, InputError, "480"),
        ({"days": ["2011-01-01"]}, InputError, "2016"),
        ({"days": []}, InputError, "day"),
        ({"days": [None]}, InputError, "is no whole day"),
        ({"reward": 5}, InputError, "the reward must be a sum of terms"),
        ({"bound": "much"}, InputError, "bound of the action must be a number, not 'much'"),
        ({"bound": True}, InputError, "bound of the action must be a number"),
        ({"margin": "small"}, InputError, "margin must be a number"),
        ({"episode": 2.5}, InputError, "2.5 steps .* whole"),
        ({"episode": "long"}, InputError, "whole"),
        ({"engine": 5}, InputError, "engine must be named"),
        ({"layout": {"scope": "global"}}, InputError, "env.layout"),
        ({"layout": Layout.of(toy.scenario().task())}, InputError, "105 sources"),
    ],
)
def test_impossible_settings_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        VoltVarEnv(load_scenario("mapdn33"), **({"days": DAYS} | settings))


@pytest.mark.parametrize("action", [0.0, None, "x", [0.0] * 5, [np.nan] * 6])
def test_what_is_no_action_is_refused(action):
    env = VoltVarEnv(load_scenario("mapdn33"), days=DAYS)
    env.reset(seed=0)
    with pytest.raises(InputError, match="actions must be numbers, 6 for each of 1 copies"):
        env.step(action)


def test_one_day_may_be_given_by_itself():
    assert VoltVarEnv(load_scenario("mapdn33"), days=DAYS[0]).days == (pd.Timestamp(DAYS[0]),)


def test_all_copies_begin_where_they_are_told_to():
    settings, start = {"scenario": load_scenario("mapdn33"), "days": DAYS, "episode": 9}, "2016-12-01T07:00"
    alone, vector, herd = VoltVarEnv(**settings), VoltVarVectorEnv(3, **settings), VoltVarVecEnv(3, **settings)
    seen, info = alone.reset(seed=0, options={"start": start})
    vector.reset(seed=0)
    begun = vector.reset(options={"start": start, "reset_mask": np.array([True, False, True])})[0]
    herd.set_options([{"start": start}, {}, {"day": DAYS[0]}])
    herd.seed(0)
    other = herd.reset()
    assert info["time"] == "2016-12-01 07:00:00"
    assert [str(vector.problem.time(k)) == info["time"] for k in range(3)] == [True, False, True]
    np.testing.assert_allclose(begun[[0, 2]], np.stack([seen, seen]), rtol=0, atol=1e-6)
    assert [str(herd.problem.time(k)) for k in (0, 2)] == [info["time"], "2016-06-21 00:00:00"]
    np.testing.assert_allclose(other[0], seen, rtol=0, atol=1e-6)
    again = herd.reset()  # what was asked for holds for one reset
    assert not np.array_equal(again[2], other[2])


def test_a_feeder_without_inverters_is_refused():
    grid = toy.net()
    grid.sgen["controllable"] = False
    bare = Scenario.build(Feeder.from_pandapower(grid), toy.profiles(grid))
    with pytest.raises(InputError, match="inverter"):
        VoltVarEnv(bare)


@pytest.mark.parametrize("start", ["2016-06-22", "2016-06-21T12:01", "soon", "2016-06-21T23:57", "NaT", [1]])
def test_an_episode_begins_where_one_can(start):
    env = VoltVarEnv(load_scenario("mapdn33"), days=["2016-06-21"], episode=100)
    with pytest.raises(FeederlabError, match=r"2016-06-21"):
        env.reset(options={"start": start})


def test_the_observation_has_zone_and_local_rows():
    case = load_scenario("mapdn33").days("2016-06-21")
    layout = Layout.of(case.task(), "zone", [case.series()])
    again = Layout.from_record(case.task(), layout.record())
    np.testing.assert_array_equal(layout.index, again.index)
    named = [meaning for meaning, _, _, _ in layout.entries(3)]
    assert named[:5] == ["vm at node 24", "load p at node 24", "load q at node 24", "available p of inverter 3",
                         "q of inverter 3"]  # fmt: skip
    zone = [n for n in range(33) if case.task().zone[n] == case.task().zone[24]]
    assert {name for name in named if name.startswith("vm")} == {f"vm at node {n}" for n in zone}


def test_a_margin_narrows_the_band_of_the_reward_alone():
    case, rewards = load_scenario("mapdn33"), {}
    for margin in (0.0, 0.03):
        env = VoltVarEnv(case, days=["2016-12-01"], episode=8, reward="outside", margin=margin)
        env.reset(options={"start": "2016-12-01T03:00"})
        found = env.problem.step(np.zeros((1, 6)))
        rewards[margin] = found.reward[0]
        assert found.about["in_band"][0] == 1
    v = np.delete(found.taken.solved.vm[0], case.feeder.slack) ** 2
    narrow = np.maximum(v - 1.02**2, 0).sum() + np.maximum(0.98**2 - v, 0).sum()
    assert rewards[0.0] == 0
    assert narrow > 0.01
    assert rewards[0.03] == pytest.approx(-narrow, rel=1e-12)
    with pytest.raises(InputError, match="margin"):
        VoltVarEnv(case, days=DAYS, margin=0.06)
