"""Volt-var droop: each inverter's reactive power follows its own voltage."""

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
from feederlab.controllers.curves import VOLT_VAR, Curve, find_curve
from feederlab.controllers.rating import Terminals, check_priority, headroom, share_rating
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class VoltVar(Controller):
    """q = f(v) S, or q = f(v) sqrt(S^2 - p^2) for a curve of the headroom (`mapdn`).

    curve : a name of `curves.VOLT_VAR`, or points V:Q written ``0.92:0.44/0.98:0/1.02:0/1.08:-0.44`` (p.u. of S).
    priority : ``"watt"`` keeps p and cuts q to sqrt(S^2 - p^2); ``"var"`` curtails p to sqrt(S^2 - q^2).
    start, damping, tol, max_rounds : how the loop settles inside a step (`Settle`).
    response_s : 90 % time of the open-loop response (s), IEEE 1547's T_olr (10 s in category A, 5 s in B): the loop
    then moves on from the previous setpoints for no longer than the step lasts.  0: it settles in every step.

    The damping of 0.1 and the start from zero are P1's (Wang et al., NeurIPS 2021).  A damped loop settles if
    ``damping (1 + rho) < 2`` with rho the spectral radius of diag(K S) X, K the curve's slope and X = dv/dq: up to
    rho = 19 with 0.1.
    """

    sees: ClassVar[Information] = LOCAL
    curve: str = "mapdn"
    priority: str = "watt"
    start: str = "zero"
    damping: float = 0.1
    tol: float = 1e-4
    max_rounds: int = 100
    response_s: float = 0.0

    def __post_init__(self) -> None:
        find_curve(self.curve, VOLT_VAR)
        check_priority(self.priority)
        _ = self.settle

    @property
    def settle(self) -> Settle:
        start = "previous" if self.response_s > 0 else self.start
        return Settle(start, self.damping, self.tol, self.max_rounds, self.response_s)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(task, find_curve(self.curve, VOLT_VAR), self.priority, self.settle.start == "zero")


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, curve: Curve, priority: str, from_zero: bool) -> None:
        self._terminals, self._curve, self._priority, self._from_zero = Terminals(task), curve, priority, from_zero
        self._s = task.inverters.s_mva

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
        base = self._s if self._curve.base == "rating" else headroom(np.minimum(available, self._s), self._s)
        p, q = share_rating(self._curve(vm) * base, available, self._s, self._priority)
        return Setpoints(q_mvar=q, p_mw=p)
