"""The radial view of a feeder: parallel branches merged, every branch oriented from parent to child."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

from feederlab.errors import InputError, NotRadialError
from feederlab.models.arrays import BoolArray, IntArray
from feederlab.models.branches import Branches, TwoPort, merge_parallel


@dataclass(frozen=True, eq=False)
class Tree:
    """A rooted spanning tree with m = nodes - 1 merged branches, in breadth-first order.

    parent, child : (m,) nodes at the two ends; every branch's parent is the root or an earlier branch's child.
    group : (branches,) merged branch of each physical branch; flipped : (branches,) its from side is the child.
    up : (m,) merged branch that ends in `parent`, -1 at the root.
    """

    root: int
    parent: IntArray
    child: IntArray
    up: IntArray
    group: IntArray
    flipped: BoolArray

    def __len__(self) -> int:
        return len(self.parent)

    def merged(self, two_port: TwoPort) -> TwoPort:
        """Return the (m,) merged two-ports, the ideal transformer at the parent's side."""
        try:
            return merge_parallel(two_port.reversed(self.flipped), self.group, len(self))
        except ValueError as error:
            raise InputError(f"no radial model: {error}") from error

    def descendants(self) -> sp.csr_matrix:
        """Return D, (m, nodes): D[k, n] = 1 where node n lies below branch k (its child included)."""
        m = len(self)
        rows, columns = [], []
        for k in range(m):
            branch = k
            while branch >= 0:
                rows.append(branch)
                columns.append(int(self.child[k]))
                branch = int(self.up[branch])
        return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(m, m + 1))


def build_tree(branches: Branches, nodes: int, root: int) -> Tree:
    """Orient and merge `branches` into a tree.

    Raises
    ------
    NotRadialError
        If the feeder has loops; the message names the branches that close them.
    """
    ends = np.sort(np.stack([branches.from_node, branches.to_node], axis=1), axis=1)
    pairs, pair_of = np.unique(ends, axis=0, return_inverse=True)
    pair_of = pair_of.reshape(-1)
    graph = sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(nodes, nodes)).tocsr()
    order, before = breadth_first_order(graph, root, directed=False)
    if len(pairs) >= nodes:
        raise NotRadialError(_loop_message(branches, pairs, pair_of, before))
    position = np.full(nodes, -1, dtype=np.int64)
    position[order[1:]] = np.arange(len(order) - 1)
    child = order[1:].astype(np.int64)
    parent = before[child].astype(np.int64)
    downstream = np.where(before[pairs[:, 1]] == pairs[:, 0], pairs[:, 1], pairs[:, 0])
    group = position[downstream][pair_of]
    return Tree(
        root=root, parent=parent, child=child, up=np.where(parent == root, -1, position[parent]),
        group=group, flipped=branches.from_node == child[group],
    )  # fmt: skip


def _loop_message(branches: Branches, pairs: IntArray, pair_of: IntArray, before: IntArray) -> str:
    in_tree = (before[pairs[:, 1]] == pairs[:, 0]) | (before[pairs[:, 0]] == pairs[:, 1])
    closing = [branches.name(row) for row in range(len(branches)) if not in_tree[pair_of[row]]]
    shown = ", ".join(closing[:10]) + (", ..." if len(closing) > 10 else "")
    return (
        f"the feeder is meshed: {shown} close{'s' if len(closing) == 1 else ''} a loop. "
        "Open them, or use the controller 'opf', which solves meshed feeders"
    )
