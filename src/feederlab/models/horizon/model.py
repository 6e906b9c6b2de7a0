"""A plan over a horizon, priced by AC power flows, and expanded about them.

The controls of a stage are, in this order and in units of the device's rating S,

    z = (q of inverters, p of inverters, charging, discharging, q of storage, tap positions, closed steps),

the active power of inverters only where it may be lowered, taps and steps in whole positions.  About a solved power
flow the stage's cost is

    f(z) + price * sum_i max(0, h_i(z)),    h: |u|^2 - high^2 and low^2 - |u|^2 at every node but the slack,

and is replaced by a convex one: h by its tangent, f by value, gradient and the part ``2 Re(du^H M du)`` of its Hessian
that comes from the curvature of the objective in the voltages (Gauss-Newton; what the power flow's own curvature adds
is left out, it is a few percent of it, and successive expansions make up for it).

What inverters and storage do to voltages is exact (`powerflow.jacobian`).  For taps and steps it is half the difference
of the power flows one position up and one down (at an end of the range: the difference to the one neighbour): a
position is no infinitesimal move, and the secant errs by the cube of it where the tangent errs by the square (central
differences; for tap changers in this use: Christakou et al., IEEE Trans. Smart Grid 4(2), 2013, treat taps likewise as
continuous controls with sensitivity coefficients).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.horizon.plan import Plan
from feederlab.models.horizon.stages import Stages
from feederlab.models.objective import Objective
from feederlab.models.powerflow.base import PowerFlow, engine
from feederlab.models.powerflow.jacobian import Jacobian, ReducedGrid
from feederlab.models.scoring import objective_value
from feederlab.models.setpoints import check_decidable
from feederlab.models.threads import one_thread

_DENSE = 60  # controls up to which programs are written in the controls alone


@dataclass(frozen=True, eq=False)
class Priced:
    """A plan in AC power flows.

    u : (T, nodes).  objective, excess : (T,) of each stage, per step.  cost : objective plus penalty, summed over the
    steps of the horizon; inf where a power flow has no solution.
    """

    plan: Plan
    u: ComplexArray
    objective: FloatArray
    excess: FloatArray
    cost: float


@dataclass(frozen=True, eq=False)
class Expansion:
    """The stages' costs about a plan, per step, as functions of the controls z.

    at : (T, k) controls of the plan.  value : (T,).  gradient : (T, k).  hessian : (T, k, k), positive semidefinite.
    rows : (T, m) h.  slopes : (T, m, k).
    sparse : the same, stage by stage, through the voltages; empty for feeders with few controls.
    """

    at: FloatArray
    value: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    rows: FloatArray
    slopes: FloatArray
    sparse: tuple[SparseStage, ...] = ()


@dataclass(frozen=True, eq=False)
class SparseStage:
    """A stage's curvature and rows through w, the (2 free,) parts of du: ``jacobian w = currents (z - at)``.

    curvature : (2 free, 2 free) of the cost in w.  effort : (k,) of the cost in z itself.  slopes : (m, 2 free) of the
    rows in w.  With many controls the matrices in z alone are dense, and a program in z and w is solved many times
    faster.
    """

    jacobian: sp.csr_matrix
    currents: sp.csr_matrix
    curvature: sp.csr_matrix
    effort: FloatArray
    slopes: sp.csr_matrix


def _in_parts(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return the real symmetric matrix of ``w -> Re(du^H matrix du)``, w the real and imaginary parts in turn."""
    one = matrix.tocoo()
    r, c, re, im = one.row, one.col, one.data.real, one.data.imag
    rows, columns = (
        np.concatenate([2 * r, 2 * r + 1, 2 * r, 2 * r + 1]),
        np.concatenate([2 * c, 2 * c + 1, 2 * c + 1, 2 * c]),
    )
    full = sp.csr_matrix((np.concatenate([re, re, -im, im]), (rows, columns)), shape=(2 * len(matrix.indptr) - 2,) * 2)
    return ((full + full.T) / 2).tocsr()


def _magnitudes(u: ComplexArray, place: IntArray, nodes: IntArray) -> sp.csr_matrix:
    """Return the (nodes, 2 free) derivatives of |u|^2 by the parts of du; none for the slack."""
    here = np.flatnonzero(place[nodes] >= 0)
    at = place[nodes[here]]
    entries = np.concatenate([2 * u[nodes[here]].real, 2 * u[nodes[here]].imag])
    return sp.csr_matrix(
        (entries, (np.concatenate([here, here]), np.concatenate([2 * at, 2 * at + 1]))),
        shape=(len(nodes), 2 * int(place.max() + 1)),
    )


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the controls of a stage stand among its k columns, and which devices they belong to.

    inverters, storages, taps, steps : the devices that take part.  q, p, charge, discharge, storage_q, tap, step :
    slices; p is empty without curtailment.  unit : (k,) physical size of 1 (MVAr, MW, positions).
    """

    inverters: IntArray
    storages: IntArray
    taps: IntArray
    steps: IntArray
    q: slice
    p: slice
    charge: slice
    discharge: slice
    storage_q: slice
    tap: slice
    step: slice
    unit: FloatArray

    @property
    def size(self) -> int:
        """Number k of controls."""
        return len(self.unit)

    @property
    def discrete(self) -> IntArray:
        """Columns of taps and steps."""
        return np.arange(self.tap.start, self.step.stop)

    @classmethod
    def of(cls, feeder: Feeder, *, curtail: bool, taps: bool, steps: bool) -> Layout:
        """Lay out the devices of a feeder; taps, steps : whether those take part."""
        inv, sto, tap, cap = feeder.inverters, feeder.storages, feeder.tap_changers, feeder.capacitors
        inverters = np.flatnonzero((inv.node >= 0) & (inv.s_mva > 0))
        storages = np.flatnonzero((sto.node >= 0) & (sto.s_mva > 0))
        moving = np.flatnonzero(tap.tap_max > tap.tap_min) if taps else np.zeros(0, dtype=np.int64)
        banks = np.flatnonzero((cap.node >= 0) & (cap.max_step > 0)) if steps else np.zeros(0, dtype=np.int64)
        n, s = len(inverters), len(storages)
        counts = [n, n if curtail else 0, s, s, s, len(moving), len(banks)]
        ends = np.cumsum(counts)
        parts = [slice(int(e - c), int(e)) for e, c in zip(ends, counts, strict=True)]
        rated = inv.s_mva[inverters]
        unit = [rated, rated if curtail else rated[:0], *[sto.s_mva[storages]] * 3, np.ones(len(moving) + len(banks))]
        q, p, charge, discharge, storage_q, tap_part, step = parts
        return cls(
            inverters, storages, moving, banks, q, p, charge, discharge, storage_q, tap_part, step, np.concatenate(unit)
        )  # fmt: skip


class HorizonModel:
    """Prices and expands plans.

    Parameters
    ----------
    band, objective, voltage_penalty, curtail
        As in `SetpointProblem`.
    taps, steps
        Whether tap changers and capacitor banks are decided; else they stay where they are.

    Raises
    ------
    InputError
        Voltage-controlled generators, or the objective ``cost``.
    """

    def __init__(
        self,
        feeder: Feeder,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
        taps: bool = True,
        steps: bool = True,
    ) -> None:
        check_decidable(feeder, objective)
        self.feeder, self.objective, self.voltage_penalty, self.curtail = feeder, objective, voltage_penalty, curtail
        self.band = np.asarray(band, dtype=float)
        self.layout = Layout.of(feeder, curtail=curtail, taps=taps, steps=steps)
        self.flow: PowerFlow = engine(feeder)
        others = np.arange(feeder.n_nodes) != feeder.slack
        self._roof = np.flatnonzero(others & np.isfinite(self.band[1]))
        self._floor = np.flatnonzero(others & (self.band[0] > 0))
        self._grid = lru_cache(maxsize=64)(self._read)

    def controls(self, plan: Plan) -> FloatArray:
        """Return the (T, k) controls of a plan."""
        at, z = self.layout, np.zeros((len(plan), self.layout.size))
        z[:, at.q] = plan.q_mvar[:, at.inverters]
        if self.curtail:
            z[:, at.p] = plan.p_mw[:, at.inverters]
        z[:, at.charge] = np.maximum(plan.storage_p_mw[:, at.storages], 0.0)
        z[:, at.discharge] = np.maximum(-plan.storage_p_mw[:, at.storages], 0.0)
        z[:, at.storage_q] = plan.storage_q_mvar[:, at.storages]
        z[:, at.tap] = plan.tap[:, at.taps]
        z[:, at.step] = plan.step[:, at.steps]
        return z / at.unit

    def plan(self, z: FloatArray, about: Plan) -> Plan:
        """Return the plan of (T, k) controls; devices that do not take part do as in `about`."""
        at, z = self.layout, z * self.layout.unit
        new = {name: getattr(about, name).copy() for name in Plan.__dataclass_fields__}
        new["q_mvar"][:, at.inverters] = z[:, at.q]
        if self.curtail:
            new["p_mw"][:, at.inverters] = z[:, at.p]
        new["storage_p_mw"][:, at.storages] = z[:, at.charge] - z[:, at.discharge]
        new["storage_q_mvar"][:, at.storages] = z[:, at.storage_q]
        new["tap"][:, at.taps] = np.rint(z[:, at.tap])
        new["step"][:, at.steps] = np.rint(z[:, at.step])
        return Plan(**new)

    def price(self, stages: Stages, plan: Plan) -> Priced:
        """Return what a plan costs in AC power flows."""
        u, objective, excess = self._priced(stages, plan, np.arange(len(stages)))
        total = float(stages.length @ (objective + self.voltage_penalty * excess))
        return Priced(plan, u, objective, excess, total if np.isfinite(total) else np.inf)

    def expand(self, stages: Stages, priced: Priced) -> Expansion:
        """Return the derivatives at a priced plan.

        Raises
        ------
        RuntimeError
            At the point of voltage collapse.
        """
        plan, u, at = priced.plan, priced.u, self.layout
        count, k = len(plan), at.size
        base, slack = self.feeder.base_mva, self.feeder.slack
        injection = plan.injection_mva(self.feeder, stages.load_mva) / base + self.feeder.node_fixed
        node, unit = self._injecting()
        du = np.zeros((count, self.feeder.n_nodes, k), dtype=np.complex128)
        dv = np.zeros((count, self.feeder.n_nodes, k))
        gradient, hessian = np.zeros((count, k)), np.zeros((count, k, k))
        weight = self.objective.weight
        losses, imported = weight("losses"), weight("substation_import")
        continuous = np.arange(at.tap.start)
        power = np.zeros((self.feeder.n_nodes, len(continuous)), dtype=np.complex128)
        power[node, continuous] = unit
        jacobians: list[Jacobian] = []
        with one_thread():
            for t in range(count):
                grid = self._grid(tuple(plan.tap[t].tolist()), tuple(plan.step[t].tolist()))
                jacobians.append(grid.linearised(u[t], injection[t]))
                du[t][:, continuous] = jacobians[t].voltages(power)
            dv[:] = 2 * (u.real[:, :, None] * du.real + u.imag[:, :, None] * du.imag)
            lean = self._differences(stages, priced, du, dv, gradient)
            v = np.abs(u) ** 2
            for t in range(count):
                grid = self._grid(tuple(plan.tap[t].tolist()), tuple(plan.step[t].tolist()))
                # The import is the losses, what shunts take, and what is not injected.
                shunt = self.feeder.shunt(plan.step[t]).real
                drawn = (losses + imported) * base * (grid.losses @ du[t]) + imported * base * shunt[:, None] * du[t]
                hessian[t] = 2 * (np.conj(du[t]).T @ drawn).real
                gradient[t, continuous] += 2 * (np.conj(drawn[:, continuous]).T @ u[t]).real
        if weight("voltage_deviation"):
            w, away = 2 * weight("voltage_deviation"), v - self.objective.v0**2
            away[:, slack] = 0.0
            gradient[:, continuous] += w * np.einsum("tn,tnk->tk", away, dv[:, :, continuous])
            hessian += w * np.einsum("tnj,tnk->tjk", dv, dv, optimize=True)
        gradient -= 0.5 * lean * np.diagonal(hessian, axis1=1, axis2=2)
        self._direct(plan, gradient, hessian)
        low2, high2 = self.band[:, None, :] ** 2
        v = v + stages.offset
        rows = np.concatenate([v[:, self._roof] - high2[:, self._roof], low2[:, self._floor] - v[:, self._floor]], 1)
        slopes = np.concatenate([dv[:, self._roof], -dv[:, self._floor]], axis=1)
        sparse = (
            ()
            if k <= _DENSE
            else tuple(
                self._sparse(jacobian, step, power, du[t][:, at.discrete])
                for t, (jacobian, step) in enumerate(zip(jacobians, plan.step, strict=True))
            )
        )
        return Expansion(self.controls(plan), priced.objective, gradient, hessian, rows, slopes, sparse)

    def _sparse(self, jacobian: Jacobian, step: IntArray, power: ComplexArray, moved: ComplexArray) -> SparseStage:
        """Return a stage in its voltages; moved : (nodes, discrete) what a position does to them."""
        grid, u, at, weight = jacobian.grid, jacobian.u, self.layout, self.objective.weight
        free, base = grid.free, self.feeder.base_mva
        parts = np.empty((2 * len(free), moved.shape[1]))
        parts[0::2], parts[1::2] = moved[free].real, moved[free].imag
        currents = sp.hstack([sp.csr_matrix(jacobian.currents(power)), sp.csr_matrix(jacobian.matrix @ parts)])
        losses, imported = weight("losses"), weight("substation_import")
        drawn = (losses + imported) * base * grid.losses + imported * base * sp.diags(self.feeder.shunt(step).real)
        curvature = 2 * _in_parts(drawn.tocsr()[free][:, free])
        place = np.full(len(u), -1)
        place[free] = np.arange(len(free))
        by_node = _magnitudes(u, place, np.arange(len(u)))
        if weight("voltage_deviation"):
            curvature = curvature + 2 * weight("voltage_deviation") * (by_node.T @ by_node)
        effort = np.zeros(at.size)
        effort[at.q] = 2 * weight("control_effort")
        slopes = sp.vstack([by_node[self._roof], -by_node[self._floor]], format="csr")
        return SparseStage(jacobian.matrix.tocsr(), currents.tocsr(), curvature.tocsr(), effort, slopes)

    def _injecting(self) -> tuple[IntArray, ComplexArray]:
        """Return node and injected power (p.u.) of one unit of each continuous control."""
        at, feeder = self.layout, self.feeder
        inverter, storage = feeder.inverters.node[at.inverters], feeder.storages.node[at.storages]
        nodes = [inverter, inverter if self.curtail else inverter[:0], storage, storage, storage]
        signs = [1j, 1.0, -1.0, 1.0, -1j]
        sign = np.repeat(np.array(signs, dtype=np.complex128), [len(n) for n in nodes])
        unit: ComplexArray = sign * at.unit[: at.tap.start] / feeder.base_mva
        return np.concatenate(nodes), unit

    def _differences(
        self, stages: Stages, priced: Priced, du: ComplexArray, dv: FloatArray, gradient: FloatArray
    ) -> FloatArray:
        """Fill in what taps and steps do, from the power flows of their neighbouring positions.

        Return (T, k) how far the differences lean to one side: one over a positions up and b down is
        ``g + h (a^2 - b^2) / (a + b) / 2``, g and h the derivatives here.
        """
        plan, at, feeder = priced.plan, self.layout, self.feeder
        sides = (
            ("tap", at.taps, at.tap, feeder.tap_changers.tap_min, feeder.tap_changers.tap_max),
            ("step", at.steps, at.step, 0 * feeder.capacitors.max_step, feeder.capacitors.max_step),
        )
        every, lean = np.arange(len(plan)), np.zeros_like(gradient)
        for name, devices, columns, lowest, highest in sides:
            for device, column in zip(devices, range(columns.start, columns.stop), strict=True):
                here = getattr(plan, name)
                ends = []
                for move in (-1, 1):
                    moved = here.copy()
                    moved[:, device] = np.clip(here[:, device] + move, lowest[device], highest[device])
                    u, value, _ = self._priced(stages, replace(plan, **{name: moved}), every, start=priced.u)
                    lost = ~np.isfinite(value)  # no power flow there: the other side alone tells
                    u, value = np.where(lost[:, None], priced.u, u), np.where(lost, priced.objective, value)
                    ends.append((np.where(lost, here[:, device], moved[:, device]), u, value))
                span = np.maximum(ends[1][0] - ends[0][0], 1).astype(float)
                du[:, :, column] = (ends[1][1] - ends[0][1]) / span[:, None]
                dv[:, :, column] = (np.abs(ends[1][1]) ** 2 - np.abs(ends[0][1]) ** 2) / span[:, None]
                # A move turns and stretches u; the stretch is made that of |u|^2 over the whole move.
                here_u, along = priced.u, 2 * (np.conj(priced.u) * du[:, :, column]).real
                du[:, :, column] += here_u * (dv[:, :, column] - along) / (2 * np.abs(here_u) ** 2)
                gradient[:, column] = (ends[1][2] - ends[0][2]) / span
                up, down = ends[1][0] - here[:, device], here[:, device] - ends[0][0]
                lean[:, column] = (up**2 - down**2) / span
        return lean

    def _direct(self, plan: Plan, gradient: FloatArray, hessian: FloatArray) -> None:
        """Add what depends on the setpoints themselves."""
        at, weight = self.layout, self.objective.weight
        rated = self.feeder.inverters.s_mva[at.inverters]
        diagonal = np.arange(at.size)
        if effort := weight("control_effort"):
            gradient[:, at.q] += 2 * effort * plan.q_mvar[:, at.inverters] / rated
            hessian[:, diagonal[at.q], diagonal[at.q]] += 2 * effort
        unit, imported = at.unit, weight("substation_import")
        if self.curtail:
            gradient[:, at.p] -= (weight("curtailment") + imported) * unit[at.p]
        use = weight("storage_use")
        gradient[:, at.charge] += (use + imported) * unit[at.charge]
        gradient[:, at.discharge] += (use - imported) * unit[at.discharge]

    def _priced(
        self, stages: Stages, plan: Plan, rows: IntArray, start: ComplexArray | None = None
    ) -> tuple[ComplexArray, FloatArray, FloatArray]:
        """Return voltages, objective and excess of every stage; NaN and inf where there is no power flow."""
        feeder, slack, count = self.feeder, self.feeder.slack, len(rows)
        injection = plan.injection_mva(feeder, stages.load_mva)
        u = np.full((count, feeder.n_nodes), np.nan, dtype=np.complex128)
        objective, excess = np.full(count, np.inf), np.full(count, np.inf)
        settings, which = np.unique(np.concatenate([plan.tap, plan.step], axis=1), axis=0, return_inverse=True)
        which = which.reshape(count)
        available, use = stages.p_available_mw, np.abs(plan.storage_p_mw).sum(axis=1)
        for k in range(len(settings)):
            mine = np.flatnonzero(which == k)
            solved = self.flow.solve_batch(
                injection[mine], taps=plan.tap[mine[0]], steps=plan.step[mine[0]], slack_vm=stages.slack_vm[mine],
                start=None if start is None else start[mine],
            )  # fmt: skip
            u[mine] = solved.u
            at_slack = -injection[mine, slack].real - feeder.node_fixed[slack].real * feeder.base_mva
            with np.errstate(invalid="ignore"):
                value = objective_value(
                    self.objective, solved, slack_load_mw=at_slack, p_available_mw=available[mine],
                    p_mw=plan.p_mw[mine], q_mvar=plan.q_mvar[mine], storage_use_mw=use[mine],
                )  # fmt: skip
                outside = self._excess(np.abs(solved.u) ** 2 + stages.offset)
            good: BoolArray = solved.converged
            objective[mine] = np.where(good, value, np.inf)
            excess[mine] = np.where(good, outside, np.inf)
        return u, objective, excess

    def _excess(self, v: FloatArray) -> FloatArray:
        low2, high2 = self.band**2
        over = np.maximum(v[:, self._roof] - high2[self._roof], 0.0).sum(axis=1)
        return np.asarray(over + np.maximum(low2[self._floor] - v[:, self._floor], 0.0).sum(axis=1))

    def _read(self, tap: tuple[int, ...], step: tuple[int, ...]) -> ReducedGrid:
        return ReducedGrid.of(self.feeder, np.array(tap, dtype=np.int64), np.array(step, dtype=np.int64))
