"""How an inverter shares its rating between active and reactive power, and what it reads at its own terminals."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from feederlab.controllers.base import ControlTask, Measurement, Measurements, State
from feederlab.errors import UnknownNameError
from feederlab.models.arrays import FloatArray

Priority = Literal["watt", "var"]


def check_priority(priority: str) -> None:
    """Raise `UnknownNameError` unless `priority` is ``"watt"`` or ``"var"``."""
    if priority not in get_args(Priority):
        raise UnknownNameError("priority", priority, get_args(Priority))


def headroom(p_mw: FloatArray, s_mva: FloatArray) -> FloatArray:
    """Return sqrt(S^2 - p^2), the reactive power that is left at p; 0 where p >= S."""
    return np.sqrt(np.maximum(s_mva**2 - p_mw**2, 0.0))


def share_rating(
    q_mvar: FloatArray, p_available_mw: FloatArray, s_mva: FloatArray, priority: str
) -> tuple[FloatArray | None, FloatArray]:
    """Return (p, q) setpoints (MW, MVAr) that fit p^2 + q^2 <= S^2, all arrays (inverters,).

    With ``"watt"`` priority p is all that is available (None) and q gives way; with ``"var"`` priority p gives way:
    p = min(available, sqrt(S^2 - q^2)).
    """
    if priority == "watt":
        room = headroom(np.minimum(p_available_mw, s_mva), s_mva)
        return None, np.minimum(np.maximum(q_mvar, -room), room)
    q = np.minimum(np.maximum(q_mvar, -s_mva), s_mva)
    return np.minimum(p_available_mw, headroom(q, s_mva)), q


class Terminals:
    """The inverters' own voltage readings; where one is lost, the last one stands (1 p.u. before the first).

    The state it reads and writes is ``{"vm": (inverters,)}``.
    """

    def __init__(self, task: ControlTask) -> None:
        self._on = task.inverters.node >= 0
        self._node = np.where(self._on, task.inverters.node, 0)

    def initial_state(self) -> State:
        """Return 1 p.u. everywhere."""
        return {"vm": np.ones(len(self._node))}

    def read(self, state: State, measurement: Measurement) -> FloatArray:
        """Return (inverters,) voltage magnitude (p.u.)."""
        vm = measurement.vm[self._node]
        return np.where(self._on & np.isfinite(vm), vm, state["vm"])

    def read_batch(self, measurements: Measurements) -> FloatArray:
        """Return (T, inverters) voltage magnitude (p.u.); every reading must be there."""
        return np.where(self._on, measurements.vm[:, self._node], 1.0)
