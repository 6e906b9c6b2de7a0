"""How every picture looks: one figure style, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's palette; its vermilion is kept for what is out of band."""
INK, MUTED, GRID, ALARM = "#222222", "#6b6b6b", "#e4e4e4", "#D55E00"

DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
"""Lines differ in their dashes, too."""

_STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK, "legend.frameon": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "feederlab",
}  # fmt: skip


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of `width` x `height` inches that no window system is needed for."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a picture; the ending says which kind.

    Raises
    ------
    InputError
        If the ending is no kind of picture, or the folder does not exist.
    """
    target = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    if target.suffix[1:].lower() not in kinds:
        raise InputError(f"cannot draw to {target.name!r}: use an ending such as .png, .svg or .pdf")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} of the picture does not exist")
    figure.savefig(target, dpi=160)
    return target


def clock(ax: Any, time: Any) -> None:
    """Mark a time axis sparingly."""
    from matplotlib import dates

    mdates: Any = dates
    locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))
    ax.set_xlim(time[0], time[-1])
