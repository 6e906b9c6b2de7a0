"""`Problem`: the volt-var problem in many copies: episodes, actions, observations, rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.learn.days import pick_days, whole_days
from feederlab.learn.rewards import TERMS, Outcome, Reward
from feederlab.learn.volt_var.copies import Copies, Days, Taken, episode_length
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import PowerFlow, engine
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario

LOST = -200.0
"""What a step without power-flow solution adds to the reward of the state before it (P1's code)."""
Observation = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a step gave, in each copy.

    observation : (copies, rows, entries) after it.  reward : (copies,).  lost : (copies,) no power-flow solution, which
    ends the episode.  over : (copies,) the episode has run its length.  about : name -> (copies,) scores of the step.
    taken : what the grid and the inverters did.
    """

    observation: Observation
    reward: FloatArray
    lost: BoolArray
    over: BoolArray
    about: Mapping[str, FloatArray]
    taken: Taken


class Problem:
    """All inverters of a feeder, asked for reactive power at every step.

    Parameters
    ----------
    count
        Copies that live side by side.
    scenario
        A `Scenario`, or the name of one.
    observation
        ``"global"``, ``"zone"`` or ``"local"``: what is seen (`Layout`).
    reward
        A `Reward`, or the text of one.
    bound
        c of the action ``q = c a sqrt(s^2 - p^2)``, -1 <= a <= 1, 0 < c <= 1.
    episode
        Steps of an episode, drawn uniformly from the steps of a day; default: the whole day.
    days
        Midnights of the days to draw from; default: all whole days of the scenario's window.
    step
        Step length; default: the scenario's.
    layout
        Of the observation; default: `Layout.of` the days.
    margin
        How far inside the scenario's band (p.u.) the reward's own band lies; ``in_band`` is about the scenario's.
    engine
        Power-flow engine, by name or made ready.

    Raises
    ------
    InputError, UnknownNameError
        If there is no inverter, or a parameter is impossible.
    """

    def __init__(
        self,
        count: int,
        scenario: Scenario | str,
        observation: str = "global",
        reward: Reward | str = "mapdn_l1",
        bound: float = 1.0,
        episode: int | None = None,
        days: Sequence[str | pd.Timestamp] | None = None,
        step: str | None = None,
        layout: Layout | None = None,
        margin: float = 0.0,
        engine: str | PowerFlow = "auto",
    ) -> None:
        if not isinstance(count, int | np.integer) or count < 1:
            raise InputError(f"at least one copy is needed, and a whole number of them, not {count}")
        _check_kinds(scenario, reward, bound, margin, layout, engine)
        if not 0 < bound <= 1:
            raise InputError(f"the bound of the action must lie in (0, 1], not {bound}")
        case = load_scenario(scenario) if isinstance(scenario, str) else scenario
        self.scenario = case if step is None else case.resample(step)
        self.days = pick_days(self.scenario, whole_days(self.scenario) if days is None else days, 0, 0)[0]
        self.episode = episode_length(self.scenario, episode)
        self.reward = Reward.parse(reward) if isinstance(reward, str) else reward
        for idle in ("switching", "storage"):
            if self.reward.needs(idle):
                raise InputError(
                    f"the reward {self.reward} counts {idle!r}, of which there is none: inverters alone act"
                )
        self.bound, self.count, task = float(bound), count, self.scenario.task()
        self.margin, self._goal = float(margin), task.inside(margin).band
        series = [self.scenario.days(day).series() for day in self.days]
        if layout is None:
            layout = Layout.of(task, observation, series)
        elif layout.scope.value != observation:
            raise InputError(f"the layout is of scope {layout.scope.value}, the observation of scope {observation}")
        else:
            layout = Layout.from_record(task, layout.record())  # refuses that of another feeder
        self.layout = layout
        flow = self._engine(engine)
        self.copies = Copies(
            Plant(self.scenario.feeder, flow, self.scenario.step / pd.Timedelta(hours=1)), Days.of(self.days, series),
            count,
        )  # fmt: skip
        self.left: IntArray = np.zeros(count, dtype=np.int64)  # steps to go; 0: no episode has begun

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one copy's observation: (entries,) with global scope, else (inverters, entries)."""
        rows, entries = self.layout.shape
        return (rows, entries) if self.layout.shared else (entries,)

    @property
    def inverters(self) -> int:
        """How many inverters act."""
        return len(self.scenario.feeder.inverters)

    def begin(self, which: IntArray, day: IntArray, offset: IntArray) -> None:
        """Begin an episode in some copies, `offset` steps after the midnight of the `day`-th day."""
        days = self.copies.days
        self.copies.begin(which, day * (days.length + 1) + offset)
        self.left[which] = self.episode

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return a day's number and an offset, each uniform."""
        day = int(rng.integers(len(self.days)))
        return day, int(rng.integers(self.copies.days.length - self.episode + 1))

    def place(self, start: str | pd.Timestamp) -> tuple[int, int]:
        """Return the day's number and the offset of an instant.

        Raises
        ------
        InputError
            If it lies in none of the days, is no step, or leaves less than an episode of its day.
        """
        try:
            at = pd.Timestamp(start)
            midnight = at.normalize()
        except (ValueError, TypeError, AttributeError, OverflowError):  # NaT has no midnight
            raise InputError(f"{start!r} is no instant; write e.g. 2016-06-21T12:00") from None
        steps = (at - midnight) / self.scenario.step
        last = self.copies.days.length - self.episode
        if midnight not in self.days or steps != int(steps) or steps > last:
            raise InputError(
                f"no episode of {self.episode} steps can begin at {at}: give an instant of the days "
                f"({self.days[0].date()} to {self.days[-1].date()}), on a step of {self.scenario.step}, at most "
                f"{last} steps after midnight"
            )
        return self.days.index(midnight), int(steps)

    def time(self, copy: int) -> pd.Timestamp:
        """Return the instant of the step that a copy is in."""
        day, offset = divmod(int(self.copies.row[copy]), self.copies.days.length + 1)
        return self.days[day] + offset * self.scenario.step

    def observation(self) -> Observation:
        """Return what is seen now, (copies, rows, entries)."""
        return self.layout.read(self.copies.seen())

    def step(self, actions: Any) -> Stepped:
        """Take one step in all copies.  actions : (copies, inverters) in [-1, 1].

        Raises
        ------
        InputError
            If an action has another shape or is no number, or an episode is over or has not begun.
        """
        try:
            actions = np.asarray(actions, dtype=float)
        except (TypeError, ValueError):
            actions = np.full(0, np.nan)
        if actions.shape != (self.count, self.inverters) or not np.isfinite(actions).all():
            raise InputError(f"actions must be numbers, {self.inverters} for each of {self.count} copies")
        if not self.left.all():
            raise InputError("the episode is over or has not begun: call reset")
        before, copies = self.copies.u, self.copies
        q_before, available = copies.q_mvar, copies.p_available_mw
        cut = np.minimum(np.maximum(actions, -1.0), 1.0)
        taken = copies.apply(self.bound * cut * copies.room_mvar)
        reward, about = self._judge(taken)
        lost = copies.unsolved()
        if lost.any():
            p = np.minimum(available, self.scenario.feeder.inverters.s_mva)
            old = Taken(replace(taken.solved, u=before), p, q_before, available, taken.clipped)
            restored = np.nan_to_num(self._judge(old)[0])
            reward = np.where(lost, restored + LOST, reward)
        self.left -= 1
        copies.advance()
        over = ~lost & (self.left == 0)
        self.left[lost] = 0
        return Stepped(self.observation(), reward, lost, np.asarray(over), about, taken)

    def _judge(self, taken: Taken) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Return (copies,) rewards and scores."""
        feeder, vm, losses = self.scenario.feeder, taken.solved.vm, taken.solved.losses_mw()
        outcome = Outcome(
            vm=vm, band=self._goal, q_mvar=taken.q_mvar, losses_mw=losses, slack=feeder.slack,
            curtailed_mw=(taken.p_available_mw - taken.p_mw).sum(axis=-1),
        )  # fmt: skip
        outside = TERMS["any_out_of_band"].of(replace(outcome, band=self.scenario.band))
        inside = np.where(np.isfinite(losses), 1.0 - outside, 0.0)
        return self.reward(outcome), {"in_band": inside, "losses_mw": losses}

    def state(self) -> dict[str, Any]:
        """Return, JSON-ready, where every copy stands."""
        at = self.copies
        return {
            "row": at.row.tolist(), "left": self.left.tolist(), "q_mvar": at.q_mvar.tolist(),
            "u": [at.u.real.tolist(), at.u.imag.tolist()],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        at = self.copies
        at.row, self.left = (np.array(state[key], dtype=np.int64) for key in ("row", "left"))
        at.q_mvar, parts = np.array(state["q_mvar"], dtype=float), np.array(state["u"], dtype=float)
        at.u = parts[0] + 1j * parts[1]
        at.look()

    def _engine(self, wanted: str | PowerFlow) -> PowerFlow:
        return engine(self.scenario.feeder, wanted) if isinstance(wanted, str) else wanted


def _check_kinds(scenario: Any, reward: Any, bound: Any, margin: Any, layout: Any, engine: Any) -> None:
    """Raise `InputError` for what is no such thing at all; a command line, for one, may say anything."""
    if not isinstance(scenario, Scenario | str):
        raise InputError(f"the scenario must be a Scenario or the name of one, not {scenario!r}")
    if not isinstance(reward, Reward | str):
        raise InputError(f"the reward must be a sum of terms as in 'l1 + 0.1*q_loss', not {reward!r}")
    for what, value in (("bound of the action", bound), ("margin", margin)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise InputError(f"the {what} must be a number, not {value!r}")
    if layout is not None and not isinstance(layout, Layout):
        raise InputError(f"the layout must be that of an environment (env.layout), not {type(layout).__name__}")
    if not isinstance(engine, str) and not callable(getattr(engine, "solve_batch", None)):
        raise InputError(f"the power-flow engine must be named or made ready, not {engine!r}")
