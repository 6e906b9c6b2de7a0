"""Rule-based capacitor switching: by voltage, by reactive power, or by the clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from feederlab.controllers.base import (
    LOCAL,
    Controller,
    ControlTask,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.switching import need
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import BoolArray, FloatArray

Control = Literal["voltage", "var", "time"]


@dataclass(frozen=True)
class CapRule(Controller):
    """Switches one step of a bank at a time, by what the bank's own meter reads.

    control
        ``"voltage"``: close below `low`, open above `high` (p.u. at the bank's bus).
        ``"var"``: close where more than `share` of a step's reactive power arrives from the external grid's side, open
        where more than that goes back.
        ``"time"``: all steps closed during `hours`, written ``8-20``; ``20-6`` goes over midnight.
    delay
        How long the reading must call for a switching before it is done (s).

    By voltage and reactive power, a reactor (a shunt that consumes it) is switched the other way round.
    """

    control: str = "voltage"
    low: float = 0.98
    high: float = 1.03
    share: float = 0.67
    hours: str = "8-20"
    delay: float = 60.0
    sees: ClassVar[Information] = LOCAL

    def __post_init__(self) -> None:
        if self.control not in get_args(Control):
            raise UnknownNameError("control", self.control, get_args(Control))
        if not 0.5 <= self.low < self.high <= 1.5:
            raise InputError(
                f"cap_rule: low and high must be 0.5 <= low < high <= 1.5 p.u., not {self.low}, {self.high}"
            )
        if not self.share > 0.5:
            raise InputError(
                f"cap_rule: share must be more than 0.5, not {self.share}: a bank that closes with half a step missing "
                "has half a step too much, and would open again"
            )
        if not self.delay >= 0:
            raise InputError(f"cap_rule: delay must not be negative, not {self.delay}")
        _ = self.opening_hours

    @property
    def opening_hours(self) -> tuple[float, float]:
        """Begin and end of `hours`."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", self.hours.strip())
        begin, end = (float(found[1]), float(found[2])) if found else (np.nan, np.nan)
        if not (0 <= begin <= 24 and 0 <= end <= 24 and begin != end):
            raise InputError(f"cap_rule: hours must be written like 8-20 or 20-6, not {self.hours!r}")
        return begin, end

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Raises `InputError` if there are no switched capacitor banks."""
        need("cap_rule", task, "capacitors")
        return _Prepared(self, task)


class _Prepared(Prepared):
    def __init__(self, settings: CapRule, task: ControlTask) -> None:
        self._settings, self._step_s, self._banks = settings, task.step_s, task.capacitors
        self._node, self._on = np.maximum(task.capacitors.node, 0), task.capacitors.node >= 0
        self._raises = task.capacitors.q_step_mvar < 0

    def initial_state(self) -> State:
        return {"low_s": np.zeros(len(self._banks)), "high_s": np.zeros(len(self._banks))}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if self._settings.control == "time":
            return Setpoints(step=np.where(self._open(measurement), self._banks.max_step, 0)), state
        low, high = self._calls(measurement)
        low_s = np.where(low, state["low_s"] + self._step_s, 0.0)
        high_s = np.where(high, state["high_s"] + self._step_s, 0.0)
        wait = max(self._settings.delay, 1e-9)
        move = (low_s >= wait).astype(np.int64) - (high_s >= wait)
        step = np.clip(measurement.step + np.where(self._raises, move, -move), 0, self._banks.max_step)
        moved = step != measurement.step
        return Setpoints(step=step), {"low_s": np.where(moved, 0.0, low_s), "high_s": np.where(moved, 0.0, high_s)}

    def _calls(self, m: Measurement) -> tuple[BoolArray, BoolArray]:
        """Return where reactive power is called for, and where there is too much; neither where a reading is lost."""
        if self._settings.control == "voltage":
            vm: FloatArray = np.where(self._on, m.vm[self._node], np.nan)
            return vm < self._settings.low, vm > self._settings.high
        threshold = self._settings.share * np.abs(self._banks.q_step_mvar)
        return m.capacitor_q_mvar > threshold, m.capacitor_q_mvar < -threshold

    def _open(self, m: Measurement) -> bool:
        begin, end = self._settings.opening_hours
        hour = m.time.hour + m.time.minute / 60 + m.time.second / 3600
        return begin <= hour < end if begin < end else not end <= hour < begin
