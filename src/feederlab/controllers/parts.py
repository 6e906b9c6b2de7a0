"""A controller inside another one: it gets what it declares to see, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from feederlab.controllers.base import Controller, ControlTask, Measurement, Prepared, Setpoints, State
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.models.arrays import BoolArray


@dataclass(frozen=True, eq=False)
class Part:
    """A wrapped controller, ready; `seen`, (nodes,), is what it may see."""

    controller: Controller
    prepared: Prepared
    seen: BoolArray

    @classmethod
    def of(cls, controller: Controller, task: ControlTask, seed: int | None) -> Part:
        """Prepare `controller` for the part of `task` that it may know."""
        prepared = controller.prepare(restrict_task(controller.sees, task), seed=seed)
        return cls(controller, prepared, visible_nodes(controller.sees, task))

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        """Decide on what it may see of `measurement`."""
        return self.prepared.step(state, mask(self.controller.sees, measurement, self.seen))
