"""Paired timings: the two sides take turns, so that a drifting machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ratio : the figure compared with the aim.  faster : the ratio must be at least (True) or at most (False) the aim.
    """

    what: str
    ours_s: float
    against: str
    theirs_s: float
    ratio: float
    aim: float
    faster: bool = True
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the aim is met."""
        return self.ratio >= self.aim if self.faster else self.ratio <= self.aim


def seconds(call: Callable[[], Any], repeat: int) -> float:
    """Return the mean time of one call over `repeat` calls in a row."""
    began = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - began) / repeat


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int, ours_repeat: int = 1, theirs_repeat: int = 1
) -> tuple[float, float, float]:
    """Return the median times of both and the median of the ratios theirs / ours, after one warm-up each."""
    ours(), theirs()
    pairs = np.array([(seconds(ours, ours_repeat), seconds(theirs, theirs_repeat)) for _ in range(rounds)])
    return float(np.median(pairs[:, 0])), float(np.median(pairs[:, 1])), float(np.median(pairs[:, 1] / pairs[:, 0]))
