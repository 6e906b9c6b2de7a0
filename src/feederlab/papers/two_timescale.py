"""Two-timescale voltage control: a learned slow layer of capacitors over a convex fast layer of inverters."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.papers.learnt import Learnt
from feederlab.papers.reproduction import How, Reproduced, Row
from feederlab.papers.two_timescale_scores import (
    SCHEDULE,
    Scores,
    closed,
    effect,
    schedule,
    slow_table,
    verdicts,
)

if TYPE_CHECKING:
    from feederlab.papers.two_timescale_costs import DayCosts, FastLayer
    from feederlab.papers.two_timescale_training import Lessons, Taught

BY_CLARABEL = "cvxpy, Clarabel"
BEST, NET, DQN, LAG, NO_LAG = (
    "fixed, best for all days",
    "fixed, as in the net",
    "dqn",
    "enumerate",
    "enumerate, no lag",
)
TOLERANCE = 1e-7
"""Cost of a slot up to which the table and the closed loop must agree: what PIQP's tolerance leaves (p.u.²)."""


@dataclass(frozen=True)
class TwoTimescale(Learnt):
    """A year of the 47-bus feeder in minutes: train on some days, judge on others.

    days : test days, evenly spread over the year.  seeds : trainings.  steps : intervals that each learns from.
    train : training days.  seed : of the minutes, and the first of the trainings.
    quick : 3 days, 2 seeds, 4,000 steps and 12 training days unless they are given; too few to conclude anything.
    """

    name: ClassVar[str] = "two-timescale"
    citation: ClassVar[str] = (
        "Yang, Wang, Sadeghi, Giannakis, Sun, Two-timescale voltage control in distribution grids using deep "
        "reinforcement learning, IEEE Trans. Smart Grid 11(3) 2313, 2020"
    )
    least: ClassVar[Mapping[str, int]] = {"days": 3, "seeds": 2, "steps": 4_000, "train": 12}
    most: ClassVar[Mapping[str, int]] = {"days": 12, "seeds": 5, "steps": 30_000, "train": 60}

    def compute(self, how: How) -> Reproduced:
        from feederlab.papers import two_timescale_work as pieces

        began = time.perf_counter()
        exact_rows, exact_table = _exactness()
        days = self.chosen_days()
        test, validation, train = _tables(self, days, how)
        layer = pieces.fast_layer(self.seed)
        clock = time.perf_counter()
        taught, unseen = _teach(self, layer, train, validation, test, how)
        training_s = time.perf_counter() - clock
        scores = Scores.of(layer, test)
        actions = _learned(taught, unseen)
        with tempfile.TemporaryDirectory() as scratch:
            policies = _save(taught, Path(scratch) if how.out is None else how.out / "policies")
            loops = _closed_loops(self, test, scores.best_steps, policies[0], how)
        lived = {name: [loop[k] for k in range(len(test))] for name, loop in loops.items() if name in pieces.RULES}
        rules = {name: np.stack([one.cost.reshape(len(one.action), -1).sum(axis=1) for one in of_days])
                 for name, of_days in lived.items()}  # fmt: skip
        moves = {name: np.stack([one.action for one in of_days]) for name, of_days in lived.items()}
        scheduled = np.repeat(schedule(train)[None], len(test), axis=0)
        rules[SCHEDULE], moves[SCHEDULE] = scores.taken(scheduled), scheduled
        costs = scores.costs(actions, rules)
        sunny = int(np.argmin([day.load_mva.real.sum() for day in test]))
        shown = {DQN: actions[0, sunny], LAG: test[sunny].enumerated, BEST: _held(scores.best, test[sunny])}
        relaxed = how.do(
            "relaxations", [pieces.Relaxed(self.seed, test[sunny], {name: shown[name] for name in (DQN, BEST)})],
            len(test[sunny].mean),
        )[0]  # fmt: skip
        fast = _fast_table(test[sunny], shown, relaxed)
        share = closed(costs[BEST], costs["dqn, each"], costs[LAG])
        tables = {
            f"Slow layers over the quadratic program (9), {len(test)} unseen days": slow_table(
                scores, costs, actions, moves
            ),
            "Verdicts": verdicts(costs, share, fast, exact_rows),
            f"Fast layers on {test[sunny].times[0]:%Y-%m-%d}, the first slot of every interval": fast,
            "Closed loop against the table": _agreement(loops, test, scores, actions),
            "Trainings": _curves(taught, unseen),
            "Exactness of the relaxation: cone gaps": exact_table,
        }
        if how.out is not None:
            _draw(layer, test, sunny, shown, scores, costs, relaxed, how.out / "figures")
        rows = (*exact_rows, *_rows(scores, costs, share))
        return Reproduced(
            self.name, self.citation, self.values(), rows, tables, _notes(self, scores, training_s, how, days),
            time.perf_counter() - began,
        )  # fmt: skip


def _tables(study: TwoTimescale, days: tuple[list[pd.Timestamp], ...], how: How) -> list[list[DayCosts]]:
    """Return the tables of the test, validation and training days."""
    from feederlab.papers.two_timescale_work import Tables

    every = [day for group in days for day in group]
    parts = [tuple(every[k : k + 6]) for k in range(0, len(every), 6)]
    found = [one for part in how.do("tables", [Tables(study.seed, p) for p in parts], len(every)) for one in part]
    ends = np.cumsum([0, *map(len, days)])
    return [found[a:b] for a, b in pairwise(ends)]


def _teach(
    study: TwoTimescale, layer: FastLayer, train: list[DayCosts], validation: list[DayCosts], test: list[DayCosts],
    how: How,
) -> tuple[list[Taught], Lessons]:  # fmt: skip
    """Return the trainings, and the test days as they see them."""
    from feederlab.learn.settings import DqnSettings
    from feederlab.papers.two_timescale_training import Lessons, Training

    learn = Lessons.of(layer.feeder, layer.actions, train)
    judge, unseen = (Lessons.of(layer.feeder, layer.actions, one, learn.observation) for one in (validation, test))
    slot_s, steps = layer.scenario.step.total_seconds(), study.sizes["steps"]
    trainings = [
        Training(learn, judge, DqnSettings(), steps, study.seed + k, slot_s, test[0].slots)
        for k in range(study.sizes["seeds"])
    ]
    return how.do("training", trainings, len(trainings) * steps), unseen


def _learned(taught: list[Taught], unseen: Lessons) -> IntArray:
    """Return the (seeds, days, intervals) configurations that the policies take."""
    from feederlab.papers.two_timescale_training import taken

    return np.stack([taken(one.policy, unseen)[0] for one in taught])


def _save(taught: list[Taught], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [one.policy.save(folder / f"dqn-{k}.safetensors") for k, one in enumerate(taught)]


def _closed_loops(
    study: TwoTimescale, test: list[DayCosts], best: IntArray, policy: Path, how: How
) -> dict[str, dict[int, Any]]:
    """Return row -> {test day: what the closed loop gave}: rules on all days, the others on the first."""
    from feederlab.papers.two_timescale_work import RULES, ClosedLoop, slow_layers

    cells = [(name, 0, slow) for name, slow in slow_layers(best, policy).items()]
    cells += [(name, k, slow) for name, slow in RULES.items() for k in range(len(test))]
    pieces = [ClosedLoop(study.seed, test[k].times[0], slow) for _, k, slow in cells]
    found: dict[str, dict[int, Any]] = {}
    answers = how.do("closed loop", pieces, len(cells) * len(test[0].times))
    for (name, k, _), one in zip(cells, answers, strict=True):
        found.setdefault(name, {})[k] = one
    return found


def _held(configuration: int, day: DayCosts) -> IntArray:
    return np.full(len(day.mean), configuration)


def _agreement(
    loops: Mapping[str, Mapping[int, Any]], test: list[DayCosts], scores: Scores, actions: IntArray
) -> pd.DataFrame:
    """Return how far the closed loop and the table are apart.

    Raises
    ------
    ArithmeticError
        If they are not the same but for the solver's tolerance: then no row of the table says what it seems to.
    """
    day, lines = test[0], []
    expected = {"fixed": _held(scores.best, day), "enumerate": day.enumerated, "dqn": actions[0, 0]}
    for name, sequence in expected.items():
        one = loops[name][0]
        table = np.take_along_axis(day.slot, np.repeat(sequence, day.slots)[:, None], 1)[:, 0]
        other = int((one.action != sequence).sum())
        apart = float(np.abs(one.cost - table).max())
        if other or apart > TOLERANCE:
            raise ArithmeticError(
                f"{name} on {day.times[0].date()}: the closed loop takes other configurations in {other} intervals, "
                f"and costs differ by up to {apart:.1e}"
            )
        lines.append({
            "slow layer": name, "day": f"{day.times[0]:%Y-%m-%d}", "other configurations": other,
            "worst slot p.u.²": apart, "whole day, relative": float(one.cost.sum() / table.sum() - 1),
        })  # fmt: skip
    return pd.DataFrame(lines)


def _fast_table(
    day: DayCosts, shown: Mapping[str, IntArray], relaxed: Mapping[str, Mapping[str, FloatArray]]
) -> pd.DataFrame:
    lines = []
    for name, found in relaxed.items():
        qp = np.take_along_axis(day.slot[:: day.slots], shown[name][:, None], 1)[:, 0]
        lines.append({
            "slow layer": name, "QP (9), 1e-3 p.u.²": 1e3 * qp.mean(),
            "SOCP (7), 1e-3 p.u.²": 1e3 * found["SOCP (7)"].mean(),
            "SOCP + loss, 1e-3 p.u.²": 1e3 * found["SOCP + loss"].mean(),
            "slots where (7) is loose": int((found["cone gap"] > 1e-3).sum()),
            "(7) costs more than twice (9)": int((found["SOCP (7)"] > 2 * qp).sum()),
            "worst cone gap (7)": float(found["cone gap"].max()),
            "with loss": float(found["cone gap + loss"].max()),
        })  # fmt: skip
    return pd.DataFrame(lines)


def _curves(taught: list[Taught], unseen: Lessons) -> pd.DataFrame:
    from feederlab.papers.two_timescale_training import taken

    lines = []
    for k, one in enumerate(taught):
        best = int(one.curve[:, 1].argmin())
        lines.append({
            "training": k, "kept after steps": int(one.curve[best, 0]),
            "validation 1e-3 p.u.²": 1e3 * one.curve[best, 1], "last 1e-3 p.u.²": 1e3 * one.curve[-1, 1],
            "test 1e-3 p.u.²": 1e3 * float(taken(one.policy, unseen)[1].mean()),
        })  # fmt: skip
    return pd.DataFrame(lines)


def _exactness() -> tuple[list[Row], pd.DataFrame]:
    """Return reported beside reproduced for the table of exactness, and the cone gaps behind it."""
    from feederlab.models.feeder import Feeder
    from feederlab.models.library.sce47 import sce47_net
    from feederlab.models.powerflow.base import engine
    from feederlab.papers import two_timescale_exactness as exactness

    feeder = Feeder.from_pandapower(sce47_net(power_factor=0.8), "sce47")
    flow, rows, lines = engine(feeder), [], []
    for case in exactness.CASES:
        out = exactness.solve(feeder, flow, case)
        for name, reported, ours in zip(exactness.COLUMNS, case.reported, out.deviation, strict=True):
            row = Row(str(case), name, "sum (v - 1)²", "p.u.²", reported, BY_CLARABEL, ours, 3 if reported > 0.1 else 4)
            inside = out.spread[0] <= reported <= out.spread[1]
            why = "agrees to the digits reported" if row.agrees else f"differs by {ours - reported:+.2g}"
            if not row.agrees and name == "SOCP (7)" and inside:
                why = "not unique: where a solver of (7) stops decides"
            rows.append(Row(**{**row.__dict__, "why": f"{why} [1]"}))
        lines.append({
            "case": str(case), "cone gap of (7)": out.gap[0], "with loss weight": out.gap[1],
            "(7) as printed, least p.u.²": out.spread[0], "most p.u.²": out.spread[1],
        })  # fmt: skip
    return rows, pd.DataFrame(lines)


def _rows(scores: Scores, costs: Mapping[str, FloatArray], share: tuple[float, float, float]) -> list[Row]:
    """Return the costs of the slow layers, for which the paper gives curves only, and the share of the gap closed."""
    case, rows = f"{scores.days} unseen days", []
    for name, cost in costs.items():
        if name == "dqn, each":
            continue
        of_day = cost.mean(axis=1)
        std = float(of_day.std(ddof=1)) if len(of_day) > 1 else np.nan
        why = "" if name == BEST else f"{effect(costs, name, BEST)} against {BEST}"
        rows.append(Row(case, name, "cost per interval", "1e-3 p.u.²", np.nan, "", 1e3 * float(of_day.mean()), 3,
                        1e3 * std, len(of_day), why))  # fmt: skip
    value, low, high = share
    rows.append(Row(case, DQN, "share of the gap closed", "%", np.nan, "", 100 * value, 0, n=scores.days,
                    why=f"95 % interval {100 * low:.0f} to {100 * high:.0f} % [4]"))  # fmt: skip
    return rows


def _draw(
    layer: FastLayer, test: list[DayCosts], sunny: int, shown: Mapping[str, IntArray], scores: Scores,
    costs: Mapping[str, FloatArray], relaxed: Mapping[str, Mapping[str, FloatArray]], folder: Path,
) -> None:  # fmt: skip
    from feederlab.papers.two_timescale_figures import Shown, draw

    day = test[sunny]
    drawn = np.random.default_rng(0).integers(len(layer.actions), size=len(day.mean))
    actions = {DQN: shown[DQN], LAG: shown[LAG], BEST: shown[BEST], NET: _held(scores.net, day), "random": drawn}
    running = {name: costs["dqn, each"][0] if name == DQN else costs[name] for name in (DQN, LAG, BEST, NET)}
    draw(Shown(layer, day, actions, running, relaxed), folder)


def _notes(
    study: TwoTimescale, scores: Scores, training_s: float, how: How, days: tuple[list[pd.Timestamp], ...]
) -> tuple[str, ...]:
    sizes = study.sizes
    return (
        "Reported: computed by cvxpy before this package did, not figures of the paper. Sums over the electrical nodes "
        "but the substation after an AC power flow, load power factor 0.8, capacitors as constant reactive power as in "
        "the paper's (4)-(6).",
        "Everything else runs on a year that the paper did not have: SimBench's quarter hours, one shape drawn for "
        "each bus, with seeded clouds and customers inside them (`MinuteNoise`), since the paper's day is not "
        "redistributable. The paper gives curves, of which no values are at hand: the rows say what holds here. "
        f"{len(days[0])} test days spread over the year; {len(days[2])} training days and {len(days[1])} validation "
        "days, which choose the network that is kept, are others.",
        "Inverters keep |q| <= sqrt(s^2 - p^2) with nameplate p and s = 1.1 p, a constant limit, as in the paper's "
        "(2); capacitors are shunts; no voltage band. A fast layer without memory and switching without a price make "
        "the cost of a day a sum over a table [slot, configuration]; the closed loop of `simulate` gives the same "
        "sums, as the table 'Closed loop against the table' shows. Random switching is given as its expectation. "
        f"The best fixed configuration, {'/'.join(map(str, scores.best_steps))} (steps of the banks at buses 3, 37, "
        "47), is chosen on the test days themselves, in hindsight.",
        "Share: (best fixed - DQN) / (best fixed - enumeration with one interval of lag), costs pooled over test days "
        "and trainings; interval: 2.5 and 97.5 percentiles of 10,000 draws of days and trainings with replacement.",
        "Rules: `cap_rule` by voltage closes a bank below 0.994 and opens it above 1.006 p.u., the best of three bands "
        "on two days that are no test days (its default band, 0.98 to 1.03, never acts here); by reactive power as by "
        "default. "
        "The schedule has for every hour of the day the configuration that is cheapest on the training days: it sees "
        "nothing but the clock.",
        "DQN: state, action and cost of the paper's (10)-(11); values lost in the paper's text are the package's "
        "(`DqnSettings`): two layers of 64, linear output, discount 0.5, Adam 1e-3, batch 64, replay 50,000, target "
        "every 500 steps, exploration from 1 to 0.1 over half the training. On the validation days, discounts 0 and "
        "0.5, widths 64 and 128, and rates 1e-3 and 5e-4 differed by less than the evaluations of one training do. "
        f"{sizes['seeds']} trainings of {sizes['steps']} intervals took {training_s / 60:.1f} minutes, jobs "
        f"{how.jobs}.",
    )
