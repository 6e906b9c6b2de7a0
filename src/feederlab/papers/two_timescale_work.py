"""The long parts of the two-timescale reproduction, as pieces that processes of their own can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.controllers.cap_rule import CapRule
from feederlab.controllers.enumerate import Enumerate
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.learn.dqn import Dqn
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scoring import voltage_deviation
from feederlab.papers.two_timescale_case import EVERY, p3_scenario
from feederlab.papers.two_timescale_costs import OBJECTIVE, DayCosts, FastLayer, position
from feederlab.simulate import RunOptions, simulate
from feederlab.work import Steps

LOSS_WEIGHT = 1e-3  # per MW: what the second relaxation pays for losses


@lru_cache(maxsize=1)
def fast_layer(seed: int) -> FastLayer:
    """Return the quadratic program on `p3_scenario`, built once in a process."""
    return FastLayer(p3_scenario(seed))


@dataclass(frozen=True)
class Tables:
    """Computes the tables of some days.  seed : of the minutes."""

    seed: int
    days: tuple[pd.Timestamp, ...]

    def __call__(self, done: Steps | None = None) -> list[DayCosts]:
        """Return a table for each day."""
        layer, found = fast_layer(self.seed), []
        for day in self.days:
            found.append(layer.day(day, EVERY))
            if done is not None:
                done(1)
        return found


@dataclass(frozen=True, eq=False)
class Lived:
    """A day of the closed loop.  cost : (T,) of each slot.  action : (intervals,) configurations."""

    cost: FloatArray
    action: IntArray


@dataclass(frozen=True)
class ClosedLoop:
    """Lives a day through `simulate`, `slow` over the controller ``lindistflow:about=flat``."""

    seed: int
    day: pd.Timestamp
    slow: Controller

    def __call__(self, done: Steps | None = None) -> Lived:
        """Return what the day cost."""
        layer = fast_layer(self.seed)
        controller = TwoTimescale(self.slow, LinDistFlow(about="flat"), EVERY)
        run = simulate(layer.scenario.days(self.day), controller, RunOptions(OBJECTIVE), progress=done).data
        slots = round(pd.Timedelta(EVERY) / layer.scenario.step)
        steps = run["step"].to_numpy()[::slots]
        actions = np.array([position(layer.actions, step) for step in steps])
        return Lived(run["voltage_deviation"].to_numpy().astype(float), actions)


def slow_layers(best: IntArray, policy: Path) -> dict[str, Controller]:
    """Return the slow layers that are checked in the closed loop.  best : (banks,) steps of the best configuration."""
    return {
        "fixed": Fixed(step="/".join(map(str, best.tolist()))), "enumerate": Enumerate(), "dqn": Dqn(str(policy)),
    }  # fmt: skip


RULES: Mapping[str, Controller] = {
    "cap_rule, by voltage": CapRule("voltage", low=0.994, high=1.006), "cap_rule, by reactive power": CapRule("var"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Solves the relaxation (7), without and with a price of losses, in the first slot of every interval of a day.

    Its setpoints are used as they are, tight or not.  actions : slow layer -> (intervals,) configurations.
    """

    seed: int
    day: DayCosts
    actions: Mapping[str, IntArray]

    def __call__(self, done: Steps | None = None) -> dict[str, dict[str, FloatArray]]:
        """Return slow layer -> {``"SOCP (7)"``, ``"SOCP + loss"``, ``"cone gap"``, ``"cone gap + loss"``}.

        (intervals,) each: the realised cost of the slot, and the relaxations' cone gaps.
        """
        layer = fast_layer(self.seed)
        feeder, band = layer.feeder, np.asarray(layer.scenario.band)
        plain, priced = (Relaxation(feeder, band, OBJECTIVE, 1.0, loss_weight=weight) for weight in (0.0, LOSS_WEIGHT))
        solved: dict[tuple[int, int], tuple[float, float, float, float]] = {}
        for t in range(len(self.day.mean)):
            for k in sorted({int(one[t]) for one in self.actions.values()}):
                load = self.day.load_mva[t * self.day.slots]
                point = OperatingPoint(load, np.zeros(len(feeder.inverters)), feeder.slack_vm, steps=layer.actions[k])
                first, second = plain.solve(point), priced.solve(point)
                u = layer.voltages(np.stack([load, load]), k, np.stack([first.q_mvar, second.q_mvar]))
                cost = voltage_deviation(u, OBJECTIVE.v0, feeder.slack)
                solved[t, k] = (float(cost[0]), float(cost[1]), first.cone_gap, second.cone_gap)
            if done is not None:
                done(1)
        names = ("SOCP (7)", "SOCP + loss", "cone gap", "cone gap + loss")
        found = {}
        for name, actions in self.actions.items():
            values = np.array([solved[t, int(k)] for t, k in enumerate(actions)])
            found[name] = dict(zip(names, values.T, strict=True))
        return found
