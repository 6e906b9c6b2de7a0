"""Quadratically constrained programs as arrays, and their derivatives as a few vectorised lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Terms:
    """Products ``coefficient * x[first] * x[second]``, each belonging to a row; all (k,)."""

    row: IntArray
    first: IntArray
    second: IntArray
    coefficient: FloatArray

    def sums(self, x: FloatArray, rows: int) -> FloatArray:
        """Return the (rows,) sum of each row's products at `x`."""
        products = self.coefficient * x[self.first] * x[self.second]
        return np.asarray(np.bincount(self.row, products, rows), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class QuadraticProgram:
    """Quadratic program with quadratic constraints, as coefficient arrays.

    Minimise ``constant + c'x + x'Hx / 2`` subject to ``row_low <= A x + g(x) <= row_high`` and ``low <= x <= high``;
    ``g`` sums the products of `terms` row by row.

    c : (n,).  hessian : (n, n) symmetric H.  matrix : (m, n) A.  terms : products of the constraints.
    row_low, row_high : (m,).  low, high : (n,).  x0 : (n,) a start.
    variables, rows : name of each declared variable or constraint -> its positions, in declared order.
    """

    constant: float
    c: FloatArray
    hessian: sp.csr_matrix
    matrix: sp.csr_matrix
    terms: Terms
    row_low: FloatArray
    row_high: FloatArray
    low: FloatArray
    high: FloatArray
    x0: FloatArray
    variables: dict[str, IntArray]
    rows: dict[str, IntArray]

    def bounded(
        self, *, low: FloatArray, high: FloatArray, row_low: FloatArray, row_high: FloatArray
    ) -> QuadraticProgram:
        """Return the program with other bounds and right-hand sides; the derivatives are worked out only once."""
        other = replace(self, low=low, high=high, row_low=row_low, row_high=row_high)
        other.__dict__["derivatives"] = self.derivatives
        return other

    @property
    def shape(self) -> tuple[int, int]:
        """Number of constraints and of variables."""
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    def value(self, x: FloatArray) -> float:
        """Return the objective at `x`."""
        return float(self.constant + self.c @ x + 0.5 * (x @ (self.hessian @ x)))

    def body(self, x: FloatArray) -> FloatArray:
        """Return the (m,) constraint bodies at `x`."""
        return np.asarray(self.matrix @ x + self.terms.sums(x, len(self.row_low)))

    def violation(self, x: FloatArray) -> float:
        """Return the largest amount by which `x` breaks a constraint or a bound."""
        body = self.body(x)
        broken = [self.row_low - body, body - self.row_high, self.low - x, x - self.high]
        return max(0.0, max(float(b.max(initial=0.0)) for b in broken))

    @cached_property
    def derivatives(self) -> Derivatives:
        """The constant parts of the Jacobian and the Hessian."""
        return Derivatives(self)


class Derivatives:
    """Constraint Jacobian (linear in x) and Lagrangian Hessian (linear in the multipliers) of constant structure.

    jacobian_structure, hessian_structure : (rows, columns) of the entries, the latter of the lower triangle.
    """

    def __init__(self, program: QuadraticProgram) -> None:
        self._c, self._h = program.c, program.hessian
        self._jacobian(program)
        self._hessian(program)

    def _jacobian(self, program: QuadraticProgram) -> None:
        columns = program.shape[1]
        linear, terms = program.matrix.tocoo(), program.terms
        entry = np.concatenate([terms.row * columns + terms.first, terms.row * columns + terms.second])
        fixed = linear.row.astype(np.int64) * columns + linear.col
        keys = np.unique(np.concatenate([entry, fixed]))
        self.jacobian_structure = (keys // columns, keys % columns)
        self._base = np.bincount(np.searchsorted(keys, fixed), linear.data, len(keys))
        # d(a x_i x_j) = a x_j dx_i + a x_i dx_j; for i = j both halves fall on one entry.
        weight = np.concatenate([terms.coefficient, terms.coefficient])
        other = np.concatenate([terms.second, terms.first])
        self._slope = sp.csr_matrix((weight, (np.searchsorted(keys, entry), other)), shape=(len(keys), columns))

    def _hessian(self, program: QuadraticProgram) -> None:
        rows, columns = program.shape
        terms, own = program.terms, sp.tril(program.hessian).tocoo()
        entry = np.maximum(terms.first, terms.second) * columns + np.minimum(terms.first, terms.second)
        fixed = own.row.astype(np.int64) * columns + own.col
        keys = np.unique(np.concatenate([entry, fixed]))
        self.hessian_structure = (keys // columns, keys % columns)
        self._own = np.bincount(np.searchsorted(keys, fixed), own.data, len(keys))
        weight = np.where(terms.first == terms.second, 2.0, 1.0) * terms.coefficient
        self._curvature = sp.csr_matrix((weight, (np.searchsorted(keys, entry), terms.row)), shape=(len(keys), rows))

    def gradient(self, x: FloatArray) -> FloatArray:
        """Return the (n,) gradient of the objective."""
        return np.asarray(self._c + self._h @ x)

    def jacobian(self, x: FloatArray) -> FloatArray:
        """Return the Jacobian's entries."""
        return np.asarray(self._base + self._slope @ x)

    def hessian(self, multipliers: FloatArray, objective_factor: float) -> FloatArray:
        """Return the entries of the Lagrangian's Hessian."""
        return np.asarray(objective_factor * self._own + self._curvature @ multipliers)


def index_of(values: Any) -> IntArray:
    """Return `values` as an index array."""
    return np.asarray(values, dtype=np.int64)
