"""P3's deep Q-network, (10) and (11), trained on tables of costs.

The environment is `CapacitorsEnv`: the same observations, actions and costs.  Only where the costs come from differs:
from `DayCosts`, computed once, rather than from a closed loop that a training of 30,000 intervals would run 150,000
slots of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.likeness import likeness
from feederlab.learn.observation import LIMIT, Observation
from feederlab.learn.policy import Policy
from feederlab.learn.settings import DqnSettings
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Series
from feederlab.papers.two_timescale_costs import DayCosts, position
from feederlab.work import Steps

need("torch", "stable_baselines3", "gymnasium")
import gymnasium as gym  # noqa: E402

EVALUATIONS = 10
"""How often in a training the network is judged on the validation days; the best one is kept."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """Days as the slow layer meets them.

    seen : (days, intervals, nodes but the slack) float32, scaled as `observation` says.
    cost : (days, intervals, configurations).  start : number of the configuration that a day begins with.
    """

    feeder: Feeder
    actions: IntArray
    observation: Observation
    seen: np.ndarray[Any, np.dtype[np.float32]]
    cost: FloatArray
    start: int

    @classmethod
    def of(
        cls, feeder: Feeder, actions: IntArray, days: Sequence[DayCosts], observation: Observation | None = None
    ) -> Lessons:
        """Gather days; `observation` defaults to the layout that their own consumption gives."""
        if observation is None:
            none = np.zeros(len(feeder.inverters))
            observation = Observation.of(feeder, [_series(day, none) for day in days])
        on = np.delete(np.arange(feeder.n_nodes), feeder.slack)
        power = np.stack([day.seen_mva.real[:, on] for day in days])
        scaled = (power - observation.centre[: len(on)]) / observation.scale[: len(on)]
        return cls(
            feeder, actions, observation, np.clip(scaled, -LIMIT, LIMIT).astype(np.float32),
            np.stack([day.interval for day in days]), position(actions, feeder.capacitors.step),
        )  # fmt: skip

    @cached_property
    def steps(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(configurations, banks) the banks' entries of the observation under each configuration."""
        banks = self.actions.shape[1]
        return ((self.actions - self.observation.centre[-banks:]) / self.observation.scale[-banks:]).astype(np.float32)


def _series(day: DayCosts, none: FloatArray) -> Series:
    count = len(day.load_mva)
    return Series(day.times, day.load_mva, np.repeat(none[None], count, axis=0), np.ones(count))


class TableEnv(gym.Env):  # type: ignore[misc]
    """`CapacitorsEnv` over `Lessons`: an episode is a day, a step an interval, the reward -cost / cost_scale."""

    def __init__(self, lessons: Lessons, cost_scale: float) -> None:
        self._lessons, self._scale = lessons, cost_scale
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (len(lessons.observation),), np.float32)
        self.action_space: Any = gym.spaces.Discrete(len(lessons.actions))
        self._day, self._at, self._standing = 0, 0, lessons.start

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a day drawn at random."""
        super().reset(seed=seed)
        self._day, self._at = int(self.np_random.integers(len(self._lessons.seen))), 0
        self._standing = self._lessons.start
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one interval."""
        cost = float(self._lessons.cost[self._day, self._at, int(action)])
        self._standing, self._at = int(action), self._at + 1
        over = self._at == self._lessons.cost.shape[1]
        return self._observe(), -cost / self._scale, False, over, {"cost": cost}

    def _observe(self) -> Any:
        seen = self._lessons.seen[self._day]
        return np.concatenate([seen[min(self._at, len(seen) - 1)], self._lessons.steps[self._standing]])


@dataclass(frozen=True, eq=False)
class Taught:
    """A trained policy.

    curve : (evaluations, 2) steps done and mean cost of an interval of the validation days.
    """

    policy: Policy
    curve: FloatArray


@dataclass(frozen=True, eq=False)
class Training:
    """A piece of work: one training, on one thread.

    slot_s, slots : length of a slot (s), slots in an interval.
    """

    train: Lessons
    validation: Lessons
    settings: DqnSettings
    steps: int
    seed: int
    slot_s: float
    slots: int

    def __call__(self, done: Steps | None = None) -> Taught:
        """Train, and return the network that did best on the validation days."""
        with _own_randomness():
            return self._learn(done)

    def _learn(self, done: Steps | None) -> Taught:
        from stable_baselines3 import DQN
        from stable_baselines3.common.callbacks import BaseCallback
        from torch.nn import ReLU

        settings, every = self.settings, max(self.steps // EVALUATIONS, 1)
        model = DQN(
            "MlpPolicy", TableEnv(self.train, float(np.median(self.train.cost))), seed=self.seed, device="cpu",
            policy_kwargs={"net_arch": list(settings.hidden), "activation_fn": ReLU},
            gamma=settings.discount, learning_rate=settings.learning_rate, batch_size=settings.batch,
            buffer_size=settings.replay, learning_starts=settings.warm_up, train_freq=1, gradient_steps=1,
            target_update_interval=settings.target_every, exploration_initial_eps=settings.explore_first,
            exploration_final_eps=settings.explore_last, exploration_fraction=settings.explore_share,
        )  # fmt: skip
        curve: list[tuple[float, float]] = []
        kept: list[Policy] = []

        def judge() -> None:
            policy = self._policy(model)
            cost = float(np.mean(taken(policy, self.validation)[1]))
            if not kept or cost < min(cost for _, cost in curve):
                kept[:] = [policy]
            curve.append((float(model.num_timesteps), cost))

        class Watch(BaseCallback):  # type: ignore[misc]
            def _on_step(self) -> bool:
                if self.num_timesteps % every == 0:
                    judge()
                if done is not None:
                    done(1)
                return True

        model.learn(self.steps, callback=Watch(), log_interval=self.steps + 1)
        if not curve or curve[-1][0] != model.num_timesteps:
            judge()
        return Taught(kept[0], np.array(curve))

    def _policy(self, model: Any) -> Policy:
        weights = {key: value.numpy().copy() for key, value in model.q_net.state_dict().items()}
        layers = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
        return Policy(
            layers=tuple((weights[f"{k}.weight"], weights[f"{k}.bias"]) for k in layers),
            observation=self.train.observation, actions=self.train.actions, feeder=likeness(self.train.feeder),
            interval_s=self.slots * self.slot_s, slot_s=self.slot_s,
            fast={"controller": "feederlab.controllers.lindistflow:LinDistFlow", "settings": {"about": "flat"}},
            training={"method": "dqn on tables of costs", "steps": int(model.num_timesteps), "seed": self.seed,
                      "settings": self.settings.to_dict()},
            versions={name: version(name) for name in ("feederlab", "torch", "stable-baselines3", "gymnasium")},
        )  # fmt: skip


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Give a training one thread (more would change rounding) and the global generators, and then put all back."""
    import torch

    numpy, torches, threads = np.random.get_state(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    torch.set_num_threads(1)
    try:
        yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torches)
        torch.set_num_threads(threads)


def taken(policy: Policy, lessons: Lessons) -> tuple[IntArray, FloatArray]:
    """Return the configurations that a policy takes, and their costs, (days, intervals) each."""
    days, intervals = lessons.cost.shape[:2]
    actions = np.empty((days, intervals), dtype=np.int64)
    for d in range(days):
        standing = lessons.start
        for t in range(intervals):
            x = np.concatenate([lessons.seen[d, t], lessons.steps[standing]])
            standing = actions[d, t] = int(policy.values(x).argmax())
    return actions, np.take_along_axis(lessons.cost, actions[..., None], axis=2)[..., 0]
