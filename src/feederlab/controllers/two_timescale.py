"""Two timescales: a slow layer switches taps and banks once an interval, a fast one sets inverters in every slot."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

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
from feederlab.controllers.enumerate import Enumerate
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.intervals import Coarse, add, mean, nothing_yet
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.parts import Part, joint, noted
from feederlab.controllers.together import values_of
from feederlab.errors import InputError

_INVERTERS = ("q_mvar", "p_mw")


@dataclass(frozen=True)
class TwoTimescale(Controller):
    """Any slow controller over any fast one (Yang et al., IEEE TSG 11(3) 2313, 2020, "P3").

    The slow layer decides in the first slot of each interval, on the averages over the slots of the interval before (in
    the run's first slot: on that slot's own measurement).  A slot counts with its first reading, or with its last one
    where the fast layer settles.  What the slow layer sets stands for the interval.  The fast layer decides in every
    slot; in one where the slow layer has moved something, after the grid has answered.  The fast layer's inverter
    setpoints come first, the slow layer's everything else.  A slot's `Decision` is the fast layer's, or the slow one's
    where that fell further down its ladder.

    slow, fast : controllers.  A slow layer works in intervals: its step is `every`, and its forecast has their means.
    An `Enumerate` without a fast layer of its own takes this one.
    every : length of an interval, a multiple of the scenario's step.
    """

    slow: Controller = field(default_factory=Fixed)
    fast: Controller = field(default_factory=LinDistFlow)
    every: str = "5min"

    def __post_init__(self) -> None:
        if self.slow.settle is not None:
            raise InputError(
                f"two_timescale: {type(self.slow).__name__} is a fast local loop; it cannot be the slow layer"
            )
        if any(_in_turns(layer) for layer in (self.slow, self.fast)):
            raise InputError(
                "two_timescale: a layer cannot be, or hold, a two_timescale of its own; name plain controllers"
            )
        _ = self.interval

    @property
    def interval(self) -> pd.Timedelta:
        """Length of an interval."""
        try:
            length = pd.Timedelta(self.every)
        except ValueError:
            raise InputError(f"two_timescale: every={self.every!r} is no duration; write e.g. 5min, 1h") from None
        if not length > pd.Timedelta(0):
            raise InputError(f"two_timescale: every must be a positive duration, not {self.every!r}")
        return length

    @property
    def layers(self) -> tuple[Controller, Controller]:
        """The slow and the fast layer as they work together."""
        if isinstance(self.slow, Enumerate) and self.slow.fast is None:
            return replace(self.slow, fast=self.fast), self.fast
        return self.slow, self.fast

    @property
    def sees(self) -> Information:
        """The union of what the layers see."""
        slow, fast = self.layers
        return slow.sees.union(fast.sees)

    @property
    def settle(self) -> Settle | None:
        """As the fast layer."""
        return self.fast.settle

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Prepare both layers.

        Raises
        ------
        InputError
            If the interval is no multiple of the slot, or a layer cannot work on this feeder.
        """
        every_s = self.interval.total_seconds()
        slots = round(every_s / task.step_s)
        if slots < 1 or abs(slots * task.step_s - every_s) > 1e-6:
            raise InputError(
                f"two_timescale: an interval of {self.every} is no multiple of the step of {task.step_s:g} s; give a "
                f"multiple, e.g. every={max(slots, 1) * task.step_s:g}s"
            )
        slow, fast = self.layers
        coarse = None if task.forecast is None else Coarse(task.forecast, slots)
        slow_task = replace(task, step_s=every_s, forecast=coarse)
        return _Prepared(Part.of(slow, slow_task, seed), Part.of(fast, task, seed), slots)


def _in_turns(controller: Controller) -> bool:
    """Whether a controller's own parts act in turn inside a step."""
    if isinstance(controller, TwoTimescale):
        return True
    values = [getattr(controller, f.name) for f in fields(controller)]  # type: ignore[arg-type]
    every = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return any(_in_turns(one) for one in every if isinstance(one, Controller))


class _Prepared(Prepared):
    def __init__(self, slow: Part, fast: Part, slots: int) -> None:
        self._slow, self._fast, self._slots = slow, fast, slots

    def initial_state(self) -> State:
        return {
            "slow": self._slow.prepared.initial_state(), "fast": self._fast.prepared.initial_state(),
            "slot": np.zeros(1, dtype=np.int64), "before": nothing_yet(), "sums": nothing_yet(), "held": {}, "said": {},
        }  # fmt: skip

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        settles = self._fast.controller.settle is not None
        if measurement.settle_round > 0:
            again = {"sums": add(state["before"], measurement)} if settles else {}
            return self._act(state | again, measurement)
        memory, moved, spent_s = {**state, "said": {}}, False, 0.0
        if state["slot"][0] % self._slots == 0:
            wish, memory["slow"] = self._slow.step(state["slow"], mean(state["sums"], measurement))
            memory["held"], memory["said"], memory["sums"] = values_of(wish), noted(wish.info), nothing_yet()
            moved, spent_s = self._moves(memory["held"], measurement), wish.info.solver_time_s
        memory["before"], memory["sums"] = memory["sums"], add(memory["sums"], measurement)
        memory["slot"] = state["slot"] + 1
        if moved and not settles:
            return Setpoints(**memory["held"], info=wish.info, again=True), memory
        return self._act(memory, measurement, spent_s)

    def _act(self, state: State, measurement: Measurement, spent_s: float = 0.0) -> tuple[Setpoints, State]:
        if self._fast.controller.settle is None:
            measurement = replace(measurement, settle_round=0)  # its first decision of this step
        made, fast = self._fast.step(state["fast"], measurement)
        own, held = values_of(made), state["held"]
        chosen = own | {k: v for k, v in held.items() if k not in _INVERTERS or k not in own}
        slow = [replace(Decision(**state["said"]), solver_time_s=spent_s)] if state["said"] else []
        return Setpoints(**chosen, info=joint([made.info, *slow])), {**state, "fast": fast}

    @staticmethod
    def _moves(held: dict[str, Any], m: Measurement) -> bool:
        """Whether a slow decision changes what the fast layer will find."""
        now = {"tap": m.tap, "step": m.step, "storage_p_mw": m.storage_p_mw, "storage_q_mvar": m.storage_q_mvar}
        return any(name in held and not np.array_equal(held[name], value) for name, value in now.items())
