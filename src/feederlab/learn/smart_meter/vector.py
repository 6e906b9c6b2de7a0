"""Many copies of `SmartMeterEnv` side by side, for stable-baselines3: one prediction of voltages for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.smart_meter.env import about, spaces
from feederlab.learn.smart_meter.rehearsal import Rehearsal
from feederlab.models.arrays import IntArray

need("gymnasium", "stable_baselines3")
from gymnasium.utils.seeding import np_random  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402


class SmartMeterVecEnv(VecEnv):  # type: ignore[misc]
    """The copies of a rehearsal, each with a random generator of its own; one whose day ends begins the next at once.

    Equal seeds and actions give what single environments give.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        super().__init__(len(rehearsal.at), *spaces())
        self.random = [np_random()[0] for _ in range(self.num_envs)]
        self._actions = np.zeros(self.num_envs)

    def reset(self) -> Any:
        """Begin a day in every copy; `seed` takes effect here, as in stable-baselines3."""
        for k, seed in enumerate(self._seeds):
            if seed is not None:
                self.random[k] = np_random(seed)[0]
        self._reset_seeds()
        self._reset_options()
        self._begin(np.arange(self.num_envs))
        return self.rehearsal.seen()

    def step_async(self, actions: Any) -> None:
        self._actions = np.asarray(actions, dtype=float).reshape(-1)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        found = self.rehearsal.step(self._actions)
        seen, infos = self.rehearsal.seen(), [about(self.rehearsal, found, k) for k in range(self.num_envs)]
        over = found.over.copy()
        ended = np.flatnonzero(over)
        if len(ended):
            for k in ended:
                infos[k] |= {"terminal_observation": seen[k], "TimeLimit.truncated": True}
            self._begin(ended)
            seen = self.rehearsal.seen()
        return seen, found.reward.astype(np.float32), over, infos

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        return {"random": [one.bit_generator.state for one in self.random], **self.rehearsal.state()}

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observations there."""
        for one, kept in zip(self.random, state["random"], strict=True):
            one.bit_generator.state = kept
        self.rehearsal.restore(state)
        return self.rehearsal.seen()

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"the copies share everything: {attr_name} cannot be set for some")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(f"the copies have no method {method_name} of their own")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def _begin(self, which: IntArray) -> None:
        drawn: Sequence[tuple[int, float]] = [self.rehearsal.draw(self.random[k]) for k in which]
        self.rehearsal.begin(which, np.array([day for day, _ in drawn]), np.array([soc for _, soc in drawn]))
