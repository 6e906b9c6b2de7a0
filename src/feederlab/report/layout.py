"""Where to draw the nodes of a feeder: at the net's own coordinates, else as a tree."""

from __future__ import annotations

import json

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.feeder import Feeder

_CROSSING_SHARE = 0.01  # crossings per branch that a map may have (a line drawn straight does cut a corner)


def coordinates(feeder: Feeder) -> FloatArray | None:
    """Return (nodes, 2) coordinates from ``net.bus.geo``.

    None unless every node with a bus has its own, and the lines hardly cross: a real map does not look like yarn,
    and the made-up coordinates of many test cases do.
    """
    if "geo" not in feeder.net.bus:
        return None
    places = np.full((feeder.n_nodes, 2), np.nan)
    for node, bus in enumerate(feeder.node_bus):
        if bus >= 0:
            try:
                places[node] = json.loads(feeder.net.bus.geo[bus])["coordinates"][:2]
            except (TypeError, ValueError, KeyError):
                return None
    parents, order = _parents(feeder)
    for node in order:  # a node without a bus is an open line end: draw it at its neighbour
        if np.isnan(places[node]).any() and parents[node] >= 0:
            places[node] = places[parents[node]]
    spread = np.ptp(places, axis=0)
    distinct = len(np.unique(places, axis=0))
    if spread.max() == 0 or distinct < 0.9 * feeder.n_nodes:
        return None
    return places if _crossings(feeder, places) <= _CROSSING_SHARE * len(feeder.branches) else None


def _crossings(feeder: Feeder, places: FloatArray) -> int:
    """Return how many pairs of branches cross, those that meet at a node left out."""
    a, b = places[feeder.branches.from_node], places[feeder.branches.to_node]
    count = 0
    for k in range(len(a) - 1):
        p, q, r, s = a[k], b[k], a[k + 1 :], b[k + 1 :]
        split = _side(p, q, r) * _side(p, q, s) < 0
        count += int((split & (_side(r, s, p) * _side(r, s, q) < 0)).sum())
    return count


def _side(a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    """Return the sign of the turn a -> b -> c."""
    along, across = b - a, c - a
    return np.sign(along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0])


def tree_places(feeder: Feeder) -> FloatArray:
    """Return (nodes, 2) places of a tidy tree: x counts branches from the slack, y keeps laterals apart.

    The child with the deepest subtree goes on straight, so that the trunk is a straight line; every other lateral
    gets the nearest row, above or below its trunk in turn, that is free over the whole of its length.  Branches that
    close loops are drawn between the places they join.
    """
    parents, order = _parents(feeder)
    children: list[list[int]] = [[] for _ in range(feeder.n_nodes)]
    depth, reach = np.zeros(feeder.n_nodes, dtype=int), np.zeros(feeder.n_nodes, dtype=int)
    for node in order[1:]:
        children[parents[node]].append(int(node))
        depth[node] = depth[parents[node]] + 1
    reach[:] = depth
    for node in order[:0:-1]:
        reach[parents[node]] = max(reach[parents[node]], reach[node])
    row, taken = np.zeros(feeder.n_nodes, dtype=int), _Rows()
    waiting = [(int(order[0]), 0)]
    while waiting:
        node, wanted = waiting.pop(0)
        path = [node]
        while children[path[-1]]:
            path.append(max(children[path[-1]], key=lambda child: reach[child]))
        placed = taken.place(wanted, depth[node] - 0.6, float(depth[path[-1]]))
        row[path] = placed
        for on_path in reversed(path):  # laterals near the end first: they are short and stay close
            for child in children[on_path]:
                if child not in path:
                    waiting.append((child, placed))
    return np.column_stack([depth, row]).astype(float)


class _Rows:
    """Rows of the drawing and the spans of x that are taken in each."""

    def __init__(self) -> None:
        self._spans: dict[int, list[tuple[float, float]]] = {}

    def place(self, wanted: int, first: float, last: float) -> int:
        """Take ``[first, last]`` in the free row nearest to `wanted`."""
        distance = 0
        while True:
            for row in {wanted + distance, wanted - distance}:
                if all(last < a or b < first for a, b in self._spans.get(row, [])):
                    self._spans.setdefault(row, []).append((first, last))
                    return row
            distance += 1


def _parents(feeder: Feeder) -> tuple[IntArray, IntArray]:
    """Return the parent of each node (negative: none) and the nodes in breadth-first order from the slack."""
    ends, n = feeder.branches, feeder.n_nodes
    graph = sp.coo_matrix((np.ones(len(ends)), (ends.from_node, ends.to_node)), shape=(n, n)).tocsr()
    order, before = breadth_first_order(graph, feeder.slack, directed=False)
    return before.astype(np.int64), order.astype(np.int64)
