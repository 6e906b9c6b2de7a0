"""Time series of one table column: shapes, and how each element uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray, frozen

Key = tuple[str, str]  # (pandapower table, column), e.g. ("load", "p_mw")


@dataclass(frozen=True, eq=False)
class Profile:
    """Values over time of one column for n elements: ``values[t, e] = shapes[t, pick[e]] * scale[e]``.

    Many elements share few shapes (a SimBench grid of thousands of loads has 96), so a year fits in memory.

    times : (T,) ascending, evenly spaced.  shapes : (T, k).  pick, scale : (n,).
    index : (n,) pandapower index of each element.
    """

    times: pd.DatetimeIndex
    shapes: FloatArray
    pick: IntArray
    scale: FloatArray
    index: IntArray

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Profile:
        """Take a DataFrame [time x element index], the interchange format.

        Raises
        ------
        InputError
            If the rows are no times, the columns no element indices, or a value is no number.
        """
        n = frame.shape[1]
        _check_frame(frame)
        return cls(
            times=pd.DatetimeIndex(frame.index),
            shapes=frozen(frame.to_numpy(dtype=float)),
            pick=frozen(np.arange(n), np.int64),
            scale=frozen(np.ones(n)),
            index=frozen([int(c) for c in frame.columns], np.int64),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the profile as a DataFrame [time x element index]."""
        values = self.shapes[:, self.pick] * self.scale
        return pd.DataFrame(values, index=self.times, columns=self.index)

    def scaled(self, factor: float | FloatArray) -> Profile:
        """Return the profile times `factor`, a number or one per element."""
        return Profile(self.times, self.shapes, self.pick, frozen(self.scale * factor), self.index)

    def cut(self, times: pd.DatetimeIndex, step: pd.Timedelta) -> Profile:
        """Return the profile with no more data than `sample` needs for these times."""
        span = self._span(times, step)
        return Profile(self.times[span], frozen(self.shapes[span]), self.pick, self.scale, self.index)

    def sample(self, times: pd.DatetimeIndex, step: pd.Timedelta) -> FloatArray:
        """Return (len(times), n) values at `times`, for steps of length `step`.

        Steps shorter than the data's are interpolated linearly in time (the last sample is held); longer steps take
        the mean of the samples inside ``[t, t + step)``.
        """
        span = self._span(times, step)
        own, shapes = _nanoseconds(self.times)[span], self.shapes[span]
        want, spacing = _nanoseconds(times), self._spacing(step)
        if int(step.value) > spacing:
            starts = np.searchsorted(own, want, "left")
            ends = np.searchsorted(own, want + int(step.value), "left")
            total = np.vstack([np.zeros(shapes.shape[1]), np.cumsum(shapes, axis=0)])
            sampled = (total[ends] - total[starts]) / np.maximum(ends - starts, 1)[:, None]
        else:
            before = np.clip(np.searchsorted(own, want, "right") - 1, 0, len(own) - 1)
            after = np.minimum(before + 1, len(own) - 1)
            weight = np.clip((want - own[before]) / spacing, 0.0, 1.0)[:, None]
            sampled = shapes[before] * (1 - weight) + shapes[after] * weight
        picked: FloatArray = sampled[:, self.pick] * self.scale
        return picked

    def _span(self, times: pd.DatetimeIndex, step: pd.Timedelta) -> slice:
        own, want = _nanoseconds(self.times), _nanoseconds(times)
        end = want[-1] + step.value + self._spacing(step)
        return slice(
            max(int(np.searchsorted(own, want[0], "right")) - 1, 0), int(np.searchsorted(own, end, "left")) + 1
        )

    def _spacing(self, step: pd.Timedelta) -> int:
        """Return the time between two samples (ns); a single sample stands for one step."""
        return int((self.times[1] - self.times[0]).value) if len(self.times) > 1 else int(step.value)


def _nanoseconds(times: pd.DatetimeIndex) -> IntArray:
    return np.asarray(times.to_numpy().astype("datetime64[ns]").astype(np.int64))


def _check_frame(frame: pd.DataFrame) -> None:
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise InputError(
            f"the rows of a profile must be times (a DatetimeIndex), not {frame.index.dtype}: "
            "set_index(pandas.date_range(start, periods=len(frame), freq='15min'))"
        )
    for position, label in enumerate(frame.columns):
        if not str(label).lstrip("-").isdecimal():
            raise InputError(f"the columns of a profile must be element indices, not {label!r}")
        values = frame.iloc[:, position]
        if values.dtype.kind not in "fiub":
            wrong = pd.to_numeric(values, errors="coerce").isna() & values.notna()
            if wrong.any():
                time = values.index[wrong][0]
                raise InputError(f"the profile of element {label} is {values[wrong].iloc[0]!r} at {time}, not a number")
