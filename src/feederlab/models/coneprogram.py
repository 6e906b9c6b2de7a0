"""A parametrised cvxpy problem, compiled once and then solved by direct calls to Clarabel or PIQP.

cvxpy spends more on every solve than these solvers need on a feeder.  A problem that follows its rules for parameters
(DPP) has data that are affine in the parameters, so its canonical form is taken once, as sparse maps from the
parameters to the numbers of

    minimise  1/2 x' P x + q' x + d   subject to  A x + s = b,  s in K = {0}^z x R+^l x second-order cones,

and a solve is one sparse product for what changed, an update of the solver in place, and the solver itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import scipy.sparse as sp

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray

Solver = Literal["CLARABEL", "PIQP"]
SOLVED, INACCURATE, FAILED = "solved", "inaccurate", "failed"
# Clarabel may stall just above a tight tolerance: with residuals and gap below the first of these it has solved, below
# the second its answer is usable.
_STALLED, _USABLE = 1e-7, 1e-4
_PARTS = ("q", "b", "a", "p")
_LARGEST_GIB = 2.0  # of cvxpy's index; compiling holds about three arrays of its size


@dataclass(frozen=True, eq=False)
class ConeSolution:
    """The answer to one solve.

    solver : who answered.  values : variable name -> value, in the shape declared to cvxpy.
    status : `SOLVED`, `INACCURATE` (usable, tolerance missed) or `FAILED`; detail : the solver's own word.
    primal, dual : objective values as the solver reports them, the constant included.
    x, z : stacked variables and multipliers.  solver_time_s : the solver's own report, set-up included.
    """

    solver: str
    values: dict[str, FloatArray]
    status: str
    detail: str
    primal: float
    dual: float
    x: FloatArray
    z: FloatArray
    iterations: int
    solver_time_s: float

    @property
    def usable(self) -> bool:
        """Whether the values may be acted on."""
        return self.status != FAILED


class ConeProgram:
    """A compiled DPP problem; parameters and variables are known by their cvxpy names.

    Parameters
    ----------
    problem
        A cvxpy minimisation with linear, second-order cone and quadratic parts; every parameter has a value, which
        it keeps until `solve` is given another.
    solver
        ``"CLARABEL"``, or ``"PIQP"`` for problems without cones.
    settings
        Settings of the solver by its own names.
    """

    def __init__(self, problem: Any, solver: Solver = "CLARABEL", settings: Mapping[str, Any] | None = None) -> None:
        import cvxpy as cp

        if not problem.is_dpp():
            raise ValueError("the problem does not follow cvxpy's rules for parameters (DPP)")
        _check_size(problem)
        data, _, _ = problem.get_problem_data(cp.CLARABEL)
        form = data["param_prob"]
        self.variables = {v.name(): (form.var_id_to_col[v.id], v.shape) for v in problem.variables()}
        self.parameters = {p.name(): (form.param_id_to_col[p.id], p.size) for p in problem.parameters()}
        self._n, self._m = int(form.x.size), int(data["b"].size)
        self._theta = np.zeros(form.total_param_size + 1)
        self._theta[form.param_id_to_col[-1]] = 1.0
        for p in problem.parameters():
            self._put(p.name(), p.value)
        dims = data["dims"]
        self.zero, self.nonneg, self.cones = int(dims.zero), int(dims.nonneg), [int(d) for d in dims.soc]
        if dims.exp or dims.psd or len(dims.p3d):
            raise ValueError("only linear and second-order cones are supported")
        if self.cones and solver == "PIQP":
            raise ValueError("PIQP solves quadratic programs; the problem has second-order cones")
        # cvxpy keeps (A | b) as a matrix with one row per entry, column by column, and one column per parameter.
        tensor, entries = sp.coo_array(form.A), self._n * self._m
        of_b = tensor.row >= entries
        offset = (tensor.data[of_b], (tensor.row[of_b] - entries, tensor.col[of_b]))
        matrix = (-tensor.data[~of_b], (tensor.row[~of_b], tensor.col[~of_b]))
        quadratic = sp.coo_array((self._n**2, len(self._theta)) if form.P is None else form.P)
        self._q = _Affine(form.q, self._theta)
        self._b = _Affine(sp.coo_array(offset, shape=(self._m, len(self._theta))), self._theta)
        self._a = _MatrixMap(*matrix, (self._m, self._n), self._theta)
        self._p = _MatrixMap(quadratic.data, (quadratic.row, quadratic.col), (self._n, self._n), self._theta)
        self._moved = dict.fromkeys(_PARTS, False)
        self._backend: Clarabel | _Piqp
        self._backend = Clarabel(self, settings or {}) if solver == "CLARABEL" else _Piqp(self, settings or {})

    def solve(self, **parameters: Any) -> ConeSolution:
        """Solve with new values for the parameters named; the others stay as they were."""
        self.place(**parameters)
        moved, self._moved = self._moved, dict.fromkeys(_PARTS, False)
        return self._backend.solve(moved)

    def place(self, **parameters: Any) -> None:
        """Put new values into `data` without solving."""
        touched = [self._put(name, value) for name, value in parameters.items()]
        changed = np.concatenate([c for c in touched if len(c)]) if any(len(c) for c in touched) else _NONE
        for name in _PARTS:
            self._moved[name] |= getattr(self, f"_{name}").update(self._theta, changed)

    def slope_of_b(self, name: str) -> sp.csc_array:
        """Return the (rows, size) derivative of b by a parameter."""
        start, size = self.parameters[name]
        return sp.csc_array(self._b.matrix)[:, start : start + size]

    def lower_bound(self, solution: ConeSolution, box: tuple[FloatArray, FloatArray]) -> float:
        """Return `dual_bound`."""
        return dual_bound(self, solution, box)

    def box(self, limits: Mapping[str, tuple[Any, Any]]) -> tuple[FloatArray, FloatArray]:
        """Return the stacked box of `lower_bound` from variable name -> (lowest, highest)."""
        low, high = np.empty(self._n), np.empty(self._n)
        for name, (start, shape) in self.variables.items():
            part = slice(start, start + int(np.prod(shape)))
            low[part], high[part] = (np.ravel(np.asarray(side, dtype=float), order="F") for side in limits[name])
        return low, high

    def narrowed(
        self, solution: ConeSolution, box: tuple[FloatArray, FloatArray], upper: float, *, passes: int = 3
    ) -> tuple[FloatArray, FloatArray]:
        """Return a part of `box` that holds every feasible x in it whose objective is at most `upper`.

        By the argument of `lower_bound`, an objective at most `upper` leaves a row of the linear cone with multiplier
        ``z_i > 0`` no more slack than ``(upper - lower bound) / z_i``.  What that and the equations imply for each
        variable, given the box of the others, is applied `passes` times (Ryoo and Sahinidis, Computers & Chemical
        Engineering 19(5), 1995).
        """
        low, high = box[0].copy(), box[1].copy()
        spare = upper - self.lower_bound(solution, box)
        if not 0 <= spare < np.inf:
            return low, high
        linear = self.zero + self.nonneg
        b, z = self._b.values[:linear], np.maximum(solution.z[:linear], 0.0)
        room = np.full(linear, np.inf)
        np.divide(spare, z, out=room, where=z > 0)
        room[: self.zero] = 0.0
        rows = sp.coo_array(self._a.matrix.tocsr()[:linear])
        entry = rows.data != 0
        row, column, a = rows.row[entry], rows.col[entry], rows.data[entry]
        for _ in range(passes):
            ends = a * low[column], a * high[column]
            least, most = np.minimum(*ends), np.maximum(*ends)
            size = np.bincount(row, np.maximum(np.abs(least), np.abs(most)), linear) + np.abs(b)
            others_least = (np.bincount(row, least, linear) - 1e-14 * size)[row] - least
            others_most = (np.bincount(row, most, linear) + 1e-14 * size)[row] - most
            first, second = (b[row] - room[row] - others_most) / a, (b[row] - others_least) / a
            margin = 1e-10 + 1e-10 * np.abs(high - low)
            np.maximum.at(low, column, np.minimum(first, second) - margin[column])
            np.minimum.at(high, column, np.maximum(first, second) + margin[column])
        crossed = low > high  # by rounding, or because nothing is as cheap as `upper`
        return np.where(crossed, box[0], low), np.where(crossed, box[1], high)

    def unpack(self, x: FloatArray) -> dict[str, FloatArray]:
        """Return variable name -> value of a stacked x."""
        return {
            name: x[start : start + int(np.prod(shape))].reshape(shape, order="F")
            for name, (start, shape) in self.variables.items()
        }

    @property
    def data(self) -> tuple[Any, FloatArray, Any, FloatArray, float]:
        """P, q, A, b and the constant d, as they stand."""
        return self._p.matrix, self._q.values[:-1], self._a.matrix, self._b.values, float(self._q.values[-1])

    def _put(self, name: str, value: Any) -> IntArray:
        """Write a parameter; return the columns whose value changed."""
        start, size = self.parameters[name]
        new = np.ravel(np.asarray(value, dtype=float), order="F")
        if len(new) != size:
            raise ValueError(f"parameter {name!r} takes {size} values, not {len(new)}")
        changed: IntArray = start + np.flatnonzero(self._theta[start : start + size] != new)
        self._theta[start : start + size] = new
        return changed


class ConicForm(Protocol):
    """Numbers of the module's canonical form: `zero` equations, `nonneg` inequalities, cones of the sizes `cones`."""

    @property
    def zero(self) -> int: ...

    @property
    def nonneg(self) -> int: ...

    @property
    def cones(self) -> list[int]: ...

    @property
    def data(self) -> tuple[Any, FloatArray, Any, FloatArray, float]: ...

    def unpack(self, x: FloatArray) -> dict[str, FloatArray]: ...


def dual_bound(form: ConicForm, solution: ConeSolution, box: tuple[FloatArray, FloatArray]) -> float:
    """Return a lower bound of the objective over all feasible x within ``low <= x <= high``.

    With multipliers z in K* and the dual residual ``rho = P y + q + A' z`` at any point y, every feasible x has
    ``1/2 x'Px + q'x >= -1/2 y'Py - b'z + rho'x``, and rho'x is least at a corner of the box.  So the bound holds
    whatever the solver's accuracy: z is first pulled into the dual cone.
    """
    p, q, a, b, constant = form.data
    y, z = solution.x, _into_dual_cone(form, solution.z)
    curved = p @ y
    residual = curved + q + a.T @ z
    corner = np.where(residual > 0, box[0], box[1])
    value = -0.5 * y @ curved - b @ z + residual @ corner + constant
    return float(value) if np.isfinite(value) else -np.inf


def _into_dual_cone(form: ConicForm, z: FloatArray) -> FloatArray:
    z = np.array(z)
    linear = slice(form.zero, form.zero + form.nonneg)
    z[linear] = np.maximum(z[linear], 0.0)
    if form.cones:
        heads = form.zero + form.nonneg + np.concatenate([[0], np.cumsum(form.cones)[:-1]])
        tails = np.sqrt(np.add.reduceat(z[heads[0] :] ** 2, heads - heads[0]) - z[heads] ** 2)
        z[heads] = np.maximum(z[heads], tails)
    return z


def _check_size(problem: Any) -> None:
    """Refuse what cvxpy would fill the memory with: it keeps an index over all pairs of variable and parameter."""
    variables, parameters = (sum(one.size for one in some()) for some in (problem.variables, problem.parameters))
    size_gib = 8 * variables * parameters / 2**30
    if size_gib > _LARGEST_GIB:
        raise InputError(
            f"the feeder is too large for this optimisation: compiling {variables} variables and {parameters} "
            f"parameters takes about {3 * size_gib:.0f} GiB, and {3 * _LARGEST_GIB:.0f} GiB is the limit "
            "(about 2,500 nodes); use local controllers, or study its low-voltage areas one by one"
        )


_NONE = np.zeros(0, dtype=np.int64)


class _Affine:
    """``values = M theta``, recomputed only when a parameter that M uses has changed."""

    def __init__(self, matrix: Any, theta: FloatArray) -> None:
        self.matrix = sp.csr_array(matrix)
        self._used = np.diff(sp.csc_array(matrix).indptr) > 0
        self.values: FloatArray = self.matrix @ theta

    def update(self, theta: FloatArray, changed: IntArray) -> bool:
        if not self._used[changed].any():
            return False
        self.values = self.matrix @ theta
        return True


class _MatrixMap:
    """A sparse matrix whose entries are affine in theta; its pattern is that of all values theta may take."""

    def __init__(self, data: FloatArray, place: Any, shape: tuple[int, int], theta: FloatArray) -> None:
        entry, compact = np.unique(np.asarray(place[0], dtype=np.int64), return_inverse=True)
        self._affine = _Affine(sp.coo_array((data, (compact, place[1])), shape=(len(entry), len(theta))), theta)
        column, row = np.divmod(entry, shape[0])
        starts = np.searchsorted(column, np.arange(shape[1] + 1))
        self.matrix = sp.csc_matrix((self._affine.values, row, starts), shape=shape)

    def update(self, theta: FloatArray, changed: IntArray) -> bool:
        if not self._affine.update(theta, changed):
            return False
        self.matrix.data[:] = self._affine.values
        return True


class Clarabel:
    """Clarabel on one program, whose numbers may change from solve to solve."""

    def __init__(self, program: ConicForm, settings: Mapping[str, Any]) -> None:
        import clarabel

        self._program, self._settings = program, clarabel.DefaultSettings()
        # Presolve and chordal decomposition would forbid updates in place.
        fixed = {"verbose": False, "presolve_enable": False, "chordal_decomposition_enable": False, "max_threads": 1}
        for name, value in {**fixed, **settings}.items():
            setattr(self._settings, name, value)
        cones: list[Any] = []
        if program.zero:
            cones.append(clarabel.ZeroConeT(program.zero))
        if program.nonneg:
            cones.append(clarabel.NonnegativeConeT(program.nonneg))
        self._cones = cones + [clarabel.SecondOrderConeT(size) for size in program.cones]
        self._solver: Any = None

    def solve(self, moved: Mapping[str, bool]) -> ConeSolution:
        """Solve; `moved` says which of q, b, a and p have changed since the last time."""
        import clarabel

        p, q, a, b, _ = self._program.data
        upper = sp.triu(p, format="csc")
        if self._solver is None:
            self._solver = clarabel.DefaultSolver(upper, q, a, b, self._cones, self._settings)
        elif any(moved.values()):  # an update with nothing to update panics
            fresh = {"q": q, "b": b, "A": a, "P": upper}
            self._solver.update(**{name: value for name, value in fresh.items() if moved[name.lower()]})
        first = self._read(self._solver.solve())
        if first.status == SOLVED:
            return first
        # The solver's scaling is that of the first data it saw; it may do better with none (where prices differ by
        # many orders, scaling may spoil what was near one), or with one of its own.
        best, iterations, time_s = first, first.iterations, first.solver_time_s
        for scaled in (False, True):
            self._settings.equilibrate_enable = scaled
            again = self._read(clarabel.DefaultSolver(upper, q, a, b, self._cones, self._settings).solve())
            iterations, time_s = iterations + again.iterations, time_s + again.solver_time_s
            best = again if again.status == SOLVED or best.status == FAILED else best
            if best.status == SOLVED:
                break
        self._settings.equilibrate_enable = True
        return replace(best, iterations=iterations, solver_time_s=time_s)

    def _read(self, found: Any) -> ConeSolution:
        x, z, constant = np.array(found.x), np.array(found.z), self._program.data[-1]
        detail = str(found.status)
        status = {"Solved": SOLVED, "AlmostSolved": INACCURATE, "InsufficientProgress": INACCURATE}.get(detail, FAILED)
        if detail == "MaxIterations" and max(found.r_prim, found.r_dual, _relative_gap(found)) < _USABLE:
            status = INACCURATE
        if status == INACCURATE and max(found.r_prim, found.r_dual, _relative_gap(found)) < _STALLED:
            status = SOLVED
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            status = FAILED
        return ConeSolution(
            "clarabel", self._program.unpack(x), status, detail, found.obj_val + constant,
            found.obj_val_dual + constant, x, z, int(found.iterations), float(found.solve_time),
        )  # fmt: skip


def _relative_gap(found: Any) -> float:
    return float(abs(found.obj_val - found.obj_val_dual) / max(1.0, abs(found.obj_val_dual)))


class _Piqp:
    def __init__(self, program: ConeProgram, settings: Mapping[str, Any]) -> None:
        import piqp

        self._program, self._solver = program, piqp.SparseSolver()
        for name, value in {"compute_timings": True, **settings}.items():
            setattr(self._solver.settings, name, value)
        self._ready = False

    def solve(self, moved: Mapping[str, bool]) -> ConeSolution:
        p, q, a, b, constant = self._program.data
        zero = self._program.zero
        if not self._ready:
            self._solver.setup(P=p, c=q, A=a[:zero], b=b[:zero], G=a[zero:], h_u=b[zero:])
            self._ready = True
        else:
            fresh = {"P": p if moved["p"] else None, "c": q if moved["q"] else None}
            if moved["a"]:
                fresh |= {"A": a[:zero], "G": a[zero:]}
            if moved["b"]:
                fresh |= {"b": b[:zero], "h_u": b[zero:]}
            self._solver.update(**{name: value for name, value in fresh.items() if value is not None})
        outcome = self._solver.solve()
        result, info = self._solver.result, self._solver.result.info
        x, z = np.array(result.x), np.concatenate([result.y, result.z_u])
        status = SOLVED if outcome.name == "PIQP_SOLVED" and np.isfinite(x).all() else FAILED
        return ConeSolution(
            "piqp", self._program.unpack(x), status, outcome.name, info.primal_obj + constant,
            info.dual_obj + constant, x, z, int(info.iter), float(info.run_time),
        )  # fmt: skip
