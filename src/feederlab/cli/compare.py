"""`feederlab compare`: controllers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.cli.console import Json, console, fail, print_json, progress, warn
from feederlab.cli.options import read_band
from feederlab.errors import InputError

if TYPE_CHECKING:
    from feederlab.comparison import Comparison

_WITH_REPLAY = ("replay", "jobs", "backend", "out", "overwrite", "resume", "report", "as_json")
"""The parameters of `compare` that leave a recorded comparison as it is."""


def compare(
    context: typer.Context,
    scenario: Annotated[str | None, typer.Argument(help="Scenario name, or .json / .m file.")] = None,
    controller: Annotated[
        list[str] | None, typer.Option("-c", "--controller", help="NAME[:key=value,...]; give it once per row.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            help="A device to add: storage=BUS:P_MW:E_MWH, capacitor=BUS:Q_MVAR:STEPS, "
            "regulator=LINE:LOWEST:HIGHEST:PERCENT, inverter=BUS:S_MVA:P_MW."
        ),
    ] = None,
    profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
    start: Annotated[str | None, typer.Option(help="First day [default: first of the data].")] = None,
    days: Annotated[float, typer.Option(help="Length of the window.")] = 1.0,
    step: Annotated[str | None, typer.Option(help="Step length, e.g. 3min [default: the scenario's].")] = None,
    band: Annotated[str | None, typer.Option(help="LO,HI voltage band in p.u. [default: the scenario's].")] = None,
    objective: Annotated[str, typer.Option(help="NAME or NAME=WEIGHT+...; what is minimised.")] = "losses",
    mismatch: Annotated[float, typer.Option(help="Share by which controllers' r and x may be off.")] = 0.0,
    noise: Annotated[float, typer.Option(help="Standard deviation of voltage readings (p.u.).")] = 0.0,
    profile_noise: Annotated[float, typer.Option(help="Noise of loads and PV, in standard deviations.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="Probability that a reading is lost in a step.")] = 0.0,
    delay: Annotated[int, typer.Option(help="Steps by which measurements lag.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    chunk: Annotated[str, typer.Option(help="Compute the window in parts of this length, e.g. 7D.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = 1,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine) or ray (a cluster).")] = "loky",
    out: Annotated[Path | None, typer.Option(help="Folder for table.csv, result.nc, run.json, voltages.png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another comparison in --out.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    replay: Annotated[Path | None, typer.Option(help="Repeat the comparison of this run.json.")] = None,
    record: Annotated[str, typer.Option(help="all, float32 or metrics: how much of each run is kept.")] = "all",
    report: Annotated[bool, typer.Option("--report", help="Write report.html into --out, too.")] = False,
    as_json: Json = False,
) -> None:
    """Compare controllers on a scenario over a window of time."""
    from feederlab.record import read_record
    from feederlab.study import Loop, Output, ScenarioChoice, Study, Windows
    from feederlab.study_checks import by_spec

    if report and out is None:
        raise InputError("--report needs --out, the folder to write report.html into")
    before: dict[str, Any] | None = None
    if replay is not None:
        _refuse_changes(context)
        before = read_record(replay)
        study = Study.from_record(replay)
    elif scenario is None:
        raise InputError("give a scenario (feederlab scenarios lists them) or --replay RUN.json")
    else:
        study = Study(
            (ScenarioChoice(scenario, "", profiles, step, read_band(band), profile_noise, tuple(add or ())),),
            by_spec(controller or ()),
            Windows(() if start is None else (start,), days=days), (seed,), objective=objective,
            options=Loop(mismatch, noise, dropout, delay), output=Output(record=record), chunk=chunk,
        ).absolute()  # fmt: skip
    with kept_if_stopped(out), progress() as tell:
        comparison = study.run(
            jobs=jobs, backend=backend, out=out, overwrite=overwrite, resume=resume,
            also=partial(_pictures, report=report), progress=tell,
        )  # fmt: skip
    if before is not None:
        _say_what_changed(before, comparison.record)
    rows = comparison.table()
    if as_json:
        print_json({"rows": rows.to_dict(orient="records"), "record": dict(comparison.record)})
        stop_if_failed(comparison)
        return
    from feederlab.report.table import comparison_table

    about = comparison.record["scenarios"][0]
    title = f"{about['name']}, {about['start']}, {about['periods']} steps of {about['step_s'] / 60:g} min"
    remarks = dict.fromkeys(note for one in comparison.record["scenarios"] for note in one["notes"])
    screen = console()
    screen.print(comparison_table(rows, title=title, objective=study.objective, remarks=remarks))
    if out is not None:
        say_where(out)
    stop_if_failed(comparison)


def say_where(folder: Path) -> None:
    """Print what the folder of a comparison holds."""
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir()))
    console().print(f"written to {folder}: {files}", highlight=False, markup=False)


@contextmanager
def kept_if_stopped(out: Path | None) -> Iterator[None]:
    """Say after Ctrl-C how to go on, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "" if out is None else f": what is finished is kept beside {out}; the same command with --resume goes on"
        fail(f"stopped{kept}")
        raise typer.Exit(130) from None


def stop_if_failed(comparison: Comparison) -> None:
    """Exit with 1 if a cell broke; the others are shown and saved by then."""
    for cell, reason in comparison.failed.items():
        fail(f"{cell.controller}, {cell.scenario}, {cell.window}, seed {cell.seed}: {reason}")
    if comparison.failed:
        raise typer.Exit(1)


def _pictures(comparison: Comparison, folder: Path, *, report: bool) -> None:
    from feederlab.report.voltage_plot import plot_voltages

    plot_voltages(comparison, folder / "voltages.png")
    if report:
        from feederlab.report.html import write_report

        write_report(comparison, folder / "report.html")


def _refuse_changes(context: typer.Context) -> None:
    """Make sure that nothing is asked of a replay but where and how to run it."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _WITH_REPLAY and source is not None and source.name == "COMMANDLINE":
            given.append(max(parameter.opts, key=len))
    if given:
        raise InputError(f"--replay repeats a recorded comparison as it was: give no {', '.join(given)} with it")


def _say_what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn where a replay did not start from the recorded data or versions."""
    from feederlab.record import changed_versions

    if [s["fingerprint"] for s in before["scenarios"]] != [s["fingerprint"] for s in now["scenarios"]]:
        warn("the scenario's data are not those of the recorded comparison")
    if changed := changed_versions(before, now):
        warn(f"versions differ from the recorded comparison: {', '.join(changed)}")
