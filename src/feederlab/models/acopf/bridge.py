"""From a Pyomo model to coefficient arrays.

Pyomo states the problem; every expression is at most quadratic, so `generate_standard_repn` yields constant
coefficients and no expression is ever evaluated again: time-varying data is written into bounds and right-hand sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp
from pyomo.repn import generate_standard_repn

from feederlab.models.acopf.program import QuadraticProgram, Terms, index_of
from feederlab.models.arrays import FloatArray, IntArray


class _Collector:
    """Coefficients of many expressions, one row each."""

    def __init__(self, column: dict[int, int]) -> None:
        self._column = column
        self.constant: list[float] = []
        self._linear: tuple[list[int], list[int], list[float]] = ([], [], [])
        self._terms: tuple[list[int], list[int], list[int], list[float]] = ([], [], [], [])

    def add(self, expression: Any, name: str) -> int:
        """Add an expression and return its row."""
        found = generate_standard_repn(expression, quadratic=True)
        if found.nonlinear_expr is not None:
            raise ValueError(f"{name} is not quadratic: {found.nonlinear_expr}")
        row, column = len(self.constant), self._column
        self.constant.append(float(found.constant))
        rows, columns, values = self._linear
        for variable, value in zip(found.linear_vars, found.linear_coefs, strict=True):
            rows.append(row)
            columns.append(column[id(variable)])
            values.append(float(value))
        rows, first, second, values = self._terms
        for (a, b), value in zip(found.quadratic_vars, found.quadratic_coefs, strict=True):
            rows.append(row)
            first.append(column[id(a)])
            second.append(column[id(b)])
            values.append(float(value))
        return row

    def matrix(self) -> sp.csr_matrix:
        rows, columns, values = self._linear
        return sp.csr_matrix((values, (rows, columns)), shape=(len(self.constant), len(self._column)))

    def terms(self) -> Terms:
        rows, first, second, values = self._terms
        return Terms(index_of(rows), index_of(first), index_of(second), np.asarray(values, dtype=float))


def extract(model: pyo.ConcreteModel) -> QuadraticProgram:
    """Return a Pyomo model as a `QuadraticProgram`; a maximised objective is negated.

    Raises
    ------
    ValueError
        If an expression is not quadratic, or there is not exactly one active objective.
    """
    declared = list(model.component_objects(pyo.Var))
    variables = [variable for component in declared for variable in component.values()]
    column = {id(variable): k for k, variable in enumerate(variables)}
    objectives = list(model.component_data_objects(pyo.Objective, active=True))
    if len(objectives) != 1:
        raise ValueError(f"the model has {len(objectives)} active objectives, not one")
    goal = _Collector(column)
    goal.add(objectives[0].expr, objectives[0].name)
    sense = 1.0 if objectives[0].sense == pyo.minimize else -1.0
    body, low, high = _Collector(column), [], []
    rows: dict[str, IntArray] = {}
    for component in model.component_objects(pyo.Constraint, active=True):
        mine = []
        for constraint in component.values():
            mine.append(body.add(constraint.body, constraint.name))
            low.append(-np.inf if constraint.lb is None else constraint.lb)
            high.append(np.inf if constraint.ub is None else constraint.ub)
        rows[component.name] = index_of(mine)
    constant = np.asarray(body.constant)
    return QuadraticProgram(
        constant=sense * goal.constant[0],
        c=sense * goal.matrix().toarray()[0],
        hessian=sense * _symmetric(goal.terms(), len(variables)),
        matrix=body.matrix(),
        terms=body.terms(),
        row_low=np.asarray(low, dtype=float) - constant,
        row_high=np.asarray(high, dtype=float) - constant,
        low=_bound([v.lb for v in variables], -np.inf),
        high=_bound([v.ub for v in variables], np.inf),
        x0=_bound([v.value for v in variables], 0.0),
        variables={c.name: index_of([column[id(v)] for v in c.values()]) for c in declared},
        rows=rows,
    )


def _symmetric(terms: Terms, size: int) -> sp.csr_matrix:
    half = sp.csr_matrix((terms.coefficient, (terms.first, terms.second)), shape=(size, size))
    return sp.csr_matrix(half + half.T)


def _bound(values: list[float | None], default: float) -> FloatArray:
    return np.array([default if v is None else v for v in values], dtype=float)
