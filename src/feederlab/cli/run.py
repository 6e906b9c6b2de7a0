"""`feederlab run`: the comparison that a study file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.cli.compare import kept_if_stopped, say_where, stop_if_failed
from feederlab.cli.console import Json, console, print_json, progress, warn
from feederlab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.comparison import Comparison
    from feederlab.models.scenario import Scenario
    from feederlab.study import Study


def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file; docs/studies.md describes it.")],
    check: Annotated[bool, typer.Option("--check", help="Read everything, run nothing, say what would run.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = 1,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine) or ray (a cluster).")] = "loky",
    out: Annotated[Path | None, typer.Option(help="Folder to write [default: the study's output.folder].")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another comparison in the folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Run the comparison that a study file describes: scenarios, controllers, windows, seeds, statistics."""
    from feederlab.study_file import read_study

    asked = read_study(study)
    scenarios = asked.load()
    if check:
        _say_what_would_run(asked.study, scenarios, as_json)
        return
    folder = out or (None if asked.study.output.folder is None else Path(asked.study.output.folder))
    if folder is None and (asked.study.output.report or asked.study.output.figures):
        raise InputError("the study asks for a report or figures: give output.folder or --out, to write them into")
    tested = cache(partial(_tests, asked.study))
    with kept_if_stopped(folder), progress() as tell:
        comparison = asked.study.run(
            scenarios, jobs=jobs, backend=backend, out=folder, overwrite=overwrite, resume=resume,
            also=lambda made, into: _add_files(asked.study, made, tested(made), into), progress=tell,
        )  # fmt: skip
    tests = tested(comparison)
    if as_json:
        print_json(
            {
                "rows": comparison.table().to_dict(orient="records"),
                "summary": comparison.summary().to_dict(orient="records"),
                "significance": [] if tests is None else tests.to_dict(orient="records"),
                "record": dict(comparison.record),
            }
        )
    else:
        _print_tables(asked.study, comparison, tests)
        if folder is not None:
            say_where(folder)
    stop_if_failed(comparison)


def _say_what_would_run(study: Study, scenarios: Sequence[Scenario], as_json: bool) -> None:
    rows, seeds = len(study.controllers), len(study.seeds)
    cells, steps = rows * seeds * len(scenarios), rows * seeds * sum(one.periods for one in scenarios)
    if as_json:
        print_json({"cells": cells, "steps": steps, "study": study.plain()})
        return
    of_one: dict[str, list[Scenario]] = {}
    for one in scenarios:
        of_one.setdefault(one.name, []).append(one)
    screen = console()
    screen.print(f"[bold]{study.title or 'a study'}[/bold]: nothing is wrong with it", highlight=False)
    for name, windows in of_one.items():
        first, step = windows[0], windows[0].step.total_seconds()
        starts = ", ".join(f"{one.start:%Y-%m-%d %H:%M}" for one in windows[:4]) + ", ..." * (len(windows) > 4)
        text = f"  {name}: {len(windows)} x {first.periods} steps of {step / 60:g} min, from {starts}"
        screen.print(text, highlight=False, markup=False)
    screen.print(f"  rows: {', '.join(study.controllers)}", highlight=False, markup=False)
    text = f"  runs: {cells} (rows {rows} x windows {len(scenarios)} x seeds {seeds}), {steps:,} steps in all"
    screen.print(text, highlight=False, markup=False)


def _tests(study: Study, comparison: Comparison) -> pd.DataFrame | None:
    """Return the tests that the study asks for; None if it asks for none, or after a warning that they cannot be."""
    asked = study.statistics
    if asked is None:
        return None
    try:
        return comparison.significance(
            asked.reference, asked.metrics, level=asked.level, resamples=asked.resamples, seed=asked.seed,
            correction=asked.correction, unit=asked.unit,
        )  # fmt: skip
    except InputError as error:  # the runs must not be lost for it
        warn(f"no statistics: {error}")
        return None


def _add_files(study: Study, comparison: Comparison, tests: pd.DataFrame | None, folder: Path) -> None:
    from feederlab.report.voltage_plot import plot_voltages

    plot_voltages(comparison, folder / "voltages.png")
    comparison.summary().to_csv(folder / "summary.csv", index=False)
    if tests is not None:
        tests.to_csv(folder / "significance.csv", index=False)
    if study.output.figures:
        from feederlab.report.figures import write_figures

        write_figures(comparison, folder / "figures")
    if study.output.report:
        from feederlab.report.html import write_report

        write_report(comparison, folder / "report.html")


def _print_tables(study: Study, comparison: Comparison, tests: pd.DataFrame | None) -> None:
    from feederlab.report.statistics_table import significance_table, summary_table
    from feederlab.report.table import comparison_table

    screen, record = console(), comparison.record
    title = study.title or ", ".join(dict.fromkeys(str(one["name"]) for one in record["scenarios"]))
    remarks = list(dict.fromkeys(note for one in record["scenarios"] for note in one["notes"]))
    several = comparison.metrics.sizes["window"] * comparison.metrics.sizes["seed"] > 1
    if several or study.metrics:
        screen.print(summary_table(comparison, study.metrics, title=title, remarks=remarks))
    else:
        rows = comparison.table()
        screen.print(comparison_table(rows, title=title, objective=study.objective, remarks=remarks))
    if tests is not None and study.statistics is not None:
        asked = study.statistics
        table: Any = significance_table(tests, asked.reference, level=asked.level, correction=asked.correction)
        screen.print(table)
