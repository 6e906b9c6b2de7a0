"""Improves a plan by successive expansions: a program about the plan, its solution priced in AC, an expansion there."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.horizon import convex, mixed
from feederlab.models.horizon.model import HorizonModel, Priced
from feederlab.models.horizon.plan import Plan, Start
from feederlab.models.horizon.program import HorizonProgram, Rules
from feederlab.models.horizon.stages import Stages
from feederlab.models.threads import one_thread

_NEAR = 2e-3  # p.u. of squared voltage: rows this close to their limit are in the first program
_HALVINGS = 3
_DECIDING = 2  # expansions whose programs decide positions
_MARGIN = 1.2
_SHARE = 0.7  # of the time that is left, for one mixed-integer program: what comes after it is quick


@dataclass(frozen=True, eq=False)
class Outcome:
    """The best plan met, priced in AC.

    model_error : ``(promised - cost) / |cost|``, promised being the value of the program whose solution it is.
    mip_gap : of the last mixed-integer program (`mixed.Mixed`), 0 without whole positions.
    status : ``"converged"``, ``"out of rounds"``, ``"out of time"``, ``"stalled"``.  accurate : whether every solver
    met its tolerance.  rounds : expansions.
    """

    priced: Priced
    model_error: float
    mip_gap: float
    status: str
    accurate: bool
    rounds: int
    iterations: int
    solver_time_s: float


@dataclass(frozen=True)
class Search:
    """The method with its settings.

    rounds : most expansions.  tol : relative gain of the cost below which it ends.  gap : relative gap at which a
    mixed-integer program counts as solved.  masters : most linear ones for each (`mixed`).
    """

    rounds: int = 4
    tol: float = 1e-5
    gap: float = 1e-4
    masters: int = 50

    def solve(
        self, model: HorizonModel, stages: Stages, start: Start, guess: Plan, rules: Rules, deadline: float = np.inf
    ) -> Outcome | None:
        """Return the best plan found from `guess` by `deadline` (`time.perf_counter`).

        The guess need not be feasible.  None: it has no power flow, or no program has a solution.
        """
        with one_thread():
            return _Run(self, model, stages, start, rules, deadline).run(guess)


class _Run:
    def __init__(
        self, settings: Search, model: HorizonModel, stages: Stages, start: Start, rules: Rules, deadline: float
    ) -> None:
        self.settings, self.model, self.stages, self.start = settings, model, stages, start
        self.rules, self.deadline = rules, deadline
        self.working: BoolArray | None = None
        self.iterations, self.time_s, self.accurate, self.gap = 0, 0.0, True, 0.0
        self.pace_s = {False: 0.0, True: 0.0}  # of a round with positions fixed, and of one that decides them

    def run(self, guess: Plan) -> Outcome | None:
        model, settings = self.model, self.settings
        here = model.price(self.stages, guess)
        if not np.isfinite(here.cost):
            return None
        best: Priced | None = None
        error, status, rounds = 0.0, "out of rounds", 0
        decide = bool(len(model.layout.discrete))
        for _ in range(settings.rounds):
            left = self.deadline - time.perf_counter()
            decide = decide and (best is None or left > _MARGIN * self.pace_s[True])
            if best is not None and left < _MARGIN * self.pace_s[decide]:
                status = "out of time"
                break
            began = time.perf_counter()
            rounds += 1
            found = self._improve(here, decide)
            if found is None:
                status = "stalled"
                break
            z, promised = found
            there = model.price(self.stages, model.plan(z, here.plan))
            if best is not None and not there.cost < best.cost:
                shorter = self._shorter(best, there.plan)
                if shorter is None and decide:
                    decide, here = False, best  # other positions promised more than they keep: stay, and improve these
                    continue
                if shorter is None:
                    status = "converged"
                    break
                there = shorter
            elif not np.isfinite(there.cost):
                status = "stalled"
                break
            gain = np.inf if best is None else best.cost - there.cost
            moved = not self._same(here.plan, there.plan)
            error = (promised - there.cost) / max(abs(there.cost), 1e-12)
            best = here = there
            self.pace_s[decide] = max(self.pace_s[decide], time.perf_counter() - began)
            decide = (
                decide and moved and rounds < _DECIDING
            )  # where the positions stay, what is left is convex, and quick
            if gain <= settings.tol * abs(best.cost) and not moved:
                status = "converged"
                break
        if best is None:
            return None
        return Outcome(best, error, self.gap, status, self.accurate, rounds, self.iterations, self.time_s)

    def _improve(self, here: Priced, decide: bool) -> tuple[FloatArray, float] | None:
        """Return the controls that solve the program about a plan, and its value there."""
        began = time.perf_counter()
        about = self.model.expand(self.stages, here)
        program = HorizonProgram(self.model, self.stages, self.start, about, self.rules)
        if self.working is None:
            self.working = about.rows > -_NEAR
        positions = about.at[:, self.model.layout.discrete]
        if decide:
            now = time.perf_counter()
            self.pace_s[False] = max(self.pace_s[False], now - began)
            until = now + _SHARE * (self.deadline - now)
            answer = mixed.solve(
                program,
                self.working,
                hint=positions,
                deadline=until,
                gap=self.settings.gap,
                masters=self.settings.masters,
            )
            if answer is None:
                return None
            self.gap = answer.gap
            self.pace_s[False] += answer.pace_s
            found, self.iterations = answer.found, self.iterations + answer.iterations
            self.time_s += answer.solver_time_s
        else:
            fixed, _ = convex.solve_one_way(
                program, self.working, *program.positioned(positions), deadline=self.deadline
            )
            if fixed is None:
                return None
            found, self.iterations = fixed, self.iterations + fixed.iterations
            self.time_s += fixed.solver_time_s
        self.accurate = self.accurate and found.accurate
        return program.controls(found.x), found.value

    def _shorter(self, best: Priced, plan: Plan) -> Priced | None:
        """Return a plan on the way from the best one that is cheaper; None if there is none."""
        if not self._same(best.plan, plan):
            return None
        for k in range(1, _HALVINGS + 1):
            tried = self.model.price(self.stages, best.plan.toward(plan, 0.5**k))
            if tried.cost < best.cost:
                return tried
        return None

    def _same(self, a: Plan, b: Plan) -> bool:
        return np.array_equal(a.tap, b.tap) and np.array_equal(a.step, b.step)
