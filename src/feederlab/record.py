"""The record of a comparison, ``run.json``: what was compared, from what, by which versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from feederlab.errors import ResultFileError

FORMAT = 2
KIND = "feederlab comparison"
RECORD = "run.json"


class Cell(NamedTuple):
    """One run of a comparison: the row's label, the scenario's name, the window's first instant, and the seed."""

    controller: str
    scenario: str
    window: str
    seed: int


_PARTS = {"cells": list, "scenarios": list, "versions": dict, "request": dict, "skipped": list, "failed": list}
_ENTRIES = {
    "cells": Cell._fields,
    "scenarios": ("fingerprint",),
    **dict.fromkeys(("skipped", "failed"), (*Cell._fields, "reason")),
}
"""What a record must hold, and what each entry of its lists must."""


def new_record(cells: list[Cell], **parts: Any) -> dict[str, Any]:
    """Return the record of a comparison of `cells`; `parts` are JSON-ready."""
    return {"format": FORMAT, "kind": KIND, "cells": [cell._asdict() for cell in cells], **parts}


def cell_of(entry: Mapping[str, Any]) -> Cell:
    """Return the cell that an entry of a record names."""
    return Cell(**{name: entry[name] for name in Cell._fields})


def identity(record: Mapping[str, Any]) -> str:
    """Return what makes two records the same comparison, as text."""
    beside = ("versions", "skipped", "failed", "request", "files")
    return json.dumps({k: v for k, v in record.items() if k not in beside}, sort_keys=True)


def changed_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the packages whose version in one record is not that in the other."""
    return [name for name, version in now["versions"].items() if before["versions"].get(name) != version]


def read_record(folder: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a comparison's folder, or of a path to the file itself.

    Raises
    ------
    ResultFileError
        If there is none, or it is no record of a comparison of this format.
    """
    path = folder / RECORD if folder.is_dir() else folder
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultFileError(f"no {RECORD} at {path}: no comparison was saved there") from error
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path} is truncated or no record of a comparison: {error}") from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise ResultFileError(f"{path} is no record of a feederlab comparison")
    if record.get("format") != FORMAT:
        raise ResultFileError(f"{path} has format {record.get('format')}; this version reads format {FORMAT}")
    wrong = [name for name, kind in _PARTS.items() if not isinstance(record.get(name), kind)]
    for name, needed in () if wrong else _ENTRIES.items():
        wrong += [f"{name}[{k}]" for k, entry in enumerate(record[name]) if not _has(entry, needed)]
    if wrong:
        raise ResultFileError(f"{path} is damaged: {', '.join(wrong)} missing or of the wrong kind")
    return record


def _has(entry: object, names: Iterable[str]) -> bool:
    return isinstance(entry, dict) and set(names) <= entry.keys()
