"""Convex setpoints on the linear branch-flow model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

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
from feederlab.controllers.ladder import LOOSER, PRIMARY, climb_down, complete, initial_memory
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.linear_setpoints import LinearSetpoints
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.coneprogram import INACCURATE
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective


@dataclass(frozen=True)
class LinDistFlow(Controller):
    """Inverter setpoints from a quadratic program on the linear model with shunts and taps.

    about : ``"measurement"`` expands the model about the measured state, ``v = v_measured + X (q - q_now)``, so that
    its offset cancels; ``"flat"`` is the textbook form, which needs no voltage reading.
    objective : e.g. ``"losses"`` or ``"losses=1+control_effort=0.01"``; empty: the task's.
    curtail : active power may be lowered too.
    margin : how far inside the band to aim (p.u.); losses often ask for its very edge, and the model errs by some 1e-4
    of what it moves.
    """

    about: Literal["measurement", "flat"] = "measurement"
    objective: str = ""
    curtail: bool = False
    margin: float = 5e-4
    sees: ClassVar[Information] = GLOBAL

    def __post_init__(self) -> None:
        if self.about not in ("measurement", "flat"):
            raise InputError(f"lindistflow: about must be 'measurement' or 'flat', not {self.about!r}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.  Raises `NotRadialError` if the feeder has loops."""
        return _Prepared(self, task)


class LinearPolicy:
    """The quadratic program for any setting of taps and capacitor steps; also the convex rung of other ladders."""

    def __init__(
        self, feeder: Feeder, band: FloatArray, objective: Objective, voltage_penalty: float, curtail: bool, about: str
    ) -> None:
        self._about = about

        def build(taps: tuple[int, ...], steps: tuple[int, ...]) -> LinearSetpoints:
            flow = BranchFlow.of(feeder, np.array(taps, dtype=np.int64), np.array(steps, dtype=np.int64))
            return LinearSetpoints(flow, band, objective, voltage_penalty, curtail=curtail)

        self._program = lru_cache(maxsize=64)(build)
        self._program(tuple(feeder.tap_changers.tap.tolist()), tuple(feeder.capacitors.step.tolist()))

    def setpoints(self, task: ControlTask, measurement: Measurement, rung: int = PRIMARY) -> Setpoints | None:
        """Return the setpoints for a complete measurement, None if no solver had an answer."""
        program = self._program(tuple(measurement.tap.tolist()), tuple(measurement.step.tolist()))
        if not program.decides:
            return Setpoints(q_mvar=np.zeros(len(task.inverters)), info=Decision(status="nothing to decide", rung=rung))
        point = measurement.operating_point(task)
        if self._about == "measurement":
            about = program.at_measurement(point, measurement.vm, measurement.p_mw, measurement.q_mvar)
        else:
            about = program.at_rest(point)
        q, p, solved = program.solve(point, about)
        if not solved.usable:
            return None
        info = Decision(
            solver=solved.solver, status=solved.detail,
            rung=max(rung, LOOSER) if solved.status == INACCURATE else rung,
            iterations=solved.iterations, solver_time_s=solved.solver_time_s,
        )  # fmt: skip
        return Setpoints(q_mvar=q, p_mw=p if program.curtail else None, info=info)


class _Prepared(Prepared):
    def __init__(self, settings: LinDistFlow, task: ControlTask) -> None:
        self._task = task = task.pursuing(settings.objective).inside(settings.margin)
        self._policy = LinearPolicy(
            task.grid(), task.band, task.objective, task.voltage_penalty, settings.curtail, settings.about
        )

    def initial_state(self) -> State:
        return initial_memory(self._task)

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        seen, state = complete(measurement, state)
        return climb_down([lambda: self._policy.setpoints(self._task, seen)], state)
