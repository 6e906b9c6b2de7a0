"""Optimal power flow of a MATPOWER case: generator dispatch at least cost, losses, deviation or import."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo

from feederlab.errors import InputError
from feederlab.models.acopf.bridge import extract
from feederlab.models.acopf.case_grid import CaseGrid
from feederlab.models.acopf.costs import generation_cost
from feederlab.models.acopf.grid import (
    NodePower,
    add_voltages,
    admittance_matrix,
    branch_power,
    current_square,
    linear,
    pair_values,
)
from feederlab.models.acopf.ipopt import Ipopt, IpoptResult
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.objective import Objective

OBJECTIVES = ("cost", "losses", "voltage_deviation", "substation_import")


def build(grid: CaseGrid, objective: Objective) -> QuadraticProgram:
    """Return the optimal power flow of a case.

    Raises
    ------
    InputError
        If the objective has no meaning on a case, or a cost curve is neither quadratic nor convex piecewise linear.
    """
    for name, _ in objective.weights:
        if name not in OBJECTIVES:
            raise InputError(f"objective {name!r} has no value on a MATPOWER case; choose from {', '.join(OBJECTIVES)}")
    model, ends = pyo.ConcreteModel(), grid.ends
    nodes, gens = len(grid.bus_id), len(grid.gen_node)
    add_voltages(model, ends, nodes)
    for n in range(nodes):
        model.u[n].setlb(grid.vm_low[n] ** 2)
        model.u[n].setub(grid.vm_high[n] ** 2)
    turn = np.exp(1j * grid.slack_rad)
    for n, u in zip(grid.slack.tolist(), turn, strict=True):
        # The voltage at a reference bus points along its angle: Im(U conj(turn)) = 0, Re >= 0.
        model.e[n].value, model.f[n].value = float(u.real), float(u.imag)
    model.reference = pyo.Constraint(
        range(len(turn)),
        rule=lambda m, k: (
            linear([(float(turn[k].real), m.f[int(grid.slack[k])]), (-float(turn[k].imag), m.e[int(grid.slack[k])])])
            == 0
        ),
    )
    model.gen = pyo.RangeSet(0, gens - 1)
    model.p = pyo.Var(model.gen, bounds=lambda m, g: (grid.p_low[g], grid.p_high[g]))
    model.q = pyo.Var(model.gen, bounds=lambda m, g: (grid.q_low[g], grid.q_high[g]))
    for g in range(gens):
        model.p[g].value = _middle(grid.p_low[g], grid.p_high[g])
        model.q[g].value = _middle(grid.q_low[g], grid.q_high[g])
    power = NodePower(model, ends, admittance_matrix(ends, grid.admittances, grid.shunt))
    here: list[list[int]] = [[] for _ in range(nodes)]
    for g, n in enumerate(grid.gen_node.tolist()):
        here[n].append(g)
    model.p_balance = pyo.Constraint(
        model.node, rule=lambda m, n: power.active(n) - sum(m.p[g] for g in here[n]) == -grid.demand[n].real
    )
    model.q_balance = pyo.Constraint(
        model.node, rule=lambda m, n: power.reactive(n) - sum(m.q[g] for g in here[n]) == -grid.demand[n].imag
    )
    fixed = np.flatnonzero(np.isfinite(grid.power_factor)).tolist()
    model.power_factor = pyo.Constraint(fixed, rule=lambda m, g: m.q[g] - float(grid.power_factor[g]) * m.p[g] == 0)
    _add_branch_limits(model, grid)
    model.goal = pyo.Objective(expr=_goal(model, grid, objective))
    return extract(model)


def _middle(low: float, high: float) -> float:
    if np.isfinite(low) and np.isfinite(high):
        return float(low + high) / 2
    return float(np.clip(0.0, low, high))


def _add_branch_limits(model: pyo.ConcreteModel, grid: CaseGrid) -> None:
    yff, yft, ytf, ytt = grid.admittances
    limited = np.flatnonzero(np.isfinite(grid.rating)).tolist()

    def flow(m: Any, k: int, at_to: int) -> Any:
        own, mutual = (ytt[k], ytf[k]) if at_to else (yff[k], yft[k])
        limit = float(grid.rating[k]) ** 2
        if grid.rating_is_current:
            return current_square(m, grid.ends, k, complex(own), complex(mutual), bool(at_to)) <= limit
        p, q = branch_power(m, grid.ends, k, complex(own), complex(mutual), bool(at_to))
        return p**2 + q**2 <= limit

    model.flow = pyo.Constraint(limited, [0, 1], rule=flow)
    # tan(theta_from - theta_to) = s / c, and c > 0 within a quarter turn.
    sign = np.where(grid.ends.flipped, -1.0, 1.0)
    low = np.flatnonzero(np.isfinite(grid.angle_low)).tolist()
    high = np.flatnonzero(np.isfinite(grid.angle_high)).tolist()

    def turned(m: Any, k: int, limit: float) -> Any:
        pair = int(grid.ends.pair[k])
        return float(sign[k]) * m.s[pair] - float(np.tan(limit)) * m.c[pair]

    model.angle_low = pyo.Constraint(low, rule=lambda m, k: turned(m, k, float(grid.angle_low[k])) >= 0)
    model.angle_high = pyo.Constraint(high, rule=lambda m, k: turned(m, k, float(grid.angle_high[k])) <= 0)


def _goal(model: pyo.ConcreteModel, grid: CaseGrid, objective: Objective) -> Any:
    base, total = grid.base_mva, 0.0
    at_slack = np.isin(grid.gen_node, grid.slack)
    for name, weight in objective.weights:
        if name == "cost":
            term: Any = generation_cost(model, grid)
        elif name == "losses":
            # What generators inject and neither demand nor node shunts take.
            injected = sum(model.p[g] for g in model.gen)
            shunts = sum(float(g) * model.u[n] for n, g in enumerate(grid.shunt.real) if g)
            term = base * (injected - shunts - float(grid.demand.real.sum()))
        elif name == "voltage_deviation":
            others = sorted(set(range(len(grid.bus_id))) - set(grid.slack.tolist()))
            term = sum((model.u[n] - objective.v0**2) ** 2 for n in others)
        else:
            term = base * sum(model.p[g] for g in np.flatnonzero(at_slack).tolist())
        total = total + weight * term
    return total


@dataclass(frozen=True, eq=False)
class CaseState:
    """A solved dispatch: node voltages (nodes,), generator power (gens,), p.u., and Ipopt's report."""

    voltage: ComplexArray
    power: ComplexArray
    report: IpoptResult

    def flows(self, grid: CaseGrid) -> tuple[ComplexArray, ComplexArray]:
        """Return the power into each branch at its from and to end, (branches,), p.u."""
        yff, yft, ytf, ytt = grid.admittances
        uf, ut = self.voltage[grid.ends.from_node], self.voltage[grid.ends.to_node]
        return uf * np.conj(yff * uf + yft * ut), ut * np.conj(ytf * uf + ytt * ut)

    def losses(self, grid: CaseGrid) -> float:
        """Return the active losses of all branches (p.u.)."""
        s_f, s_t = self.flows(grid)
        return float((s_f + s_t).real.sum())

    def violation(self, grid: CaseGrid) -> float:
        """Return the largest violation of any limit or power balance (p.u., rad), from the complex voltages alone."""
        vm, s, (s_f, s_t) = np.abs(self.voltage), self.power, self.flows(grid)
        injected = -grid.demand - np.conj(grid.shunt) * vm**2
        np.add.at(injected, grid.gen_node, s)
        np.subtract.at(injected, grid.ends.from_node, s_f)
        np.subtract.at(injected, grid.ends.to_node, s_t)
        if grid.rating_is_current:
            s_f, s_t = s_f / vm[grid.ends.from_node], s_t / vm[grid.ends.to_node]
        angle = np.angle(self.voltage[grid.ends.from_node] * np.conj(self.voltage[grid.ends.to_node]))
        broken: list[FloatArray] = [
            np.abs(injected), grid.vm_low - vm, vm - grid.vm_high, grid.p_low - s.real, s.real - grid.p_high,
            grid.q_low - s.imag, s.imag - grid.q_high, np.abs(s_f) - grid.rating, np.abs(s_t) - grid.rating,
            grid.angle_low - angle, angle - grid.angle_high,
        ]  # fmt: skip
        return max(0.0, max(float(np.max(b, initial=0.0)) for b in broken))


def solve(grid: CaseGrid, objective: Objective, ipopt: Ipopt | None = None) -> CaseState:
    """Solve a case from a flat start."""
    program = _started(build(grid, objective), grid)
    report = (ipopt or Ipopt()).solve(program)
    x, at = report.end.x, program.variables
    return CaseState(x[at["e"]] + 1j * x[at["f"]], x[at["p"]] + 1j * x[at["q"]], report)


def _started(program: QuadraticProgram, grid: CaseGrid) -> QuadraticProgram:
    """Return the program with a flat start: 1 p.u. everywhere, along the first reference angle."""
    turn = np.full(len(grid.bus_id), np.exp(1j * grid.slack_rad[0]))
    x, product = program.x0.copy(), pair_values(grid.ends, turn)
    for name, values in (("e", turn.real), ("f", turn.imag), ("c", product.real), ("s", product.imag)):
        x[program.variables[name]] = values
    return replace(program, x0=x)
