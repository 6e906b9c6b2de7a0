"""What coordination predicts voltages with, and for whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from feederlab.controllers.base import ControlTask, Measurement
from feederlab.controllers.coordination_proposal import Proposal
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.powerflow.base import engine
from feederlab.models.powerflow.jacobian import ReducedGrid
from feederlab.models.predictors.actions import Actions
from feederlab.models.predictors.base import Predictor
from feederlab.models.predictors.exact import ExactPredictor
from feederlab.models.predictors.linear import LinearPredictor, slopes_of
from feederlab.models.predictors.neighbours import neighbourhoods, watched_nodes
from feederlab.models.predictors.polynomial import VoltagePolynomials
from feederlab.models.sensitivity import Sensitivity


@dataclass(frozen=True, eq=False)
class Group:
    """Agents that solve the same program.

    rows : the actions that it holds.  own : those of them that its agents do.  agents : their neighbourhood's nodes.
    watched : nodes whose voltages it keeps in band.
    """

    rows: IntArray
    own: IntArray
    agents: IntArray
    watched: IntArray


class Model(ABC):
    """Predictors for the neighbourhoods of one task.

    measures : whether predictions start from measured voltages.
    """

    measures = True

    def __init__(self, neighbours: str, task: ControlTask) -> None:
        self._neighbours, self._task = neighbours, task
        tables = (task.inverters, task.storages)
        nodes = np.unique(np.concatenate([t.node[(t.node >= 0) & (t.s_mva > 0)] for t in tables]))
        self._of = neighbourhoods(neighbours, nodes, task.feeder, task.zone)

    def groups(self, actions: Actions) -> list[Group]:
        """Return the programs to solve; agents with the same neighbourhood share one."""
        members: dict[frozenset[int], list[int]] = {}
        for node in np.unique(actions.node).tolist():
            members.setdefault(self._of[node], []).append(node)
        found = []
        for neighbourhood, own in members.items():
            rows = np.flatnonzero(np.isin(actions.node, list(neighbourhood)))
            agents = np.unique(actions.node[rows])
            watched = watched_nodes(self._neighbours, agents, self._task.grid().slack, self._task.zone)
            found.append(Group(rows, rows[np.isin(actions.node[rows], own)], agents, watched))
        return found

    def check(self, actions: Actions) -> None:  # noqa: B027 (most predict any actions)
        """Raise `InputError` if these actions have no predictor."""

    @abstractmethod
    def predictor(self, group: Group, proposal: Proposal, seen: Measurement) -> Predictor:
        """Return the predictor of `group.watched` by `group.rows`."""


class ExactModel(Model):
    """The AC power flow of the grid model that the task gives."""

    measures = False

    def __init__(self, neighbours: str, task: ControlTask) -> None:
        super().__init__(neighbours, task)
        if len(task.grid().pv):
            raise InputError(
                "coordination: the exact predictor does not know voltage-controlled generators (table gen); "
                "make them static generators (sgen), or take predictor=lindistflow"
            )
        self._flow, self._grid = engine(task.grid()), lru_cache(maxsize=64)(self._read)

    def predictor(self, group: Group, proposal: Proposal, seen: Measurement) -> Predictor:
        taps, steps = _switched(self._task, proposal, seen)
        grid = self._grid(tuple(taps.tolist()), tuple(steps.tolist()))
        actions = proposal.actions.part(group.rows)
        return ExactPredictor(
            self._flow, grid, actions, proposal.rest_mva, taps, steps, seen.slack_vm, group.watched
        )  # fmt: skip

    def _read(self, taps: tuple[int, ...], steps: tuple[int, ...]) -> ReducedGrid:
        return ReducedGrid.of(self._task.grid(), np.array(taps, np.int64), np.array(steps, np.int64))


class LinearModel(Model):
    """Measured voltages and sensitivities about no load.

    Who sees everything knows taps and capacitor steps, and what moving them does at no load; a neighbourhood takes
    those of the net.
    """

    def __init__(self, neighbours: str, task: ControlTask) -> None:
        super().__init__(neighbours, task)
        self._nodes = np.array(sorted(self._of), dtype=np.int64)
        self._place = np.zeros(task.nodes, dtype=np.int64)
        self._place[self._nodes] = np.arange(len(self._nodes))
        self._read: Callable[..., Sensitivity] = lru_cache(maxsize=64)(self._sensitivity)

    def predictor(self, group: Group, proposal: Proposal, seen: Measurement) -> Predictor:
        watched, v = group.watched, seen.vm**2
        if self._neighbours == "all":
            before = self._read(tuple(seen.tap.tolist()), tuple(seen.step.tolist()))
            model = self._read(*(tuple(values.tolist()) for values in _switched(self._task, proposal, seen)))
            v = v * model.v0 / before.v0
        else:
            model = self._read()
        v = np.where(np.isfinite(v), v, 1.0)
        slopes = slopes_of(model, self._place, proposal.actions.part(group.rows))[watched]
        return LinearPredictor(v[watched], proposal.present[group.rows], slopes)

    def _sensitivity(self, taps: tuple[int, ...] | None = None, steps: tuple[int, ...] | None = None) -> Sensitivity:
        tap, step = (None if a is None else np.array(a, dtype=np.int64) for a in (taps, steps))
        return Sensitivity.of(self._task.grid(), self._nodes, tap, step)


class PolynomialModel(Model):
    """Fitted polynomials."""

    def __init__(self, neighbours: str, task: ControlTask, file: str) -> None:
        super().__init__(neighbours, task)
        self._fitted = VoltagePolynomials.load(file)
        if self._fitted.neighbours != neighbours:
            raise InputError(
                f"the polynomials {file!r} were fitted for neighbours={self._fitted.neighbours}, not {neighbours}"
            )
        self._file, self._by_actions = file, {g.actions: g for g in self._fitted.groups}

    def check(self, actions: Actions) -> None:
        """Raise `InputError` unless there are polynomials of these actions at the buses where they act."""
        known, bus = "; ".join(", ".join(g.actions) for g in self._fitted.groups), self._task.grid().node_bus
        for group in self.groups(actions):
            names = actions.part(group.rows).names
            stand, watched = (tuple(int(b) for b in bus[nodes]) for nodes in (self._meters(group), group.watched))
            fitted = self._by_actions.get(names)
            if fitted is None:
                raise InputError(
                    f"the polynomials {self._file!r} were fitted for {known}, not for {', '.join(names)}; fit them for "
                    "what these local controllers decide (fit_polynomial)"
                )
            if fitted.meters != stand or fitted.buses != watched:
                raise InputError(
                    f"the polynomials {self._file!r} were fitted on {self._fitted.feeder!r} for devices at buses "
                    f"{fitted.meters}, watching {len(fitted.buses)} buses; here they stand at {stand} and watch "
                    f"{len(watched)}; fit them on this feeder (fit_polynomial)"
                )

    def predictor(self, group: Group, proposal: Proposal, seen: Measurement) -> Predictor:
        fitted = self._by_actions[proposal.actions.part(group.rows).names]
        vm = np.where(np.isfinite(seen.vm), seen.vm, 1.0)
        return fitted.at(vm[self._meters(group)], vm[group.watched], proposal.present[group.rows])

    def _meters(self, group: Group) -> IntArray:
        others: IntArray = group.agents[np.flatnonzero(group.agents != self._task.grid().slack)]
        return others


def _switched(task: ControlTask, proposal: Proposal, seen: Measurement) -> tuple[IntArray, IntArray]:
    """Return the taps and steps that will stand once the step is taken."""
    changers, banks, asked = task.tap_changers, task.capacitors, proposal.asked
    tap = _whole(seen.tap if asked.tap is None else asked.tap, changers.tap_min, changers.tap_max, seen.tap)
    step = _whole(seen.step if asked.step is None else asked.step, 0 * banks.max_step, banks.max_step, seen.step)
    return tap, step


def _whole(wanted: IntArray | FloatArray, low: IntArray, high: IntArray, otherwise: IntArray) -> IntArray:
    finite = np.where(np.isfinite(wanted), wanted, otherwise)
    whole: IntArray = np.clip(np.rint(finite), low, high).astype(np.int64)
    return whole


def model_of(predictor: str, neighbours: str, task: ControlTask, file: str) -> Model:
    """Return the model by its name in `Coordination`."""
    if predictor == "exact":
        return ExactModel(neighbours, task)
    if predictor == "lindistflow":
        return LinearModel(neighbours, task)
    return PolynomialModel(neighbours, task, file)
