"""Setpoints of the branch-flow relaxation, checked in AC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

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
from feederlab.controllers.lindistflow import LinearPolicy
from feederlab.errors import InputError
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.coneprogram import FAILED, INACCURATE
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import engine
from feederlab.models.scoring import setpoint_cost


@dataclass(frozen=True)
class Socp(Controller):
    """Inverter setpoints from the second-order cone relaxation, with a certified bound at every step.

    Where the cones are tight the setpoints are the global AC optimum.  Where they are not (`gap_tol`), an AC power
    flow prices them against the setpoints of the linear model, and the cheaper ones are used (rung 2).

    gap_tol : relative cone gap up to which the relaxation counts as tight.
    loss_weight : price of losses (per MW) added to an objective that has none, which keeps the cones tighter; -1 takes
    `Relaxation`'s default, 0 none.
    objective : e.g. ``"losses"``; empty: the task's.  curtail : active power may be lowered too.
    """

    gap_tol: float = 1e-3
    loss_weight: float = -1.0
    objective: str = ""
    curtail: bool = False
    sees: ClassVar[Information] = GLOBAL

    def __post_init__(self) -> None:
        if not self.gap_tol > 0:
            raise InputError(f"socp: gap_tol must be positive, not {self.gap_tol}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.  Raises `NotRadialError` if the feeder has loops."""
        return _Prepared(self, task)


class _Prepared(Prepared):
    def __init__(self, settings: Socp, task: ControlTask) -> None:
        self._settings, self._task = settings, (task := task.pursuing(settings.objective))
        problem = task.grid(), task.band, task.objective, task.voltage_penalty
        self._relaxation = Relaxation(
            *problem, curtail=settings.curtail, loss_weight=None if settings.loss_weight < 0 else settings.loss_weight
        )
        self._linear = LinearPolicy(*problem, settings.curtail, "measurement")
        self._flow = engine(task.grid())

    def initial_state(self) -> State:
        return initial_memory(self._task)

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        seen, state = complete(measurement, state)
        point = seen.operating_point(self._task)
        return climb_down([lambda: self._relaxed(state, seen, point), lambda: self._by_linear_model(seen)], state)

    def _by_linear_model(self, seen: Measurement) -> Setpoints | None:
        return self._linear.setpoints(self._task, seen, CONVEX)

    def _relaxed(self, state: State, seen: Measurement, point: OperatingPoint) -> Setpoints | None:
        found = self._relaxation.solve(point)
        if found.status == FAILED:
            return None
        info = Decision(
            solver="clarabel", status="tight", rung=LOOSER if found.status == INACCURATE else PRIMARY,
            iterations=found.iterations, solver_time_s=found.solver_time_s, objective=found.objective,
            bound=found.bound, cone_gap=found.cone_gap,
        )  # fmt: skip
        relaxed = Setpoints(q_mvar=found.q_mvar, p_mw=found.p_mw if self._settings.curtail else None, info=info)
        if found.cone_gap <= self._settings.gap_tol:
            return relaxed
        cost = self._cost(point, relaxed)
        relaxed = replace(relaxed, info=replace(info, status="loose, checked in AC", objective=cost))
        other, _ = climb_down([lambda: self._by_linear_model(seen)], {**state})
        other_cost = self._cost(point, other)
        if cost <= other_cost:
            return relaxed
        info = replace(
            info, solver=other.info.solver, status="loose, linear model better in AC", rung=CONVEX,
            objective=other_cost,
            iterations=info.iterations + other.info.iterations,
            solver_time_s=info.solver_time_s + other.info.solver_time_s,
        )  # fmt: skip
        return replace(other, info=info)

    def _cost(self, point: OperatingPoint, made: Setpoints) -> float:
        """Return objective plus voltage penalty in an AC power flow."""
        s_mva = self._task.inverters.s_mva
        p = np.minimum(point.p_available_mw, s_mva) if made.p_mw is None else made.p_mw
        q = np.zeros_like(p) if made.q_mvar is None else made.q_mvar
        cost, _ = setpoint_cost(
            self._task.objective, self._task.voltage_penalty, self._flow, self._task.band, point, p, q
        )
        return cost
