"""`feederlab hosting`: how much PV fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feederlab.cli.console import Json, console, print_json, progress
from feederlab.cli.options import read_band
from feederlab.errors import UnknownNameError

if TYPE_CHECKING:
    from feederlab.hosting import Hosting

_SCALES = ("inverters", "all")


def hosting(
    scenario: Annotated[str, typer.Argument(help="Scenario name, or .json / .m file.")],
    controller: Annotated[
        list[str] | None, typer.Option("-c", "--controller", help="NAME[:key=value,...]; give it once per row.")
    ] = None,
    profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
    start: Annotated[str | None, typer.Option(help="First day [default: where PV exceeds load most].")] = None,
    days: Annotated[float | None, typer.Option(help="Length of the window [default: 1].")] = None,
    step: Annotated[str | None, typer.Option(help="Step length, e.g. 15min [default: that of the data].")] = None,
    band: Annotated[str | None, typer.Option(help="LO,HI voltage band in p.u. [default: the scenario's].")] = None,
    max_loading: Annotated[float, typer.Option(help="Limit of lines and transformers (%).")] = 100.0,
    max_curtailed: Annotated[float, typer.Option(help="Share of the energy that may be curtailed (%).")] = 0.0,
    scale: Annotated[str, typer.Option(help="What grows: inverters, or all generators.")] = "inverters",
    strict: Annotated[bool, typer.Option("--strict", help="Count what breaks without any PV as well.")] = False,
    max_factor: Annotated[float, typer.Option(help="Largest multiple of today's PV to try.")] = 16.0,
    tolerance: Annotated[float, typer.Option(help="Relative width at which the bisection ends.")] = 0.005,
    objective: Annotated[str, typer.Option(help="What optimisation controllers minimise.")] = "losses",
    out: Annotated[Path | None, typer.Option(help="Folder for hosting.csv, hosting.json, hosting.png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another answer in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Find how much PV fits under each controller before the band or a loading limit breaks, and what breaks."""
    from feederlab.hosting import hosting_capacity
    from feederlab.hosting.capacity import read_controllers
    from feederlab.hosting.window import study_window

    if scale not in _SCALES:
        raise UnknownNameError("scale", scale, _SCALES)
    chosen = read_controllers(controller or ())
    loaded, window = study_window(scenario, profiles=profiles, start=start, days=days, step=step, band=read_band(band))
    with progress() as tell:
        study = hosting_capacity(
            loaded, chosen, max_loading_percent=max_loading, max_curtailed_percent=max_curtailed,
            everything=scale == "all", strict=strict, max_factor=max_factor, tolerance=tolerance, objective=objective,
            out=out, overwrite=overwrite, also=_picture, progress=tell,
        )  # fmt: skip
    if as_json:
        print_json(study.to_dict())
        return
    from feederlab.report.hosting_table import hosting_table

    screen = console()
    screen.print(hosting_table(study, window=window))
    if out is not None:
        screen.print(f"written to {out}: hosting.csv, hosting.json, hosting.png", highlight=False)


def _picture(study: Hosting, folder: Path) -> None:
    from feederlab import atomic
    from feederlab.report.hosting_plot import plot_hosting

    with atomic.whole(folder / "hosting.png") as scratch:
        plot_hosting(study, scratch)
