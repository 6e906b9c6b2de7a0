"""`Layout`: what a policy that moves inverters sees, as rows of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from feederlab.controllers.base import ControlTask, Scope
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray, IntArray, frozen
from feederlab.models.scenario import Series

LIMIT = 10.0  # an entry further out than so many scales is cut off
_VM_SCALE = 0.05  # p.u.: half of the usual band


class Readings(Protocol):
    """What is read of one step or of many: `Measurement`, `Measurements` and the environment's own state fit.

    vm, load_p_mw, load_q_mvar : (..., nodes).  p_available_mw, q_mvar : (..., inverters).
    """

    @property
    def vm(self) -> FloatArray: ...
    @property
    def load_p_mw(self) -> FloatArray: ...
    @property
    def load_q_mvar(self) -> FloatArray: ...
    @property
    def p_available_mw(self) -> FloatArray: ...
    @property
    def q_mvar(self) -> FloatArray: ...


@dataclass(frozen=True, eq=False)
class Layout:
    """How readings become rows: each entry is ``clip((value - centre) / scale, -10, 10)``, float32.

    A reading that was lost counts as the centre, and padding is 0.

    With ``"global"`` scope there is one row: vm at every node, net load p and q at every node but the slack, available
    p and present q of every inverter.

    With ``"local"`` scope there is a row for each inverter: vm, load p and load q at its node, its available p and its
    present q.  With ``"zone"`` scope these are followed by the same of its whole zone (vm, load p, load q of the
    zone's nodes, available p and q of its inverters), padded to the widest zone.  With `identity` every row ends with
    the number of its inverter in one-hot form, so that one network can serve them all.

    scope, identity : as above.
    units : unit of each source.  centre, scale : (sources,) in the source's unit; the sources are vm, load p, load q
    (nodes each), available p, q (inverters each), one after another.
    index : (rows, entries) the source of each entry, -1 for padding; the one-hot entries come behind.
    """

    scope: Scope
    identity: bool
    names: tuple[str, ...]
    units: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray
    index: IntArray

    @classmethod
    def of(
        cls, task: ControlTask, scope: Scope | str = "global", days: Sequence[Series] = (), *, identity: bool = True
    ) -> Layout:
        """Return the layout for a task.

        A load is centred on its mean over `days` and scaled by its standard deviation there (1 MW where it never
        changes), vm by 1 +- 0.05 p.u., an inverter's p and q by its rating.

        Raises
        ------
        UnknownNameError, InputError
            For an unknown scope, a feeder without inverters, or zone scope where an inverter's bus is in no zone.
        """
        nodes, inverters = task.nodes, task.inverters
        if not len(inverters):
            raise InputError("there is no inverter to learn for: the feeder needs sgens that are controllable")
        load = np.vstack([s.load_mva for s in days]) if len(days) else np.zeros((1, nodes), dtype=np.complex128)
        rating = np.where(inverters.s_mva > 0, inverters.s_mva, 1.0)
        centre = [np.ones(nodes), load.real.mean(axis=0), load.imag.mean(axis=0), *[np.zeros(len(rating))] * 2]
        scale = [np.full(nodes, _VM_SCALE), _spread(load.real), _spread(load.imag), rating, rating]
        return cls._made(task, scope, identity, np.concatenate(centre), np.concatenate(scale))

    @classmethod
    def from_record(cls, task: ControlTask, record: Mapping[str, Any]) -> Layout:
        """Return the layout that `record` wrote, for a task of the same feeder.

        Raises
        ------
        InputError
            If the numbers of nodes and inverters are others.
        """
        centre, scale = (np.array(record[key], dtype=float) for key in ("centre", "scale"))
        wanted = 3 * task.nodes + 2 * len(task.inverters)
        if not centre.shape == scale.shape == (wanted,) or not (np.isfinite(centre).all() and (scale > 0).all()):
            raise InputError(
                f"the policy's observation has {centre.size} sources, and this feeder's {task.nodes} nodes and "
                f"{len(task.inverters)} inverters have {wanted}"
            )
        return cls._made(task, str(record["scope"]), bool(record["identity"]), centre, scale)

    @classmethod
    def _made(
        cls, task: ControlTask, scope: Scope | str, identity: bool, centre: FloatArray, scale: FloatArray
    ) -> Layout:
        known = [one.value for one in Scope]
        if scope not in known and not isinstance(scope, Scope):
            raise UnknownNameError("scope of an observation", str(scope), known)
        names, units = _sources(task)
        return cls(
            Scope(scope), identity, names, units, frozen(centre), frozen(scale),
            frozen(_index(task, Scope(scope)), np.int64),
        )  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Return, JSON-ready, what `from_record` needs."""
        return {
            "scope": self.scope.value, "identity": self.identity, "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
        }  # fmt: skip

    @property
    def shared(self) -> bool:
        """Whether there is a row for each inverter, rather than one for all."""
        return self.scope is not Scope.GLOBAL

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and entries of a row."""
        rows, entries = self.index.shape
        return rows, entries + (rows if self.shared and self.identity else 0)

    def entries(self, row: int = 0) -> list[tuple[str, str, float, float]]:
        """Return (meaning, unit, centre, scale) of each entry of a row; padding is named so."""
        listed = [
            (self.names[k], self.units[k], float(self.centre[k]), float(self.scale[k])) if k >= 0 else
            ("padding", "", 0.0, 1.0) for k in self.index[row]
        ]  # fmt: skip
        rest = self.shape[1] - len(listed)
        return listed + [(f"is it inverter {k}", "0 or 1", 0.0, 1.0) for k in range(rest)]

    def read(self, seen: Readings) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the (..., rows, entries) observation."""
        source = np.concatenate(
            [seen.vm, seen.load_p_mw, seen.load_q_mvar, seen.p_available_mw, seen.q_mvar], axis=-1
        )  # fmt: skip
        source = np.clip((source - self.centre) / self.scale, -LIMIT, LIMIT)
        np.nan_to_num(source, copy=False, nan=0.0)
        rows, entries = self.shape
        found = np.zeros((*source.shape[:-1], rows, entries), dtype=np.float32)
        width = self.index.shape[1]
        np.multiply(source[..., self.index], self.index >= 0, out=found[..., :width], casting="same_kind")
        if entries > width:
            found[..., width:] = np.eye(rows, dtype=np.float32)
        return found


def _spread(values: FloatArray) -> FloatArray:
    spread = values.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)


def _sources(task: ControlTask) -> tuple[tuple[str, ...], tuple[str, ...]]:
    nodes, index = range(task.nodes), task.inverters.index
    groups = [
        *((f"{what} at node {n}", unit) for what, unit in (("vm", "p.u."), ("load p", "MW"), ("load q", "MVAr"))
          for n in nodes),
        *((f"{what} of inverter {i}", unit) for what, unit in (("available p", "MW"), ("q", "MVAr")) for i in index),
    ]  # fmt: skip
    names, units = zip(*groups, strict=True)
    return names, units


def _index(task: ControlTask, scope: Scope) -> IntArray:
    nodes, place = task.nodes, task.inverters.node
    first_p, first_q = 3 * nodes, 3 * nodes + len(place)
    if scope is Scope.GLOBAL:
        slack = task.grid().slack
        loaded = np.delete(np.arange(nodes), slack)
        own = np.arange(len(place))
        return np.concatenate([np.arange(nodes), nodes + loaded, 2 * nodes + loaded, first_p + own, first_q + own])[
            None, :
        ]
    rows = []
    for k, node in enumerate(place):
        row = [node, nodes + node, 2 * nodes + node, first_p + k, first_q + k] if node >= 0 else [-1] * 5
        if scope is Scope.ZONE and node >= 0:
            name = task.zone[node]
            if not name:
                raise InputError(
                    f"the bus of inverter {task.inverters.index[k]} is in no zone: name zones in net.bus.zone, or take "
                    "local or global scope"
                )
            mine = np.array([n for n in range(nodes) if task.zone[n] == name])
            others = np.array([j for j, at in enumerate(place) if at >= 0 and task.zone[at] == name])
            row = [*row, *mine, *(nodes + mine), *(2 * nodes + mine), *(first_p + others), *(first_q + others)]
        rows.append([int(at) for at in row])
    widest = max(map(len, rows))
    return np.array([row + [-1] * (widest - len(row)) for row in rows])


SCOPES: tuple[str, ...] = tuple(scope.value for scope in Scope)
