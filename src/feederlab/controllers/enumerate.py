"""Every configuration of the capacitor banks, tried on a model: the myopic oracle of the slow layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.parts import Part
from feederlab.controllers.settling import damped
from feederlab.controllers.switching import need
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import Solution, engine
from feederlab.models.scoring import objective_value, voltage_excess


@dataclass(frozen=True)
class Enumerate(Controller):
    """Takes the configuration whose objective plus voltage penalty is least, once the fast layer has answered.

    Each configuration is set on the grid model under the measured loads and sun, the fast layer decides, and an AC
    power flow prices the outcome.  It knows nothing of the future; a fast layer with a memory starts anew each time.

    fast : who sets the inverters; None: the fast layer of the `TwoTimescale` it is part of, else `LinDistFlow`.
    taps : try the positions of tap changers too.
    limit : most configurations to try.
    objective : e.g. ``"losses"``; empty: the task's.
    move_cost : price of each step or position moved (objective units).
    """

    fast: Controller | None = None
    taps: bool = False
    limit: int = 256
    objective: str = ""
    move_cost: float = 0.0

    @property
    def sees(self) -> Information:
        """Everything."""
        return GLOBAL if self.fast is None else GLOBAL.union(self.fast.sees)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Raises `InputError` if there is nothing to switch, or more configurations than `limit`."""
        need("enumerate", task, "capacitors", *(["tap_changers"] if self.taps else []))
        return _Prepared(self, task.pursuing(self.objective), seed)


class _Prepared(Prepared):
    def __init__(self, settings: Enumerate, task: ControlTask, seed: int | None) -> None:
        self._settings, self._task, feeder = settings, task, task.grid()
        self._plant = Plant(feeder, engine(feeder), task.step_s / 3600)
        self._fast = Part.of(settings.fast or LinDistFlow(), task, seed)
        self._steps, self._taps = _configurations(settings, task)

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        costs = np.array([self._cost(measurement, k) for k in range(len(self._steps))])
        if not np.isfinite(costs).any():  # lost readings, or no power flow has a solution
            return Setpoints(info=Decision(solver="enumeration", status="held", rung=3)), state
        best = int(np.nanargmin(np.where(np.isfinite(costs), costs, np.nan)))
        info = Decision(solver="enumeration", iterations=len(costs), objective=float(costs[best]))
        return Setpoints(step=self._steps[best], tap=self._taps[best], info=info), state

    def _cost(self, m: Measurement, k: int) -> float:
        wanted = self._taps[k]
        tap = m.tap if wanted is None else wanted
        moves = np.abs(self._steps[k] - m.step).sum() + np.abs(tap - m.tap).sum()
        load = m.load_p_mw + 1j * m.load_q_mvar
        if not (np.isfinite(load).all() and np.isfinite([m.slack_vm, *m.p_available_mw]).all()):
            return np.inf
        solved, devices = self._answer(m, load, tap, self._steps[k])
        if not solved.converged:
            return np.inf
        feeder, task = self._plant.feeder, self._task
        own = self._plant.injection_mva(load, devices) + feeder.node_fixed * feeder.base_mva
        value = objective_value(
            task.objective, solved, slack_load_mw=-own[feeder.slack].real, p_available_mw=m.p_available_mw,
            p_mw=devices.p_mw, q_mvar=devices.q_mvar, storage_use_mw=float(np.abs(devices.storage_p_mw).sum()),
        )  # fmt: skip
        penalty = task.voltage_penalty * voltage_excess(solved.u, task.band, feeder.slack)
        return float(value + penalty + self._settings.move_cost * moves)

    def _answer(self, m: Measurement, load: Any, tap: IntArray, step: IntArray) -> tuple[Solution, DeviceState]:
        """Return the grid under a configuration, when the fast layer has acted."""
        settle, sun = self._fast.controller.settle, m.p_available_mw
        start = DeviceState(
            np.minimum(sun, self._plant.feeder.inverters.s_mva), np.zeros_like(sun), m.storage_p_mw, m.storage_q_mvar,
            m.soc, tap, step, np.zeros(len(tap)), np.zeros(len(step)),
        )  # fmt: skip
        devices, offered = start, start.p_mw
        state, solved = self._fast.prepared.initial_state(), self._plant.solve(load, start, m.slack_vm)
        for count in range(1 if settle is None else settle.rounds(self._task.step_s)):
            if not solved.converged:
                break
            seen = Measurement.take(m.time, count, solved, load, devices, sun, m.slack_vm)
            made, state = self._fast.step(state, seen)
            p, q = damped(made, devices.p_mw, devices.q_mvar, offered, settle)
            devices, _ = self._plant.apply(devices, Wanted(q, p), sun)
            before, solved = solved, self._plant.solve(load, devices, m.slack_vm, start=solved.u)
            if settle is not None and _distance(solved, before, self._plant) < settle.tol:
                break
        return solved, devices


def _distance(one: Solution, other: Solution, plant: Plant) -> float:
    nodes = plant.feeder.inverters.node
    moved: FloatArray = (one.vm - other.vm)[nodes[nodes >= 0]]
    return float(np.linalg.norm(moved))


def _configurations(settings: Enumerate, task: ControlTask) -> tuple[list[IntArray], list[IntArray | None]]:
    """Return the steps and taps of every configuration."""
    banks, changers = task.capacitors, task.tap_changers
    ranges = [range(int(most) + 1) for most in banks.max_step]
    if settings.taps:
        ranges += [range(int(low), int(high) + 1) for low, high in zip(changers.tap_min, changers.tap_max, strict=True)]
    count = int(np.prod([float(len(one)) for one in ranges]))
    if count > settings.limit:
        raise InputError(
            f"enumerate: {count} configurations are more than the limit of {settings.limit}; raise it, or use mpc"
        )
    every = [np.array(one, dtype=np.int64) for one in product(*ranges)]
    n = len(banks)
    return [one[:n] for one in every], [one[n:] if settings.taps else None for one in every]
