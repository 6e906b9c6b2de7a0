"""`SmartMeterEnv`: one household and its storage, simulated from its own meter's history alone (P0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.learn.extra import need
from feederlab.learn.smart_meter.estimate import Stages, VoltageModel, fit_voltage_model
from feederlab.learn.smart_meter.history import Battery, MeterHistory
from feederlab.learn.smart_meter.known import decisions
from feederlab.learn.smart_meter.memory import Memory, power_of, share_of_rate
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import ENTRIES, LIMIT, Sight
from feederlab.models.scenario import Scenario

need("gymnasium")
import gymnasium as gym  # noqa: E402

BAND = (0.95, 1.05)


class SmartMeterEnv(gym.Env):  # type: ignore[misc]
    """A household's storage behind its own meter: no grid model, no power flow, no one else's data.

    The demand is that of the history.  The voltage of a step is what the household's `VoltageModel` expects under its
    action, given the readings of the history up to the step before: a step asks *what if I had acted otherwise here*,
    and estimates do not build on estimates.  What the policy is shown of earlier steps are the voltages that its own
    actions made.  An episode is a day of the history.

    Observation, float32 (7,), the state (26), each entry ``clip((value - centre) / scale, -10, 10)``:

    | index | meaning | unit | centre | scale |
    |---|---|---|---|---|
    | 0 | demand now, P^D_t | MW | its mean over the history | its standard deviation there |
    | 1 | SOC | share of the largest energy | 0.5 | 0.4 |
    | 2 | voltage V~_t that is expected now if the storage rests | p.u. | 1 | 0.05 |
    | 3, 4 | voltage one and two steps ago | p.u. | 1 | 0.05 |
    | 5, 6 | demand one and two steps ago | MW | as index 0 | as index 0 |

    Action, float32 (1,) in [-1, 1]: storage power as a share of the rate in its direction, charging positive, cut to
    what the energy allows.

    Reward: `RelaxedReward` (28) at the expected voltage.  ``info``: ``vm`` (p.u.), ``storage_p_mw``, ``in_band`` (1 or
    0), ``use_mwh``.

    Parameters
    ----------
    history
        What the household's meter has recorded, with its battery.  In its place `scenario` and `bus`: a run of the
        scenario under exploring storage makes one.
    model
        The household's voltage model; default: fitted on the history, up to `stages`, from `seed`.
    reward
        The reward.
    band
        Lowest and highest voltage (p.u.).
    days
        Midnights of the days to draw from; default: all of the history's.
    storage
        (MW, MWh) of a unit to add at `bus` where the scenario has none there.
    step
        Length of a step of the scenario; default: the scenario's.

    Raises
    ------
    InputError
        For a household without storage, a history without a day, or neither a history nor a scenario with a bus.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        history: MeterHistory | None = None,
        model: VoltageModel | None = None,
        reward: RelaxedReward | None = None,
        band: tuple[float, float] = BAND,
        days: Sequence[str | pd.Timestamp] | None = None,
        *,
        scenario: Scenario | str | None = None,
        bus: int | str | None = None,
        storage: tuple[float, float] | None = None,
        step: str | None = None,
        stages: Stages = "H",
        seed: int = 0,
    ) -> None:
        if history is None:
            if scenario is None or bus is None:
                raise InputError("the smart-meter environment needs a history, or a scenario and a bus with storage")
            from feederlab.learn.smart_meter.recording import recorded

            history = recorded(scenario, bus, days=days, storage=storage, step=step, seed=seed)
        elif scenario is not None or bus is not None:
            raise InputError("give a history, or a scenario and a bus, not both")
        if history.battery is None:
            raise InputError(f"the household {history.name!r} has no storage: there is nothing to learn for it")
        if not 0 < band[0] < band[1] < np.inf:
            raise InputError(f"the voltage band {band[0]}, {band[1]} is empty; give e.g. 0.95, 1.05")
        self.history, self.reward, self.band = history, reward or RelaxedReward(), (float(band[0]), float(band[1]))
        self.battery: Battery = history.battery
        self.model = fit_voltage_model(history, seed=seed, stages=stages) if model is None else model
        self.sight = Sight.of(history.demand_p_mw)
        self._rows, self._known = decisions(history, self.model.guard)
        midnights = history.times[self._rows].normalize()
        self.days = tuple(history.on(days).days) if days is not None else tuple(midnights.unique())
        self._of_day = {day: np.flatnonzero(midnights == day) for day in self.days}
        empty = [day for day, found in self._of_day.items() if not len(found)]
        if empty:
            raise InputError(f"{empty[0].date()} has no three readings in a row: leave that day out")
        self._rest = self.model.predict(0.0, self._known)
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (len(ENTRIES),), np.float32)
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._day, self._k = self.days[0], len(self._rows)  # no day has begun
        self._memory: Memory | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a day: ``options["day"]`` from ``options["soc"]`` on, else a drawn day at a drawn SOC."""
        super().reset(seed=seed)
        day = self.days[int(self.np_random.integers(len(self.days)))]
        soc = float(self.np_random.uniform(self.battery.e_min_mwh / self.battery.e_max_mwh, 1.0))
        wanted = options or {}
        if "day" in wanted:
            day = pd.Timestamp(wanted["day"])
            if day not in self._of_day:
                raise InputError(f"{wanted['day']} is none of this environment's days")
        soc = float(wanted.get("soc", soc))
        self._day, self._k = day, 0
        row = self._rows[self._of_day[day][0]]
        vm, demand = self.history.vm, self.history.demand_p_mw
        self._memory = Memory(
            soc * self.battery.e_max_mwh, (float(vm[row - 1]), float(vm[row - 2])),
            (float(demand[row - 1]), float(demand[row - 2])),
        )  # fmt: skip
        return self._seen(), {"day": str(day.date())}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.  Raises `InputError` if the day is over or none has begun, or the action is no number."""
        memory, at = self._memory, self._at()
        asked = float(np.asarray(action, dtype=float).reshape(-1)[0])
        if memory is None or at is None:
            raise InputError("the day is over or has not begun: call reset")
        if not np.isfinite(asked):
            raise InputError(f"an action must be a number between -1 and 1, not {asked}")
        step_h, demand = self.history.step_h, float(self.history.demand_p_mw[self._rows[at]])
        p = power_of(self.battery, min(max(asked, -1.0), 1.0), memory.e_mwh, step_h)
        vm = float(self.model.predict(p, self._known[at]))
        reward = float(self.reward(vm, share_of_rate(self.battery, p), *self.band))
        self._memory = memory.after(float(self.battery.after(memory.e_mwh, p, step_h)), vm, demand)
        self._k += 1
        info = {
            "vm": vm, "storage_p_mw": p, "in_band": float(self.band[0] <= vm <= self.band[1]),
            "use_mwh": abs(p) * step_h,
        }  # fmt: skip
        return self._seen(), reward, False, self._at() is None, info

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where the environment stands: its random generator, day, step and memory."""
        if self._memory is None:
            raise InputError("no day has begun: call reset")
        return {
            "random": self.np_random.bit_generator.state, "day": str(self._day), "step": self._k,
            "memory": self._memory.record(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Any:
        """Go to where `state` was taken; return the observation there."""
        self.np_random.bit_generator.state = state["random"]
        self._day, self._k = pd.Timestamp(state["day"]), int(state["step"])
        self._memory = Memory.of(state["memory"])
        return self._seen()

    def _at(self) -> int | None:
        """Return the place of the step at hand among the decisions of the history, None after the day's last."""
        rows = self._of_day.get(self._day)
        return None if rows is None or self._k >= len(rows) else int(rows[self._k])

    def _seen(self) -> Any:
        assert self._memory is not None
        at = self._at()
        if at is None:  # past the end of a day its last step stands
            at = int(self._of_day[self._day][-1])
        demand = float(self.history.demand_p_mw[self._rows[at]])
        return self.sight.read(self._memory.state(self.battery, demand, float(self._rest[at])))
