"""Everything that the next step of a training depends on, in numbered files: resuming changes no bit of the result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import ResultFileError
from feederlab.learn.tensors import read_tensors, write_tensors
from feederlab.learn.training.algorithms import Model
from feederlab.learn.training.memory import put, taken
from feederlab.learn.training.subject import restore, state_of

KIND = "feederlab checkpoint"
_NAME = re.compile(r"step-(\d{9,})\.safetensors")


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

    def write(self, model: Model, copies: Any, beside: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove those no longer needed.  beside : JSON-ready; `read` gives it back."""
        arrays, about = taken(model)
        path = self.folder / f"step-{model.num_timesteps:09d}.safetensors"
        write_tensors(
            path, KIND, arrays,
            {**about, "environment": state_of(copies), "identity": self._identity, "beside": dict(beside)},
        )  # fmt: skip
        for old in list(self.files().values())[: -self._keep]:
            old.unlink(missing_ok=True)
        return path

    def read(self, model: Model, copies: Any) -> dict[str, Any] | None:
        """Bring model and environments to the last checkpoint; return what was kept beside it, None without any.

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
            put(model, arrays, about)
            seen = restore(copies, about["environment"])
            beside: dict[str, Any] = about["beside"]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ResultFileError(f"{files[-1]} is no usable {KIND}: {error}; delete it and {before}") from error
        if not np.array_equal(seen, arrays["last.observation"], equal_nan=True):
            raise ResultFileError(
                f"{files[-1]}: the environment does not come back to where it was, so that its data or this machine's "
                "arithmetic has changed: train anew with --overwrite"
            )
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
