"""The optimal power flow of a feeder in Pyomo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
import scipy.sparse as sp

from feederlab.models.acopf.bridge import extract
from feederlab.models.acopf.grid import Ends, NodePower, add_voltages, admittance_matrix, linear
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import ComplexArray, IntArray
from feederlab.models.setpoints import SetpointProblem


@dataclass(frozen=True, eq=False)
class FeederModel:
    """What stays the same from step to step.

    others : nodes but the slack.  scale_mva : unit of power, so that feeders of any size look alike to the solver.
    """

    problem: SetpointProblem
    ends: Ends
    others: IntArray
    scale_mva: float

    @classmethod
    def of(cls, problem: SetpointProblem) -> FeederModel:
        """Read a problem; power is in units of the feeder's rated power."""
        feeder = problem.feeder
        return cls(
            problem, ends=Ends.of(feeder.branches.from_node, feeder.branches.to_node),
            others=np.flatnonzero(np.arange(feeder.n_nodes) != feeder.slack), scale_mva=problem.rated_mva,
        )  # fmt: skip

    def admittance(self, taps: IntArray | None, steps: IntArray | None) -> sp.csr_matrix:
        """Return the (nodes, nodes) bus admittance matrix, per unit of `scale_mva`."""
        feeder = self.problem.feeder
        y = admittance_matrix(self.ends, feeder.two_port(taps).admittances(), feeder.shunt(steps))
        return y * (feeder.base_mva / self.scale_mva)

    def compile(self, taps: IntArray | None, steps: IntArray | None) -> QuadraticProgram:
        """Return the program of one setting of taps and steps.

        Variables e, f, u, c, s (`grid`), q and, with curtailment, p of the used inverters, p_slack and q_slack drawn
        from the external grid, and t, what each other node's u lies outside its band.  With a loading limit also i_re
        and i_im, the currents at the limited ends over their limits, and o, what their squared loading lies above the
        limit.  (Squared currents are linear in u, c and s too, but with squared admittances for coefficients, which
        costs half of the digits.)  Rows p_balance and q_balance have the given injections on their right-hand sides.
        """
        feeder, used = self.problem.feeder, self.problem.used.tolist()
        slack = feeder.slack
        model = pyo.ConcreteModel()
        add_voltages(model, self.ends, feeder.n_nodes)
        model.inverter = pyo.RangeSet(0, len(used) - 1)
        model.other = pyo.Set(initialize=self.others.tolist())
        model.q = pyo.Var(model.inverter)
        model.p_slack, model.q_slack = pyo.Var(), pyo.Var()
        model.t = pyo.Var(model.other, bounds=(0.0, None))
        p: Any = [0.0] * len(used)
        if self.problem.curtail:
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
        low, high = self.problem.band**2
        floor, roof = self.others[low[self.others] > 0], self.others[np.isfinite(high[self.others])]
        model.floor = pyo.Constraint(floor.tolist(), rule=lambda m, n: m.u[n] + m.t[n] >= float(low[n]))
        model.roof = pyo.Constraint(roof.tolist(), rule=lambda m, n: m.u[n] - m.t[n] <= float(high[n]))
        self._add_limits(model, taps)
        model.goal = pyo.Objective(expr=self._goal(model, feeder.shunt(steps)) / self.scale_mva)
        return extract(model)

    def _add_limits(self, model: pyo.ConcreteModel, taps: IntArray | None) -> None:
        limits = self.problem.limits
        ends = 0 if limits is None else len(limits.i_max)
        model.end = pyo.RangeSet(0, ends - 1)
        model.i_re, model.i_im = pyo.Var(model.end), pyo.Var(model.end)
        model.o = pyo.Var(model.end, bounds=(0.0, None))
        if limits is None:
            return
        matrix = limits.matrix(self.problem.feeder, taps)
        largest = limits.limit

        def current(k: int, real: bool) -> Any:
            parts = []
            for n, y in zip(matrix[k].indices.tolist(), matrix[k].data.tolist(), strict=True):
                by_e, by_f = (y.real, -y.imag) if real else (y.imag, y.real)
                parts += [(by_e, model.e[n]), (by_f, model.f[n])]
            return linear(parts)

        model.real_current = pyo.Constraint(model.end, rule=lambda m, k: m.i_re[k] - current(k, True) == 0)
        model.imaginary_current = pyo.Constraint(model.end, rule=lambda m, k: m.i_im[k] - current(k, False) == 0)
        model.loading = pyo.Constraint(model.end, rule=lambda m, k: m.i_re[k] ** 2 + m.i_im[k] ** 2 - m.o[k] <= largest)

    def _goal(self, model: pyo.ConcreteModel, shunt: ComplexArray) -> Any:
        """Objective plus penalty, less what no decision changes."""
        scale, problem = self.scale_mva, self.problem
        active = sum(model.p.values()) if problem.curtail else 0.0
        total = problem.voltage_penalty * (sum(model.t.values()) + sum(model.o.values()))
        for name, weight in problem.objective.weights:
            if name == "losses":
                # All that is injected and neither loads nor node shunts take: small coefficients, where the sum of
                # branch losses would be a difference of large ones.
                taken = sum(float(g) * model.u[n] for n, g in enumerate(shunt.real) if g) * problem.feeder.base_mva
                term = scale * (model.p_slack + active) - taken
            elif name == "voltage_deviation":
                term = sum((model.u[n] - problem.objective.v0**2) ** 2 for n in self.others.tolist())
            elif name == "substation_import":
                term = scale * model.p_slack
            elif name == "curtailment":
                term = -scale * active
            elif name == "storage_use":  # not decided here (`multiperiod` does)
                continue
            else:
                s = (problem.feeder.inverters.s_mva[problem.used] / scale).tolist()
                term = sum(model.q[k] ** 2 / s[k] ** 2 for k in model.inverter)
            total = total + weight * term
        return total
