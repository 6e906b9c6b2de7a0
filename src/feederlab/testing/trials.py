"""What a controller is tried on: measurements, bad days, and changes that it may not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import (
    Controller,
    ControlTask,
    Measurement,
    Measurements,
    Prepared,
    Scope,
    Setpoints,
    State,
)
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.models.arrays import BoolArray
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.models.truth import Truth
from feederlab.testing.values import SETPOINTS, equal, read_only

NODE_ARRAYS = ("vm", "load_p_mw", "load_q_mvar")
DEVICE_ARRAYS = {
    "inverters": ("p_available_mw", "p_mw", "q_mvar"),
    "storages": ("storage_p_mw", "storage_q_mvar", "soc"),
    "capacitors": ("step", "capacitor_p_mw", "capacitor_q_mvar"),
    "tap_changers": ("tap", "tap_p_mw", "tap_q_mvar"),
}


class Case:
    """A controller, what it may see of a scenario, and a few measurements taken over its span."""

    def __init__(self, controller: Controller, scenario: Scenario, tolerance: float, seed: int) -> None:
        self.controller, self.scenario, self.seed = controller, scenario, seed
        full = replace(scenario.task(), forecast=Truth(scenario.series()))
        self.full_task, self.task = full, restrict_task(controller.sees, full)
        self.seen: BoolArray = visible_nodes(controller.sees, full)
        self.measurements = measurements(scenario, seed)
        rating = max([*full.inverters.s_mva, *full.storages.s_mva, 0.0])
        self.tolerance = tolerance * max(rating, 1e-3)

    def prepare(self, task: ControlTask | None = None, seed: int | None = None) -> Prepared:
        """Return the controller made ready for the restricted task."""
        return self.controller.prepare(task or self.task, seed=self.seed if seed is None else seed)

    def run(self, measurements: list[Measurement], prepared: Prepared | None = None) -> list[tuple[Setpoints, State]]:
        """Feed measurements in turn, masked, and return every answer."""
        ready = prepared or self.prepare()
        state, answers = ready.initial_state(), []
        for measurement in measurements:
            setpoints, state = ready.step(state, read_only(mask(self.controller.sees, measurement, self.seen)))
            answers.append((setpoints, state))
        return answers

    def same(self, a: Setpoints, b: Setpoints) -> bool:
        """Whether two decisions ask for the same."""
        return all(
            equal(getattr(a, name), getattr(b, name), self.tolerance) for names in SETPOINTS.values() for name in names
        )


def measurements(scenario: Scenario, seed: int) -> list[Measurement]:
    """Measurements at four instants, under random setpoints."""
    feeder, series, rng = scenario.feeder, scenario.series(), np.random.default_rng(seed)
    plant = Plant(feeder, engine(feeder), scenario.step.total_seconds() / 3600)
    devices, taken = DeviceState.initial(feeder), []
    for t in np.linspace(0, len(series) - 1, 6).astype(int)[1:-1]:
        q = rng.uniform(-0.3, 0.3, len(feeder.inverters)) * feeder.inverters.s_mva
        devices, _ = plant.apply(devices, Wanted(q_mvar=q), series.p_available_mw[t])
        load, slack = series.load_mva[t], float(series.slack_vm[t])
        solved = plant.solve(load, devices, slack)
        taken.append(Measurement.take(series.times[t], 0, solved, load, devices, series.p_available_mw[t], slack))
    return taken


def middle(scenario: Scenario, periods: int) -> Scenario:
    """Return the middle `periods` steps, or all where there are fewer."""
    count = min(periods, scenario.periods)
    return scenario.window(scenario.start + (scenario.periods - count) // 2 * scenario.step, count)


def stacked(case: Case) -> Measurements:
    """Return the case's measurements as `Prepared.step_batch` gets them."""
    masked = [mask(case.controller.sees, m, case.seen) for m in case.measurements]
    arrays = {
        name: np.stack([getattr(m, name) for m in masked]) for name in (*NODE_ARRAYS, *DEVICE_ARRAYS["inverters"])
    }
    if case.controller.settle is None:
        arrays.update({name: np.full_like(arrays[name], np.nan) for name in ("vm", "p_mw", "q_mvar")})
    for values in arrays.values():
        values.setflags(write=False)
    times = pd.DatetimeIndex([m.time for m in masked])
    return Measurements(times=times, settle_round=0, slack_vm=np.array([m.slack_vm for m in masked]), **arrays)


def hard_days(good: Measurement) -> dict[str, Measurement]:
    """Return measurements with lost readings and extreme values, by what is wrong with them."""

    def with_all(names: tuple[str, ...], value: float) -> Measurement:
        arrays: dict[str, Any] = {name: np.full(len(getattr(good, name)), value) for name in names}
        return replace(good, **arrays)

    devices = DEVICE_ARRAYS["inverters"] + DEVICE_ARRAYS["storages"]
    return {
        "lost voltages": with_all(("vm",), np.nan),
        "one lost voltage": replace(good, vm=np.where(np.arange(len(good.vm)) == len(good.vm) // 2, np.nan, good.vm)),
        "lost loads": with_all(("load_p_mw", "load_q_mvar"), np.nan),
        "everything lost": replace(with_all(NODE_ARRAYS + devices, np.nan), slack_vm=np.nan),
        "no sun": with_all(("p_available_mw", "p_mw"), 0.0),
        "loads a hundred times as large": replace(
            good, load_p_mw=100 * good.load_p_mw, load_q_mvar=100 * good.load_q_mvar
        ),
        "ten times the sun": replace(good, p_available_mw=10 * good.p_available_mw),
        "collapsed voltages": with_all(("vm",), 0.3),
        "soaring voltages": with_all(("vm",), 1.7),
        "no load": with_all(("load_p_mw", "load_q_mvar"), 0.0),
    }


def viewpoints(case: Case) -> Iterator[tuple[str, BoolArray, dict[str, BoolArray]]]:
    """Yield (name, own nodes, own devices by kind) of every device (LOCAL) or zone (ZONE)."""
    task = case.full_task
    tables = {kind: getattr(task, kind) for kind in DEVICE_ARRAYS}
    nothing = {kind: np.zeros(len(table), dtype=bool) for kind, table in tables.items()}
    placed = {kind: table.node for kind, table in tables.items()}
    if case.controller.sees.scope is Scope.LOCAL:
        for kind, node in placed.items():
            for i, at in enumerate(node):
                own = {**nothing, kind: np.arange(len(node)) == i}
                yield f"{kind}[{i}]", np.arange(task.nodes) == at, own
        return
    zone = np.array(task.zone)
    for name in sorted(set(task.zone) - {""}):
        own = {**nothing, **{kind: (node >= 0) & (zone[node] == name) for kind, node in placed.items()}}
        yield f"zone {name!r}", zone == name, own


def perturb(m: Measurement, nodes: BoolArray, own: dict[str, BoolArray], rng: np.random.Generator) -> Measurement:
    """Return the measurement with everything but the own nodes and devices changed."""
    changed: dict[str, Any] = {"slack_vm": m.slack_vm + 0.01}
    for name in NODE_ARRAYS:
        values = getattr(m, name)
        changed[name] = np.where(nodes, values, values * rng.uniform(0.9, 1.1, len(values)) + 1e-3)
    for kind, names in DEVICE_ARRAYS.items():
        for name in names:
            values = getattr(m, name)
            if values.dtype.kind == "i":
                changed[name] = np.where(own[kind], values, values + 1)
            else:
                changed[name] = np.where(own[kind], values, values * rng.uniform(0.3, 0.9, len(values)) + 1e-4)
    return replace(m, **changed)


def perturb_task(case: Case, nodes: BoolArray, own: dict[str, BoolArray]) -> ControlTask:
    """Return the task with other devices' ratings and other nodes' band changed."""
    task, changed = case.task, {}
    for kind in ("inverters", "storages"):
        table = getattr(task, kind)
        changed[kind] = replace(table, s_mva=np.where(own[kind], table.s_mva, 1.5 * table.s_mva))
    return replace(task, band=np.where(nodes, task.band, task.band + 0.01), **changed)
