"""What a controller may know before a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Capacitors, Inverters, Storages, TapChangers
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.scoring import voltage_penalty

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.models.scenario import Series


class Forecast(Protocol):
    """Returns what is expected from the step at `time` on, that step included, `periods` steps long.

    Where the data end sooner it returns fewer.
    """

    def __call__(self, time: pd.Timestamp, periods: int) -> Series: ...


@dataclass(frozen=True, eq=False)
class ControlTask:
    """What a controller may know before the run.

    feeder : grid model, possibly a wrong one; None for a LOCAL controller.
    nodes : number of nodes (the length of `Measurement.vm`).
    band : (2, nodes) voltage band (p.u.).  zone : (nodes,) zone names.
    step_s : step length (s).  objective : what to minimise.  voltage_penalty : price of the voltage slack, objective
    units per p.u. of squared magnitude.
    forecast : what will happen, for a controller that declares to see it; `simulate` gives the truth.
    """

    feeder: Feeder | None
    nodes: int
    inverters: Inverters
    storages: Storages
    capacitors: Capacitors
    tap_changers: TapChangers
    band: FloatArray
    zone: tuple[str, ...]
    step_s: float
    objective: Objective = field(default_factory=Objective)
    voltage_penalty: float = 1e3
    forecast: Forecast | None = None

    def grid(self) -> Feeder:
        """Return the grid model.  Raises `LookupError` for a LOCAL controller, which is given none."""
        if self.feeder is None:
            raise LookupError("a LOCAL controller is not given the grid model; declare sees = GLOBAL to get it")
        return self.feeder

    def pursuing(self, objective: str) -> ControlTask:
        """Return the task with an objective of the controller's own (`Objective.parse`); empty: as it is."""
        if not objective:
            return self
        own = Objective.parse(objective)
        return replace(self, objective=own, voltage_penalty=voltage_penalty(own, self.grid()))

    def inside(self, margin: float) -> ControlTask:
        """Return the task with a band that is narrower by `margin` (p.u.) on both sides.

        Raises
        ------
        InputError
            If the margin is negative, or leaves nothing of the band.
        """
        band = self.band + margin * np.array([[1.0], [-1.0]])
        if not margin >= 0 or (band[0] >= band[1]).any():
            raise InputError(f"a margin of {margin} p.u. is negative or leaves nothing of the voltage band")
        return replace(self, band=band)
