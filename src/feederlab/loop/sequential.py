"""The closed loop, one step after another: for every controller."""

from __future__ import annotations

import time as clock
from dataclasses import replace

import numpy as np

from feederlab.controllers.base import Controller, ControlTask, Measurement, Prepared, Settle, State
from feederlab.controllers.information import mask, visible_nodes
from feederlab.controllers.settling import damped, expected
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.scenario import Series
from feederlab.recorder import Recorder
from feederlab.sensors import Sensors


class Loop:
    """One controller on one plant; `step` takes them through the steps of a series in turn."""

    def __init__(
        self, plant: Plant, controller: Controller, prepared: Prepared, task: ControlTask, sensors: Sensors
    ) -> None:
        feeder = plant.feeder
        self.plant, self.prepared, self.sensors = plant, prepared, sensors
        self.settle: Settle | None = controller.settle
        self.max_rounds = 1 if self.settle is None else self.settle.rounds(3600 * plant.step_h)
        self.sees = controller.sees
        self.seen: BoolArray = visible_nodes(controller.sees, task)
        self.watched: IntArray = np.unique(feeder.inverters.node[feeder.inverters.node >= 0])
        self.reset()

    def reset(self) -> None:
        """Go back to the state before the first step."""
        feeder = self.plant.feeder
        self.devices = DeviceState.initial(feeder)
        self.p_cap: FloatArray | None = None  # the standing cap on active power; None: all that is available
        self.held_back = np.zeros(len(feeder.inverters))  # MW, what a settling loop has curtailed; it follows the sun
        self.memory: State = self.prepared.initial_state()
        self.u: ComplexArray | None = None  # voltages of the last power flow

    def step(self, t: int, series: Series, recorder: Recorder) -> None:
        """Take step `t`, and record it."""
        load, available, slack = series.load_mva[t], series.p_available_mw[t], float(series.slack_vm[t])
        offered = np.minimum(available, self.plant.feeder.inverters.s_mva)
        if self.settle is None:
            standing = Wanted(p_mw=self.p_cap)
        elif self.settle.start == "zero":
            standing = Wanted(q_mvar=np.zeros(len(available)))
        else:
            standing = Wanted(p_mw=offered - self.held_back)
        devices, _ = self.plant.apply(self.devices, standing, available)
        before = self.plant.solve(load, devices, slack, start=self.u)
        self.sensors.next_step(len(before.vm))
        guess = before.u
        rounds, clipped, settled, decided_s, solver_s = 0, 0, True, 0.0, 0.0
        while True:
            seen = self.sensors.read(Measurement.take(series.times[t], rounds, before, load, devices, available, slack))
            began = clock.perf_counter()
            setpoints, self.memory = self.prepared.step(self.memory, mask(self.sees, seen, self.seen))
            decided_s += clock.perf_counter() - began
            solver_s += setpoints.info.solver_time_s
            p_mw, q_mvar = damped(setpoints, devices.p_mw, devices.q_mvar, offered, self.settle)
            devices, clipped = self.plant.apply(
                devices,
                Wanted(q_mvar, p_mw, setpoints.storage_p_mw, setpoints.storage_q_mvar, setpoints.tap, setpoints.step),
                available,
            )
            after = self.plant.solve(load, devices, slack, start=guess)
            rounds += 1
            if self.settle is None:
                if not (setpoints.again and rounds == 1):
                    break
                before = after
                continue
            moved = float(np.linalg.norm((after.vm - before.vm)[self.watched]))
            settled = moved < self.settle.tol
            guess = expected(after.u, before.u, self.settle.damping)
            before = after
            if settled or rounds >= self.max_rounds or not np.isfinite(moved):
                break
        info = setpoints.info
        if solver_s != info.solver_time_s:
            info = replace(info, solver_time_s=solver_s)
        recorder.keep(t, after.u, devices, info, rounds, settled, clipped + info.clipped, decided_s)
        self.devices, self.p_cap, self.held_back = self.plant.advance(devices), p_mw, offered - devices.p_mw
        self.u = after.u
