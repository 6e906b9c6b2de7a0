"""Generation cost of a MATPOWER case as Pyomo expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo

from feederlab.errors import InputError
from feederlab.models.acopf.case_grid import CaseGrid
from feederlab.models.arrays import FloatArray

# Columns of the gencost table (MATPOWER manual, appendix B).
_MODEL, _NCOST, _COST = 0, 3, 4
_PIECEWISE, _POLYNOMIAL = 1, 2


def generation_cost(model: pyo.ConcreteModel, grid: CaseGrid) -> Any:
    """Return the cost ($/h) of the generators' p and q; piecewise linear curves add variables to `model`.

    Raises
    ------
    InputError
        No cost table, a polynomial above degree 2, or a piecewise linear curve that is not convex.
    """
    if not len(grid.cost):
        raise InputError("the case has no cost table (gencost); choose the objective losses or voltage_deviation")
    gens = len(grid.gen_node)
    outputs = [*model.p.values(), *model.q.values()][: len(grid.cost)]
    pieces: list[tuple[int, Any, Any]] = []
    total: Any = 0.0
    for k, (row, output) in enumerate(zip(grid.cost, outputs, strict=True)):
        who = f"the {'reactive ' if k >= gens else ''}cost of gen row {int(grid.gen_row[k % gens]) + 1}"
        if row[_MODEL] == _POLYNOMIAL:
            total = total + _polynomial(row, output * grid.base_mva, who)
        elif row[_MODEL] == _PIECEWISE:
            pieces.append((k, _segments(row, who), output * grid.base_mva))
        else:
            raise InputError(f"{who} has model {row[_MODEL]:g}; known are 1 (piecewise linear) and 2 (polynomial)")
    model.piece = pyo.Var([k for k, _, _ in pieces])
    model.above = pyo.ConstraintList()
    for k, segments, output in pieces:
        model.piece[k].value = max(a + b * pyo.value(output) for a, b in segments)
        for a, b in segments:
            model.above.add(model.piece[k] - b * output >= a)
        total = total + model.piece[k]
    return total


def _polynomial(row: FloatArray, output: Any, who: str) -> Any:
    coefficients = row[_COST : _COST + int(row[_NCOST])]
    if np.any(coefficients[:-3] != 0):
        raise InputError(f"{who} is a polynomial of degree {len(coefficients) - 1}; at most 2 is supported")
    degree = len(coefficients) - 1
    return sum(float(a) * output ** (degree - k) for k, a in enumerate(coefficients) if a and degree - k <= 2)


def _segments(row: FloatArray, who: str) -> list[tuple[float, float]]:
    """Return (intercept, slope) of each segment of a convex piecewise linear cost."""
    points = row[_COST : _COST + 2 * int(row[_NCOST])].reshape(-1, 2)
    slope = np.diff(points[:, 1]) / np.diff(points[:, 0])
    if np.any(np.diff(slope) < -1e-9 * np.abs(slope).max(initial=1.0)):
        raise InputError(f"{who} is not convex: its slopes fall from one segment to the next")
    return [(float(c - b * p), float(b)) for (p, c), b in zip(points[:-1], slope, strict=True)]
