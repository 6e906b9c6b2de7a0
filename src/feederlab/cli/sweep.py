"""`feederlab sweep`: which settings keep the band at least loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feederlab.cli.console import Json, console, print_json, progress
from feederlab.cli.options import read_band

if TYPE_CHECKING:
    from feederlab.sweep import Sweep


def sweep(
    scenario: Annotated[str, typer.Argument(help="Scenario name, or .json / .m file.")],
    controller: Annotated[str, typer.Option("-c", "--controller", help="NAME[:key=value,...] to vary.")] = "volt_var",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=a,b,c or key=lo..hi or key=lo..hi/n; volt_var: also v_dead, v_sat, q_max, ..."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Random settings [default: every combination].")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random settings.")] = 0,
    baseline: Annotated[
        list[str] | None, typer.Option("-b", "--baseline", help="Row to compare with [default: none, presets, opf].")
    ] = None,
    violations: Annotated[str, typer.Option(help="bus_steps (share out of band) or excess (sum of it).")] = "bus_steps",
    profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
    start: Annotated[str | None, typer.Option(help="First day [default: where PV exceeds load most].")] = None,
    days: Annotated[float | None, typer.Option(help="Length of the window [default: 1].")] = None,
    step: Annotated[str | None, typer.Option(help="Step length, e.g. 15min [default: that of the data].")] = None,
    band: Annotated[str | None, typer.Option(help="LO,HI voltage band in p.u. [default: the scenario's].")] = None,
    objective: Annotated[str, typer.Option(help="What optimisation controllers minimise.")] = "losses",
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for sweep.csv, sweep.json, pareto.png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another sweep in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Try settings of a controller; show which keep the band at least loss, and what the trade-off is."""
    from feederlab.hosting.window import study_window
    from feederlab.models.objective import Objective
    from feederlab.simulate import RunOptions
    from feederlab.sweep.space import Space
    from feederlab.sweep.study import sweep as run

    options = RunOptions(objective=Objective.parse(objective))
    Space.parse(controller, settings or ()).settings(samples, seed)  # a wrong word is reported before anything is read
    loaded, window = study_window(scenario, profiles=profiles, start=start, days=days, step=step, band=read_band(band))
    with progress() as tell:
        made = run(
            loaded, controller, settings or (), samples=samples, seed=seed, baselines=baseline, violations=violations,
            options=options, jobs=jobs, out=out, overwrite=overwrite, also=_picture, progress=tell,
        )  # fmt: skip
    if as_json:
        print_json(made.to_dict())
        return
    from feederlab.report.sweep_table import sweep_table

    screen = console()
    screen.print(sweep_table(made, window=window))
    screen.print(f"best: -c {made.best()['controller']}", highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        screen.print(f"written to {out}: sweep.csv, sweep.json, pareto.png", highlight=False)


def _picture(made: Sweep, folder: Path) -> None:
    from feederlab import atomic
    from feederlab.report.pareto_plot import plot_pareto

    with atomic.whole(folder / "pareto.png") as scratch:
        plot_pareto(made, scratch)
