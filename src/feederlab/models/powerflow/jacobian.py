"""The power flow's Jacobian: how node voltages move with what is injected, to first and second order.

At a solution the currents balance at every node but the slack, ``Y u = conj(s / u)``.  An injection that moves by ds
moves the voltages by du with

    Y du + D conj(du) = conj(ds) / conj(u),     D = diag(conj(s) / conj(u)^2),

linear in the real and imaginary parts of du.  (Current mismatch in rectangular coordinates: da Costa, Martins, Pereira,
IEEE Trans. Power Systems 14(4), 1999.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.sensitivity import branch_admittance

# Pivots may leave the diagonal only where it is this much smaller: the fill-reducing order then holds.
_PIVOT = 0.01


@dataclass(frozen=True, eq=False)
class ReducedGrid:
    """One feeder at one setting of taps and capacitor steps, ready to build Jacobians.

    y : (nodes, nodes) bus admittance, shunts included (p.u.).
    losses : (nodes, nodes) Hermitian part of the branches' admittance: their losses are ``u^H losses u`` (p.u.).
    free : nodes but the slack, in an order of little fill; their real and imaginary parts alternate in the Jacobian.
    """

    feeder: Feeder
    y: sp.csr_matrix
    losses: sp.csr_matrix
    free: IntArray
    _constant: sp.csc_matrix
    _blocks: IntArray

    @classmethod
    def of(cls, feeder: Feeder, taps: IntArray | None = None, steps: IntArray | None = None) -> ReducedGrid:
        """Read a feeder at tap positions (tap changers,) and closed steps (capacitor banks,); None: as in the net."""
        branch = branch_admittance(feeder, taps)
        y = (branch + sp.diags(feeder.shunt(steps))).tocsr()
        free = np.flatnonzero(np.arange(feeder.n_nodes) != feeder.slack)
        order = splu(y[free][:, free].tocsc(), permc_spec="MMD_AT_PLUS_A").perm_c
        free = free[np.argsort(order)]
        inner = y[free][:, free].tocoo()
        n = len(free)
        # Zeros on the blocks of the diagonal make room for D.
        own = np.arange(n)
        rows = np.concatenate([2 * inner.row, 2 * inner.row, 2 * inner.row + 1, 2 * inner.row + 1,
                               2 * own, 2 * own, 2 * own + 1, 2 * own + 1])  # fmt: skip
        columns = np.concatenate([2 * inner.col, 2 * inner.col + 1, 2 * inner.col, 2 * inner.col + 1,
                                  2 * own, 2 * own + 1, 2 * own, 2 * own + 1])  # fmt: skip
        g, b, none = inner.data.real, inner.data.imag, np.zeros(4 * n)
        constant = sp.csc_matrix((np.concatenate([g, -b, b, g, none]), (rows, columns)), shape=(2 * n, 2 * n))
        constant.sort_indices()
        entry = np.repeat(np.arange(2 * n), np.diff(constant.indptr)) * (2 * n) + constant.indices
        blocks = [
            np.searchsorted(entry, (2 * own + c) * (2 * n) + (2 * own + r)) for r, c in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        losses = ((branch + branch.conj().T) / 2).tocsr()
        return cls(feeder, y, losses, free, constant, np.stack(blocks))

    def linearised(self, u: ComplexArray, injection: ComplexArray) -> Jacobian:
        """Return the factored Jacobian at solved voltages u (nodes,) and injections (nodes,), p.u.

        Raises
        ------
        RuntimeError
            If it is singular: at the point of voltage collapse.
        """
        d = np.conj(injection[self.free]) / np.conj(u[self.free]) ** 2
        entries, constant = self._constant.data.copy(), self._constant
        for positions, values in zip(self._blocks, (d.real, d.imag, d.imag, -d.real), strict=True):
            entries[positions] += values
        matrix = sp.csc_matrix((entries, constant.indices, constant.indptr), shape=constant.shape)
        return Jacobian(self, u, injection, matrix)


class Jacobian:
    """The factored Jacobian at one solved state; u, injection : (nodes,), p.u.

    matrix : (2 free, 2 free), of the real and imaginary parts of du in turn, free nodes in `ReducedGrid`'s order.
    """

    def __init__(self, grid: ReducedGrid, u: ComplexArray, injection: ComplexArray, matrix: sp.csc_matrix) -> None:
        self.grid, self.u, self.injection, self.matrix = grid, u, injection, matrix
        self._lu = splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=_PIVOT, options={"SymmetricMode": True})

    def currents(self, power: ComplexArray) -> FloatArray:
        """Return the right-hand sides, (2 free, k), of k changes ds of the injections (nodes, k), p.u."""
        free = self.grid.free
        current = np.conj(power[free] / self.u[free, None])
        sides = np.empty((2 * len(free), power.shape[1]), order="F")
        sides[0::2], sides[1::2] = current.real, current.imag
        return sides

    def voltages(self, power: ComplexArray) -> ComplexArray:
        """Return du, (nodes, k), for k changes ds of the injections (nodes, k), p.u."""
        free, sides = self.grid.free, self.currents(power)
        moved = self._lu.solve(sides)
        du = np.zeros_like(power)
        du[free] = moved[0::2] + 1j * moved[1::2]
        return du

    def adjoint(self, slope: ComplexArray) -> ComplexArray:
        """Return the (nodes,) multipliers of the current balance for a function that moves by ``Re(slope^H du)``."""
        free = self.grid.free
        side = np.empty(2 * len(free))
        side[0::2], side[1::2] = slope[free].real, slope[free].imag
        solved = self._lu.solve(side, trans="T")
        multipliers = np.zeros(len(self.u), dtype=np.complex128)
        multipliers[free] = solved[0::2] + 1j * solved[1::2]
        return multipliers

    def curvature(self, multipliers: ComplexArray, du: ComplexArray, node: IntArray, unit: ComplexArray) -> FloatArray:
        """Return, (k, k), what the power flow's own curvature adds to a reduced Hessian.

        The second derivative of u along directions a and b solves the same linear system with the right-hand side
        ``-(conj(s_a) w_b + conj(s_b) w_a) / w^2 + 2 conj(s) w_a w_b / w^3``, w = conj(u).

        du : (nodes, k) of the directions, which inject unit[a] (p.u.) at node[a] and nothing elsewhere.
        """
        w, dw = np.conj(self.u), np.conj(du)
        inner = np.conj(multipliers) * 2 * np.conj(self.injection) / w**3
        loaded = np.flatnonzero(inner)
        h = (dw[loaded].T @ (inner[loaded, None] * dw[loaded])).real
        own = -((np.conj(multipliers) / w**2)[node] * np.conj(unit))[:, None] * dw[node]
        return np.asarray(h + own.real + own.real.T)
