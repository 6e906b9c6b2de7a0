"""What no action can do: lower bounds over all actions, from the cone relaxation of a radial feeder.

The branch-flow equations with ``l w >= P^2 + Q^2`` (`branchflow.cone`) hold for every AC state, so what is least over
them is a bound for every action within its limits.  A positive least excess proves that no action keeps the band; the
least change bounds what keeping it costs.  Where upper limits bind the relaxation invents line current that pulls
voltages down, and the bounds may be weak; they hold none the less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.branchflow.cone import grid_parameters
from feederlab.models.branchflow.parameters import BranchFlow, rated_flow
from feederlab.models.branchflow.relaxation import V_MAX, V_MIN
from feederlab.models.coneprogram import ConeProgram
from feederlab.models.predictors.actions import Actions, Limits

_SETTINGS = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10, "max_iter": 200}
_GRID = ("r", "x", "z2", "back", "g", "b", "w0", "load_p", "load_q")


@dataclass(frozen=True, eq=False)
class Bound:
    """A lower bound (-inf if the solver failed), and the actions (k,) that the relaxation reaches it with."""

    value: float
    actions: FloatArray


class Reach:
    """The relaxation of one feeder for one set of actions, compiled once.

    flow : of a radial feeder at its taps and steps.  band : (2, nodes) voltage magnitudes (p.u.).
    unit_mva : a size of the actions that is near one in the program.
    """

    def __init__(self, flow: BranchFlow, band: FloatArray, actions: Actions, unit_mva: float) -> None:
        self._flow, self._actions, self._unit = flow, actions, unit_mva
        self._scale, self._below = rated_flow(flow.feeder), flow.below
        low, high = np.asarray(band, dtype=float)[:, flow.feeder.tree.child] ** 2 - 1.0
        self._program = ConeProgram(self._problem(low, high), "CLARABEL", _SETTINGS)

    def least_excess(self, rest_mva: ComplexArray, slack_vm: float, limits: Limits) -> Bound:
        """Bound the voltage excess (`scoring.voltage_excess`, p.u. of squared magnitude) of all actions.

        rest_mva : (nodes,) injection of everything but the actions (MVA).
        """
        return self._solve(rest_mva, slack_vm, limits, None)

    def least_change(self, rest_mva: ComplexArray, slack_vm: float, limits: Limits, proposed: FloatArray) -> Bound:
        """Bound 1/2 |a - proposed|^2 (MW^2) over all actions that keep the band."""
        found, unit = self._solve(rest_mva, slack_vm, limits, proposed), self._unit
        constant = 0.5 * float(np.square(proposed / unit).sum())
        return Bound(unit**2 * max(found.value + constant, 0.0), found.actions)

    def _solve(
        self, rest_mva: ComplexArray, slack_vm: float, limits: Limits, proposed: FloatArray | None
    ) -> Bound:  # fmt: skip
        flow, tree, scale, unit = self._flow, self._flow.feeder.tree, self._scale, self._unit
        take, v_slack = flow.consumption(rest_mva), slack_vm**2
        at_child = take[tree.child] + np.conj(flow.shunt[tree.child])  # the reference of v is 1 p.u.
        slack = 0.0 if proposed is not None else V_MAX
        low, high = limits.low / unit, limits.high / unit
        solved = self._program.solve(
            **grid_parameters(flow, scale), w0=np.where(tree.up >= 0, 1.0, v_slack) / flow.ratio2,
            load_p=at_child.real / scale, load_q=at_child.imag / scale, low=low, high=high,
            quadratic=0.0 if proposed is None else 0.5, slack_price=1.0 if proposed is None else 0.0,
            linear=np.zeros(len(low)) if proposed is None else -proposed / unit, slack_max=slack,
        )  # fmt: skip
        current = self._largest_current(take, limits)
        most = current * np.sqrt(np.where(tree.up >= 0, V_MAX, v_slack) / flow.ratio2)
        box = self._program.box({
            "P": (-most, most), "Q": (-most, most), "l": (0.0, current**2), "v": (V_MIN - 1.0, V_MAX - 1.0),
            "slack": (0.0, slack), "a": (low, high),
        })  # fmt: skip
        return Bound(self._program.lower_bound(solved, box), unit * solved.values["a"])

    def _largest_current(self, take: ComplexArray, limits: Limits) -> FloatArray:
        """Return (m,) what no scaled current exceeds, as `relaxation.Step` does."""
        flow, tree = self._flow, self._flow.feeder.tree
        drawn = np.abs(take)
        most = np.maximum(np.abs(limits.low), np.abs(limits.high)) / flow.feeder.base_mva
        np.add.at(drawn, self._actions.node, most)
        drawn = drawn / np.sqrt(V_MIN) + np.abs(flow.shunt) * np.sqrt(V_MAX)
        passed = np.sqrt(np.exp(self._below.T @ np.log(flow.ratio2)))
        return np.asarray(passed[tree.child] * (self._below @ (drawn / passed)) / self._scale)

    def _problem(self, low: FloatArray, high: FloatArray) -> Any:
        """Return the cvxpy problem; its variables are scaled as in `branchflow.cone`."""
        import cvxpy as cp

        feeder, scale, k = self._flow.feeder, self._scale, len(self._actions)
        tree, m = feeder.tree, len(feeder.tree)
        rows = np.flatnonzero(tree.up >= 0)
        to_parent = sp.csr_array((np.ones(len(rows)), (rows, tree.up[rows])), shape=(m, m))
        ratio = scale[rows] / scale[tree.up[rows]]
        children = sp.csr_array((ratio, (tree.up[rows], rows)), shape=(m, m))
        row_of = np.full(feeder.n_nodes, -1)
        row_of[tree.child] = np.arange(m)
        at = row_of[self._actions.node]
        on, unit = np.flatnonzero(at >= 0), self._actions.unit * self._unit / feeder.base_mva
        inject_p, inject_q = (
            sp.csr_array((part[on] / scale[at[on]], (at[on], on)), shape=(m, k)) for part in (unit.real, unit.imag)
        )  # fmt: skip
        p_flow, q_flow, current, v, slack = (cp.Variable(m, name=name) for name in ("P", "Q", "l", "v", "slack"))
        a = cp.Variable(k, name="a")
        par = {name: cp.Parameter(m, name=name, value=np.zeros(m)) for name in _GRID}
        side = {name: cp.Parameter(k, name=name, value=np.zeros(k)) for name in ("low", "high", "linear")}
        one = {name: cp.Parameter(nonneg=True, name=name, value=1.0)
               for name in ("quadratic", "slack_price", "slack_max")}  # fmt: skip
        w = cp.multiply(par["back"], to_parent @ v) + par["w0"]
        take_p = cp.multiply(par["g"], v) + par["load_p"] - inject_p @ a
        take_q = par["load_q"] - cp.multiply(par["b"], v) - inject_q @ a
        drop = cp.multiply(par["r"], p_flow) + cp.multiply(par["x"], q_flow)
        cost = one["quadratic"] * cp.sum_squares(a) + side["linear"] @ a + one["slack_price"] * cp.sum(slack)
        return cp.Problem(
            cp.Minimize(cost),
            [
                p_flow - cp.multiply(par["r"], current) - children @ p_flow == take_p,
                q_flow - cp.multiply(par["x"], current) - children @ q_flow == take_q,
                v + 1.0 == w - 2 * drop + cp.multiply(par["z2"], current),
                cp.SOC(w + current, cp.vstack([2 * p_flow, 2 * q_flow, w - current]), axis=0),
                v - slack <= high,
                -v - slack <= -low,
                slack >= 0,
                slack <= one["slack_max"],
                a >= side["low"],
                a <= side["high"],
            ],
        )
