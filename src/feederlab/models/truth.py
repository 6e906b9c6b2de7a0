"""The forecast that comes true: the series of the window itself."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from feederlab.models.scenario import Series


@dataclass(frozen=True, eq=False)
class Truth:
    """A `Forecast` that returns what will happen, up to the end of the window: the last ones are shorter than asked."""

    series: Series

    def __call__(self, time: pd.Timestamp, periods: int) -> Series:
        """Return the steps from `time` on.  Raises `LookupError` for an instant before the window."""
        first = int(self.series.times.searchsorted(time, side="right")) - 1
        if first < 0:
            raise LookupError(f"{time} lies before the window, which begins at {self.series.times[0]}")
        rows = slice(first, first + periods)
        s = self.series
        return Series(s.times[rows], s.load_mva[rows], s.p_available_mw[rows], s.slack_vm[rows])
