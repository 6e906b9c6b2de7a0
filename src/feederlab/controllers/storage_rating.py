"""What a storage unit can do in one step, and what it reads at its own terminals."""

from __future__ import annotations

import numpy as np

from feederlab.controllers.base import ControlTask, Measurement, State
from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Storages


def power_range(
    units: Storages, soc: FloatArray, step_h: float, e_min_mwh: FloatArray | None = None,
    e_max_mwh: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return the (storages,) lowest and highest power (MW, charging positive) that a step of `step_h` hours allows.

    Rates, rating and energy limit it: ``e + (eta P_charge - P_discharge / eta) dt`` stays within the units' own energy
    limits, or narrower ones given here.  Outside of them a unit may stand still or return, nothing else.
    soc : (storages,) share of ``e_max`` of the unit.
    """
    stored = soc * units.e_max_mwh
    lowest = units.e_min_mwh if e_min_mwh is None else np.maximum(e_min_mwh, units.e_min_mwh)
    highest = units.e_max_mwh if e_max_mwh is None else np.minimum(e_max_mwh, units.e_max_mwh)
    charge = np.maximum(highest - stored, 0.0) / (units.efficiency * step_h)
    discharge = np.maximum(stored - lowest, 0.0) * units.efficiency / step_h
    low = np.maximum(np.maximum(units.p_min_mw, -units.s_mva), -discharge)
    return low, np.minimum(np.minimum(units.p_max_mw, units.s_mva), charge)


class StorageTerminals:
    """The units' own readings; where one is lost the last one stands (1 p.u. and the net's SOC before the first).

    The state it reads and writes is ``{"vm": (storages,), "soc": (storages,), "p_mw": (storages,)}``.
    """

    def __init__(self, task: ControlTask) -> None:
        self._units, self._step_h = task.storages, task.step_s / 3600
        self._on = task.storages.node >= 0
        self._node = np.where(self._on, task.storages.node, 0)

    def initial_state(self) -> State:
        """Return 1 p.u., the net's SOC and no power."""
        count = len(self._node)
        return {"vm": np.ones(count), "soc": np.array(self._units.soc), "p_mw": np.zeros(count)}

    def read(self, state: State, measurement: Measurement) -> State:
        """Return voltage magnitude (p.u.), SOC and present power (MW)."""
        vm = measurement.vm[self._node]
        return {
            "vm": np.where(self._on & np.isfinite(vm), vm, state["vm"]),
            "soc": np.where(np.isfinite(measurement.soc), measurement.soc, state["soc"]),
            "p_mw": np.where(np.isfinite(measurement.storage_p_mw), measurement.storage_p_mw, state["p_mw"]),
        }

    def allowed(self, p_mw: FloatArray, soc: FloatArray) -> FloatArray:
        """Return `p_mw` within what this step allows."""
        low, high = power_range(self._units, soc, self._step_h)
        return np.minimum(np.maximum(p_mw, low), high)
