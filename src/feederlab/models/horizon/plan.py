"""A plan: what every device does in every stage, and where it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder


@dataclass(frozen=True, eq=False)
class Start:
    """The devices with memory as the horizon begins.

    energy_mwh : (storages,) stored.  tap : (tap changers,).  step : (capacitor banks,).
    tap_rest_s, step_rest_s : how long each is still at rest after it moved (s).
    """

    energy_mwh: FloatArray
    tap: IntArray
    step: IntArray
    tap_rest_s: FloatArray
    step_rest_s: FloatArray


@dataclass(frozen=True, eq=False)
class Plan:
    """Setpoints of T stages.

    q_mvar, p_mw : (T, inverters).  storage_p_mw (charging positive), storage_q_mvar : (T, storages).
    tap : (T, tap changers).  step : (T, capacitor banks).
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    tap: IntArray
    step: IntArray

    def __len__(self) -> int:
        return len(self.q_mvar)

    def rows(self, stages: IntArray | slice) -> Plan:
        """Return the plan of some stages."""
        return Plan(**{name: getattr(self, name)[stages] for name in Plan.__dataclass_fields__})

    def toward(self, other: Plan, share: float) -> Plan:
        """Return the plan that lies `share` of the way to `other`, with its taps and steps."""
        mixed = {
            name: (1 - share) * getattr(self, name) + share * getattr(other, name)
            for name in ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar")
        }
        return replace(other, **mixed)

    def energy_mwh(self, feeder: Feeder, start_mwh: FloatArray, hours: FloatArray) -> FloatArray:
        """Return the (T, storages) energy at the end of each stage: e' = e + (eta P_charge - P_discharge / eta) dt.

        start_mwh : (storages,).  hours : (T,) length of the stages.
        """
        p, eta = self.storage_p_mw, feeder.storages.efficiency
        return np.asarray(start_mwh + np.cumsum(np.where(p > 0, p * eta, p / eta) * hours[:, None], axis=0))

    def injection_mva(self, feeder: Feeder, load_mva: ComplexArray) -> ComplexArray:
        """Return the (T, nodes) injection of loads and devices (MVA), generation positive."""
        total = -load_mva
        for sign, units, power in (
            (1, feeder.inverters, self.p_mw + 1j * self.q_mvar),
            (-1, feeder.storages, self.storage_p_mw + 1j * self.storage_q_mvar),
        ):  # fmt: skip
            for k in np.flatnonzero(units.node >= 0):
                total[:, units.node[k]] += sign * power[:, k]
        return total
