"""Exact AC optimal power flow as a controller: certified by the relaxation where that is tight, else polished."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.ladder import CONVEX, LOOSER, PRIMARY, climb_down, complete, initial_memory
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.operating_point import OperatingPoint

if TYPE_CHECKING:
    from feederlab.models.acopf.feeder import AcOpf, OpfSolution, Start
    from feederlab.models.acopf.ipopt import Ipopt, Iterate
    from feederlab.models.branchflow.relaxation import Relaxation, RelaxationSolution

_WARM = ("warm_x", "warm_rows", "warm_low", "warm_high")
_IN_BAND = 1e-9  # p.u. of squared magnitude, summed over the nodes: below this nothing is left to win from the band


@dataclass(frozen=True)
class Opf(Controller):
    """The cheapest setpoints that the exact AC power flow allows, on radial and meshed feeders.

    On a radial feeder the convex relaxation is solved first.  If an AC power flow at its setpoints costs what the
    relaxation proves to be the least possible, they are the global optimum (status ``"global"``).  Otherwise Ipopt
    starts from them, and whatever costs least in an AC power flow is taken: Ipopt's answer, the relaxation's, or the
    previous setpoints (status ``"global"`` if that meets the bound, else ``"local"``).  Where voltages remain out of
    band Ipopt also starts from zero reactive power.  On a meshed feeder there is no relaxation and no bound.

    Costs are the task's objective plus its voltage penalty; `Decision.objective` is that cost in an AC power flow.

    Parameters
    ----------
    objective
        E.g. ``"losses"`` or ``"losses=1+control_effort=0.01"``; empty: the task's.
    certify
        Solve the relaxation first (radial feeders).
    curtail
        Whether active power may be lowered.
    tol
        Relative gap between an AC cost and the bound at which it counts as the global optimum.
    max_time_s
        Time limit of one Ipopt solve (s).
    """

    sees: ClassVar[Information] = GLOBAL
    objective: str = ""
    certify: bool = True
    curtail: bool = False
    tol: float = 1e-6
    max_time_s: float = 2.0

    def __post_init__(self) -> None:
        if not (self.tol > 0 and self.max_time_s > 0):
            raise InputError(f"tol and max_time_s must be positive, not {self.tol} and {self.max_time_s}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.  Raises `InputError` for the objective ``cost`` and for voltage-controlled generators."""
        from feederlab.models.acopf.feeder import AcOpf
        from feederlab.models.acopf.ipopt import Ipopt

        task = task.pursuing(self.objective)
        feeder = task.grid()
        ipopt = Ipopt(max_iterations=300, max_time_s=self.max_time_s)
        model = AcOpf(feeder, task.band, task.objective, task.voltage_penalty, curtail=self.curtail, ipopt=ipopt)
        relaxation = None
        if self.certify and feeder.is_radial:
            from feederlab.models.branchflow.relaxation import Relaxation

            relaxation = Relaxation(feeder, task.band, task.objective, task.voltage_penalty, curtail=self.curtail)
        return _Prepared(self, task, model, relaxation)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Setpoints and what they cost in an AC power flow (inf if it has no solution)."""

    solver: str
    q_mvar: FloatArray
    p_mw: FloatArray
    cost: float


class _Prepared(Prepared):
    def __init__(self, controller: Opf, task: ControlTask, model: AcOpf, relaxation: Relaxation | None) -> None:
        self.task, self.model, self.relaxation, self.controller = task, model, relaxation, controller

    def initial_state(self) -> State:
        return initial_memory(self.task) | {name: np.zeros(0) for name in _WARM}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        measurement, state = complete(measurement, state)
        step = _Step(self, measurement.operating_point(self.task), state)
        setpoints, state = climb_down((step.primary, step.looser, step.convex), state)
        return setpoints, state | step.warm

    def meets(self, cost: float, bound: float) -> bool:
        """Whether `cost` is the bound, up to the tolerance."""
        floor = 1e-3 * self.model.problem.unit_cost
        return bool(cost <= bound + self.controller.tol * max(abs(bound), floor))


class _Step:
    """One decision: what has been solved for it so far."""

    def __init__(self, prepared: _Prepared, point: OperatingPoint, state: State) -> None:
        self.prepared, self.model, self.point, self.state = prepared, prepared.model, point, state
        self.relaxed: RelaxationSolution | None = None
        self.candidates: list[_Candidate] = []
        self.iterations, self.time_s = 0, 0.0
        self.warm: State = {name: np.zeros(0) for name in _WARM}

    def primary(self) -> Setpoints | None:
        """Rung 0: the relaxation where it is exact, else Ipopt."""
        if self.prepared.relaxation is not None:
            self.relaxed = relaxed = self.prepared.relaxation.solve(self.point)
            self.iterations, self.time_s = relaxed.iterations, relaxed.solver_time_s
            if relaxed.status != "failed":
                self._consider("clarabel", relaxed.q_mvar, relaxed.p_mw)
            if self.candidates and self.prepared.meets(self.candidates[0].cost, relaxed.bound):
                return self._decide(PRIMARY)
        found = self._polish(self._start())
        if not found.solved or found.excess > _IN_BAND:
            again = self._polish(self._idle())
            if not again.solved and not found.solved:
                return None
        self._consider_previous()
        return self._decide(PRIMARY)

    def looser(self) -> Setpoints | None:
        """Rung 1: Ipopt at a looser tolerance."""
        exact = self.model.ipopt
        if not self._polish(self._idle(), replace(exact, tol=1e3 * exact.tol)).solved:
            return None
        self._consider_previous()
        return self._decide(LOOSER)

    def convex(self) -> Setpoints | None:
        """Rung 2: the relaxation's setpoints, whatever they cost, if the grid can be operated at them."""
        self.candidates = [c for c in self.candidates if c.solver == "clarabel"]
        return self._decide(CONVEX)

    def _decide(self, rung: int) -> Setpoints | None:
        best = min(self.candidates, key=lambda c: c.cost, default=None)
        if best is None or not np.isfinite(best.cost):
            return None
        bound = self.relaxed.bound if self.relaxed is not None else -np.inf
        info = Decision(
            solver=best.solver, status="global" if self.prepared.meets(best.cost, bound) else "local", rung=rung,
            iterations=self.iterations, solver_time_s=self.time_s, objective=best.cost,
            bound=bound if np.isfinite(bound) else np.nan,
            cone_gap=self.relaxed.cone_gap if self.relaxed is not None else np.nan,
        )  # fmt: skip
        return Setpoints(q_mvar=best.q_mvar, p_mw=best.p_mw if self.prepared.controller.curtail else None, info=info)

    def _polish(self, start: Start | Iterate, ipopt: Ipopt | None = None) -> OpfSolution:
        found = self.model.solve(self.point, start, ipopt)
        self.iterations += found.iterations
        self.time_s += found.time_s
        if found.solved:
            self._consider("ipopt", found.q_mvar, found.p_mw)
            if found.excess <= _IN_BAND:
                end = found.end
                self.warm = dict(zip(_WARM, (end.x, end.rows, end.low, end.high), strict=True))
        return found

    def _start(self) -> Start | Iterate:
        """The previous step's iterate if it was polished and in band, else the best setpoints at hand.

        Out of band, multipliers jump with every node that enters or leaves the band: a warm start is then a bad one.
        """
        if len(self.state["warm_x"]):
            from feederlab.models.acopf.ipopt import Iterate

            return Iterate(*(self.state[name] for name in _WARM))
        if self.candidates:
            return self.model.start(self.point, self.candidates[0].q_mvar, self.candidates[0].p_mw)
        return self.model.start(self.point, self.state["q_mvar"])

    def _idle(self) -> Start:
        return self.model.start(self.point, np.zeros(len(self.prepared.task.inverters)))

    def _consider_previous(self) -> None:
        """Hold the previous setpoints against the answer: a local optimum must not be worse than standing still.

        They must win by more than the tolerance, or a corner that both have found would count as theirs.
        """
        best = min((c.cost for c in self.candidates), default=np.inf)
        self._consider("previous", self.state["q_mvar"], None)
        if self.prepared.meets(best, self.candidates[-1].cost):
            self.candidates.pop()

    def _consider(self, solver: str, q_mvar: FloatArray, p_mw: FloatArray | None) -> None:
        q, p = self.model.feasible(self.point, q_mvar, p_mw)
        cost, _ = self.model.verify(self.point, q, p)
        self.candidates.append(_Candidate(solver, q, p, cost))
