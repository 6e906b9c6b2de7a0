"""`CapacitorsEnv`: the slow layer's problem, as a Gymnasium environment over the same closed loop as `simulate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.information import restrict_task
from feederlab.controllers.registry import create
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.errors import InputError
from feederlab.learn.actions import configurations
from feederlab.learn.days import pick_days, whole_days
from feederlab.learn.extra import need
from feederlab.learn.observation import LIMIT, Observation
from feederlab.loop.sequential import Loop
from feederlab.models.arrays import IntArray
from feederlab.models.objective import Objective
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario, Series
from feederlab.models.scoring import voltage_deviation
from feederlab.models.truth import Truth
from feederlab.recorder import Recorder
from feederlab.scenarios import load_scenario
from feederlab.sensors import Sensors

need("gymnasium")
import gymnasium as gym  # noqa: E402

OBJECTIVE = "voltage_deviation"
"""What the fast layer minimises unless it has an objective of its own: the slow layer's cost, in one slot."""
_TYPICAL = 3  # days that the scale of the cost is taken from


class CapacitorsEnv(gym.Env):  # type: ignore[misc]
    """Switching of capacitor banks once in an interval, a fast controller acting in every slot (P3, (10) and (11)).

    An episode is a day, drawn from `days`; a step is an interval of T slots.

    Observation, float32 (entries,), each ``clip((s - centre) / scale, -10, 10)``:

    | entry | meaning | unit |
    |---|---|---|
    | one for each node but the slack | mean net active power consumed over the interval before | MW |
    | one for each bank | closed steps | steps |

    In the first interval of a day, what the first slot's meters read stands for the interval before.

    Action: the number of a configuration, a row of `actions` (configurations, banks); the banks take it at the next
    slot and keep it for the interval.

    Reward: -c / cost_scale with ``c = sum over the interval's slots of sum over nodes but the slack of (v - v0)^2``, v
    the squared voltage magnitude after the fast layer has acted and v0 = 1.  A slot without power-flow solution counts
    as v = 0.

    Parameters
    ----------
    scenario
        A `Scenario`, or the name of one.
    fast
        The controller that acts in every slot, or its spec.
    every
        Length of an interval; a multiple of the slot that divides a day.
    days
        Midnights of the days to draw from; default: all of the scenario's.
    step
        Length of a slot; default: the scenario's.
    observation, cost_scale
        The layout and the scale of the cost; default: taken from the days (`Observation.of`, `typical_cost`).

    Raises
    ------
    InputError
        If there is no bank to switch, or the days, the interval or the fast controller do not fit the scenario.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        scenario: Scenario | str,
        fast: Controller | str = "lindistflow",
        every: str = "5min",
        days: Sequence[str | pd.Timestamp] | None = None,
        step: str | None = None,
        observation: Observation | None = None,
        cost_scale: float | None = None,
    ) -> None:
        if not isinstance(fast, Controller | str):
            raise InputError(f"the fast controller must be a controller or its spec, e.g. 'lindistflow', not {fast!r}")
        case = load_scenario(scenario) if isinstance(scenario, str) else scenario
        self.scenario = case if step is None else case.resample(step)
        feeder, self.every = self.scenario.feeder, every
        self.fast = create(fast) if isinstance(fast, str) else fast
        self.days = pick_days(self.scenario, whole_days(self.scenario) if days is None else list(days), 0, 0)[0]
        self.actions: IntArray = configurations(feeder.capacitors)
        self.slots = _slots(every, self.scenario.step)
        self._told: dict[str, IntArray | None] = {"step": None}
        self._controller = TwoTimescale(slow=_Agent(self._told), fast=self.fast, every=every)
        self._plant = Plant(feeder, engine(feeder), self.scenario.step / pd.Timedelta(hours=1))
        self._objective = Objective.parse(OBJECTIVE)
        self._series = lru_cache(maxsize=len(self.days))(self._read_day)
        self.observation = observation or Observation.of(feeder, [self._series(day) for day in self.days])
        self.cost_scale = 1.0
        self.cost_scale = cost_scale if cost_scale is not None else self.typical_cost()
        if not 0 < self.cost_scale < np.inf:
            raise InputError(f"the scale of the cost must be a positive number, not {self.cost_scale}")
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (len(self.observation),), np.float32)
        self.action_space: Any = gym.spaces.Discrete(len(self.actions))
        self._life: _Day | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a day: the one in ``options["day"]``, else one drawn from `days`."""
        super().reset(seed=seed)
        if options and "day" in options:
            day = pick_days(self.scenario, [options["day"]], 0, 0)[0][0]
        else:
            day = self.days[int(self.np_random.integers(len(self.days)))]
        return self._begin(day), self._about(0.0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one interval.  ``info["cost"]`` is its cost, not scaled.

        Raises
        ------
        InputError
            If the action is no configuration, or no day has begun, or it is over.
        """
        if not 0 <= int(action) < len(self.actions):
            raise InputError(f"action {action} is no configuration: give 0 to {len(self.actions) - 1}")
        life = self._living()
        if life.over:
            raise InputError("the day is over: call reset")
        self._told["step"] = self.actions[int(action)]
        first, life.slot = life.slot, life.slot + self.slots
        for t in range(first, life.slot):
            life.loop.step(t, life.series, life.recorder)
        life.taken.append(int(action))
        u = np.nan_to_num(life.recorder.u[first : life.slot], nan=0.0)
        cost = float(voltage_deviation(u, self._objective.v0, self.scenario.feeder.slack).sum())
        return self._ask(), -cost / self.cost_scale, False, life.over, self._about(cost)

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where the environment stands: its random generator, the day, and the actions so far."""
        life = self._living()
        return {"random": self.np_random.bit_generator.state, "day": str(life.day), "actions": list(life.taken)}

    def restore(self, state: dict[str, Any]) -> Any:
        """Go to where `state` was taken, by living the day again; return the observation there."""
        self.np_random.bit_generator.state = state["random"]
        seen = self._begin(pd.Timestamp(state["day"]))
        for action in state["actions"]:
            seen = self.step(action)[0]
        return seen

    def typical_cost(self) -> float:
        """Return the median cost of an interval under random switching, on at most `_TYPICAL` of the days."""
        rng, costs = np.random.default_rng(0), list[float]()
        for k in np.unique(np.linspace(0, len(self.days) - 1, _TYPICAL).astype(int)):
            self._begin(self.days[k])
            while not self._living().over:
                costs.append(self.step(rng.integers(len(self.actions)))[4]["cost"])
        return float(np.median(costs))

    def _read_day(self, day: pd.Timestamp) -> Series:
        return self.scenario.days(day).series()

    def _begin(self, day: pd.Timestamp) -> Any:
        """Prepare everything afresh, so that a day does not depend on those before; return the first observation."""
        window, series = self.scenario.days(day), self._series(day)
        task = replace(window.task(self._objective), forecast=Truth(series))
        prepared = self._controller.prepare(restrict_task(self._controller.sees, task), seed=0)
        loop = Loop(self._plant, self._controller, prepared, task, Sensors(0.0, 0.0, 0, 0))
        longer = _with_an_end(series, window.step)
        self._life = _Day(day, longer, loop, Recorder(window, longer))
        return self._ask()

    def _ask(self) -> Any:
        """Return the observation on which the next action is due: start the slot, and break off at the question."""
        life, self._told["step"] = self._living(), None
        try:
            life.loop.step(life.slot, life.series, life.recorder)
        except _Question as question:
            return self.observation.read(self.scenario.feeder, question.mean)
        raise RuntimeError("the slow layer was not asked at the start of an interval")

    def _living(self) -> _Day:
        if self._life is None:
            raise InputError("no day has begun: call reset")
        return self._life

    def _about(self, cost: float) -> dict[str, Any]:
        life = self._living()
        return {"cost": cost, "day": str(life.day.date()), "interval": len(life.taken)}


@dataclass(eq=False)
class _Day:
    """A day as far as it has been lived: the next slot, and the actions taken.

    series : the day's slots and, once more, the last (`_with_an_end`).
    """

    day: pd.Timestamp
    series: Series
    loop: Loop
    recorder: Recorder
    slot: int = 0
    taken: list[int] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether every slot has been lived."""
        return self.slot >= len(self.series) - 1


class _Question(Exception):
    """The slow layer was asked to decide on `mean`; nothing of the slot has been taken over yet."""

    def __init__(self, mean: Measurement) -> None:
        super().__init__("no answer yet")
        self.mean = mean


@dataclass(frozen=True, eq=False)
class _Agent(Controller):
    """A slow layer that does as it is told: ``told["step"]`` (banks,), and where that is None it asks back."""

    told: dict[str, IntArray | None]
    sees: ClassVar[Information] = GLOBAL

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return _Obeying(self.told)


class _Obeying(Prepared):
    def __init__(self, told: dict[str, IntArray | None]) -> None:
        self._told = told

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        if self._told["step"] is None:
            raise _Question(measurement)
        return Setpoints(step=self._told["step"]), state


def _slots(every: str, slot: pd.Timedelta) -> int:
    """Return how many slots an interval has.  Raises `InputError` if it is no multiple, or does not divide a day."""
    try:
        length = pd.Timedelta(every)
    except ValueError:
        raise InputError(f"every={every!r} is no duration; write e.g. 5min") from None
    if pd.isna(length) or length < slot or length % slot != pd.Timedelta(0):
        raise InputError(f"an interval of {every} is no multiple of the slot, {slot.total_seconds():g} s")
    if pd.Timedelta(days=1) % length != pd.Timedelta(0):
        raise InputError(f"an interval of {every} does not divide a day; use e.g. 5min, 15min, 1h")
    return int(length / slot)


def _with_an_end(series: Series, slot: pd.Timedelta) -> Series:
    """Return the series with its last slot once more: the last observation is read where that slot begins."""
    return Series(
        times=pd.DatetimeIndex([*series.times, series.times[-1] + slot]),
        load_mva=np.append(series.load_mva, series.load_mva[-1:], axis=0),
        p_available_mw=np.append(series.p_available_mw, series.p_available_mw[-1:], axis=0),
        slack_vm=np.append(series.slack_vm, series.slack_vm[-1:]),
    )
