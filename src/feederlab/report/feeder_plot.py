"""The picture of a feeder: its lines, voltages at table values, and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.net import at_table_values
from feederlab.models.scenario import Scenario
from feederlab.report.layout import coordinates, tree_places
from feederlab.report.style import INK, MUTED, new_figure, save_figure

_LABELLED = 60  # nodes up to which every bus carries its number


def plot_feeder(scenario: Scenario, path: str | Path) -> Path:
    """Draw a scenario's feeder, its nodes coloured by the voltage at table values."""
    feeder = scenario.feeder
    places = coordinates(feeder)
    on_map = places is not None
    if places is None:
        places = tree_places(feeder)
    vm = at_table_values(feeder).vm
    span = np.ptp(places, axis=0)
    size = (11.0, float(np.clip(11.0 * span[1] / max(span[0], 1e-9), 4.0, 9.0))) if on_map else _tree_size(span)
    with new_figure(*size) as figure:
        ax = figure.add_subplot()
        ax.set_axis_off()
        if on_map:
            ax.set_aspect("equal", adjustable="datalim")
        _lines(ax, feeder, places, elbows=not on_map)
        dots = _nodes(ax, feeder, places, vm)
        _devices(ax, feeder, places)
        _numbers(ax, feeder, places)
        bar = figure.colorbar(dots, ax=ax, shrink=0.7, aspect=30, pad=0.01)
        bar.set_label("voltage at table values (p.u.)")
        bar.outline.set_visible(False)
        ax.set_title(f"{scenario.name}: {int((feeder.bus_node >= 0).sum())} buses, {len(feeder.branches)} branches")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=6, fontsize=8.5, handletextpad=0.4)
        ax.margins(0.04, 0.08)
        return save_figure(figure, path)


def _tree_size(span: FloatArray) -> tuple[float, float]:
    return float(np.clip(0.45 * span[0] + 2, 8, 18)), float(np.clip(0.42 * span[1] + 1.8, 3.6, 14))


def _lines(ax: Any, feeder: Feeder, places: FloatArray, *, elbows: bool) -> None:
    from matplotlib.collections import LineCollection

    for is_line, colour, style, width in ((True, MUTED, "-", 1.3), (False, INK, (0, (2, 1)), 2.0)):
        rows = [k for k, element in enumerate(feeder.branches.element) if (element == "line") == is_line]
        segments = []
        for k in rows:
            a, b = places[feeder.branches.from_node[k]], places[feeder.branches.to_node[k]]
            if elbows and a[1] != b[1]:
                near, far = (a, b) if a[0] <= b[0] else (b, a)
                segments.append(np.array([near, (near[0] + 0.35, far[1]), far]))
            else:
                segments.append(np.array([a, b]))
        if segments:
            label = None if is_line else "transformer or impedance"
            ax.add_collection(
                LineCollection(segments, colors=colour, linewidths=width, linestyles=[style], zorder=1, label=label)
            )


def _nodes(ax: Any, feeder: Feeder, places: FloatArray, vm: FloatArray) -> Any:
    known = vm[np.isfinite(vm)]
    away = max(float(np.abs(known - 1).max()), 0.02) if len(known) else 0.05
    dots = ax.scatter(
        places[:, 0], places[:, 1], c=vm, cmap="RdYlBu_r", vmin=1 - away, vmax=1 + away,
        s=_dot(feeder), edgecolors=INK, linewidths=0.6, zorder=3, plotnonfinite=True,
    )  # fmt: skip
    slack = places[feeder.slack]
    ax.scatter(*slack, marker="s", s=4.2 * _dot(feeder), facecolors="none", edgecolors=INK, linewidths=1.6, zorder=4,
               label="external grid")  # fmt: skip
    return dots


def _dot(feeder: Feeder) -> float:
    return float(np.clip(4000 / feeder.n_nodes, 12, 60))


def _devices(ax: Any, feeder: Feeder, places: FloatArray) -> None:
    """Ring the nodes that carry a device; rings of different devices differ in shape, size and colour."""
    changed = feeder.branches.to_node[feeder.tap_changers.branch]
    rings: list[tuple[str, IntArray, str, str, float]] = [
        ("inverter", feeder.inverters.node, "o", "#E69F00", 3.4),
        ("storage", feeder.storages.node, "s", "#009E73", 5.5),
        ("capacitor bank", feeder.capacitors.node, "D", "#CC79A7", 5.0),
        ("tap changer", changed, "^", "#0072B2", 7.0),
    ]
    for label, nodes, marker, colour, scale in rings:
        at: BoolArray = np.isin(np.arange(feeder.n_nodes), nodes[nodes >= 0])
        if at.any():
            ax.scatter(
                places[at, 0], places[at, 1], marker=marker, s=scale * _dot(feeder), facecolors="none",
                edgecolors=colour, linewidths=1.9, zorder=2.5, label=label,
            )  # fmt: skip


def _numbers(ax: Any, feeder: Feeder, places: FloatArray) -> None:
    if feeder.n_nodes > _LABELLED:
        return
    for node, bus in enumerate(feeder.node_bus):
        if bus >= 0:
            ax.annotate(
                str(bus), places[node], xytext=(0, 10), textcoords="offset points", ha="center", fontsize=7,
                color=MUTED, zorder=5,
            )  # fmt: skip
