"""A horizon program with whole positions: mixed-integer linear programs by HiGHS, and convex ones between them.

What is an absolute value or a positive part in the objective (excess voltage, moves, a storage's power) enters with its
own column and is exact.  The quadratic part (losses, voltage deviation, effort) is a sum of squares
``sum_i lambda_i a_i^2 / 2`` along the eigenvectors of each stage's Hessian; every square is replaced by the largest of
its tangents at points a, which lies below it by ``lambda_i (a - a_nearest)^2 / 2``.  The disc p^2 + q^2 <= S^2 is
replaced by tangents too.  So the linear program's value is a lower bound.  Its positions are then fixed and the convex
program solved (an upper bound, exact); tangents are added where both solutions lie, until the bounds meet: outer
approximation (Duran and Grossmann, Mathematical Programming 36, 1986; tangents of separated squares: Hijazi, Bonami and
Ouorou, INFORMS J. Computing 26(1), 2014).  In the end nothing of the quadratic part is approximated: the gap between
the bounds is all that is left open.

With many controls (`model.SparseStage`) the linear programs would be dense and slow.  Positions are then the better of
those there are and those of the relaxation, rounded; the gap against the relaxation says what that may cost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.horizon import convex
from feederlab.models.horizon.program import HorizonProgram

_WHOLE = 1e-6
_LEAST = 0.1  # of the gap: the smallest squares are left out of the bound, as many as cannot reach more together
_SPREAD = (-0.25, -0.0625, 0.0625, 0.25)  # first tangents about the relaxation, as shares of what a can be
_CORNERS = 16

# So that effort does not hang on the machine, nodes are limited; the bound then says how much is left open.
# The convex programs give incumbents; HiGHS's own search for them takes five times as long as its proof.
_BARE: dict[str, Any] = {
    "mip_heuristic_effort": 0.0, "mip_heuristic_run_rins": False, "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False, "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_restart": False, "mip_max_nodes": 40,
}  # fmt: skip

_Entries = tuple[FloatArray, IntArray, IntArray]
_Rows = tuple[_Entries, FloatArray, FloatArray]  # entries, lowest and highest value of each row


@dataclass(frozen=True, eq=False)
class Mixed:
    """The best solution and how good it is.

    found : with whole positions.  bound : lower bound of the program's value.  gap : ``(value - bound) / |value|``.
    rounds : mixed-integer programs solved.  pace_s : the longest that a convex one with positions fixed took.
    """

    found: convex.Found
    bound: float
    gap: float
    rounds: int
    iterations: int
    solver_time_s: float
    pace_s: float


def solve(
    program: HorizonProgram, working: BoolArray, *, hint: FloatArray | None, deadline: float, gap: float, masters: int
) -> Mixed | None:
    """Return the best solution found by `deadline` (`time.perf_counter`), or within `gap`; None if there is none.

    working : as in `convex.solve`.  hint : (T, discrete) positions to start from.  masters : most mixed-integer linear
    programs to solve.
    """
    return _Search(program, working, deadline, gap).run(hint, masters)


class _Search:
    def __init__(self, program: HorizonProgram, working: BoolArray, deadline: float, gap: float) -> None:
        self.program, self.working, self.deadline, self.gap = program, working, deadline, gap
        self.best: convex.Found | None = None
        self.bound, self.relaxed_value = -np.inf, np.inf  # of the best positions, storage free to burn energy
        self.rounds, self.iterations, self.time_s, self.pace_s = 0, 0, 0.0, 0.0
        self.tried: set[bytes] = set()

    def run(self, hint: FloatArray | None, masters: int) -> Mixed | None:
        program, integer = self.program, self.program.integer
        if hint is not None:
            self._fix(hint)
        relaxed = self._convex(program.lower, program.upper)
        if relaxed is None:
            return self._result()
        self.bound = relaxed.value - _WHOLE * abs(relaxed.value)
        self._fix(np.rint(relaxed.x[integer]))
        if self._open() and not program.sparse:
            master = _Master(program, relaxed.x, self.gap)
            for _ in range(masters):
                left = self.deadline - time.perf_counter() - 1.5 * self.pace_s
                if left <= 0:
                    break
                self.rounds += 1
                began = time.perf_counter()
                answer = master.solve(self.working, left, 0.3 * self.gap, self.best)
                self.time_s += time.perf_counter() - began
                if answer is None:
                    break
                x, bound = answer
                self.bound = max(self.bound, bound)
                if x is None or not self._open():
                    break
                crossed = convex.add_crossed(program, self.working, x)
                again = np.rint(x[integer]).astype(np.int64).tobytes() in self.tried
                found = None if again else self._fix(np.rint(x[integer]))
                if not self._open():
                    break
                added = master.add(x)
                if found is not None:
                    added |= master.add(found.x)
                if again and not (added or crossed):
                    break
        return self._result()

    def _open(self) -> bool:
        return not self.relaxed_value - self.bound <= self.gap * max(abs(self.relaxed_value), 1e-12)

    def _fix(self, positions: FloatArray) -> convex.Found | None:
        """Solve with the positions fixed, and keep what is found if it is the best."""
        program, integer = self.program, self.program.integer
        positions = np.clip(positions[program.first], program.lower[integer], program.upper[integer])
        self.tried.add(positions.astype(np.int64).tobytes())
        lower, upper = program.positioned(positions)
        began = time.perf_counter()
        found, relaxed_value = convex.solve_one_way(program, self.working, lower, upper, self.deadline)
        self.pace_s = max(self.pace_s, time.perf_counter() - began)
        if found is None:
            return None
        self._count(found)
        self.relaxed_value = min(self.relaxed_value, relaxed_value)
        if self.best is None or found.value < self.best.value:
            self.best = found
        return found

    def _convex(self, lower: FloatArray, upper: FloatArray) -> convex.Found | None:
        found = convex.solve(self.program, self.working, lower, upper, self.deadline)
        if found is not None:
            self._count(found)
        return found

    def _count(self, found: convex.Found) -> None:
        self.iterations += found.iterations
        self.time_s += found.solver_time_s

    def _result(self) -> Mixed | None:
        if self.best is None:
            return None
        short = max(self.best.value - self.bound, 0.0) / max(abs(self.best.value), 1e-12)
        return Mixed(self.best, self.bound, short, self.rounds, self.iterations, self.time_s, self.pace_s)


class _Master:
    """The linear program with tangents; built anew for HiGHS whenever it has grown."""

    def __init__(self, program: HorizonProgram, about: FloatArray, gap: float) -> None:
        self.program = program
        lam, vectors = np.linalg.eigh(program.hessian)
        z = program.z
        reach = (np.abs(vectors) * (program.upper[z] - program.lower[z])[:, :, None]).sum(axis=1)
        weight = max(abs(program.value(about)), 1e-12)
        share = 0.5 * np.maximum(lam, 0.0) * reach**2
        order = np.sort(share, axis=None)
        cut = order[np.searchsorted(np.cumsum(order), gap * _LEAST * weight)] if share.size else 0.0
        self.stage, mode = np.nonzero((share >= cut) & (share > 0))
        self.lam = lam[self.stage, mode]
        self.vector = vectors[self.stage, :, mode]
        self.reach = reach[self.stage, mode]
        self.offset = (self.vector * program.at[self.stage]).sum(axis=1)
        here = self._along(about)
        self.points = [here] + [here + share * self.reach for share in _SPREAD]
        angle = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
        d = len(program.discs.q)
        self.edges = [(np.arange(d), np.full(d, np.cos(a)), np.full(d, np.sin(a))) for a in angle]
        self.scale = max(float(np.abs(program.gradient).max(initial=0.0)), 1e-12)

    def add(self, x: FloatArray) -> bool:
        """Add tangents at x; return whether they cut anything off."""
        here = self._along(x)
        nearest = np.min(np.abs(np.stack(self.points) - here), axis=0)
        discs = self.program.discs
        p = x[discs.plus] - np.where(discs.minus >= 0, x[discs.minus], 0.0)
        size = np.hypot(p, x[discs.q])
        out = np.flatnonzero(size > 1 + 1e-7)
        if len(out):
            self.edges.append((out, x[discs.q][out] / size[out], p[out] / size[out]))
        short = 0.5 * self.lam * nearest**2
        self.points.append(here)
        return bool(len(out) or short.sum() > 1e-9 * self.scale)

    def _along(self, x: FloatArray) -> FloatArray:
        return np.asarray((self.vector * x[self.program.z[self.stage]]).sum(axis=1) - self.offset)

    def solve(
        self, working: BoolArray, time_s: float, gap: float, start: convex.Found | None
    ) -> tuple[FloatArray | None, float] | None:
        """Return x and a lower bound of the program's value; None without either."""
        import highspy

        program, n = self.program, len(self.program.lower)
        stage, row = np.nonzero(working)
        soft, modes = len(stage), len(self.lam)
        slack, a, y = n + np.arange(soft), n + soft + np.arange(modes), n + soft + modes + np.arange(modes)
        total, own, each = n + soft + 2 * modes, np.arange(soft), np.arange(modes)
        slopes, k = program.slopes[stage, row], program.k
        own_rows = program.matrix.tocoo()
        parts: list[_Rows] = [
            ((own_rows.data, own_rows.row, own_rows.col), program.low, program.high),
            (_entries([slopes.ravel(), -np.ones(soft)], [np.repeat(own, k), own], [program.z[stage].ravel(), slack]),
             np.full(soft, -np.inf), (slopes * program.at[stage]).sum(axis=1) - program.rows[stage, row]),
            (_entries([self.vector.ravel(), -np.ones(modes)], [np.repeat(each, k), each],
                     [program.z[self.stage].ravel(), a]), self.offset, self.offset),
        ]  # fmt: skip
        for point in self.points:
            parts.append((
                _entries([np.ones(modes), -self.lam * point], [each, each], [y, a]),
                -0.5 * self.lam * point**2, np.full(modes, np.inf),
            ))  # fmt: skip
        discs = program.discs
        for d, by_q, by_p in self.edges:
            two, here = discs.minus[d] >= 0, np.arange(len(d))
            parts.append((
                _entries([by_q, by_p, -by_p[two]], [here, here, here[two]],
                        [discs.q[d], discs.plus[d], discs.minus[d][two]]),
                np.full(len(d), -np.inf), np.ones(len(d)),
            ))  # fmt: skip
        matrix = _stacked(parts, total)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = total, matrix.shape[0]
        lp.col_cost_ = (
            np.concatenate([program.cost, program.price[stage], np.zeros(modes), np.ones(modes)]) / self.scale
        )
        lp.col_lower_ = np.concatenate([program.lower, np.zeros(soft), np.full(modes, -np.inf), np.zeros(modes)])
        lp.col_upper_ = np.concatenate([program.upper, np.full(soft + 2 * modes, np.inf)])
        lp.row_lower_ = np.concatenate([low for _, low, _ in parts])
        lp.row_upper_ = np.concatenate([high for _, _, high in parts])
        lp.offset_ = program.constant / self.scale
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        kinds = np.zeros(total, dtype=np.int64)
        kinds[program.integers] = 1
        types = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [types[kind] for kind in kinds]
        highs = highspy.Highs()
        highs.silent()
        for name, value in {"time_limit": time_s, "mip_rel_gap": gap, "threads": 1, **_BARE}.items():
            highs.setOptionValue(name, value)
        highs.passModel(lp)
        if start is not None:
            x = start.x
            along = self._along(x)
            crossed = program.excess(x)[stage, row]
            guess = highspy.HighsSolution()
            guess.col_value = np.concatenate([x, crossed, along, 0.5 * self.lam * along**2]).tolist()
            highs.setSolution(guess)
        highs.run()
        info = highs.getInfo()
        bound = float(info.mip_dual_bound) * self.scale
        if highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
            return None
        usable = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        found = np.array(highs.getSolution().col_value)[:n] if usable else None
        return found, (bound if np.isfinite(bound) else -np.inf)


def _entries(data: list[FloatArray], rows: list[IntArray], columns: list[IntArray]) -> _Entries:
    return np.concatenate(data), np.concatenate(rows), np.concatenate(columns)


def _stacked(parts: list[_Rows], columns: int) -> sp.csr_matrix:
    """Return the rows of all parts below each other."""
    first = np.cumsum([0] + [len(low) for _, low, _ in parts])
    row = np.concatenate([r + at for ((_, r, _), _, _), at in zip(parts, first, strict=False)])
    data, column = (np.concatenate([part[0][i] for part in parts]) for i in (0, 2))
    return sp.csr_matrix((data, (row, column)), shape=(int(first[-1]), columns))
