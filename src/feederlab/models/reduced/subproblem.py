"""The quadratic program of one iteration: a convex model of the objective, soft rows, a box.

    minimise    g'd + 1/2 d'Hd + price * sum_i max(0, h_i + a_i'd)
    subject to  low <= d <= high,   C d <= c.

Of hundreds of rows a few decide.  Every other row is on one side of its limit at the solution: it costs nothing there,
or grows linearly.  So rows are first taken to stay on one side everywhere, which can only make the program cheaper, and
those that the solution carries furthest across their limit get a slack of their own, until none is across: a
cutting-plane method, which ends at the solution of the whole program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import piqp

from feederlab.models.arrays import BoolArray, FloatArray

_ACCURACY = 1e-10
_ROUNDS, _ADDED = 30, 6
_CROSSED = 1e-12


@dataclass(frozen=True, eq=False)
class Subproblem:
    """H : (k, k) positive definite.  g : (k,).  rows : (m,) h.  slopes : (m, k).  hard, room : (j, k) C, (j,) c."""

    hessian: FloatArray
    gradient: FloatArray
    rows: FloatArray
    slopes: FloatArray
    price: float
    hard: FloatArray
    room: FloatArray

    def value(self, d: FloatArray) -> float:
        """Return by how much the model's cost changes with the step d."""
        moved = np.maximum(self.rows + self.slopes @ d, 0.0).sum() - np.maximum(self.rows, 0.0).sum()
        return float(self.gradient @ d + 0.5 * d @ self.hessian @ d + self.price * moved)


@dataclass(frozen=True, eq=False)
class Sides:
    """On which side of its limit each row is taken to stay: above : (m,).  kinked : (m,) rows with a slack."""

    above: BoolArray
    kinked: BoolArray


@dataclass(frozen=True, eq=False)
class Step:
    """d : (k,).  multipliers : (m,) of the soft rows, 0 to price.  hard : (j,) of the hard rows."""

    d: FloatArray
    multipliers: FloatArray
    hard: FloatArray
    price: float

    def sides(self) -> Sides:
        """Return where the rows ended, as a guess for the next program."""
        margin = 1e-9 * self.price
        above = self.multipliers >= self.price - margin
        return Sides(above, (self.multipliers > margin) & ~above)


def solve(problem: Subproblem, low: FloatArray, high: FloatArray, guess: Sides) -> Step | None:
    """Return the solution, None if the solver has none."""
    reach = np.maximum(-low, high)
    lost = problem.rows - np.abs(problem.slopes) @ reach > 0  # whatever the step
    above, kinked = guess.above | lost, guess.kinked & ~lost
    step = None
    for _ in range(_ROUNDS):
        step = _relaxed(problem, low, high, above, kinked)
        if step is None:
            break
        end = problem.rows + problem.slopes @ step.d
        across = np.where(kinked, 0.0, np.where(above, -end, end))
        found = np.flatnonzero(across > _CROSSED)
        if not len(found):
            break
        count = max(_ADDED, len(found) // 8)
        kinked[found[np.argsort(-across[found])[:count]]] = True
    return step


def _relaxed(
    problem: Subproblem, low: FloatArray, high: FloatArray, above: BoolArray, kinked: BoolArray
) -> Step | None:
    k, soft, hard = len(problem.gradient), np.flatnonzero(kinked), len(problem.room)
    n = k + len(soft)
    linear = above & ~kinked
    pull = problem.gradient + problem.price * problem.slopes[linear].sum(axis=0)
    unit = max(float(np.abs(problem.hessian).max(initial=0.0)), float(np.abs(pull).max(initial=0.0))) or 1.0
    p, c = np.zeros((n, n), order="F"), np.full(n, problem.price / unit)
    p[:k, :k], c[:k] = problem.hessian / unit, pull / unit
    g = np.zeros((len(soft) + hard, n), order="F")
    g[: len(soft), :k] = problem.slopes[soft]
    g[np.arange(len(soft)), k + np.arange(len(soft))] = -1.0
    g[len(soft) :, :k] = problem.hard
    bound = np.concatenate([-problem.rows[soft], problem.room])
    solver = piqp.DenseSolver()
    solver.settings.eps_abs = solver.settings.eps_rel = _ACCURACY
    solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = _ACCURACY
    solver.setup(
        p, c, G=g if len(bound) else None, h_u=bound if len(bound) else None,
        x_l=np.concatenate([low, np.zeros(len(soft))]), x_u=np.concatenate([high, np.full(len(soft), np.inf)]),
    )  # fmt: skip
    outcome = solver.solve()
    found = solver.result
    x = np.array(found.x)
    if not np.isfinite(x).all() or outcome.name not in ("PIQP_SOLVED", "PIQP_MAX_ITER_REACHED"):
        return None
    z = np.array(found.z_u) * unit
    multipliers = np.where(linear, problem.price, 0.0)
    multipliers[soft] = np.clip(z[: len(soft)], 0.0, problem.price)
    return Step(np.minimum(np.maximum(x[:k], low), high), multipliers, z[len(soft) :], problem.price)
