"""One row of a hosting study: what the grid does under one controller, at any amount of PV."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from feederlab.certify import lower_bounds
from feederlab.controllers.base import Controller, Measurement, Prepared
from feederlab.controllers.information import restrict_task
from feederlab.controllers.opf import Opf
from feederlab.hosting.limits import Limits, State
from feederlab.models.arrays import FloatArray
from feederlab.models.objective import Objective
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import Solution, engine
from feederlab.models.scaling import with_generation
from feederlab.models.scenario import Scenario, Series
from feederlab.simulate import RunOptions, simulate

Scale = Callable[[float], Scenario]


class Row(ABC):
    """A controller on the scenario at any factor; what was computed for a factor is kept."""

    def __init__(self, label: str, controller: Controller, limits: Limits) -> None:
        self.label, self.controller, self.limits = label, controller, limits
        self.seen: dict[float, State] = {}

    def works(self, factor: float) -> bool:
        """Say whether the limits are kept at every step."""
        return self.limits.kept(self.state(factor))

    def state(self, factor: float) -> State:
        """Return what the grid does; where the limits break, it may be only the steps that show it."""
        if factor not in self.seen:
            self.seen[factor] = self.evaluate(factor)
        return self.seen[factor]

    @abstractmethod
    def evaluate(self, factor: float) -> State:
        """Compute `state`."""


class Simulated(Row):
    """A controller in the closed loop, the whole window at once."""

    def __init__(self, label: str, controller: Controller, limits: Limits, scale: Scale, objective: Objective) -> None:
        super().__init__(label, controller, limits)
        self._scale, self._options = scale, RunOptions(objective=objective)
        self._setpoints: dict[float, tuple[FloatArray, FloatArray]] = {}

    def evaluate(self, factor: float) -> State:
        state, p, q = self._run(self._scale(factor))
        self._setpoints[factor] = p, q
        return state

    def setpoints(self, factor: float, t: int) -> tuple[FloatArray, FloatArray]:
        """Return (p, q) of the inverters at step `t` (MW, MVAr); one step is run alone where the controller allows."""
        if factor not in self._setpoints and self._by_step:
            scenario = self._scale(factor)
            _, p, q = self._run(scenario.window(scenario.times[t], 1))
            return p[0], q[0]
        self.state(factor)
        p, q = self._setpoints[factor]
        return p[t], q[t]

    @cached_property
    def _by_step(self) -> bool:
        """Whether each step's decision follows from that step alone."""
        scenario = self._scale(1.0)
        prepared = self.controller.prepare(restrict_task(self.controller.sees, scenario.task(self._options.objective)))
        settle = self.controller.settle
        offered = type(prepared).step_batch is not Prepared.step_batch and (settle is None or settle.start == "zero")
        return offered and scenario.noise is None and not len(scenario.feeder.storages)

    def _run(self, scenario: Scenario) -> tuple[State, FloatArray, FloatArray]:
        data = simulate(scenario, self.controller, self._options, label=self.label).data
        available, p, q, vm, loading = (
            np.asarray(data[name].to_numpy(), dtype=float)
            for name in ("p_available_mw", "p_mw", "q_mvar", "vm_pu", "loading_percent")
        )
        offered = np.minimum(available, scenario.feeder.inverters.s_mva)
        settled, settle = np.asarray(data["settled"].to_numpy(), dtype=bool), self.controller.settle
        state = State(
            scenario.times, np.arange(scenario.periods), vm, loading, offered, p, settled,
            must_settle=settle is not None and settle.start == "zero",
        )  # fmt: skip
        return state, p, q


class Optimal(Row):
    """Exact optimal power flow, each step by itself, in the order of how much PV exceeds the load.

    A factor works if at every step *some* setpoints keep the limits.  The search for them takes, in turn: the
    controller's own answer; its answers when it starts from the setpoints of the other rows at that factor and step;
    and these setpoints themselves.  An exact optimal power flow would find setpoints wherever there are any, so that
    what works in another row works here by construction (for rows that steer the same inverters; if they curtail, this
    one must be allowed to).  `adopted` counts the steps that needed the other rows.
    """

    def __init__(
        self,
        label: str,
        controller: Opf,
        limits: Limits,
        scale: Scale,
        objective: Objective,
        others: Sequence[Simulated],
    ) -> None:
        super().__init__(label, controller, limits)
        self._opf, self._scale, self._objective, self._others = controller, scale, objective, others
        self.adopted: dict[float, int] = {}
        self._broke: list[int] = []  # steps that broke before, the latest first

    def evaluate(self, factor: float) -> State:
        scenario = self._scale(factor)
        steps = _Steps(scenario, self._opf, self._objective)
        helped, found = 0, dict[int, State]()
        for t in self._order(steps.series):
            state = steps.own(t)
            if not self._fits(state):
                better = self._helped(factor, steps, t)
                if better is None:
                    self._broke = [t, *(step for step in self._broke if step != t)]
                    return state
                state, helped = better, helped + 1
            found[t] = state
        self.adopted[factor] = helped
        whole = _joined([found[t] for t in sorted(found)])
        return whole if self.limits.little_curtailed(whole) else self._as_others(factor, whole)

    def proves(self, factor: float) -> bool:
        """Say whether the relaxation proves that no setpoints keep the band at the step that breaks at `factor`."""
        state, scenario = self.state(factor), self._scale(factor)
        feeder = scenario.feeder
        if len(state.times) != 1 or not feeder.is_radial or len(feeder.pv) or scenario.noise is not None:
            return False
        task = replace(scenario.task(self._objective), band=self.limits.band(feeder, int(state.row[0])))
        bounds = lower_bounds(scenario.window(state.times[0], 1), task, curtail=self._opf.curtail)
        return bool(float(bounds["least_excess"][0]) > 0)

    def _order(self, series: Series) -> list[int]:
        surplus = series.p_available_mw.sum(axis=1) - series.load_mva.real.sum(axis=1)
        order = np.argsort(-surplus, kind="stable").tolist()
        return list(dict.fromkeys([*self._broke, *order]))

    def _fits(self, state: State) -> bool:
        return bool(self.limits.steps_kept(state).all())

    def _helped(self, factor: float, steps: _Steps, t: int) -> State | None:
        """Return a state that keeps the limits at step `t`, with the help of the other rows' setpoints."""
        for row in self._others:
            p, q = row.setpoints(factor, t)
            for state in (steps.own(t, q), steps.held(t, p, q)):
                if self._fits(state):
                    return state
        return None

    def _as_others(self, factor: float, own: State) -> State:
        """Return another row's whole window if that one curtails little enough."""
        if self._opf.curtail:
            for row in self._others:
                if row.works(factor):
                    self.adopted[factor] = len(own.times)
                    return row.state(factor)
        return own


class _Steps:
    """Optimal power flow on one scenario, any step of it at a time."""

    def __init__(self, scenario: Scenario, controller: Opf, objective: Objective) -> None:
        feeder = scenario.feeder
        self.series, self._scenario, self._controller = scenario.series(), scenario, controller
        self._plant = Plant(feeder, engine(feeder), scenario.step.total_seconds() / 3600)
        self._prepared: Prepared = controller.prepare(scenario.task(objective))

    def own(self, t: int, start_q_mvar: FloatArray | None = None) -> State:
        """Return the grid at the controller's answer, started from setpoints if they are given."""
        series, feeder = self.series, self._plant.feeder
        load, available, slack = series.load_mva[t], series.p_available_mw[t], float(series.slack_vm[t])
        devices, _ = self._plant.apply(DeviceState.initial(feeder), Wanted(q_mvar=start_q_mvar), available)
        before = self._plant.solve(load, devices, slack)
        memory = self._prepared.initial_state()
        if start_q_mvar is not None:
            memory = memory | {"q_mvar": devices.q_mvar}
        seen = Measurement.take(series.times[t], 0, before, load, devices, available, slack)
        setpoints, _ = self._prepared.step(memory, seen)
        return self._state(t, setpoints)

    def held(self, t: int, p_mw: FloatArray, q_mvar: FloatArray) -> State:
        """Return the grid at given setpoints, without curtailment unless the controller may curtail."""
        return self._state(t, Wanted(q_mvar=q_mvar, p_mw=p_mw if self._controller.curtail else None))

    def _state(self, t: int, wanted: Wanted) -> State:
        series, feeder = self.series, self._plant.feeder
        available = series.p_available_mw[t]
        devices, _ = self._plant.apply(DeviceState.initial(feeder), wanted, available)
        solved: Solution = self._plant.solve(series.load_mva[t], devices, float(series.slack_vm[t]))
        return State(
            series.times[[t]], np.array([t]), feeder.to_buses(solved.vm)[None, :], solved.loading_percent()[None, :],
            np.minimum(available, feeder.inverters.s_mva)[None, :], devices.p_mw[None, :],
            np.ones(1, dtype=bool),
        )  # fmt: skip


def _joined(states: Sequence[State]) -> State:
    times = pd.DatetimeIndex(np.concatenate([state.times.to_numpy() for state in states]))

    def all_of(name: str) -> Any:
        return np.concatenate([getattr(state, name) for state in states])

    return State(
        times, all_of("row"), all_of("vm"), all_of("loading"), all_of("available_mw"), all_of("injected_mw"),
        all_of("settled"),
    )  # fmt: skip


def make_rows(
    scenario: Scenario,
    controllers: dict[str, Controller],
    limits: Limits,
    objective: Objective,
    *,
    max_loading_percent: float,
    everything: bool,
) -> list[Row]:
    """Return one row per controller, optimal power flows last: they take starts from the others.

    An optimal power flow without a loading limit of its own gets `max_loading_percent` where any branch has a rating.
    """

    def scale(factor: float) -> Scenario:
        return with_generation(scenario, factor, everything=everything)

    plain = [
        Simulated(label, controller, limits, scale, objective)
        for label, controller in controllers.items()
        if not isinstance(controller, Opf)
    ]
    rated = np.isfinite(scenario.feeder.branches.i_max_f_ka) | np.isfinite(scenario.feeder.branches.i_max_t_ka)
    optimal = []
    for label, controller in controllers.items():
        if isinstance(controller, Opf):
            if rated.any() and not controller.max_loading_percent:
                controller = replace(controller, max_loading_percent=max_loading_percent)
            optimal.append(Optimal(label, controller, limits, scale, objective, plain))
    return [*plain, *optimal]
