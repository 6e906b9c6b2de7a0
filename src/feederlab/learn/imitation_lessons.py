"""What an imitator learns from: a teacher's answers on some days, and the measurements that a rule meets on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller, Scope
from feederlab.controllers.ladder import HELD
from feederlab.errors import InputError
from feederlab.learn.volt_var.copies import Copies, Days
from feederlab.learn.volt_var.layout import Layout
from feederlab.metrics import BAND_TOLERANCE
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.models.scoring import voltage_excess
from feederlab.simulate import RunOptions, simulate

Rows = np.ndarray[Any, np.dtype[np.float32]]
Decide = Callable[[int, Rows], FloatArray]
"""(step of the day, observation (days, rows, entries)) -> setpoints (days, inverters), MVAr."""
_MOVED = 1e-6  # MW: active power that is lowered by less is not


@dataclass(frozen=True, eq=False)
class Lived:
    """What happened in closed loop.

    rows : (days, steps, rows, entries) the observation at each decision, under the setpoints of the step before.
    solved : (days, steps) whether that had a power-flow solution.
    losses_mw, excess, in_band : (days, steps) after the decision: losses, what the squared voltages lie outside the
    squared band (p.u., `voltage_excess`), and whether every bus is in band; NaN, NaN and False without a solution.
    """

    rows: Rows
    solved: BoolArray
    losses_mw: FloatArray
    excess: FloatArray
    in_band: BoolArray


@dataclass(frozen=True, eq=False)
class Lessons:
    """A teacher's answers on some days.

    days : midnights.  q_mvar : (days, steps, inverters).  room_mvar : (days, steps, inverters), sqrt(s^2 - p^2).
    known : (days, steps) whether there is an answer: the teacher did not merely hold its last setpoints, and the power
    flow has a solution.
    """

    scenario: Scenario
    days: tuple[pd.Timestamp, ...]
    q_mvar: FloatArray
    room_mvar: FloatArray
    known: BoolArray

    @classmethod
    def ask(
        cls,
        scenario: Scenario,
        days: Sequence[pd.Timestamp],
        teacher: Controller,
        options: RunOptions | None = None,
        *,
        margin: float = 0.0,
        jobs: int = 1,
        progress: Callable[[int], None] | None = None,
    ) -> Lessons:
        """Run `teacher` on each day.

        Parameters
        ----------
        margin
            By how much (p.u.) the band that the teacher keeps is narrower, on both sides, than the scenario's.
        jobs
            Processes.
        progress
            Told after each day, with 1.

        Raises
        ------
        InputError
            If the teacher sees less than everything, lowers active power, or moves anything but inverters; if the
            margin leaves nothing of the band; or if it has no answer at any step.
        """
        if teacher.sees.scope is not Scope.GLOBAL:
            raise InputError(f"a teacher sees everything, and this one is {teacher.sees}: take e.g. opf")
        stricter = replace(scenario, band=scenario.task().inside(margin).band)
        pieces = [_Day(stricter.days(day).trimmed(), teacher, options or RunOptions()) for day in days]
        q, known = zip(*in_order(pieces, jobs, progress), strict=True)
        s = scenario.feeder.inverters.s_mva
        p = np.stack([np.minimum(scenario.days(day).series().p_available_mw, s) for day in days])
        if not np.any(known):
            raise InputError("the teacher has no answer at any step of the training days: try another one")
        room = np.sqrt(np.maximum(s**2 - p**2, 0.0))
        return cls(scenario, tuple(days), np.stack(q), room, np.stack(known))

    def actions(self, bound: float) -> FloatArray:
        """Return (days, steps, inverters) actions a in [-1, 1] with q = bound a sqrt(s^2 - p^2); 0 without room."""
        room = bound * self.room_mvar
        return np.clip(np.divide(self.q_mvar, room, out=np.zeros_like(room), where=room > 1e-12), -1.0, 1.0)

    def only(self, which: IntArray) -> Lessons:
        """Return the lessons of some days, by their numbers."""
        return Lessons(
            self.scenario, tuple(self.days[k] for k in which), self.q_mvar[which], self.room_mvar[which],
            self.known[which],
        )  # fmt: skip

    def lived(self, layout: Layout, decide: Decide) -> Lived:
        """Return what happens when `decide` acts in closed loop, all days side by side."""
        case, count = self.scenario, len(self.days)
        table = Days.of(self.days, [case.days(day).series() for day in self.days])
        plant = Plant(case.feeder, engine(case.feeder), case.step / pd.Timedelta(hours=1))
        copies, every = Copies(plant, table, count), np.arange(count)
        copies.begin(every, every * (table.length + 1))
        shape = count, table.length
        rows, solved = np.zeros((*shape, *layout.shape), dtype=np.float32), np.zeros(shape, dtype=bool)
        losses, excess, inside = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        low, high = np.array(case.band)
        low[case.feeder.slack], high[case.feeder.slack] = 0.0, np.inf  # the slack's voltage is given
        for t in range(table.length):
            rows[:, t], solved[:, t] = layout.read(copies.seen()), ~copies.unsolved()
            after = copies.apply(decide(t, rows[:, t])).solved
            losses[:, t] = after.losses_mw()
            excess[:, t] = voltage_excess(after.u, case.band, case.feeder.slack)
            inside[:, t] = ((after.vm >= low - BAND_TOLERANCE) & (after.vm <= high + BAND_TOLERANCE)).all(axis=1)
            copies.advance()
        return Lived(rows, solved, losses, excess, inside)


@dataclass(frozen=True, eq=False)
class _Day:
    """A day to be lived by the teacher, here or in another process."""

    case: Scenario
    teacher: Controller
    options: RunOptions

    def __call__(self) -> tuple[FloatArray, BoolArray]:
        """Return q, (steps, inverters), and (steps,) whether it is an answer."""
        run = simulate(self.case, self.teacher, self.options).data
        s = self.case.feeder.inverters.s_mva
        on = self.case.feeder.inverters.node >= 0
        held_back = (np.minimum(run["p_available_mw"].to_numpy(), s) - run["p_mw"].to_numpy())[:, on]
        if (held_back > _MOVED).any():
            raise InputError("the teacher lowers active power, which an imitator cannot: take one that moves q alone")
        moved = [name for name in ("tap_moves", "capacitor_moves") if run[name].to_numpy().any()]
        stored = np.abs(run["storage_p_mw"].to_numpy()) > _MOVED
        if moved or stored.any() or (np.abs(run["storage_q_mvar"].to_numpy()) > _MOVED).any():
            what = {"tap_moves": "tap changers", "capacitor_moves": "capacitor banks"}
            which = ", ".join([what[name] for name in moved] or ["storage"])
            raise InputError(
                f"the teacher moves {which}, which an imitator cannot: take one that moves inverters alone"
            )
        known = run["converged"].to_numpy() & (run["rung"].to_numpy() < HELD)
        return run["q_mvar"].to_numpy(), np.asarray(known, dtype=bool)


def in_order(
    pieces: Sequence[Callable[[], Any]], jobs: int, progress: Callable[[int], None] | None = None
) -> list[Any]:
    """Return the answers of pieces of work in their order, done in `jobs` processes with one thread each.

    progress : told after each piece, with 1.
    """
    found = []
    if jobs == 1 or len(pieces) == 1:
        answers = (piece() for piece in pieces)
    else:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(backend="loky", inner_max_num_threads=1):
            answers = Parallel(n_jobs=jobs, return_as="generator")(delayed(piece)() for piece in pieces)
    for answer in answers:
        found.append(answer)
        if progress is not None:
            progress(1)
    return found
