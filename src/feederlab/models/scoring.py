"""What a solved grid state costs: the named objectives and the voltage slack, the same for every method."""

from __future__ import annotations

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.feeder import Feeder
from feederlab.models.objective import VOLTAGE_PENALTY, Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import PowerFlow, Solution


def voltage_excess(u: ComplexArray, band: FloatArray, slack: int) -> FloatArray:
    """Return, (...), the sum over all nodes but the slack of what |u|^2 lies outside the squared band (p.u.).

    u : (..., nodes).  band : (2, nodes) magnitudes (p.u.).
    """
    v, (low, high) = np.abs(u) ** 2, band**2
    outside = np.maximum(v - high, 0.0) + np.maximum(low - v, 0.0)
    outside[..., slack] = 0.0
    return np.asarray(outside.sum(axis=-1))


def voltage_deviation(u: ComplexArray, v0: float, slack: int) -> FloatArray:
    """Return, (...), the sum over all nodes but the slack of (|u|^2 - v0^2)^2."""
    square = (np.abs(u) ** 2 - v0**2) ** 2
    square[..., slack] = 0.0
    return np.asarray(square.sum(axis=-1))


def objective_value(
    objective: Objective,
    solved: Solution,
    *,
    slack_load_mw: FloatArray | float,
    p_available_mw: FloatArray,
    p_mw: FloatArray,
    q_mvar: FloatArray,
    storage_use_mw: FloatArray | float = 0.0,
) -> FloatArray:
    """Return, (...), the objective of a solved state, voltage penalty not included.

    slack_load_mw : (...) net consumption directly at the slack node.  p_available_mw, p_mw, q_mvar : (..., inverters).
    storage_use_mw : (...) sum of |p| of the storage units.
    """
    feeder, total = solved.feeder, np.zeros(np.shape(solved.u)[:-1])
    for name, weight in objective.weights:
        if weight == 0:
            continue
        if name == "losses":
            term: FloatArray = solved.losses_mw()
        elif name == "voltage_deviation":
            term = voltage_deviation(solved.u, objective.v0, feeder.slack)
        elif name == "substation_import":
            term = solved.slack_mva().real + slack_load_mw
        elif name == "curtailment":
            term = (p_available_mw - p_mw).sum(axis=-1)
        elif name == "control_effort":
            rating = feeder.inverters.s_mva  # 0 where PV is scaled to nothing: q is 0 as well
            term = ((q_mvar / np.where(rating > 0, rating, 1.0)) ** 2).sum(axis=-1)
        elif name == "storage_use":
            term = np.asarray(storage_use_mw, dtype=float)
        else:
            raise ValueError(f"objective {name!r} has no value on a feeder")
        total = total + weight * term
    return total


def setpoint_cost(
    objective: Objective,
    penalty: float,
    flow: PowerFlow,
    band: FloatArray,
    point: OperatingPoint,
    p_mw: FloatArray,
    q_mvar: FloatArray,
) -> tuple[float, float]:
    """Return objective plus voltage penalty, and the voltage excess (p.u.), of setpoints in an AC power flow.

    penalty : objective units per p.u. of excess.  band : (2, nodes) (p.u.).  p_mw, q_mvar : (inverters,).
    Both are inf where the power flow has no solution.
    """
    feeder, injection = flow.feeder, point.injection_mva(flow.feeder, p_mw, q_mvar)
    solved = flow.solve(injection, taps=point.taps, steps=point.steps, slack_vm=point.slack_vm)
    if not solved.converged:
        return np.inf, np.inf
    excess = float(voltage_excess(solved.u, band, feeder.slack))
    at_slack = -injection[feeder.slack].real - feeder.node_fixed[feeder.slack].real * feeder.base_mva
    value = objective_value(
        objective, solved, slack_load_mw=float(at_slack), p_available_mw=point.p_available_mw, p_mw=p_mw, q_mvar=q_mvar,
        storage_use_mw=point.storage_use_mw,
    )  # fmt: skip
    return float(value) + penalty * excess, excess


def voltage_penalty(objective: Objective, feeder: Feeder) -> float:
    """Return the price of one p.u. of voltage excess (squared magnitude) in the objective's units.

    It is `VOLTAGE_PENALTY` times the size of what could be won by leaving the band: rated power for terms in MW (the
    larger of the loads' and the inverters'), 0.2 per node for `voltage_deviation` (its slope at the edge of a 5 %
    band), one per inverter for `control_effort`.  Above any price that the objective can pay, the penalised problem
    has the constrained one's solution wherever that exists.
    """
    loads = float(np.abs(feeder.loads.p_mw * feeder.loads.scaling).sum())
    rated = max(loads, float(feeder.inverters.s_mva.sum())) or feeder.base_mva
    sizes = {"voltage_deviation": 0.2 * feeder.n_nodes, "control_effort": float(max(len(feeder.inverters), 1))}
    return VOLTAGE_PENALTY * sum(weight * sizes.get(name, rated) for name, weight in objective.weights)
