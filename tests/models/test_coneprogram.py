"""A compiled program gives what cvxpy gives, for every value of its parameters."""

import cvxpy as cp
import numpy as np
import pytest

from feederlab.models.coneprogram import FAILED, SOLVED, ConeProgram


def quadratic():
    x = cp.Variable(3, name="x")
    goal, low = cp.Parameter(3, name="goal", value=np.zeros(3)), cp.Parameter(name="low", value=-1.0)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - goal) + cp.sum(x) + 2.0), [x >= low, cp.sum(x) == 1])


def conic():
    x, t = cp.Variable(3, name="x"), cp.Variable(name="t")
    matrix, radius = cp.Parameter((2, 3), name="matrix", value=np.ones((2, 3))), cp.Parameter(name="radius", value=1.0)
    return cp.Problem(cp.Minimize(cp.sum(x) + t), [cp.norm(x) <= radius, cp.norm(matrix @ x - 1) <= t])


def draws(problem, count=5):
    rng = np.random.default_rng(0)
    sign = {"low": -1.0}
    for _ in range(count):
        yield {p.name(): sign.get(p.name(), 1.0) * np.abs(rng.normal(size=p.shape)) for p in problem.parameters()}


@pytest.mark.parametrize(("build", "solver"), [(quadratic, "CLARABEL"), (quadratic, "PIQP"), (conic, "CLARABEL")])
def test_equals_cvxpy_whatever_was_solved_before(build, solver):
    problem = build()
    program = ConeProgram(problem, solver)
    for values in draws(problem):
        found = program.solve(**values)
        for parameter in problem.parameters():
            parameter.value = values[parameter.name()]
        problem.solve(cp.CLARABEL)
        assert found.status == SOLVED
        assert found.primal == pytest.approx(problem.value, abs=1e-6)
        assert found.dual == pytest.approx(problem.value, abs=1e-6)
        for variable in problem.variables():
            assert found.values[variable.name()] == pytest.approx(variable.value, abs=1e-4)


@pytest.mark.parametrize("build", [quadratic, conic])
def test_lower_bound_holds_from_any_multipliers(build):
    problem = build()
    program = ConeProgram(problem)
    rng = np.random.default_rng(1)
    exact = program.solve()
    box = program.box(dict.fromkeys(program.variables, (-10.0, 10.0)))
    assert program.lower_bound(exact, box) == pytest.approx(exact.primal, abs=1e-6)
    for _ in range(20):
        spoilt = type(exact)(**{**vars(exact), "z": exact.z + rng.normal(scale=0.1, size=exact.z.shape)})
        assert program.lower_bound(spoilt, box) <= exact.primal + 1e-7


def test_an_infeasible_program_fails_without_an_exception():
    program = ConeProgram(quadratic())
    assert program.solve(low=2.0).status == FAILED
    assert program.solve(low=-1.0).status == SOLVED


def test_what_cannot_be_compiled_is_refused():
    x, p = cp.Variable(name="x"), cp.Parameter(name="p", nonneg=True, value=1.0)
    with pytest.raises(ValueError, match="DPP"):
        ConeProgram(cp.Problem(cp.Minimize(cp.square(p * x) / (1 + p)), [x >= 1]))
    with pytest.raises(ValueError, match="second-order cones"):
        ConeProgram(conic(), "PIQP")
    with pytest.raises(ValueError, match="3 values"):
        ConeProgram(quadratic()).solve(goal=np.zeros(2))
