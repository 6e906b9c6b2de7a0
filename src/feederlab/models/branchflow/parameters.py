"""The numbers of a radial feeder that all branch-flow models share.

With v the squared voltage magnitude, and per branch k from parent i to child j (ideal transformer ``a`` at i, then
the series impedance ``r + jx``) the power ``P + jQ`` that enters the series element and its squared current ``l``:

    w_k = v_i / a_k^2                                              voltage behind the transformer
    v_j = w_k - 2 (r P + x Q) + (r^2 + x^2) l
    P_k - r l = p_j + G_j v_j + sum over the branches c that leave j of P_c
    Q_k - x l = q_j - B_j v_j + sum over c of Q_c
    l w_k = P^2 + Q^2

where ``p_j + j q_j`` is the constant consumption at j, and ``G_j + j B_j`` gathers every shunt that sees v_j: the
node's own, the child end of branch k, and the parent ends of the branches c behind their transformers (over a_c^2).
Farivar and Low, IEEE Trans. Power Systems 28(3), 2013, with shunts and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from feederlab.errors import InputError
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.tree import Tree


def radial(feeder: Feeder) -> Tree:
    """Return the tree that branch-flow models stand on.

    Raises
    ------
    NotRadialError
        If the feeder has loops.
    InputError
        If generators hold voltages: their reactive power is no model's to bound.
    """
    if len(feeder.pv):
        raise InputError(
            "the feeder has voltage-controlled generators (table gen), which branch-flow models do not know; "
            "model them as sgen, or use local controllers"
        )
    return feeder.tree


@dataclass(frozen=True, eq=False)
class BranchFlow:
    """Parameters at one setting of taps and capacitor steps, per unit; (m,) arrays follow `feeder.tree`.

    r, x : series impedance.  ratio2 : squared ratio at the parent's side.
    shunt : (nodes,) G + jB, everything that sees the node's voltage.
    branch_g : (nodes,) the part of G that belongs to branches (their no-load losses).
    parent_shunt : (m,) admittance at the parent's end, behind the transformer.
    """

    feeder: Feeder
    r: FloatArray
    x: FloatArray
    ratio2: FloatArray
    shunt: ComplexArray
    branch_g: FloatArray
    parent_shunt: ComplexArray

    @classmethod
    def of(cls, feeder: Feeder, taps: IntArray | None = None, steps: IntArray | None = None) -> BranchFlow:
        """Read a feeder.  Raises what `radial` raises."""
        tree = radial(feeder)
        pi = tree.merged(feeder.two_port(taps))
        ratio2 = pi.ratio**2
        of_branches = np.zeros(feeder.n_nodes, dtype=np.complex128)
        np.add.at(of_branches, tree.child, pi.g_t + 1j * pi.b_t)
        np.add.at(of_branches, tree.parent, (pi.g_f + 1j * pi.b_f) / ratio2)
        return cls(
            feeder, pi.r, pi.x, ratio2, feeder.shunt(steps) + of_branches, of_branches.real, pi.g_f + 1j * pi.b_f
        )

    @cached_property
    def below(self) -> sp.csr_matrix:
        """`Tree.descendants`: (m, nodes), one where a node lies below a branch."""
        return self.feeder.tree.descendants()

    def consumption(self, injection_mva: ComplexArray) -> ComplexArray:
        """Return the (nodes,) constant consumption p + jq (p.u.) under `injection_mva` (generation positive)."""
        return np.asarray(-injection_mva / self.feeder.base_mva - self.feeder.node_fixed)


def rated_flow(feeder: Feeder) -> FloatArray:
    """Return, (m,), the sum of the ratings below each branch (p.u.): a scale for its flow, never zero.

    Rated are loads, generators, devices, and at 1 p.u. every shunt, capacitor and line charging.
    """
    at_node = np.abs(feeder.node_fixed) + np.abs(feeder.node_shunt)
    pi, banks = feeder.branches.two_port, feeder.capacitors
    np.add.at(at_node, feeder.branches.from_node, np.abs(pi.g_f + 1j * pi.b_f))
    np.add.at(at_node, feeder.branches.to_node, np.abs(pi.g_t + 1j * pi.b_t))
    at_node *= feeder.base_mva
    on = banks.node >= 0
    np.add.at(at_node, banks.node[on], (banks.max_step * np.hypot(banks.p_step_mw, banks.q_step_mvar))[on])
    for elements in (feeder.loads, feeder.sgens):
        on = elements.node >= 0
        np.add.at(at_node, elements.node[on], np.hypot(elements.p_mw, elements.q_mvar)[on] * elements.scaling[on])
    for devices in (feeder.inverters, feeder.storages):
        on = devices.node >= 0
        np.add.at(at_node, devices.node[on], devices.s_mva[on])
    below: FloatArray = feeder.tree.descendants() @ at_node / feeder.base_mva
    largest = below.max(initial=0.0)
    return np.maximum(below, 1e-2 * largest if largest > 0 else 1.0)


def within_limits(
    s_mva: FloatArray, p_max_mw: FloatArray, p_mw: FloatArray, q_mvar: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return p and q without what a solver's tolerance leaves outside 0 <= p <= p_max, p^2 + q^2 <= s^2."""
    p = np.minimum(np.maximum(p_mw, 0.0), p_max_mw)
    room = np.sqrt(np.maximum(s_mva**2 - p**2, 0.0))
    return p, np.minimum(np.maximum(q_mvar, -room), room)
