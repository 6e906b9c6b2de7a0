"""Any environment that Gymnasium knows, as the subject of a training."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from feederlab.errors import FeederlabError, InputError, UnknownNameError
from feederlab.learn.days import Days as Wanted
from feederlab.learn.days import pick_days
from feederlab.learn.extra import need
from feederlab.learn.policies.actor import Actor
from feederlab.learn.training.algorithms import actor_of, layers_of
from feederlab.learn.training.network import Network
from feederlab.learn.training.subject import Days, check_arguments, lived, scores_of, side_by_side
from feederlab.models.scenario import Scenario
from feederlab.provenance import versions

need("gymnasium")
import gymnasium as gym  # noqa: E402
from gymnasium.envs.registration import load_env_creator  # noqa: E402


class AnySubject:
    """An environment by its id.

    So that a training can be resumed exactly, it has ``state()``, JSON-ready, and ``restore(state)``, which returns the
    observation; and it ends its episodes itself.  If it takes a ``scenario`` it is given one; if it takes ``days`` and
    ``reset(options={"day": day})``, it learns on some and is judged on others.  If it has ``on(days)``, that makes the
    same environment on other days: with the scales, models and the like that the training days gave it.

    Raises
    ------
    UnknownNameError, InputError
        For an id or an argument that is not known, or where the above is not so.
    """

    def __init__(
        self, name: str, scenario: Scenario | None, arguments: Mapping[str, Any], days: int | Wanted,
        holdout: int | Wanted, seed: int,
    ) -> None:  # fmt: skip
        self.name = name
        try:
            spec = gym.spec(name)
            maker = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
        except (gym.error.Error, ImportError, AttributeError) as error:
            if name in gym.registry:
                raise InputError(f"the environment {name} cannot be made: {type(error).__name__}: {error}") from error
            ours = [known for known in gym.registry if known.startswith("feederlab/")]
            raise UnknownNameError("environment", name, ours) from error
        takes = inspect.signature(maker).parameters
        check_arguments(name, maker, arguments, ("scenario", "days") if "days" in takes else ("scenario",))
        self._arguments = dict(arguments)
        self.days = self.unseen = Days()
        if "scenario" in takes:
            if scenario is None:
                raise InputError(f"{name} needs a scenario (feederlab scenarios lists them)")
            self._arguments["scenario"] = scenario
            if "days" in takes:
                self.days, self.unseen = pick_days(scenario, days, holdout, seed)
        self.scenario = scenario if "scenario" in takes else None
        self._spec = spec
        self.env = self._made(self.days)
        self._judge = self._another(self.unseen) if self.unseen else None
        for method in ("state", "restore"):
            if not callable(getattr(self.env, method, None)):
                raise InputError(f"{name} has no {method}(), without which a training in it could not be resumed")
        if spec.max_episode_steps is not None:
            raise InputError(f"{name} leaves it to Gymnasium to end its episodes (max_episode_steps): end them itself")

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The observation and the action space."""
        return self.env.observation_space, self.env.action_space

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of what `judge` returns, as a first step shows them."""
        self.env.reset(seed=0)
        self.env.action_space.seed(0)
        _, reward, _, _, info = self.env.step(self.env.action_space.sample())
        return tuple(scores_of(reward, info))

    def copies(self, count: int) -> Any:
        """Make copies side by side, on the training days."""
        return side_by_side(lambda: self._another(self.days), count)

    def policy(self, model: Any, about: Mapping[str, Any]) -> Network:
        """Return the network that acts."""
        discrete = isinstance(self.env.action_space, gym.spaces.Discrete)
        return Network(Actor(layers_of(model), "relu", "clip") if discrete else actor_of(model), discrete, about)

    def judge(self, policy: Network) -> dict[str, float]:
        """Return mean scores of a step when `policy` lives through the held-out days."""
        return {} if self._judge is None else lived(self._judge, self.unseen, policy.act)

    def identity(self) -> dict[str, Any]:
        """Return, JSON-ready, what the result depends on; of the data, a hash of what is seen first."""
        seen = [self.env.reset(seed=k)[0] for k in range(3)]
        named = {} if self.scenario is None else {"scenario": self.scenario.name}
        return {
            **named, "arguments": {name: str(value) for name, value in self._arguments.items() if name != "scenario"},
            "data": hashlib.sha256(np.stack(seen).tobytes()).hexdigest()[:16], "versions": versions(),
        }  # fmt: skip

    def _another(self, days: Days) -> Any:
        return self.env.on(list(days)) if hasattr(self.env, "on") else self._made(days)

    def _made(self, days: Days) -> Any:
        more = {"days": list(days)} if self.scenario is not None and days else {}
        try:
            return gym.make(self._spec, **self._arguments, **more, disable_env_checker=True).unwrapped
        except FeederlabError:
            raise
        except Exception as error:  # it is not ours, and may raise anything
            raise InputError(f"the environment {self.name} cannot be made: {type(error).__name__}: {error}") from error
