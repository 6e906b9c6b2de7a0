"""`feederlab train`: policies that learn."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.cli import train_imitation
from feederlab.cli.console import Json, console, fail, print_json
from feederlab.cli.train_words import compare_command, read_arguments, read_days, read_settings
from feederlab.errors import InputError

if TYPE_CHECKING:
    from feederlab.learn.train import Tell, Training
    from feederlab.models.scenario import Scenario

app = typer.Typer(help="Train a policy; it becomes a controller like any other.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train a policy; it becomes a controller like any other."""


def _learns(algorithm: str, about: str) -> None:
    """Add the command of an algorithm; all take the same options."""

    def command(
        scenario: Annotated[str | None, typer.Argument(help="Scenario name, or .json / .m file.")] = None,
        named: Annotated[str | None, typer.Option("--scenario", help="The same, as an option.")] = None,
        env: Annotated[
            str | None, typer.Option(help="Environment [default: feederlab/VoltVar-v0; dqn: feederlab/Capacitors-v0].")
        ] = None,
        arg: Annotated[
            list[str] | None, typer.Option(help="KEY=VALUE, an argument of the environment; give it once each.")
        ] = None,
        add: Annotated[list[str] | None, typer.Option(help="A device to add, as `compare --add`.")] = None,
        profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
        step: Annotated[str | None, typer.Option(help="Length of a step, e.g. 1min [default: the scenario's].")] = None,
        every: Annotated[str | None, typer.Option(help="As --arg every=: interval between two switchings.")] = None,
        fast: Annotated[str | None, typer.Option(help="As --arg fast=: controller of every slot.")] = None,
        days: Annotated[str, typer.Option(help="Training days: DATE,DATE,... or how many to draw.")] = "20",
        holdout: Annotated[str, typer.Option(help="Days to judge by, unseen in training; as --days.")] = "3",
        steps: Annotated[int | None, typer.Option(help="Steps to learn from, of all copies together.")] = None,
        copies: Annotated[int | None, typer.Option(help="Environments side by side.")] = None,
        minutes: Annotated[float | None, typer.Option(help="Stop, evaluate and save after so long.")] = None,
        seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
        set_: Annotated[
            list[str] | None, typer.Option("--set", help="Hyper-parameter KEY=VALUE (docs/learning.md); once each.")
        ] = None,
        best: Annotated[
            str, typer.Option(help="Scores by which the best network is kept, e.g. in_band,-losses_mw.")
        ] = "reward",
        evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations [default: a tenth].")] = 0,
        checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints [default: a tenth].")] = 0,
        keep: Annotated[int, typer.Option(help="How many checkpoints are kept.")] = 3,
        tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write logs for TensorBoard.")] = False,
        out: Annotated[Path | None, typer.Option(help="Folder for policy, evaluation curve and checkpoints.")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Discard the training in --out.")] = False,
        as_json: Json = False,
    ) -> None:
        from feederlab.learn.train import STEPS, Stopped, train

        name, case = _scenario(scenario, named, env, profiles, step, add)
        if out is None:
            raise InputError("give --out, the folder to write the policy into")
        steps = STEPS[algorithm] if steps is None else steps
        short = {key: value for key, value in (("every", every), ("fast", fast)) if value is not None}
        arguments = read_arguments(arg or []) | short
        try:
            with _asked_to_stop() as stop, _progress(steps) as tell:
                made = train(
                    algorithm, case, out, env=env, arguments=arguments, days=read_days(days),
                    holdout=read_days(holdout), steps=steps, seed=seed, settings=read_settings(algorithm, set_ or []),
                    copies=copies, best=best, minutes=minutes, evaluate_every=evaluate_every,
                    checkpoint_every=checkpoint_every, keep=keep, tensorboard=tensorboard, resume=resume,
                    overwrite=overwrite, progress=tell, stop=stop,
                )  # fmt: skip
        except (Stopped, KeyboardInterrupt) as end:
            fail(f"{str(end) or 'stopped'}: the same command with --resume goes on from the last checkpoint in {out}")
            raise typer.Exit(130) from None
        _picture(made)
        words = compare_command(name, made, arguments, add=add or (), profiles=profiles, step=step)
        if as_json:
            curve = made.curve.to_dict(orient="records")
            print_json({"policy": str(made.policy), "curve": curve, "compare": words})
            return
        _say(made, words)

    command.__doc__ = about
    app.command(algorithm)(command)


_learns("ppo", "Learn by PPO: reactive power of inverters, or any other environment.")
_learns("sac", "Learn by SAC: reactive power of inverters, or any other environment with continuous actions.")
_learns("td3", "Learn by TD3: reactive power of inverters, or any other environment with continuous actions.")
_learns("dqn", "Learn by DQN to switch capacitor banks once an interval, a fast controller acting in every slot.")
app.command()(train_imitation.imitation)


def _scenario(
    scenario: str | None, named: str | None, env: str | None, profiles: str | None, step: str | None,
    add: list[str] | None,
) -> tuple[str, Scenario | None]:  # fmt: skip
    """Return the name and the scenario; an environment that is named may do without one."""
    from feederlab.models.additions import read_additions
    from feederlab.scenarios import load_scenario

    name = scenario or named
    if name is None and env is not None and not (profiles or step or add):
        return "", None
    if name is None or (scenario and named):
        raise InputError("give one scenario (feederlab scenarios lists them)")
    case = load_scenario(name, profiles=profiles, step=step)
    return name, case.with_devices(**read_additions(add)) if add else case


def _say(made: Training, words: str | None) -> None:
    screen, curve = console(), made.curve
    scores = [name for name in curve.columns if name.startswith("holdout_")]
    if curve["holdout_reward"].notna().any():
        kept = curve[curve["best"]].iloc[-1]
        listed = ", ".join(f"{name.removeprefix('holdout_').replace('_', ' ')} {kept[name]:.6g}" for name in scores)
        screen.print(f"best on the held-out days after {int(kept['step'])} steps: {listed}", highlight=False)
    screen.print(f"policy: {made.policy}", highlight=False, markup=False, soft_wrap=True)
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in made.folder.iterdir()))
    screen.print(f"written to {made.folder}: {files}", highlight=False, markup=False, soft_wrap=True)
    if words is not None:
        screen.print("compare it:", highlight=False)
        screen.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)


def _picture(made: Training) -> None:
    from feederlab import atomic
    from feederlab.report.training_plot import plot_training

    with atomic.whole(made.folder / "evaluation.png") as scratch:
        plot_training(made.curve, scratch)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed (or the process asked to end); a second one ends at once."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        for each in before:
            signal.signal(each, signal.default_int_handler)
        console(stderr=True).print("stopping after this rollout; Ctrl-C again stops at once", highlight=False)

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
    """Show steps, reward and scores on the held-out days on a terminal's stderr, nothing elsewhere."""
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
            live.update(bar, completed=min(step, steps), description=_described(last))

        yield tell


def _described(last: Mapping[str, Any]) -> str:
    """Return the last row of the evaluation curve in a few words."""
    shown = {name: value for name, value in last.items() if name == "reward" or name.startswith("holdout_")}
    words = [f"{name.replace('holdout_', 'held-out ').replace('_', ' ')} {value:.4g}" for name, value in shown.items()]
    return ", ".join(words[:4]) or "learning"
