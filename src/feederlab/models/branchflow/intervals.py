"""Intervals that contain every branch-flow state whose voltages and consumptions lie in given ones.

One pass up the tree.  What leaves branch k's series element for its child j is

    S'_k = s_j + conj(Y_j) v_j + sum over the branches c that leave j of S_c
    l_k v_j = |S'_k|^2,    S_k = S'_k + z l_k

so intervals of v_j and of the consumption s_j give those of S'_k, l_k and S_k, from the leaves to the root, without an
assumption on the currents.  Interval arithmetic in the sense of Moore, Interval Analysis, 1966.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branchflow.parameters import BranchFlow


@dataclass(frozen=True, eq=False)
class Intervals:
    """Lowest and highest of each quantity, (2, m) each (p.u.).

    p, q : flow into the series element.  current : squared.  w, v : squared voltage before it, and at the child.
    """

    p: FloatArray
    q: FloatArray
    current: FloatArray
    w: FloatArray
    v: FloatArray


def flow_intervals(flow: BranchFlow, low: ComplexArray, high: ComplexArray, v: FloatArray) -> Intervals:
    """Return the intervals of all states within (p.u.).

    low, high : (nodes,) consumption p + jq, part by part.  v : (2, nodes) squared voltages, above zero.
    """
    tree, m = flow.feeder.tree, len(flow.r)
    child = tree.child
    take_p = np.stack([low.real, high.real])[:, child] + _times(flow.shunt.real[child], v[:, child])
    take_q = np.stack([low.imag, high.imag])[:, child] + _times(-flow.shunt.imag[child], v[:, child])
    p, q, current = take_p, take_q, np.zeros((2, m))
    for rows in _levels(tree.up):
        largest = np.maximum(p[1, rows], -p[0, rows]) ** 2 + np.maximum(q[1, rows], -q[0, rows]) ** 2
        least = _least(p[:, rows]) ** 2 + _least(q[:, rows]) ** 2
        current[:, rows] = least / v[1, child[rows]], largest / v[0, child[rows]]
        p[:, rows] += _times(flow.r[rows], current[:, rows])
        q[:, rows] += _times(flow.x[rows], current[:, rows])
        inner = rows[tree.up[rows] >= 0]
        for side in (0, 1):
            np.add.at(p[side], tree.up[inner], p[side, inner])
            np.add.at(q[side], tree.up[inner], q[side, inner])
    return Intervals(p, q, current, v[:, tree.parent] / flow.ratio2, v[:, child])


def _levels(up: IntArray) -> list[IntArray]:
    """Return the branches by depth, the deepest first (parents come before their children in the tree's order)."""
    depth = np.zeros(len(up), dtype=np.int64)
    for k, above in enumerate(up):
        depth[k] = 0 if above < 0 else depth[above] + 1
    return [np.flatnonzero(depth == d) for d in range(int(depth.max(initial=-1)), -1, -1)]


def _times(factor: FloatArray, interval: FloatArray) -> FloatArray:
    ends = factor * interval
    return np.stack([ends.min(axis=0), ends.max(axis=0)])


def _least(interval: FloatArray) -> FloatArray:
    """Return the least magnitude within."""
    return np.asarray(np.maximum(np.maximum(interval[0], -interval[1]), 0.0))
