"""The closed loop: scenario x controller -> Result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.controllers.information import restrict_task
from feederlab.errors import InputError
from feederlab.loop.batch import run_batch
from feederlab.loop.sequential import Loop
from feederlab.models.objective import Objective
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.models.truth import Truth
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
    batch : let controllers without memory decide many steps at once, where meters are perfect.  The answers are equal
    to 1e-9, but for steps in which a settling loop swings: it magnifies rounding from round to round, either way.
    """

    objective: Objective = Objective()
    engine: str = "auto"
    delay: int = 0
    vm_noise: float = 0.0
    dropout: float = 0.0
    mismatch: float = 0.0
    seed: int = 0
    record: str = "all"
    batch: bool = True

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
    A controller with `settle` repeats decide-and-apply inside the step.  Steps of a controller that offers `step_batch`
    are taken together.

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
        For an objective that a feeder has not, or if the controller cannot work on this scenario; nothing that happens
        inside the run raises.
    """
    options = options or RunOptions()
    options.objective.check_feeder()
    series = scenario.series()
    task = scenario.task(options.objective, mismatch=options.mismatch, seed=options.seed)
    task = replace(task, forecast=Truth(series))
    prepared = controller.prepare(restrict_task(controller.sees, task), seed=options.seed)
    sensors = Sensors(options.vm_noise, options.dropout, options.delay, options.seed, part)
    plant = Plant(scenario.feeder, engine(scenario.feeder, options.engine), scenario.step / pd.Timedelta(hours=1))
    loop, recorder, told = Loop(plant, controller, prepared, task, sensors), Recorder(scenario, series), _Told(progress)
    if not (options.batch and sensors.perfect and run_batch(loop, series, recorder, told)):
        loop.reset()
        for t in range(len(series)):
            loop.step(t, series, recorder)
            told.up_to(t + 1)
    return recorder.result(controller, label, options, task.voltage_penalty)


class _Told:
    """Passes on how many steps are done, and none of them twice."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress, self._count = progress, 0

    def __call__(self, more: int) -> None:
        self.up_to(self._count + more)

    def up_to(self, count: int) -> None:
        if self._progress is not None and count > self._count:
            self._progress(count - self._count)
        self._count = max(count, self._count)
