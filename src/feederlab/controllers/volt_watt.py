"""Volt-watt: each inverter's active power is capped by its own voltage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feederlab.controllers.base import (
    LOCAL,
    Controller,
    ControlTask,
    Information,
    Measurement,
    Measurements,
    Prepared,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.curves import VOLT_WATT, Curve, find_curve
from feederlab.controllers.rating import Terminals
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class VoltWatt(Controller):
    """p = min(available, f(v) P_rated) at q = 0.

    curve : a name of `curves.VOLT_WATT`, or points V:P written ``1.06:1/1.1:0`` (p.u. of P_rated).
    p_rated : rated active power as a share of S; 1/1.1 where the inverters are 10 % larger than their panels.
    start, damping, tol, max_rounds : how the loop settles inside a step (`Settle`); ``"zero"`` starts without
    curtailment, so that an inverter below the curve's first voltage is never curtailed.
    """

    sees: ClassVar[Information] = LOCAL
    curve: str = "ieee1547"
    p_rated: float = 1.0
    start: str = "zero"
    damping: float = 0.1
    tol: float = 1e-4
    max_rounds: int = 100

    def __post_init__(self) -> None:
        find_curve(self.curve, VOLT_WATT)
        if not 0 < self.p_rated <= 1:
            raise InputError(f"p_rated is a share of the rating S, above 0 and at most 1, not {self.p_rated}")
        _ = self.settle

    @property
    def settle(self) -> Settle:
        return Settle(self.start, self.damping, self.tol, self.max_rounds)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(task, find_curve(self.curve, VOLT_WATT), self.p_rated, self.start == "zero")


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, curve: Curve, p_rated: float, from_zero: bool) -> None:
        self._terminals, self._curve, self._from_zero = Terminals(task), curve, from_zero
        self._p_rated = task.inverters.s_mva * p_rated
        self._no_q = np.zeros(len(task.inverters))

    def initial_state(self) -> State:
        return self._terminals.initial_state()

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        vm = self._terminals.read(state, measurement)
        return self._decide(vm, measurement.p_available_mw), {"vm": vm}

    def step_batch(self, measurements: Measurements) -> Setpoints | None:
        if not self._from_zero:
            return None
        return self._decide(self._terminals.read_batch(measurements), measurements.p_available_mw)

    def _decide(self, vm: FloatArray, available: FloatArray) -> Setpoints:
        cap = np.maximum(self._curve(vm), 0.0) * self._p_rated
        return Setpoints(q_mvar=self._no_q, p_mw=np.minimum(available, cap))
