"""Linear grid model about no load: what the reactive power of a few nodes does to all voltages and to the losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.feeder import Feeder


def branch_admittance(feeder: Feeder, taps: IntArray | None = None) -> sp.csc_matrix:
    """Return the (nodes, nodes) admittance matrix of the branches (p.u.), shunts at the nodes left out."""
    yff, yft, ytf, ytt = feeder.two_port(taps).admittances()
    f, t = feeder.branches.from_node, feeder.branches.to_node
    rows, columns = np.concatenate([f, f, t, t]), np.concatenate([f, t, f, t])
    values = np.concatenate([yff, yft, ytf, ytt])
    return sp.csc_matrix((values, (rows, columns)), shape=(feeder.n_nodes, feeder.n_nodes))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """First-order model of a feeder, radial or meshed, about its no-load voltages u0 (slack at 1 p.u.).

    With Z the inverse of the admittance matrix without the slack, injections s move the voltages by
    ``du = Z conj(s / u0)``, so

    ``d|u|^2 = 2 Re(K) dp + 2 Im(K) dq``,  ``K[i, j] = conj(u0[i]) Z[i, j] / conj(u0[j])``.

    On a radial feeder of lines K is the sum of the impedances on the shared path (Bolognani and Dörfler, "Fast power
    system analysis via implicit linearization of the power flow manifold", 2015).  The branch losses ``u^H M u``, M
    the Hermitian part of the branch admittance, are quadratic in the injections.

    v0 : (nodes,) squared no-load magnitude for a slack at 1 p.u.
    v_by_p, v_by_q : (nodes, n) rise of the squared magnitude by what the n chosen nodes inject (p.u. per MW, MVAr).
    loss_at_rest, loss_by_p, loss_by_q : (n,), (n, nodes), (n, nodes): the gradient of the losses in the chosen nodes' q
    is ``loss_at_rest + loss_by_p @ p_mw + loss_by_q @ q_mvar`` over all injections (MW per MVAr).
    """

    v0: FloatArray
    v_by_p: FloatArray
    v_by_q: FloatArray
    loss_at_rest: FloatArray
    loss_by_p: FloatArray
    loss_by_q: FloatArray

    @classmethod
    def of(
        cls, feeder: Feeder, nodes: IntArray, taps: IntArray | None = None, steps: IntArray | None = None
    ) -> Sensitivity:
        """Return the model for injections at `nodes` (n,).

        What is injected at node -1 (out of service), at the slack, or at a node held by a generator has no effect.
        """
        held = np.zeros(feeder.n_nodes, dtype=bool)
        held[feeder.slack] = True
        held[feeder.pv] = True
        free = np.flatnonzero(~held)
        branch = branch_admittance(feeder, taps)
        y = (branch + sp.diags(feeder.shunt(steps))).tocsc()[free]
        lu = splu(y[:, free])
        u0 = np.ones(feeder.n_nodes, dtype=np.complex128)
        u0[free] = lu.solve(-np.asarray(y[:, np.flatnonzero(held)].sum(axis=1)).ravel())
        # Voltages by a unit of active power; one of reactive power turns them by -90 degrees.
        by_p = np.zeros((feeder.n_nodes, len(nodes)), dtype=np.complex128)
        effective = np.flatnonzero(~held[nodes] & (nodes >= 0))
        unit = np.zeros_like(by_p)
        unit[nodes[effective], effective] = 1 / np.conj(u0[nodes[effective]])
        by_p[free] = lu.solve(unit[free])
        k = np.conj(u0)[:, None] * by_p
        # Gradient of the losses: 2 Re(du/dq^H M u) at u = u0 + Z conj(s / u0).
        pull = 2 * np.conj(-1j * by_p).T @ ((branch + branch.conj().T) / 2)
        by_current = np.zeros_like(pull)
        by_current[:, free] = lu.solve(np.ascontiguousarray(pull[:, free].T), trans="T").T
        by_power, base = by_current / np.conj(u0), feeder.base_mva
        return cls(
            v0=np.abs(u0) ** 2, v_by_p=2 * k.real / base, v_by_q=2 * k.imag / base,
            loss_at_rest=(pull @ u0).real, loss_by_p=by_power.real / base, loss_by_q=by_power.imag / base,
        )  # fmt: skip
