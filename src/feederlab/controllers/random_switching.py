"""Random switching of capacitor banks: the baseline of Yang et al. (IEEE TSG 11(3) 2313, 2020, "P3")."""

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
from feederlab.controllers.switching import need
from feederlab.errors import InputError


@dataclass(frozen=True)
class RandomSwitching(Controller):
    """Every `hold` decisions, each bank closes a number of steps drawn evenly from those it has.

    taps : draw the positions of tap changers too.  hold : decisions for which a draw stands.
    The draws follow from the run's seed.
    """

    taps: bool = False
    hold: int = 1
    sees: ClassVar[Information] = LOCAL

    def __post_init__(self) -> None:
        if self.hold < 1:
            raise InputError(f"random: hold must be a positive number of decisions, not {self.hold}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Raises `InputError` if there is nothing to switch."""
        need("random", task, "capacitors", *(["tap_changers"] if self.taps else []))
        return _Prepared(self, task, 0 if seed is None else seed)


class _Prepared(Prepared):
    def __init__(self, settings: RandomSwitching, task: ControlTask, seed: int) -> None:
        self._settings, self._task, self._seed = settings, task, seed

    def initial_state(self) -> State:
        return {"decisions": np.zeros(1, dtype=np.int64)}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        banks, changers, count = self._task.capacitors, self._task.tap_changers, state["decisions"]
        rng = np.random.default_rng([self._seed, 3, int(count[0]) // self._settings.hold])
        step = rng.integers(0, banks.max_step + 1)
        tap = rng.integers(changers.tap_min, changers.tap_max + 1) if self._settings.taps else None
        return Setpoints(step=step, tap=tap), {"decisions": count + 1}
