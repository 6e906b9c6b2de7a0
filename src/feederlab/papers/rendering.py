"""A reproduction as text: for the terminal, and as Markdown between markers of a file."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.atomic import write_text
from feederlab.errors import InputError
from feederlab.papers.reproduction import Reproduced, Row

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

HEADER = ("case", "row", "quantity", "reported", "reproduced", "why they differ")


def cells(row: Row) -> list[str]:
    """Return a row as text, in the order of `HEADER`."""
    unit = f" ({row.unit})" if row.unit else ""
    reported = f"{_figure(row.reported, row.digits)}{f', {row.source}' if row.source else ''}"
    ours = _figure(row.reproduced, row.digits)
    if math.isfinite(row.std):
        ours += f" ± {_figure(row.std, row.digits)}"
    if row.n > 1:
        ours += f" ({row.n})"
    return [row.case, row.row, row.quantity + unit, reported, ours, row.why]


def markdown(found: Reproduced) -> str:
    """Return the rows, the tables behind them and the notes as Markdown."""
    parts = [found.citation, markdown_table(HEADER, [cells(row) for row in found.rows])]
    for title, table in found.tables.items():
        parts += [f"**{title}**", markdown_table([str(c) for c in table.columns], _texts(table))]
    parts.append("\n".join(f"{k}. {note}" for k, note in enumerate(found.notes, 1)))
    return "\n\n".join(part for part in parts if part)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a ``|`` inside a cell is escaped, a line break becomes a blank."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def write_section(path: Path, name: str, command: str, body: str) -> None:
    """Replace the section `name` of a Markdown file (made at its end if it is not there), with command and date.

    Raises
    ------
    InputError
        If the file has only one of the section's two marks, or cannot be a file.
    """
    (begin, end), text = _marks(name), _text_with_section(path, name)
    stamp = f"`{command}`, {date.today().isoformat()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    section = f"{begin}\n{stamp}\n\n{body}\n{end}"
    head, found, rest = text.partition(begin)
    text = head + section + rest.partition(end)[2] if found else f"{text.rstrip()}\n\n{section}\n".lstrip()
    write_text(path, text)


def check_section(path: Path, name: str) -> None:
    """Raise what `write_section` would, before anything long is computed for it."""
    _text_with_section(path, name)


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def _text_with_section(path: Path, name: str) -> str:
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else "lies in no folder that exists"
        raise InputError(f"cannot write the section: {path} {why}; give a file such as results.md")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    begin, end = _marks(name)
    if (begin in text or end in text) and end not in text.partition(begin)[2]:
        raise InputError(f"{path} has only one of the lines {begin!r} and {end!r}: mend or remove that section")
    return text


def terminal(found: Reproduced) -> list[RenderableType]:
    """Return what a terminal shows: the rows, the tables, the notes."""
    from rich.markup import escape

    shown: list[RenderableType] = [_rich(found.citation, HEADER, [cells(row) for row in found.rows])]
    for title, table in found.tables.items():
        shown.append(_rich(title, [str(c) for c in table.columns], _texts(table)))
    return [*shown, *(escape(f"[{k}] {note}") for k, note in enumerate(found.notes, 1))]


def _rich(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    for k, name in enumerate(header):
        numbers = bool(rows) and all(_is_number(row[k]) for row in rows)
        least = 20 if name == HEADER[-1] else min(max(map(len, name.split())), 14)
        if numbers:
            least = max(least, *(len(row[k]) for row in rows))
        table.add_column(
            escape(name), justify="right" if numbers else "left", overflow="fold", vertical="bottom", min_width=least
        )
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _texts(table: pd.DataFrame) -> list[list[str]]:
    return [[_value(value) for value in line] for line in table.itertuples(index=False)]


def _value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def _figure(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if digits >= 0 else f"{value:.{-digits}g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
