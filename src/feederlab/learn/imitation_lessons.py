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
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions, simulate

Rows = np.ndarray[Any, np.dtype[np.float32]]
Decide = Callable[[int, Rows], FloatArray]
"""(step of the day, observation (days, rows, entries)) -> setpoints (days, inverters), MVAr."""
_MOVED = 1e-6  # MW: active power that is lowered by less is not


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

    def visited(self, layout: Layout, decide: Decide) -> tuple[Rows, BoolArray]:
        """Return what is measured when `decide` acts in closed loop, all days side by side.

        Returns
        -------
        (days, steps, rows, entries), (days, steps)
            The observation at each decision, under the setpoints of the step before, and whether it has a power-flow
            solution.
        """
        case, count = self.scenario, len(self.days)
        table = Days.of(self.days, [case.days(day).series() for day in self.days])
        plant = Plant(case.feeder, engine(case.feeder), case.step / pd.Timedelta(hours=1))
        copies, every = Copies(plant, table, count), np.arange(count)
        copies.begin(every, every * (table.length + 1))
        found = np.zeros((count, table.length, *layout.shape), dtype=np.float32)
        solved = np.zeros((count, table.length), dtype=bool)
        for t in range(table.length):
            found[:, t], solved[:, t] = layout.read(copies.seen()), ~copies.unsolved()
            copies.apply(decide(t, found[:, t]))
            copies.advance()
        return found, solved


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
