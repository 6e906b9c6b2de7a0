"""Every figure of a comparison as a picture for a paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from feederlab.errors import InputError
from feederlab.report.curve_plots import plot_decision_times, plot_durations, plot_heat_map, plot_regret
from feederlab.report.feeder_plot import plot_worst_voltages
from feederlab.report.scores import objective_of, regret_unit
from feederlab.report.voltage_plot import plot_voltages

if TYPE_CHECKING:
    from feederlab.comparison import Comparison

KINDS = (".png", ".svg")


def write_figures(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write each figure of a comparison as PNG and SVG; return the files.

    ``voltages``, ``feeder``, ``heat_map``, ``duration_curves``, ``regret``, ``decision_times``; those that the runs
    have no data for are left out.  With several scenarios, windows or seeds the first of each is drawn.

    Raises
    ------
    InputError
        If `folder` is a file, or the comparison has no run.
    """
    if not comparison.runs:
        raise InputError("the comparison has no run to draw")
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file: give a folder for the figures")
    target.mkdir(parents=True, exist_ok=True)
    first = next(iter(comparison.runs))
    cells = [cell for cell in comparison.runs if cell[1:] == first[1:]]
    unit = regret_unit(objective_of(comparison))
    drawn: dict[str, Callable[[Path], Path | None]] = {
        "voltages": lambda path: plot_voltages(comparison, path),
        "feeder": lambda path: plot_worst_voltages(comparison, cells, path),
        "heat_map": lambda path: plot_heat_map(comparison, cells, path),
        "duration_curves": lambda path: plot_durations(comparison, cells, path),
        "regret": lambda path: plot_regret(comparison, cells, path, unit),
        "decision_times": lambda path: plot_decision_times(comparison, cells, path),
    }
    made = (plot(target / f"{name}{kind}") for name, plot in drawn.items() for kind in KINDS)
    return [path for path in made if path is not None]
