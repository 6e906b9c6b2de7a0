"""`CentralEnv`: the storages of several households on the true grid, for the comparison with local training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.learn.days import pick_days, whole_days
from feederlab.learn.extra import need
from feederlab.learn.smart_meter.memory import Memory, battery_of, power_of, share_of_rate
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import ENTRIES, LIMIT, Sight
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.powerflow.base import PowerFlow, engine
from feederlab.models.scenario import Scenario, Series

need("gymnasium")
import gymnasium as gym  # noqa: E402


class CentralEnv(gym.Env):  # type: ignore[misc]
    """All storage units of a feeder under one agent, whose voltages come from the power flow of the true grid.

    What `SmartMeterEnv` is for one household, with the model of the grid in place of the household's estimate: it knows
    every meter, and costs a power flow in every step.  An episode is a day.  Inverters inject what is available, at
    q = 0.

    Observation: the state (26) of every unit, one after another (`sight.ENTRIES`); V~ is the voltage with all units at
    rest, which no action changes: it is computed once for all, by the default engine.  Action: (units,) shares of the
    rates, charging positive.  Reward: the sum of the units' rewards (28) at the true voltages.  ``info``: ``in_band``
    (1 or 0, the units' nodes), ``use_mwh``.

    Parameters
    ----------
    scenario
        Feeder with storage; its step is the agent's.
    days
        Midnights of the days to draw from; default: all of the scenario's.
    reward
        The reward of one unit.
    flow
        Name of the power-flow engine that gives the voltages of the steps.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        scenario: Scenario,
        days: Sequence[str | pd.Timestamp] | None = None,
        reward: RelaxedReward | None = None,
        flow: str = "auto",
    ) -> None:
        feeder, self.scenario, self.reward = scenario.feeder, scenario, reward or RelaxedReward()
        units = feeder.storages
        if not len(units) or (units.node < 0).any():
            raise InputError(
                "the central environment needs storage, all of it supplied: Scenario.with_devices adds some"
            )
        self.batteries = [battery_of(units, k) for k in range(len(units))]
        self.days = pick_days(scenario, whole_days(scenario) if days is None else list(days), 0, 0)[0]
        self.slots = round(pd.Timedelta(days=1) / scenario.step)
        self.step_h = scenario.step / pd.Timedelta(hours=1)
        self._flow: PowerFlow = engine(feeder, flow)
        self._node = units.node
        self._series: dict[pd.Timestamp, Series] = {}
        self._injection: dict[pd.Timestamp, ComplexArray] = {}
        self._net: dict[pd.Timestamp, FloatArray] = {}
        self._rest: dict[pd.Timestamp, FloatArray] = {}
        for day in self.days:
            self._take(day)
        demand = np.vstack([self._net[day] for day in self.days])
        self.sights = [Sight.of(demand[:, k]) for k in range(len(units))]
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (len(ENTRIES) * len(units),), np.float32)
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (len(units),), np.float32)
        self.flows = 0  # power flows so far
        self._t = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a day: the one in ``options["day"]`` at ``options["soc"]``, else a drawn one at drawn SOCs."""
        super().reset(seed=seed)
        day = self.days[int(self.np_random.integers(len(self.days)))]
        drawn = self.np_random.uniform([b.e_min_mwh / b.e_max_mwh for b in self.batteries], 1.0)
        wanted = options or {}
        if "day" in wanted:
            day = pick_days(self.scenario, [wanted["day"]], 0, 0)[0][0]
            if day not in self._series:
                self._take(day)
        soc = np.broadcast_to(wanted.get("soc", drawn), len(self.batteries))
        self._day, self._t = day, 0
        demand, vm = self._demand(0), self._at_rest(0)
        self._memory = [
            Memory(np.asarray(s * b.e_max_mwh), np.array([v, v]), np.array([p, p]))
            for b, s, v, p in zip(self.batteries, soc, vm, demand, strict=True)
        ]
        return self._seen(), {"day": str(day.date())}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.  Raises `InputError` if no day has begun or it is over."""
        if not 0 <= self._t < self.slots:
            raise InputError("the day is over or has not begun: call reset")
        asked = np.clip(np.asarray(action, dtype=float), -1.0, 1.0)
        each = list(zip(self.batteries, self._memory, strict=True))
        p = np.array([power_of(b, a, m.e_mwh, self.step_h) for (b, m), a in zip(each, asked, strict=True)])
        share = np.array([share_of_rate(b, power) for b, power in zip(self.batteries, p, strict=True)])
        vm, demand, band = self._solve(self._t, p), self._demand(self._t), self.scenario.band[:, self._node]
        reward = float(self.reward(vm, share, band[0], band[1]).sum())
        self._memory = [
            m.after(b.after(m.e_mwh, power, self.step_h), v, own)
            for (b, m), power, v, own in zip(each, p, vm, demand, strict=True)
        ]
        self._t += 1
        info = {
            "in_band": float(((vm >= band[0]) & (vm <= band[1])).all()),
            "use_mwh": float(np.abs(p).sum() * self.step_h),
        }
        return self._seen(), reward, False, self._t >= self.slots, info

    def _demand(self, t: int) -> FloatArray:
        return np.asarray(self._net[self._day][t])

    def _seen(self) -> Any:
        t = min(self._t, self.slots - 1)  # past the end of a day its last step stands
        each = zip(self.sights, self.batteries, self._memory, self._demand(t), self._at_rest(t), strict=True)
        return np.concatenate([sight.read(m.state(b, p, v)) for sight, b, m, p, v in each])

    def _at_rest(self, t: int) -> FloatArray:
        return np.asarray(self._rest[self._day][t])

    def _solve(self, t: int, p_mw: FloatArray) -> FloatArray:
        """Return the (units,) voltages; 0 where there is no solution, which is out of any band."""
        injection = self._injection[self._day][t].copy()
        np.subtract.at(injection, self._node, p_mw)
        self.flows += 1
        solved = self._flow.solve(injection, slack_vm=float(self._series[self._day].slack_vm[t]))
        return np.nan_to_num(solved.vm[self._node], nan=0.0)

    def _take(self, day: pd.Timestamp) -> None:
        """Read a day's profiles: injection of everything but the units, demand at their nodes, voltages at rest."""
        series, inverters = self.scenario.days(day).series(), self.scenario.feeder.inverters
        injection, on = -series.load_mva, inverters.node >= 0
        given = np.minimum(series.p_available_mw, inverters.s_mva)
        np.add.at(injection.T, inverters.node[on], given.T[on])
        self._series[day], self._injection[day] = series, injection
        self._net[day] = -injection.real[:, self._node]
        solved = engine(self.scenario.feeder).solve_batch(injection, slack_vm=series.slack_vm)
        self._rest[day] = np.nan_to_num(solved.vm[:, self._node], nan=0.0)
