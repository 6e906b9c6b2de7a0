"""What rules are worth on held-out days: voltages, losses, and how much of the teacher's benefit they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.learn.imitation_lessons import in_order
from feederlab.models.arrays import FloatArray
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions, simulate

_SCORES = ("out_share", "drop_pu", "rise_pu", "losses_mw")
_NOTHING = 1e-9  # MW: the teacher saves no more than this, and a share of it means nothing


def judge(
    scenario: Scenario,
    days: Sequence[pd.Timestamp],
    controllers: Mapping[str, Controller],
    *,
    teacher: str,
    droop: str,
    none: str,
    options: RunOptions | None = None,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Run every controller on every day, and return a row for each.

    Parameters
    ----------
    controllers
        Label -> controller; `teacher`, `droop` and `none` are labels of three of them.

    Returns
    -------
    DataFrame
        ``controller``; ``in_band_pct``: share of steps with every bus in band; ``worst_pu``: largest distance of a bus
        from the band; ``loss_mw``: mean losses; ``kept_of_droop_pct``: 100 (L_droop - L) / (L_droop - L_teacher),
        ``kept_of_none_pct``: likewise against no control, NaN where the teacher saves nothing; ``unsolved``: steps
        without power-flow solution, which count as out of band and enter no mean.  Losses are easily saved by leaving
        the band: the shares mean something only beside the voltages.
    """
    options = options or RunOptions()
    pieces = [_Run(scenario.days(day).trimmed(), one, options) for one in controllers.values() for day in days]
    runs = in_order(pieces, jobs, progress)
    rows = []
    for k, label in enumerate(controllers):
        mine = np.concatenate(runs[k * len(days) : (k + 1) * len(days)], axis=1)
        out, drop, rise, loss = mine
        solved = np.isfinite(loss)
        worst = np.fmax(drop, rise)
        rows.append(
            {
                "controller": label, "in_band_pct": 100 * float((out == 0).mean()),
                "worst_pu": float(np.nanmax(worst)) if np.isfinite(worst).any() else np.nan,
                "loss_mw": float(loss[solved].mean()) if solved.any() else np.nan, "unsolved": int((~solved).sum()),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    loss_of = dict(zip(table["controller"], table["loss_mw"], strict=True))
    for column, base in (("kept_of_droop_pct", droop), ("kept_of_none_pct", none)):
        benefit = loss_of[base] - loss_of[teacher]
        table[column] = 100 * (loss_of[base] - table["loss_mw"]) / benefit if benefit > _NOTHING else np.nan
    return table


@dataclass(frozen=True, eq=False)
class _Run:
    """A controller and a day, here or in another process."""

    case: Scenario
    controller: Controller
    options: RunOptions

    def __call__(self) -> FloatArray:
        """Return (4, steps): the series of `_SCORES`."""
        run = simulate(self.case, self.controller, self.options).data
        return np.stack([run[name].to_numpy().astype(float) for name in _SCORES])
