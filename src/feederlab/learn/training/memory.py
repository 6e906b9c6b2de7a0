"""Everything that an algorithm's next step depends on, as arrays and a JSON-ready rest, and the way back.

What stable-baselines3 saves leaves out the replay buffer and the state of the random generators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.tensors import Arrays

need("torch", "stable_baselines3")
import torch  # noqa: E402
from stable_baselines3 import DQN, PPO, SAC  # noqa: E402

from feederlab.learn.training.algorithms import Model  # noqa: E402

_COUNTERS = (
    "num_timesteps", "_n_calls", "_n_updates", "_episode_num", "exploration_rate", "_current_progress_remaining",
)  # fmt: skip
_REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def taken(model: Model) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the JSON-ready rest of a model's state between two rollouts.

    Networks and their targets, the optimisers' moments, the replay buffer, counters, the last observation, and the
    random generators that stable-baselines3 draws from (torch's and numpy's own, and the action space's).
    """
    arrays: Arrays = {f"network.{key}": value.numpy() for key, value in model.policy.state_dict().items()}
    if (weight := _entropy(model)) is not None:
        arrays["entropy"] = weight.detach().numpy()
    for name, optimiser in _optimisers(model).items():
        for k, moments in optimiser.state_dict()["state"].items():
            arrays |= {f"optimiser.{name}.{k}.{key}": value.numpy() for key, value in moments.items()}
    about: dict[str, Any] = {}
    if not isinstance(model, PPO):
        replay = model.replay_buffer
        filled = replay.buffer_size if replay.full else replay.pos
        arrays |= {f"replay.{name}": getattr(replay, name)[:filled] for name in _REPLAYED}
        about["replay"] = {"position": replay.pos, "full": bool(replay.full)}
    arrays["last.observation"] = np.asarray(model._last_obs)
    arrays["last.started"] = np.asarray(model._last_episode_starts)
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002  (stable-baselines3 draws from it)
    arrays["random.numpy"] = legacy["state"]["key"]
    arrays["random.torch"] = torch.get_rng_state().numpy()
    return arrays, about | {
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "numpy": {"pos": legacy["state"]["pos"], "has_gauss": legacy["has_gauss"], "gauss": legacy["gauss"]},
        "exploration": model.action_space.np_random.bit_generator.state,
    }


def put(model: Model, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Bring a model, fresh from its settings, to the state that `taken` returned."""
    own = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    model.policy.load_state_dict({key: own[f"network.{key}"] for key in model.policy.state_dict()})
    if (weight := _entropy(model)) is not None:
        weight.data.copy_(own["entropy"])
    for name, optimiser in _optimisers(model).items():
        state: dict[int, dict[str, Any]] = {}
        for key, value in own.items():
            if key.startswith(f"optimiser.{name}."):
                k, _, moment = key.removeprefix(f"optimiser.{name}.").partition(".")
                state.setdefault(int(k), {})[moment] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    if not isinstance(model, PPO):
        replay = model.replay_buffer
        for name in _REPLAYED:
            values = arrays[f"replay.{name}"]
            getattr(replay, name)[: len(values)] = values
        replay.pos, replay.full = int(about["replay"]["position"]), bool(about["replay"]["full"])
    for name, count in about["counters"].items():
        setattr(model, name, count)
    model._last_obs = np.array(arrays["last.observation"])
    model._last_episode_starts = np.array(arrays["last.started"])
    model.action_space.np_random.bit_generator.state = about["exploration"]
    torch.set_rng_state(own["random.torch"])
    numpy = about["numpy"]
    np.random.set_state(  # noqa: NPY002
        ("MT19937", arrays["random.numpy"], numpy["pos"], numpy["has_gauss"], numpy["gauss"])
    )


def _optimisers(model: Model) -> dict[str, Any]:
    if isinstance(model, (PPO, DQN)):
        return {"policy": model.policy.optimizer}
    found = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
    learnt = getattr(model, "ent_coef_optimizer", None)
    return found if learnt is None else {**found, "entropy": learnt}


def _entropy(model: Model) -> Any:
    """Return the logarithm of SAC's weight of the entropy where it is learnt, else None."""
    return model.log_ent_coef if isinstance(model, SAC) else None
