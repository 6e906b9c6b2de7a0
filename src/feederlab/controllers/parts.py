"""A controller inside another one: it gets what it declares to see, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from feederlab.controllers.base import Controller, ControlTask, Decision, Measurement, Prepared, Setpoints, State
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


def joint(infos: Iterable[Decision]) -> Decision:
    """Return how several decisions of one round came about together: as the worst of them, of equals as a solver's.

    Solver times and clipped setpoints add up, and gaps and model errors are the largest there are.
    """
    every = list(infos)
    worst = max(every, key=lambda info: (info.rung, bool(info.solver)))

    def largest(name: str) -> float:
        return float(np.fmax.reduce([getattr(info, name) for info in every]))

    return replace(
        worst, solver_time_s=sum(info.solver_time_s for info in every), mip_gap=largest("mip_gap"),
        model_error=largest("model_error"), clipped=sum(info.clipped for info in every),
    )  # fmt: skip


def noted(info: Decision) -> State:
    """Return a decision as plain values, to be remembered for the step's later rounds; its solver time was then."""
    return asdict(replace(info, solver_time_s=0.0))
