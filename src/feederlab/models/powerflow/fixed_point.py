"""The default engine: a fixed-point iteration on one factorised matrix, and Newton's method where that fails."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.branches import TwoPort
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import PowerFlow, Solution
from feederlab.models.powerflow.continuation import Continuation
from feederlab.models.powerflow.jacobian import ReducedGrid
from feederlab.models.sensitivity import branch_admittance
from feederlab.models.threads import one_thread

_TOLERANCE = 1e-12  # p.u.: what is left of the way to the fixed point, by the rate at which the steps shrink
_ITERATIONS = 60
_SLOW, _PATIENCE = 0.9, 8  # steps that shrink no faster than this, after so many, are left to Newton's method
_LOWEST = 0.4  # p.u.: below this, a solution may be the unstable one of two; the way to it is followed instead
_ACCURACY = 1e-10  # p.u.: where rounding the matrix may move voltages by more, its branches are summed one by one
_DENSE = 64  # nodes up to which a full inverse beats the sparse factors
_BLOCK = 65536  # voltages that are iterated together: they stay in a core's cache


class FixedPointFlow(PowerFlow):
    """Solves ``Y u = conj(s / u)`` by ``u <- Y^-1 conj(s / u)`` with Y factorised once (the "Z-bus" method).

    The voltages of a distribution feeder lie near those of no load, so every iteration takes what is left down to a
    fifth or less, and costs one forward and backward substitution: linear in the nodes, and for many steps at once.
    Where it does not converge, or ends at a low voltage, Newton's method follows the voltages from no load on, one step
    at a time (`Continuation`).

    Lines of next to no impedance beside long ones (1e-7 ohm) blur the sums of admittances; Y u is then added up branch
    by branch, and the answer stays good to 1e-12 p.u., where power-grid-model finds none.  Elsewhere both agree to
    1e-9.  (Chen et al., "Distribution system power flow analysis: a rigid approach", 1991; the
    contraction: Bernstein et al., "Load flow in multiphase distribution networks", 2018.)
    """

    def __init__(self, feeder: Feeder) -> None:
        super().__init__(feeder)
        self._factors = lru_cache(maxsize=64)(self._build)
        self._slack_at = np.exp(1j * feeder.slack_rad)

    def solve(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        factors = self._factors(_key(taps), _key(steps))
        vm = self.feeder.slack_vm if slack_vm is None else slack_vm
        s, slack_u = injection_mva / self.feeder.base_mva, vm * self._slack_at
        u = factors.iterate_one(s, slack_u, start)
        return Solution(self.feeder, factors.follow(s, slack_u) if u is None else u, factors.two_port, factors.shunt)

    def solve_batch(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: FloatArray | float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        factors, base = self._factors(_key(taps), _key(steps)), self.feeder.base_mva
        count, nodes = injection_mva.shape
        vm = np.broadcast_to(np.asarray(self.feeder.slack_vm if slack_vm is None else slack_vm, dtype=float), count)
        u, failed = np.empty((count, nodes), dtype=np.complex128), np.ones(count, dtype=bool)
        rows = min(max(_BLOCK // nodes, 16), 512)
        with one_thread():
            for first in range(0, count, rows):
                part = slice(first, first + rows)
                guess, slack_u = None if start is None else start[part], vm[part] * self._slack_at
                u[part], failed[part] = factors.iterate_many(injection_mva[part] / base, slack_u, guess)
            for k in np.flatnonzero(failed):
                u[k] = factors.follow(injection_mva[k] / base, vm[k] * self._slack_at)
        return Solution(self.feeder, u, factors.two_port, factors.shunt)

    def _build(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> _Factors:
        return _Factors(self.feeder, *(None if at is None else np.array(at) for at in (taps, steps)))


def _key(values: IntArray | None) -> tuple[int, ...] | None:
    return None if values is None or not len(values) else tuple(values.tolist())


class _Factors:
    """The factorised admittance matrix of one setting of taps and steps.

    The slack's row stands for ``u_slack = given``, so that one solve yields all voltages.
    """

    def __init__(self, feeder: Feeder, taps: IntArray | None, steps: IntArray | None) -> None:
        self._feeder, self._taps, self._steps = feeder, taps, steps
        self.two_port, self.shunt = feeder.two_port(taps), feeder.shunt(steps)
        self._slack, self._fixed, nodes = feeder.slack, feeder.node_fixed, feeder.n_nodes
        y = branch_admittance(feeder, taps) + sp.diags(self.shunt)
        size = np.abs(y.diagonal())
        self._weight = float(size.max(initial=1.0))
        free = sp.diags((np.arange(nodes) != feeder.slack).astype(float))
        given = sp.csc_matrix(([self._weight], ([feeder.slack], [feeder.slack])), shape=(nodes, nodes))
        # Feeders are sparse, supernodes would only fill their factors with zeros; and pivots on the diagonal are good.
        self._lu = splu(
            (free @ y + given).tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, panel_size=1, relax=1
        )
        self._dense = self._lu.solve(np.eye(nodes, dtype=np.complex128)).T.copy() if nodes <= _DENSE else None
        # Rounding the diagonal of y by eps |y| moves the voltages by about as much as these currents would.
        doubt = np.abs(self._lu.solve((size * np.finfo(float).eps).astype(np.complex128))).max()
        self._exact: _BranchByBranch | None = None
        if doubt > _ACCURACY:
            self._exact = _BranchByBranch(feeder, self.two_port, self.shunt, self._weight)
        no_load = np.zeros((1, nodes), dtype=np.complex128)
        no_load[0, feeder.slack] = self._weight
        self._no_load = self._next(no_load, np.ones_like(no_load))[0]
        self._no_load = self._next(no_load, self._no_load[None, :])[0]

    def iterate_one(self, s: ComplexArray, slack_u: complex, start: ComplexArray | None) -> ComplexArray | None:
        """Return the (nodes,) voltages under the injections `s` (p.u.), None without convergence."""
        s, given, slack = s + self._fixed, self._weight * slack_u, self._slack
        u = self._no_load * slack_u if start is None or not np.isfinite(start[0]) else start
        last, before = np.inf, 0.5
        with np.errstate(all="ignore"):
            for k in range(_ITERATIONS):
                current = (s / u).conj()
                current[slack] = given
                if self._exact is not None:
                    new = self._next(current[None, :], u[None, :])[0]
                else:
                    new = current @ self._dense if self._dense is not None else self._lu.solve(current)
                step = float(np.abs(new - u).max())
                u, ratio = new, step / last
                rate = max(ratio, before)
                if step * rate <= _TOLERANCE * (1 - rate):
                    return u if np.abs(u).min() > _LOWEST * abs(slack_u) else None
                if not step < np.inf or (k >= _PATIENCE and rate > _SLOW):
                    break
                last, before = step, ratio if k else before
        return None

    def iterate_many(
        self, s: ComplexArray, slack_u: ComplexArray, start: ComplexArray | None
    ) -> tuple[ComplexArray, BoolArray]:
        """Return the (rows, nodes) voltages under the injections `s` (p.u.), and which rows did not converge."""
        s, given = s + self._fixed, self._weight * slack_u
        flat = self._no_load * slack_u[:, None]
        u = flat if start is None else np.where(np.isfinite(start[:, :1]), start, flat)
        found, failed = np.empty_like(u), np.zeros(len(u), dtype=bool)
        open_rows = np.arange(len(u))  # their place in `found`; a row that is done stays until it pays to drop it
        done = np.zeros(len(u), dtype=bool)
        last, before = np.full(len(u), np.inf), np.full(len(u), 0.5)
        with np.errstate(all="ignore"):
            for k in range(_ITERATIONS):
                current = np.divide(s, u)
                np.conjugate(current, out=current)
                current[:, self._slack] = given
                new = self._next(current, u)
                step = np.abs(np.subtract(new, u, out=current)).max(axis=1)
                u, ratio = new, step / last
                rate = np.maximum(ratio, before)
                done |= step * rate <= _TOLERANCE * (1 - rate)
                lost = ~done & ~((step < np.inf) & ((rate <= _SLOW) | (k < _PATIENCE)))
                failed[open_rows[lost]] = True
                done |= lost
                if 2 * np.count_nonzero(done) > len(done):
                    found[open_rows[done]] = u[done]
                    keep = ~done
                    open_rows, s, u, given, step = open_rows[keep], s[keep], u[keep], given[keep], step[keep]
                    ratio, before, done = ratio[keep], before[keep], done[keep]
                    if not len(open_rows):
                        break
                last, before = step, ratio if k else before
        found[open_rows] = u
        failed[open_rows[~done]] = True
        return found, failed | ~(np.abs(found).min(axis=1) > _LOWEST * np.abs(slack_u))

    def follow(self, s: ComplexArray, slack_u: complex) -> ComplexArray:
        """Return the (nodes,) voltages under the injections `s` (p.u.) by continuation, NaN where there are none."""
        found = self._continuation.solve(s + self._fixed, slack_u)
        return np.full(len(s), np.nan, dtype=np.complex128) if found is None else found

    @cached_property
    def _continuation(self) -> Continuation:
        grid, exact = ReducedGrid.of(self._feeder, self._taps, self._steps), self._exact
        return Continuation(
            grid, (lambda u: grid.y @ u) if exact is None else (lambda u: exact.currents(u[None, :])[0]), self._no_load
        )

    def _next(self, current: ComplexArray, u: ComplexArray) -> ComplexArray:
        """Return Y^-1 times each row of `current`, (rows, nodes); u : voltages near the answer."""
        if self._exact is not None:
            current = current - self._exact.currents(u)
        found: ComplexArray = current @ self._dense if self._dense is not None else self._lu.solve(current.T).T
        return found if self._exact is None else u + found


class _BranchByBranch:
    """Y u as ``D^H diag(y) D u + ends u``, D u the voltage along each branch: no sum of admittances is ever rounded.

    The slack's row is `weight` times its voltage.
    """

    def __init__(self, feeder: Feeder, two_port: TwoPort, shunt: ComplexArray, weight: float) -> None:
        rows, at = feeder.branches, np.arange(len(feeder.branches))
        turn = np.exp(-1j * two_port.shift_rad) / two_port.ratio
        values, columns = np.concatenate([turn, -np.ones(len(at))]), np.concatenate([rows.from_node, rows.to_node])
        self._drop = sp.csr_matrix((values, (np.concatenate([at, at]), columns)), shape=(len(at), feeder.n_nodes))
        self._gather = sp.csr_matrix(self._drop.conj().T)
        self._y = (1 / (two_port.r + 1j * two_port.x))[:, None]
        self._free = np.arange(feeder.n_nodes) != feeder.slack
        self._ends = shunt.astype(np.complex128)
        np.add.at(self._ends, rows.from_node, (two_port.g_f + 1j * two_port.b_f) / two_port.ratio**2)
        np.add.at(self._ends, rows.to_node, two_port.g_t + 1j * two_port.b_t)
        self._ends[feeder.slack] = weight

    def currents(self, u: ComplexArray) -> ComplexArray:
        """Return Y u of each row of `u`, (rows, nodes)."""
        return np.asarray((self._gather @ (self._y * (self._drop @ u.T))).T * self._free + self._ends * u)
