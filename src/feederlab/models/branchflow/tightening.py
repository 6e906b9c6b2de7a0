"""A tighter relaxation of one operating point, for steps where the plain one invents current.

Given what some setpoints cost in AC (`upper`), only states that cost no more matter: a bound of theirs, or `upper`
itself, bounds all.  Their voltage excess is at most ``(upper - least objective) / penalty``, which puts every priced
voltage into a narrow interval; loads, inverters and the sweep of `intervals` do the same for P, Q, l and w of every
branch.  There ``P^2 + Q^2`` lies below its secants and ``w l`` above its McCormick envelope, so that the exact
``w l = P^2 + Q^2`` implies, with both ends of w and l,

    w_0 l + l_0 w - w_0 l_0  <=  (P_0 + P_1) P - P_0 P_1 + (Q_0 + Q_1) Q - Q_0 Q_1
    w_1 l + l_1 w - w_1 l_1  <=  the same

(McCormick, Mathematical Programming 10, 1976).  Each round's multipliers then narrow the intervals for the next, a
node with an active limit or an inverter with a price having no more slack than ``upper`` pays for.

The bound is as certain as the plain one: it needs voltages between 0.71 and 1.41 p.u. (where a band is priced, states
outside cost more than `upper` anyway), and no assumption on branch flows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.costs import Costs
from feederlab.models.branchflow.intervals import Intervals, flow_intervals
from feederlab.models.branchflow.relaxation import V_MAX, V_MIN, Relaxation, RelaxationSolution, Step
from feederlab.models.coneprogram import ConeProgram, ConeSolution
from feederlab.models.operating_point import OperatingPoint

# Room that a cut leaves beyond the exact equation, of the largest l and of the branch's rating: where an interval is
# next to a point, cone and cut would leave no interior, and an interior-point method stalls.
_EASE, _EASE_RATED = 1e-4, 1e-6


class Tightening:
    """The relaxation with cuts, compiled once; `of_cost` and `of_excess` turn to one operating point."""

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        self.program = relaxation.compiled(cuts=True)

    def of_cost(self, point: OperatingPoint, plain: RelaxationSolution) -> TightenedStep:
        """Return the tightened bound of objective plus voltage penalty; `plain` is the plain relaxation's answer."""
        step = Step(self.relaxation, point)
        return TightenedStep(self.program, step, step.costs(abs(plain.objective)))

    def of_excess(self, point: OperatingPoint) -> TightenedStep:
        """Return the tightened bound of the voltage excess alone (p.u. of squared magnitude)."""
        step = Step(self.relaxation, point)
        return TightenedStep(self.program, step, Costs.of(step.stage, {}, 1.0))


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of the states that matter: (2, ...) lowest and highest by variable of the cone program."""

    v: FloatArray
    q: FloatArray
    p: FloatArray
    flow_p: FloatArray
    flow_q: FloatArray
    current: FloatArray


class TightenedStep:
    """Rounds of one operating point: each solves with the intervals known so far, and narrows them."""

    def __init__(self, program: ConeProgram, step: Step, costs: Costs) -> None:
        self._program, self._step, self._costs = program, step, costs
        m, model = len(step.flow.r), step.model
        numbers, free = step.numbers, np.stack([np.full(m, -np.inf), np.full(m, np.inf)])
        if model.curtail:
            q, p = np.ones(len(model.used)), np.stack([np.zeros(len(model.used)), numbers.get("p_max", np.zeros(0))])
        else:
            q, p = numbers.get("q_max", np.zeros(0)), np.zeros((2, len(model.used)))
        v = np.repeat([[V_MIN], [V_MAX]], m, axis=1)
        self._excess = np.inf
        self._known = _Known(v, np.stack([-q, q]), p, free, free, np.stack([np.zeros(m), free[1]]))
        self._swept = self._sweep()

    def round(self, upper: float) -> RelaxationSolution:
        """Solve once more; `upper` is what any setpoints cost in AC, inf where nothing is known.

        The solution's `bound` is at most `upper`.
        """
        self._limit_voltages(upper)
        self._swept = at = self._sweep()
        step, program = self._step, self._program
        scale, v_ref = step.model.flow_scale, step.model.v_ref
        costs = replace(self._costs, tie_max=float(self._costs.tie @ (at.current[1] / scale**2)))
        solved = program.solve(**step.numbers, **self._cuts(at), **costs.parameters(program.parameters))
        excess = max(self._excess, 0.0)
        limits: dict[str, tuple[Any, Any]] = {
            "P": tuple(at.p / scale), "Q": tuple(at.q / scale), "l": tuple(at.current / scale**2),
            "v": tuple(at.v - v_ref), "slack": (0.0, min(excess, V_MAX)), "q": tuple(self._known.q),
            "p": tuple(self._known.p),
        }  # fmt: skip
        box = program.box(limits)
        bound = min(costs.in_units(program.lower_bound(solved, box)), upper)
        if np.isfinite(upper) and np.isfinite(bound):
            self._narrow(solved, box, costs.scaled(upper))
        return step.answer(costs, bound, solved)

    def _limit_voltages(self, upper: float) -> None:
        """Keep the voltages whose excess `upper` pays for, given the least that the rest of the objective can be."""
        at, step, scale = self._swept, self._step, self._step.model.flow_scale
        ranges = {"P": at.p / scale, "l": at.current / scale**2, "v": at.v - step.model.v_ref, "p": self._known.p}
        least = self._costs.constant + sum(
            float(np.minimum(c * ranges[name][0], c * ranges[name][1]).sum()) for name, c in self._costs.linear.items()
        )
        penalty = self._costs.penalty
        self._excess = (upper - least) / penalty if penalty > 0 else np.inf
        low, high = step.model.band2
        allowed = np.stack([low - max(self._excess, 0.0), high + max(self._excess, 0.0)])
        self._known = replace(self._known, v=_both(self._known.v, allowed))

    def _sweep(self) -> Intervals:
        """Return the intervals of the branches, (2, m) each, that follow from what is known."""
        step, known, model = self._step, self._known, self._step.model
        inverters, used = model.feeder.inverters, model.used
        q, p = (np.zeros((2, len(inverters))) for _ in range(2))
        p[:] = step.p_fixed
        q[:, used] = known.q * inverters.s_mva[used]
        if model.curtail:
            p[:, used] = known.p * inverters.s_mva[used]
        low, high = (step.flow.consumption(step.point.injection_mva(model.feeder, p[side], q[side])) for side in (1, 0))
        v = np.empty((2, model.feeder.n_nodes))
        v[:, model.feeder.tree.root], v[:, model.feeder.tree.child] = step.v_slack, known.v
        found = flow_intervals(step.flow, low, high, v)
        p, q, current = _both(found.p, known.flow_p), _both(found.q, known.flow_q), _both(found.current, known.current)
        largest = (np.abs(p).max(axis=0) ** 2 + np.abs(q).max(axis=0) ** 2) / found.w[0]
        return Intervals(p, q, _both(current, np.stack([np.zeros_like(largest), largest])), found.w, found.v)

    def _cuts(self, at: Intervals) -> dict[str, FloatArray]:
        """Return the coefficients of the module's inequalities, in the cone program's units."""
        scale, numbers = self._step.model.flow_scale, self._step.numbers
        p, q, current, w = at.p / scale, at.q / scale, at.current / scale**2, at.w
        ease = _EASE * current[1] + _EASE_RATED - p[0] * p[1] - q[0] * q[1]
        found = {"cut_P": p.sum(axis=0), "cut_Q": q.sum(axis=0)}
        for k, side in enumerate(("low", "high")):
            found[f"cut_l_{side}"], found[f"cut_v_{side}"] = w[k], current[k] * numbers["back"]
            found[f"cut_{side}"] = ease + (w[k] - numbers["w0"]) * current[k]
        return found

    def _narrow(self, solved: ConeSolution, box: tuple[FloatArray, FloatArray], upper: float) -> None:
        """Narrow what is known to the states that cost no more than `upper` (the cone program's units)."""
        program, model, scale = self._program, self._step.model, self._step.model.flow_scale
        low, high = (program.unpack(side) for side in program.narrowed(solved, box, upper))
        part = {name: np.stack([low[name], high[name]]) for name in low}
        self._known = _Known(
            v=_both(self._known.v, part["v"] + model.v_ref), q=_both(self._known.q, part.get("q", self._known.q)),
            p=_both(self._known.p, part.get("p", self._known.p)), flow_p=part["P"] * scale, flow_q=part["Q"] * scale,
            current=part["l"] * scale**2,
        )  # fmt: skip


def _both(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the common part of (2, ...) intervals; the first where rounding leaves none."""
    low, high = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
    return np.where(low <= high, np.stack([low, high]), first)
