"""Picture of a training: reward, and the scores on the held-out days, over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feederlab.report.style import ALARM, COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {
    "reward": "Mean reward of a step since the evaluation before",
    "holdout_reward": "Mean reward of a step on the held-out days",
    "holdout_cost": "Mean cost of an interval of the held-out days (p.u.²)",
    "holdout_in_band": "Share of steps of the held-out days with every bus in band",
    "holdout_losses_mw": "Mean losses on the held-out days (MW)",
}


def plot_training(curve: pd.DataFrame, path: str | Path) -> Path:
    """Draw the evaluation curve of `feederlab.learn.Training`, a panel per score; what was kept is marked."""
    names = [name for name in curve.columns if name == "reward" or name.startswith("holdout_")]
    series = {name: curve[name].to_numpy(dtype=float) for name in names}
    series = {name: values for name, values in series.items() if name == "reward" or np.isfinite(values).any()}
    step, kept = curve["step"].to_numpy(), np.flatnonzero(curve["best"].to_numpy(dtype=bool))
    with new_figure(7.6, 0.8 + 1.9 * len(series)) as figure:
        axes = figure.subplots(len(series), 1, squeeze=False, sharex=True)[:, 0]
        for k, (axis, (name, values)) in enumerate(zip(axes, series.items(), strict=True)):
            axis.plot(step, values, color=COLOURS[k % len(COLOURS)], marker="o", markersize=3)
            if name != "reward":
                axis.plot(step[kept[-1]], values[kept[-1]], color=ALARM, marker="o", linestyle="none", label="kept")
            axis.set_title(_TITLES.get(name, f"Mean {name.removeprefix('holdout_')} on the held-out days"))
        if len(axes) > 1:
            axes[1].legend()
        axes[-1].set_xlabel("steps")
        return save_figure(figure, path)
