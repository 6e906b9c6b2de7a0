"""Policies that act row by row: one network, shared by all inverters, while the critic sees all rows.

Where an observation is (rows, entries), a row for each action, action i is a function of row i alone: central training,
decentral execution.  A row ends with the number of its inverter (`Layout`), so that one network can serve them all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from feederlab.learn.extra import need

need("torch", "stable_baselines3", "gymnasium")
import torch  # noqa: E402
from stable_baselines3.common.policies import ActorCriticPolicy  # noqa: E402
from stable_baselines3.common.torch_layers import create_mlp  # noqa: E402
from stable_baselines3.sac.policies import Actor as SacActor  # noqa: E402
from stable_baselines3.sac.policies import SACPolicy  # noqa: E402
from stable_baselines3.td3.policies import Actor as Td3Actor  # noqa: E402
from stable_baselines3.td3.policies import TD3Policy  # noqa: E402
from torch import nn  # noqa: E402


class RowExtractor(nn.Module):  # type: ignore[misc]
    """Hidden layers of a policy, on each row, and of a value, on all rows: stable-baselines3's extractor."""

    def __init__(self, shape: tuple[int, int], policy: list[int], value: list[int], activation: Any) -> None:
        super().__init__()
        self.shape = shape
        self.policy_net = nn.Sequential(*create_mlp(shape[1], -1, policy, activation))
        self.value_net = nn.Sequential(*create_mlp(shape[0] * shape[1], -1, value, activation))
        self.latent_dim_pi, self.latent_dim_vf = policy[-1], value[-1]

    def forward(self, features: Any) -> tuple[Any, Any]:
        """Return both, for (batch, rows * entries) features."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Any) -> Any:
        """Return (batch, rows, width)."""
        return self.policy_net(features.reshape(-1, *self.shape))

    def forward_critic(self, features: Any) -> Any:
        """Return (batch, width)."""
        return self.value_net(features)


class RowActorCritic(ActorCriticPolicy):  # type: ignore[misc]
    """PPO's policy and value: the mean of action i is a function of row i, its deviation a number for each i."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = RowExtractor(
            self.observation_space.shape, self.net_arch["pi"], self.net_arch["vf"], self.activation_fn
        )

    def _build(self, lr_schedule: Any) -> None:
        """Make the networks as stable-baselines3 does, orthogonal weights included, with one output for each row."""
        self._build_mlp_extractor()
        self.action_net = nn.Linear(self.mlp_extractor.latent_dim_pi, 1)
        self.log_std = nn.Parameter(torch.full((self.observation_space.shape[0],), float(self.log_std_init)))
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        for module, gain in ((self.mlp_extractor, np.sqrt(2)), (self.action_net, 0.01), (self.value_net, 1.0)):
            module.apply(partial(self.init_weights, gain=gain))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self, latent_pi: Any) -> Any:
        return self.action_dist.proba_distribution(self.action_net(latent_pi).squeeze(-1), self.log_std)


class RowSacActor(SacActor):  # type: ignore[misc]
    """SAC's policy: mean and deviation of action i are functions of row i."""

    def __init__(self, observation_space: Any, action_space: Any, features_dim: int, **more: Any) -> None:
        super().__init__(observation_space, action_space, features_dim=observation_space.shape[1], **more)
        self.mu, self.log_std = nn.Linear(self.net_arch[-1], 1), nn.Linear(self.net_arch[-1], 1)

    def get_action_dist_params(self, obs: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return (batch, rows) means and logarithms of deviations, bounded as stable-baselines3 bounds them."""
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor).reshape(-1, *obs.shape[-2:]))
        return self.mu(latent).squeeze(-1), self.log_std(latent).squeeze(-1).clamp(-20, 2), {}


class RowSac(SACPolicy):  # type: ignore[misc]
    """SAC with `RowSacActor`; the action values see all rows."""

    def make_actor(self, features_extractor: Any = None) -> Any:
        """Make the row-wise policy."""
        return RowSacActor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)


class RowTd3Actor(Td3Actor):  # type: ignore[misc]
    """TD3's policy: action i is a function of row i."""

    def __init__(self, observation_space: Any, action_space: Any, features_dim: int, **more: Any) -> None:
        entries = observation_space.shape[1]
        super().__init__(observation_space, action_space, features_dim=entries, **more)
        self.mu = nn.Sequential(*create_mlp(entries, 1, self.net_arch, self.activation_fn, squash_output=True))

    def forward(self, obs: Any) -> Any:
        """Return (batch, rows) actions."""
        return self.mu(self.extract_features(obs, self.features_extractor).reshape(-1, *obs.shape[-2:])).squeeze(-1)


class RowTd3(TD3Policy):  # type: ignore[misc]
    """TD3 with `RowTd3Actor`; the action values see all rows."""

    def make_actor(self, features_extractor: Any = None) -> Any:
        """Make the row-wise policy."""
        return RowTd3Actor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)
