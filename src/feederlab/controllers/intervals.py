"""Averages of measurements over the slots of an interval, and forecasts in intervals instead of slots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import Measurement, State
from feederlab.models.arrays import FloatArray
from feederlab.models.forecast import averaged
from feederlab.models.scenario import Series
from feederlab.models.task import Forecast

_MEAN = (
    "vm", "load_p_mw", "load_q_mvar", "p_available_mw", "p_mw", "q_mvar", "storage_p_mw", "storage_q_mvar", "tap_p_mw",
    "tap_q_mvar", "capacitor_p_mw", "capacitor_q_mvar",
)  # fmt: skip


def nothing_yet() -> State:
    """Return the sums before the first slot."""
    return {"sum": np.zeros(0), "known": np.zeros(0)}


def add(sums: State, measurement: Measurement) -> State:
    """Return the sums with one more slot; what was not read does not count."""
    values = _stacked(measurement)
    known = np.isfinite(values)
    values = np.where(known, values, 0.0)
    if not len(sums["sum"]):
        return {"sum": values, "known": known.astype(float)}
    return {"sum": sums["sum"] + values, "known": sums["known"] + known}


def mean(sums: State, now: Measurement) -> Measurement:
    """Return `now` with the averages in place of its readings; positions and stored energy are those of now.

    What was never read in the interval is NaN.
    """
    if not len(sums["sum"]):
        return now
    average = np.where(sums["known"] > 0, sums["sum"] / np.maximum(sums["known"], 1), np.nan)
    values: dict[str, Any] = {}
    start = 1
    for name in _MEAN:
        size = len(getattr(now, name))
        values[name] = average[start : start + size]
        start += size
    return replace(now, slack_vm=float(average[0]), **values)


def _stacked(m: Measurement) -> FloatArray:
    return np.concatenate([[m.slack_vm], *(getattr(m, name) for name in _MEAN)])


@dataclass(frozen=True, eq=False)
class Coarse:
    """A `Forecast` in intervals of `slots` slots each: the mean of every interval, the last one of what is left."""

    fine: Forecast
    slots: int

    def __call__(self, time: pd.Timestamp, periods: int) -> Series:
        """Return the intervals from `time` on."""
        return averaged(self.fine(time, periods * self.slots), self.slots)
