"""The folder that holds the answer to one question of `sweep` or `hosting`: a table, a record, a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feederlab import atomic
from feederlab.errors import ResultFileError

FORMAT = 1
_BESIDE = ("versions",)  # what two answers to the same question may differ in


def question(kind: str, **parts: Any) -> dict[str, Any]:
    """Return the record of a question; `parts` are JSON-ready."""
    return {"format": FORMAT, "kind": kind, **parts}


def check_folder(folder: Path, name: str, asked: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure that an answer may be written to `folder`: new, empty, the same question's, or `overwrite`.

    name : file name of the record.  asked : the question, as `question` made it.

    Raises
    ------
    ResultFileError
        If it holds the answer to another question, or no answer of this kind at all.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultFileError(f"{folder} is a file, not a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / name).is_file():
        raise ResultFileError(f"{folder} holds files, and no {asked['kind']}: choose another folder")
    if overwrite:
        return
    before = read(folder, name, str(asked["kind"]))
    now = json.loads(json.dumps(finite(dict(asked))))
    if any(before.get(key) != value for key, value in now.items() if key not in _BESIDE):
        raise ResultFileError(
            f"{folder} holds the {asked['kind']} of another question: choose another folder, or give --overwrite"
        )


def write(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Write the record as strict JSON: what is no number is null."""
    atomic.write_text(folder / name, json.dumps(finite(dict(record)), indent=2, default=str) + "\n")


def read(folder: Path, name: str, kind: str) -> dict[str, Any]:
    """Return the record of a folder.  Raises `ResultFileError` if it is missing, truncated or of another kind."""
    path = folder / name
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultFileError(f"no {name} in {folder}: no {kind} was saved there") from error
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path} is truncated or no {kind}: {error}") from error
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise ResultFileError(f"{path} is no {kind}")
    if record.get("format") != FORMAT:
        raise ResultFileError(f"{path} has format {record.get('format')}; this version reads format {FORMAT}")
    return record


def finite(value: Any) -> Any:
    """Return JSON-ready `value` with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
