"""A horizon of many steps cut into fewer stages: short ones first, long ones later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.scenario import Series


@dataclass(frozen=True, eq=False)
class Stages:
    """What is expected in each of T stages.

    length : (T,) steps in each; a stage's setpoints stand throughout.  load_mva : (T, nodes) mean net consumption that
    nothing controls (MVA).  p_available_mw : (T, inverters) mean (MW).  slack_vm : (T,) (p.u.).  step_h : (h).
    offset : (nodes,) or a number, by how much squared voltages lie above the model's in every stage (p.u.).
    """

    length: IntArray
    load_mva: ComplexArray
    p_available_mw: FloatArray
    slack_vm: FloatArray
    step_h: float
    offset: FloatArray | float = 0.0

    def __len__(self) -> int:
        return len(self.length)

    @property
    def start(self) -> IntArray:
        """(T,) step at which each stage begins."""
        return np.asarray(np.cumsum(self.length) - self.length, dtype=np.int64)

    @property
    def hours(self) -> FloatArray:
        """(T,) length of each stage (h)."""
        return np.asarray(self.length * self.step_h)

    @classmethod
    def of(cls, series: Series, most: int, step_h: float) -> Stages:
        """Cut a forecast into at most `most` (2 or more) stages (`lengths`), and average over each."""
        length = lengths(len(series), most)
        first = np.cumsum(length) - length

        def mean(values: FloatArray | ComplexArray) -> FloatArray | ComplexArray:
            total = np.add.reduceat(values, first, axis=0)
            return np.asarray(total / length.reshape(-1, *[1] * (values.ndim - 1)))

        load = np.asarray(mean(series.load_mva), dtype=np.complex128)
        sun, slack = (np.asarray(mean(v), dtype=float) for v in (series.p_available_mw, series.slack_vm))
        return cls(length, load, sun, slack, step_h)


def lengths(periods: int, most: int) -> IntArray:
    """Return the steps in each of at most `most` stages, which add up to `periods`.

    All are one step long where they suffice.  Otherwise the first is, and later ones grow geometrically, for what is
    far away is known less well and matters less ("move blocking": Cagienard et al., J. Process Control 17, 2007).
    """
    if periods <= most:
        return np.ones(periods, dtype=np.int64)
    ratio = brentq(lambda r: float(np.sum(r ** np.arange(most))) - periods, 1.0, float(periods))
    ends = np.floor(np.cumsum(ratio ** np.arange(most)) + 0.5).astype(np.int64)
    ends[-1] = periods
    return np.diff(ends, prepend=0)
