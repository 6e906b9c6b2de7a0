"""Taps and capacitor banks at given positions."""

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
from feederlab.controllers.switching import need, positions


@dataclass(frozen=True)
class Fixed(Controller):
    """Taps and closed capacitor steps that never change; both empty: as the net has them.

    step, tap : positions in the order of pandapower's tables, written ``1/0/2``, or one number for all.
    """

    step: str = ""
    tap: str = ""
    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Read the positions.  Raises `InputError` if the feeder has not these devices, or they have not the range."""
        banks, changers = task.capacitors, task.tap_changers
        for kind, text in (("capacitors", self.step), ("tap_changers", self.tap)):
            if text:
                need("fixed", task, kind)
        step = positions("fixed", self.step, "step", 0 * banks.max_step, banks.max_step, banks.index)
        tap = positions("fixed", self.tap, "tap", changers.tap_min, changers.tap_max, changers.index)
        return _Prepared(Setpoints(step=np.array(banks.step) if step is None else step,
                                   tap=np.array(changers.tap) if tap is None else tap))  # fmt: skip


class _Prepared(Prepared):
    def __init__(self, setpoints: Setpoints) -> None:
        self._setpoints = setpoints

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        return self._setpoints, state
