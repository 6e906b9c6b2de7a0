"""Perfect foresight: the optimal power flow of the whole window, solved once and then carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd

from feederlab.controllers.base import (
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Scope,
    Setpoints,
    State,
)
from feederlab.controllers.ladder import CONVEX, HELD, LOOSER, PRIMARY, SOLVER_ERRORS
from feederlab.errors import InputError
from feederlab.models.acopf.ipopt import Ipopt
from feederlab.models.forecast import ForecastError, Perfect, Present
from feederlab.models.multiperiod.opf import MultiPeriodOpf, Schedule
from feederlab.models.multiperiod.window import Window, points_of

_ALL = 10**6  # steps: as many as there are
_SETPOINTS = ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar")
_LOOSE = 1e4  # times the tolerance, where Ipopt fails


@dataclass(frozen=True)
class Foresight(Controller):
    """Knows what will come: plans the window at its first step by exact AC optimal power flow, and carries that out.

    The reference for controllers that look ahead.  The plan (`models.multiperiod`) decides inverters and storage; taps
    and capacitor banks stay as they are.  It ends in a local optimum, which the window's certified bound judges.  In a
    plant as the plan believes it, the plan is followed to the last digit.

    horizon : length of a plan, ``"24h"``; where it ends the next one is made, which may be shorter.  Empty: all data.
    objective : e.g. ``"losses"``; empty: the task's.
    curtail : active power may be lowered.  storage_q : storage may give reactive power.
    terminal : energy of the storage at a plan's end: ``"keep"`` at least what it holds at the start; ``"free"``; or a
    number, the worth of a MWh left (objective x hours per MWh).
    max_loading_percent : soft limit of every line and transformer that has one (%); 0: none.
    max_time_s : of one solve; a plan may take several.

    Where Ipopt fails, it is tried with a looser tolerance, then the convex relaxation's schedule is taken (radial
    feeders), else storage rests and inverters stay at q = 0.  `Decision` tells which; effort and time stand in the
    plan's first step.
    """

    sees: ClassVar[Information] = Information(Scope.GLOBAL, forecast=True)
    horizon: str = ""
    objective: str = ""
    curtail: bool = False
    terminal: str = "keep"
    max_loading_percent: float = 0.0
    max_time_s: float = 600.0
    storage_q: bool = True

    def __post_init__(self) -> None:
        if not (self.max_time_s > 0 and 0 <= self.max_loading_percent < np.inf):
            raise InputError(
                "foresight needs max_time_s > 0 and max_loading_percent >= 0, not "
                f"{self.max_time_s} and {self.max_loading_percent}"
            )
        self.worth()

    def worth(self) -> float:
        """Return what a MWh left is worth, 0 if the terminal rule is no number."""
        if self.terminal in ("keep", "free"):
            return 0.0
        try:
            worth = float(self.terminal)
        except (TypeError, ValueError):
            worth = np.nan
        if not 0 <= worth < np.inf:
            raise InputError(f"foresight: terminal must be keep, free or a number from 0 on, not {self.terminal!r}")
        return worth

    def periods(self, step_s: float) -> int:
        """Return the number of steps in a plan.  Raises `InputError` if the horizon is no whole number of steps."""
        if not self.horizon:
            return _ALL
        try:
            count = pd.Timedelta(self.horizon).total_seconds() / step_s
        except ValueError:
            count = np.nan
        if not (count >= 1 and abs(count - round(count)) < 1e-9):
            raise InputError(
                f"foresight: horizon must be a duration of whole steps of {step_s:g} s, e.g. 24h, not {self.horizon!r}"
            )
        return round(count)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.

        Raises `InputError` for the objective ``cost``, voltage-controlled generators, a task without forecast, and a
        horizon longer than the data.
        """
        return _Prepared(self, task.pursuing(self.objective))


class _Prepared(Prepared):
    def __init__(self, settings: Foresight, task: ControlTask) -> None:
        self.settings, self.task = settings, task
        self.periods = settings.periods(task.step_s)
        self.forecast = Perfect()
        self.forecast.check(task, 1 if self.periods == _ALL else self.periods)
        self.ipopt = Ipopt(tol=1e-11, max_iterations=1000, max_time_s=settings.max_time_s)
        self.model = MultiPeriodOpf(
            task.grid(), task.band, task.objective, task.voltage_penalty, curtail=settings.curtail,
            max_loading_percent=settings.max_loading_percent, storage_q=settings.storage_q, ipopt=self.ipopt,
        )  # fmt: skip

    def initial_state(self) -> State:
        return {"time_ns": np.zeros(0, dtype=np.int64)}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        now, spent = _ns(measurement.time), Decision()
        k = int(np.searchsorted(state["time_ns"], now))
        if k == len(state["time_ns"]) or state["time_ns"][k] != now:
            (state, spent), k = self._planned(measurement), 0
        plan = {name: state[name][k] for name in _SETPOINTS}
        if not self.settings.curtail:
            plan["p_mw"] = None
        if not len(self.task.storages):
            plan["storage_p_mw"] = plan["storage_q_mvar"] = None
        info = Decision(
            solver=str(state["solver"]), status=str(state["status"]), rung=int(state["rung"]),
            iterations=spent.iterations, solver_time_s=spent.solver_time_s, objective=float(state["cost"][k]),
        )  # fmt: skip
        return Setpoints(**plan, info=info), state

    def _planned(self, m: Measurement) -> tuple[State, Decision]:
        """Return the plan from here on as plain arrays, and how it came about."""
        task, units = self.task, self.task.storages
        now = Present(m.time, m.load_p_mw + 1j * m.load_q_mvar, m.p_available_mw, m.slack_vm)
        try:
            series = self.forecast.ahead(task, now, self.periods)
        except ForecastError:
            return self._still(m), Decision()
        soc = np.where(np.isfinite(m.soc), m.soc, units.soc)
        window = Window.of(
            task.grid(), points_of(series, m.tap, m.step), task.step_s / 3600, start_mwh=soc * units.e_max_mwh,
            end_mwh=None if self.settings.terminal == "keep" else np.zeros(len(units)),
            end_value=self.settings.worth(),
        )  # fmt: skip
        schedule, how = self._schedule(window)
        plan: State = {
            "time_ns": np.array([_ns(t) for t in series.times]), "cost": schedule.objective + schedule.penalty,
            "solver": how.solver, "status": how.status, "rung": how.rung,
            **{name: getattr(schedule, name) for name in _SETPOINTS},
        }  # fmt: skip
        return plan, how

    def _still(self, m: Measurement) -> State:
        """Return a plan of this step alone, in which nothing is done."""
        n, units = len(self.task.inverters), len(self.task.storages)
        return {
            "time_ns": np.array([_ns(m.time)]), "cost": np.array([np.nan]), "solver": "none",
            "status": "no forecast", "rung": HELD,
            "q_mvar": np.zeros((1, n)), "p_mw": np.minimum(m.p_available_mw, self.task.inverters.s_mva)[None, :],
            "storage_p_mw": np.zeros((1, units)), "storage_q_mvar": np.zeros((1, units)),
        }  # fmt: skip

    def _schedule(self, window: Window) -> tuple[Schedule, Decision]:
        """Climb down the ladder."""
        loose = replace(self.ipopt, tol=_LOOSE * self.ipopt.tol)
        rungs: tuple[Callable[[], tuple[Schedule, Decision] | None], ...] = (
            lambda: self._exact(window, self.ipopt, PRIMARY), lambda: self._exact(window, loose, LOOSER),
            lambda: self._convex(window),
        )  # fmt: skip
        for rung in rungs:
            try:
                found = rung()
            except SOLVER_ERRORS:
                continue
            if found is not None and np.isfinite(found[0].cost):
                return found
        return self.model.at_rest(window), Decision(solver="none", status="held", rung=HELD)

    def _exact(self, window: Window, ipopt: Ipopt, rung: int) -> tuple[Schedule, Decision] | None:
        found = self.model.solve(window, ipopt=ipopt)
        if not found.solved:
            return None
        how = Decision(
            solver="ipopt", status="local", rung=rung, iterations=found.iterations, solver_time_s=found.time_s
        )
        return found.schedule, how

    def _convex(self, window: Window) -> tuple[Schedule, Decision] | None:
        task = self.task
        if not task.grid().is_radial:
            return None
        from feederlab.models.branchflow.multiperiod import WindowRelaxation
        from feederlab.models.branchflow.relaxation import Relaxation

        step = Relaxation(
            task.grid(), task.band, task.objective, task.voltage_penalty, curtail=self.settings.curtail
        )  # fmt: skip
        found = WindowRelaxation(step).solve(window)
        if found.status == "failed":
            return None
        storage_q = found.storage_q_mvar * self.settings.storage_q
        schedule = self.model.follow(window, found.q_mvar, found.p_mw, found.storage_p_mw, storage_q)
        how = Decision(
            solver="clarabel", status=found.status, rung=CONVEX, iterations=found.iterations,
            solver_time_s=found.solver_time_s,
        )  # fmt: skip
        return schedule, how


def _ns(time: pd.Timestamp) -> int:
    return int(time.as_unit("ns").value)
