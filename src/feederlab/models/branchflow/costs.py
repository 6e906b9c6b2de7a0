"""The objective at one operating point as coefficients of the relaxation's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branchflow.cone import QUADRATIC
from feederlab.models.branchflow.parameters import BranchFlow

_TIE = 1e-7  # of the objective's unit


@dataclass(frozen=True, eq=False)
class Stage:
    """What the coefficients depend on.

    used : inverters that take part.  flow_scale : (m,) unit of the branch flows (p.u.).  v_ref, v_slack : squared
    (p.u.).  p_available_mw, p_fixed_mw : (inverters,) on offer; injected whatever is decided.
    root_take : consumption at the root (p.u.).  flow_guess : (m,) branch flows at q = 0 without losses (p.u.).
    current_max : (m,) largest squared current that is considered, in units of the flow's square.
    storage_use_mw : sum of |p| of the storage units (MW).
    """

    flow: BranchFlow
    used: IntArray
    flow_scale: FloatArray
    v_ref: float
    v_slack: float
    p_available_mw: FloatArray
    p_fixed_mw: FloatArray
    root_take: float
    flow_guess: ComplexArray
    current_max: FloatArray
    curtail: bool
    storage_use_mw: float = 0.0


@dataclass(frozen=True, eq=False)
class Costs:
    """Linear coefficients by variable and weights of the quadratic terms, in units of the objective.

    constant : what no variable moves.  unit : a scale that brings the optimum near one, so that the solver's absolute
    tolerances are relative ones.
    floor : 0 where no state costs less, whatever its setpoints; else -inf.
    tie : (m,) a price of squared current where r is not positive, so small that all of it together (`tie_max`) does
    not matter: without one the current is free there, and any is as good as the true one.
    """

    linear: Mapping[str, FloatArray]
    quadratic: Mapping[str, float]
    penalty: float
    constant: float
    unit: float
    floor: float
    tie: FloatArray
    tie_max: float

    @classmethod
    def of(cls, stage: Stage, weights: Mapping[str, float], penalty: float) -> Costs:
        """Return the coefficients of the weighted terms plus `penalty` times the voltage excess."""
        flow, feeder = stage.flow, stage.flow.feeder
        tree, base, root = feeder.tree, feeder.base_mva, feeder.tree.root
        c_flow, c_current, c_v = (np.zeros(len(tree)) for _ in range(3))
        c_p, constant = np.zeros(len(stage.used)), 0.0
        rating = feeder.inverters.s_mva[stage.used]
        if weight := base * weights.get("losses", 0.0):
            c_current += weight * flow.r * stage.flow_scale**2
            c_v += weight * flow.branch_g[tree.child]
            no_load = flow.branch_g[tree.child].sum() * stage.v_ref + flow.branch_g[root] * stage.v_slack
            constant += weight * float(no_load)
        if weight := base * weights.get("substation_import", 0.0):
            c_flow += weight * stage.flow_scale * (tree.up < 0)
            c_p -= weight * rating / base * (feeder.inverters.node[stage.used] == root)
            constant += weight * (stage.root_take + float(flow.shunt[root].real) * stage.v_slack)
        if weight := weights.get("curtailment", 0.0):
            c_p -= weight * rating
            constant += weight * float((stage.p_available_mw - stage.p_fixed_mw).sum())
        constant += weights.get("storage_use", 0.0) * stage.storage_use_mw
        linear = {"P": c_flow, "l": c_current, "v": c_v}
        if stage.curtail and len(c_p):
            linear["p"] = c_p
        quadratic = {name: weights.get(name, 0.0) for name in QUADRATIC}
        unit = _unit(stage, weights)
        tie = np.where(flow.r > 0, 0.0, np.abs(flow.x) * stage.flow_scale**2)
        total = float(tie @ stage.current_max)
        tie_max = _TIE * unit if total > 0 else 0.0
        tie = tie * (tie_max / total if total > 0 else 0.0)
        return cls(linear, quadratic, penalty, constant, unit, _floor(flow, weights), tie, tie_max)

    def in_units_of(self, unit: float) -> Costs:
        """Return the same costs at another scale."""
        share = unit / self.unit
        return replace(self, unit=unit, tie=self.tie * share, tie_max=self.tie_max * share)

    def parameters(self, known: Mapping[str, object]) -> dict[str, FloatArray | float]:
        """Return the cone program's parameters; terms that it does not have are left out."""
        scaled: dict[str, FloatArray | float] = {f"c_{name}": c / self.unit for name, c in self.linear.items()}
        scaled["c_l"] = (self.linear["l"] + self.tie) / self.unit
        scaled |= {name: weight / self.unit for name, weight in self.quadratic.items() if name in known}
        return scaled | {"c_slack": self.penalty / self.unit}

    def in_units(self, bound: float) -> float:
        """Return a lower bound of the cone program's objective in units of the objective."""
        value = bound * self.unit - self.tie_max + self.constant
        return max(value, self.floor) if np.isfinite(value) else value

    def scaled(self, upper: float) -> float:
        """Return what the cone program's objective cannot exceed in a state that costs at most `upper`."""
        return (upper + self.tie_max - self.constant) / self.unit

    def value(self, x: Mapping[str, FloatArray]) -> float:
        """Return the cost of the variables `x`."""
        total = self.constant + self.penalty * x["slack"].sum() + sum(c @ x[name] for name, c in self.linear.items())
        total += self.quadratic["voltage_deviation"] * np.sum(x["v"] ** 2)
        return float(total + self.quadratic["control_effort"] * np.sum(x.get("q", np.zeros(0)) ** 2))


def _floor(flow: BranchFlow, weights: Mapping[str, float]) -> float:
    """Return 0 if no term can be negative: all but imports, and losses of branches that are all passive."""
    passive = bool((flow.r >= 0).all() and (flow.branch_g >= 0).all())
    signed = {"substation_import"} if passive else {"substation_import", "losses"}
    return -np.inf if any(weights.get(name, 0.0) > 0 for name in signed) else 0.0


def _unit(stage: Stage, weights: Mapping[str, float]) -> float:
    """Return the size of the objective at q = 0, by the flows without losses; 1 for the excess alone."""
    if not weights:
        return 1.0
    flow, base = stage.flow, stage.flow.feeder.base_mva
    losses = base * float(flow.r @ np.abs(stage.flow_guess) ** 2)
    rated = base * float(stage.flow_scale.max())
    drop = flow.r * stage.flow_guess.real + flow.x * stage.flow_guess.imag
    sizes = {
        "losses": losses + 1e-6 * rated,
        "substation_import": losses + 1e-6 * rated,
        "curtailment": 1e-2 * float(stage.p_available_mw.sum()) + 1e-6 * rated,
        "voltage_deviation": len(drop) * (float(np.abs(drop).max(initial=0.0)) + abs(stage.v_slack - stage.v_ref)) ** 2
        + 1e-6,
        "control_effort": 1e-2 * len(stage.used) + 1e-6,
        "storage_use": stage.storage_use_mw + 1e-6 * rated,
    }
    return float(sum(weight * sizes[name] for name, weight in weights.items() if weight > 0)) or 1.0
