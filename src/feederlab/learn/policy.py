"""`Policy`: a trained slow layer, as plain arrays; one file holds all of it, and reading that runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.controllers.base import Measurement
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.likeness import differences, likeness
from feederlab.learn.observation import Observation, entries
from feederlab.learn.policies.layers import KIND, Layers, check_layers, layer_arrays, layers_of
from feederlab.learn.tensors import read_tensors, write_tensors
from feederlab.models.arrays import FloatArray, IntArray, frozen
from feederlab.models.feeder import Feeder

_METHOD = "dqn"


@dataclass(frozen=True, eq=False)
class Policy:
    """The action values Q(x, .) of a network with rectified hidden layers and a linear output, and what x and a mean.

    h_0 = x;  h_k = max(W_k h_{k-1} + b_k, 0);  Q = W_K h_{K-1} + b_K.  (The sigmoid that P3 prints at the output would
    confine Q to (0, 1).)

    layers : (W, b) of each layer, float32 (out, in) and (out,).
    observation : layout of x.  actions : (configurations, banks) closed steps that each output stands for.
    feeder : `likeness` of the feeder.  interval_s, slot_s : length of an interval and of a slot (s).
    fast, training, versions : which fast layer took part, how it was trained, by what; nothing here depends on them.
    """

    layers: Layers
    observation: Observation
    actions: IntArray
    feeder: Mapping[str, Any]
    interval_s: float
    slot_s: float
    fast: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, str]

    def values(self, x: np.ndarray[Any, Any]) -> FloatArray:
        """Return the (configurations,) action values of an observation, (entries,) float32."""
        h = x
        for weight, bias in self.layers[:-1]:
            h = np.maximum(weight @ h + bias, 0)
        weight, bias = self.layers[-1]
        return np.asarray(weight @ h + bias)

    def decide(self, feeder: Feeder, mean: Measurement) -> tuple[int, FloatArray]:
        """Return the best action's number on an interval's means, and all action values."""
        values = self.values(self.observation.read(feeder, mean))
        return int(values.argmax()), values

    def check(self, feeder: Feeder, interval_s: float, where: str) -> None:
        """Make sure that the policy was trained for this.

        Raises
        ------
        InputError
            Naming every difference; `where` names the policy.
        """
        found = differences(self.feeder, likeness(feeder))
        pairs = zip_longest(self.observation.names, entries(feeder), fillvalue="nothing")
        if not found and (other := next((pair for pair in pairs if pair[0] != pair[1]), None)):
            found.append(f"its observation has {other[0]!r} where this feeder has {other[1]!r}")
        if not np.isclose(interval_s, self.interval_s):
            found.append(
                f"it decides every {self.interval_s:g} s, here every {interval_s:g} s (two_timescale:slow=dqn,"
                f"slow.policy=FILE,every={self.interval_s:g}s)"
            )
        if found:
            raise InputError(f"the policy {where} does not fit: {'; '.join(found)}. Train one for this case")

    def save(self, path: str | Path) -> Path:
        """Write the policy to one file."""
        arrays = {"actions": np.asarray(self.actions), **layer_arrays(self.layers)}
        about = {
            "method": _METHOD, "layers": len(self.layers), "observation": self.observation.rows(),
            "feeder": dict(self.feeder), "interval_s": self.interval_s, "slot_s": self.slot_s, "fast": dict(self.fast),
            "training": dict(self.training), "versions": dict(self.versions),
        }  # fmt: skip
        write_tensors(Path(path), KIND, arrays, about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged, no policy, or contradicts itself.
        """
        arrays, about = read_tensors(Path(path), KIND)
        try:
            if about["method"] != _METHOD:
                raise ValueError(
                    f"its method is {about['method']!r}; a policy that moves inverters runs as sb3:file=FILE"
                )
            made = cls(
                layers_of(arrays, int(about["layers"])), Observation.from_rows(about["observation"]),
                frozen(arrays["actions"], np.int64), about["feeder"], float(about["interval_s"]),
                float(about["slot_s"]), about["fast"], about["training"], about["versions"],
            )  # fmt: skip
            made._check_shapes()
        except (KeyError, TypeError, ValueError) as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error
        return made

    def _check_shapes(self) -> None:
        check_layers(self.layers, len(self.observation), len(self.actions))
        banks = self.feeder["capacitors"]["max_step"]
        if self.actions.ndim != 2 or self.actions.shape[1] != len(banks):
            raise ValueError("its actions do not fit its capacitor banks")
        if (self.actions < 0).any() or (self.actions > np.array(banks)).any():
            raise ValueError("an action asks for steps that a bank has not")
        if not ((self.observation.scale > 0).all() and np.isfinite(self.observation.centre).all()):
            raise ValueError("a scale of its observation is not positive")
