"""`Rehearsal`: a household lives the days of its own history again, in many copies, each with actions of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.learn.smart_meter.estimate import VoltageModel
from feederlab.learn.smart_meter.history import Battery, MeterHistory
from feederlab.learn.smart_meter.known import decisions
from feederlab.learn.smart_meter.memory import Memory, power_of, share_of_rate
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import Sight
from feederlab.models.arrays import BoolArray, FloatArray, IntArray

BAND = (0.95, 1.05)


@dataclass(frozen=True, eq=False)
class Lived:
    """A step of every copy, (copies,) each.

    reward : (28).  vm : voltage that is expected under the action (p.u.).  storage_p_mw : power that was drawn (MW).
    over : whether it was the day's last.
    """

    reward: FloatArray
    vm: FloatArray
    storage_p_mw: FloatArray
    over: BoolArray


class Rehearsal:
    """Copies of one household behind its own meter: no grid model, no power flow, no one else's data.

    The demand is that of the history.  The voltage of a step is what the household's `VoltageModel` expects under its
    action, given the readings of the history up to the step before: a step asks *what if I had acted otherwise here*,
    and estimates do not build on estimates.  What the policy is shown of earlier steps are the voltages that its own
    actions made.

    days : those to live, default all of the history's.  sight : layout of what is seen, default that of the history.

    Raises
    ------
    InputError
        For a household without storage, a history without a day, or an empty band.
    """

    def __init__(
        self,
        history: MeterHistory,
        model: VoltageModel,
        reward: RelaxedReward | None = None,
        band: tuple[float, float] = BAND,
        days: Sequence[str | pd.Timestamp] | None = None,
        *,
        sight: Sight | None = None,
        copies: int = 1,
    ) -> None:
        if history.battery is None:
            raise InputError(f"the household {history.name!r} has no storage: there is nothing to learn for it")
        if not 0 < band[0] < band[1] < np.inf:
            raise InputError(f"the voltage band {band[0]}, {band[1]} is empty; give e.g. 0.95, 1.05")
        self.history, self.model, self.reward = history, model, reward or RelaxedReward()
        self.band, self.battery = (float(band[0]), float(band[1])), history.battery
        self.sight = Sight.of(history.demand_p_mw) if sight is None else sight
        self._rows, self._known = decisions(history, model.guard)
        midnights = history.times[self._rows].normalize()
        self.days: tuple[pd.Timestamp, ...] = tuple(midnights.unique() if days is None else history.on(days).days)
        places = [np.flatnonzero(midnights == day) for day in self.days]
        empty = [day for day, found in zip(self.days, places, strict=True) if not len(found)]
        if empty:
            raise InputError(f"{empty[0].date()} has no three readings in a row: leave that day out")
        self._first, self._last = (np.array([found[k] for found in places]) for k in (0, -1))
        self._demand, self._rest = history.demand_p_mw[self._rows], model.predict(0.0, self._known)
        self.at = np.full(copies, -1)  # place of the step at hand among the decisions; -1: no day has begun
        self.day = np.zeros(copies, dtype=np.int64)
        self._memory = Memory(np.zeros(copies), np.ones((copies, 2)), np.zeros((copies, 2)))

    @property
    def over(self) -> BoolArray:
        """(copies,) whether the day of each is over, or has not begun."""
        return np.asarray((self.at < 0) | (self.at > self._last[self.day]))

    def draw(self, rng: np.random.Generator) -> tuple[int, float]:
        """Return a day's place in `days`, and a SOC to begin it with."""
        battery: Battery = self.battery
        return int(rng.integers(len(self.days))), float(rng.uniform(battery.e_min_mwh / battery.e_max_mwh, 1.0))

    def begin(self, which: IntArray, day: IntArray, soc: FloatArray) -> None:
        """Begin days, places in `days`, in some copies."""
        self.day[which], self.at[which] = day, self._first[day]
        two = self._rows[self._first[day]][:, None] - [1, 2]
        started = Memory(soc * self.battery.e_max_mwh, self.history.vm[two], self.history.demand_p_mw[two])
        self._memory = self._memory.put(which, started)

    def step(self, actions: FloatArray) -> Lived:
        """Take a step in every copy; actions (copies,), those beyond [-1, 1] are cut."""
        a, memory, at, step_h = np.clip(actions, -1.0, 1.0), self._memory, self.at, self.history.step_h
        p = power_of(self.battery, a, memory.e_mwh, step_h)
        vm = self.model.predict(p, self._known[at])
        reward = self.reward(vm, share_of_rate(self.battery, p), *self.band)
        self._memory = memory.after(self.battery.after(memory.e_mwh, p, step_h), vm, self._demand[at])
        self.at = at + 1
        return Lived(reward, vm, p, self.over)

    def seen(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the (copies, 7) observations; past the end of a day its last step stands."""
        at = np.minimum(self.at, self._last[self.day])
        return self.sight.read(self._memory.state(self.battery, self._demand[at], self._rest[at]))

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        return {"at": self.at.tolist(), "day": self.day.tolist(), "memory": self._memory.record()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        self.at, self.day = np.array(state["at"], dtype=np.int64), np.array(state["day"], dtype=np.int64)
        self._memory = Memory.of(state["memory"])
