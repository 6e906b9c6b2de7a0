"""`feederlab reproduce`: a published study, reported beside reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from feederlab.cli.console import Json, console, print_json, print_names, progress
from feederlab.errors import InputError


def reproduce(
    name: Annotated[str | None, typer.Argument(help="What to reproduce; --list shows the names.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what can be reproduced.")] = False,
    networks: Annotated[str | None, typer.Option(help="NAME,NAME,...: some of the paper's networks.")] = None,
    windows: Annotated[int | None, typer.Option(help="Random windows per network.")] = None,
    periods: Annotated[int | None, typer.Option(help="Steps of a window.")] = None,
    draws: Annotated[
        int | None, typer.Option(help="Other draws of data that the rebuilt ones are held against.")
    ] = None,
    cases: Annotated[str | None, typer.Option(help="NAME,NAME,...: some of the cases.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the day on which the relaxation is tried; of a training.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Unseen days to judge by.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small run, to see that it works.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes; -1: all cores.")] = -1,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and the runs.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another reproduction in --out.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a killed run left in --out.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown file whose section of this name is replaced.")] = None,
    as_json: Json = False,
) -> None:
    """Reproduce a published study: reported, reproduced, and why they differ."""
    from feederlab import papers

    if listed:
        print_names(papers.names(), "reproduction", as_json)
        return
    if name is None:
        raise InputError("give what to reproduce (feederlab reproduce --list shows the names)")
    given: dict[str, Any] = {
        "networks": _split(networks), "windows": windows, "periods": periods, "draws": draws, "cases": _split(cases),
        "steps": steps, "days": days, "seeds": seeds, "seed": seed, "quick": True if quick else None,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    study = papers.create(name, **given)
    if resume and out is None:
        raise InputError("--resume goes on with what a killed run left in --out: give that folder")

    from feederlab.papers import rendering
    from feederlab.papers.reproduction import How

    if write is not None:
        rendering.check_section(write, name)
    with progress() as tell:
        found = study.run(How(jobs=jobs, out=out, overwrite=overwrite, resume=resume, progress=tell))
    if write is not None:
        words = [f"--{key}{'' if value is True else f' {_joined(value)}'}" for key, value in given.items()]
        body = f"{rendering.markdown(found)}\n\nComputed in {found.seconds / 60:.1f} minutes, jobs {jobs}."
        rendering.write_section(write, name, " ".join(["feederlab reproduce", name, *words]), body)
    if as_json:
        print_json(found.to_dict())
        return
    screen = console()
    for part in rendering.terminal(found):
        screen.print(part, highlight=False)
    screen.print(f"{found.seconds:.0f} s" + (f"; written to {out}" if out is not None else ""), highlight=False)


def _joined(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _split(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
