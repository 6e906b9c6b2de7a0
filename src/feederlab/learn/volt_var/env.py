"""`VoltVarEnv`: reactive power of all inverters, as a Gymnasium environment over the closed loop of `simulate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.volt_var.layout import LIMIT
from feederlab.learn.volt_var.problem import Problem

need("gymnasium")
import gymnasium as gym  # noqa: E402


class VoltVarEnv(gym.Env):  # type: ignore[misc]
    """Volt-var control of all inverters (P1), one step of the simulation at a time.

    Observation, float32: (entries,) with global scope, (inverters, entries) with zone or local scope; see `Layout`, and
    ``env.layout.entries()`` for the meaning of each entry.  It is what a controller measures: loads and sun of the step
    at hand under the old setpoints.

    Action, float32 (inverters,) in [-1, 1]: ``q = bound * a * sqrt(s^2 - p^2)``, p the active power of the step.

    Reward: `Reward` of the state after the action, "mapdn_l1" unless another is named.  An action after which the power
    flow has no solution ends the episode with the reward of the state before it, less 200 (P1's code).

    ``info`` has ``in_band`` (1 if every bus is within the band), ``losses_mw``, ``clipped`` and ``time``, the instant
    of the step taken, or at `reset` of the first one.

    Parameters are those of `Problem`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, scenario: Any, **settings: Any) -> None:
        self.problem = Problem(1, scenario, **settings)
        self.scenario, self.layout, self.days = self.problem.scenario, self.problem.layout, self.problem.days
        self.bound, self.reward, self.episode = self.problem.bound, self.problem.reward, self.problem.episode
        self.observation_space, self.action_space = spaces(self.problem)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: at the instant ``options["start"]`` (an option ``"day"`` is its midnight), else at random.

        Raises
        ------
        InputError
            If no episode can begin there.
        """
        super().reset(seed=seed)
        asked = wanted_start(options)
        day, offset = self.problem.draw(self.np_random) if asked is None else self.problem.place(asked)
        self.problem.begin(np.zeros(1, dtype=np.int64), np.array([day]), np.array([offset]))
        return self._seen(), {"time": str(self.problem.time(0))}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises
        ------
        InputError
            If the action is not one number for each inverter, or no episode is under way.
        """
        time = self.problem.time(0)
        found = self.problem.step([action])
        info: dict[str, Any] = {name: float(values[0]) for name, values in found.about.items()}
        info |= {"clipped": int(found.taken.clipped[0]), "time": str(time)}
        seen = found.observation[0].reshape(self.problem.shape)
        return seen, float(found.reward[0]), bool(found.lost[0]), bool(found.over[0]), info

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where the environment stands."""
        return {"random": self.np_random.bit_generator.state, **self.problem.state()}

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observation there."""
        self.np_random.bit_generator.state = state["random"]
        self.problem.restore(state)
        return self._seen()

    def _seen(self) -> Any:
        return self.problem.observation()[0].reshape(self.problem.shape)


def wanted_start(options: Mapping[str, Any] | None) -> Any:
    """Return the instant at which an episode is to begin; None: at random."""
    found = (options or {}).get("start")
    return (options or {}).get("day") if found is None else found


def spaces(problem: Problem) -> tuple[Any, Any]:
    """Return the observation and the action space of one copy."""
    observation = gym.spaces.Box(-LIMIT, LIMIT, problem.shape, np.float32)
    return observation, gym.spaces.Box(-1.0, 1.0, (problem.inverters,), np.float32)
