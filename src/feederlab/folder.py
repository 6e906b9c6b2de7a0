"""The folder that a comparison is saved to: what in it is ours, and what may be replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.atomic import write_text
from feederlab.errors import ResultFileError
from feederlab.record import KIND, RECORD, identity, read_record

if TYPE_CHECKING:
    import xarray as xr

SCORES, TABLE, RUNS = "result.nc", "table.csv", "runs"
_BEGINNING = re.compile(rf'\s*\{{\s*"format":\s*\d+,\s*"kind":\s*"{KIND}"')
_USUAL = r"result\.nc|run\.json|table\.csv|voltages\.png|report\.html|runs(/[^/]+\.nc)?"


def place(out: str | Path) -> Path:
    """Return the folder that `out` means, links followed.

    Raises
    ------
    ResultFileError
        If this process is at work inside it: it could not be replaced as a whole.
    """
    folder = Path(out).resolve()
    if Path.cwd().is_relative_to(folder):
        raise ResultFileError(f"{folder} is the folder you are in, or holds it: name a new folder to save to")
    return folder


def check_folder(folder: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Make sure that a comparison may be written to `folder`: new, empty, the same comparison, or `overwrite`.

    Raises
    ------
    ResultFileError
        If it holds another comparison, a damaged one, or files that are none of ours.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultFileError(f"{folder} is a file, not a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    ours = _is_ours(folder)
    if ours is None:
        raise ResultFileError(f"{folder} holds files, and no comparison: choose another folder")
    foreign = [name for name in entries(folder) if not ours(name)]
    if foreign:
        some = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise ResultFileError(f"{folder} also holds what is no part of a comparison ({some}): move it elsewhere first")
    if overwrite:
        return
    if identity(read_record(folder)) != identity(record):
        raise ResultFileError(f"{folder} holds the result of another run: choose another folder, or give --overwrite")
    read_scores(folder)


def _is_ours(folder: Path) -> Callable[[str], bool] | None:
    """Return what tells a comparison's own entries in its folder from others; None if it is no comparison's folder.

    The record lists what was written.  A record cut short, or of another format, is known by how it begins; then the
    names that every comparison uses are its own.
    """
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return _usual if _BEGINNING.match(text) else None
    if not isinstance(record, dict) or record.get("kind") != KIND:
        return None
    listed = record.get("files")
    return {*listed, RECORD}.__contains__ if isinstance(listed, list) else _usual


def _usual(name: str) -> bool:
    return re.fullmatch(_USUAL, name) is not None


def entries(folder: Path) -> list[str]:
    """Return every file and folder inside `folder`, as paths from there."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def read_scores(folder: Path) -> xr.Dataset:
    """Return the metrics of a saved comparison.  Raises `ResultFileError` if they cannot be read."""
    import xarray as xr

    try:
        scores = xr.load_dataset(folder / SCORES, engine="netcdf4")
        scores.attrs.pop("format")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ResultFileError(
            f"{folder / SCORES} is missing, truncated or no feederlab result: {error}; "
            "run the comparison again with --overwrite"
        ) from error
    return scores


def holds(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether `folder` holds this very comparison, complete."""
    if not (folder / RECORD).is_file():
        return False
    try:
        return identity(read_record(folder)) == identity(record)
    except ResultFileError:
        return False


def add_files(folder: Path, names: Iterable[str]) -> None:
    """Enter files that were written into a comparison's folder later (paths from there): they are then part of it."""
    path = folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(record.get("files"), list):
        record["files"] = sorted({*record["files"], *names})
        write_text(path, json.dumps(record, indent=2) + "\n")
