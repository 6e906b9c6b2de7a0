"""What every verb prints with: console, messages, JSON, progress bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON, with every figure, instead of a table.")]


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Show one bar per row on a terminal's stderr, nothing elsewhere."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bars: dict[str, Any] = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=screen, transient=True) as live:

        def tell(what: str, steps: int, total: int) -> None:
            if what not in bars:
                bars[what] = live.add_task(what, total=total)
            live.advance(bars[what], steps)

        yield tell


def console(stderr: bool = False) -> Console:
    """Return the console of stdout or stderr."""
    from rich.console import Console

    made = Console(stderr=stderr)
    if not made.is_terminal:  # a pipe or file has no width of its own
        made.width = 120
    return made


def fail(message: str) -> None:
    """Say on stderr what went wrong."""
    from rich.markup import escape

    console(stderr=True).print(f"[bold red]error:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Say on stderr what to be careful about."""
    from rich.markup import escape

    console(stderr=True).print(f"[yellow]warning:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)


def print_names(entries: dict[str, str], head: str, as_json: bool) -> None:
    """Print a list of names with one line each."""
    if as_json:
        print_json(entries)
        return
    from feederlab.report.table import name_table

    console().print(name_table(entries, head))


def print_json(value: Any) -> None:
    """Print strict JSON: what is no number is null."""
    from feederlab.answer import finite

    typer.echo(json.dumps(finite(value), indent=2, default=str))
