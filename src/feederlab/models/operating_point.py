"""What an optimisation controller is given for one step: everything it does not decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """One step's data for optimal power flow, its relaxation and the linear model.

    load_mva : (nodes,) net consumption of what is not decided, storage at its present power included (MVA).
    p_available_mw : (inverters,) active power on offer (MW).  slack_vm : (p.u.).
    taps, steps : (tap changers,), (capacitor banks,) positions; None: as in the net.
    storage_use_mw : sum of |p| of the storage units at their present power (MW).
    """

    load_mva: ComplexArray
    p_available_mw: FloatArray
    slack_vm: float
    taps: IntArray | None = None
    steps: IntArray | None = None
    storage_use_mw: float = 0.0

    def injection_mva(self, feeder: Feeder, p_mw: FloatArray, q_mvar: FloatArray) -> ComplexArray:
        """Return the (nodes,) injection with the inverters at p + jq (MVA), ready for a power flow."""
        total = -self.load_mva
        on = feeder.inverters.node >= 0
        np.add.at(total, feeder.inverters.node[on], (p_mw + 1j * q_mvar)[on])
        return total
