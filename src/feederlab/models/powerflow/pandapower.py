"""The reference engine: pandapower's Newton-Raphson on a copy of the feeder's own net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.network import skeleton
from feederlab.models.powerflow.base import PowerFlow, Solution


class PandapowerFlow(PowerFlow):
    """pandapower.runpp on the feeder's net, its tables driven step by step: slow, and independent of our arrays."""

    def __init__(self, feeder: Feeder) -> None:
        super().__init__(feeder)
        self._net = _with_node_injections(feeder)
        # No mismatch can be resolved below the rounding of the largest admittance (case16am has lines of 1e-8 ohm).
        stiffest = float(np.max(np.abs(feeder.branches.two_port.admittances()), initial=0.0))
        self._tolerance_mva = max(1e-9, 4 * np.finfo(float).eps * stiffest * feeder.base_mva)

    def solve(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        import pandapower

        net, feeder = self._net, self.feeder
        at_bus = feeder.node_bus >= 0
        net.sgen["p_mw"] = injection_mva.real[at_bus]
        net.sgen["q_mvar"] = injection_mva.imag[at_bus]
        net.ext_grid["vm_pu"] = feeder.slack_vm if slack_vm is None else slack_vm
        if len(feeder.tap_changers):
            tap = feeder.tap_changers.tap if taps is None else taps
            net.trafo.loc[feeder.tap_changers.index, "tap_pos"] = tap
        if len(feeder.capacitors):
            net.shunt.loc[feeder.capacitors.index, "step"] = feeder.capacitors.step if steps is None else steps
        u = np.full(feeder.n_nodes, np.nan, dtype=np.complex128)
        try:
            self.run(net)
            u = self._voltages()
        except (pandapower.LoadflowNotConverged, FloatingPointError):
            pass
        return Solution(feeder, u, feeder.two_port(taps), feeder.shunt(steps))

    def solve_batch(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: FloatArray | float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        vm = np.broadcast_to(self.feeder.slack_vm if slack_vm is None else slack_vm, len(injection_mva))
        solved = [
            self.solve(row, taps=taps, steps=steps, slack_vm=float(v)) for row, v in zip(injection_mva, vm, strict=True)
        ]
        u = np.array([s.u for s in solved]).reshape(injection_mva.shape)
        return Solution(self.feeder, u, self.feeder.two_port(taps), self.feeder.shunt(steps))

    def run(self, net: Any) -> None:
        """Solve the net: as strictly as its admittances allow."""
        import pandapower

        pandapower.runpp(
            net, calculate_voltage_angles=True, init="dc", max_iteration=60,
            tolerance_mva=self._tolerance_mva, numba=False, lightsim2grid=False,
        )  # fmt: skip

    def _voltages(self) -> ComplexArray:
        # Where buses are fused, pandapower numbers nodes by what stands at them, so the order is not the feeder's own.
        # Nodes without a bus (open line ends, star points) come last, in the same order everywhere.
        internal = np.array(self._net._ppc["internal"]["V"], dtype=np.complex128)
        named = self.feeder.node_bus >= 0
        place = np.asarray(self._net._pd2ppc_lookups["bus"])[self.feeder.node_bus[named]]
        u = np.empty(self.feeder.n_nodes, dtype=np.complex128)
        u[named] = internal[place]
        u[~named] = np.delete(internal, place)
        return u


def _with_node_injections(feeder: Feeder) -> Any:
    """Return the feeder's net with its loads, static generators and storage replaced by one `sgen` per node."""
    import pandapower

    net = skeleton(feeder.net)
    net.shunt.loc[net.shunt.index.isin(feeder.capacitors.index), "in_service"] = True
    for table in ("load", "sgen", "storage"):
        net[table] = net[table].iloc[:0]
    buses = feeder.node_bus[feeder.node_bus >= 0]
    net.sgen = pd.DataFrame(columns=net.sgen.columns).astype(net.sgen.dtypes)
    pandapower.create_sgens(net, buses, p_mw=0.0, q_mvar=0.0)
    return net
