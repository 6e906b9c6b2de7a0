"""The working-set quadratic program against the whole one in cvxpy."""

import cvxpy as cp
import numpy as np
import pytest

from feederlab.models.reduced.subproblem import Sides, Step, Subproblem, solve


def random_problem(seed: int) -> tuple[Subproblem, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    k, m, j = int(rng.integers(1, 8)), int(rng.integers(0, 120)), int(rng.integers(0, 4))
    root = rng.normal(size=(k, k))
    rows = rng.normal(size=m) - rng.choice([0.0, 1.0])
    problem = Subproblem(
        root @ root.T + 1e-3 * np.eye(k), rng.normal(size=k), rows, rng.normal(size=(m, k)), 10.0 ** rng.integers(0, 4),
        rng.normal(size=(j, k)), rng.uniform(0.0, 1.0, j),
    )  # fmt: skip
    return problem, -rng.uniform(0.1, 2.0, k), rng.uniform(0.1, 2.0, k)


def by_cvxpy(problem: Subproblem, low: np.ndarray, high: np.ndarray) -> float:
    d = cp.Variable(len(low))
    cost = problem.gradient @ d + 0.5 * cp.quad_form(d, cp.psd_wrap(problem.hessian))
    if len(problem.rows):
        cost += problem.price * cp.sum(cp.pos(problem.rows + problem.slopes @ d))
    limits = [d >= low, d <= high, *([problem.hard @ d <= problem.room] if len(problem.room) else [])]
    whole = cp.Problem(cp.Minimize(cost), limits)
    whole.solve(solver="CLARABEL")
    return float(whole.value - problem.price * np.maximum(problem.rows, 0).sum())


@pytest.mark.parametrize("seed", range(30))
def test_is_the_solution_of_the_whole_program(seed: int) -> None:
    problem, low, high = random_problem(seed)
    m = len(problem.rows)
    rng = np.random.default_rng(seed)
    none = np.zeros(m, dtype=bool)
    # A wrong guess costs rounds, not the answer.
    for guess in (Sides(none, none), Sides(rng.random(m) < 0.3, rng.random(m) < 0.1)):
        step = solve(problem, low, high, guess)
        assert isinstance(step, Step)
        assert np.all((step.d >= low) & (step.d <= high))
        assert np.all(problem.hard @ step.d <= problem.room + 1e-7)
        wanted = by_cvxpy(problem, low, high)
        assert problem.value(step.d) == pytest.approx(wanted, abs=1e-6 * max(1.0, abs(wanted)))
        assert np.all((step.multipliers >= 0) & (step.multipliers <= problem.price))
        # The multipliers are a subgradient's: with them the step is stationary wherever no bound holds it.
        free = (step.d > low + 1e-6) & (step.d < high - 1e-6)
        slope = problem.gradient + problem.hessian @ step.d + problem.slopes.T @ step.multipliers
        slope += problem.hard.T @ step.hard
        assert np.abs(slope[free]).max(initial=0.0) < 1e-5 * max(1.0, problem.price)


def test_a_guess_of_the_right_sides_needs_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    from feederlab.models.reduced import subproblem

    problem, low, high = random_problem(3)
    none = np.zeros(len(problem.rows), dtype=bool)
    first = solve(problem, low, high, Sides(none, none))
    assert first is not None
    rounds, once = [], subproblem._relaxed
    monkeypatch.setattr(subproblem, "_relaxed", lambda *a: rounds.append(1) or once(*a))
    again = solve(problem, low, high, first.sides())
    assert again is not None
    assert len(rounds) == 1
    np.testing.assert_allclose(again.d, first.d, atol=1e-7)
