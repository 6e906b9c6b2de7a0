"""`SmartMeterEnv`: one household and its storage, simulated from its own meter's history alone (P0)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.learn.extra import need
from feederlab.learn.smart_meter.estimate import Stages, VoltageModel, fit_voltage_model
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.learn.smart_meter.recording import recorded
from feederlab.learn.smart_meter.rehearsal import BAND, Lived, Rehearsal
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import ENTRIES, LIMIT
from feederlab.models.scenario import Scenario

need("gymnasium")
import gymnasium as gym  # noqa: E402

_ONE = np.zeros(1, dtype=np.int64)


class SmartMeterEnv(gym.Env):  # type: ignore[misc]
    """A household's storage behind its own meter, as `Rehearsal` has it; an episode is a day of its history.

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
        The household's voltage model; default: fitted on `days` of the history, up to `stages`, from `seed`.
    reward
        The reward.
    band
        Lowest and highest voltage (p.u.).
    days
        Midnights of the days to draw from; default: all of the history's, or the first of the scenario's.
    storage
        (MW, MWh), or ``"MW:MWh"``, of a unit to add at `bus` where the scenario has none there.
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
        storage: tuple[float, float] | str | None = None,
        step: str | None = None,
        stages: Stages = "H",
        seed: int = 0,
    ) -> None:
        self._source: Callable[..., MeterHistory] | None = None
        if history is None:
            if scenario is None or bus is None:
                raise InputError("the smart-meter environment needs a history, or a scenario and a bus with storage")
            self._source = partial(recorded, scenario, bus, storage=storage, step=step, seed=seed)
            history = self._source(days=days)
        elif scenario is not None or bus is not None:
            raise InputError("give a history, or a scenario and a bus, not both")
        elif model is None and days is not None:
            history = history.on(days)  # what is fitted here must not have seen the other days
        if model is None:
            model = fit_voltage_model(history, seed=seed, stages=stages)
        self.rehearsal = Rehearsal(history, model, reward, band, days)
        self.observation_space, self.action_space = spaces()

    def on(self, days: Sequence[str | pd.Timestamp]) -> SmartMeterEnv:
        """Return the same household on other days: its voltage model, its scales and its reward stay.

        Days that it has no readings of are recorded, if it was made from a scenario.
        """
        now, made = self.rehearsal, copy.copy(self)
        known = {*now.history.days} >= {pd.Timestamp(day) for day in days}
        history = now.history if known or self._source is None else self._source(days=days)
        made.rehearsal = Rehearsal(history, now.model, now.reward, now.band, days, sight=now.sight)
        made._np_random = None
        return made

    @property
    def days(self) -> tuple[pd.Timestamp, ...]:
        """Midnights of the days that are drawn from."""
        return self.rehearsal.days

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a day: ``options["day"]`` from ``options["soc"]`` on, else a drawn day at a drawn SOC."""
        super().reset(seed=seed)
        day, soc = self.rehearsal.draw(self.np_random)
        wanted = options or {}
        if "day" in wanted:
            if pd.Timestamp(wanted["day"]) not in self.days:
                raise InputError(f"{wanted['day']} is none of this environment's days")
            day = self.days.index(pd.Timestamp(wanted["day"]))
        self.rehearsal.begin(_ONE, np.array([day]), np.array([float(wanted.get("soc", soc))]))
        return self.rehearsal.seen()[0], {"day": str(self.days[day].date())}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.  Raises `InputError` if the day is over or none has begun, or the action is no number."""
        if self.rehearsal.over[0]:
            raise InputError("the day is over or has not begun: call reset")
        asked = np.asarray(action, dtype=float).reshape(-1)[:1]
        if not np.isfinite(asked).all():
            raise InputError(f"an action must be a number between -1 and 1, not {asked}")
        found = self.rehearsal.step(asked)
        return (
            self.rehearsal.seen()[0],
            float(found.reward[0]),
            False,
            bool(found.over[0]),
            about(self.rehearsal, found),
        )

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where the environment stands: its random generator, day, step and memory."""
        return {"random": self.np_random.bit_generator.state, **self.rehearsal.state()}

    def restore(self, state: Mapping[str, Any]) -> Any:
        """Go to where `state` was taken; return the observation there."""
        self.np_random.bit_generator.state = state["random"]
        self.rehearsal.restore(state)
        return self.rehearsal.seen()[0]


def spaces() -> tuple[Any, Any]:
    """Return the observation and the action space of a household."""
    seen = gym.spaces.Box(-LIMIT, LIMIT, (len(ENTRIES),), np.float32)
    return seen, gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


def about(rehearsal: Rehearsal, found: Lived, k: int = 0) -> dict[str, Any]:
    """Return what ``info`` says of a step of copy `k`."""
    vm, p = float(found.vm[k]), float(found.storage_p_mw[k])
    inside = float(rehearsal.band[0] <= vm <= rehearsal.band[1])
    return {"vm": vm, "storage_p_mw": p, "in_band": inside, "use_mwh": abs(p) * rehearsal.history.step_h}
