"""What a solved grid state costs: the named objectives and the voltage slack, the same for every method."""

from __future__ import annotations

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.objective import Objective
from feederlab.models.powerflow.base import Solution


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
) -> FloatArray:
    """Return, (...), the objective of a solved state, voltage penalty not included.

    slack_load_mw : (...) net consumption directly at the slack node.  p_available_mw, p_mw, q_mvar : (..., inverters).
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
            term = ((q_mvar / feeder.inverters.s_mva) ** 2).sum(axis=-1)
        else:
            raise ValueError(f"objective {name!r} has no value on a feeder")
        total = total + weight * term
    return total
