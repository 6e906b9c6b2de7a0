"""The bridge from Pyomo to arrays: values against Pyomo's own, derivatives against finite differences."""

import numpy as np
import pyomo.environ as pyo
import pytest

from feederlab.models.acopf.bridge import extract
from feederlab.models.acopf.ipopt import Ipopt


def _model() -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.x = pyo.Var([0, 1, 2], bounds=(-2.0, 3.0), initialize=0.5)
    model.y = pyo.Var(initialize=-1.0)
    x, y = model.x, model.y
    model.ball = pyo.Constraint(expr=x[0] ** 2 + 2 * x[1] ** 2 + x[0] * x[1] - 3 * y + 1 <= 4)
    model.saddle = pyo.Constraint([0, 1], rule=lambda m, k: (-1.0, (m.x[k] + 2 * y - 1) ** 2 - m.x[2] * y, 5.0 + k))
    model.line = pyo.Constraint(expr=x[0] + 2 * x[1] - y == 0.25)
    model.goal = pyo.Objective(expr=7 + (x[0] - 1) ** 2 + x[1] * x[2] + 3 * y**2 - y)
    return model


def _set(model: pyo.ConcreteModel, values: np.ndarray) -> None:
    for variable, value in zip([*model.x.values(), model.y], values, strict=True):
        variable.set_value(float(value), skip_validation=True)


def test_values_agree_with_pyomo() -> None:
    model, rng = _model(), np.random.default_rng(1)
    program = extract(model)
    for x in rng.normal(size=(5, 4)):
        _set(model, x)
        assert program.value(x) == pytest.approx(pyo.value(model.goal), rel=1e-13)
        bodies = [pyo.value(c.body) for c in model.component_data_objects(pyo.Constraint)]
        slack = np.array([c.ub for c in model.component_data_objects(pyo.Constraint)]) - bodies
        np.testing.assert_allclose(program.row_high - program.body(x), slack, atol=1e-12)
    assert list(program.variables) == ["x", "y"]
    assert {name: len(rows) for name, rows in program.rows.items()} == {"ball": 1, "saddle": 2, "line": 1}


def test_derivatives_agree_with_finite_differences() -> None:
    program, rng = extract(_model()), np.random.default_rng(2)
    slopes, (rows, columns), h = program.derivatives, program.shape, 1e-6
    x, multipliers, factor = rng.normal(size=columns), rng.normal(size=rows), 0.7

    def dense_jacobian(at: np.ndarray) -> np.ndarray:
        full = np.zeros((rows, columns))
        full[slopes.jacobian_structure] = slopes.jacobian(at)
        return full

    def lagrangian_gradient(at: np.ndarray) -> np.ndarray:
        return factor * slopes.gradient(at) + multipliers @ dense_jacobian(at)

    steps = h * np.eye(columns)
    gradient = [(program.value(x + d) - program.value(x - d)) / (2 * h) for d in steps]
    jacobian = np.transpose([(program.body(x + d) - program.body(x - d)) / (2 * h) for d in steps])
    curvature = [(lagrangian_gradient(x + d) - lagrangian_gradient(x - d)) / (2 * h) for d in steps]
    hessian = np.zeros((columns, columns))
    hessian[slopes.hessian_structure] = slopes.hessian(multipliers, factor)
    np.testing.assert_allclose(slopes.gradient(x), gradient, atol=1e-7)
    np.testing.assert_allclose(dense_jacobian(x), jacobian, atol=1e-7)
    np.testing.assert_allclose(hessian + np.tril(hessian, -1).T, curvature, atol=1e-7)


def test_solves_and_starts_warm() -> None:
    program = extract(_model())
    cold = Ipopt(tol=1e-9).solve(program)
    assert cold.solved
    assert program.violation(cold.end.x) < 1e-9
    shifted = program.bounded(
        low=program.low, high=program.high, row_low=program.row_low, row_high=program.row_high + 0.01
    )
    warm, again = Ipopt(tol=1e-9).solve(shifted, cold.end), Ipopt(tol=1e-9).solve(shifted)
    assert warm.solved
    assert warm.objective == pytest.approx(again.objective, abs=1e-7)
    assert warm.iterations < again.iterations


def test_refuses_what_is_not_quadratic() -> None:
    model = _model()
    model.cubic = pyo.Constraint(expr=model.x[0] ** 3 <= 1)
    with pytest.raises(ValueError, match="cubic is not quadratic"):
        extract(model)


def test_infeasible_is_reported_not_raised() -> None:
    model = _model()
    model.far = pyo.Constraint(expr=model.x[0] ** 2 + model.x[1] ** 2 >= 100)
    result = Ipopt(max_iterations=100).solve(extract(model))
    assert not result.solved
    assert result.status
