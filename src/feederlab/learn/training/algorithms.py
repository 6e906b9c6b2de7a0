"""The algorithms of stable-baselines3 under our settings, and the network that acts, taken out of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.extra import need
from feederlab.learn.policies.actor import Actor
from feederlab.learn.policies.layers import Layers
from feederlab.learn.settings import DqnSettings, PpoSettings, SacSettings, Td3Settings

need("torch", "stable_baselines3", "gymnasium")
import torch  # noqa: E402
from gymnasium import spaces  # noqa: E402
from stable_baselines3 import DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402
from torch import nn  # noqa: E402

from feederlab.learn.training.row_wise import RowActorCritic, RowSac, RowTd3  # noqa: E402

ALGORITHMS = ("ppo", "sac", "td3", "dqn")
_ACTIONS = {"ppo": (spaces.Box, spaces.Discrete), "sac": (spaces.Box,), "td3": (spaces.Box,), "dqn": (spaces.Discrete,)}
Model = Any
"""PPO, SAC, TD3 or DQN of stable-baselines3, which has no types that mypy could follow."""


def check_fit(algorithm: str, environment: str, observation: Any, action: Any) -> None:
    """Make sure that an algorithm can learn in an environment with these spaces.

    Raises
    ------
    UnknownNameError
        If there is no such algorithm.
    InputError
        If the spaces are not for it; the message names what is.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownNameError("algorithm", algorithm, ALGORITHMS)
    if not isinstance(action, _ACTIONS[algorithm]):
        fitting = [name for name, kinds in _ACTIONS.items() if isinstance(action, kinds)]
        other = f"take {' or '.join(fitting)}" if fitting else "no algorithm here takes them"
        raise InputError(f"{algorithm} cannot learn the actions of {environment}, {action}: {other}")
    if isinstance(action, spaces.Box) and not (
        len(action.shape) == 1 and (action.low == -1).all() and (action.high == 1).all()
    ):
        raise InputError(
            f"the actions of {environment} must be a vector in [-1, 1], not {action}: gymnasium.wrappers.RescaleAction "
            "scales them"
        )
    if not isinstance(observation, spaces.Box) or observation.dtype != np.float32 or len(observation.shape) > 2:
        raise InputError(f"the observation of {environment} must be a float32 vector or table, not {observation}")
    if len(observation.shape) == 2 and (not isinstance(action, spaces.Box) or observation.shape[0] != action.shape[0]):
        raise InputError(
            f"the observation of {environment} has {observation.shape[0]} rows, which must be one for each action of "
            f"{action}"
        )


def make_model(algorithm: str, copies: VecEnv, settings: Any, seed: int) -> Model:
    """Return the algorithm, ready to learn in some copies of an environment, on one thread of the processor.

    Where the observation is (rows, entries), the policy acts row by row (`row_wise`).

    Raises
    ------
    InputError
        If the settings do not fit the number of copies.
    """
    rows = len(copies.observation_space.shape) == 2
    make: Any = {"ppo": _ppo, "sac": _sac, "td3": _td3, "dqn": _dqn}[algorithm]
    return make(copies, settings, rows, {"seed": seed, "device": "cpu", "gamma": settings.discount})


def _ppo(copies: VecEnv, settings: PpoSettings, rows: bool, common: dict[str, Any]) -> PPO:
    gathered = settings.rollout * copies.num_envs
    batch = min(settings.batch, gathered)
    if gathered < 2 or gathered % batch:
        raise InputError(
            f"a rollout of {settings.rollout} steps in {copies.num_envs} copies gathers {gathered} transitions, which "
            f"are no whole number of batches of {batch}: change rollout, batch or the number of copies"
        )
    discrete = isinstance(copies.action_space, spaces.Discrete)
    activation = nn.ReLU if discrete or settings.activation == "relu" else nn.Tanh
    return PPO(
        RowActorCritic if rows else "MlpPolicy", copies, **common, learning_rate=_rate(settings),
        n_steps=settings.rollout, batch_size=batch, n_epochs=settings.epochs, gae_lambda=settings.gae_lambda,
        clip_range=settings.clip, ent_coef=settings.entropy, vf_coef=settings.value_weight,
        max_grad_norm=settings.max_gradient,
        policy_kwargs={
            "net_arch": {"pi": list(settings.hidden), "vf": list(settings.critic_hidden)}, "activation_fn": activation,
            "log_std_init": settings.log_std,
        },
    )  # fmt: skip


def _sac(copies: VecEnv, settings: SacSettings, rows: bool, common: dict[str, Any]) -> SAC:
    own = settings.entropy if settings.entropy.startswith("auto") else float(settings.entropy)
    goal = settings.entropy_target if settings.entropy_target == "auto" else float(settings.entropy_target)
    return SAC(
        RowSac if rows else "MlpPolicy", copies, **common, **_remembering(settings), ent_coef=own, target_entropy=goal,
        target_update_interval=settings.target_every,
    )  # fmt: skip


def _td3(copies: VecEnv, settings: Td3Settings, rows: bool, common: dict[str, Any]) -> TD3:
    count = copies.action_space.shape[0]
    noise = NormalActionNoise(np.zeros(count), np.full(count, settings.noise)) if settings.noise else None
    return TD3(
        RowTd3 if rows else "MlpPolicy", copies, **common, **_remembering(settings), action_noise=noise,
        policy_delay=settings.policy_delay, target_policy_noise=settings.target_noise,
        target_noise_clip=settings.target_clip,
    )  # fmt: skip


def _remembering(settings: SacSettings | Td3Settings) -> dict[str, Any]:
    return {
        "learning_rate": _rate(settings), "batch_size": settings.batch, "buffer_size": settings.replay,
        "learning_starts": settings.warm_up, "train_freq": settings.train_every,
        "gradient_steps": settings.gradient_steps, "tau": settings.tau,
        "policy_kwargs": {"net_arch": {"pi": list(settings.hidden), "qf": list(settings.critic_hidden)}},
    }  # fmt: skip


def _dqn(copies: VecEnv, settings: DqnSettings, rows: bool, common: dict[str, Any]) -> DQN:
    return DQN(
        "MlpPolicy", copies, **common,
        policy_kwargs={"net_arch": list(settings.hidden), "activation_fn": nn.ReLU},
        learning_rate=settings.learning_rate, batch_size=settings.batch,
        buffer_size=settings.replay, learning_starts=settings.warm_up, train_freq=1, gradient_steps=1,
        target_update_interval=settings.target_every, exploration_initial_eps=settings.explore_first,
        exploration_final_eps=settings.explore_last, exploration_fraction=settings.explore_share,
    )  # fmt: skip


def _rate(settings: Any) -> Any:
    """Return the learning rate, or how it falls with the share of the training that remains."""
    rate, decay = settings.learning_rate, settings.decay
    return rate if decay == 1 else lambda remaining: rate * (decay + (1 - decay) * max(remaining, 0.0))


def actor_of(model: Model) -> Actor:
    """Return the network that acts, for continuous actions: what `model.predict(..., deterministic=True)` takes.

    It has no value, no deviation and no target.  For a row-wise policy it is the network of a row.
    """
    hidden = model.policy.mlp_extractor.policy_net if isinstance(model, PPO) else None
    tanh = hidden is not None and any(isinstance(module, nn.Tanh) for module in hidden)
    return Actor(layers_of(model), "tanh" if tanh else "relu", "clip" if isinstance(model, PPO) else "tanh")


def layers_of(model: Model) -> Layers:
    """Return the layers of the network that acts: of discrete actions, the largest output is the one to take."""
    if isinstance(model, DQN):
        modules = [*model.q_net.q_net]
    elif isinstance(model, PPO):
        modules = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    elif isinstance(model, SAC):
        modules = [*model.actor.latent_pi, model.actor.mu]
    else:
        modules = [*model.actor.mu]
    return tuple((_array(m.weight), _array(m.bias)) for m in modules if isinstance(m, nn.Linear))


def _array(weights: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.array(weights.detach().numpy(), dtype=np.float32)
