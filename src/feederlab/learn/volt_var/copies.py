"""`Copies`: many closed loops on one feeder, each at an instant of its own, that advance by one power-flow batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import Solution
from feederlab.models.scenario import Scenario, Series


@dataclass(frozen=True, eq=False)
class Days:
    """The steps of some days in one table, day after day; each day ends with its last step once more.

    That step stands for what comes after the day, where the last observation is read.

    days : midnights.  length : steps of a day.  Row ``k * (length + 1) + t`` is step t of day k.
    """

    days: tuple[pd.Timestamp, ...]
    length: int
    load_mva: ComplexArray
    p_available_mw: FloatArray
    slack_vm: FloatArray

    @classmethod
    def of(cls, days: Sequence[pd.Timestamp], series: Sequence[Series]) -> Days:
        """Join the series of `days`, all of one length."""

        def joined(name: str) -> Any:
            return np.concatenate([np.append(getattr(s, name), getattr(s, name)[-1:], axis=0) for s in series])

        length = len(series[0])
        return cls(tuple(days), length, joined("load_mva"), joined("p_available_mw"), joined("slack_vm"))

    def row(self, day: int, offset: int) -> int:
        """Return the row of step `offset` of the `day`-th day."""
        return day * (self.length + 1) + offset


@dataclass(frozen=True, eq=False)
class Seen:
    """What is measured in each copy (`Readings`).

    vm, load_p_mw, load_q_mvar : (copies, nodes).  p_available_mw, q_mvar : (copies, inverters).
    """

    vm: FloatArray
    load_p_mw: FloatArray
    load_q_mvar: FloatArray
    p_available_mw: FloatArray
    q_mvar: FloatArray


@dataclass(frozen=True, eq=False)
class Taken:
    """What a step came to.

    solved : voltages, (copies, nodes).  p_mw, q_mvar : (copies, inverters), as applied.  p_available_mw : likewise.
    clipped : (copies,) setpoints that the plant cut.
    """

    solved: Solution
    p_mw: FloatArray
    q_mvar: FloatArray
    p_available_mw: FloatArray
    clipped: IntArray


class Copies:
    """Closed loops in which something outside decides the inverters' reactive power.

    Step for step this is `simulate`: loads and sun of a step take effect under the old setpoints (`measure`), then the
    new ones are cut to what the inverters can do, and the grid answers (`apply`).  Storage, taps and banks rest.

    row : (copies,) place in `days`.  q_mvar : (copies, inverters).  u : (copies, nodes) the last power flow's voltages.
    """

    def __init__(self, plant: Plant, days: Days, count: int) -> None:
        feeder = plant.feeder
        self.plant, self.days, self.count = plant, days, count
        self._rest, _ = plant.apply(DeviceState.initial(feeder), Wanted(), np.zeros(len(feeder.inverters)))
        if self._rest.storage_p_mw.any():
            raise InputError("the feeder's storage cannot rest: its energy lies outside its limits")
        self.row: IntArray = np.zeros(count, dtype=np.int64)
        self.q_mvar: FloatArray = np.zeros((count, len(feeder.inverters)))
        self.u: ComplexArray = np.full((count, feeder.n_nodes), np.nan, dtype=np.complex128)
        self.look()

    def begin(self, which: IntArray, row: IntArray) -> None:
        """Put some copies at the given rows, inverters without reactive power; then `measure` them."""
        self.q_mvar, self.u = self.q_mvar.copy(), self.u.copy()
        self.row[which], self.q_mvar[which], self.u[which] = row, 0.0, np.nan
        self.measure(which)

    def advance(self) -> None:
        """Go on to the next step, and measure."""
        self.row += 1
        self.measure()

    def measure(self, which: IntArray | None = None) -> None:
        """Let loads and sun take effect under the setpoints that stand, in all copies or some."""
        at = np.arange(self.count) if which is None else which
        row = self.row[at]
        p, q, _ = self.plant.inverters(self.q_mvar[at], None, None, self.days.p_available_mw[row])
        u = self._solve(row, p, q, self.u[at]).u
        if which is None:
            self.q_mvar, self.u = q, u
        else:
            self.q_mvar, self.u = self.q_mvar.copy(), self.u.copy()  # what a step returned is not to change
            self.q_mvar[at], self.u[at] = q, u
        self.look()

    def seen(self) -> Seen:
        """Return what perfect meters read now."""
        load = self.days.load_mva[self.row]
        return Seen(np.abs(self.u), load.real, load.imag, self.p_available_mw, self.q_mvar)

    def apply(self, q_wanted_mvar: FloatArray) -> Taken:
        """Give (copies, inverters) setpoints, and solve.

        A setpoint that is not finite leaves its inverter as it is, as in `Plant.apply`.
        """
        p, q, clipped = self.plant.inverters(self.q_mvar, q_wanted_mvar, None, self.p_available_mw)
        solved = self._solve(self.row, p, q, self.u)
        self.q_mvar, self.u = q, solved.u
        return Taken(solved, p, q, self.p_available_mw, np.asarray(clipped))

    def unsolved(self) -> BoolArray:
        """Return (copies,) whether the last power flow has no solution."""
        return np.asarray(~np.isfinite(self.u.real).all(axis=1))

    def look(self) -> None:
        """Note what the inverters can do in the step at hand: room_mvar, (copies, inverters), is sqrt(S^2 - p^2)."""
        s = self.plant.feeder.inverters.s_mva
        self.p_available_mw = self.days.p_available_mw[self.row]
        self.room_mvar = np.sqrt(np.maximum(s**2 - np.minimum(self.p_available_mw, s) ** 2, 0.0))

    def _solve(self, row: IntArray, p: FloatArray, q: FloatArray, start: ComplexArray) -> Solution:
        injection = -self.days.load_mva[row]
        self.plant.add_inverters(injection, p, q)
        slack, rest, flow = self.days.slack_vm[row], self._rest, self.plant.flow
        if len(row) == 1:  # as the sequential loop does, to the last bit
            one = flow.solve(injection[0], taps=rest.tap, steps=rest.step, slack_vm=float(slack[0]), start=start[0])
            return Solution(one.feeder, one.u[None, :], one.two_port, one.shunt)
        return flow.solve_batch(injection, taps=rest.tap, steps=rest.step, slack_vm=slack, start=start)


def episode_length(scenario: Scenario, episode: int | None) -> int:
    """Return the steps of an episode: `episode`, or those of a day.  Raises `InputError` if it is no part of a day."""
    day = round(pd.Timedelta(days=1) / scenario.step)
    if episode is None:
        return day
    if isinstance(episode, bool) or not isinstance(episode, int | np.integer) or not 1 <= episode <= day:
        raise InputError(f"an episode of {episode} steps does not lie within a day of {day}: give 1 to {day}, whole")
    return int(episode)
