"""The voltage variables of AC optimal power flow, in which every power flow is linear.

For complex node voltages ``U_i = e_i + j f_i``::

    u_i = e_i^2 + f_i^2,   c_ij + j s_ij = U_i conj(U_j):   c = e_i e_j + f_i f_j,   s = f_i e_j - e_i f_j

With admittances Y the power injected at i is ``conj(Y_ii) u_i + sum_j conj(Y_ij) (c_ij + j s_ij)``.  All nonlinearity
is in the definitions, which are quadratic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
from pyomo.core.expr.numeric_expr import LinearExpression

from feederlab.models.arrays import ComplexArray, IntArray


@dataclass(frozen=True, eq=False)
class Ends:
    """The two ends of n branches and the connected pair of nodes each lies on.

    from_node, to_node, pair : (n,).  flipped : (n,) whether the branch runs from the pair's second node to its first.
    pair_first, pair_second : (pairs,) nodes.
    """

    from_node: IntArray
    to_node: IntArray
    pair: IntArray
    flipped: Any
    pair_first: IntArray
    pair_second: IntArray

    @classmethod
    def of(cls, from_node: IntArray, to_node: IntArray) -> Ends:
        """Number the connected pairs of nodes; parallel branches share one."""
        ends = np.sort(np.stack([from_node, to_node], axis=1), axis=1)
        pairs, pair = np.unique(ends, axis=0, return_inverse=True)
        pair = pair.reshape(-1)
        return cls(from_node, to_node, pair, from_node != pairs[pair, 0], pairs[:, 0], pairs[:, 1])


def add_voltages(model: pyo.ConcreteModel, ends: Ends, nodes: int) -> None:
    """Add variables e, f, u (nodes,) and c, s (pairs,) and their definitions to `model`."""
    model.node = pyo.RangeSet(0, nodes - 1)
    model.pair = pyo.RangeSet(0, len(ends.pair_first) - 1)
    model.e = pyo.Var(model.node, initialize=1.0)
    model.f = pyo.Var(model.node, initialize=0.0)
    model.u = pyo.Var(model.node, initialize=1.0)
    model.c = pyo.Var(model.pair, initialize=1.0)
    model.s = pyo.Var(model.pair, initialize=0.0)
    a, b = ends.pair_first.tolist(), ends.pair_second.tolist()
    model.square = pyo.Constraint(model.node, rule=lambda m, i: m.e[i] * m.e[i] + m.f[i] * m.f[i] - m.u[i] == 0)
    model.cosine = pyo.Constraint(
        model.pair, rule=lambda m, k: m.e[a[k]] * m.e[b[k]] + m.f[a[k]] * m.f[b[k]] - m.c[k] == 0
    )
    model.sine = pyo.Constraint(
        model.pair, rule=lambda m, k: m.f[a[k]] * m.e[b[k]] - m.e[a[k]] * m.f[b[k]] - m.s[k] == 0
    )


def pair_values(ends: Ends, voltage: ComplexArray) -> ComplexArray:
    """Return c + js of every pair at node voltages (nodes,)."""
    return np.asarray(voltage[ends.pair_first] * np.conj(voltage[ends.pair_second]))


class NodePower:
    """Linear expressions of the power injected at each node, from bus admittances.

    admittance : (nodes, nodes) bus admittance matrix, shunts included.
    """

    def __init__(self, model: pyo.ConcreteModel, ends: Ends, admittance: sp.csr_matrix) -> None:
        self._p: list[list[tuple[float, Any]]] = [[] for _ in range(admittance.shape[0])]
        self._q: list[list[tuple[float, Any]]] = [[] for _ in range(admittance.shape[0])]
        for node, y in enumerate(admittance.diagonal()):
            self._add(node, complex(y), model.u[node], None, 1.0)
        forth = np.asarray(admittance[ends.pair_first, ends.pair_second]).reshape(-1)
        back = np.asarray(admittance[ends.pair_second, ends.pair_first]).reshape(-1)
        for k, (i, j) in enumerate(zip(ends.pair_first.tolist(), ends.pair_second.tolist(), strict=True)):
            self._add(i, complex(forth[k]), model.c[k], model.s[k], 1.0)
            self._add(j, complex(back[k]), model.c[k], model.s[k], -1.0)

    def _add(self, node: int, y: complex, real: Any, imaginary: Any, sign: float) -> None:
        self._p[node].append((y.real, real))
        self._q[node].append((-y.imag, real))
        if imaginary is not None:
            self._p[node].append((sign * y.imag, imaginary))
            self._q[node].append((sign * y.real, imaginary))

    def active(self, node: int) -> Any:
        """Return the active power injected at `node` (p.u.)."""
        return linear(self._p[node])

    def reactive(self, node: int) -> Any:
        """Return the reactive power injected at `node` (p.u.)."""
        return linear(self._q[node])


def linear(parts: list[tuple[float, Any]]) -> Any:
    """Return a linear expression from (coefficient, variable) pairs."""
    return LinearExpression(constant=0.0, linear_coefs=[a for a, _ in parts], linear_vars=[v for _, v in parts])


def branch_power(model: pyo.ConcreteModel, ends: Ends, row: int, own: complex, mutual: complex, at_to: bool) -> Any:
    """Return (p, q), linear expressions of the power into one end of a branch (p.u.).

    own, mutual : admittances, ``i = own * u_here + mutual * u_there``.
    """
    node = ends.to_node[row] if at_to else ends.from_node[row]
    pair = int(ends.pair[row])
    sign = -1.0 if bool(ends.flipped[row]) != at_to else 1.0
    u, c, s = model.u[int(node)], model.c[pair], model.s[pair]
    p = linear([(own.real, u), (mutual.real, c), (sign * mutual.imag, s)])
    return p, linear([(-own.imag, u), (-mutual.imag, c), (sign * mutual.real, s)])


def current_square(model: pyo.ConcreteModel, ends: Ends, row: int, own: complex, mutual: complex, at_to: bool) -> Any:
    """Return the squared current into one end of a branch (p.u.): |own U + mutual U'|^2, linear in u, c and s."""
    here, there = int(ends.from_node[row]), int(ends.to_node[row])
    if at_to:
        here, there = there, here
    pair, product = int(ends.pair[row]), 2 * own * mutual.conjugate()
    sign = -1.0 if bool(ends.flipped[row]) != at_to else 1.0
    u, c, s = model.u, model.c[pair], model.s[pair]
    return linear(
        [(abs(own) ** 2, u[here]), (abs(mutual) ** 2, u[there]), (product.real, c), (-sign * product.imag, s)]
    )


def admittance_matrix(
    ends: Ends, parts: tuple[ComplexArray, ComplexArray, ComplexArray, ComplexArray], shunt: ComplexArray
) -> sp.csr_matrix:
    """Return the (nodes, nodes) bus admittance matrix of branches (yff, yft, ytf, ytt) and node shunts (nodes,)."""
    yff, yft, ytf, ytt = parts
    nodes = len(shunt)
    f, t, own = ends.from_node, ends.to_node, np.arange(nodes)
    entries = np.concatenate([yff, yft, ytf, ytt, shunt])
    return sp.csr_matrix(
        (entries, (np.concatenate([f, f, t, t, own]), np.concatenate([f, t, f, t, own]))), shape=(nodes, nodes)
    )
