"""What a household remembers from step to step, and how its action moves its own storage; alone or in many copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.learn.smart_meter.history import Battery
from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Storages


@dataclass(frozen=True, eq=False)
class Memory:
    """What is left of the steps before, with any leading axes (...,), none for a single household.

    e_mwh : (...,) stored energy (MWh).  vm, demand_mw : (..., 2) voltage (p.u.) and demand (MW) of the last step and of
    the one before.
    """

    e_mwh: FloatArray
    vm: FloatArray
    demand_mw: FloatArray

    def state(self, battery: Battery, demand_mw: Any, vm_at_rest: Any) -> FloatArray:
        """Return the (..., 7) state (26), in the order of `sight.ENTRIES`."""
        now = np.stack(np.broadcast_arrays(demand_mw, self.e_mwh / battery.e_max_mwh, vm_at_rest), axis=-1)
        return np.concatenate([now, self.vm, self.demand_mw], axis=-1)

    def after(self, e_mwh: Any, vm: Any, demand_mw: Any) -> Memory:
        """Return the memory after a step that ended at this energy, with this voltage and demand, (...,) each."""
        return Memory(
            np.asarray(e_mwh, dtype=float), np.stack([vm, self.vm[..., 0]], axis=-1),
            np.stack([demand_mw, self.demand_mw[..., 0]], axis=-1),
        )  # fmt: skip

    def put(self, rows: Any, other: Memory) -> Memory:
        """Return the memory with that of `other` in these rows of the leading axis."""
        made = []
        for mine, theirs in ((self.e_mwh, other.e_mwh), (self.vm, other.vm), (self.demand_mw, other.demand_mw)):
            changed = mine.copy()
            changed[rows] = theirs
            made.append(changed)
        return Memory(*made)

    def record(self) -> list[Any]:
        """Return the values, JSON-ready."""
        return [values.tolist() for values in (self.e_mwh, self.vm, self.demand_mw)]

    @classmethod
    def of(cls, record: Any) -> Memory:
        """Return what `record` gave."""
        e, vm, demand = (np.asarray(values, dtype=float) for values in record)
        return cls(e, vm, demand)


def share_of_rate(battery: Battery, p_mw: Any) -> FloatArray:
    """Return powers (...,) as shares of the rate in their direction, -1 to 1."""
    p = np.asarray(p_mw, dtype=float)
    rate = np.where(p > 0, battery.p_max_mw, -battery.p_min_mw)
    return np.asarray(p / np.where(rate > 0, rate, 1.0))


def power_of(battery: Battery, action: Any, e_mwh: Any, step_h: float) -> FloatArray:
    """Return the power (MW) of actions (...,) in [-1, 1]: that share of the rate, within what the energy allows."""
    a = np.asarray(action, dtype=float)
    low, high = battery.allowed(e_mwh, step_h)
    return np.asarray(np.clip(a * np.where(a > 0, battery.p_max_mw, -battery.p_min_mw), low, high))


def battery_of(units: Storages, row: int) -> Battery:
    """Return the storage unit in a row of a feeder's table."""
    return Battery(
        float(max(units.p_min_mw[row], -units.s_mva[row])), float(min(units.p_max_mw[row], units.s_mva[row])),
        float(units.e_min_mwh[row]), float(units.e_max_mwh[row]),
        float(units.soc[row] * units.e_max_mwh[row]), float(units.efficiency[row]),
    )  # fmt: skip
