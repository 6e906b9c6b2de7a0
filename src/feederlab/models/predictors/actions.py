"""The actions of a feeder's devices as one vector: which powers are proposed, where they act, and their limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray

KINDS = ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar")
"""Setpoints that are actions, in the order of the vector."""
UNITS = (1j, 1.0, -1.0, -1j)
"""What one MVAr or MW of each injects (MVA, generation positive)."""


@dataclass(frozen=True, eq=False)
class Actions:
    """Which entries of the setpoints take part; all arrays (k,), powers in MW and MVAr, in the setpoints' own signs.

    kind : place in `KINDS`.  device : row of its device table.  node : where it acts.
    partner : place of the action that shares this one's converter (active beside reactive power), -1 without.
    """

    kind: IntArray
    device: IntArray
    node: IntArray
    partner: IntArray

    @classmethod
    def of(cls, kind: IntArray, device: IntArray, node: IntArray) -> Actions:
        """Return the actions with their partners."""
        storage, place = kind >= 2, {}
        for i, key in enumerate(zip(storage.tolist(), device.tolist(), kind.tolist(), strict=True)):
            place[key] = i
        other = {0: 1, 1: 0, 2: 3, 3: 2}
        partner = [
            place.get((s, d, other[k]), -1)
            for s, d, k in zip(storage.tolist(), device.tolist(), kind.tolist(), strict=True)
        ]
        return cls(kind, device, node, np.array(partner, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def unit(self) -> ComplexArray:
        """(k,) what one MW or MVAr of each action injects into its node (MVA, generation positive)."""
        return np.array(UNITS, dtype=np.complex128)[self.kind]

    @property
    def names(self) -> tuple[str, ...]:
        """Setpoint and row of each, e.g. ``storage_p_mw 0``."""
        return tuple(f"{KINDS[k]} {d}" for k, d in zip(self.kind.tolist(), self.device.tolist(), strict=True))

    def part(self, rows: IntArray) -> Actions:
        """Return some of the actions, whole devices."""
        return Actions.of(self.kind[rows], self.device[rows], self.node[rows])


@dataclass(frozen=True, eq=False)
class Limits:
    """What the devices can do now.

    low, high : (k,) of each action (MW, MVAr).  pairs : (n, 2) places of actions with ``a_i^2 + a_j^2 <= s^2``.
    s_mva : (n,) their ratings.
    """

    low: FloatArray
    high: FloatArray
    pairs: IntArray
    s_mva: FloatArray

    @classmethod
    def of(cls, actions: Actions, low: FloatArray, high: FloatArray, s_mva: FloatArray) -> Limits:
        """Return the limits; s_mva : (k,) rating of each action's converter."""
        # Active power first, which is where the plant starts: inverter p after q, storage p before q.
        pairs = [
            (i, j) for i, j in enumerate(actions.partner.tolist()) if j >= 0 and actions.kind[i] in (1, 2)
        ]  # fmt: skip
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls(low, high, both, s_mva[both[:, 0]])

    def part(self, actions: Actions, rows: IntArray) -> Limits:
        """Return the limits of `Actions.part`; actions : all of them."""
        rating = np.full(len(actions), np.inf)
        rating[self.pairs[:, 0]] = rating[self.pairs[:, 1]] = self.s_mva
        return Limits.of(actions.part(rows), self.low[rows], self.high[rows], rating[rows])

    def clip(self, a: FloatArray) -> FloatArray:
        """Return what the plant makes of `a`: active power keeps its limits, reactive what that leaves."""
        a = np.minimum(np.maximum(a, self.low), self.high)
        p, q = self.pairs.T
        room = np.sqrt(np.maximum(self.s_mva**2 - a[p] ** 2, 0.0))
        a[q] = np.minimum(np.maximum(a[q], -room), room)
        return a

    def project(self, a: FloatArray) -> FloatArray:
        """Return `a` within its limits, and then radially within its ratings."""
        a = np.minimum(np.maximum(a, self.low), self.high)
        p, q = self.pairs.T
        size = np.maximum(np.hypot(a[p], a[q]) / np.maximum(self.s_mva, 1e-12), 1.0)
        a[p], a[q] = a[p] / size, a[q] / size
        return a
