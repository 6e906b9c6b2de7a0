"""`feederlab train`: policies that learn."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.cli.console import Json, console, fail, print_json
from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.learn.settings import DqnSettings
    from feederlab.learn.train import Tell, Training
    from feederlab.models.scenario import Scenario

app = typer.Typer(help="Train a policy; it becomes a controller like any other.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train a policy; it becomes a controller like any other."""


@app.command()
def dqn(
    scenario: Annotated[str | None, typer.Argument(help="Scenario name, or .json / .m file.")] = None,
    named: Annotated[str | None, typer.Option("--scenario", help="The same, as an option.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A device to add, as `compare --add`.")] = None,
    profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
    step: Annotated[str | None, typer.Option(help="Length of a slot, e.g. 1min [default: the scenario's].")] = None,
    every: Annotated[str, typer.Option(help="Length of an interval between two switchings.")] = "5min",
    fast: Annotated[str, typer.Option(help="NAME[:key=value,...] of what acts in every slot.")] = "lindistflow",
    days: Annotated[str, typer.Option(help="Training days: DATE,DATE,... or how many to draw.")] = "20",
    holdout: Annotated[str, typer.Option(help="Days to judge by, unseen in training; as --days.")] = "3",
    steps: Annotated[int, typer.Option(help="Intervals to learn from.")] = 15_000,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Hyper-parameter KEY=VALUE (docs/learning.md); give it once each.")
    ] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations [default: a tenth of --steps].")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 2_000,
    keep: Annotated[int, typer.Option(help="How many checkpoints are kept.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for policy, evaluation curve and checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Discard the training in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Learn to switch capacitor banks once an interval, a fast controller acting in every slot."""
    from feederlab.learn.train import Stopped, train_dqn
    from feederlab.models.additions import read_additions
    from feederlab.scenarios import load_scenario

    name = scenario or named
    if name is None or (scenario and named):
        raise InputError("give one scenario (feederlab scenarios lists them)")
    if out is None:
        raise InputError("give --out, the folder to write the policy into")
    settings = read_settings(set_ or [])
    case = load_scenario(name, profiles=profiles, step=step)
    case = case.with_devices(**read_additions(add)) if add else case
    try:
        with _asked_to_stop() as stop, _progress(steps) as tell:
            made = train_dqn(
                case, out, fast=fast, every=every, days=_days(days), holdout=_days(holdout), steps=steps, seed=seed,
                settings=settings, evaluate_every=evaluate_every, checkpoint_every=checkpoint_every, keep=keep,
                resume=resume, overwrite=overwrite, progress=tell, stop=stop,
            )  # fmt: skip
    except (Stopped, KeyboardInterrupt) as end:
        fail(f"{str(end) or 'stopped'}: the same command with --resume goes on from the last checkpoint in {out}")
        raise typer.Exit(130) from None
    _picture(made)
    words = compare_command(case, name, made, add=add or (), profiles=profiles, step=step, every=every, fast=fast)
    if as_json:
        print_json({"policy": str(made.policy), "curve": made.curve.to_dict(orient="records"), "compare": words})
        return
    _say(made, words)


def read_settings(pairs: list[str]) -> DqnSettings:
    """Return the hyper-parameters that ``KEY=VALUE`` pairs change.

    Raises
    ------
    UnknownNameError
        For a key that does not exist.
    InputError
        For a value that does not fit.
    """
    from dataclasses import fields
    from typing import get_type_hints

    from pydantic import TypeAdapter, ValidationError

    from feederlab.learn.settings import DqnSettings

    hints, given = get_type_hints(DqnSettings), dict[str, Any]()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key not in hints:
            raise UnknownNameError("hyper-parameter", key, [f.name for f in fields(DqnSettings)])
        try:
            value: Any = text.split(",") if key == "hidden" else text
            given[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            wrong = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise InputError(f"--set {pair}: {key} must be {wrong}" if equals else f"--set {pair}: write {key}=VALUE") \
                from None  # fmt: skip
    return DqnSettings(**given)


def compare_command(
    case: Scenario,
    name: str,
    made: Training,
    *,
    add: Sequence[str],
    profiles: str | None,
    step: str | None,
    every: str,
    fast: str,
) -> str:
    """Return the command that compares the policy with banks at rest on a held-out day."""
    from shlex import quote

    import feederlab.answer as answer
    from feederlab.learn.train import KIND, RECORD

    record = answer.read(made.folder, RECORD, KIND)
    own, _, settings = fast.partition(":")
    inner = "".join(f",fast.{pair.strip()}" for pair in settings.split(",") if pair.strip())
    rows = [f"two_timescale:every={every},slow={slow},fast={own}{inner}"
            for slow in ("fixed", f"dqn,slow.policy={made.policy}")]  # fmt: skip
    words = ["feederlab", "compare", name, "--start", (record["holdout"] or record["days"])[0]]
    words += [word for device in add for word in ("--add", device)]
    words += ["--profiles", profiles] if profiles else []
    words += ["--step", step] if step else []
    words += ["--objective", "voltage_deviation"]
    return " ".join(quote(word) for word in words + [word for row in rows for word in ("-c", row)])


def _say(made: Training, words: str) -> None:
    screen, curve = console(), made.curve
    if curve["holdout_cost"].notna().any():
        best = curve.sort_values("holdout_cost").iloc[0]
        screen.print(
            f"best on the held-out days after {int(best['step'])} steps: cost {best['holdout_cost']:.6g} per interval, "
            f"the sum of (v - 1)^2 over slots and nodes", highlight=False,
        )  # fmt: skip
    screen.print(f"policy: {made.policy}", highlight=False, markup=False, soft_wrap=True)
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in made.folder.iterdir()))
    screen.print(f"written to {made.folder}: {files}", highlight=False, markup=False, soft_wrap=True)
    screen.print("compare it:", highlight=False)
    screen.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)


def _picture(made: Training) -> None:
    from feederlab import atomic
    from feederlab.report.training_plot import plot_training

    with atomic.whole(made.folder / "evaluation.png") as scratch:
        plot_training(made.curve, scratch)


def _days(text: str) -> int | list[str]:
    return int(text) if text.strip().isdecimal() else [day.strip() for day in text.split(",") if day.strip()]


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed (or the process asked to end); a second one ends at once."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        for each in before:
            signal.signal(each, signal.default_int_handler)
        console(stderr=True).print("stopping after this step; Ctrl-C again stops at once", highlight=False)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(steps: int) -> Iterator[Tell | None]:
    """Show steps, reward and cost on the held-out days on a terminal's stderr, nothing elsewhere."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=screen, transient=True) as live:
        bar = live.add_task("learning", total=steps)

        def tell(step: int, last: Mapping[str, float]) -> None:
            about = f"reward {last['reward']:.4g}, held-out cost {last['holdout_cost']:.4g}" if last else "learning"
            live.update(bar, completed=step, description=about)

        yield tell
