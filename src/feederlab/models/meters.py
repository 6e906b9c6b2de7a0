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

    In a meshed feeder it comes from the node by which a breadth-first search from the slack reaches the bank's, over
    all branches between the two; 0 for a bank at the slack, or without supply.
    """
    feeder, total = solved.feeder, np.zeros(len(solved.feeder.capacitors), dtype=np.complex128)
    if not len(total):
        return _NONE
    bank, row, at_to = feeder.feeding_capacitors
    np.add.at(total, bank, _out_of(solved, row, at_to))
    return total


def _out_of(solved: Solution, row: IntArray, at_to: BoolArray) -> ComplexArray:
    """Return the power that leaves branches `row` at their to end, or where not `at_to` at their from end (MVA)."""
    rows, (yff, yft, ytf, ytt) = solved.feeder.branches, solved.two_port.take(row).admittances()
    u_f, u_t = solved.u[rows.from_node[row]], solved.u[rows.to_node[row]]
    here = np.where(at_to, u_t, u_f)
    current = np.where(at_to, ytf * u_f + ytt * u_t, yff * u_f + yft * u_t)
    return np.asarray(-here * np.conj(current) * solved.feeder.base_mva)
