"""Sequential quadratic programming in the setpoints: every iterate is a solved power flow.

About a state the objective is replaced by its second-order model and the soft rows by their tangents (`subproblem`),
within a trust region.  Its solution is tried in the power flow and kept if the cost falls (an l1 exact penalty method:
Fletcher, Practical Methods of Optimization, 2nd ed., section 14.4).  The Hessian is the exact one of the Lagrangian,
with the last program's multipliers, its negative curvature cut off.  A step that fails because the rows curve is tried
again with the rows as they were found there (second-order correction).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.arrays import FloatArray
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.reduced.model import Evaluation, Expansion, ReducedModel
from feederlab.models.reduced.subproblem import Step, Subproblem, solve
from feederlab.models.threads import one_thread

_GOOD, _POOR = 0.75, 0.25  # gain over what the model expected: trust it further, or less far
_CORRECTIONS = 5
_SMALLEST = 1e-8  # trust region, of the ratings
_LEAST_CURVATURE = 1e-6  # of the Hessian's largest entry
_NEAR = 1e-3  # of the cost: what a step may gain for the model to count as tested where it matters


@dataclass(frozen=True, eq=False)
class SqpResult:
    """The cheapest state met, and how the search ended.

    status : ``"converged"``; ``"stalled"``: no step pays any more though the model expects one to; ``"out of
    iterations"``; ``"out of time"``; ``"no power flow"``: the start has none.
    iterations : states that were linearised.  flows : power flows solved, the start's not counted.
    """

    best: Evaluation
    status: str
    iterations: int
    flows: int
    time_s: float


@dataclass(frozen=True)
class Sqp:
    """The method with its settings.

    tol : of the cost (or of a thousandth of its unit, if that is larger).  The search ends when the model expects less
    than this to be left, the last step still being taken; or when it was right to within this about a small step inside
    the trust region, which leaves less.  max_iterations : states to linearise.
    """

    tol: float = 1e-7
    max_iterations: int = 50

    def solve(
        self,
        model: ReducedModel,
        point: OperatingPoint,
        start: Evaluation,
        *,
        deadline: float = np.inf,
        pace_s: float = 0.0,
    ) -> SqpResult:
        """Return the cheapest state found from `start`, which is never worse than `start`.

        deadline : instant of `time.perf_counter` by which to return; nothing is begun that would take, at the longest
        time that it took so far, or `pace_s` for an iteration, past it.
        """
        begin = time.perf_counter()
        with one_thread():
            run = _Run(self, model, point, start, _Clock(deadline, pace_s))
            status = run.run()
        return SqpResult(run.at, status, run.iterations, run.flows, time.perf_counter() - begin)


class _Clock:
    """Tells whether there is time for one more of what took `longest` so far."""

    def __init__(self, deadline: float, longest: float) -> None:
        self._deadline, self._longest = deadline, longest

    def allows(self, since: float | None = None) -> bool:
        now = time.perf_counter()
        if since is not None:
            self._longest = max(self._longest, now - since)
        return now + self._longest < self._deadline


class _Run:
    def __init__(
        self, settings: Sqp, model: ReducedModel, point: OperatingPoint, start: Evaluation, clock: _Clock
    ) -> None:
        self.settings, self.model, self.point, self.at, self.clock = settings, model, point, start, clock
        self.low, self.high = model.bounds(point)
        self.radius, self.convex = 1.0, True
        self.iterations = self.flows = 0
        none = np.zeros(len(start.rows))
        self.step = Step(np.zeros(model.size), none, np.zeros(len(model.rating)), model.problem.voltage_penalty)
        self.sides = self.step.sides()

    def run(self) -> str:
        if not np.isfinite(self.at.cost):
            return "no power flow"
        since = None
        while self.iterations < self.settings.max_iterations:
            if not self.clock.allows(since):
                return "out of time"
            since = time.perf_counter()
            self.iterations += 1
            z = self.model.position(self.at.q_mvar, self.at.p_mw)
            problem = self._subproblem(z, self.model.expand(self.point, self.at))
            while (status := self._improve(z, problem)) == "refused":
                if not self.clock.allows():
                    return "out of time"
            if status != "improved":
                return status
        return "out of iterations"

    def _improve(self, z: FloatArray, problem: Subproblem) -> str:
        """Try one step: ``"improved"``, ``"refused"`` with a smaller trust region, or how the search ends."""
        low, high = np.maximum(self.low - z, -self.radius), np.minimum(self.high - z, self.radius)
        step = solve(problem, low, high, self.sides)
        if step is None:
            return self._refused()
        expected = -problem.value(step.d)
        little = self.settings.tol * max(abs(self.at.cost), 1e-3 * self.model.problem.unit_cost)
        if expected < -little:  # the program was not solved well enough
            return self._refused()
        last = expected <= little
        trial = self._try(z + step.d)
        if not last:
            trial, step = self._corrected(z, problem, (low, high), trial, step, self.at.cost - _POOR * expected)
        gain, size = self.at.cost - trial.cost, float(np.abs(step.d).max(initial=0.0))
        self.sides = step.sides()
        if gain > 0:
            self.at, self.step = trial, step
        exact = self.convex and size < 0.99 * self.radius and expected <= _NEAR * max(abs(self.at.cost), little)
        if last or (exact and abs(gain - expected) <= little):
            return "converged"
        if gain > _GOOD * expected and size > 0.99 * self.radius:
            self.radius *= 2
        elif gain < _POOR * expected:
            self.radius = min(size, self.radius) / 2
        return "improved" if gain > 0 else self._refused()

    def _refused(self) -> str:
        self.radius /= 2
        return "stalled" if self.radius < _SMALLEST else "refused"

    def _corrected(
        self,
        z: FloatArray,
        problem: Subproblem,
        box: tuple[FloatArray, FloatArray],
        trial: Evaluation,
        step: Step,
        enough: float,
    ) -> tuple[Evaluation, Step]:
        """Return the cheapest of a step and its second-order corrections; they end where one costs `enough` or less.

        Each takes the rows, and the ratings, as they were found at the step before.
        """
        for _ in range(_CORRECTIONS):
            if not np.isfinite(trial.cost) or trial.cost <= enough:
                break
            moved = self.model.position(trial.q_mvar, trial.p_mw) - z
            rows, room = trial.rows - problem.slopes @ moved, problem.room - self.model.bulge(step.d)
            again = solve(replace(problem, rows=rows, room=room), *box, step.sides())
            if again is None:
                break
            other = self._try(z + again.d)
            if not other.cost < trial.cost:
                break
            trial, step = other, again
        return trial, step

    def _try(self, z: FloatArray) -> Evaluation:
        self.flows += 1
        return self.model.evaluate(self.point, self.model.project(self.point, z))

    def _subproblem(self, z: FloatArray, by: Expansion) -> Subproblem:
        h = self.model.hessian(self.point, self.at, by, self.step.multipliers)
        disc = self.model.disc(z)
        h += disc.curvature(self.step.hard)
        h, self.convex = _convex(h)
        return Subproblem(
            h, by.gradient, self.at.rows, by.slopes, self.model.problem.voltage_penalty, disc.slopes, disc.room
        )


def _convex(h: FloatArray) -> tuple[FloatArray, bool]:
    """Return a symmetric matrix with its curvature below the least one raised to that, and whether none was."""
    least = _LEAST_CURVATURE * float(np.abs(h).max(initial=0.0)) or 1.0
    try:
        np.linalg.cholesky(h - least * np.eye(len(h)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(h)
        return (vectors * np.maximum(values, least)) @ vectors.T, False
    return h, True
