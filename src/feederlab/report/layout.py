"""Where to draw the nodes of a feeder: at the net's own coordinates, else as a tree."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.topology import Topology

_CROSSING_SHARE = 0.01  # crossings per branch that a map may have (a line drawn straight does cut a corner)
_ELBOW = 0.35  # where a lateral of the tree leaves its trunk, in branches


def where(grid: Topology) -> tuple[FloatArray, bool]:
    """Return (nodes, 2) places, and whether they are the net's own coordinates."""
    places = coordinates(grid)
    return (tree_places(grid), False) if places is None else (places, True)


def coordinates(grid: Topology) -> FloatArray | None:
    """Return (nodes, 2) coordinates from the net's own.

    None unless every node with a bus has its own, and the lines hardly cross: a real map does not look like yarn,
    and the made-up coordinates of many test cases do.
    """
    rows, places = grid.node_row, np.full((grid.n_nodes, 2), np.nan)
    places[rows >= 0] = grid.bus_xy[rows[rows >= 0]]
    if np.isnan(places[rows >= 0]).any():
        return None
    parents, order = _parents(grid)
    for node in order:  # a node without a bus is an open line end: draw it at its neighbour
        if np.isnan(places[node]).any() and parents[node] >= 0:
            places[node] = places[parents[node]]
    spread = np.ptp(places, axis=0)
    distinct = len(np.unique(places, axis=0))
    if spread.max() == 0 or distinct < 0.9 * grid.n_nodes:
        return None
    return places if _crossings(grid, places) <= _CROSSING_SHARE * len(grid.from_node) else None


def routes(grid: Topology, places: FloatArray, *, elbows: bool) -> list[FloatArray]:
    """Return the (points, 2) line to draw for each branch; with `elbows`, laterals of a tree bend off their trunk."""
    lines = []
    for a, b in zip(places[grid.from_node], places[grid.to_node], strict=True):
        if elbows and a[1] != b[1]:
            near, far = (a, b) if a[0] <= b[0] else (b, a)
            lines.append(np.array([near, (near[0] + _ELBOW, far[1]), far]))
        else:
            lines.append(np.array([a, b]))
    return lines


def device_nodes(grid: Topology) -> dict[str, IntArray]:
    """Return the nodes that carry each kind of device; a tap changer sits where its transformer ends."""
    nodes = {
        "inverter": grid.inverter, "storage": grid.storage, "capacitor bank": grid.capacitor,
        "tap changer": grid.to_node[grid.tap_branch],
    }  # fmt: skip
    return {kind: np.unique(at[at >= 0]) for kind, at in nodes.items() if (at >= 0).any()}


def along_the_feeder(grid: Topology) -> IntArray:
    """Return the nodes in the order of a walk from the slack that finishes each lateral before it goes on."""
    parents, order = _parents(grid)
    children: list[list[int]] = [[] for _ in range(grid.n_nodes)]
    reach = np.ones(grid.n_nodes, dtype=np.int64)
    for node in order[:0:-1]:
        children[parents[node]].append(int(node))
        reach[parents[node]] += reach[node]
    walk: list[int] = []
    waiting = [int(order[0])]
    while waiting:
        walk.append(waiting.pop())
        waiting += sorted(children[walk[-1]], key=lambda child: -reach[child])  # the shortest lateral first
    return np.array(walk, dtype=np.int64)


def _crossings(grid: Topology, places: FloatArray) -> int:
    """Return how many pairs of branches cross, those that meet at a node left out."""
    a, b = places[grid.from_node], places[grid.to_node]
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


def tree_places(grid: Topology) -> FloatArray:
    """Return (nodes, 2) places of a tidy tree: x counts branches from the slack, y keeps laterals apart.

    The child with the deepest subtree goes on straight, so that the trunk is a straight line; every other lateral
    gets the nearest row, above or below its trunk in turn, that is free over the whole of its length.  Branches that
    close loops are drawn between the places they join.
    """
    parents, order = _parents(grid)
    children: list[list[int]] = [[] for _ in range(grid.n_nodes)]
    depth, reach = np.zeros(grid.n_nodes, dtype=int), np.zeros(grid.n_nodes, dtype=int)
    for node in order[1:]:
        children[parents[node]].append(int(node))
        depth[node] = depth[parents[node]] + 1
    reach[:] = depth
    for node in order[:0:-1]:
        reach[parents[node]] = max(reach[parents[node]], reach[node])
    row, taken = np.zeros(grid.n_nodes, dtype=int), _Rows()
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


def _parents(grid: Topology) -> tuple[IntArray, IntArray]:
    """Return the parent of each node (negative: none) and the nodes in breadth-first order from the slack."""
    ends, n = (grid.from_node, grid.to_node), grid.n_nodes
    graph = sp.coo_matrix((np.ones(len(ends[0])), ends), shape=(n, n)).tocsr()
    order, before = breadth_first_order(graph, grid.slack, directed=False)
    return before.astype(np.int64), order.astype(np.int64)
