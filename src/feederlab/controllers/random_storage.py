"""Random charging and discharging: storage that explores, so that its effect can be learnt from a run."""

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


@dataclass(frozen=True)
class RandomStorage(Controller):
    """Each unit stands still or draws its power evenly between its rates, within what its SOC allows.

    share : of the rates.  hold : steps for which a draw stands.
    rest : chance that a unit stands still.  Who learns from a history in which no one ever rests has not seen what an
    ordinary step looks like; half of the time is a good mixture.
    active : pandapower indices of the units that take part, ``3`` or ``0/2/5``; the others stand still.  Empty: all.

    The draws follow from the run's seed, independent from unit to unit and of everything measured, so that what a
    unit does to the voltage is not mixed up with what it does because of it.  It moves active power only.
    """

    sees: ClassVar[Information] = LOCAL
    share: float = 1.0
    hold: int = 1
    rest: float = 0.5
    active: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.hold < 1 or not 0 <= self.rest < 1:
            raise InputError(
                "random_storage: share must lie above 0 and be at most 1, hold be a positive number of steps, and rest "
                f"lie in [0, 1), not share={self.share}, hold={self.hold}, rest={self.rest}"
            )
        _indices(self.active)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Raises `InputError` if a unit that is to take part does not exist."""
        return _Prepared(task, self, 0 if seed is None else seed)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, settings: RandomStorage, seed: int) -> None:
        units, wanted = task.storages, _indices(settings.active)
        missing = sorted(set(wanted) - set(units.index.tolist()))
        if missing:
            raise InputError(
                f"random_storage: there is no storage {missing[0]} that can be controlled; there are "
                f"{', '.join(map(str, units.index.tolist())) or 'none'}"
            )
        self._units, self._terminals, self._settings, self._seed = units, StorageTerminals(task), settings, seed
        self._active = np.isin(units.index, wanted) if wanted else np.ones(len(units), dtype=bool)

    def initial_state(self) -> State:
        return {**self._terminals.initial_state(), "decisions": np.zeros(1, dtype=np.int64)}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        units, count = self._units, state["decisions"]
        if not len(units):
            return Setpoints(), state
        seen = self._terminals.read(state, measurement)
        rng = np.random.default_rng([self._seed, 4, int(count[0]) // self._settings.hold])
        draw, works = rng.uniform(-1, 1, len(units)), rng.uniform(size=len(units)) >= self._settings.rest
        asked = self._settings.share * np.where(draw > 0, draw * units.p_max_mw, -draw * units.p_min_mw)
        p = self._terminals.allowed(np.where(self._active & works, asked, 0.0), seen["soc"])
        return Setpoints(storage_p_mw=p), {**seen, "p_mw": p, "decisions": count + 1}


def _indices(text: str) -> list[int]:
    try:
        return [int(part) for part in filter(None, (p.strip() for p in text.split("/")))]
    except ValueError:
        raise InputError(f"random_storage: active must be indices of storage units, e.g. 0/2/5, not {text!r}") from None
