"""`feederlab report`: the HTML report of a saved comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feederlab.cli.console import console


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that feederlab compare --out wrote.")],
    out: Annotated[Path | None, typer.Option(help="File to write [default: DIR/report.html].")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for each figure as .png and .svg.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write a comparison's report: one HTML file that needs no network."""
    from feederlab.comparison import Comparison
    from feederlab.folder import add_files
    from feederlab.report.figures import write_figures
    from feederlab.report.html import write_report

    comparison = Comparison.load(folder)
    target = write_report(comparison, folder / "report.html" if out is None else out)
    made = [target]
    screen = console()
    screen.print(f"written to {target}", highlight=False, soft_wrap=True)
    if figures is not None:
        pictures = write_figures(comparison, figures)
        made += [*pictures, figures]
        screen.print(f"written to {figures}: {len(pictures)} pictures", highlight=False, soft_wrap=True)
    home = folder.resolve()
    inside = [path.resolve().relative_to(home).as_posix() for path in made if home in path.resolve().parents]
    add_files(folder, inside)
    if show:
        typer.launch(str(target))
