"""Watt-var: each inverter's reactive power follows its own active power."""

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
    State,
)
from feederlab.controllers.curves import WATT_VAR, Curve, find_curve
from feederlab.controllers.rating import check_priority, share_rating
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class WattVar(Controller):
    """q = f(p / P_rated) S; no voltage is read, so there is nothing to settle.

    curve : a name of `curves.WATT_VAR`, or points P:Q written ``0.5:0/1:-0.44`` (p.u. of P_rated, p.u. of S).
    p_rated : rated active power as a share of S; 1/1.1 where the inverters are 10 % larger than their panels.
    priority : ``"watt"`` keeps p and cuts q to sqrt(S^2 - p^2); ``"var"`` curtails p to sqrt(S^2 - q^2).
    """

    sees: ClassVar[Information] = LOCAL
    curve: str = "ieee1547_b"
    p_rated: float = 1.0
    priority: str = "watt"

    def __post_init__(self) -> None:
        find_curve(self.curve, WATT_VAR)
        check_priority(self.priority)
        if not 0 < self.p_rated <= 1:
            raise InputError(f"p_rated is a share of the rating S, above 0 and at most 1, not {self.p_rated}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(task, find_curve(self.curve, WATT_VAR), self.p_rated, self.priority)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, curve: Curve, p_rated: float, priority: str) -> None:
        self._s, self._curve, self._priority = task.inverters.s_mva, curve, priority
        self._p_rated = np.maximum(self._s * p_rated, np.finfo(float).tiny)

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        return self._decide(measurement.p_available_mw), state

    def step_batch(self, measurements: Measurements) -> Setpoints:
        return self._decide(measurements.p_available_mw)

    def _decide(self, available: FloatArray) -> Setpoints:
        p = np.minimum(available, self._s)
        cap, q = share_rating(self._curve(p / self._p_rated) * self._s, available, self._s, self._priority)
        return Setpoints(q_mvar=q, p_mw=cap)
