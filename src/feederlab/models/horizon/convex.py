"""A horizon program whose positions are fixed, or need not be whole: a convex one, solved by Clarabel.

Of thousands of soft rows a few are crossed.  Those that the last solution crosses get a slack, until none is left over:
a cutting-plane method that ends at the solution of the whole program, as rows left out cost nothing there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.horizon.program import HorizonProgram

_ROUNDS, _ADDED = 20, 8  # rows added in each stage and round
_CROSSED = 1e-9
_FIXED = 1e-12
_LEAST_S = 0.01


@dataclass(frozen=True, eq=False)
class Found:
    """x : (n,).  value : objective at x.  accurate : whether the solver's tolerance was met."""

    x: FloatArray
    value: float
    accurate: bool
    iterations: int
    solver_time_s: float


def solve(
    program: HorizonProgram,
    working: BoolArray,
    lower: FloatArray | None = None,
    upper: FloatArray | None = None,
    deadline: float = np.inf,
) -> Found | None:
    """Return the solution between other bounds than the program's own; None if there is none.

    working : (T, m) soft rows that get a slack; those found to be crossed are added in place.  deadline
    (`time.perf_counter`) : ends the solver, and the adding of rows.
    """
    lower, upper = program.lower if lower is None else lower, program.upper if upper is None else upper
    iterations, time_s = 0, 0.0
    found: Found | None = None
    for _ in range(_ROUNDS):
        found = _solve(program, working, lower, upper, deadline)
        if found is None:
            return None
        iterations, time_s = iterations + found.iterations, time_s + found.solver_time_s
        if not add_crossed(program, working, found.x) or time.perf_counter() > deadline:
            break
    return None if found is None else replace(found, iterations=iterations, solver_time_s=time_s)


def add_crossed(program: HorizonProgram, working: BoolArray, x: FloatArray) -> bool:
    """Add the soft rows that x crosses most to `working`, some of every stage; return whether there were any."""
    excess = np.where(working, 0.0, program.excess(x))
    if not excess.size or excess.max() <= _CROSSED:
        return False
    most = np.sort(excess, axis=1)[:, -min(_ADDED, excess.shape[1])]
    working |= (excess > _CROSSED) & (excess >= most[:, None])
    return True


def solve_one_way(
    program: HorizonProgram, working: BoolArray, lower: FloatArray, upper: FloatArray, deadline: float = np.inf
) -> tuple[Found | None, float]:
    """Return the solution in which no storage charges and discharges at once (`HorizonProgram.one_way`), and its price.

    The price is the value of the program in which storage may do both: a lower bound of the solution's.
    """
    first = solve(program, working, lower, upper, deadline)
    if first is None:
        return None, np.inf
    above, both = program.one_way(first.x)
    if not both:
        return first, first.value
    again = solve(program, working, lower, np.minimum(above, upper), deadline)
    if again is None:
        return None, first.value
    found = Found(
        again.x, again.value, again.accurate, first.iterations + again.iterations,
        first.solver_time_s + again.solver_time_s,
    )  # fmt: skip
    return found, first.value


@dataclass(frozen=True, eq=False)
class _Costs:
    """The quadratic cost and the soft rows in the program's n columns and `inner` more that are tied to them.

    curvature : (n + inner, ...).  linear : (n + inner,).  soft, right : rows ``soft x <= right`` but for their slack.
    ties, tied : ``ties x = tied``.
    """

    curvature: sp.csc_matrix
    linear: FloatArray
    soft: sp.csr_matrix
    right: FloatArray
    ties: sp.csr_matrix
    tied: FloatArray


def _in_controls(program: HorizonProgram, x: FloatArray, stage: IntArray, row: IntArray) -> _Costs:
    """Write cost and rows in the controls alone; x : (n,) where columns are fixed, 0 elsewhere."""
    n, z, own = len(x), program.z, np.arange(len(stage))
    place = [np.repeat(z, program.k, axis=1).ravel(), np.tile(z, program.k).ravel()]
    curved = sp.csc_matrix((program.hessian.ravel(), place), shape=(n, n))
    linear = program.cost + curved @ x
    np.subtract.at(linear, z, np.einsum("tjk,tk->tj", program.hessian, program.at))
    slopes = program.slopes[stage, row]
    soft = sp.csr_matrix((slopes.ravel(), (np.repeat(own, program.k), z[stage].ravel())), shape=(len(own), n))
    right = (slopes * program.at[stage]).sum(axis=1) - program.rows[stage, row]
    return _Costs(curved, linear, soft, right, sp.csr_matrix((0, n)), np.zeros(0))


def _through_voltages(program: HorizonProgram, x: FloatArray, stage: IntArray, row: IntArray) -> _Costs:
    """Write cost and rows in the parts of du, tied to the controls by the power flow's Jacobian, row by row scaled."""
    n, z, ties, tied, curved, soft = len(x), program.z, [], [], [], []
    effort = np.zeros(n)
    for t, (one, steps) in enumerate(zip(program.sparse, program.steps, strict=True)):
        unit = sp.diags(1 / np.maximum(abs(one.jacobian).max(axis=1).toarray().ravel(), 1e-12))
        inputs = (unit @ one.currents).tocoo()
        mine = sp.csr_matrix((-inputs.data, (inputs.row, z[t][inputs.col])), shape=(inputs.shape[0], n))
        ties.append((mine, unit @ one.jacobian))
        tied.append(-(unit @ (one.currents @ program.at[t])))
        curved.append(steps * one.curvature)
        effort[z[t]] = steps * one.effort
        soft.append(one.slopes[row[stage == t]])
    columns = sp.block_diag([own for _, own in ties], format="csr")
    linear = program.cost + effort * x
    np.subtract.at(linear, z, program.steps[:, None] * np.stack([one.effort for one in program.sparse]) * program.at)
    inner = columns.shape[1]
    return _Costs(
        sp.block_diag([sp.diags(effort), *curved], format="csc"), np.concatenate([linear, np.zeros(inner)]),
        sp.hstack([sp.csr_matrix((len(stage), n)), sp.block_diag(soft, format="csr")], format="csr"),
        -program.rows[stage, row],
        sp.hstack([sp.vstack([mine for mine, _ in ties]), columns], format="csr"), np.concatenate(tied),
    )  # fmt: skip


def _solve(
    program: HorizonProgram, working: BoolArray, lower: FloatArray, upper: FloatArray, deadline: float
) -> Found | None:
    import clarabel

    n = len(lower)
    free = upper - lower > _FIXED
    x = np.where(free, 0.0, (lower + upper) / 2)
    stage, row = np.nonzero(working)
    made = (_through_voltages if program.sparse else _in_controls)(program, x, stage, row)
    inner, count = made.curvature.shape[0] - n, len(stage)
    columns = n + inner + count
    slack = n + inner + np.arange(count)
    kept = np.flatnonzero(np.concatenate([free, np.ones(inner + count, dtype=bool)]))
    p = sp.block_diag([made.curvature, sp.csc_matrix((count, count))], format="csc")[kept][:, kept]
    q = np.concatenate([made.linear, program.price[stage]])[kept]
    scale = max(
        float(np.abs(program.gradient).max(initial=0.0)), float(np.abs(program.hessian).max(initial=0.0)), 1e-12
    )

    soft = sp.hstack([made.soft, -sp.identity(count)], format="csr")
    ties = sp.hstack([made.ties, sp.csr_matrix((made.ties.shape[0], count))], format="csr")
    wide = sp.hstack([program.matrix, sp.csr_matrix((program.matrix.shape[0], inner + count))], format="csr")
    equal = program.low == program.high
    below, above = ~equal & np.isfinite(program.low), ~equal & np.isfinite(program.high)
    box = sp.identity(columns, format="csr")
    at_low, at_high = np.flatnonzero(free & np.isfinite(lower)), np.flatnonzero(free & np.isfinite(upper))
    discs, d = program.discs, np.flatnonzero(free[program.discs.q] | free[program.discs.plus])
    cone = sp.csr_matrix((3 * len(d), columns))
    if len(d):
        q_at, plus, minus = discs.q[d], discs.plus[d], discs.minus[d]
        two = np.flatnonzero(minus >= 0)
        entries = np.concatenate([-np.ones(2 * len(d)), np.ones(len(two))])
        place = np.concatenate([3 * np.arange(len(d)) + 1, 3 * np.arange(len(d)) + 2, 3 * two + 2])
        cone = sp.csr_matrix((entries, (place, np.concatenate([q_at, plus, minus[two]]))), shape=cone.shape)
    a = sp.vstack(
        [wide[equal], ties, wide[above], -wide[below], soft, -box[slack], -box[at_low], box[at_high], cone],
        format="csc",
    )  # fmt: skip
    b = np.concatenate([
        program.low[equal], made.tied, program.high[above], -program.low[below], made.right, np.zeros(count),
        -lower[at_low], upper[at_high], np.tile([1.0, 0.0, 0.0], len(d)),
    ])  # fmt: skip
    b = b - a @ np.concatenate([x, np.zeros(inner + count)])
    zero = int(equal.sum()) + len(made.tied)
    cones = ([clarabel.ZeroConeT(zero)] if zero else []) + [clarabel.NonnegativeConeT(len(b) - zero - 3 * len(d))]
    cones += [clarabel.SecondOrderConeT(3)] * len(d)
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.time_limit = max(deadline - time.perf_counter(), _LEAST_S)
    answer = clarabel.DefaultSolver(
        sp.triu(p / scale, format="csc"), q / scale, a[:, kept], b, cones, settings
    ).solve()  # fmt: skip
    status = str(answer.status)
    if status not in ("Solved", "AlmostSolved", "InsufficientProgress", "MaxIterations", "MaxTime"):
        return None
    values = np.array(answer.x)
    if not np.isfinite(values).all() or (status != "Solved" and answer.r_prim > 1e-5):
        return None
    inside = kept[kept < n]
    x[inside] = np.clip(values[: len(inside)], lower[inside], upper[inside])
    return Found(x, program.value(x), status == "Solved", int(answer.iterations), float(answer.solve_time))
