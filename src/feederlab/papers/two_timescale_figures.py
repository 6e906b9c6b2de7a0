"""What the paper draws in its Figures 5 to 10: costs over time, the banks' steps, voltages, on one test day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.papers.two_timescale_costs import DayCosts, FastLayer
from feederlab.report.style import COLOURS, DASHES, clock, new_figure, save_figure

KINDS = (".png", ".svg")


@dataclass(frozen=True, eq=False)
class Shown:
    """A test day, and what slow layers made of it.

    actions : slow layer -> (intervals,) configurations.  running : slow layer -> (days, intervals) costs of all days.
    relaxed : what `two_timescale_work.Relaxed` returned.
    """

    layer: FastLayer
    day: DayCosts
    actions: Mapping[str, IntArray]
    running: Mapping[str, FloatArray]
    relaxed: Mapping[str, Mapping[str, FloatArray]]

    @property
    def begins(self) -> pd.DatetimeIndex:
        """(intervals,) when each begins."""
        return self.day.times[:: self.day.slots]

    def voltages(self, name: str) -> FloatArray:
        """Return the (T, nodes) voltage magnitudes under a slow layer (p.u.)."""
        every = np.repeat(self.actions[name], self.day.slots)
        vm = np.empty(self.day.load_mva.shape)
        for k in np.unique(every):
            vm[every == k] = np.abs(self.layer.voltages(self.day.load_mva[every == k], int(k)))
        return vm


def draw(shown: Shown, folder: Path) -> list[Path]:
    """Write every figure as PNG and SVG; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "figure_5_cost_per_interval": _cost, "figure_6_running_cost": _running, "figure_7_actions": _actions,
        "figure_8_voltages_along_the_feeder": _profile, "figure_9_voltages_over_the_day": _band,
        "figure_10_fast_layers": _fast,
    }  # fmt: skip
    made = []
    for name, plot in plots.items():
        for kind in KINDS:
            with new_figure(8.0, 4.2) as figure:
                plot(figure, shown)
                made.append(save_figure(figure, folder / f"{name}{kind}"))
    return made


def _style(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)], "linewidth": 1.2}


def _title(ax: Any, text: str, shown: Shown) -> None:
    ax.set_title(f"{text}, {shown.day.times[0]:%d %B %Y}")


def _cost(figure: Any, shown: Shown) -> None:
    ax = figure.subplots()
    for k, (name, actions) in enumerate(shown.actions.items()):
        ax.plot(shown.begins, shown.day.of(actions), label=name, **_style(k))
    ax.set_yscale("log")
    ax.set_ylabel("sum of (v - 1)² in the interval")
    clock(ax, shown.begins)
    ax.legend(ncols=2)
    _title(ax, "Cost per interval of five minutes", shown)


def _running(figure: Any, shown: Shown) -> None:
    ax = figure.subplots()
    for k, (name, costs) in enumerate(shown.running.items()):
        along = np.ravel(costs)
        ax.plot(np.arange(1, len(along) + 1) / costs.shape[1], np.cumsum(along) / np.arange(1, len(along) + 1),
                label=name, **_style(k))  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("test days lived")
    ax.set_ylabel("mean cost of an interval so far")
    ax.legend(ncols=2)
    ax.set_title("Time-averaged cost over the test days")


def _actions(figure: Any, shown: Shown) -> None:
    banks = shown.layer.feeder.capacitors
    axes = figure.subplots(len(banks), 1, sharex=True, squeeze=False)[:, 0]
    buses = shown.layer.feeder.node_bus[banks.node]
    for b, ax in enumerate(axes):
        for k, name in enumerate(_learned(shown)):
            steps = shown.layer.actions[shown.actions[name], b] + 0.06 * k
            ax.step(shown.begins, steps, where="post", label=name, **_style(k))
        ax.set_yticks([0, 1], ["open", "closed"])
        ax.set_ylabel(f"bus {buses[b]}")
        clock(ax, shown.begins)
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=3, loc="outside lower center")
    _title(axes[0], "Capacitor banks", shown)


def _learned(shown: Shown) -> list[str]:
    return [name for name in shown.actions if name.startswith(("dqn", "enumerate"))]


def _profile(figure: Any, shown: Shown) -> None:
    """Voltages of all nodes when the sun is strongest and when the load is."""
    net = shown.day.load_mva.real.sum(axis=1)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, t in zip(axes, (int(net.argmin()), int(net.argmax())), strict=True):
        for k, name in enumerate(shown.actions):
            if not name.startswith("random"):
                ax.plot(shown.voltages(name)[t], label=name, marker=".", markersize=3, **_style(k))
        ax.set_title(f"{shown.day.times[t]:%H:%M}, net load {net[t]:.1f} MW")
        ax.set_xlabel("node")
    axes[0].set_ylabel("voltage (p.u.)")
    axes[0].legend(fontsize=7)


def _band(figure: Any, shown: Shown) -> None:
    ax = figure.subplots()
    for k, name in enumerate(n for n in shown.actions if not n.startswith("random")):
        vm = shown.voltages(name)
        ax.fill_between(
            shown.day.times, vm.min(axis=1), vm.max(axis=1), color=COLOURS[k % len(COLOURS)], alpha=0.2, linewidth=0
        )
        ax.plot(shown.day.times, vm.min(axis=1), label=name, **{**_style(k), "linewidth": 0.8})
    ax.set_ylabel("lowest to highest voltage (p.u.)")
    clock(ax, shown.day.times)
    ax.legend(ncols=2)
    _title(ax, "Voltages of all nodes", shown)


def _fast(figure: Any, shown: Shown) -> None:
    axes = figure.subplots(1, len(shown.relaxed), sharey=True, squeeze=False)[0]
    for ax, (name, found) in zip(axes, shown.relaxed.items(), strict=True):
        first = shown.day.slot[:: shown.day.slots]
        lines = {"QP (9)": np.take_along_axis(first, shown.actions[name][:, None], 1)[:, 0]}
        for k, (label, values) in enumerate((lines | {n: found[n] for n in ("SOCP (7)", "SOCP + loss")}).items()):
            ax.plot(shown.begins, values, label=label, **_style(k))
        ax.set_yscale("log")
        clock(ax, shown.begins)
        ax.set_title(name)
    axes[0].set_ylabel("sum of (v - 1)² in a slot")
    axes[0].legend()
