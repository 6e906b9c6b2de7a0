"""`feederlab train imitation`: local rules fitted to optimal power flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feederlab.cli.console import Json, console, fail, print_json, progress
from feederlab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from feederlab.learn.imitation import Imitation


def imitation(
    scenario: Annotated[str | None, typer.Argument(help="Scenario name, or .json / .m file.")] = None,
    named: Annotated[str | None, typer.Option("--scenario", help="The same, as an option.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A device to add, as `compare --add`.")] = None,
    profiles: Annotated[str | None, typer.Option(help="Folder of <table>.<column>.csv|parquet profiles.")] = None,
    step: Annotated[str | None, typer.Option(help="Length of a step, e.g. 15min [default: the scenario's].")] = None,
    teacher: Annotated[str, typer.Option(help="NAME[:key=value,...] of what is imitated.")] = "opf",
    model: Annotated[str, typer.Option(help="linear, poly, boosting (several with commas) or all.")] = "all",
    observation: Annotated[str, typer.Option(help="local, zone, global; several with commas.")] = "local",
    days: Annotated[str, typer.Option(help="Training days: DATE,DATE,... or how many to draw.")] = "20",
    holdout: Annotated[str, typer.Option(help="Days to judge by, unseen in training; as --days.")] = "3",
    rounds: Annotated[int, typer.Option(help="How often a rule is fitted anew to what it meets itself.")] = 2,
    folds: Annotated[int, typer.Option(help="Of the cross-validation, over days.")] = 5,
    margin: Annotated[float, typer.Option(help="By how much the teacher's band is narrower (p.u.).")] = 0.005,
    bound: Annotated[float, typer.Option(help="Share of sqrt(s^2 - p^2) that a rule may use.")] = 1.0,
    present_q: Annotated[bool, typer.Option("--present-q", help="Let rules read their present q.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder for policies, tables and record.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another imitation in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Fit rules from local measurements to what optimal power flow does, and judge them on days unseen."""
    from feederlab.cli.train_words import read_days
    from feederlab.learn.imitation import MODELS, train_imitation
    from feederlab.models.additions import read_additions
    from feederlab.scenarios import load_scenario

    name = scenario or named
    if name is None or (scenario and named):
        raise InputError("give one scenario (feederlab scenarios lists them)")
    if out is None:
        raise InputError("give --out, the folder to write the policy into")
    case = load_scenario(name, profiles=profiles, step=step)
    case = case.with_devices(**read_additions(add)) if add else case
    unseen = read_days(holdout)
    try:
        with progress() as tell:
            made = train_imitation(
                case, out, teacher=teacher, models=MODELS if model == "all" else _listed(model),
                observation=_listed(observation), days=read_days(days), holdout=unseen, rounds=rounds, folds=folds,
                margin=margin, bound=bound, present_q=present_q, seed=seed, jobs=jobs, overwrite=overwrite,
                progress=tell,
            )  # fmt: skip
    except KeyboardInterrupt:
        fail(f"stopped: nothing was written to {out}")
        raise typer.Exit(130) from None
    words = _compare(name, made, teacher, add=add or (), profiles=profiles, step=step)
    if as_json:
        print_json(
            {
                "policy": str(made.policy), "rules": made.rules.to_dict(orient="records"),
                "table": made.table.to_dict(orient="records"), "compare": words,
            }
        )  # fmt: skip
        return
    screen = console()
    screen.print(_rules(made.rules))
    if len(made.table):
        screen.print(_judged(made, teacher))
    screen.print(f"policy: {made.policy}", highlight=False, markup=False, soft_wrap=True)
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in made.folder.iterdir()))
    screen.print(f"written to {made.folder}: {files}", highlight=False, markup=False, soft_wrap=True)
    screen.print("compare it:", highlight=False)
    screen.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _compare(
    name: str, made: Imitation, teacher: str, *, add: Sequence[str], profiles: str | None, step: str | None
) -> str:
    """Return the command that compares the policy with droop and its teacher on a held-out day."""
    from shlex import quote

    from feederlab.learn.imitation import DROOP, NONE

    words = ["feederlab", "compare", name, "--start", str((made.holdout or made.days)[0].date())]
    words += [word for device in add for word in ("--add", device)]
    words += ["--profiles", profiles] if profiles else []
    words += ["--step", step] if step else []
    rows = [NONE, DROOP, f"sklearn:file={made.policy}", teacher]
    return " ".join(quote(word) for word in words + [word for row in rows for word in ("-c", row)])


def _rules(rules: pd.DataFrame) -> Table:
    heads = ("observation", "model", "setting", "losses +\npenalty MW", "in band\n%", "error of q\nMVAr rms",
             "explained\n%", "samples")  # fmt: skip
    table = _table("Cross-validated over the training days (* the policy)", heads, left=3)
    for _, row in rules.iterrows():
        mark = "*" * bool(row["picked"])
        table.add_row(
            str(row["observation"]), f"{row['model']}{mark}", str(row["setting"]), f"{row['cv_cost_mw']:.4g}",
            f"{row['cv_in_band_pct']:.2f}", f"{row['cv_rms_mvar']:.4g}",
            _number(100 * row["cv_r2"], ".1f"), str(row["samples"]),
        )  # fmt: skip
    return table


def _judged(made: Imitation, teacher: str) -> Table:
    heads = ("controller", "in band\n%", "worst\np.u.", "losses\nMW", "benefit kept,\nfrom droop %",
             "benefit kept,\nfrom none %")  # fmt: skip
    days = ", ".join(str(day.date()) for day in made.holdout[:6]) + ", ..." * (len(made.holdout) > 6)
    table = _table(f"Held-out days: {days}", heads, left=1)
    for _, row in made.table.iterrows():
        table.add_row(
            str(row["controller"]), f"{row['in_band_pct']:.2f}", _number(row["worst_pu"], ".4f"),
            _number(row["loss_mw"], ".5g"), _number(row["kept_of_droop_pct"], ".1f"),
            _number(row["kept_of_none_pct"], ".1f"),
        )  # fmt: skip
    table.caption = (
        f"benefit: losses saved against volt_var:curve=mapdn (none), {teacher} = 100 %; leaving the band saves losses, "
        "too: read it beside the first two columns"
    )
    return table


def _table(title: str, heads: Sequence[str], left: int) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for k, head in enumerate(heads):
        made.add_column(head, justify="left" if k < left else "right", vertical="bottom")
    return made


def _number(value: Any, form: str) -> str:
    return format(value, form) if value == value else "-"
