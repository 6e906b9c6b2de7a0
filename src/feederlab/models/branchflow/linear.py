"""The linear branch-flow model with shunts and transformers (LinDistFlow), and its sensitivities.

`BranchFlow`'s equations without the squared currents:

    v_j = v_i / a^2 - 2 (r P + x Q)
    P_k = p_j + G_j v_j + sum over the branches c that leave j of P_c,   Q_k = q_j - B_j v_j + sum over c of Q_c

Shunts stay proportional to v, so the model is linear in consumption and in the slack's v, and exact at no load
without series losses.  Baran and Wu, IEEE Trans. Power Delivery 4(2), 1989; shunts as in Zhai et al., Energies
18(11) 2959, 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branchflow.parameters import BranchFlow


@dataclass(frozen=True, eq=False)
class LinearState:
    """v : (nodes, ...) squared magnitude (p.u.).  p, q : (m, ...) flow into each branch's series element (p.u.)."""

    v: FloatArray
    p: FloatArray
    q: FloatArray


@dataclass(frozen=True, eq=False)
class LinearModel:
    """The linear model of one feeder at one setting of taps and capacitor steps."""

    flow: BranchFlow

    def solve(self, consumption: ComplexArray, v_slack: float, current2: FloatArray | float = 0.0) -> LinearState:
        """Return the state under (nodes,) constant consumption p + jq (p.u.) and the slack's v.

        current2 : (m,) squared currents, zero in the linear model; with the true ones the state is exact.
        """
        tree, m = self.flow.feeder.tree, len(self.flow.r)
        z = self.flow.r + 1j * self.flow.x
        source = np.where(tree.up < 0, v_slack / self.flow.ratio2, 0.0) + np.abs(z) ** 2 * current2
        take = consumption[tree.child] + z * current2
        x = self._factors.solve(np.concatenate([source, take.real, take.imag]))
        state = self._state(x[:, None], v_slack, m)
        return LinearState(state.v[:, 0], state.p[:, 0], state.q[:, 0])

    def response(self, node: IntArray) -> tuple[LinearState, LinearState]:
        """Return the change of the state per p.u. of active, and of reactive, power injected at each of `node`.

        The arrays are (nodes, n) and (m, n); injection at the slack, or at node -1, changes nothing.
        """
        tree, m = self.flow.feeder.tree, len(self.flow.r)
        row_of = np.full(self.flow.feeder.n_nodes + 1, -1)
        row_of[tree.child] = np.arange(m)
        at = row_of[node]
        on = np.flatnonzero(at >= 0)
        active, reactive = np.zeros((3 * m, len(node))), np.zeros((3 * m, len(node)))
        active[m + at[on], on] = reactive[2 * m + at[on], on] = -1.0
        both = self._factors.solve(np.hstack([active, reactive])) if len(node) else np.zeros((3 * m, 0))
        return self._state(both[:, : len(node)], 0.0, m), self._state(both[:, len(node) :], 0.0, m)

    def _state(self, x: FloatArray, v_slack: float, m: int) -> LinearState:
        v = np.full((self.flow.feeder.n_nodes, x.shape[1]), v_slack)
        v[self.flow.feeder.tree.child] = x[:m]
        return LinearState(v, x[m : 2 * m], x[2 * m :])

    @cached_property
    def _factors(self) -> Any:
        tree, flow = self.flow.feeder.tree, self.flow
        m, shunt = len(tree), flow.shunt[tree.child]
        inner = np.flatnonzero(tree.up >= 0)
        to_parent = sp.csr_array((np.ones(len(inner)), (inner, tree.up[inner])), shape=(m, m))
        one = sp.eye_array(m)
        diagonal = sp.diags_array
        return splu(
            sp.csc_matrix(
                sp.block_array(
                    [
                        [one - diagonal(1.0 / flow.ratio2) @ to_parent, diagonal(2 * flow.r), diagonal(2 * flow.x)],
                        [diagonal(-shunt.real), one - to_parent.T, None],
                        [diagonal(shunt.imag), None, one - to_parent.T],
                    ]
                )
            )
        )


def flows_at(flow: BranchFlow, consumption: ComplexArray, v: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return P, Q (m,) into the series elements and w (m,) before them, at known squared voltages v (nodes,).

    One pass up the tree without losses, one more with the losses of the first: the error is of third order.
    """
    tree = flow.feeder.tree
    below = flow.below
    w = v[tree.parent] / flow.ratio2
    take = consumption + np.conj(flow.shunt) * v
    lossless = below @ take
    losses = np.zeros_like(take)
    losses[tree.child] = (flow.r + 1j * flow.x) * np.abs(lossless) ** 2 / w
    total = below @ (take + losses)
    return total.real, total.imag, w
