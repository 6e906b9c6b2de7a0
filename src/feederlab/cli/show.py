"""`feederlab show`: what a scenario is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feederlab.cli.console import Json, console, print_json


def show(
    scenario: Annotated[str, typer.Argument(help="Scenario name, pandapower .json or MATPOWER .m file.")],
    profiles: Annotated[str | None, typer.Option(help="Folder of profiles for a file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the feeder to this picture (.png, .svg, .pdf).")] = None,
    as_json: Json = False,
) -> None:
    """Show a scenario: size, devices, base losses, voltage range."""
    from dataclasses import asdict

    from feederlab.scenarios import load_scenario
    from feederlab.summary import summarise

    loaded = load_scenario(scenario, profiles=profiles)
    summary = summarise(loaded)
    if plot is not None:
        from feederlab.report.feeder_plot import plot_feeder

        plot_feeder(loaded, plot)
    if as_json:
        print_json(asdict(summary))
        return
    from feederlab.report.table import summary_table

    screen = console()
    screen.print(summary_table(summary))
    if plot is not None:
        screen.print(f"picture: {plot}", highlight=False)
