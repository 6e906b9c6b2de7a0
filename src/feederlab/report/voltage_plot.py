"""The picture of a comparison: all bus voltages over time, one panel per controller, and everybody's losses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.report.series import SPREAD, band_of, floats, held, step_edges
from feederlab.report.style import ALARM, COLOURS, DASHES, INK, MUTED, clock, new_figure, save_figure

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.record import Cell


def plot_voltages(comparison: Comparison, path: str | Path) -> Path:
    """Draw the envelope of all bus voltages over time, one panel per controller, above everybody's losses.

    With several scenarios, windows or seeds the first of each is drawn.
    """
    first = next(iter(comparison.runs))
    cells = [cell for cell in comparison.runs if cell[1:] == first[1:]]
    columns = min(len(cells), 3)
    panels = math.ceil(len(cells) / columns)
    with new_figure(3.9 * max(columns, 2) + 0.4, 2.6 * panels + 2.9) as figure:
        grid = figure.add_gridspec(panels + 1, columns, height_ratios=[1.0] * panels + [0.95])
        axes: list[Any] = []
        for k, cell in enumerate(cells):
            shared = {"sharex": axes[0], "sharey": axes[0]} if axes else {}
            ax = figure.add_subplot(grid[k // columns, k % columns], **shared)
            ax.tick_params(labelleft=k % columns == 0)
            axes.append(ax)
            _envelope(ax, comparison, cell, COLOURS[k % len(COLOURS)])
            if k % columns == 0:
                ax.set_ylabel("bus voltage (p.u.)")
        below = figure.add_subplot(grid[panels, :], sharex=axes[0])
        _losses(below, comparison, cells)
        _legend(figure, axes[0])
        about = comparison.runs[first].provenance
        steps = f"{about['periods']} steps" if about["periods"] > 1 else "1 step"
        figure.suptitle(
            f"{first.scenario}: {steps} of {about['step_s'] / 60:g} min from {first.window}",
            x=0.01, ha="left", fontweight="bold", fontsize=11,
        )  # fmt: skip
        return save_figure(figure, path)


def _envelope(ax: Any, comparison: Comparison, cell: Cell, colour: str) -> None:
    data = comparison.runs[cell].data
    time, low, high = (
        step_edges(comparison.runs[cell]),
        held(floats(data["vm_min_pu"])),
        held(floats(data["vm_max_pu"])),
    )
    ax.fill_between(time, low, high, color=colour, alpha=0.22, linewidth=0)
    if "vm_pu" in data:
        vm = data["vm_pu"].to_numpy()
        vm = vm[:, np.isfinite(vm).any(axis=0)]
        inner = [held(values) for values in np.percentile(vm, [SPREAD[0], 50, SPREAD[1]], axis=1)]
        ax.fill_between(time, inner[0], inner[2], color=colour, alpha=0.45, linewidth=0)
        ax.plot(time, inner[1], color=colour, linewidth=1.3)
    lower, upper = band_of(data)
    if np.isfinite(upper):
        ax.fill_between(time, upper, high, where=high > upper, color=ALARM, linewidth=0, interpolate=True)
        ax.axhline(upper, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
    if np.isfinite(lower):
        ax.fill_between(time, low, lower, where=low < lower, color=ALARM, linewidth=0, interpolate=True)
        ax.axhline(lower, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
    scores = comparison.metrics.sel(cell._asdict())
    ax.set_title(cell.controller, pad=17)
    ax.annotate(
        f"{float(scores['cr_pct']):.1f} % of steps in band", (0, 1), xytext=(0, 5), xycoords="axes fraction",
        textcoords="offset points", color=MUTED, fontsize=8.5,
    )  # fmt: skip
    clock(ax, time)


def _losses(ax: Any, comparison: Comparison, cells: list[Cell]) -> None:
    for k, cell in enumerate(cells):
        data: Any = comparison.runs[cell].data
        mean = float(comparison.metrics.sel(cell._asdict())["loss_mw"])
        ax.plot(
            step_edges(comparison.runs[cell]), held(floats(data["losses_mw"])), color=COLOURS[k % len(COLOURS)],
            linewidth=1.4, linestyle=DASHES[k % len(DASHES)],
            label=f"{cell.controller}: mean {mean:.4f} MW",
        )  # fmt: skip
    ax.set_ylabel("losses (MW)")
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8.5, borderaxespad=0.2)
    clock(ax, step_edges(comparison.runs[cells[0]]))


def _legend(figure: Any, ax: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=MUTED, alpha=0.3, linewidth=0, label="all buses"),
        Patch(color=MUTED, alpha=0.65, linewidth=0, label=f"{SPREAD[0]} to {SPREAD[1]} % of the buses"),
        Line2D([], [], color=MUTED, linewidth=1.5, label="median bus"),
        Line2D([], [], color=INK, linestyle=(0, (4, 3)), linewidth=0.9, label="voltage band"),
        Patch(color=ALARM, linewidth=0, label="out of band"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8, handlelength=1.6)
