"""Ipopt on a `QuadraticProgram`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cyipopt
import numpy as np

from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import FloatArray, IntArray

_STATUS = {
    0: "optimal",
    1: "acceptable",
    2: "infeasible",
    3: "search direction too small",
    4: "diverging",
    5: "out of time",
    6: "feasible point",
    -1: "out of iterations",
    -2: "restoration failed",
    -3: "step computation failed",
    -4: "out of time",
    -13: "invalid number",
}
_SOLVED = (0, 1)
# Bounds are kept exactly (Ipopt would relax each by 1e-8, which a heavy voltage penalty makes visible), and MUMPS
# need not rescale a system that is in per unit.
_PLAIN = {"print_level": 0, "sb": "yes", "bound_relax_factor": 0.0, "mumps_scaling": 0}
_WARM = {"warm_start_init_point": "yes", "mu_init": 1e-4} | {
    f"warm_start_{name}": 1e-8
    for name in ("bound_push", "bound_frac", "slack_bound_push", "slack_bound_frac", "mult_bound_push")
}


@dataclass(frozen=True, eq=False)
class Iterate:
    """A primal-dual point: x (n,), multipliers of the rows (m,), of the lower and of the upper bounds (n,)."""

    x: FloatArray
    rows: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class IpoptResult:
    """What Ipopt returned: the last iterate, and how it ended."""

    end: Iterate
    objective: float
    status: str
    solved: bool
    iterations: int
    time_s: float


@dataclass(frozen=True)
class Ipopt:
    """Ipopt with its options.

    tol : tolerance of the scaled optimality conditions.  max_iterations, max_time_s : limits per solve.
    options : any further Ipopt option by name.
    """

    tol: float = 1e-9
    max_iterations: int = 500
    max_time_s: float = 60.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def solve(self, program: QuadraticProgram, start: FloatArray | Iterate | None = None) -> IpoptResult:
        """Return a local optimum of `program` from a primal start, or warm from a primal-dual one."""
        rows, columns = program.shape
        calls = _Callbacks(program, time.perf_counter() + self.max_time_s)
        problem = cyipopt.Problem(
            n=columns, m=rows, problem_obj=calls, lb=program.low, ub=program.high,
            cl=program.row_low, cu=program.row_high,
        )  # fmt: skip
        limits = {"tol": self.tol, "max_iter": self.max_iterations}
        for name, value in {**_PLAIN, **limits, **self.options}.items():
            problem.add_option(name, value)
        multipliers = {}
        if isinstance(start, Iterate):
            for name, value in _WARM.items():
                problem.add_option(name, value)
            multipliers = {"lagrange": start.rows, "zl": start.low, "zu": start.high}
            start = start.x
        begin = time.perf_counter()
        x, info = problem.solve(program.x0 if start is None else start, **multipliers)
        end = Iterate(np.array(x), info["mult_g"], info["mult_x_L"], info["mult_x_U"])
        code = int(info["status"])
        return IpoptResult(
            end=end, objective=program.value(end.x), status=_STATUS.get(code, f"ipopt status {code}"),
            solved=code in _SOLVED, iterations=calls.iterations, time_s=time.perf_counter() - begin,
        )  # fmt: skip


class _Callbacks:
    """The functions cyipopt calls, by the names it expects."""

    def __init__(self, program: QuadraticProgram, deadline: float) -> None:
        self._program, self._slopes, self._deadline = program, program.derivatives, deadline
        self.iterations = 0

    def objective(self, x: FloatArray) -> float:
        return self._program.value(x)

    def gradient(self, x: FloatArray) -> FloatArray:
        return self._slopes.gradient(x)

    def constraints(self, x: FloatArray) -> FloatArray:
        return self._program.body(x)

    def jacobianstructure(self) -> tuple[IntArray, IntArray]:
        return self._slopes.jacobian_structure

    def jacobian(self, x: FloatArray) -> FloatArray:
        return self._slopes.jacobian(x)

    def hessianstructure(self) -> tuple[IntArray, IntArray]:
        return self._slopes.hessian_structure

    def hessian(self, x: FloatArray, multipliers: FloatArray, objective_factor: float) -> FloatArray:
        return self._slopes.hessian(multipliers, objective_factor)

    def intermediate(self, *progress: Any) -> bool:
        self.iterations = int(progress[1])
        return time.perf_counter() < self._deadline
