"""Several controllers at once, each for its own devices: ``avr+volt_var``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

from feederlab.controllers.base import (
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.parts import Part, joint, noted
from feederlab.errors import InputError

DEVICES = ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar", "tap", "step")


@dataclass(frozen=True)
class Together(Controller):
    """Every part decides in every step; where two set the same quantity, the part named first has its way.

    A settling part is repeated inside a step as it would be alone; the others decide once, in the first round, and what
    they decided stands.  (One whose own layers act in turn, `Setpoints.again`, has its second turn in the second
    round.)  The first round shows the grid as a step begins: without any reactive power of a part that settles from
    zero, with that of the step before where it settles from ``start="previous"``.  Each part sees what it declares, not
    what the others do.
    """

    parts: tuple[Controller, ...] = ()

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise InputError("together: name at least two controllers, e.g. avr+volt_var")
        loops = {part.settle for part in self.parts} - {None}
        if len(loops) > 1:
            raise InputError(
                "together: two local loops settle in different ways; give them the same start, damping, tol, "
                "max_rounds and response_s"
            )

    @property
    def sees(self) -> Information:
        """The union of what the parts see."""
        return reduce(Information.union, (part.sees for part in self.parts))

    @property
    def settle(self) -> Settle | None:
        """How the settling part settles, if there is one."""
        return next((part.settle for part in self.parts if part.settle is not None), None)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Prepare every part.  Raises `InputError` if one of them cannot work on this feeder."""
        return _Prepared([Part.of(part, task, seed) for part in self.parts])


class _Prepared(Prepared):
    def __init__(self, parts: list[Part]) -> None:
        self._parts = {str(k): part for k, part in enumerate(parts)}

    def initial_state(self) -> State:
        return {name: part.prepared.initial_state() for name, part in self._parts.items()} | {
            "held": {}, "said": {}, "again": [],
        }  # fmt: skip

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        first, memory, decided = measurement.settle_round == 0, dict(state), {}
        held, said, due = ({}, {}, []) if first else (state["held"], state["said"], state["again"])
        for name, part in self._parts.items():
            if first or part.controller.settle is not None or name in due:
                decided[name], memory[name] = part.step(state[name], measurement)
        once = {name: made for name, made in decided.items() if self._parts[name].controller.settle is None}
        standing = held | {name: values_of(made) for name, made in once.items()}
        said = said | {name: noted(made.info) for name, made in once.items()}
        merged: dict[str, Any] = {}
        for name in self._parts:
            mine = values_of(decided[name]) if name in decided else standing.get(name, {})
            merged = mine | merged
        infos = [decided[name].info if name in decided else Decision(**said[name]) for name in self._parts]
        again = [name for name, made in decided.items() if made.again]
        memory |= {"held": standing, "said": said, "again": again}
        return Setpoints(**merged, info=joint(infos), again=bool(again)), memory


def values_of(setpoints: Setpoints) -> dict[str, Any]:
    """Return what is set, by name."""
    values = {name: getattr(setpoints, name) for name in DEVICES}
    return {name: value for name, value in values.items() if value is not None}
