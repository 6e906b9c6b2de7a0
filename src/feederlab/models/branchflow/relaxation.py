"""The second-order cone relaxation of optimal power flow on a radial feeder, with a certified lower bound.

`BranchFlow`'s equations with ``l w_k = P^2 + Q^2`` relaxed to ``l w_k >= P^2 + Q^2``; the voltage band is soft, each
node but the slack paying `voltage_penalty` per p.u. of squared magnitude outside it (`scoring.voltage_excess`).
Every state of the AC power flow is feasible here at its own cost, so the optimum bounds all controllers from below;
where the cones are tight it is the AC optimum.

The relaxation is not always exact.  An objective that does not grow with the currents (voltage deviation under
reverse flow) gains by inventing current that pulls voltages down.  So where the objective prices no losses, setpoints
come from a second solve with a small price of losses added, and the bound from the objective itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.branchflow.cone import QUADRATIC, cone_problem, grid_parameters
from feederlab.models.branchflow.costs import Costs, Stage
from feederlab.models.branchflow.parameters import BranchFlow, radial, rated_flow, within_limits
from feederlab.models.coneprogram import ConeProgram, ConeSolution
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint

LOSS_SHARE = 1e-2
"""Default price of losses where the objective has none: this share of the objective's weights per rated MW."""
_SMALL = 0.05  # of the unit: an objective below this is solved again at its own scale
_SETTINGS = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9, "max_iter": 100}
V_MIN, V_MAX = 0.5, 2.0
"""The states that the bound speaks of: squared magnitudes (p.u.) of every node."""


@dataclass(frozen=True, eq=False)
class RelaxationSolution:
    """Setpoints and bound of one operating point.

    q_mvar, p_mw : (inverters,) setpoints.  vm : (nodes,) voltages that the relaxation claims (p.u.).
    objective : what the relaxation claims the setpoints cost, voltage penalty included.
    bound : certified lower bound of objective plus voltage penalty over all setpoints, for every AC state with
    voltages between 0.71 and 1.41 p.u. (-inf if the solver failed).
    cone_gap : largest |z| (l - (P^2 + Q^2) / w) of a branch, what the relaxation invents, over |z| (P^2 + Q^2) / w of
    that branch or of the feeder's mean branch, whichever is larger.
    excess : sum of what the claimed voltages lie outside the band (p.u. of squared magnitude).
    status : ``"solved"``, ``"inaccurate"`` or ``"failed"``; iterations, solver_time_s : the solver's own report.
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    objective: float
    bound: float
    cone_gap: float
    vm: FloatArray
    excess: float
    status: str
    solver_time_s: float
    iterations: int


class Relaxation:
    """The relaxation of one feeder and objective, compiled once; a step changes numbers only.

    Parameters
    ----------
    feeder
        A radial feeder.
    band
        (2, nodes) lowest and highest voltage magnitude (p.u.).
    objective
        Any terms but ``cost``.
    voltage_penalty
        Price of the voltage slack, objective units per p.u. of squared magnitude.
    curtail
        Whether active power may be lowered: 0 <= p <= available, p^2 + q^2 <= s^2.  Otherwise p is what is available
        (at most s), and |q| <= sqrt(s^2 - p^2).
    loss_weight
        Price of losses (per MW) added to the objective for the setpoints, not for the bound.  Default: none where the
        objective prices losses or imports, else `LOSS_SHARE` of its weights per rated MW.

    Raises
    ------
    NotRadialError
        If the feeder has loops.
    InputError
        If the objective has the term ``cost``.
    """

    def __init__(
        self,
        feeder: Feeder,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
        loss_weight: float | None = None,
    ) -> None:
        objective.check_feeder()
        self.feeder, self.objective, self.curtail = feeder, objective, curtail
        self.voltage_penalty = voltage_penalty
        self.flow_scale, self.below = rated_flow(feeder), radial(feeder).descendants()
        self._rated_mw = float(self.flow_scale[feeder.tree.up < 0].sum()) * feeder.base_mva
        self.loss_weight = self._default_loss_weight() if loss_weight is None else loss_weight
        self.used = np.flatnonzero((feeder.inverters.node >= 0) & (feeder.inverters.s_mva > 0))
        self.v_ref = objective.v0**2
        self.band2 = np.asarray(band, dtype=float)[:, feeder.tree.child] ** 2
        self.flow_at = lru_cache(maxsize=64)(self._read)
        self.program = self.compiled()

    def compiled(self, *, cuts: bool = False) -> ConeProgram:
        """Return a program of this relaxation, with room for cuts (`tightening`) if asked for."""
        terms = {name for name in QUADRATIC if self.objective.weight(name) > 0}
        problem = cone_problem(
            self.feeder, self.used, self.flow_scale, self.band2, self.v_ref,
            curtail=self.curtail, terms=terms, cuts=cuts,
        )  # fmt: skip
        return ConeProgram(problem, "CLARABEL", _SETTINGS)

    def solve(self, point: OperatingPoint) -> RelaxationSolution:
        """Return the cheapest setpoints and the bound of objective plus voltage penalty."""
        step, weights = Step(self, point), dict(self.objective.weights)
        exact = Costs.of(step.stage, weights, self.voltage_penalty)
        solved = step.run(exact)
        resized = step.costs(abs(exact.value(solved.values)))
        if resized.unit < exact.unit:
            exact, solved = resized, step.run(resized)
        bound = step.bound(exact, solved)
        if self.loss_weight == 0:
            return step.answer(exact, bound, solved)
        weights["losses"] = weights.get("losses", 0.0) + self.loss_weight
        priced = Costs.of(step.stage, weights, self.voltage_penalty)
        return step.answer(exact, bound, step.run(priced), solved)

    def least_violation(self, point: OperatingPoint) -> RelaxationSolution:
        """Return setpoints of least voltage excess; `objective` and `bound` are of the excess alone (p.u. squared).

        A positive bound proves that no setpoint keeps the band.
        """
        step = Step(self, point)
        excess = Costs.of(step.stage, {}, 1.0)
        solved = step.run(excess)
        return step.answer(excess, step.bound(excess, solved), solved)

    def _default_loss_weight(self) -> float:
        if self.objective.weight("losses") > 0 or self.objective.weight("substation_import") > 0:
            return 0.0
        return LOSS_SHARE * sum(weight for _, weight in self.objective.weights) / self._rated_mw

    def _read(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> BranchFlow:
        return BranchFlow.of(
            self.feeder, None if taps is None else np.array(taps), None if steps is None else np.array(steps)
        )


class Step:
    """One operating point: its numbers, and the way back from scaled variables."""

    def __init__(self, model: Relaxation, point: OperatingPoint, reach_mva: FloatArray | None = None) -> None:
        """reach_mva : (nodes,) apparent power that other devices may draw or inject there, whatever the phase."""
        self.model, self.point = model, point
        self._reach_mva = np.zeros(model.feeder.n_nodes) if reach_mva is None else reach_mva
        feeder, used, tree = model.feeder, model.used, model.feeder.tree
        keys = (None if a is None else tuple(int(i) for i in a) for a in (point.taps, point.steps))
        self.flow = flow = model.flow_at(*keys)
        available = np.minimum(np.maximum(point.p_available_mw, 0.0), feeder.inverters.s_mva)
        self.p_max, self.p_fixed = available, available.copy()
        if model.curtail:
            self.p_fixed[used] = 0.0
        take = flow.consumption(point.injection_mva(feeder, self.p_fixed, np.zeros_like(available)))
        at_child = take[tree.child] + model.v_ref * np.conj(flow.shunt[tree.child])
        self.v_slack = point.slack_vm**2
        self.numbers = grid_parameters(flow, model.flow_scale) | {
            "w0": np.where(tree.up >= 0, model.v_ref, self.v_slack) / flow.ratio2,
            "load_p": at_child.real / model.flow_scale, "load_q": at_child.imag / model.flow_scale,
        }  # fmt: skip
        share = available[used] / feeder.inverters.s_mva[used]
        if len(used) and model.curtail:
            self.numbers["p_max"] = share
        elif len(used):
            self.numbers["q_max"] = np.sqrt(np.maximum(1.0 - share**2, 0.0))
        idle = flow.consumption(point.injection_mva(feeder, available, np.zeros_like(available)))
        self.flow_guess = model.below @ (idle + model.v_ref * np.conj(flow.shunt))
        current = self._largest_current(take) / model.flow_scale
        self.flow_max = current * np.sqrt(np.where(tree.up >= 0, V_MAX, self.v_slack) / flow.ratio2)
        self.current_max = current**2
        self.stage = Stage(
            flow, used, model.flow_scale, model.v_ref, self.v_slack, point.p_available_mw, self.p_fixed,
            float(take[tree.root].real), self.flow_guess, self.current_max, model.curtail, point.storage_use_mw,
        )  # fmt: skip

    def _largest_current(self, take: ComplexArray) -> FloatArray:
        """Return, (m,), what no branch's current exceeds (p.u.) while voltages lie within `V_MIN` and `V_MAX`.

        A node that consumes s behind a shunt Y draws at most ``|s| / sqrt(V_MIN) + |Y| sqrt(V_MAX)``.  Currents add up
        towards the root, each divided by the ratios that it passes.  take : (nodes,) s without the inverters' part.
        """
        model, flow, used = self.model, self.flow, self.model.used
        s_mva = model.feeder.inverters.s_mva
        reach = s_mva if model.curtail else np.sqrt(s_mva**2 - self.p_fixed**2)
        drawn = np.abs(take) + self._reach_mva / model.feeder.base_mva
        np.add.at(drawn, model.feeder.inverters.node[used], reach[used] / model.feeder.base_mva)
        drawn = drawn / np.sqrt(V_MIN) + np.abs(flow.shunt) * np.sqrt(V_MAX)
        passed = np.sqrt(np.exp(model.below.T @ np.log(flow.ratio2)))  # product of the ratios from the root to a node
        return np.asarray(passed[model.feeder.tree.child] * (model.below @ (drawn / passed)))

    def costs(self, size: float) -> Costs:
        """Return the coefficients of the objective, in a unit that fits an optimum of `size`."""
        costs = Costs.of(self.stage, dict(self.model.objective.weights), self.model.voltage_penalty)
        if 0 < size < _SMALL * costs.unit:
            return costs.in_units_of(max(size, _SMALL**2 * costs.unit))
        return costs

    def run(self, costs: Costs) -> ConeSolution:
        return self.model.program.solve(**self.numbers, **costs.parameters(self.model.program.parameters))

    def bound(self, costs: Costs, solved: ConeSolution) -> float:
        """Return the certified bound in the units of the objective."""
        program = self.model.program
        return costs.in_units(program.lower_bound(solved, program.box(self.limits())))

    def limits(self) -> dict[str, tuple[Any, Any]]:
        """Return (lowest, highest) of each variable in the states that the bound speaks of."""
        flow, v_ref = self.flow_max, self.model.v_ref
        return {
            "P": (-flow, flow), "Q": (-flow, flow), "l": (0.0, self.current_max), "v": (V_MIN - v_ref, V_MAX - v_ref),
            "slack": (0.0, V_MAX), "q": (-1.0, 1.0), "p": (0.0, 1.0),
        }  # fmt: skip

    def answer(
        self, costs: Costs, bound: float, chosen: ConeSolution, also: ConeSolution | None = None
    ) -> RelaxationSolution:
        """Return `chosen` in physical units; `also` was solved on the way."""
        feeder, used, tree = self.model.feeder, self.model.used, self.model.feeder.tree
        x = chosen.values
        q, p = np.zeros(len(feeder.inverters)), self.p_fixed.copy()
        if len(used):
            q[used] = x["q"] * feeder.inverters.s_mva[used]
            if self.model.curtail:
                p[used] = x["p"] * feeder.inverters.s_mva[used]
        p, q = within_limits(feeder.inverters.s_mva, self.p_max, p, q)
        v = np.empty(feeder.n_nodes)
        v[tree.root], v[tree.child] = self.v_slack, x["v"] + self.model.v_ref
        low, high = self.model.band2
        outside = np.maximum(v[tree.child] - high, 0.0) + np.maximum(low - v[tree.child], 0.0)
        usable = chosen.usable and bool(np.isfinite(q).all() and np.isfinite(p).all())
        return RelaxationSolution(
            q_mvar=q, p_mw=p, objective=costs.value(x), bound=bound, cone_gap=self._cone_gap(x, v),
            vm=np.sqrt(np.maximum(v, 0.0)), excess=float(outside.sum()), status=chosen.status if usable else "failed",
            solver_time_s=chosen.solver_time_s + (also.solver_time_s if also else 0.0),
            iterations=chosen.iterations + (also.iterations if also else 0),
        )  # fmt: skip

    def _cone_gap(self, x: Mapping[str, FloatArray], v: FloatArray) -> float:
        flow, scale, tree = self.flow, self.model.flow_scale, self.model.feeder.tree
        w = v[tree.parent] / flow.ratio2
        with np.errstate(divide="ignore", invalid="ignore"):
            true = (x["P"] ** 2 + x["Q"] ** 2) / w
        weight = np.abs(flow.r + 1j * flow.x) * scale**2
        own, invented = weight * true, weight * (x["l"] - true)
        floor = max(float(own.mean()), 1e-12 * float(scale.max()))
        return max(float(np.max(invented / np.maximum(own, floor))), 0.0)
