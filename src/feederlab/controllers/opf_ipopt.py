"""Optimal power flow by Ipopt: certified by the relaxation where that is tight, else polished."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from feederlab.controllers.base import ControlTask, Measurement, Prepared, Setpoints, State
from feederlab.controllers.candidates import Candidates
from feederlab.controllers.ladder import CONVEX, LOOSER, PRIMARY, climb_down, complete, initial_memory
from feederlab.models.acopf.feeder import AcOpf, OpfSolution, Start
from feederlab.models.acopf.ipopt import Ipopt, Iterate
from feederlab.models.operating_point import OperatingPoint

if TYPE_CHECKING:
    from feederlab.models.branchflow.relaxation import Relaxation

_WARM = ("warm_x", "warm_rows", "warm_low", "warm_high")
_INSIDE = 1e-9  # excess and overload: below this nothing is left to win from the limits


class IpoptPrepared(Prepared):
    """The compiled program and relaxation of one task."""

    def __init__(self, task: ControlTask, model: AcOpf, relaxation: Relaxation | None, tol: float) -> None:
        self.task, self.model, self.relaxation, self.tol = task, model, relaxation, tol

    def initial_state(self) -> State:
        return initial_memory(self.task) | {name: np.zeros(0) for name in _WARM}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        measurement, state = complete(measurement, state)
        step = _Step(self, measurement.operating_point(self.task), state)
        setpoints, state = climb_down((step.primary, step.looser, step.convex), state)
        return setpoints, state | step.warm


class _Step:
    """One decision: what has been solved for it so far."""

    def __init__(self, prepared: IpoptPrepared, point: OperatingPoint, state: State) -> None:
        self.prepared, self.model, self.point, self.state = prepared, prepared.model, point, state
        self.found = Candidates(prepared.model.problem, point, prepared.tol)
        self.warm: State = {name: np.zeros(0) for name in _WARM}

    def primary(self) -> Setpoints | None:
        """Rung 0: the relaxation where it is exact, else Ipopt."""
        if self.prepared.relaxation is not None:
            self.found.relax(self.prepared.relaxation)
            if self.found.all and self.found.meets(self.found.all[0].cost, self.found.bound):
                return self.found.decide(PRIMARY)
        found = self._polish(self._start())
        if not found.solved or found.excess + found.overload > _INSIDE:
            again = self._polish(self._idle())
            if not again.solved and not found.solved:
                return None
        self.found.consider_previous(self.state["q_mvar"])
        return self.found.decide(PRIMARY)

    def looser(self) -> Setpoints | None:
        """Rung 1: Ipopt at a looser tolerance."""
        exact = self.model.ipopt
        if not self._polish(self._idle(), replace(exact, tol=1e3 * exact.tol)).solved:
            return None
        self.found.consider_previous(self.state["q_mvar"])
        return self.found.decide(LOOSER)

    def convex(self) -> Setpoints | None:
        """Rung 2: the relaxation's setpoints, whatever they cost, if the grid can be operated at them."""
        self.found.all = [c for c in self.found.all if c.solver == "clarabel"]
        return self.found.decide(CONVEX)

    def _polish(self, start: Start | Iterate, ipopt: Ipopt | None = None) -> OpfSolution:
        found = self.model.solve(self.point, start, ipopt)
        self.found.iterations += found.iterations
        self.found.time_s += found.time_s
        if found.solved:
            self.found.consider("ipopt", found.q_mvar, found.p_mw)
            if found.excess + found.overload <= _INSIDE:
                end = found.end
                self.warm = dict(zip(_WARM, (end.x, end.rows, end.low, end.high), strict=True))
        return found

    def _start(self) -> Start | Iterate:
        """The previous step's iterate if it was polished and within the limits, else the best setpoints at hand.

        Outside, multipliers jump with every node that enters or leaves the band: a warm start is then a bad one.
        """
        if len(self.state["warm_x"]):
            return Iterate(*(self.state[name] for name in _WARM))
        if self.found.all:
            return self.model.start(self.point, self.found.all[0].q_mvar, self.found.all[0].p_mw)
        return self.model.start(self.point, self.state["q_mvar"])

    def _idle(self) -> Start:
        return self.model.start(self.point, np.zeros(len(self.prepared.task.inverters)))
