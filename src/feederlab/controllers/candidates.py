"""Setpoints that the solvers of one decision proposed, each priced in an AC power flow; the cheapest one wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feederlab.controllers.base import Decision, Setpoints
from feederlab.models.arrays import FloatArray
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.setpoints import SetpointProblem

if TYPE_CHECKING:
    from feederlab.models.branchflow.relaxation import Relaxation, RelaxationSolution


@dataclass(frozen=True, eq=False)
class Candidate:
    """Setpoints (inverters,) and what they cost in an AC power flow (inf if it has no solution)."""

    solver: str
    q_mvar: FloatArray
    p_mw: FloatArray
    cost: float


class Candidates:
    """The candidates of one decision, with the relaxation's bound where there is one.

    tol : relative gap between a cost and the bound at which it counts as the global optimum.
    """

    def __init__(self, problem: SetpointProblem, point: OperatingPoint, tol: float) -> None:
        self.problem, self.point, self._tol = problem, point, tol
        self.relaxed: RelaxationSolution | None = None
        self.all: list[Candidate] = []
        self.iterations, self.time_s = 0, 0.0

    @property
    def bound(self) -> float:
        """Certified lower bound of every cost; -inf without one."""
        return self.relaxed.bound if self.relaxed is not None else -np.inf

    @property
    def best(self) -> Candidate | None:
        """The cheapest candidate, None if none has a power flow."""
        best = min(self.all, key=lambda c: c.cost, default=None)
        return best if best is not None and np.isfinite(best.cost) else None

    def meets(self, cost: float, bound: float) -> bool:
        """Whether `cost` is the bound, up to the tolerance."""
        floor = 1e-3 * self.problem.unit_cost
        return bool(cost <= bound + self._tol * max(abs(bound), floor))

    def relax(self, relaxation: Relaxation) -> None:
        """Solve the relaxation and price its setpoints."""
        self.relaxed = relaxed = relaxation.solve(self.point)
        self.iterations, self.time_s = relaxed.iterations, relaxed.solver_time_s
        if relaxed.status != "failed":
            self.consider("clarabel", relaxed.q_mvar, relaxed.p_mw)

    def consider(self, solver: str, q_mvar: FloatArray, p_mw: FloatArray | None) -> Candidate:
        """Price setpoints, made feasible; p None: all that is available."""
        q, p = self.problem.feasible(self.point, q_mvar, p_mw)
        return self.add(solver, q, p, self.problem.verify(self.point, q, p)[0])

    def add(self, solver: str, q_mvar: FloatArray, p_mw: FloatArray, cost: float) -> Candidate:
        """Add setpoints that are already priced."""
        self.all.append(Candidate(solver, q_mvar, p_mw, cost))
        return self.all[-1]

    def consider_previous(self, q_mvar: FloatArray) -> None:
        """Hold the previous setpoints against the answer: a local optimum must not be worse than standing still.

        They must win by more than the tolerance, or a corner that both have found would count as theirs.
        """
        best = min((c.cost for c in self.all), default=np.inf)
        if self.meets(best, self.consider("previous", q_mvar, None).cost):
            self.all.pop()

    def decide(self, rung: int, status: str = "local") -> Setpoints | None:
        """Return the cheapest candidate as a decision, ``"global"`` if it meets the bound; None if there is none."""
        best = self.best
        if best is None:
            return None
        info = Decision(
            solver=best.solver, status="global" if self.meets(best.cost, self.bound) else status, rung=rung,
            iterations=self.iterations, solver_time_s=self.time_s, objective=best.cost,
            bound=self.bound if np.isfinite(self.bound) else np.nan,
            cone_gap=self.relaxed.cone_gap if self.relaxed is not None else np.nan,
        )  # fmt: skip
        return Setpoints(q_mvar=best.q_mvar, p_mw=best.p_mw if self.problem.curtail else None, info=info)
