"""`Actor`: a trained network that moves inverters, as plain arrays; `ActorPolicy`: all that belongs to it, in a file.

Neither needs torch, and reading a file runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.controllers.base import ControlTask, Scope
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.likeness import differences, likeness
from feederlab.learn.policies.layers import KIND, Layers, check_layers, layer_arrays, layers_of
from feederlab.learn.tensors import read_tensors, write_tensors
from feederlab.learn.volt_var.layout import Layout

ACTIVATIONS = ("tanh", "relu")
OUTPUTS = ("clip", "tanh")
Rows = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Actor:
    """A network that is applied to every row of an observation alike.

    h_0 = x;  h_k = f(W_k h_{k-1} + b_k);  mean = g(W_K h_{K-1} + b_K);  a = clip(mean, -1, 1)

    layers : (W, b) of each layer, float32 (out, in) and (out,).
    activation : f, ``"tanh"`` (PPO's habit) or ``"relu"`` (SAC's, TD3's).
    output : ``"clip"``, g the identity (PPO), or ``"tanh"`` (SAC, TD3), whose mean never needs the clip.

    Rows are summed in an order that depends on nothing but the layer's size (no BLAS, whose order follows the number of
    rows and threads): an equal row has an equal answer to the last bit, whatever stands beside it.

    Raises
    ------
    UnknownNameError
        For an unknown activation or output.
    InputError
        If the layers do not fit each other, or a weight is no finite float32 number.
    """

    layers: Layers
    activation: str = "tanh"
    output: str = "clip"

    def __post_init__(self) -> None:
        for what, name, known in (("activation", self.activation, ACTIVATIONS), ("output", self.output, OUTPUTS)):
            if name not in known:
                raise UnknownNameError(f"{what} of a network", name, known)
        try:
            check_layers(self.layers)
        except ValueError as error:
            raise InputError(f"the network cannot be used: {error}") from None
        own = tuple((weight.copy(order="C"), bias.copy(order="C")) for weight, bias in self.layers)
        object.__setattr__(self, "layers", own)  # torch hands out views of weights that it goes on changing

    @property
    def inputs(self) -> int:
        """Entries of a row."""
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        """Numbers that come out for a row."""
        return len(self.layers[-1][1])

    def mean(self, x: Rows) -> Rows:
        """Return the (..., outputs) output before the clip, for (..., entries) float32 rows."""
        h = np.ascontiguousarray(x, dtype=np.float32)
        for weight, bias in self.layers[:-1]:
            h = np.einsum("oi,...i->...o", weight, h) + bias
            h = np.tanh(h) if self.activation == "tanh" else np.maximum(h, np.float32(0))
        weight, bias = self.layers[-1]
        h = np.einsum("oi,...i->...o", weight, h) + bias
        return np.asarray(np.tanh(h) if self.output == "tanh" else h)

    def __call__(self, x: Rows) -> Rows:
        """Return the (..., outputs) action in [-1, 1]."""
        return np.clip(self.mean(x), np.float32(-1), np.float32(1))


@dataclass(frozen=True, eq=False)
class ActorPolicy:
    """A network, what its rows mean, what its actions move, and where it comes from.

    The action a of an inverter means q = bound a sqrt(s^2 - p^2), p = min(p_available, s) (P1).

    layout : record of the `Layout` of its observation.  bound : (0, 1].  feeder : `likeness` of the feeder.
    method : how it was trained (``"ppo"``, ``"sac"``, ...).  training, versions : the particulars; nothing here depends
    on them.
    """

    actor: Actor
    layout: Mapping[str, Any]
    bound: float
    feeder: Mapping[str, Any]
    method: str
    training: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def scope(self) -> Scope:
        """What it sees."""
        return Scope(self.layout["scope"])

    def mean(self, observation: Rows) -> Rows:
        """Return the (..., inverters) output before the clip, for (..., rows, entries)."""
        found = self.actor.mean(observation)
        return found.reshape(*found.shape[:-2], -1)

    def act(self, observation: Rows) -> Rows:
        """Return the (..., inverters) action in [-1, 1] for an observation (..., rows, entries)."""
        return np.clip(self.mean(observation), np.float32(-1), np.float32(1))

    def layout_of(self, task: ControlTask) -> Layout:
        """Return the layout of its observation on a task that it fits (`check`)."""
        return Layout.from_record(task, self.layout)

    def check(self, task: ControlTask, where: str) -> None:
        """Make sure that the policy was trained for this feeder and these inverters.

        A task of LOCAL scope shows no grid and no one else's rating: there the number of nodes, and the inverters'
        numbers and places are compared.

        Raises
        ------
        InputError
            Naming every difference; `where` names the policy.
        """
        if task.feeder is not None:
            found = differences(self.feeder, likeness(task.feeder))
        else:
            found = local_differences(self.feeder, task)
        if not found:
            try:
                rows, entries = self.layout_of(task).shape
            except InputError as error:
                found.append(str(error))
            else:
                found += _misfits(self.actor, rows, entries, len(task.inverters))
        if found:
            raise InputError(f"the policy {where} does not fit: {'; '.join(found)}. Train one for this case")

    def save(self, path: str | Path) -> Path:
        """Write the policy to one file, atomically.  Raises `InputError` if its parts contradict each other."""
        try:
            self._check()
        except _IMPOSSIBLE as error:
            raise InputError(f"the policy contradicts itself: {error}") from error
        about = {
            "method": self.method, "layers": len(self.actor.layers), "activation": self.actor.activation,
            "output": self.actor.output, "layout": dict(self.layout), "bound": self.bound,
            "feeder": dict(self.feeder), "training": dict(self.training), "versions": dict(self.versions),
        }  # fmt: skip
        write_tensors(Path(path), KIND, layer_arrays(self.actor.layers), about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> ActorPolicy:
        """Read a policy.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged, no policy for inverters, or contradicts itself.
        """
        arrays, about = read_tensors(Path(path), KIND)
        if "actions" in arrays:
            raise ResultFileError(f"{path} holds a {about.get('method')} policy, which switches banks: {SWITCHES}")
        try:
            actor = Actor(layers_of(arrays, int(about["layers"])), str(about["activation"]), str(about["output"]))
            made = cls(
                actor, about["layout"], float(about["bound"]), about["feeder"], str(about["method"]),
                about["training"], about["versions"],
            )  # fmt: skip
            made._check()
        except _IMPOSSIBLE as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error
        return made

    def _check(self) -> None:
        """Raise `InputError` where the parts contradict each other; `KeyError` and the like where one is missing."""
        Scope(self.layout["scope"])
        centre, scale = (np.array(self.layout[key], dtype=float) for key in ("centre", "scale"))
        if centre.shape != scale.shape or not (np.isfinite(centre).all() and np.isfinite(scale).all()):
            raise InputError("a centre or scale of its observation is no finite number")
        if not (scale > 0).all() or not isinstance(self.layout["identity"], bool):
            raise InputError("a scale of its observation is not positive, or its identity is not true or false")
        if not 0 < self.bound <= 1:
            raise InputError(f"its bound must lie in (0, 1], not {self.bound}")
        differences(self.feeder, self.feeder)  # fails where the record of the feeder lacks something


_IMPOSSIBLE = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, InputError)
SWITCHES = "it is the slow layer of two_timescale:slow=dqn,policy=FILE"


def local_differences(trained: Mapping[str, Any], task: ControlTask) -> list[str]:
    """Return in words how a task that shows no grid differs from the feeder that a policy was `trained` on."""
    found = []
    if len(trained["buses"]) != task.nodes:
        found.append(f"it was trained on {trained['name']!r} with {len(trained['buses'])} nodes, here are {task.nodes}")
    index, node = (trained["inverters"][key] for key in ("index", "node"))
    if index != task.inverters.index.tolist():
        found.append(f"it was trained with inverters {index}, here are {task.inverters.index.tolist()}")
    elif node != task.inverters.node.tolist():
        found.append("inverters are at other nodes")
    return found


def _misfits(actor: Actor, rows: int, entries: int, inverters: int) -> list[str]:
    found = []
    if actor.inputs != entries:
        found.append(f"its network takes {actor.inputs} entries, and the observation here has {entries} in a row")
    if rows * actor.outputs != inverters:
        found.append(f"its network moves {rows * actor.outputs} inverters, and here are {inverters}")
    return found
