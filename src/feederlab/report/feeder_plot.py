"""Pictures of a feeder: its lines and devices, and its buses coloured by a voltage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.comparison import Comparison
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.powerflow.net import at_table_values
from feederlab.models.scenario import Scenario
from feederlab.models.topology import Topology
from feederlab.record import Cell
from feederlab.report.layout import device_nodes, routes, where
from feederlab.report.series import band_of, voltage_scale, worst_voltages
from feederlab.report.style import ALARM, INK, MUTED, new_figure, save_figure

_LABELLED = 60  # nodes up to which every bus carries its number
DEVICES = {
    "inverter": ("o", "#E69F00", 3.4),
    "storage": ("s", "#009E73", 5.5),
    "capacitor bank": ("D", "#CC79A7", 5.0),
    "tap changer": ("^", "#0072B2", 7.0),
}
"""How devices are ringed: marker, colour, size in dots."""


def plot_feeder(scenario: Scenario, path: str | Path) -> Path:
    """Draw a scenario's feeder, its nodes coloured by the voltage at table values."""
    grid = Topology.of(scenario.feeder)
    places, on_map = where(grid)
    vm = at_table_values(scenario.feeder).vm
    known = vm[np.isfinite(vm)]
    away = max(float(np.abs(known - 1).max()), 0.02) if len(known) else 0.05
    with new_figure(*_size(places, on_map)) as figure:
        ax = figure.add_subplot()
        dots = _draw(ax, grid, places, on_map, vm, (1 - away, 1 + away))
        _numbers(ax, grid, places)
        _colour_bar(figure, dots, ax, "voltage at table values (p.u.)")
        ax.set_title(f"{scenario.name}: {int((grid.bus_node >= 0).sum())} buses, {len(grid.from_node)} branches")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=6, fontsize=8.5, handletextpad=0.4)
        return save_figure(figure, path)


def plot_worst_voltages(comparison: Comparison, cells: Sequence[Cell], path: str | Path) -> Path | None:
    """Draw the feeder once per controller, each bus coloured by its worst voltage of the window.

    Returns
    -------
    Path or None
        None where the runs kept no voltages of single buses (``record="metrics"``).
    """
    grid = Topology.from_data(comparison.runs[cells[0]].data)
    if grid is None:
        return None
    places, on_map = where(grid)
    columns = min(len(cells), 2)
    rows = math.ceil(len(cells) / columns)
    width, height = _size(places, on_map)
    worst = {cell: _to_nodes(grid, worst_voltages(comparison.runs[cell].data)) for cell in cells}
    band = band_of(comparison.runs[cells[0]].data)
    scale = voltage_scale(band, np.concatenate(list(worst.values())))
    with new_figure(0.5 * width * columns + 0.8, 0.5 * height * rows + 0.7) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[len(cells) :]:
            ax.set_axis_off()
        for cell, ax in zip(cells, axes.flat, strict=False):
            dots = _draw(ax, grid, places, on_map, worst[cell], scale, shrink=0.5)
            out = (worst[cell] < band[0] - 1e-6) | (worst[cell] > band[1] + 1e-6)
            ax.scatter(places[out, 0], places[out, 1], s=2.6 * _dot(grid) * 0.5, facecolors="none", edgecolors=ALARM,
                       linewidths=1.5, zorder=3.5, label="out of band at some step")  # fmt: skip
            ax.set_title(cell.controller)
        bar = _colour_bar(figure, dots, list(axes.flat), "worst voltage of the window (p.u.)")
        for limit in band:
            if np.isfinite(limit):
                bar.ax.axhline(limit, color=INK, linewidth=1.2)
        handles: dict[str, Any] = {}
        for ax in axes.flat:
            handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=4, fontsize=8)
        return save_figure(figure, path)


def _to_nodes(grid: Topology, per_bus: FloatArray) -> FloatArray:
    row = grid.node_row
    return np.where(row >= 0, per_bus[row], np.nan)


def _size(places: FloatArray, on_map: bool) -> tuple[float, float]:
    span = np.ptp(places, axis=0)
    if on_map:
        return 11.0, float(np.clip(11.0 * span[1] / max(span[0], 1e-9), 4.0, 9.0))
    return float(np.clip(0.45 * span[0] + 2, 8, 18)), float(np.clip(0.42 * span[1] + 1.8, 3.6, 14))


def _draw(
    ax: Any, grid: Topology, places: FloatArray, on_map: bool, vm: FloatArray, scale: tuple[float, float],
    shrink: float = 1.0,
) -> Any:  # fmt: skip
    """Draw lines, nodes in the colours of `vm`, and devices; return the coloured dots."""
    ax.set_axis_off()
    if on_map:
        ax.set_aspect("equal", adjustable="datalim")
    _lines(ax, grid, places, elbows=not on_map)
    size = _dot(grid) * shrink
    dots = ax.scatter(
        places[:, 0], places[:, 1], c=vm, cmap="RdYlBu_r", vmin=scale[0], vmax=scale[1],
        s=size, edgecolors=INK, linewidths=0.6 * shrink, zorder=3, plotnonfinite=True,
    )  # fmt: skip
    ax.scatter(
        *places[grid.slack], marker="s", s=4.2 * size, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=4,
        label="external grid",
    )  # fmt: skip
    _devices(ax, grid, places, size)
    ax.margins(0.04, 0.08)
    return dots


def _lines(ax: Any, grid: Topology, places: FloatArray, *, elbows: bool) -> None:
    from matplotlib.collections import LineCollection

    drawn = routes(grid, places, elbows=elbows)
    for lines, colour, style, width in ((True, MUTED, "-", 1.3), (False, INK, (0, (2, 1)), 2.0)):
        segments = [route for route, is_line in zip(drawn, grid.is_line, strict=True) if bool(is_line) == lines]
        if segments:
            label = None if lines else "transformer or impedance"
            ax.add_collection(
                LineCollection(segments, colors=colour, linewidths=width, linestyles=[style], zorder=1, label=label)
            )


def _dot(grid: Topology) -> float:
    return float(np.clip(4000 / grid.n_nodes, 12, 60))


def _colour_bar(figure: Any, dots: Any, ax: Any, label: str) -> Any:
    bar = figure.colorbar(dots, ax=ax, shrink=0.7, aspect=30, pad=0.01)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def _devices(ax: Any, grid: Topology, places: FloatArray, size: float) -> None:
    """Ring the nodes that carry a device; rings of different devices differ in shape, size and colour."""
    for kind, nodes in device_nodes(grid).items():
        marker, colour, scale = DEVICES[kind]
        at: BoolArray = np.isin(np.arange(grid.n_nodes), nodes)
        ax.scatter(
            places[at, 0], places[at, 1], marker=marker, s=scale * size, facecolors="none",
            edgecolors=colour, linewidths=1.9, zorder=2.5, label=kind,
        )  # fmt: skip


def _numbers(ax: Any, grid: Topology, places: FloatArray) -> None:
    if grid.n_nodes > _LABELLED:
        return
    for node, bus in enumerate(grid.node_bus):
        if bus >= 0:
            ax.annotate(
                str(bus), places[node], xytext=(0, 10), textcoords="offset points", ha="center", fontsize=7,
                color=MUTED, zorder=5,
            )  # fmt: skip
