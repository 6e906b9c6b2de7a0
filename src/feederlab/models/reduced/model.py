"""Cost and soft limits as functions of the setpoints alone, with exact first and second derivatives.

The setpoints are ``z = (q, p) / s`` of the used inverters (p only where active power may be lowered).  Voltages follow
from the power flow, so that the cost is

    f(u(z), z) + sum_i price * max(0, h_i(u(z))),

f the objective; h the rows ``|u|^2 - high^2``, ``low^2 - |u|^2`` and, with a loading limit, the squared loading of each
branch end less its limit.  All but the voltage deviation are quadratic in u.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.jacobian import Jacobian, ReducedGrid
from feederlab.models.setpoints import Price, SetpointProblem


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One solved power flow: setpoints, node voltages u, rows h (as above), and what the state costs."""

    q_mvar: FloatArray
    p_mw: FloatArray
    u: ComplexArray
    rows: FloatArray
    price: Price

    @property
    def cost(self) -> float:
        """Objective plus penalties; inf where the power flow has no solution."""
        return self.price.cost


@dataclass(frozen=True, eq=False)
class Expansion:
    """Derivatives at a solved state.

    gradient : (k,) of the objective by z.  slopes : (rows, k) of the rows by z.
    """

    jacobian: Jacobian
    du: ComplexArray
    gradient: FloatArray
    slopes: FloatArray


@dataclass(frozen=True, eq=False)
class Disc:
    """The limits ``q^2 + p^2 <= 1`` at z, linearised: ``slopes @ d <= room``; (n, k) and (n,).

    Without curtailment there are none: the bounds of q already hold them.
    """

    slopes: FloatArray
    room: FloatArray

    def curvature(self, multipliers: FloatArray) -> FloatArray:
        """Return the (k, k) Hessian of ``multipliers @ limits``."""
        return np.diag(np.tile(2 * multipliers[: len(self.room)], 2)) if len(self.room) else np.zeros(1)


class ReducedModel:
    """Evaluates and differentiates a `SetpointProblem` in the setpoints alone."""

    def __init__(self, problem: SetpointProblem) -> None:
        self.problem = problem
        feeder, low, high = problem.feeder, *problem.band
        others = np.arange(feeder.n_nodes) != feeder.slack
        self.roof = np.flatnonzero(others & np.isfinite(high))
        self.floor = np.flatnonzero(others & (low > 0))
        self._high2, self._low2 = high[self.roof] ** 2, low[self.floor] ** 2
        self.rating = feeder.inverters.s_mva[problem.used]
        share = self.rating / feeder.base_mva
        parts = [1j * share, share] if problem.curtail else [1j * share]
        self._unit: ComplexArray = np.concatenate(parts).astype(np.complex128)
        self._node = np.tile(feeder.inverters.node[problem.used], 2 if problem.curtail else 1)
        self._grid = lru_cache(maxsize=16)(self._read)

    @property
    def size(self) -> int:
        """Number k of setpoints."""
        return len(self._unit)

    def bounds(self, point: OperatingPoint) -> tuple[FloatArray, FloatArray]:
        """Return (low, high), each (k,), of z."""
        share = self.problem.available(point)[self.problem.used] / self.rating
        if self.problem.curtail:
            one = np.ones_like(share)
            return np.concatenate([-one, 0 * one]), np.concatenate([one, share])
        room = np.sqrt(np.maximum(1.0 - share**2, 0.0))
        return -room, room

    def project(self, point: OperatingPoint, z: FloatArray) -> FloatArray:
        """Return the nearest z within the bounds, and then radially within q^2 + p^2 <= 1."""
        low, high = self.bounds(point)
        z = np.minimum(np.maximum(z, low), high)
        if self.problem.curtail:
            n = len(self.rating)
            z = z / np.tile(np.maximum(np.hypot(z[:n], z[n:]), 1.0), 2)
        return z

    def disc(self, z: FloatArray) -> Disc:
        """Return the inverters' ratings as limits on a step from z."""
        if not self.problem.curtail:
            return Disc(np.zeros((0, len(z))), np.zeros(0))
        q, p = np.split(z, 2)
        return Disc(2 * np.hstack([np.diag(q), np.diag(p)]), 1.0 - q**2 - p**2)

    def bulge(self, d: FloatArray) -> FloatArray:
        """Return what the linearised ratings leave out at a step d: the square of its length per inverter."""
        return np.square(np.split(d, 2)).sum(axis=0) if self.problem.curtail else np.zeros(0)

    def position(self, q_mvar: FloatArray, p_mw: FloatArray) -> FloatArray:
        """Return z, (k,), of setpoints (inverters,)."""
        used = self.problem.used
        q = q_mvar[used] / self.rating
        return np.concatenate([q, p_mw[used] / self.rating]) if self.problem.curtail else q

    def evaluate(self, point: OperatingPoint, z: FloatArray) -> Evaluation:
        """Return the solved power flow at z."""
        problem, n = self.problem, len(self.rating)
        q, p = np.zeros(len(problem.feeder.inverters)), problem.available(point)
        q[problem.used] = z[:n] * self.rating
        if problem.curtail:
            p[problem.used] = z[n:] * self.rating
        solved = problem.solve(point, q, p)
        if not solved.converged:
            return Evaluation(q, p, solved.u, np.zeros(0), Price(np.inf, np.inf, np.inf, np.inf))
        v = np.abs(solved.u) ** 2
        rows = [v[self.roof] - self._high2, self._low2 - v[self.floor]]
        if problem.limits is not None:
            current = self._setting(point).currents @ solved.u
            rows.append(np.abs(current) ** 2 - problem.limits.limit)
        return Evaluation(q, p, solved.u, np.concatenate(rows), problem.price(point, solved, q, p))

    def expand(self, point: OperatingPoint, at: Evaluation) -> Expansion:
        """Return the first derivatives at a solved state.  Raises `RuntimeError` at the point of voltage collapse."""
        problem, setting = self.problem, self._setting(point)
        feeder, u = problem.feeder, at.u
        injection = point.injection_mva(feeder, at.p_mw, at.q_mvar) / feeder.base_mva + feeder.node_fixed
        jacobian = setting.grid.linearised(u, injection)
        power = np.zeros((feeder.n_nodes, self.size), dtype=np.complex128)
        power[self._node, np.arange(self.size)] = self._unit
        du = jacobian.voltages(power)
        dv = 2 * (u.real[:, None] * du.real + u.imag[:, None] * du.imag)
        gradient = (np.conj(self._slope(setting, u)) @ du).real + self._direct(at)
        slopes = [dv[self.roof], -dv[self.floor]]
        if problem.limits is not None:
            slopes.append(2 * (np.conj(setting.currents @ u)[:, None] * (setting.currents @ du)).real)
        return Expansion(jacobian, du, gradient, np.concatenate(slopes))

    def hessian(self, point: OperatingPoint, at: Evaluation, by: Expansion, multipliers: FloatArray) -> FloatArray:
        """Return the exact (k, k) Hessian of objective plus ``multipliers @ rows`` by z."""
        setting, u, du = self._setting(point), at.u, by.du
        weight, base, objective = self.problem.objective.weight, self.problem.feeder.base_mva, self.problem.objective
        roof, floor = len(self.roof), len(self.floor)
        node = np.zeros(len(u))
        node[self.roof] += multipliers[:roof]
        node[self.floor] -= multipliers[roof : roof + floor]
        slope = self._slope(setting, u) + 2 * node * u
        h = np.zeros((self.size, self.size))
        if weight("losses"):
            h += 2 * base * weight("losses") * (np.conj(du).T @ (setting.grid.losses @ du)).real
        if weight("voltage_deviation"):
            v = np.abs(u) ** 2 - objective.v0**2
            v[self.problem.feeder.slack] = 0.0
            node += 2 * weight("voltage_deviation") * v
            dv = 2 * (u.real[:, None] * du.real + u.imag[:, None] * du.imag)  # zero at the slack
            h += 2 * weight("voltage_deviation") * dv.T @ dv
        priced = np.flatnonzero(node)
        h += 2 * (np.conj(du[priced]).T @ (node[priced, None] * du[priced])).real
        if self.problem.limits is not None and (ends := np.flatnonzero(multipliers[roof + floor :])).size:
            price, current = multipliers[roof + floor :][ends], setting.currents[ends]
            di = current @ du
            h += 2 * (np.conj(di).T @ (price[:, None] * di)).real
            slope = slope + 2 * current.conj().T @ (price * (current @ u))
        h += by.jacobian.curvature(by.jacobian.adjoint(slope), du, self._node, self._unit)
        effort = np.zeros(self.size)
        effort[: len(self.rating)] = 2 * weight("control_effort")
        return h + np.diag(effort)

    def _slope(self, setting: _Setting, u: ComplexArray) -> ComplexArray:
        """Return the (nodes,) slope of the objective: it moves by Re(slope^H du)."""
        problem = self.problem
        weight, base, slack = problem.objective.weight, problem.feeder.base_mva, problem.feeder.slack
        slope: ComplexArray = 2 * base * weight("losses") * (setting.grid.losses @ u)
        if weight("voltage_deviation"):
            v = np.abs(u) ** 2 - problem.objective.v0**2
            v[slack] = 0.0
            slope += 4 * weight("voltage_deviation") * v * u
        if weight("substation_import"):
            slope += base * weight("substation_import") * u[slack] * setting.at_slack
        return slope

    def _direct(self, at: Evaluation) -> FloatArray:
        """Return the (k,) gradient of what depends on the setpoints themselves."""
        problem, n = self.problem, len(self.rating)
        weight, direct = problem.objective.weight, np.zeros(self.size)
        direct[:n] = 2 * weight("control_effort") * at.q_mvar[problem.used] / self.rating
        if problem.curtail:
            own = problem.feeder.inverters.node[problem.used] == problem.feeder.slack
            direct[n:] = -(weight("curtailment") + weight("substation_import") * own) * self.rating
        return direct

    def _setting(self, point: OperatingPoint) -> _Setting:
        return self._grid(_key(point.taps), _key(point.steps))

    def _read(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> _Setting:
        feeder, limits = self.problem.feeder, self.problem.limits
        tap, step = (None if a is None else np.array(a, dtype=np.int64) for a in (taps, steps))
        grid = ReducedGrid.of(feeder, tap, step)
        currents = sp.csr_matrix((0, feeder.n_nodes), dtype=np.complex128)
        if limits is not None:
            currents = limits.matrix(feeder, tap)
        at_slack = np.conj(grid.y[[feeder.slack]].toarray()[0])
        return _Setting(grid, currents, at_slack)


@dataclass(frozen=True, eq=False)
class _Setting:
    """Matrices of one setting of taps and steps.

    currents : (ends, nodes) from voltages to the limited currents over their limits.  at_slack : (nodes,) conjugate of
    the admittance matrix's slack row.
    """

    grid: ReducedGrid
    currents: sp.csr_matrix
    at_slack: ComplexArray


def _key(values: IntArray | None) -> tuple[int, ...] | None:
    return None if values is None or not len(values) else tuple(int(v) for v in values)
