"""`Subject`: what a training is about: an environment in copies, held-out days to judge by, a file for the policy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.extra import need

need("stable_baselines3", "gymnasium")
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

Days = tuple[pd.Timestamp, ...]


class Saved(Protocol):
    """A policy that can be written to a file."""

    def save(self, path: str | Path) -> Path:
        """Write it."""
        ...


class Subject(Protocol):
    """An environment, and what is to be done with the policies that are trained in it.

    name : id of the environment.  days, unseen : to train on, and held out.  spaces : observation and action.
    """

    name: str
    days: Days
    unseen: Days

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The observation and the action space."""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of what `judge` returns."""
        ...

    def copies(self, count: int) -> Any:
        """Make copies side by side, on the training days."""
        ...

    def policy(self, model: Any, about: Mapping[str, Any]) -> Saved:
        """Return what a model has learnt.  about : JSON-ready record of the training."""
        ...

    def judge(self, policy: Any) -> dict[str, float]:
        """Return mean scores of a step on the held-out days, ``"reward"`` first; empty without any."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return, JSON-ready, what the result depends on."""
        ...


def side_by_side(make: Any, count: int) -> Any:
    """Return `count` environments that `make` makes, one after another in this process."""
    return DummyVecEnv([make] * count)


def state_of(copies: Any) -> Any:
    """Return, JSON-ready, where copies stand: of `VecEnv.state` if there is one, else of each environment."""
    return copies.state() if hasattr(copies, "state") else [env.unwrapped.state() for env in copies.envs]


def restore(copies: Any, state: Any) -> np.ndarray[Any, Any]:
    """Bring copies to where `state_of` was taken; return their observations there."""
    if hasattr(copies, "restore"):
        return np.asarray(copies.restore(state))
    return np.stack([env.unwrapped.restore(one) for env, one in zip(copies.envs, state, strict=True)])


def check_arguments(environment: str, maker: Any, given: Mapping[str, Any], private: Sequence[str]) -> None:
    """Make sure that an environment's maker takes the arguments.

    private : parameters that the training sets itself.

    Raises
    ------
    UnknownNameError
        For one that it does not take.
    """
    parameters = inspect.signature(maker).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        known = None
    else:
        known = [one.name for one in parameters if one.name not in ("self", *private)]
    for name in given:
        if name in private:
            raise InputError(f"the argument {name!r} of {environment} is set by the training itself")
        if known is not None and name not in known:
            raise UnknownNameError(f"argument of {environment}", name, known)


def scores_of(reward: Any, info: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of a step: its reward, and whatever ``info`` holds as a float."""
    return {"reward": float(reward), **{name: value for name, value in info.items() if isinstance(value, float)}}


def lived(env: Any, days: Sequence[Any], decide: Any) -> dict[str, float]:
    """Return the mean `scores_of` a step when `decide` (observation -> action) lives through days of an environment.

    Each day begins with a seed of its own: what a day draws is the same at every judgement.
    """
    totals: dict[str, list[float]] = {}
    for k, day in enumerate(days):
        seen, _ = env.reset(seed=k, options={"day": day})
        over = False
        while not over:
            seen, reward, ended, cut, info = env.step(decide(seen))
            over = ended or cut
            for name, value in scores_of(reward, info).items():
                totals.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in totals.items()}
