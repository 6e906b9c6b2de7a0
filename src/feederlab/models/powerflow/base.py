"""The power-flow interface: node injections in, node voltages out, one step or many at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.branches import TwoPort
from feederlab.models.feeder import Feeder


@dataclass(frozen=True, eq=False)
class Solution:
    """Solved node voltages; everything else follows from them.

    u : (nodes,) or (steps, nodes) complex voltage (p.u.); NaN where the power flow has no solution.
    two_port, shunt : branch parameters and node shunts it was solved with.
    """

    feeder: Feeder
    u: ComplexArray
    two_port: TwoPort
    shunt: ComplexArray

    @cached_property
    def vm(self) -> FloatArray:
        """(..., nodes) voltage magnitude (p.u.)."""
        return np.abs(self.u)

    @property
    def converged(self) -> BoolArray:
        """(...) whether the power flow has a solution."""
        return np.asarray(np.isfinite(self.u.real).all(axis=-1))

    def branch_currents(self) -> tuple[ComplexArray, ComplexArray]:
        """Return the current into each branch at its from and to end, (..., branches), p.u."""
        yff, yft, ytf, ytt = self.two_port.admittances()
        u_f = self.u[..., self.feeder.branches.from_node]
        u_t = self.u[..., self.feeder.branches.to_node]
        return yff * u_f + yft * u_t, ytf * u_f + ytt * u_t

    def branch_flows_mva(self) -> tuple[ComplexArray, ComplexArray]:
        """Return the complex power into each branch at its from and to end, (..., branches), MVA."""
        i_f, i_t = self.branch_currents()
        base = self.feeder.base_mva
        s_f = self.u[..., self.feeder.branches.from_node] * np.conj(i_f) * base
        return s_f, self.u[..., self.feeder.branches.to_node] * np.conj(i_t) * base

    def branch_losses_mw(self) -> FloatArray:
        """Return the active losses of each branch, (..., branches), MW."""
        s_f, s_t = self.branch_flows_mva()
        return np.asarray((s_f + s_t).real)

    def losses_mw(self) -> FloatArray:
        """Return the active losses of all lines and transformers, (...), MW."""
        total: FloatArray = self.branch_losses_mw().sum(axis=-1)
        return total

    def loading_percent(self) -> FloatArray:
        """Return the loading of each branch against its current limit, (..., branches), %; NaN without a limit."""
        feeder, rows = self.feeder, self.feeder.branches
        i_f, i_t = self.branch_currents()
        ka = feeder.base_mva / np.sqrt(3) / feeder.node_vn_kv
        at_f = np.abs(i_f) * ka[rows.from_node] / rows.i_max_f_ka
        return np.asarray(100 * np.fmax(at_f, np.abs(i_t) * ka[rows.to_node] / rows.i_max_t_ka))

    def slack_mva(self) -> ComplexArray:
        """Return the power drawn from the external grid, (...), MVA; the slack node's own injection is not counted."""
        feeder = self.feeder
        s_f, s_t = self.branch_flows_mva()
        rows, slack = feeder.branches, feeder.slack
        into = s_f[..., rows.from_node == slack].sum(axis=-1) + s_t[..., rows.to_node == slack].sum(axis=-1)
        own = np.abs(self.u[..., slack]) ** 2 * np.conj(self.shunt[..., slack]) * feeder.base_mva
        return np.asarray(into + own)


class PowerFlow(ABC):
    """Solves one feeder for many injections.

    `injection_mva` is the complex power injected into each node (generation positive, MVA) by loads, static
    generators and storage; wards, motors and shunts belong to the feeder and are added by the engine.
    """

    def __init__(self, feeder: Feeder) -> None:
        self.feeder = feeder

    @abstractmethod
    def solve(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        """Solve one operating point.

        injection_mva : (nodes,) MVA.  taps : (tap changers,) positions.  steps : (capacitor banks,) closed steps.
        slack_vm : slack voltage magnitude (p.u.).  start : (nodes,) voltages near the answer, which may save time and
        change nothing else.  Defaults are the feeder's own values.  A power flow without solution gives NaN voltages,
        not an exception.
        """

    @abstractmethod
    def solve_batch(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: FloatArray | float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        """Solve many operating points with one setting of taps and steps; (steps, nodes) in, (steps, nodes) out."""


def engine(feeder: Feeder, name: str = "auto") -> PowerFlow:
    """Return a power-flow engine.

    ``"auto"`` is ``"fixed-point"``, or ``"pandapower"`` where voltage-controlled generators hold a node.
    """
    from feederlab.errors import InputError, UnknownNameError

    if name == "auto":
        name = "pandapower" if len(feeder.pv) else "fixed-point"
    if name == "pandapower":
        from feederlab.models.powerflow.pandapower import PandapowerFlow

        return PandapowerFlow(feeder)
    if name not in ("fixed-point", "power-grid-model"):
        raise UnknownNameError("power-flow engine", name, ["auto", "fixed-point", "power-grid-model", "pandapower"])
    if len(feeder.pv):
        raise InputError("the feeder has voltage-controlled generators (table gen): use the engine 'pandapower'")
    if name == "fixed-point":
        from feederlab.models.powerflow.fixed_point import FixedPointFlow

        return FixedPointFlow(feeder)
    from feederlab.models.powerflow.pgm import GridModelFlow

    return GridModelFlow(feeder)
