"""What a household remembers from step to step, and how its action moves its own storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.learn.smart_meter.history import Battery
from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Storages


@dataclass(frozen=True)
class Memory:
    """Stored energy (MWh), and voltage (p.u.) and demand (MW) of the last step and the one before."""

    e_mwh: float
    vm: tuple[float, float]
    demand_mw: tuple[float, float]

    def state(self, battery: Battery, demand_mw: float, vm_at_rest: float) -> FloatArray:
        """Return the (7,) state (26), in the order of `sight.ENTRIES`."""
        return np.array([demand_mw, self.e_mwh / battery.e_max_mwh, vm_at_rest, *self.vm, *self.demand_mw])

    def after(self, e_mwh: float, vm: float, demand_mw: float) -> Memory:
        """Return the memory after a step that ended at this energy, with this voltage and demand."""
        return Memory(e_mwh, (vm, self.vm[0]), (demand_mw, self.demand_mw[0]))

    def record(self) -> list[float]:
        """Return the values, JSON-ready."""
        return [self.e_mwh, *self.vm, *self.demand_mw]

    @classmethod
    def of(cls, record: Any) -> Memory:
        """Return what `record` gave."""
        e, vm, vm_before, demand, demand_before = map(float, record)
        return cls(e, (vm, vm_before), (demand, demand_before))


def share_of_rate(battery: Battery, p_mw: float) -> float:
    """Return the power as a share of the rate in its direction, -1 to 1."""
    rate = battery.p_max_mw if p_mw > 0 else -battery.p_min_mw
    return p_mw / rate if rate > 0 else 0.0


def power_of(battery: Battery, action: float, e_mwh: float, step_h: float) -> float:
    """Return the power (MW) that an action in [-1, 1] gives: that share of the rate, within what the energy allows."""
    low, high = battery.allowed(e_mwh, step_h)
    asked = action * (battery.p_max_mw if action > 0 else -battery.p_min_mw)
    return min(max(asked, float(low)), float(high))


def battery_of(units: Storages, row: int) -> Battery:
    """Return the storage unit in a row of a feeder's table."""
    return Battery(
        float(max(units.p_min_mw[row], -units.s_mva[row])), float(min(units.p_max_mw[row], units.s_mva[row])),
        float(units.e_min_mwh[row]), float(units.e_max_mwh[row]),
        float(units.soc[row] * units.e_max_mwh[row]), float(units.efficiency[row]),
    )  # fmt: skip
