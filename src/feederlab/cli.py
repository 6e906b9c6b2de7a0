"""The command line: thin verbs over the library.  Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.errors import FeederlabError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from feederlab.comparison import Comparison

app = typer.Typer(
    name="feederlab",
    help="Compare, certify and embed voltage controllers on electricity distribution feeders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with every figure, instead of a table.")]
_WITH_REPLAY = ("replay", "jobs", "out", "overwrite", "as_json")
"""The parameters of `compare` that leave a recorded comparison as it is."""


def main() -> None:
    """Run the command line; a known error is one message on stderr and its own exit code."""
    try:
        app()
    except FeederlabError as error:
        _fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that may not be written to, a full disk
        _fail(str(error))
        sys.exit(1)


@app.command()
def scenarios(as_json: Json = False) -> None:
    """List the named scenarios."""
    from feederlab.models import library

    _print_names(library.names(), "scenario", as_json)


@app.command()
def controllers(as_json: Json = False) -> None:
    """List the controllers."""
    from feederlab.controllers import registry

    _print_names(registry.names(), "controller", as_json)


@app.command()
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
        _print_json(asdict(summary))
        return
    from feederlab.report.table import summary_table

    console = _console()
    console.print(summary_table(summary))
    if plot is not None:
        console.print(f"picture: {plot}", highlight=False)


@app.command()
def compare(
    context: typer.Context,
    scenario: Annotated[str | None, typer.Argument(help="Scenario name, or .json / .m file.")] = None,
    controller: Annotated[
        list[str] | None, typer.Option("-c", "--controller", help="NAME[:key=value,...]; give it once per row.")
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
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for table.csv, result.nc, run.json, voltages.png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another comparison in --out.")] = False,
    replay: Annotated[Path | None, typer.Option(help="Repeat the comparison of this run.json.")] = None,
    record: Annotated[str, typer.Option(help="all, float32 or metrics: how much of each run is kept.")] = "all",
    as_json: Json = False,
) -> None:
    """Compare controllers on a scenario over a window of time."""
    from feederlab.comparison import read_record
    from feederlab.study import Study

    before: dict[str, Any] | None = None
    if replay is not None:
        _refuse_changes(context)
        before = read_record(replay)
        study = Study.from_record(replay)
    elif scenario is None:
        raise InputError("give a scenario (feederlab scenarios lists them) or --replay RUN.json")
    else:
        study = Study(
            scenario=scenario, controllers=tuple(controller or ()), profiles=profiles, start=start, days=days,
            step=step, band=_band(band), objective=objective, mismatch=mismatch, vm_noise=noise,
            profile_noise=profile_noise, dropout=dropout, delay=delay, seed=seed, record=record,
        ).absolute()  # fmt: skip
    with _progress() as tell:
        comparison = study.run(jobs=jobs, out=out, overwrite=overwrite, also=_picture, progress=tell)
    if before is not None:
        _say_what_changed(before, comparison.record)
    rows = comparison.table()
    if as_json:
        _print_json({"rows": rows.to_dict(orient="records"), "record": dict(comparison.record)})
        return
    from feederlab.report.table import comparison_table

    about = comparison.record["scenarios"][0]
    title = f"{about['name']}, {about['start']}, {about['periods']} steps of {about['step_s'] / 60:g} min"
    remarks = dict.fromkeys(note for one in comparison.record["scenarios"] for note in one["notes"])
    console = _console()
    console.print(comparison_table(rows, title=title, objective=study.objective, remarks=remarks))
    if out is not None:
        console.print(f"written to {out}: table.csv, result.nc, run.json, voltages.png, runs/", highlight=False)


@app.command()
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
        _print_json(figures)
    else:
        from feederlab.report.table import figures_table

        _console().print(figures_table(figures))
    if not solved.converged:
        raise typer.Exit(1)


def _band(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--band {text!r}: give LO,HI in p.u., e.g. 0.95,1.05") from None
    return low, high


def _picture(comparison: Comparison, folder: Path) -> None:
    from feederlab.report.voltage_plot import plot_voltages

    plot_voltages(comparison, folder / "voltages.png")


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
    if [s["fingerprint"] for s in before["scenarios"]] != [s["fingerprint"] for s in now["scenarios"]]:
        _warn("the scenario's data are not those of the recorded comparison")
    changed = [name for name, version in now["versions"].items() if before["versions"].get(name) != version]
    if changed:
        _warn(f"versions differ from the recorded comparison: {', '.join(changed)}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Show one bar per row on a terminal's stderr, nothing elsewhere."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bars: dict[str, Any] = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:

        def tell(what: str, steps: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.advance(bars[what], steps)

        yield tell


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal:  # a pipe or file has no width of its own
        console.width = 120
    return console


def _fail(message: str) -> None:
    from rich.markup import escape

    _console(stderr=True).print(f"[bold red]error:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)


def _warn(message: str) -> None:
    from rich.markup import escape

    _console(stderr=True).print(f"[yellow]warning:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)


def _print_names(entries: dict[str, str], head: str, as_json: bool) -> None:
    if as_json:
        _print_json(entries)
        return
    from feederlab.report.table import name_table

    _console().print(name_table(entries, head))


def _print_json(value: Any) -> None:
    """Print strict JSON: what is no number is null."""
    typer.echo(json.dumps(_finite(value), indent=2, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
