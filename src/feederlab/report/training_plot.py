"""Picture of a training: reward, and cost on the held-out days, over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feederlab.report.style import ALARM, COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    import pandas as pd


def plot_training(curve: pd.DataFrame, path: str | Path) -> Path:
    """Draw the evaluation curve of `feederlab.learn.Training`; the network that was kept is marked."""
    step, cost = curve["step"].to_numpy(), curve["holdout_cost"].to_numpy(dtype=float)
    judged = bool(np.isfinite(cost).any())
    with new_figure(7.6, 4.6 if judged else 2.8) as figure:
        axes = figure.subplots(2 if judged else 1, 1, squeeze=False, sharex=True)[:, 0]
        axes[0].plot(step, curve["reward"], color=COLOURS[0], marker="o", markersize=3)
        axes[0].set_title("Mean reward of an interval since the evaluation before")
        if judged:
            best = int(np.nanargmin(cost))
            axes[1].plot(step, cost, color=COLOURS[1], marker="o", markersize=3)
            axes[1].plot(step[best], cost[best], color=ALARM, marker="o", linestyle="none", label="kept")
            axes[1].set_title("Mean cost of an interval of the held-out days (p.u.²)")
            axes[1].legend()
        axes[-1].set_xlabel("steps (intervals)")
        return save_figure(figure, path)
