"""Coordination: the least change to what local controllers propose that keeps predicted voltages in band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd

from feederlab.controllers.base import (
    GLOBAL,
    ZONE,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.coordination_models import Group, Model, model_of
from feederlab.controllers.coordination_proposal import Proposal, Proposals
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.controllers.ladder import CONVEX, HELD, LOOSER, PRIMARY, SOLVER_ERRORS
from feederlab.controllers.storage_droop import StorageDroop
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray
from feederlab.models.predictors.actions import Actions
from feederlab.models.predictors.least_change import LeastChange, least_change
from feederlab.models.predictors.neighbours import links_text

Predictor = Literal["exact", "lindistflow", "polynomial", "none"]
_IN_BAND = 1e-8  # p.u. of squared magnitude


@dataclass(frozen=True)
class Coordination(Controller):
    """The QP (35)-(38) of Liu, Giraldo, Palensky and Vergara around local controllers (`papers`, P0).

    The local controllers decide first, on what they may see.  What they propose for storage p and q and inverter q and
    p, scaled by `beta` and cut to what the devices can do in this step, is a~; the answer is

        ``min |a - a~|^2  subject to  v_min <= v(a) <= v_max``, rates, ratings and energy,

    in MW and MVAr, with a soft band: where it cannot be kept it is missed by as little as possible, and the step's
    status says by how much.  Taps and capacitor steps pass as they were decided.

    locals : any controller; it learns nothing of what the coordination knows.
    predictor : of the voltages.  ``"exact"``: the AC power flow, iterated to its own optimum, every node in band;
    ``"lindistflow"``: measured voltages and the linear model's sensitivities; ``"polynomial"``: fitted on
    uncoordinated history (`fit_polynomial`), needs `file`; ``"none"``: no program, `beta` alone.
    neighbours : whose proposals and readings an agent (a node with devices) gets.  ``"all"``; ``"zone"``; ``"line"``,
    the agents that branches lead to without passing another; or links between buses, ``5-12/12-14`` or
    ``{5: [12], 12: [14]}``.  Each agent solves the program of its neighbourhood, in which all others stay as they are,
    and does its own part of the answer.  It keeps in band
    all nodes, those of its zone, or the agents' own.
    beta : a~ = beta a (33) for storage and inverter q.  The energy that a local controller has shrinks alike (34): it
    is shown a unit of beta times the rates and energy about the SOC at the start, and works that part of the true one.
    margin : how far inside the band to aim (p.u.).
    file : of the polynomials.

    Around a controller that settles inside a step the coordination acts in each of its rounds, so that the band holds
    as closely as that loop settles.
    """

    locals: Controller = StorageDroop()
    predictor: Predictor = "exact"
    neighbours: str | Mapping[int, Sequence[int]] = "all"
    beta: float = 1.0
    margin: float = 0.0
    file: str = ""

    def __post_init__(self) -> None:
        if self.predictor not in get_args(Predictor):
            raise UnknownNameError("predictor", self.predictor, get_args(Predictor))
        object.__setattr__(self, "neighbours", links_text(self.neighbours))
        if self.predictor == "exact" and self.neighbours != "all":
            raise InputError(
                "coordination: the exact predictor needs the whole grid, so neighbours must be all; with "
                f"neighbours={self.neighbours} take predictor=lindistflow or polynomial"
            )
        if (self.predictor == "polynomial") != bool(self.file):
            raise InputError(
                "coordination: the polynomial predictor, and no other, takes file=PATH; write one with fit_polynomial"
            )
        if not 0 < self.beta <= 1 or not self.margin >= 0:
            raise InputError(
                "coordination needs 0 < beta <= 1 and margin >= 0, not "
                f"beta={self.beta}, margin={self.margin}"
            )  # fmt: skip

    @property
    def sees(self) -> Information:
        """The union of what the parts see."""
        if self.predictor == "none":
            return self.locals.sees
        return self.locals.sees.union(ZONE if self.neighbours == "zone" else GLOBAL)

    @property
    def settle(self) -> Settle | None:
        return self.locals.settle

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.file,) if self.file else ()

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile the parts.

        Raises
        ------
        InputError
            For polynomials of other devices, links to buses where nothing acts, a margin that leaves no band, and
            whatever the local controllers raise.
        """
        return _Prepared(task, self, seed)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, settings: Coordination, seed: int | None) -> None:
        self._settings, inner = settings, settings.locals
        self._inner = inner.prepare(restrict_task(inner.sees, task), seed=seed)
        self._inner_sees, self._inner_seen = inner.sees, visible_nodes(inner.sees, task)
        self._proposals = Proposals(task, settings.beta)
        self._band2 = task.inside(settings.margin).band ** 2
        neighbours = str(settings.neighbours)
        self._models: list[tuple[int, Model]] = []
        if settings.predictor != "none":
            self._models.append((PRIMARY, model_of(settings.predictor, neighbours, task, settings.file)))
        if settings.predictor == "exact":
            self._models.append((CONVEX, model_of("lindistflow", neighbours, task, "")))
        for _, model in self._models:
            model.check(self._tried(task))

    def initial_state(self) -> State:
        return {"inner": self._inner.initial_state(), **self._proposals.initial_state()}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        seen, memory = self._proposals.complete(measurement, state)
        shown = self._proposals.shown(mask(self._inner_sees, measurement, self._inner_seen))
        asked, inner = self._inner.step(state["inner"], shown)
        proposal = self._proposals.read(asked, seen)
        state = {"inner": inner, **memory}
        if not self._models or not len(proposal.actions):
            return proposal.setpoints(proposal.wanted, asked.info), state
        for rung, model in self._models:
            try:
                found = self._coordinated(model, proposal, seen, rung)
            except SOLVER_ERRORS:
                continue
            if found is not None:
                return replace(found, info=replace(found.info, clipped=asked.info.clipped)), state
        info = Decision(solver="none", status="held", rung=HELD, clipped=asked.info.clipped)
        return Setpoints(tap=asked.tap, step=asked.step, info=info, again=asked.again), state

    def _tried(self, task: ControlTask) -> Actions:
        """Return which actions the local controllers decide, as a first look at a flat, unloaded grid shows."""
        state, none = self._proposals.initial_state(), np.zeros(len(task.inverters))
        flat = Measurement(
            pd.Timestamp(0), 0, np.ones(task.nodes), np.zeros(task.nodes), np.zeros(task.nodes), 1.0, none, none, none,
            state["storage_p_mw"], state["storage_q_mvar"], state["soc"], task.tap_changers.tap, task.capacitors.step,
            np.zeros(len(task.tap_changers)), np.zeros(len(task.tap_changers)), np.zeros(len(task.capacitors)),
            np.zeros(len(task.capacitors)),
        )  # fmt: skip
        asked, _ = self._inner.step(self._inner.initial_state(), mask(self._inner_sees, flat, self._inner_seen))
        return self._proposals.read(asked, flat).actions

    def _coordinated(self, model: Model, proposal: Proposal, seen: Measurement, rung: int) -> Setpoints | None:
        actions, answer = proposal.wanted.copy(), []
        for group in model.groups(proposal.actions):
            solved = self._solve(group, model, proposal, seen)
            if solved is None:
                return None
            own = np.isin(group.rows, group.own)
            actions[group.own] = solved.actions[own]
            answer.append(solved)
        return proposal.setpoints(actions, _decision(answer, actions - proposal.wanted, rung))

    def _solve(self, group: Group, model: Model, proposal: Proposal, seen: Measurement) -> LeastChange | None:
        rows, band2 = group.rows, self._band2[:, group.watched]
        lost = ~np.isfinite(seen.vm[group.watched]) & model.measures
        band2 = np.where(lost, [[-np.inf], [np.inf]], band2)  # what was never read cannot be kept in band
        limits = proposal.limits.part(proposal.actions, rows)
        predictor = model.predictor(group, proposal, seen)
        return least_change(predictor, proposal.wanted[rows], limits, band2, proposal.present[rows])


def _decision(answer: list[LeastChange], change: FloatArray, rung: int) -> Decision:
    short = max((a.short for a in answer), default=0.0)
    if short > _IN_BAND:
        status = f"short of the band by {short / 2:.1e} p.u."  # |u| is near one
    else:
        status = "adjusted" if any(a.rounds for a in answer) else "as proposed"
    loose = not all(a.converged for a in answer)
    return Decision(
        solver="piqp", status=status, rung=max(rung, LOOSER) if loose else rung,
        iterations=sum(a.rounds for a in answer), objective=float(np.square(change).sum()),
    )  # fmt: skip
