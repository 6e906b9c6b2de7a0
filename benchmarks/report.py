"""Write produced tables into benchmarks/README.md, between markers, atomically."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from feederlab.papers import rendering

README = Path(__file__).with_name("README.md")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def show(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table for a person."""
    table = Table(title=title)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file has no width of its own
    console.print(table)


def write_section(name: str, command: str, body: str) -> None:
    """Replace the section `name` of the README (made at its end if it is not there), with command and date."""
    rendering.write_section(README, name, command, body)


def milliseconds(seconds: float) -> str:
    """Return a duration for a table."""
    return f"{1e3 * seconds:.3g} ms" if np.isfinite(seconds) else "-"
