"""Optimal power flow by sequential quadratic programming in the setpoints, with or without a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from feederlab.controllers.base import ControlTask, Measurement, Prepared, Setpoints, State
from feederlab.controllers.candidates import Candidates
from feederlab.controllers.ladder import PRIMARY, climb_down, complete, initial_memory
from feederlab.models.arrays import FloatArray
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.reduced.model import Evaluation, ReducedModel
from feederlab.models.reduced.sqp import Sqp
from feederlab.models.setpoints import SetpointProblem

if TYPE_CHECKING:
    from feederlab.models.branchflow.relaxation import Relaxation

_INSIDE = 1e-9  # excess and overload: below this nothing is left to win from the limits
_HANDOVER_S = 5e-4  # kept back of a deadline, to hand the answer over
_REHEARSALS = 5
_ENDS = {"converged": "local", "stalled": "local"}


class SqpPrepared(Prepared):
    """The model and relaxation of one task.

    deadline_s : time of a whole decision, inf for none.  max_time_s : after which no further iteration begins.
    """

    def __init__(
        self,
        task: ControlTask,
        problem: SetpointProblem,
        relaxation: Relaxation | None,
        tol: float,
        deadline_s: float,
        max_time_s: float,
    ) -> None:
        self.task, self.model, self.relaxation, self.tol = task, ReducedModel(problem), relaxation, tol
        self.deadline_s, self.max_time_s = deadline_s, max_time_s
        self.sqp = Sqp()
        self.pace_s = self._rehearse() if np.isfinite(deadline_s) else 0.0

    def initial_state(self) -> State:
        return initial_memory(self.task)

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        begin = time.perf_counter()
        measurement, state = complete(measurement, state)
        limit = self.max_time_s if np.isinf(self.deadline_s) else self.deadline_s - _HANDOVER_S
        step = _Step(self, measurement.operating_point(self.task), state, begin + limit)
        return climb_down((step.primary,), state)

    def _rehearse(self) -> float:
        """Return how long an iteration takes (s): the shortest of several, for one may have been interrupted."""
        nothing = np.zeros(len(self.task.inverters))
        rest = OperatingPoint(np.zeros(self.task.nodes, dtype=np.complex128), nothing, self.task.grid().slack_vm)
        start, once = self.model.evaluate(rest, np.zeros(self.model.size)), Sqp(max_iterations=1)
        return min(once.solve(self.model, rest, start).time_s for _ in range(_REHEARSALS))


class _Step:
    """One decision."""

    def __init__(self, prepared: SqpPrepared, point: OperatingPoint, state: State, until: float) -> None:
        self.prepared, self.model, self.point, self.until = prepared, prepared.model, point, until
        self.found = Candidates(prepared.model.problem, point, prepared.tol)
        self.q, self.p = state["q_mvar"], np.where(np.isfinite(state["p_mw"]), state["p_mw"], np.inf)

    def primary(self) -> Setpoints | None:
        """Rung 0: the relaxation where it is exact, else the search from the cheapest start."""
        if self.prepared.relaxation is not None:
            self.found.relax(self.prepared.relaxation)
            if self.found.all and self.found.meets(self.found.all[0].cost, self.found.bound):
                return self.found.decide(PRIMARY)
        starts = [self._at(self.q, self.p)]
        if self._breaks(starts[0]):
            starts.append(self._at(0 * self.q, None))
        if self.found.all:
            starts.append(self._at(self.found.all[0].q_mvar, self.found.all[0].p_mw))
        starts.sort(key=lambda start: start.cost)
        ends = [self._search(starts[0])]
        if np.isinf(self.prepared.deadline_s):
            problem = self.model.problem
            if len(starts) > 1 and self._breaks(ends[0][0]):
                ends.append(self._search(starts[-1]))
            if problem.curtail and problem.limits is not None:
                # Exports have many local optima; the one found from no output at all is often better.
                ends.append(self._search(self._at(0 * self.q, 0 * self.q)))
        best, status = min(ends, key=lambda end: end[0].cost)
        self.found.add("sqp", best.q_mvar, best.p_mw, best.cost)
        return self.found.decide(PRIMARY, _ENDS.get(status, status))

    def _breaks(self, state: Evaluation) -> bool:
        return state.price.excess + state.price.overload > _INSIDE

    def _at(self, q_mvar: FloatArray, p_mw: FloatArray | None) -> Evaluation:
        q, p = self.model.problem.feasible(self.point, q_mvar, p_mw)
        return self.model.evaluate(self.point, self.model.position(q, p))

    def _search(self, start: Evaluation) -> tuple[Evaluation, str]:
        found = self.prepared.sqp.solve(self.model, self.point, start, deadline=self.until, pace_s=self.prepared.pace_s)
        self.found.iterations += found.iterations
        self.found.time_s += found.time_s
        return found.best, found.status
