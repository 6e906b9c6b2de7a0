"""The reference row: no control."""

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


@dataclass(frozen=True)
class NoControl(Controller):
    """Inverters inject what the sun offers at q = 0; every other device stays as it is."""

    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(len(task.inverters))


class _Prepared(Prepared):
    def __init__(self, inverters: int) -> None:
        self._idle = Setpoints(q_mvar=np.zeros(inverters))

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        return self._idle, state

    def step_batch(self, measurements: Measurements) -> Setpoints:
        return self._idle
