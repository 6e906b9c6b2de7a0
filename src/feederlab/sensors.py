"""Imperfect measurements: noise, lost readings, delay."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from feederlab.controllers.base import Measurement


class Sensors:
    """Voltage readings with noise and drop-outs, drawn once per step, and the delay of the whole measurement.

    vm_noise : standard deviation (p.u.).  dropout : probability that a node's reading is lost in a step.
    delay : steps by which a decision lags behind; the first steps see the oldest measurement there is.  An old step is
    seen as its last settling round left it.
    part : which piece of a longer window this is; each piece draws its own errors from the same seed.
    """

    def __init__(self, vm_noise: float, dropout: float, delay: int, seed: int, part: int = 0) -> None:
        self._rng = np.random.default_rng([seed, 1, part] if part else [seed, 1])
        self._vm_noise, self._dropout = vm_noise, dropout
        self._past: deque[Measurement] = deque(maxlen=delay + 1)
        self._error: np.ndarray | float = 0.0

    @property
    def perfect(self) -> bool:
        """Whether readings arrive at once and as they are."""
        return not (self._vm_noise or self._dropout) and self._past.maxlen == 1

    def next_step(self, nodes: int) -> None:
        """Draw this step's errors."""
        self._error = self._rng.normal(0.0, self._vm_noise, nodes) if self._vm_noise else 0.0
        if self._dropout:
            lost = self._rng.random(nodes) < self._dropout
            self._error = np.where(lost, np.nan, self._error)

    def read(self, measurement: Measurement) -> Measurement:
        """Return what arrives at the controller now."""
        if self._vm_noise or self._dropout:
            measurement = replace(measurement, vm=measurement.vm + self._error)
        if self._past.maxlen == 1:
            return measurement
        if measurement.settle_round == 0:
            self._past.append(measurement)
        else:
            self._past[-1] = measurement
        return replace(self._past[0], settle_round=measurement.settle_round)
