"""Constant power factor."""

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
from feederlab.controllers.rating import check_priority, share_rating
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray

_SIGN = {"absorb": -1.0, "inject": 1.0}


@dataclass(frozen=True)
class FixedPowerFactor(Controller):
    """q = -p tan(acos(cos_phi)), or + with ``direction="inject"``.

    cos_phi : power factor, above 0 and at most 1.
    direction : ``"absorb"`` reactive power (under-excited; leading, seen as a generator), which lowers the voltage, or
    ``"inject"`` it (over-excited; lagging).  "Leading" and "lagging" swap when the inverter is seen as a load, so they
    name nothing here.
    priority : ``"watt"`` keeps p and cuts q to sqrt(S^2 - p^2); ``"var"`` curtails p to S cos_phi, which holds the
    power factor.
    """

    sees: ClassVar[Information] = LOCAL
    cos_phi: float = 0.95
    direction: str = "absorb"
    priority: str = "watt"

    def __post_init__(self) -> None:
        if not 0 < self.cos_phi <= 1:
            raise InputError(f"cos_phi must lie above 0 and at most at 1, not {self.cos_phi}")
        if self.direction not in _SIGN:
            raise UnknownNameError("direction", self.direction, list(_SIGN))
        check_priority(self.priority)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        slope = _SIGN[self.direction] * float(np.tan(np.arccos(self.cos_phi)))
        p_max = self.cos_phi if self.priority == "var" else 1.0
        return _Prepared(task.inverters.s_mva, slope, p_max, self.priority)


class _Prepared(Prepared):
    def __init__(self, s_mva: FloatArray, slope: float, p_max: float, priority: str) -> None:
        self._s, self._slope, self._p_max, self._priority = s_mva, slope, s_mva * p_max, priority

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        return self._decide(measurement.p_available_mw), state

    def step_batch(self, measurements: Measurements) -> Setpoints:
        return self._decide(measurements.p_available_mw)

    def _decide(self, available: FloatArray) -> Setpoints:
        p = np.minimum(available, self._p_max)
        cap, q = share_rating(self._slope * p, available, self._s, self._priority)
        return Setpoints(q_mvar=q, p_mw=cap)
