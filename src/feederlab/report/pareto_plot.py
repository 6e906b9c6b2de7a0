"""The picture of a sweep: violations against losses, the front, and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.report.style import ALARM, COLOURS, INK, MUTED, new_figure, save_figure
from feederlab.sweep.result import COST, VIOLATIONS

if TYPE_CHECKING:
    from feederlab.sweep import Sweep

_MARKS = ("s", "D", "^", "v", "P", "X", "<", ">")


def plot_pareto(made: Sweep, path: str | Path) -> Path:
    """Draw every setting with its violations and losses, the front that none beats, the best, and the baselines."""
    column, (_, about, unit) = made.column, VIOLATIONS[made.violations]
    asked = made.record
    with new_figure(8.2, 5.0) as figure:
        ax = figure.add_subplot()
        sound = made.sound()
        other = made.settings.drop(index=sound.index)
        _points(ax, sound, column, color=COLOURS[0], alpha=0.35, marker="o", s=22, linewidth=0, label="settings")
        if len(other):
            _points(ax, other, column, color=MUTED, alpha=0.6, marker="x", s=18, linewidth=0.8, label="did not settle")
        front = made.pareto()
        ax.plot(
            front[column], front[COST], color=COLOURS[0], linewidth=1.3, marker="o", markersize=5,
            drawstyle="steps-post", label="no setting is better in both",
        )  # fmt: skip
        best = made.best()
        ax.scatter(
            [best[column]], [best[COST]], marker="*", s=190, color=ALARM, zorder=5, label=_best_label(made, best)
        )
        for k, (_, row) in enumerate(made.baselines.iterrows()):
            if np.isfinite(row[column]) and np.isfinite(row[COST]):
                ax.scatter(
                    [row[column]], [row[COST]], marker=_MARKS[k % len(_MARKS)], s=42, zorder=4,
                    facecolor="white", edgecolor=INK if row["controller"] == "opf" else COLOURS[1 + k % 5],
                    linewidth=1.4, label=str(row["controller"]),
                )  # fmt: skip
        ax.set_xlabel(f"{about} ({unit})")
        curtails = bool((made.table["curtailed_mwh"] > 1e-9).any())
        ax.set_ylabel("mean losses and curtailed power (MW)" if curtails else "mean losses (MW)")
        ax.set_xlim(left=-0.03 * (ax.get_xlim()[1] or 1.0))
        figure.suptitle(
            f"{asked['scenario']}: {asked['controller']}, {len(made.settings)} settings, {asked['periods']} steps of "
            f"{asked['step_s'] / 60:g} min from {asked['start'][:16]}",
            x=0.01, ha="left", fontweight="bold", fontsize=11,
        )  # fmt: skip
        figure.legend(loc="outside right center", fontsize=7.5)
        return save_figure(figure, path)


def _points(ax: Any, rows: Any, column: str, **style: Any) -> None:
    known = rows[np.isfinite(rows[column]) & np.isfinite(rows[COST])]
    ax.scatter(known[column], known[COST], **style)


def _best_label(made: Sweep, best: Any) -> str:
    return "best:\n" + "\n".join(f"{key} = {best[key]}" for key in made.keys)
