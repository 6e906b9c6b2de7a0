"""The closed loop: scenario x controller -> Result."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feederlab.controllers.base import Controller, ControlTask, Measurement, Prepared, Setpoints, Settle, State
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.errors import InputError
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.objective import Objective
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario, Series
from feederlab.recorder import Recorder
from feederlab.result import Result
from feederlab.sensors import Sensors


@dataclass(frozen=True)
class RunOptions:
    """How a run differs from the plain closed loop.

    objective : what controllers minimise and certificates measure.
    engine : power-flow engine of the plant.
    delay : decisions see the measurement of `delay` steps ago.
    vm_noise : standard deviation of the voltage readings (p.u.); dropout : probability that a node's reading is lost
    in a step (NaN).  mismatch : r and x of the grid model handed to controllers are off by up to this share.
    record : ``"all"``, ``"float32"``, or ``"metrics"`` (no per-bus and per-branch trajectories).
    """

    objective: Objective = Objective()
    engine: str = "auto"
    delay: int = 0
    vm_noise: float = 0.0
    dropout: float = 0.0
    mismatch: float = 0.0
    seed: int = 0
    record: str = "all"

    def __post_init__(self) -> None:
        if self.record not in ("all", "float32", "metrics"):
            raise InputError(f"record must be all, float32 or metrics, not {self.record!r}")
        shares = 0 <= self.dropout < 1 and 0 <= self.mismatch < 1
        if self.delay < 0 or self.seed < 0 or not 0 <= self.vm_noise < np.inf or not shares:
            raise InputError(
                "delay, seed and vm_noise must be finite and not negative, dropout and mismatch must lie in [0, 1): "
                f"delay={self.delay}, seed={self.seed}, vm_noise={self.vm_noise}, dropout={self.dropout}, "
                f"mismatch={self.mismatch}"
            )


def simulate(
    scenario: Scenario,
    controller: Controller,
    options: RunOptions | None = None,
    *,
    label: str = "",
    progress: Callable[[int], None] | None = None,
    part: int = 0,
) -> Result:
    """Run one controller on one scenario.

    Each step: loads and available PV take effect under the old setpoints and a power flow gives the measurement; the
    controller decides; the plant clips each setpoint to what its device can do now, solves, and the result is kept.
    A controller with `settle` repeats decide-and-apply inside the step.

    Parameters
    ----------
    scenario, controller
        What to run on what.
    options
        Objective, noise, delay, model mismatch, recording.
    label
        Name of the row in tables; the controller's class name if empty.
    progress
        Called with the number of steps done since the last call.
    part
        This scenario is the `part`-th piece of a longer window: its sensors draw errors of their own, its grid model
        and its controller's seed are those of the whole window.

    Raises
    ------
    InputError
        If the controller cannot work on this scenario; nothing that happens inside the run raises.
    """
    options = options or RunOptions()
    series = scenario.series()
    task = scenario.task(options.objective, mismatch=options.mismatch, seed=options.seed)
    prepared = controller.prepare(restrict_task(controller.sees, task), seed=options.seed)
    loop = _Loop(scenario, controller, prepared, task, options, part)
    recorder = Recorder(scenario, series)
    for t in range(len(series)):
        loop.step(t, series, recorder)
        if progress is not None:
            progress(1)
    return recorder.result(controller, label, options, task.voltage_penalty)


class _Loop:
    def __init__(
        self,
        scenario: Scenario,
        controller: Controller,
        prepared: Prepared,
        task: ControlTask,
        options: RunOptions,
        part: int,
    ) -> None:
        feeder = scenario.feeder
        self.plant = Plant(feeder, engine(feeder, options.engine), scenario.step.total_seconds() / 3600)
        self.prepared = prepared
        self.settle: Settle | None = controller.settle
        self.max_rounds = 1 if self.settle is None else self.settle.rounds(scenario.step.total_seconds())
        self.devices = DeviceState.initial(feeder)
        self.p_cap: FloatArray | None = None  # the standing cap on active power; None: all that is available
        self.held_back = np.zeros(len(feeder.inverters))  # MW, what a settling loop has curtailed; it follows the sun
        self.memory: State = prepared.initial_state()
        self.sees = controller.sees
        self.seen: BoolArray = visible_nodes(controller.sees, task)
        self.sensors = Sensors(options.vm_noise, options.dropout, options.delay, options.seed, part)
        self.watched = np.unique(feeder.inverters.node[feeder.inverters.node >= 0])

    def step(self, t: int, series: Series, recorder: Recorder) -> None:
        load, available, slack = series.load_mva[t], series.p_available_mw[t], float(series.slack_vm[t])
        offered = np.minimum(available, self.plant.feeder.inverters.s_mva)
        if self.settle is None:
            standing = Wanted(p_mw=self.p_cap)
        elif self.settle.start == "zero":
            standing = Wanted(q_mvar=np.zeros(len(available)))
        else:
            standing = Wanted(p_mw=offered - self.held_back)
        devices, _ = self.plant.apply(self.devices, standing, available)
        before = self.plant.solve(load, devices, slack)
        self.sensors.next_step(len(before.vm))
        rounds, clipped, settled, decided_s = 0, 0, True, 0.0
        while True:
            seen = self.sensors.read(Measurement.take(series.times[t], rounds, before, load, devices, available, slack))
            began = clock.perf_counter()
            setpoints, self.memory = self.prepared.step(self.memory, mask(self.sees, seen, self.seen))
            decided_s += clock.perf_counter() - began
            wanted = _damped(setpoints, devices, offered, self.settle)
            devices, clipped = self.plant.apply(devices, wanted, available)
            after = self.plant.solve(load, devices, slack)
            rounds += 1
            if self.settle is None:
                break
            moved = float(np.linalg.norm(np.abs(after.u[self.watched]) - np.abs(before.u[self.watched])))
            settled = moved < self.settle.tol
            before = after
            if settled or rounds >= self.max_rounds or not np.isfinite(moved):
                break
        recorder.keep(t, after, devices, setpoints.info, rounds, settled, clipped, decided_s)
        self.devices, self.p_cap, self.held_back = self.plant.advance(devices), wanted.p_mw, offered - devices.p_mw


def _damped(setpoints: Setpoints, devices: DeviceState, offered: FloatArray, settle: Settle | None) -> Wanted:
    """Return the setpoints, moved only part of the way in a settling loop.

    Of active power, it is the curtailment that moves: a cap above what is offered (MW) holds nothing back.
    """
    if settle is None:
        return setpoints
    share = settle.damping
    q = None if setpoints.q_mvar is None else (1 - share) * devices.q_mvar + share * setpoints.q_mvar
    p = None
    if setpoints.p_mw is not None:
        wanted = np.maximum(offered - setpoints.p_mw, 0.0)
        p = offered - ((1 - share) * (offered - devices.p_mw) + share * wanted)
    return Wanted(q, p, setpoints.storage_p_mw, setpoints.storage_q_mvar, setpoints.tap, setpoints.step)
