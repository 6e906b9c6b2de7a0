"""Picture of the voltage barriers: what one node costs, over its voltage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from feederlab.learn.rewards import BARRIERS, TERMS, Outcome
from feederlab.metrics import V_REF
from feederlab.models.arrays import FloatArray
from feederlab.report.style import COLOURS, DASHES, INK, new_figure, save_figure

_EDGE = 0.05  # p.u., where the bowl changes its form
_NEAR = 5e-4  # p.u., half the width of the look at that edge


def barrier(name: str, vm: FloatArray, band: tuple[float, float] = (0.95, 1.05)) -> FloatArray:
    """Return, (n,), what a node at each voltage magnitude of `vm`, (n,), costs by itself; all in p.u."""
    return TERMS[name].of(Outcome(vm=np.asarray(vm, dtype=float)[:, None], band=np.array(band)[:, None]))


def plot_barriers(path: str | Path, band: tuple[float, float] = (0.95, 1.05)) -> Path:
    """Draw each barrier over the voltage of one node, each on its own scale, with the band (p.u.) marked.

    Raises
    ------
    InputError
        If the ending of `path` is no kind of picture, or its folder does not exist.
    """
    vm = np.linspace(0.9, 1.1, 2001)
    with new_figure(7.6, 5.2) as figure:
        axes = figure.subplots(2, 2, sharex=True)
        for ax, name in zip(axes.flat, BARRIERS, strict=True):
            unit = TERMS[name].unit
            ax.set_title(name if unit == "1" else f"{name} ({unit})")
            for limit in band:
                ax.axvline(limit, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
            if name == "bowl":
                _draw_bowl(ax, vm, band)
            else:
                ax.plot(vm, barrier(name, vm, band), color=COLOURS[0], linewidth=1.6, label=name)
            if name == "l2":
                twice = 2 * barrier(name, vm, band)
                ax.plot(vm, twice, color=COLOURS[3], linewidth=1.6, linestyle=DASHES[1], label="2*l2 (P1's code)")
                ax.legend(loc="upper center", fontsize=8, handlelength=1.6)
            ax.set_ylim(bottom=0)
        for ax in axes[-1]:
            ax.set_xlabel("voltage of the node (p.u.)")
        return save_figure(figure, path)


def _draw_bowl(ax: Any, vm: FloatArray, band: tuple[float, float]) -> None:
    """Draw the bowl without joining its parts, and a look at the jump between them."""
    look = ax.inset_axes((0.43, 0.5, 0.26, 0.4))
    near = V_REF + _EDGE + np.linspace(-_NEAR, _NEAR, 201)
    for panel, over in ((ax, vm), (look, near)):
        inside = np.abs(over - V_REF) <= _EDGE
        for part in (over < V_REF - _EDGE, inside, over > V_REF + _EDGE):
            panel.plot(over[part], barrier("bowl", over[part], band), color=COLOURS[0], linewidth=1.6)
    look.set_title("at 1.05", fontsize=8, fontweight="normal")
    look.set_xticks([])
    look.set_yticks(np.round(barrier("bowl", V_REF + np.array([_EDGE - 1e-9, _EDGE + 1e-9]), band), 4))
    look.tick_params(labelsize=7)
