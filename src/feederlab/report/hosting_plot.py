"""The picture of a hosting study: capacities, and what voltages and loadings do as the PV grows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.report.style import ALARM, COLOURS, INK, MUTED, new_figure, save_figure

if TYPE_CHECKING:
    from feederlab.hosting import Capacity, Hosting


def plot_hosting(study: Hosting, path: str | Path) -> Path:
    """Draw each controller's capacity with the element that binds it, above its highest voltage and loading over PV.

    Factors that break a limit are drawn hollow; optimal power flow looks no further than the first step that breaks.
    """
    rows = [row for row in study.rows if not row.note]
    loaded = any(point.loading_percent is not None for row in rows for point in row.points)
    with new_figure(8.2, 1.3 + 0.42 * len(rows) + (5.2 if loaded else 2.9)) as figure:
        heights = [0.5 + 0.42 * len(rows), 2.5] + ([2.3] if loaded else [])
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        bars = figure.add_subplot(grid[0])
        _bars(bars, rows)
        asked, shared = study.record, {"sharex": bars}
        volts = figure.add_subplot(grid[1], **shared)
        _over_pv(volts, study, rows, "vm_max_pu")
        _limit(volts, asked["band"][1])
        volts.set_ylabel("highest voltage (p.u.)")
        if loaded:
            load = figure.add_subplot(grid[2], **shared)
            _over_pv(load, study, rows, "loading_percent")
            _limit(load, asked["max_loading_percent"])
            load.set_ylabel("highest loading (%)")
        figure.axes[-1].set_xlabel("installed PV (MW)")
        figure.suptitle(
            f"{asked['scenario']}: PV that fits, {asked['periods']} steps of {asked['step_s'] / 60:g} min from "
            f"{asked['start'][:16]}",
            x=0.01, ha="left", fontweight="bold", fontsize=11,
        )  # fmt: skip
        return save_figure(figure, path)


def _bars(ax: Any, rows: list[Capacity]) -> None:
    most = max((row.mw for row in rows), default=0.0) or 1.0
    for k, row in enumerate(rows):
        ax.barh(k, row.mw, color=COLOURS[k % len(COLOURS)], height=0.62)
        sign = "at least " if row.at_least else ""
        what = f": {row.binding}" if row.binding else ""
        text = f"{sign}{row.mw:.4g} MW{what}"
        inside = row.mw > 0.55 * most
        ax.annotate(
            text, (row.mw, k), xytext=(-5 if inside else 5, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=7.5, color="white" if inside else INK,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), [row.controller for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * most)


def _over_pv(ax: Any, study: Hosting, rows: list[Capacity], name: str) -> None:
    mw = study.record["installed_mw"]
    for k, row in enumerate(rows):
        colour = COLOURS[k % len(COLOURS)]
        points = [(p.factor * mw, getattr(p, name), p.kept) for p in row.points if getattr(p, name) is not None]
        if not points:
            continue
        x, y, kept = zip(*points, strict=True)
        ax.plot(x, y, color=colour, linewidth=1.2, marker="o", markersize=4, markerfacecolor="white")
        inside = [(a, b) for a, b, c in zip(x, y, kept, strict=True) if c]
        if inside:
            ax.plot(*zip(*inside, strict=True), color=colour, linestyle="", marker="o", markersize=4)
        ax.axvline(row.mw, color=colour, linewidth=0.8, linestyle=(0, (1, 2)))


def _limit(ax: Any, value: float) -> None:
    """Draw a limit, and end the axis not far above it: what lies beyond is broken, however far."""
    low, high = ax.get_ylim()
    top = value + 0.6 * (value - low)
    ax.set_ylim(low, min(high, top) if high > value else top)
    if value > low:
        ax.axhline(value, color=ALARM, linestyle=(0, (4, 3)), linewidth=0.9)
        ax.annotate(
            "limit", (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
            ha="right", fontsize=7.5, color=MUTED,
        )  # fmt: skip
