"""The relaxed branch-flow equations as a parametrised cone program, scaled branch by branch.

With S_k the rated flow of branch k, its variables are ``P/S_k``, ``Q/S_k`` and ``l/S_k^2``, which are near one; v is
the difference to a reference (so that ``sum (v - v0)^2`` loses no digits); q and p are in ratings of their inverter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.feeder import Feeder

QUADRATIC = ("voltage_deviation", "control_effort")
"""Terms of the objective that need a quadratic part."""


def cone_problem(
    feeder: Feeder,
    used: IntArray,
    flow_scale: FloatArray,
    band2: FloatArray,
    v_ref: float,
    *,
    curtail: bool,
    terms: set[str],
    cuts: bool = False,
) -> Any:
    """Return the cvxpy problem.

    used : inverters that take part.  flow_scale : (m,) S_k (p.u.).  band2 : (2, m) squared band of the child nodes.
    v_ref : reference of v (squared p.u.).  terms : names of the quadratic terms of the objective.
    cuts : whether it has `CUTS`, two rows per branch that bound its squared current from above (`tightening`).

    Variables: P, Q, l, v, slack (m,); q, and p with `curtail` (used inverters,).
    Parameters of the grid: r, x, z2, back, g, b, w0 (`grid_parameters`); of the step: load_p, load_q, q_max or p_max;
    of the objective: c_P, c_l, c_v, c_p, c_slack, and one weight per quadratic term; of the cuts: `CUTS`.
    """
    import cvxpy as cp

    tree, m, n = feeder.tree, len(feeder.tree), len(used)
    inner = tree.up >= 0
    rows = np.flatnonzero(inner)
    to_parent = sp.csr_array((np.ones(len(rows)), (rows, tree.up[rows])), shape=(m, m))
    ratio = flow_scale[rows] / flow_scale[tree.up[rows]]
    children = sp.csr_array((ratio, (tree.up[rows], rows)), shape=(m, m))
    p_flow, q_flow, current, v, slack = (cp.Variable(m, name=name) for name in ("P", "Q", "l", "v", "slack"))
    par = {name: cp.Parameter(m, name=name, value=np.zeros(m)) for name in _PER_BRANCH}
    c_slack = cp.Parameter(nonneg=True, name="c_slack", value=0.0)
    w = cp.multiply(par["back"], to_parent @ v) + par["w0"]
    # What leaves each branch for its child and what the child takes from it, over S_k.
    p_left = p_flow - cp.multiply(par["r"], current) - children @ p_flow - cp.multiply(par["g"], v) - par["load_p"]
    q_left = q_flow - cp.multiply(par["x"], current) - children @ q_flow + cp.multiply(par["b"], v) - par["load_q"]
    cost = par["c_P"] @ p_flow + par["c_l"] @ current + par["c_v"] @ v + c_slack * cp.sum(slack)
    limits = []
    if n:
        row_of = np.full(feeder.n_nodes, -1)
        row_of[tree.child] = np.arange(m)
        at = row_of[feeder.inverters.node[used]]
        s_pu = feeder.inverters.s_mva[used] / feeder.base_mva
        off_root = np.flatnonzero(at >= 0)
        entries = (s_pu[off_root] / flow_scale[at[off_root]], (at[off_root], off_root))
        inject = sp.csr_array(entries, shape=(m, n))
        q = cp.Variable(n, name="q")
        q_left = q_left + inject @ q
        if curtail:
            p, c_p, p_max = cp.Variable(n, name="p"), cp.Parameter(n, name="c_p"), cp.Parameter(n, name="p_max")
            c_p.value, p_max.value = np.zeros(n), np.ones(n)
            p_left = p_left + inject @ p
            cost = cost + c_p @ p
            limits += [p >= 0, p <= p_max, cp.SOC(np.ones(n), cp.vstack([p, q]), axis=0)]
        else:
            q_max = cp.Parameter(n, name="q_max", value=np.ones(n))
            limits += [q <= q_max, q >= -q_max]
        if "control_effort" in terms:
            cost = cost + cp.Parameter(nonneg=True, name="control_effort", value=0.0) * cp.sum_squares(q)
    if "voltage_deviation" in terms:
        cost = cost + cp.Parameter(nonneg=True, name="voltage_deviation", value=0.0) * cp.sum_squares(v)
    if cuts:
        cut = {name: cp.Parameter(m, name=name, value=np.zeros(m)) for name in CUTS}
        flows = cp.multiply(cut["cut_P"], p_flow) + cp.multiply(cut["cut_Q"], q_flow)
        for side in ("low", "high"):
            product = cp.multiply(cut[f"cut_l_{side}"], current) + cp.multiply(cut[f"cut_v_{side}"], to_parent @ v)
            limits.append(product <= flows + cut[f"cut_{side}"])
    low, high = band2 - v_ref
    drop = cp.multiply(par["r"], p_flow) + cp.multiply(par["x"], q_flow)
    return cp.Problem(
        cp.Minimize(cost),
        [
            p_left == 0,
            q_left == 0,
            v + v_ref == w - 2 * drop + cp.multiply(par["z2"], current),
            cp.SOC(w + current, cp.vstack([2 * p_flow, 2 * q_flow, w - current]), axis=0),
            v - slack <= high,
            -v - slack <= -low,
            slack >= 0,
            *limits,
        ],
    )


CUTS = ("cut_P", "cut_Q", "cut_l_low", "cut_v_low", "cut_low", "cut_l_high", "cut_v_high", "cut_high")
"""Coefficients of ``cut_l l + cut_v v_parent <= cut_P P + cut_Q Q + cut``, for both sides, (m,) each."""
_GRID = ("r", "x", "z2", "back", "g", "b", "w0")
_PER_BRANCH = (*_GRID, "load_p", "load_q", "c_P", "c_l", "c_v")


def grid_parameters(flow: BranchFlow, flow_scale: FloatArray) -> dict[str, FloatArray]:
    """Return the parameters that change with taps and capacitor steps only."""
    tree, shunt = flow.feeder.tree, flow.shunt[flow.feeder.tree.child]
    r, x = flow.r * flow_scale, flow.x * flow_scale
    return {
        "r": r, "x": x, "z2": r**2 + x**2, "back": np.where(tree.up >= 0, 1.0 / flow.ratio2, 0.0),
        "g": shunt.real / flow_scale, "b": shunt.imag / flow_scale,
    }  # fmt: skip
