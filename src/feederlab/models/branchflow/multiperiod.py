"""The relaxation of a window of steps on a radial feeder, coupled by storage, with a certified lower bound.

The relaxations of the steps (`relaxation`) side by side, with storage as in `multiperiod`: each usable unit draws
``P_charge - P_discharge`` and q at its node as a load would, within its converter's rating (a second-order cone), its
rates, ``P_charge / its limit + P_discharge / its limit <= 1`` and its energy limits.  That it does one thing at a time
is left out: every schedule that a plant can follow does, and is feasible here at its own cost, so what is the least
without that condition bounds all of them from below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.costs import Costs
from feederlab.models.branchflow.parameters import within_limits
from feederlab.models.branchflow.relaxation import Relaxation, Step
from feederlab.models.coneprogram import Clarabel, ConeSolution, dual_bound
from feederlab.models.multiperiod.window import Fleet, Window

_SETTINGS = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9, "max_iter": 200}
_SMALL = 0.05  # of the unit: an optimum below this is solved for again at its own scale


@dataclass(frozen=True, eq=False)
class WindowBound:
    """Bound and setpoints of a window of T steps.

    bound : certified lower bound of the window's cost, over all setpoints of inverters and storage, for every AC state
    with voltages between 0.71 and 1.41 p.u. (-inf if the solver failed).  objective : what the relaxation claims.
    q_mvar, p_mw : (T, inverters).  storage_p_mw, storage_q_mvar : (T, storages), charging positive.
    both : largest share of a rating by which a unit charges and discharges at once.
    status, iterations, solver_time_s : the solver's own report.
    """

    bound: float
    objective: float
    q_mvar: FloatArray
    p_mw: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    both: float
    status: str
    iterations: int
    solver_time_s: float


class WindowRelaxation:
    """A feeder's relaxation over windows; `step` is that of one step, whose program it uses."""

    def __init__(self, step: Relaxation) -> None:
        self.step = step

    def solve(self, window: Window) -> WindowBound:
        """Return the bound of a window."""
        task = _Task(self.step, window)
        unit = float(np.mean([costs.unit for costs in task.costs]))
        bound, objective, solved = task.run(unit)
        size = abs(objective)
        if 0 < size < _SMALL * unit * len(window):
            again = task.run(max(size / len(window), _SMALL**2 * unit))
            bound, objective, solved = max(bound, again[0]), again[1], again[2]
        return task.answer(bound, objective, solved)


@dataclass(frozen=True, eq=False)
class _Joined:
    """The canonical form of the window: the steps' rows by kind, then those of storage."""

    zero: int
    nonneg: int
    cones: list[int]
    data: tuple[sp.csc_matrix, FloatArray, sp.csc_matrix, FloatArray, float]

    def unpack(self, x: FloatArray) -> dict[str, FloatArray]:
        """Return all variables as one."""
        return {"x": x}


class _Task:
    """One window: the numbers of its steps, and the way back."""

    def __init__(self, model: Relaxation, window: Window) -> None:
        self.model, self.window = model, window
        feeder = model.feeder
        self.fleet = fleet = Fleet.of(feeder, window)
        reach = np.zeros(feeder.n_nodes)
        np.add.at(reach, fleet.node, fleet.s_mva)
        self.steps = [Step(model, point, reach) for point in window.points]
        self.costs = [
            Costs.of(step.stage, window.weights(model.objective, t), model.voltage_penalty)
            for t, step in enumerate(self.steps)
        ]
        self.size = len(model.program.data[1])
        # A unit draws power as a load does: A x + s = b + (slope of b by the load) (what storage draws).
        tree = feeder.tree
        at = np.full(feeder.n_nodes, -1)
        at[tree.child] = np.arange(len(tree))
        row = at[fleet.node]
        below = row >= 0
        share = fleet.s_mva[below] / feeder.base_mva / model.flow_scale[row[below]]
        place = (row[below], np.flatnonzero(below))
        draw = sp.csc_matrix((share, place), shape=(len(tree), len(fleet)))
        p, q = (-(model.program.slope_of_b(name) @ draw) for name in ("load_p", "load_q"))
        self.coupling = sp.csr_matrix(sp.hstack([p, -p, q, sp.csc_matrix(p.shape)]))  # charge, discharge, q, energy

    def run(self, unit: float) -> tuple[float, float, ConeSolution]:
        """Return bound, claimed cost and the solution, solved in multiples of `unit`."""
        scaled = [costs.in_units_of(unit) for costs in self.costs]
        form = self._joined(scaled)
        solved = Clarabel(form, _SETTINGS).solve({})
        constant = sum(costs.constant for costs in scaled) + self._at_start
        bound = dual_bound(form, solved, self._box()) * unit - sum(costs.tie_max for costs in scaled) + constant
        floor = sum(costs.floor for costs in scaled) if self.window.end_value == 0 else -np.inf
        claimed = solved.primal * unit + constant
        return (max(bound, floor) if np.isfinite(bound) else -np.inf), claimed, solved

    @property
    def _at_start(self) -> float:
        window = self.window
        return float(window.end_value / window.step_h * self.fleet.start_mwh.sum())

    def _joined(self, costs: list[Costs]) -> _Joined:
        program, count, k = self.model.program, len(self.steps), len(self.fleet)
        parts = []
        for step, cost in zip(self.steps, costs, strict=True):
            program.place(**step.numbers, **cost.parameters(program.parameters))
            p, q, a, b, _ = program.data
            parts.append((p.copy(), q.copy(), a.copy(), b.copy()))
        width = 4 * count * k
        p = sp.block_diag([part[0] for part in parts] + [sp.csc_matrix((width, width))], format="csc")
        q = np.concatenate([*(part[1] for part in parts), self._storage_costs(costs[0].unit)])
        own, right = sp.block_diag([part[2] for part in parts], format="csr"), np.concatenate([r[3] for r in parts])
        # Storage variables: per kind (charge, discharge, q, energy), per step, per unit.
        eye = sp.eye(count)
        drawn = sp.hstack([sp.kron(eye, self.coupling[:, j * k : (j + 1) * k]) for j in range(4)])
        wide = sp.csr_matrix(sp.hstack([own, drawn]))
        (equal, level), (less, limit), (cone, offset) = self._storage_rows()
        rows = np.arange(len(right)).reshape(count, -1)
        kinds = np.cumsum([program.zero, program.nonneg])
        zero, nonneg, conic = (part.ravel() for part in np.split(rows, kinds, axis=1))
        a = sp.vstack([wide[zero], equal, wide[nonneg], less, wide[conic], cone], format="csc")
        b = np.concatenate([right[zero], level, right[nonneg], limit, right[conic], offset])
        cones = program.cones * count + [3] * (count * k)
        return _Joined(len(zero) + len(level), len(nonneg) + len(limit), cones, (p, q, sp.csc_matrix(a), b, 0.0))

    def _storage_costs(self, unit: float) -> FloatArray:
        """Return the linear costs of the storage variables."""
        window, fleet, weight = self.window, self.fleet, self.model.objective.weight
        use = weight("storage_use") * window.prices[:, None] * fleet.s_mva
        at_root = fleet.node == self.model.feeder.tree.root
        drawn = weight("substation_import") * window.prices[:, None] * fleet.s_mva * at_root
        stored = np.zeros_like(use)
        stored[-1] = -window.end_value / window.step_h * fleet.high_mwh
        return np.concatenate([part.ravel() for part in (use + drawn, use - drawn, np.zeros_like(use), stored)]) / unit

    def _storage_rows(self) -> tuple[tuple[sp.csr_matrix, FloatArray], ...]:
        """Return (A, b) of the equations, the inequalities and the cones of storage, over all variables."""
        window, fleet, count = self.window, self.fleet, len(self.steps)
        k, largest = len(fleet), np.maximum(fleet.high_mwh, 1e-12)
        eye, before = sp.eye(count), sp.eye(count, k=-1)
        per = window.step_h * fleet.s_mva / largest
        charge, discharge, q, energy = (
            sp.csr_matrix(sp.hstack([sp.csr_matrix((count * k, j * count * k)), sp.eye(count * k),
                                     sp.csr_matrix((count * k, (3 - j) * count * k))]))
            for j in range(4)
        )  # fmt: skip
        equal = (
            (sp.kron(eye, sp.eye(k)) - sp.kron(before, sp.eye(k))) @ energy
            - sp.kron(eye, sp.diags(per * fleet.efficiency)) @ charge
            + sp.kron(eye, sp.diags(per / fleet.efficiency)) @ discharge
        )
        level = np.zeros((count, k))
        level[0] = fleet.start_mwh / largest
        low = np.tile(fleet.low_mwh / largest, (count, 1))
        low[-1] = np.maximum(low[-1], fleet.end_mwh / largest)
        shares = [
            np.tile(np.divide(fleet.s_mva, most, out=np.zeros(k), where=most > 0), count)
            for most in (fleet.charge_mw, fleet.discharge_mw)
        ]
        less = sp.vstack([
            -charge, -discharge, charge, discharge, sp.diags(shares[0]) @ charge + sp.diags(shares[1]) @ discharge,
            energy, -energy,
        ])  # fmt: skip
        zero = np.zeros(count * k)
        limit = np.concatenate([
            zero, zero, np.tile(fleet.charge_mw / fleet.s_mva, count), np.tile(fleet.discharge_mw / fleet.s_mva, count),
            zero + 1, np.tile(fleet.high_mwh / largest, count), -low.ravel(),
        ])  # fmt: skip
        # (1, charge - discharge, q) in the cone, row by row of each unit.
        cone = sp.vstack([0 * charge, discharge - charge, -q]).tocsr()
        order = np.arange(3 * count * k).reshape(3, -1).T.ravel()
        offset = np.concatenate([zero + 1, zero, zero])[order]
        wide = [
            sp.hstack([sp.csr_matrix((m.shape[0], count * self.size)), m], format="csr")
            for m in (equal, less, cone[order])
        ]
        return (wide[0], level.ravel()), (wide[1], limit), (wide[2], offset)

    def _box(self) -> tuple[FloatArray, FloatArray]:
        """Return what every state that the bound speaks of lies within."""
        count, fleet = len(self.steps), self.fleet
        boxes = [self.model.program.box(step.limits()) for step in self.steps]
        largest = np.maximum(fleet.high_mwh, 1e-12)
        low = [np.zeros(len(fleet)), np.zeros(len(fleet)), -np.ones(len(fleet)), fleet.low_mwh / largest]
        high = [fleet.charge_mw / fleet.s_mva, fleet.discharge_mw / fleet.s_mva, np.ones(len(fleet)),
                fleet.high_mwh / largest]  # fmt: skip
        return (
            np.concatenate([*(box[0] for box in boxes), *(np.tile(part, count) for part in low)]),
            np.concatenate([*(box[1] for box in boxes), *(np.tile(part, count) for part in high)]),
        )

    def answer(self, bound: float, objective: float, solved: ConeSolution) -> WindowBound:
        """Return the solution in physical units."""
        model, fleet, count = self.model, self.fleet, len(self.steps)
        feeder, x = model.feeder, solved.x
        storage = x[count * self.size :].reshape(4, count, len(fleet))
        q, p = (np.zeros((count, len(feeder.inverters))) for _ in range(2))
        for t, step in enumerate(self.steps):
            own: Mapping[str, FloatArray] = model.program.unpack(x[t * self.size : (t + 1) * self.size])
            rating, p[t] = feeder.inverters.s_mva, step.p_fixed
            if len(model.used):
                q[t, model.used] = own["q"] * rating[model.used]
                if model.curtail:
                    p[t, model.used] = own["p"] * rating[model.used]
            p[t], q[t] = within_limits(rating, step.p_max, p[t], q[t])
        store_p, store_q = (np.zeros((count, len(feeder.storages))) for _ in range(2))
        store_p[:, fleet.used] = (storage[0] - storage[1]) * fleet.s_mva
        store_q[:, fleet.used] = storage[2] * fleet.s_mva
        return WindowBound(
            bound=bound, objective=objective, q_mvar=q, p_mw=p, storage_p_mw=store_p, storage_q_mvar=store_q,
            both=float(np.minimum(storage[0], storage[1]).max(initial=0.0)),
            status=solved.status if np.isfinite(x).all() else "failed", iterations=solved.iterations,
            solver_time_s=solved.solver_time_s,
        )  # fmt: skip
