"""Setpoints from the linear model: a quadratic program in the inverters' powers alone.

With z the used inverters' q (and p, if it may be lowered) in ratings, the linear model gives every voltage and flow
as ``c + S z``.  Losses are ``r (P^2 + Q^2) / w`` with w at no load, so the problem is

    minimise  1/2 z'H z + g'z + penalty * sum(t)
    subject to  low - t <= v(z) <= high + t,  t >= 0,  q^2 + p^2 <= s^2,  0 <= p <= available,

with H and S fixed, and g, the offset of v and the limits renewed at every step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.branchflow.linear import LinearModel, flows_at
from feederlab.models.branchflow.parameters import BranchFlow, within_limits
from feederlab.models.coneprogram import ConeProgram, ConeSolution
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint

_RIDGE = 1e-9  # of H's mean diagonal: settles ties, such as two inverters at one node
_PIQP = {"eps_abs": 1e-9, "eps_rel": 1e-10}
_CLARABEL = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}


@dataclass(frozen=True, eq=False)
class Expansion:
    """Where the model is expanded.

    q_mvar, p_mw : (inverters,) powers there.  v : (nodes,) squared voltages there (p.u.).
    p_flow, q_flow, w : (m,) branch flows (p.u.) and squared voltages before them.
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    v: FloatArray
    p_flow: FloatArray
    q_flow: FloatArray
    w: FloatArray


class LinearSetpoints:
    """The quadratic program of one feeder at one setting of taps and capacitor steps.

    Parameters as in `Relaxation`; `curtail` makes it a second-order cone program (Clarabel), otherwise the limits
    are ``|q| <= sqrt(s^2 - p^2)`` and PIQP solves it.
    """

    def __init__(
        self,
        flow: BranchFlow,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
    ) -> None:
        self.flow, self.objective, self.curtail = flow, objective, curtail
        feeder = flow.feeder
        self.model = LinearModel(flow)
        self._penalty = voltage_penalty
        self._used = np.flatnonzero((feeder.inverters.node >= 0) & (feeder.inverters.s_mva > 0))
        self._rating = feeder.inverters.s_mva[self._used]
        self._low, self._high = np.asarray(band)[:, feeder.tree.child] ** 2
        self._by_p, self._by_q = self.model.response(feeder.inverters.node[self._used])
        share, parts = self._rating / feeder.base_mva, [self._by_q, self._by_p] if curtail else [self._by_q]
        self._dv, self._dp, self._dq = (
            np.hstack([getattr(part, f) * share for part in parts]) for f in ("v", "p", "q")
        )
        idle = self.model.solve(np.zeros(feeder.n_nodes, dtype=np.complex128), feeder.slack_vm**2)
        self._w = idle.v[feeder.tree.parent] / flow.ratio2
        self._loss_weight = feeder.base_mva * (objective.weight("losses") + objective.weight("substation_import"))
        self._hessian = self._curvature()
        scale = float(np.trace(self._hessian)) / max(len(self._hessian), 1)
        self._unit = scale if scale > 0 else 1.0

    @property
    def decides(self) -> bool:
        """Whether there is any inverter to set."""
        return len(self._used) > 0

    def at_rest(self, point: OperatingPoint) -> Expansion:
        """Return the linear model's own state with all available power and q = 0: the textbook expansion."""
        q, p = np.zeros(len(self.flow.feeder.inverters)), self._p_now(point)
        state = self.model.solve(self._consumption(point, p, q), point.slack_vm**2)
        return Expansion(q, p, state.v, state.p, state.q, self._w)

    def at_measurement(self, point: OperatingPoint, vm: FloatArray, p_mw: FloatArray, q_mvar: FloatArray) -> Expansion:
        """Return the measured state: the model's offset cancels, only its sensitivities remain.

        vm : (nodes,) (p.u.); NaN takes the linear model's voltage.  p_mw, q_mvar : (inverters,) when vm was measured.
        """
        take = self._consumption(point, p_mw, q_mvar)
        v = np.where(np.isfinite(vm), vm, 0.0) ** 2
        lost = ~np.isfinite(vm)
        if lost.any():
            v[lost] = self.model.solve(take, point.slack_vm**2).v[lost]
        return Expansion(q_mvar, p_mw, v, *flows_at(self.flow, take, v))

    def solve(self, point: OperatingPoint, about: Expansion) -> tuple[FloatArray, FloatArray, ConeSolution]:
        """Return q (MVAr) and p (MW) of all inverters, and the solver's report."""
        used, inverters = self._used, self.flow.feeder.inverters
        p_max = self._p_now(point)
        z0 = about.q_mvar[used] / self._rating
        if self.curtail:
            z0 = np.concatenate([z0, about.p_mw[used] / self._rating])
        else:
            about = self._moved(about, p_max)
        v0 = (about.v - self._dv @ z0)[self.flow.feeder.tree.child]
        share = p_max[used] / self._rating
        limit = {"p_max": share} if self.curtail else {"q_max": np.sqrt(np.maximum(1.0 - share**2, 0.0))}
        numbers = limit | {
            "g": (self._gradient(about, z0) - self._hessian @ z0) / self._unit,
            "room_up": self._high - v0, "room_down": v0 - self._low,
        }  # fmt: skip
        solved = self._program.solve(**numbers)
        if not solved.usable and not self.curtail:
            solved = self._conic_program.solve(**numbers)
        z = solved.values["z"]
        q, p = np.zeros(len(inverters)), p_max.copy()
        q[used] = z[: len(used)] * self._rating
        if self.curtail:
            p[used] = z[len(used) :] * self._rating
        p, q = within_limits(inverters.s_mva, p_max, p, q)
        return q, p, solved

    def _p_now(self, point: OperatingPoint) -> FloatArray:
        return np.minimum(np.maximum(point.p_available_mw, 0.0), self.flow.feeder.inverters.s_mva)

    def _consumption(self, point: OperatingPoint, p_mw: FloatArray, q_mvar: FloatArray) -> ComplexArray:
        return self.flow.consumption(point.injection_mva(self.flow.feeder, p_mw, q_mvar))

    def _moved(self, about: Expansion, p_mw: FloatArray) -> Expansion:
        """Return the expansion with the inverters' active power at `p_mw`."""
        change = (p_mw - about.p_mw)[self._used] / self.flow.feeder.base_mva
        if not change.any():
            return about
        by = self._by_p
        return replace(
            about, p_mw=p_mw, v=about.v + by.v @ change, p_flow=about.p_flow + by.p @ change,
            q_flow=about.q_flow + by.q @ change,
        )  # fmt: skip

    def _curvature(self) -> FloatArray:
        """Return H of the objective: losses over the no-load voltages, voltage deviation, control effort."""
        resistance = (2 * self._loss_weight * self.flow.r / self._w)[:, None]
        h = self._dp.T @ (resistance * self._dp) + self._dq.T @ (resistance * self._dq)
        at_child = self._dv[self.flow.feeder.tree.child]
        h += 2 * self.objective.weight("voltage_deviation") * at_child.T @ at_child
        diagonal = np.zeros(len(h))
        diagonal[: len(self._used)] = 2 * self.objective.weight("control_effort")
        return np.asarray(h + np.diag(diagonal + _RIDGE * (np.trace(h) / max(len(h), 1) + diagonal.max(initial=0.0))))

    def _gradient(self, about: Expansion, z0: FloatArray) -> FloatArray:
        """Return the objective's gradient where the model is expanded."""
        flow, weight = self.flow, self.objective.weight
        tree, base, n = flow.feeder.tree, flow.feeder.base_mva, len(self._used)
        per_flow = 2 * self._loss_weight * flow.r / about.w
        g = (per_flow * about.p_flow) @ self._dp + (per_flow * about.q_flow) @ self._dq
        # Losses fall as the voltage rises, and shunt conductances draw more.
        current2 = (about.p_flow**2 + about.q_flow**2) / about.w**2
        g -= (self._loss_weight * flow.r * current2 / flow.ratio2) @ self._dv[tree.parent]
        g += self._loss_weight * flow.branch_g @ self._dv
        g += base * weight("substation_import") * (flow.shunt.real - flow.branch_g) @ self._dv
        deviation = about.v[tree.child] - self.objective.v0**2
        g += 2 * weight("voltage_deviation") * deviation @ self._dv[tree.child]
        g[:n] += 2 * weight("control_effort") * z0[:n]
        if self.curtail:
            g[n:] -= (weight("substation_import") + weight("curtailment")) * self._rating
        return np.asarray(g)

    @cached_property
    def _program(self) -> ConeProgram:
        return ConeProgram(self._problem(), *(("CLARABEL", _CLARABEL) if self.curtail else ("PIQP", _PIQP)))

    @cached_property
    def _conic_program(self) -> ConeProgram:
        """The same problem for Clarabel, for when PIQP has no answer."""
        return ConeProgram(self._problem(), "CLARABEL", _CLARABEL)

    def _problem(self) -> Any:
        import cvxpy as cp

        m, n = len(self.flow.r), len(self._used)
        z, t = cp.Variable(self._dv.shape[1], name="z"), cp.Variable(m, name="t")
        g = cp.Parameter(z.size, name="g", value=np.zeros(z.size))
        up, down = (cp.Parameter(m, name=name, value=np.zeros(m)) for name in ("room_up", "room_down"))
        dv = self._dv[self.flow.feeder.tree.child]
        cost = 0.5 * cp.quad_form(z, cp.psd_wrap(self._hessian / self._unit)) + g @ z
        limits = [dv @ z - t <= up, -dv @ z - t <= down, t >= 0]
        if self.curtail:
            p_max = cp.Parameter(n, name="p_max", value=np.ones(n))
            limits += [z[n:] >= 0, z[n:] <= p_max, cp.SOC(np.ones(n), cp.vstack([z[:n], z[n:]]), axis=0)]
        else:
            q_max = cp.Parameter(n, name="q_max", value=np.ones(n))
            limits += [z <= q_max, z >= -q_max]
        return cp.Problem(cp.Minimize(cost + (self._penalty / self._unit) * cp.sum(t)), limits)
