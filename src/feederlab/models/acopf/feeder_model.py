"""The optimal power flow of a feeder in Pyomo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp

from feederlab.models.acopf.bridge import extract
from feederlab.models.acopf.grid import Ends, NodePower, add_voltages, admittance_matrix
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective


@dataclass(frozen=True, eq=False)
class FeederModel:
    """What stays the same from step to step.

    used : inverters that are connected and have a rating.  others : nodes but the slack.
    scale_mva : unit of power, so that feeders of any size look alike to the solver.
    """

    feeder: Feeder
    band: FloatArray
    objective: Objective
    voltage_penalty: float
    curtail: bool
    ends: Ends
    used: IntArray
    others: IntArray
    scale_mva: float

    @classmethod
    def of(
        cls, feeder: Feeder, band: FloatArray, objective: Objective, voltage_penalty: float, curtail: bool
    ) -> FeederModel:
        """Read a feeder; power is in units of its peak load or inverter rating, whichever is larger."""
        inverters, loads = feeder.inverters, feeder.loads
        load = float(np.abs((loads.p_mw + 1j * loads.q_mvar) * loads.scaling).sum())
        return cls(
            feeder, np.asarray(band, dtype=float), objective, voltage_penalty, curtail,
            ends=Ends.of(feeder.branches.from_node, feeder.branches.to_node),
            used=np.flatnonzero((inverters.node >= 0) & (inverters.s_mva > 0)),
            others=np.flatnonzero(np.arange(feeder.n_nodes) != feeder.slack),
            scale_mva=max(load, float(inverters.s_mva.sum())) or feeder.base_mva,
        )  # fmt: skip

    def admittance(self, taps: IntArray | None, steps: IntArray | None) -> sp.csr_matrix:
        """Return the (nodes, nodes) bus admittance matrix, per unit of `scale_mva`."""
        y = admittance_matrix(self.ends, self.feeder.two_port(taps).admittances(), self.feeder.shunt(steps))
        return y * (self.feeder.base_mva / self.scale_mva)

    def compile(self, taps: IntArray | None, steps: IntArray | None) -> QuadraticProgram:
        """Return the program of one setting of taps and steps.

        Variables e, f, u, c, s (`grid`), q and, with curtailment, p of the used inverters, p_slack and q_slack drawn
        from the external grid, and t, what each other node's u lies outside its band.  Rows p_balance and q_balance
        have the given injections on their right-hand sides.
        """
        feeder, used, slack = self.feeder, self.used.tolist(), self.feeder.slack
        model = pyo.ConcreteModel()
        add_voltages(model, self.ends, feeder.n_nodes)
        model.inverter = pyo.RangeSet(0, len(used) - 1)
        model.other = pyo.Set(initialize=self.others.tolist())
        model.q = pyo.Var(model.inverter)
        model.p_slack, model.q_slack = pyo.Var(), pyo.Var()
        model.t = pyo.Var(model.other, bounds=(0.0, None))
        p: Any = [0.0] * len(used)
        if self.curtail:
            p = model.p = pyo.Var(model.inverter, bounds=(0.0, None))
            s2 = ((feeder.inverters.s_mva[used] / self.scale_mva) ** 2).tolist()
            model.disc = pyo.Constraint(model.inverter, rule=lambda m, k: m.p[k] ** 2 + m.q[k] ** 2 <= s2[k])
        at: dict[int, list[int]] = {}
        for k, i in enumerate(used):
            at.setdefault(int(feeder.inverters.node[i]), []).append(k)
        power = NodePower(model, self.ends, self.admittance(taps, steps))

        def decided(output: Any, import_: Any, node: int) -> Any:
            return sum(output[k] for k in at.get(node, [])) + (import_ if node == slack else 0.0)

        model.p_balance = pyo.Constraint(model.node, rule=lambda m, n: power.active(n) - decided(p, m.p_slack, n) == 0)
        model.q_balance = pyo.Constraint(
            model.node, rule=lambda m, n: power.reactive(n) - decided(m.q, m.q_slack, n) == 0
        )
        low, high = self.band**2
        floor, roof = self.others[low[self.others] > 0], self.others[np.isfinite(high[self.others])]
        model.floor = pyo.Constraint(floor.tolist(), rule=lambda m, n: m.u[n] + m.t[n] >= float(low[n]))
        model.roof = pyo.Constraint(roof.tolist(), rule=lambda m, n: m.u[n] - m.t[n] <= float(high[n]))
        model.goal = pyo.Objective(expr=self._goal(model, feeder.shunt(steps)) / self.scale_mva)
        return extract(model)

    def _goal(self, model: pyo.ConcreteModel, shunt: ComplexArray) -> Any:
        """Objective plus penalty, less what no decision changes."""
        scale = self.scale_mva
        active = sum(model.p.values()) if self.curtail else 0.0
        total = self.voltage_penalty * sum(model.t.values())
        for name, weight in self.objective.weights:
            if name == "losses":
                # All that is injected and neither loads nor node shunts take: small coefficients, where the sum of
                # branch losses would be a difference of large ones.
                taken = sum(float(g) * model.u[n] for n, g in enumerate(shunt.real) if g) * self.feeder.base_mva
                term = scale * (model.p_slack + active) - taken
            elif name == "voltage_deviation":
                term = sum((model.u[n] - self.objective.v0**2) ** 2 for n in self.others.tolist())
            elif name == "substation_import":
                term = scale * model.p_slack
            elif name == "curtailment":
                term = -scale * active
            else:
                s = (self.feeder.inverters.s_mva[self.used] / scale).tolist()
                term = sum(model.q[k] ** 2 / s[k] ** 2 for k in model.inverter)
            total = total + weight * term
        return total
