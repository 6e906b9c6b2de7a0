"""Environments of a few numbers, for tests of learning; registered with Gymnasium when this module is imported."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pandas as pd


class Tracking(gym.Env):
    """The action is to be what is seen: reward -mean |a - seen|.  Rows: each action has a row of its own.

    An episode has `length` steps; what is seen next depends on the action, too, so that a lost state would show.
    """

    def __init__(self, width: int = 2, rows: bool = False, length: int = 7, discrete: bool = False, days=None):
        self.width, self.rows, self.length, self.discrete = width, rows, length, discrete
        self.days = list(days or [])
        shape = (width, 2) if rows else (width,)
        self.observation_space = gym.spaces.Box(-1, 1, shape, np.float32)
        self.action_space = gym.spaces.Discrete(3) if discrete else gym.spaces.Box(-1, 1, (width,), np.float32)
        self.seen, self.at = np.zeros(width), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen, self.at = self.np_random.uniform(-0.9, 0.9, self.width), 0
        return self._look(), {}

    def step(self, action):
        if self.discrete:
            error = abs(int(action) - 1 - np.sign(round(float(self.seen[0]))))
            push = 0.01 * int(action)
        else:
            error, push = float(np.mean(np.abs(action - self.seen))), 0.01 * float(np.sum(action))
        self.seen = np.clip(self.np_random.uniform(-0.9, 0.9, self.width) + push, -1, 1)
        self.at += 1
        return self._look(), -float(error), False, self.at == self.length, {"error": float(error), "at": self.at}

    def state(self):
        return {"random": self.np_random.bit_generator.state, "seen": self.seen.tolist(), "at": self.at}

    def restore(self, state):
        self.np_random.bit_generator.state = state["random"]
        self.seen, self.at = np.array(state["seen"]), state["at"]
        return self._look()

    def _look(self):
        seen = self.seen.astype(np.float32)
        return np.stack([seen, np.linspace(0, 1, self.width, dtype=np.float32)], axis=1) if self.rows else seen


class Forgetful(Tracking):
    """Cannot say where it stands."""

    state = None


class Dated(Tracking):
    """Takes a scenario and days."""

    def __init__(self, scenario, days, width: int = 2, fitted: float | None = None):
        super().__init__(width, days=days)
        self.scenario = scenario
        self.fitted = float(len(days)) if fitted is None else fitted  # what the training days gave

    def on(self, days):
        return Dated(self.scenario, days, self.width, self.fitted)

    def step(self, action):
        seen, reward, ended, cut, info = super().step(action)
        return seen, reward, ended, cut, {**info, "fitted": self.fitted}

    def reset(self, *, seed=None, options=None):
        seen, info = super().reset(seed=seed)
        if options and "day" in options:
            assert pd.Timestamp(options["day"]) in self.days
        return seen, info


TRACKING, FORGETFUL, DATED, LIMITED, UNMADE = (
    f"tiny/{name}-v0" for name in ("Tracking", "Forgetful", "Dated", "Limited", "Unmade")
)
gym.register(TRACKING, entry_point="tiny_envs:Tracking")
gym.register(FORGETFUL, entry_point="tiny_envs:Forgetful")
gym.register(DATED, entry_point="tiny_envs:Dated")
gym.register(LIMITED, entry_point="tiny_envs:Tracking", max_episode_steps=3)
gym.register(UNMADE, entry_point="tiny_envs_without_a_home:Missing")
