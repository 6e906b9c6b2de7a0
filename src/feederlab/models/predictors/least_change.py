"""The least change of proposed actions that keeps predicted voltages in band.

    minimise  1/2 sum_j w_j (a_j - a~_j)^2 + price * sum_i max(0, v_i(a) - high_i) + max(0, low_i - v_i(a))
    subject to  the devices' limits,

(35)-(38) of Liu, Giraldo, Palensky and Vergara, "Distributed RL using local smart meter data for voltage regulation",
with the band made soft: wherever it can be kept, a price above every multiplier of the band gives its solution.  (All
weights w_j are one there.)

By sequential quadratic programming with the exact Hessian of the Lagrangian in a trust region; with a linear predictor
the first program is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import FloatArray
from feederlab.models.predictors.actions import Limits
from feederlab.models.predictors.base import Predicted, Predictor
from feederlab.models.reduced.subproblem import Sides, Step, Subproblem, solve

_PRICE = 1e4  # of one unit of action, of the largest weight, over the largest slope
_ROUNDS = 30
_SMALL, _DONE = 1e-4, 1e-9  # steps, of the unit of action
_SMALLEST = 1e-9  # trust region, of the unit of action
_CURVATURE = 1e-3  # least eigenvalue of the Hessian, whose own part is one


@dataclass(frozen=True, eq=False)
class LeastChange:
    """The answer.

    actions : (k,) MW, MVAr.  change : 1/2 sum_j w_j (a_j - a~_j)^2 (MW^2).
    short : by how much the predicted voltages of the worst node miss the band (p.u. of squared magnitude; 0: in band).
    rounds : quadratic programs solved.  converged : whether the last step was too small to matter.
    """

    actions: FloatArray
    change: float
    short: float
    rounds: int
    converged: bool


def least_change(
    predictor: Predictor,
    proposed: FloatArray,
    limits: Limits,
    band2: FloatArray,
    present: FloatArray,
    weight: FloatArray | None = None,
) -> LeastChange | None:
    """Return the least change of the actions `proposed` (k,), which are within their limits.

    It starts there, or where voltages can be predicted on the way back to `present` (k,); None if nowhere.
    band2 : (2, n) squared band of the watched nodes (p.u.).  weight : (k,) w, positive; None: one each.
    """
    weight = np.ones(len(proposed)) if weight is None else weight
    for share in (1.0, 0.5, 0.25, 0.0):
        a = limits.project(present + share * (proposed - present)) if share < 1 else proposed
        start = predictor(a)
        if start is not None:
            break
    else:
        return None
    search = _Search(predictor, proposed, limits, band2, weight, a, start)
    rounds, converged = 0, share == 1.0 and search.short == 0.0
    while not converged and rounds < _ROUNDS:
        rounds += 1
        converged = search.improve()
    change = 0.5 * float((weight * np.square(search.a - proposed)).sum())
    return LeastChange(search.a, change, search.short, rounds, converged)


class _Search:
    """Works in units of the largest action, so that the Hessian of the change is the weights."""

    def __init__(
        self,
        predictor: Predictor,
        proposed: FloatArray,
        limits: Limits,
        band2: FloatArray,
        weight: FloatArray,
        a: FloatArray,
        at: Predicted,
    ) -> None:
        self.predictor, self.proposed, self.limits = predictor, proposed, limits
        self.low2, self.high2 = band2
        self.weight = weight
        self.unit = max(float(np.abs(np.concatenate([limits.low, limits.high, proposed])).max(initial=0.0)), 1e-9)
        steepest = float(np.abs(at.slopes).max(initial=0.0)) * self.unit
        self.price = _PRICE * float(weight.max(initial=1.0)) / max(steepest, 1e-9)
        self.radius, self.a, self.at = 4.0, a, at
        n = len(at.v)
        self.multipliers, self.hard = np.zeros(2 * n), np.zeros(len(limits.pairs))
        self.sides = Sides(np.zeros(2 * n, dtype=bool), np.zeros(2 * n, dtype=bool))

    @property
    def short(self) -> float:
        return max(float(self._rows(self.at).max(initial=0.0)), 0.0)

    def improve(self) -> bool:
        """Take one step; return whether the search has ended."""
        a, unit, limits = self.a, self.unit, self.limits
        problem = self._program()
        low = np.maximum((limits.low - a) / unit, -self.radius)
        high = np.minimum((limits.high - a) / unit, self.radius)
        step = solve(problem, np.minimum(low, 0.0), np.maximum(high, 0.0), self.sides)
        if step is None:
            return self._refuse(self.radius)
        size = float(np.abs(step.d).max(initial=0.0))
        trial = limits.project(a + unit * step.d)
        found = self.predictor(trial)
        if found is None:
            return self._refuse(size)
        linear = found.curvature is None and not len(limits.pairs)
        # So close to the end the merit is rounding; the steps shrink by themselves.
        if size > _SMALL and not linear:
            expected, gain = -problem.value(step.d), self._merit(a, self.at) - self._merit(trial, found)
            if gain < 0.1 * expected:
                return self._refuse(size)
            if gain > 0.75 * expected and size > 0.99 * self.radius:
                self.radius *= 2
        self._accept(trial, found, step)
        return linear or size < _DONE

    def _refuse(self, size: float) -> bool:
        self.radius = min(size, self.radius) / 4
        return self.radius < _SMALLEST

    def _accept(self, a: FloatArray, at: Predicted, step: Step) -> None:
        self.a, self.at = a, at
        self.multipliers, self.hard, self.sides = step.multipliers, step.hard, step.sides()

    def _rows(self, at: Predicted) -> FloatArray:
        return np.concatenate([at.v - self.high2, self.low2 - at.v])

    def _merit(self, a: FloatArray, at: Predicted) -> float:
        change = 0.5 * float((self.weight * np.square((a - self.proposed) / self.unit)).sum())
        return change + self.price * float(np.maximum(self._rows(at), 0.0).sum())

    def _program(self) -> Subproblem:
        at, unit, a = self.at, self.unit, self.a
        slopes, n = at.slopes * unit, len(at.v)
        h = np.diag(self.weight)
        if at.curvature is not None and self.multipliers.any():
            h = h + unit**2 * at.curvature(self.multipliers[:n] - self.multipliers[n:])
        p, q = self.limits.pairs.T
        pair, count = a[self.limits.pairs] / unit, len(p)
        hard = np.zeros((count, len(a)))
        hard[np.arange(count), p], hard[np.arange(count), q] = 2 * pair[:, 0], 2 * pair[:, 1]
        h[p, p] += 2 * self.hard
        h[q, q] += 2 * self.hard
        room = (self.limits.s_mva / unit) ** 2 - np.square(pair).sum(axis=1)
        return Subproblem(
            _convex(h), self.weight * (a - self.proposed) / unit, self._rows(at), np.concatenate([slopes, -slopes]),
            self.price, hard, room,
        )  # fmt: skip


def _convex(h: FloatArray) -> FloatArray:
    h = (h + h.T) / 2
    values, vectors = np.linalg.eigh(h)
    if values[0] >= _CURVATURE:
        return h
    return np.asarray((vectors * np.maximum(values, _CURVATURE)) @ vectors.T)
