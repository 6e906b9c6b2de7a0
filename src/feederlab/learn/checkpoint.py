"""Everything that the next step of a training depends on, in numbered files: resuming changes no bit of the result.

What stable-baselines3 saves leaves out the replay buffer, the state of the random generators and the environment's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.errors import ResultFileError
from feederlab.learn.extra import need
from feederlab.learn.tensors import Arrays, read_tensors, write_tensors

if TYPE_CHECKING:
    from feederlab.learn.capacitors import CapacitorsEnv

need("torch", "stable_baselines3")
import torch  # noqa: E402
from stable_baselines3 import DQN  # noqa: E402

KIND = "feederlab checkpoint"
_NAME = re.compile(r"step-(\d{9})\.safetensors")
_COUNTERS = (
    "num_timesteps", "_n_calls", "_n_updates", "_episode_num", "exploration_rate", "_current_progress_remaining",
)  # fmt: skip
_REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Checkpoints:
    """The folder of a training's checkpoints, the last `keep` of them.

    identity : JSON-ready; what a training must share to go on from them.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], keep: int) -> None:
        self.folder, self._identity, self._keep = folder, dict(identity), keep

    def files(self) -> dict[int, Path]:
        """Return step -> file, in order."""
        found = {int(m[1]): p for p in self.folder.glob("step-*") if (m := _NAME.fullmatch(p.name))}
        return dict(sorted(found.items()))

    def write(self, model: DQN, env: CapacitorsEnv, beside: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove those no longer needed.  beside : JSON-ready; `read` gives it back."""
        arrays, about = _taken(model)
        path = self.folder / f"step-{model.num_timesteps:09d}.safetensors"
        write_tensors(
            path, KIND, arrays,
            {**about, "environment": env.state(), "identity": self._identity, "beside": dict(beside)},
        )  # fmt: skip
        for old in list(self.files().values())[: -self._keep]:
            old.unlink(missing_ok=True)
        return path

    def read(self, model: DQN, env: CapacitorsEnv) -> dict[str, Any] | None:
        """Bring model and environment to the last checkpoint; return what was kept beside it, None without any.

        Raises
        ------
        ResultFileError
            If that checkpoint is damaged, or belongs to another training.  Older ones stay as they are.
        """
        files = list(self.files().values())
        if not files:
            return None
        before = f"resume again to go on from {files[-2].name}" if len(files) > 1 else "begin anew"
        arrays, about = read_tensors(files[-1], KIND, remedy=f"delete it and {before}")
        self._check(files[-1], about)
        try:
            _put(model, arrays, about)
            seen = env.restore(about["environment"])
            beside: dict[str, Any] = about["beside"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise ResultFileError(f"{files[-1]} is no usable {KIND}: {error}; delete it and {before}") from error
        model._last_obs = seen[None, :]
        model._last_episode_starts = np.zeros(1, dtype=bool)
        return beside

    def _check(self, path: Path, about: Mapping[str, Any]) -> None:
        there, here = _flat(about.get("identity")), _flat(self._identity)
        other = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
        if other:
            listed = "; ".join(f"{key} was {_short(there.get(key))}, is {_short(here.get(key))}" for key in other[:6])
            raise ResultFileError(
                f"{path} belongs to another training ({listed}): resume it as it was begun, give --overwrite instead, "
                "or choose another folder"
            )


def _taken(model: DQN) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the JSON-ready rest of a model's state."""
    arrays: Arrays = {}
    for name, net in (("online", model.q_net), ("target", model.q_net_target)):
        arrays |= {f"{name}.{key}": value.numpy() for key, value in net.state_dict().items()}
    for k, moments in model.policy.optimizer.state_dict()["state"].items():
        arrays |= {f"optimiser.{k}.{key}": value.numpy() for key, value in moments.items()}
    replay = model.replay_buffer
    assert replay is not None
    filled = replay.buffer_size if replay.full else replay.pos
    arrays |= {f"replay.{name}": getattr(replay, name)[:filled] for name in _REPLAYED}
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002  (stable-baselines3 draws from it)
    arrays["random.numpy"] = legacy["state"]["key"]
    arrays["random.torch"] = torch.get_rng_state().numpy()
    return arrays, {
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "replay": {"position": replay.pos, "full": bool(replay.full)},
        "numpy": {"pos": legacy["state"]["pos"], "has_gauss": legacy["has_gauss"], "gauss": legacy["gauss"]},
        "exploration": model.action_space.np_random.bit_generator.state,
    }


def _put(model: DQN, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Bring a model, fresh from its settings, to the state that `_taken` returned."""
    own = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    for name, net in (("online", model.q_net), ("target", model.q_net_target)):
        net.load_state_dict({key: own[f"{name}.{key}"] for key in net.state_dict()})
    state: dict[int, dict[str, Any]] = {}
    for name, value in own.items():
        kind, _, key = name.partition(".")
        if kind == "optimiser":
            k, _, moment = key.partition(".")
            state.setdefault(int(k), {})[moment] = value
    optimiser = model.policy.optimizer
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    replay = model.replay_buffer
    assert replay is not None
    for name in _REPLAYED:
        values = arrays[f"replay.{name}"]
        getattr(replay, name)[: len(values)] = values
    replay.pos, replay.full = int(about["replay"]["position"]), bool(about["replay"]["full"])
    for name in _COUNTERS:
        setattr(model, name, about["counters"][name])
    model.action_space.np_random.bit_generator.state = about["exploration"]
    torch.set_rng_state(own["random.torch"])
    numpy = about["numpy"]
    np.random.set_state(  # noqa: NPY002
        ("MT19937", arrays["random.numpy"], numpy["pos"], numpy["has_gauss"], numpy["gauss"])
    )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return dotted key -> value of a nested dictionary."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else str(key)).items()
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
