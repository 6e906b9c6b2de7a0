"""Many copies of `VoltVarEnv` in one power-flow batch: for stable-baselines3 (`VecEnv`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.volt_var.env import spaces
from feederlab.learn.volt_var.problem import Problem
from feederlab.learn.volt_var.vector import Herd

need("stable_baselines3")
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402


class VoltVarVecEnv(VecEnv):  # type: ignore[misc]
    """`count` copies of `VoltVarEnv` side by side, for any learner of stable-baselines3.

    Equal seeds and actions give what single copies give.
    """

    def __init__(self, count: int, scenario: Any, **settings: Any) -> None:
        self.problem = Problem(count, scenario, **settings)
        self.herd = Herd(self.problem)
        self.render_mode = None
        super().__init__(count, *spaces(self.problem))

    def reset(self) -> Any:
        """Begin an episode in every copy."""
        self.herd.seed(self._seeds)
        self.herd.begin(np.arange(self.num_envs), self._options)
        self._reset_seeds()
        self._reset_options()
        return self.herd.seen()

    def step_async(self, actions: Any) -> None:
        """Note the actions; `step_wait` takes them."""
        self._actions = np.asarray(actions, dtype=float)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Take one step in every copy."""
        found, last, seen, ended = self.herd.step(self._actions)
        infos: list[dict[str, Any]] = [
            dict(zip(found.about, row, strict=True)) for row in np.stack([*found.about.values()], axis=1).tolist()
        ]
        for k in ended:
            infos[k] |= {"terminal_observation": last[k], "TimeLimit.truncated": bool(found.over[k])}
        return seen, found.reward.astype(np.float32), found.lost | found.over, infos

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        return self.herd.state()

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observations there."""
        return self.herd.restore(state)

    def close(self) -> None:
        """There is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the copies, which share one problem."""
        return [getattr(self.problem, attr_name, None)] * len(self._which(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the copies are one problem."""
        raise AttributeError("the copies share one problem: make another environment")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refuse: the copies are no objects."""
        raise AttributeError(f"the copies share one problem and have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each copy."""
        return [False] * len(self._which(indices))

    def _which(self, indices: Any) -> Sequence[int]:
        return [int(k) for k in self._get_indices(indices)]
