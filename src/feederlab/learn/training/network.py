"""`Network`: what was learnt in an environment that no controller belongs to, as plain arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError, ResultFileError
from feederlab.learn.policies.actor import Actor
from feederlab.learn.policies.layers import layer_arrays, layers_of
from feederlab.learn.tensors import read_tensors, write_tensors

KIND = "feederlab network"


@dataclass(frozen=True, eq=False)
class Network:
    """A network that acts without exploring.

    actor : applied to each row of the observation.  discrete : whether the largest of its outputs names the action, or
    they are the action, in [-1, 1].  training : JSON-ready record of the training.
    """

    actor: Actor
    discrete: bool
    training: Mapping[str, Any]

    def act(self, observation: np.ndarray[Any, Any]) -> Any:
        """Return the action for an observation, (entries,) or (rows, entries): a vector, or a number if discrete."""
        rows = np.atleast_2d(np.asarray(observation, dtype=np.float32))
        if self.discrete:
            return int(self.actor.mean(rows).argmax())
        return self.actor(rows).ravel()

    def save(self, path: str | Path) -> Path:
        """Write the network to one file, atomically."""
        about = {
            "layers": len(self.actor.layers), "activation": self.actor.activation, "output": self.actor.output,
            "discrete": self.discrete, "training": dict(self.training),
        }  # fmt: skip
        write_tensors(Path(path), KIND, layer_arrays(self.actor.layers), about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network; it needs no torch, and runs no code.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged or no network.
        """
        arrays, about = read_tensors(Path(path), KIND)
        try:
            layers = layers_of(arrays, int(about["layers"]))
            actor = Actor(layers, str(about["activation"]), str(about["output"]))
            return cls(actor, bool(about["discrete"]), about["training"])
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error
