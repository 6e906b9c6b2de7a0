"""From what a policy wants to setpoints: cut to its range and counted; held where it gives no number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.controllers.base import ControlTask, Decision, Measurement, Prepared, Setpoints, State
from feederlab.controllers.ladder import HELD
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.arrays import FloatArray

Means = Callable[[np.ndarray[Any, np.dtype[np.float32]]], Any]
"""(rows, entries) float32 -> (inverters,) actions, before they are cut to [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What a policy wants.

    q_mvar : (inverters,) MVAr; NaN where it gives no number.  cut : how many were cut to its range.  why : what went
    wrong; "" if nothing.
    """

    q_mvar: FloatArray
    cut: int
    why: str = ""


class Acting(Prepared):
    """Moves inverters as something wishes.

    An inverter for which that gives no number keeps its last setpoint (rung 3).
    """

    def __init__(self, task: ControlTask, name: str) -> None:
        self._s, self._name = task.inverters.s_mva, name

    def initial_state(self) -> State:
        return {"q_mvar": np.zeros(len(self._s))}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        # A reading of the sun that was lost counts as none, as in the observation; the plant knows better.
        p = np.minimum(np.nan_to_num(measurement.p_available_mw), self._s)
        room = np.sqrt(np.maximum(self._s**2 - p**2, 0.0))
        wish = self._wish(measurement, room)
        lost = ~np.isfinite(wish.q_mvar)
        held = np.minimum(np.maximum(state["q_mvar"], -room), room)
        q = np.where(lost, held, wish.q_mvar)
        info = Decision(solver=self._name, clipped=wish.cut)
        if lost.any():
            which = "" if lost.all() else f" at {lost.sum()} of {len(lost)} inverters"
            info = Decision(
                solver=self._name, status=f"held{which}: {wish.why or 'no finite number'}"[:200], rung=HELD,
                clipped=wish.cut,
            )  # fmt: skip
        return Setpoints(q_mvar=q, info=info), {"q_mvar": q}

    @abstractmethod
    def _wish(self, measurement: Measurement, room_mvar: FloatArray) -> Wish:
        """Return what is wanted; room_mvar : (inverters,) sqrt(s^2 - p^2)."""


class ActingOnRows(Acting):
    """Moves inverters by actions on an observation: ``q = bound * clip(a, -1, 1) * sqrt(s^2 - p^2)``."""

    def __init__(self, task: ControlTask, name: str, layout: Layout, bound: float, means: Means) -> None:
        super().__init__(task, name)
        self._layout, self._bound, self._means = layout, bound, means

    def _wish(self, measurement: Measurement, room_mvar: FloatArray) -> Wish:
        with np.errstate(all="ignore"):  # a network whose weights overflow gives no number, and that is recorded
            mean = np.asarray(self._means(self._layout.read(measurement)), dtype=float)
        return wish_of(mean, self._bound, room_mvar)


def wish_of(mean: FloatArray, bound: float, room_mvar: FloatArray, why: str = "") -> Wish:
    """Return (inverters,) actions as reactive power; those beyond [-1, 1] are cut, and what is not finite is none."""
    mean = np.where(np.isfinite(mean), mean, np.nan)
    cut = np.minimum(np.maximum(mean, -1.0), 1.0)
    return Wish(bound * cut * room_mvar, int((np.abs(mean) > 1).sum()), why)
