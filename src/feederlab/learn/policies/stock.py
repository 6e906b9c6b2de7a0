"""A model as stable-baselines3 saves it (``.zip``): what can be read safely, and, where it is trusted, its actions.

Loading such a file unpickles, and so runs whatever code it holds.  `peek` reads the plain text in it alone.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError, ResultFileError
from feederlab.learn.extra import need
from feederlab.learn.policies.acting import Means

_MOST = 1 << 26  # bytes of plain text that are read of a file that nobody has trusted yet
_SIGNS = {  # what only this algorithm keeps, in the order to look
    "exploration_rate": "DQN", "clip_range": "PPO", "target_entropy": "SAC", "policy_delay": "TD3", "gae_lambda": "A2C",
}  # fmt: skip


@dataclass(frozen=True)
class Peek:
    """What a stock file says of itself in plain text.

    algorithm : ``"PPO"``, ``"A2C"``, ``"SAC"`` or ``"TD3"`` (which stands for DDPG too).  observation, action : shapes.
    """

    algorithm: str
    observation: tuple[int, ...]
    action: tuple[int, ...]


def is_stock(path: Path) -> bool:
    """Whether a file begins as a zip archive does.  Raises `ResultFileError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise ResultFileError(f"cannot read the policy {path}: {error.strerror or error}") from error


def peek(path: Path) -> Peek:
    """Return what a stock file says of itself, without running anything in it.

    Raises
    ------
    ResultFileError
        If it is damaged, no model of stable-baselines3, or one whose actions are no numbers in [-1, 1].
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("data").file_size > _MOST:
                raise ValueError("its description is too long to be one")
            data = json.loads(archive.read("data"))
        algorithm = next((name for sign, name in _SIGNS.items() if sign in data), "")
        seen, moved = (_shape(data[key]) for key in ("observation_space", "action_space"))
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise ResultFileError(f"{path} is damaged or no model of stable-baselines3: {error}") from error
    if algorithm in ("", "DQN"):
        what = "a DQN model, which chooses among numbered actions" if algorithm else "of an unknown algorithm"
        raise ResultFileError(f"{path} is {what}: PPO, A2C, SAC, TD3 and DDPG move inverters")
    return Peek(algorithm, seen, moved)


def _shape(space: Mapping[str, Any]) -> tuple[int, ...]:
    if ".Box'" not in str(space[":type:"]):
        raise ValueError(f"{space[':type:']} is no space of numbers (Box)")
    return tuple(int(n) for n in space["_shape"])


def load_means(path: Path, found: Peek, shape: tuple[int, int], by_row: bool) -> Means:
    """Load a stock file, which unpickles it, and return what it answers to (rows, entries).

    by_row : the network takes one row and moves one inverter; else it takes all rows and moves all.

    Raises
    ------
    ResultFileError
        If stable-baselines3 cannot load it, or it is not what it says it is.
    InputError
        If its actions do not lie in [-1, 1].
    """
    need("stable_baselines3", "torch")
    import stable_baselines3
    import torch

    try:
        policy = getattr(stable_baselines3, found.algorithm).load(path, device="cpu").policy
    except Exception as error:  # a foreign pickle may raise anything
        raise ResultFileError(f"stable-baselines3 cannot load {path}: {type(error).__name__}: {error}") from error
    space = policy.action_space
    if (policy.observation_space.shape, space.shape) != (found.observation, found.action):
        raise ResultFileError(f"{path} contradicts itself: its network has other shapes than its description")
    if not (np.all(space.low == -1) and np.all(space.high == 1)):
        raise InputError(f"the actions of {path} do not lie in [-1, 1], as those of VoltVarEnv do")
    policy.set_training_mode(False)
    batch = (shape[0], *found.observation) if by_row else (1, *found.observation)

    def means(rows: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        with torch.no_grad():
            answer = policy._predict(torch.as_tensor(rows.reshape(batch)), deterministic=True)
        return answer.numpy().reshape(-1)  # before `predict` clips; a squashed answer is in [-1, 1] already

    return means
