"""Controllers that count their runs, break, or kill their process; subprocesses import them by name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from feederlab.controllers.base import LOCAL, Controller, ControlTask, Information, Prepared, Setpoints
from feederlab.controllers.base import Measurement as Measurement
from feederlab.controllers.base import State as State


@dataclass(frozen=True)
class Counting(Controller):
    """Follows the voltage; writes a line to `log` for every run, and takes `pause` seconds a step."""

    log: str = ""
    pause: float = 0.0
    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        with Path(self.log).open("a") as log:
            log.write(f"{os.getpid()}\n")
        return _Following(self.pause)


class _Following(Prepared):
    def __init__(self, pause: float) -> None:
        self.pause = pause

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        time.sleep(self.pause)
        return Setpoints(q_mvar=-0.1 * measurement.p_mw), state


@dataclass(frozen=True)
class Breaking(Controller):
    """Raises in its third step."""

    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Breaking()


class _Breaking(Prepared):
    def initial_state(self) -> State:
        return {"steps": np.zeros(1)}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if state["steps"][0] == 2:
            raise ZeroDivisionError("a slip of the third step")
        return Setpoints(), {"steps": state["steps"] + 1}


@dataclass(frozen=True)
class Waiting(Controller):
    """Breaks until the file `ready` is there."""

    ready: str = ""
    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        if not Path(self.ready).exists():
            raise OSError("not ready")
        return _Following(0.0)


@dataclass(frozen=True)
class Killing(Controller):
    """Kills its process in its third step, `times` times in all (counted by the files in `log`)."""

    log: str = ""
    times: int = 1
    sees: ClassVar[Information] = LOCAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Killing(Path(self.log), self.times)


class _Killing(Prepared):
    def __init__(self, log: Path, times: int) -> None:
        self.log, self.times = log, times

    def initial_state(self) -> State:
        return {"steps": np.zeros(1)}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if state["steps"][0] == 2:
            for k in range(self.times):
                if self._first(self.log / str(k)):
                    os.kill(os.getpid(), signal.SIGKILL)
        return Setpoints(q_mvar=-0.1 * measurement.p_mw), {"steps": state["steps"] + 1}

    @staticmethod
    def _first(claim: Path) -> bool:
        """Whether this process is the one that makes `claim`: two can be in their third step at once."""
        claim.parent.mkdir(exist_ok=True)
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
