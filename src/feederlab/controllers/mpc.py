"""Model predictive control of inverters, storage, taps and capacitor banks."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
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
    Scope,
    Setpoints,
    State,
)
from feederlab.controllers.ladder import LOOSER, PRIMARY, climb_down, complete, initial_memory
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.forecast import ForecastError, Present, Source, source
from feederlab.models.horizon.model import HorizonModel
from feederlab.models.horizon.plan import Plan, Start
from feederlab.models.horizon.program import Rules
from feederlab.models.horizon.search import Outcome, Search
from feederlab.models.horizon.stages import Stages

_DAY = "24h"
_PLAN = tuple(Plan.__dataclass_fields__)
_HANDOVER_S = 0.02  # kept back of the time limit


@dataclass(frozen=True)
class Mpc(Controller):
    """Looks ahead: at every step it plans a horizon, does the plan's first step, and plans anew.

    The plan is improved by successive expansions of the AC power flow about it (`models.horizon`): each is a convex
    program, mixed-integer where taps or capacitor banks take part, solved by Clarabel and HiGHS.  It starts from the
    last plan, one step further, and ends with an AC power flow of the plan.

    horizon : length, e.g. ``"24h"``, or a number of steps; near the end of the data it shrinks.  Empty: a day,
    or all data where they are shorter.
    forecast : ``"perfect"``, ``"persistence"``, ``"noisy(SIGMA)"`` or ``"noisy(SIGMA;SEED)"`` (seed 0 if not given),
    ``"module:function"``, or a function ``(time, periods) -> Series`` (`models.forecast`).
    objective : e.g. ``"losses"``; empty: the task's.
    curtail : active power may be lowered.  taps, capacitors : whether tap changers and capacitor banks are decided.
    terminal : energy of the storage at the horizon's end: ``"keep"`` what it held at the first decision, or what can be
    reached of it; ``"free"``; or a number, the worth of a MWh left (objective x hours per MWh).
    tap_cost, step_cost : of one move of a tap changer, of a bank (objective x hours).
    max_moves : of each of them within a horizon; 0: any.
    stages : most stages that a horizon is cut into (`models.horizon.stages`).
    blocks : taps and banks may move at the beginning of at most this many blocks of stages, which grow likewise; 0: of
    every stage.
    rounds : most expansions per decision.
    time_limit_s : of a decision.  When it is reached the best plan met stands, and `Decision.mip_gap` tells how far it
    may be from the best of its linear model.  Decisions then depend on the machine's speed; the limits below, which
    usually end the work within a second, do not.
    gap : relative gap at which a mixed-integer program counts as solved.  masters : most linear programs for each
    (`models.horizon.mixed`): a limit that does not depend on the machine.
    margin : how far inside the band to aim (p.u.).
    """

    horizon: str = ""
    forecast: Any = "perfect"
    objective: str = ""
    curtail: bool = False
    taps: bool = True
    capacitors: bool = True
    terminal: str = "keep"
    tap_cost: float = 0.0
    step_cost: float = 0.0
    max_moves: int = 0
    stages: int = 24
    blocks: int = 8
    rounds: int = 4
    time_limit_s: float = 30.0
    gap: float = 2e-3
    masters: int = 1
    margin: float = 1e-5

    def __post_init__(self) -> None:
        source(self.forecast)
        self._worth()
        least = {"stages": 2, "rounds": 1, "masters": 1, "max_moves": 0, "blocks": 0}
        if small := [f"{name}={getattr(self, name)}" for name, low in least.items() if getattr(self, name) < low]:
            raise InputError(
                f"mpc needs {', '.join(f'{name} >= {low}' for name, low in least.items())}, not {', '.join(small)}"
            )
        if self.blocks == 1:
            raise InputError("mpc: blocks must be 0 (every stage) or 2 and more, not 1")
        if not (self.time_limit_s > 0 and 0 < self.gap < 1 and self.tap_cost >= 0 and self.step_cost >= 0):
            raise InputError(
                "mpc needs time_limit_s > 0, 0 < gap < 1, and costs that are not negative, not "
                f"time_limit_s={self.time_limit_s}, gap={self.gap}, tap_cost={self.tap_cost}, "
                f"step_cost={self.step_cost}"
            )

    @property
    def sees(self) -> Information:
        """Everything, and the future where its forecast is made from it."""
        return Information(Scope.GLOBAL, source(self.forecast).informed)

    def periods(self, step_s: float) -> int:
        """Return the number of steps of `step_s` seconds in the horizon.  Raises `InputError` if it is not whole."""
        text = str(self.horizon).strip() or _DAY
        if text.isdecimal():
            count = float(text)
        else:
            try:
                count = pd.Timedelta(text).total_seconds() / step_s
            except ValueError:
                raise InputError(
                    f"mpc: horizon must be a duration or a number of steps, e.g. 24h or 24, not {text!r}"
                ) from None
        if not (count >= 1 and abs(count - round(count)) < 1e-9):
            raise InputError(f"mpc: a horizon of {text!r} is no whole number of steps of {step_s:g} s, at least one")
        return round(count)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.

        Raises `InputError` if there is nothing to decide, for voltage-controlled generators, a horizon longer than the
        data, and a forecast that fails or does not fit at the first instant.
        """
        return _Prepared(self, task)

    def _worth(self) -> float:
        """Return what a MWh left is worth, 0 if the terminal rule is no number."""
        if self.terminal in ("keep", "free"):
            return 0.0
        try:
            worth = float(self.terminal)
        except (TypeError, ValueError):
            worth = np.nan
        if not np.isfinite(worth):
            raise InputError(f"mpc: terminal must be keep, free or a number, not {self.terminal!r}")
        return worth


class _Prepared(Prepared):
    def __init__(self, settings: Mpc, task: ControlTask) -> None:
        self.settings, self.task = settings, task.pursuing(settings.objective).inside(settings.margin)
        task, feeder = self.task, self.task.grid()
        self.model = HorizonModel(
            feeder, task.band, task.objective, task.voltage_penalty,
            curtail=settings.curtail, taps=settings.taps, steps=settings.capacitors,
        )  # fmt: skip
        if not self.model.layout.size:
            raise InputError(
                "mpc has nothing to decide here: no inverter, storage, capacitor bank or tap changer takes part; add "
                "some, e.g. with `Scenario.with_devices`"
            )
        self.periods = settings.periods(task.step_s)
        self.source: Source = source(settings.forecast)
        self.source.check(task, self.periods if settings.horizon else 1)
        self.search = Search(rounds=settings.rounds, gap=settings.gap, masters=settings.masters)

    def initial_state(self) -> State:
        task = self.task
        return initial_memory(task) | {
            "soc": np.array(task.storages.soc), "end_mwh": np.full(len(task.storages), np.nan),
            "storage_p_mw": np.zeros(len(task.storages)), "storage_q_mvar": np.zeros(len(task.storages)),
            "tap": np.array(task.tap_changers.tap), "step": np.array(task.capacitors.step),
            "tap_rest_s": np.zeros(len(task.tap_changers)), "step_rest_s": np.zeros(len(task.capacitors)),
            "time_ns": np.zeros(0, dtype=np.int64), "plan": {}, "length": np.zeros(0, dtype=np.int64),
        }  # fmt: skip

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        begin = time.perf_counter()
        seen, state = complete(measurement, state)
        seen, state = self._remember(seen, state)
        kept: State = {}

        def primary() -> Setpoints | None:
            outcome, stages, status = self._decide(seen, state, begin)
            if outcome is None:
                return None
            kept["plan"] = {name: getattr(outcome.priced.plan, name) for name in _PLAN}
            kept["length"] = stages.length
            return self._setpoints(outcome, seen, status)

        setpoints, state = climb_down([primary], state)
        return setpoints, {**state, "plan": {}, "length": np.zeros(0, dtype=np.int64), **kept}

    def _decide(self, seen: Measurement, state: State, begin: float) -> tuple[Outcome | None, Stages, str]:
        task, settings = self.task, self.settings
        now = Present(seen.time, seen.load_p_mw + 1j * seen.load_q_mvar, seen.p_available_mw, seen.slack_vm)
        status = ""
        try:
            series = self.source.ahead(task, now, self.periods)
        except ForecastError as error:
            series, status = now.held(self.periods, task.step_s), f"without forecast: {error}"
        stages = Stages.of(series, settings.stages, task.step_s / 3600)
        stages = replace(stages, offset=self._offset(seen, now))
        start = Start(
            seen.soc * task.storages.e_max_mwh, seen.tap, seen.step, state["tap_rest_s"], state["step_rest_s"]
        )
        rules = Rules(
            end_mwh=state["end_mwh"] if settings.terminal == "keep" else None, energy_value=settings._worth(),
            tap_cost=settings.tap_cost, step_cost=settings.step_cost, max_moves=settings.max_moves,
            blocks=settings.blocks,
        )  # fmt: skip
        deadline = begin + settings.time_limit_s - _HANDOVER_S
        guesses = [self._continued(state, seen, stages), self._idle(seen, stages)]
        for guess in guesses:
            if guess is not None:
                outcome = self.search.solve(self.model, stages, start, guess, rules, deadline)
                if outcome is not None:
                    return outcome, stages, status
        return None, stages, status

    def _setpoints(self, outcome: Outcome, seen: Measurement, status: str) -> Setpoints:
        """Return the first stage of a plan, within what the devices can do to the last digit."""
        task, plan, settings = self.task, outcome.priced.plan, self.settings
        s, units = task.inverters.s_mva, task.storages
        p = np.clip(plan.p_mw[0], 0.0, np.minimum(seen.p_available_mw, s)) if settings.curtail else None
        output = np.minimum(seen.p_available_mw, s) if p is None else p
        room = np.sqrt(np.maximum(s**2 - output**2, 0.0))
        stored, hours = seen.soc * units.e_max_mwh, task.step_s / 3600
        charge = np.maximum(units.e_max_mwh - stored, 0.0) / (units.efficiency * hours)
        discharge = np.maximum(stored - units.e_min_mwh, 0.0) * units.efficiency / hours
        power = np.clip(
            plan.storage_p_mw[0], np.maximum(units.p_min_mw, -discharge), np.minimum(units.p_max_mw, charge)
        )
        power = np.clip(power, -units.s_mva, units.s_mva)
        spare = np.sqrt(np.maximum(units.s_mva**2 - power**2, 0.0))
        at = self.model.layout
        info = Decision(
            solver="clarabel+highs" if len(at.discrete) else "clarabel",
            status=status or outcome.status, rung=LOOSER if status or not outcome.accurate else PRIMARY,
            iterations=outcome.iterations, solver_time_s=outcome.solver_time_s, objective=outcome.priced.cost,
            mip_gap=outcome.mip_gap, model_error=outcome.model_error,
        )  # fmt: skip
        return Setpoints(
            q_mvar=np.clip(plan.q_mvar[0], -room, room), p_mw=p,
            storage_p_mw=power if len(units) else None,
            storage_q_mvar=np.clip(plan.storage_q_mvar[0], -spare, spare) if len(units) else None,
            tap=plan.tap[0] if len(at.taps) else None, step=plan.step[0] if len(at.steps) else None, info=info,
        )  # fmt: skip

    def _remember(self, seen: Measurement, state: State) -> tuple[Measurement, State]:
        """Fill in what storage did last where its reading is lost; follow the mechanisms' rests."""
        names = ("soc", "storage_p_mw", "storage_q_mvar")
        filled = {n: np.where(np.isfinite(getattr(seen, n)), getattr(seen, n), state[n]) for n in names}
        first = not len(state["time_ns"])
        now = np.array([seen.time.as_unit("ns").value], dtype=np.int64)
        passed = 0.0 if first else float(now[0] - state["time_ns"][0]) / 1e9
        rests = {}
        for name, pause, each in (
            ("tap", self.task.tap_changers.delay_s, True), ("step", self.task.capacitors.dwell_s, False),
        ):  # fmt: skip
            moved = np.abs(getattr(seen, name) - state[name]) if not first else np.zeros(len(pause))
            rest = np.where(moved > 0, (moved if each else 1) * pause, state[f"{name}_rest_s"])
            rests[f"{name}_rest_s"] = np.maximum(rest - max(passed, 0.0), 0.0)
        end = np.where(np.isfinite(state["end_mwh"]), state["end_mwh"], filled["soc"] * self.task.storages.e_max_mwh)
        state = {
            **state, **filled, **rests, "end_mwh": end, "elapsed": np.array([passed]),
            "time_ns": now, "tap": np.array(seen.tap), "step": np.array(seen.step),
        }  # fmt: skip
        return replace(seen, **filled), state

    def _offset(self, seen: Measurement, now: Present) -> FloatArray | float:
        """Return (nodes,) by how much measured squared voltages lie above the model's at the measured setpoints."""
        held = self._idle(seen, None, storage=True)
        injection = held.injection_mva(self.task.grid(), now.load_mva[None, :])[0]
        solved = self.model.flow.solve(injection, taps=seen.tap, steps=seen.step, slack_vm=seen.slack_vm)
        away = seen.vm**2 - solved.vm**2
        return np.where(np.isfinite(away), away, 0.0)

    def _idle(self, seen: Measurement, stages: Stages | None, *, storage: bool = False) -> Plan:
        """Return the plan in which nothing moves: inverters and positions as they are, storage at rest."""
        count = 1 if stages is None else len(stages)
        s = self.task.inverters.s_mva
        offered = seen.p_mw[None, :] if stages is None else stages.p_available_mw
        p = np.clip(offered, 0.0, s)
        room = np.sqrt(np.maximum(s**2 - p**2, 0.0))
        still = np.zeros((count, len(self.task.storages)))
        return Plan(
            q_mvar=np.clip(seen.q_mvar, -room, room), p_mw=p,
            storage_p_mw=still + seen.storage_p_mw if storage else still,
            storage_q_mvar=still + seen.storage_q_mvar if storage else still,
            tap=np.repeat(np.asarray(seen.tap)[None, :], count, axis=0),
            step=np.repeat(np.asarray(seen.step)[None, :], count, axis=0),
        )  # fmt: skip

    def _continued(self, state: State, seen: Measurement, stages: Stages) -> Plan | None:
        """Return the last plan from now on; None without one."""
        length, step_s = state["length"], self.task.step_s
        ahead = float(state["elapsed"][0]) / step_s
        if not len(length) or not 0 < ahead < length.sum() or not ahead.is_integer():
            return None
        ends = np.cumsum(length)
        rows = np.minimum(np.searchsorted(ends, stages.start + int(ahead), side="right"), len(length) - 1)
        plan = Plan(**{name: state["plan"][name][rows] for name in _PLAN})
        idle = self._idle(seen, stages)
        p = np.minimum(plan.p_mw, idle.p_mw) if self.settings.curtail else idle.p_mw
        room = np.sqrt(np.maximum(self.task.inverters.s_mva**2 - p**2, 0.0))
        return replace(plan, p_mw=p, q_mvar=np.clip(plan.q_mvar, -room, room))
