"""`feederlab opf`: one optimal power flow."""

from __future__ import annotations

from typing import Annotated

import typer

from feederlab.cli.console import Json, console, print_json


def opf(
    case: Annotated[str, typer.Argument(help="MATPOWER case name (case118), pandapower .json or .m file.")],
    objective: Annotated[
        str | None, typer.Option(help="cost, losses, voltage_deviation, ... [default: cost of a case, losses of a net]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Solve one exact AC optimal power flow, radial or meshed."""
    from feederlab.opf_case import solve_opf

    solved = solve_opf(case, objective)
    figures = solved.to_dict()
    if as_json:
        print_json(figures)
    else:
        from feederlab.report.table import figures_table

        console().print(figures_table(figures))
    if not solved.converged:
        raise typer.Exit(1)
