"""Many copies of `VoltVarEnv` in one power-flow batch: for Gymnasium (`VectorEnv`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from feederlab.errors import InputError
from feederlab.learn.extra import need
from feederlab.learn.volt_var.env import spaces, wanted_start
from feederlab.learn.volt_var.problem import Problem, Stepped
from feederlab.models.arrays import IntArray

need("gymnasium")
from gymnasium.utils.seeding import np_random  # noqa: E402
from gymnasium.vector import AutoresetMode, VectorEnv  # noqa: E402
from gymnasium.vector.utils import batch_space  # noqa: E402


class Herd:
    """The copies of a problem, each with a random generator of its own, as single environments have.

    A copy whose episode ends begins the next at once.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.random = [np_random()[0] for _ in range(problem.count)]

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Seed the copies' generators; None leaves one as it is."""
        for k, seed in enumerate(seeds):
            if seed is not None:
                self.random[k] = np_random(seed)[0]

    def begin(self, which: IntArray, options: Sequence[Mapping[str, Any] | None] = ()) -> None:
        """Begin episodes in some copies: at the instant that a copy's `options` name (`VoltVarEnv`), else at random."""
        asked = [wanted_start(options[k]) if options else None for k in which]
        drawn = np.array(
            [
                self.problem.draw(self.random[k]) if start is None else self.problem.place(start)
                for k, start in zip(which, asked, strict=True)
            ],
            dtype=np.int64,
        ).reshape(-1, 2)
        self.problem.begin(which, drawn[:, 0], drawn[:, 1])

    def seen(self) -> Any:
        """Return the copies' observations."""
        return self.shaped(self.problem.observation())

    def shaped(self, observation: Any) -> Any:
        """Return (copies, rows, entries) as the spaces have it."""
        return observation.reshape(self.problem.count, *self.problem.shape)

    def step(self, actions: Any) -> tuple[Stepped, Any, Any, IntArray]:
        """Take a step; return it, the observations before and after new episodes began, and where they did."""
        found = self.problem.step(actions)
        last = self.shaped(found.observation)
        ended = np.flatnonzero(found.lost | found.over)
        if not len(ended):
            return found, last, last, ended
        self.begin(ended)
        return found, last, self.seen(), ended

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        return {"random": [one.bit_generator.state for one in self.random], **self.problem.state()}

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observations there."""
        for one, kept in zip(self.random, state["random"], strict=True):
            one.bit_generator.state = kept
        self.problem.restore(state)
        return self.seen()


class VoltVarVectorEnv(VectorEnv):  # type: ignore[misc]
    """`num_envs` copies of `VoltVarEnv` side by side; ``gymnasium.make_vec("feederlab/VoltVar-v0", 64, ...)``.

    Equal seeds, actions and starts give what single copies give.  A copy that ends begins anew in the same step
    (Gymnasium's ``SAME_STEP``): its last observation and scores are in ``info["final_obs"]``, ``info["final_info"]``.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int = 1, scenario: Any = None, **settings: Any) -> None:
        if scenario is None:
            raise InputError("give a scenario, e.g. scenario='mapdn33' (feederlab scenarios lists them)")
        settings.pop("render_mode", None)
        self.problem = Problem(num_envs, scenario, **settings)
        self.herd, self.num_envs = Herd(self.problem), num_envs
        self.single_observation_space, self.single_action_space = spaces(self.problem)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every copy, or in those of ``options["reset_mask"]``; copy k is seeded seed + k.

        Other options are those of `VoltVarEnv`, and concern every copy that begins.
        """
        if isinstance(seed, int):
            seed = [seed + k for k in range(self.num_envs)]
        if seed is not None:
            self.herd.seed(seed)
        mask = (options or {}).get("reset_mask")
        which = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self.herd.begin(which, [options] * self.num_envs)
        return self.herd.seen(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one step in every copy."""
        found, last, seen, ended = self.herd.step(actions)
        info: dict[str, Any] = {}
        for name, values in found.about.items():
            info[name], info[f"_{name}"] = values, np.ones(self.num_envs, dtype=bool)
        if len(ended):
            done = found.lost | found.over
            final = np.full(self.num_envs, None, dtype=object)
            for k in ended:
                final[k] = last[k]
            info["final_info"], info["_final_info"] = dict(info), done
            info["final_obs"], info["_final_obs"] = final, done
            for name in found.about:  # a copy that began anew has taken no step yet
                info[f"_{name}"] = ~done
        return seen, found.reward, found.lost, found.over, info

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        return self.herd.state()

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observations there."""
        return self.herd.restore(state)
