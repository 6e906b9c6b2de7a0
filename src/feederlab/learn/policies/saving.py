"""`save_policy`: what a model of stable-baselines3 has learnt in `VoltVarEnv`, as a policy file that needs no trust."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.learn.extra import need
from feederlab.learn.likeness import likeness
from feederlab.learn.policies.actor import ActorPolicy
from feederlab.provenance import versions

_TRIES, _NEAR = 16, 1e-4


def save_policy(model: Any, env: Any, file: str | Path) -> Path:
    """Write the network that acts, with the observation, the bound and the feeder of the environment, to one file.

    Parameters
    ----------
    model
        A PPO, SAC or TD3 model whose policy is a plain network (``"MlpPolicy"``), trained with code of one's own.
    env
        The `VoltVarEnv` that it was trained in, or a `VoltVarVecEnv`, or what wraps one of them.
    file
        Where to; `SB3Policy` reads it.

    Raises
    ------
    InputError
        If `env` is no such environment, or the plain network does not answer as the model does: with features of its
        own, normalised observations, or the rows of all inverters taken at once.
    """
    need("torch", "stable_baselines3")
    from feederlab.learn.training.algorithms import actor_of

    problem = _problem(env)
    if model.get_vec_normalize_env() is not None:
        raise InputError("the model was trained on normalised observations (VecNormalize), which a policy file has not")
    name = type(model).__name__
    try:
        policy = ActorPolicy(
            actor_of(model), problem.layout.record(), problem.bound, likeness(problem.scenario.feeder), name.lower(),
            {"model": f"{type(model).__module__}:{name}", "steps": int(model.num_timesteps)},
            versions() | {package: version(package) for package in ("torch", "stable-baselines3", "gymnasium")},
        )  # fmt: skip
        _compare(policy, model, problem.shape)
    except (AttributeError, TypeError, ValueError) as error:  # no such network, or one of another shape
        raise InputError(
            f"the {name} model is no plain network of this environment ({error}): run its .zip, with trust=true"
        ) from error
    policy.check(problem.scenario.task(), "of the model")
    return policy.save(file)


def _problem(env: Any) -> Any:
    inner = env.envs[0] if hasattr(env, "envs") else env
    problem = getattr(getattr(inner, "unwrapped", inner), "problem", None)
    if not hasattr(problem, "layout"):
        raise InputError(f"{type(env).__name__} is no VoltVarEnv and wraps none: name the environment of the training")
    return problem


def _compare(policy: ActorPolicy, model: Any, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the policy answers as the model does."""
    seen = np.random.default_rng(0).normal(size=(_TRIES, *shape)).astype(np.float32)
    expected, _ = model.predict(seen, deterministic=True)
    rows = seen.reshape(_TRIES, -1, shape[-1])
    found = policy.act(rows)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=_NEAR):
        raise ValueError("its layers alone answer otherwise")
