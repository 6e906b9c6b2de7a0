"""Storage droop: each unit charges where its own voltage is high, and discharges where it is low."""

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
from feederlab.controllers.curves import Curve, find_curve
from feederlab.controllers.storage_rating import StorageTerminals
from feederlab.errors import InputError

STORAGE_DROOP = {
    "band": Curve(((0.95, -1.0), (0.99, 0.0), (1.01, 0.0), (1.05, 1.0))),
    "steep": Curve(((0.97, -1.0), (0.99, 0.0), (1.01, 0.0), (1.03, 1.0))),
}
"""Power (charging positive, p.u. of the unit's rate) over V (p.u.)."""


@dataclass(frozen=True)
class StorageDroop(Controller):
    """p = p_now + damping (f(v) - p_now), f in p.u. of the rate that goes with its sign, within what the SOC allows.

    curve : ``"band"`` (full power at 0.95 and 1.05), ``"steep"`` (at 0.97 and 1.03), or points V:P written
    ``0.95:-1/0.99:0/1.01:0/1.05:1``, charging positive.
    damping : share of the way from the present power to the curve's that a step goes.  Units that all see the same
    feeder correct the same voltage: with k of them that move a voltage by dv at full power, the loop swings unless
    ``damping (1 + k f' dv) < 2``.

    It moves active power only.
    """

    sees: ClassVar[Information] = LOCAL
    curve: str = "band"
    damping: float = 0.5

    def __post_init__(self) -> None:
        find_curve(self.curve, STORAGE_DROOP)
        if not 0 < self.damping <= 1:
            raise InputError(f"storage_droop: damping must lie above 0 and be at most 1, not {self.damping}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Prepared(task, find_curve(self.curve, STORAGE_DROOP), self.damping)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, curve: Curve, damping: float) -> None:
        self._terminals, self._curve, self._damping = StorageTerminals(task), curve, damping
        self._units = task.storages

    def initial_state(self) -> State:
        return self._terminals.initial_state()

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if not len(self._units):
            return Setpoints(), state
        seen = self._terminals.read(state, measurement)
        share = self._curve(seen["vm"])
        asked = np.where(share > 0, share * self._units.p_max_mw, -share * self._units.p_min_mw)
        p = self._terminals.allowed(seen["p_mw"] + self._damping * (asked - seen["p_mw"]), seen["soc"])
        return Setpoints(storage_p_mw=p), {**seen, "p_mw": p}
