"""Storage schedule: every unit charges in given hours of the day and discharges in others."""

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
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.storage_rating import StorageTerminals
from feederlab.errors import InputError

Span = tuple[float, float]


@dataclass(frozen=True)
class StorageSchedule(Controller):
    """p = share of the rate, charging in the hours `charge` and discharging in `discharge`, within what the SOC allows.

    charge, discharge : hours of the day written ``10-16`` or ``0-5/11-15``; ``22-6`` passes midnight, and a fraction is
    decimal (``16.5``).  The cheap and the dear hours of a tariff.  Empty: never.
    share : of the rate.

    The hours are those of the data.  It moves active power only.
    """

    sees: ClassVar[Information] = LOCAL
    charge: str = "10-16"
    discharge: str = "17-22"
    share: float = 1.0

    def __post_init__(self) -> None:
        charge, discharge = _spans(self.charge), _spans(self.discharge)
        both = [hour for hour in np.arange(0.0, 24.0, 1 / 60) if _within(charge, hour) and _within(discharge, hour)]
        if both:
            raise InputError(
                f"storage_schedule: {self.charge} and {self.discharge} overlap at {both[0]:.4g} h; "
                "a unit cannot charge and discharge at once"
            )
        if not 0 < self.share <= 1:
            raise InputError(f"storage_schedule: share is a part of the rate, above 0 and at most 1, not {self.share}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(task, _spans(self.charge), _spans(self.discharge), self.share)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, charge: list[Span], discharge: list[Span], share: float) -> None:
        self._terminals, self._charge, self._discharge = StorageTerminals(task), charge, discharge
        self._low, self._high = share * task.storages.p_min_mw, share * task.storages.p_max_mw

    def initial_state(self) -> State:
        return self._terminals.initial_state()

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if not len(self._low):
            return Setpoints(), state
        seen, time = self._terminals.read(state, measurement), measurement.time
        hour = time.hour + time.minute / 60 + time.second / 3600
        asked = np.zeros(len(self._low))
        if _within(self._charge, hour):
            asked = self._high
        elif _within(self._discharge, hour):
            asked = self._low
        p = self._terminals.allowed(asked, seen["soc"])
        return Setpoints(storage_p_mw=p), {**seen, "p_mw": p}


def _spans(text: str) -> list[Span]:
    spans = []
    for part in filter(None, (p.strip() for p in text.split("/"))):
        first, dash, last = part.partition("-")
        try:
            span = float(first), float(last)
        except ValueError:
            span = (np.nan, np.nan)
        if not dash or not all(0 <= hour <= 24 for hour in span) or span[0] == span[1]:
            raise InputError(f"storage_schedule: {part!r} are no hours; write e.g. 10-16, 0-5/11-15, 22-6")
        spans.append(span)
    return spans


def _within(spans: list[Span], hour: float) -> bool:
    return any(a <= hour < b if a < b else (hour >= a or hour < b) for a, b in spans)
