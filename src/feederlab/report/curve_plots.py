"""Pictures of a comparison over time and steps: heat map, duration curves, regret, decision times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.comparison import Comparison
from feederlab.models.arrays import FloatArray
from feederlab.models.topology import Topology
from feederlab.record import Cell
from feederlab.report.layout import along_the_feeder
from feederlab.report.series import (
    QUANTILES,
    band_of,
    duration_curve,
    floats,
    highest_loading,
    regrets,
    step_edges,
    steps_to_show,
    voltage_scale,
)
from feederlab.report.style import COLOURS, DASHES, INK, clock, new_figure, save_figure

REGRET_FLOOR = 1e-6
"""Where a sum of regrets (objective units x hours) is drawn that is lower: a solver's accuracy over many steps."""
TIME_FLOOR_MS = 1e-3
"""Where a decision time is drawn that is shorter: a clock shows no more (the share of a batch does)."""
_HEAT_STEPS = 2000  # steps of a heat map: more than its pixels


def plot_heat_map(comparison: Comparison, cells: Sequence[Cell], path: str | Path) -> Path | None:
    """Draw every bus (in the order of a walk along the feeder) at every step, one panel per controller.

    Returns
    -------
    Path or None
        None where the runs kept no voltages of single buses.
    """
    first = comparison.runs[cells[0]].data
    grid = Topology.from_data(first)
    if grid is None:
        return None
    rows = grid.node_row[along_the_feeder(grid)]
    rows = rows[rows >= 0]
    steps = steps_to_show([comparison.runs[cell].data for cell in cells], _HEAT_STEPS)
    vm = {cell: floats(comparison.runs[cell].data["vm_pu"])[steps][:, rows] for cell in cells}
    low, high = voltage_scale(band_of(first), np.concatenate([v.ravel() for v in vm.values()]))
    columns = min(len(cells), 3)
    panels = math.ceil(len(cells) / columns)
    edges = step_edges(comparison.runs[cells[0]])
    time = edges[np.append(steps, len(edges) - 1)]
    with new_figure(3.9 * columns + 1.2, 2.7 * panels + 0.4) as figure:
        axes = figure.subplots(panels, columns, squeeze=False, sharex=True, sharey=True)
        for ax in axes.flat[len(cells) :]:
            ax.set_axis_off()
        for cell, ax in zip(cells, axes.flat, strict=False):
            mesh = ax.pcolormesh(
                time, np.arange(len(rows) + 1), vm[cell].T, cmap="RdYlBu_r", vmin=low, vmax=high, rasterized=True,
            )  # fmt: skip
            ax.grid(False)
            ax.set_title(cell.controller)
            ax.set_yticks([])
            clock(ax, time)
        for ax in axes[:, 0]:
            ax.set_ylabel("buses along the feeder")
        axes[0, 0].invert_yaxis()
        bar = figure.colorbar(mesh, ax=list(axes.flat), aspect=30, pad=0.01)
        bar.set_label("voltage (p.u.)")
        bar.outline.set_visible(False)
        for limit in band_of(first):
            if np.isfinite(limit):
                bar.ax.axhline(limit, color=INK, linewidth=1.2)
        return save_figure(figure, path)


def plot_durations(comparison: Comparison, cells: Sequence[Cell], path: str | Path) -> Path:
    """Draw for what share of the steps the extreme voltages, losses and loading are exceeded."""
    of: dict[str, Callable[[Any], FloatArray]] = {
        "highest bus voltage (p.u.)": lambda data: floats(data["vm_max_pu"]),
        "lowest bus voltage (p.u.)": lambda data: floats(data["vm_min_pu"]),
        "losses (MW)": lambda data: floats(data["losses_mw"]),
        "highest loading (%)": highest_loading,
    }
    curves = {
        title: {k: duration_curve(values(comparison.runs[cell].data)) for k, cell in enumerate(cells)}
        for title, values in of.items()
    }
    curves = {title: by for title, by in curves.items() if any(len(curve) for curve in by.values())}
    share = np.linspace(0, 100, QUANTILES)
    with new_figure(7.6, 2.6 * math.ceil(len(curves) / 2) + 0.6) as figure:
        axes = figure.subplots(math.ceil(len(curves) / 2), 2, squeeze=False)
        for ax in axes.flat[len(curves) :]:
            ax.set_axis_off()
        for (title, by), ax in zip(curves.items(), axes.flat, strict=False):
            for k, curve in by.items():
                if len(curve):
                    ax.plot(share, curve, label=cells[k].controller, **_line(k))
            ax.set_title(title)
            ax.set_xlim(0, 100)
            for limit in band_of(comparison.runs[cells[0]].data) if "p.u." in title else ():
                if np.isfinite(limit):
                    ax.axhline(limit, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
        for ax in axes.flat[max(len(curves) - 2, 0) : len(curves)]:
            ax.set_xlabel("share of the steps (%)")
        _legend(figure, axes[0, 0])
        return save_figure(figure, path)


def plot_regret(comparison: Comparison, cells: Sequence[Cell], path: str | Path, unit: str) -> Path | None:
    """Draw the sum of cost (voltage penalty included) above the certified bound, `unit` being objective x hours.

    Returns
    -------
    Path or None
        None where no run has a certificate.
    """
    summed = {k: regrets(comparison.runs[cell]) for k, cell in enumerate(cells)}
    if all(one is None for one in summed.values()):
        return None
    time = step_edges(comparison.runs[cells[0]])
    with new_figure(7.6, 3.6) as figure:
        ax = figure.add_subplot()
        for k, one in summed.items():
            if one is not None:
                ax.plot(time, np.maximum(np.append(0.0, one[0]), REGRET_FLOOR), label=cells[k].controller, **_line(k))
        ax.set_yscale("log")
        ax.set_ylabel(f"regret so far ({unit})")
        ax.set_title("Cost above the certified bound")
        clock(ax, time)
        _legend(figure, ax)
        return save_figure(figure, path)


def plot_decision_times(comparison: Comparison, cells: Sequence[Cell], path: str | Path) -> Path:
    """Draw the share of steps whose decision took at most so long."""
    with new_figure(7.6, 3.4) as figure:
        ax = figure.add_subplot()
        for k, cell in enumerate(cells):
            ms = np.sort(1e3 * floats(comparison.runs[cell].timing["decision_s"]))
            share = np.linspace(0, 100, len(ms) + 1)
            ax.plot(np.maximum(np.append(ms[0], ms), TIME_FLOOR_MS), share, label=cell.controller, **_line(k))
        ax.set_xscale("log")
        ax.set_xlabel("time for a decision (ms)")
        ax.set_ylabel("share of the steps (%)")
        ax.set_ylim(0, 102)
        _legend(figure, ax)
        return save_figure(figure, path)


def _line(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)], "linewidth": 1.5}


def _legend(figure: Any, ax: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=8.5, handlelength=2.4)
