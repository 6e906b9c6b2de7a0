"""`Comparison`: what several controllers did to the same scenarios; one metrics Dataset and the runs behind it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from feederlab.errors import ResultFileError, UnknownNameError
from feederlab.metrics import METRICS
from feederlab.result import Result, write_dataset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMAT = 2
_KIND = "feederlab comparison"
_SCORES, _RECORD, _TABLE, _RUNS = "result.nc", "run.json", "table.csv", "runs"
_BEGINNING = re.compile(rf'\s*\{{\s*"format":\s*\d+,\s*"kind":\s*"{_KIND}"')
_USUAL = r"result\.nc|run\.json|table\.csv|voltages\.png|report\.html|runs(/[^/]+\.nc)?"


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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Many runs and their scores.

    metrics : Dataset over controller, scenario, window, seed; one variable per metric (`feederlab.metrics.METRICS`),
    NaN where a cell has no run.
    runs : cell -> `Result`.
    skipped : cell -> why the controller cannot work on that scenario.
    failed : cell -> what broke: its run, or the lower bounds of its steps (the run is then there).
    record : JSON-ready configuration, versions included; equal records (versions aside) are the same comparison.
    """

    metrics: xr.Dataset
    runs: Mapping[Cell, Result]
    skipped: Mapping[Cell, str]
    record: Mapping[str, Any] = field(repr=False)
    failed: Mapping[Cell, str] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return one row per cell: controller, information, every metric, and a note where a cell was skipped.

        The columns scenario, window and seed appear where there is more than one.
        """
        import pandas as pd

        rows = []
        several = [dim for dim in Cell._fields[1:] if self.metrics.sizes[dim] > 1]
        for cell in map(_cell, self.record["cells"]):
            scores = self.metrics.sel(cell._asdict())
            row: dict[str, Any] = {"controller": cell.controller} | {dim: getattr(cell, dim) for dim in several}
            row["information"] = str(self.metrics["information"].sel(controller=cell.controller).item())
            row |= {metric.name: float(scores[metric.name]) for metric in METRICS}
            row["note"] = f"failed: {self.failed[cell]}" if cell in self.failed else self.skipped.get(cell, "")
            rows.append(row)
        return pd.DataFrame(rows)

    def run(self, controller: str, *, scenario: str = "", window: str = "", seed: int | None = None) -> Result:
        """Return one run; what is not given must leave no choice.

        Raises
        ------
        UnknownNameError
            If no run fits.
        ResultFileError
            If several do.
        """
        fits = [
            cell
            for cell in self.runs
            if cell.controller == controller
            and scenario in ("", cell.scenario)
            and window in ("", cell.window)
            and seed in (None, cell.seed)
        ]
        if not fits:
            raise UnknownNameError("run", controller, sorted({cell.controller for cell in self.runs}))
        if len(fits) > 1:
            raise ResultFileError(f"{len(fits)} runs of {controller!r} fit: give scenario, window or seed as well")
        return self.runs[fits[0]]

    def summary(
        self, by: Sequence[str] = ("controller", "scenario"), metrics: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return mean, standard deviation and count of the metrics over windows and seeds (`significance.summary`)."""
        from feederlab.significance import summary

        return summary(self.metrics, by, metrics)

    def significance(self, reference: str = "opf", metrics: Sequence[str] = (), **settings: Any) -> pd.DataFrame:
        """Test every row against the reference over windows and seeds (`significance.significance`)."""
        from feederlab.significance import METRICS, significance

        return significance(self.metrics, reference, metrics or METRICS, windows=self.record["scenarios"], **settings)

    def save(self, folder: str | Path, *, overwrite: bool = False, also: Callable[[Path], None] | None = None) -> Path:
        """Write ``result.nc`` (metrics), ``run.json``, ``table.csv`` and ``runs/*.nc``; the folder appears whole.

        Parameters
        ----------
        folder
            Where to; replaced if it holds the same comparison, or any comparison with `overwrite`, and nothing else.
        also
            Called with the folder under construction, to add files of its own (pictures, say).

        Raises
        ------
        ResultFileError
            If the folder holds something else.
        """
        target = Path(folder)
        check_folder(target, self.record, overwrite=overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        scratch.chmod(0o777 & ~_umask())
        try:
            write_dataset(scratch / _SCORES, {"": self.metrics.assign_attrs(format=FORMAT)})
            for cell, name in _file_names([_cell(entry) for entry in self.record["cells"]]).items():
                if cell in self.runs:
                    self.runs[cell].save(scratch / _RUNS / name)
            reasons = {
                name: [cell._asdict() | {"reason": reason} for cell, reason in cells.items()]
                for name, cells in (("skipped", self.skipped), ("failed", self.failed))
            }
            self.table().to_csv(scratch / _TABLE, index=False)
            if also is not None:
                also(scratch)
            text = json.dumps({**self.record, **reasons, "files": _entries(scratch)}, indent=2)
            (scratch / _RECORD).write_text(text + "\n", encoding="utf-8")
            _swap(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read a folder that `save` wrote.

        Raises
        ------
        ResultFileError
            If a file is missing, truncated, or no part of a feederlab comparison.
        """
        base = Path(folder)
        record, metrics = read_record(base), _read_scores(base)
        skipped, failed = (
            {_cell(entry): str(entry["reason"]) for entry in record.pop(name)} for name in ("skipped", "failed")
        )
        record.pop("files", None)
        files = {
            cell: base / _RUNS / name
            for cell, name in _file_names([_cell(entry) for entry in record["cells"]]).items()
            if cell not in skipped
        }
        runs = {cell: Result.load(path) for cell, path in files.items() if cell not in failed or path.exists()}
        return cls(metrics, runs, skipped, record, failed)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a comparison's folder, or of a path to the file itself.

    Raises
    ------
    ResultFileError
        If there is none, or it is no record of a comparison of this format.
    """
    path = folder / _RECORD if folder.is_dir() else folder
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultFileError(f"no {_RECORD} at {path}: no comparison was saved there") from error
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path} is truncated or no record of a comparison: {error}") from error
    if not isinstance(record, dict) or record.get("kind") != _KIND:
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


def add_files(folder: Path, names: Iterable[str]) -> None:
    """Enter files that were written into a comparison's folder later (paths from there): they are then part of it."""
    path = folder / _RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(record.get("files"), list):
        record["files"] = sorted({*record["files"], *names})
        scratch = path.with_name(f".{_RECORD}.part")
        scratch.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(scratch, path)


def new_record(cells: list[Cell], **parts: Any) -> dict[str, Any]:
    """Return the record of a comparison of `cells`; `parts` are JSON-ready."""
    return {"format": FORMAT, "kind": _KIND, "cells": [cell._asdict() for cell in cells], **parts}


def holds(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether `folder` holds this very comparison, complete."""
    if not (folder / _RECORD).is_file():
        return False
    try:
        return identity(read_record(folder)) == identity(record)
    except ResultFileError:
        return False


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
    foreign = [name for name in _entries(folder) if not ours(name)]
    if foreign:
        some = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise ResultFileError(f"{folder} also holds what is no part of a comparison ({some}): move it elsewhere first")
    if overwrite:
        return
    if identity(read_record(folder)) != identity(record):
        raise ResultFileError(f"{folder} holds the result of another run: choose another folder, or give --overwrite")
    _read_scores(folder)


def _is_ours(folder: Path) -> Callable[[str], bool] | None:
    """Return what tells a comparison's own entries in its folder from others; None if it is no comparison's folder.

    The record lists what was written.  A record cut short, or of another format, is known by how it begins; then the
    names that every comparison uses are its own.
    """
    try:
        text = (folder / _RECORD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return _usual if _BEGINNING.match(text) else None
    if not isinstance(record, dict) or record.get("kind") != _KIND:
        return None
    listed = record.get("files")
    return {*listed, _RECORD}.__contains__ if isinstance(listed, list) else _usual


def _usual(name: str) -> bool:
    return re.fullmatch(_USUAL, name) is not None


def _entries(folder: Path) -> list[str]:
    """Return every file and folder inside `folder`, as paths from there."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _read_scores(folder: Path) -> xr.Dataset:
    import xarray as xr

    try:
        scores = xr.load_dataset(folder / _SCORES, engine="h5netcdf")
        scores.attrs.pop("format")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ResultFileError(
            f"{folder / _SCORES} is missing, truncated or no feederlab result: {error}; "
            "run the comparison again with --overwrite"
        ) from error
    return scores


def identity(record: Mapping[str, Any]) -> str:
    """Return what makes two records the same comparison, as text."""
    beside = ("versions", "skipped", "failed", "request", "files")
    return json.dumps({k: v for k, v in record.items() if k not in beside}, sort_keys=True)


def _cell(entry: Mapping[str, Any]) -> Cell:
    return Cell(**{name: entry[name] for name in Cell._fields})


def _file_names(cells: Sequence[Cell]) -> dict[Cell, str]:
    """Return a readable, unique file name for each cell; parts that all cells share are left out."""
    varying = [k for k in range(len(Cell._fields)) if k == 0 or len({cell[k] for cell in cells}) > 1]
    names: dict[Cell, str] = {}
    for cell in cells:
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", "_".join(str(cell[k]) for k in varying)).strip("_.") or "run"
        taken, name, count = set(names.values()), f"{stem}.nc", 2
        while name in taken:
            name, count = f"{stem}_{count}.nc", count + 1
        names[cell] = name
    return names


def _swap(made: Path, target: Path) -> None:
    """Put the finished folder in place; an old one steps aside first, and back if that fails."""
    aside = made.with_suffix(".old")
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(made, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(aside)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
