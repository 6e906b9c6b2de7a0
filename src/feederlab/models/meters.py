"""Power flows that a device's own meter reads: through tap changers, and towards capacitor banks."""

from __future__ import annotations

import numpy as np

from feederlab.models.arrays import BoolArray, ComplexArray, IntArray
from feederlab.models.powerflow.base import Solution

_NONE = np.zeros(0, dtype=np.complex128)


def tap_flow_mva(solved: Solution) -> ComplexArray:
    """Return the (tap changers,) power that flows through each transformer to the side it regulates, at that side."""
    changers = solved.feeder.tap_changers
    if not len(changers):
        return _NONE
    return _out_of(solved, changers.branch, solved.feeder.branches.to_node[changers.branch] == changers.node)


def capacitor_flow_mva(solved: Solution) -> ComplexArray:
    """Return the (capacitor banks,) power that arrives at each bank's node from the external grid's side.

    In a meshed feeder it is the branch by which a breadth-first search from the slack reaches the node; 0 for a bank at
    the slack, or without supply.
    """
    banks = solved.feeder.capacitors
    if not len(banks):
        return _NONE
    branch, at_to = solved.feeder.upstream
    row = np.where(banks.node >= 0, branch[banks.node], -1)
    flow = _out_of(solved, np.maximum(row, 0), at_to[banks.node])
    return np.where(row >= 0, flow, 0.0)


def _out_of(solved: Solution, row: IntArray, at_to: BoolArray) -> ComplexArray:
    """Return the power that leaves branches `row` at their to end, or where not `at_to` at their from end (MVA)."""
    rows, (yff, yft, ytf, ytt) = solved.feeder.branches, solved.two_port.take(row).admittances()
    u_f, u_t = solved.u[rows.from_node[row]], solved.u[rows.to_node[row]]
    here = np.where(at_to, u_t, u_f)
    current = np.where(at_to, ytf * u_f + ytt * u_t, yff * u_f + yft * u_t)
    return np.asarray(-here * np.conj(current) * solved.feeder.base_mva)
