"""`Comparison`: what several controllers did to the same scenarios; one metrics Dataset and the runs behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.atomic import whole_folder, write_text
from feederlab.errors import ResultFileError, UnknownNameError
from feederlab.folder import RUNS, SCORES, TABLE, check_folder, entries, place, read_scores
from feederlab.metrics import METRICS
from feederlab.record import FORMAT, RECORD, Cell, cell_of, read_record
from feederlab.result import Result, write_dataset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


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

        The columns scenario, window and seed appear where there is more than one.  A metric that is younger than the
        comparison is NaN.
        """
        import pandas as pd

        scores = self.metrics.transpose(*Cell._fields)
        place = {dim: {value: k for k, value in enumerate(scores[dim].to_numpy().tolist())} for dim in Cell._fields}
        known = {m.name: scores[m.name].to_numpy() for m in METRICS if m.name in scores}
        sees = dict(zip(place["controller"], scores["information"].to_numpy().tolist(), strict=True))
        several = [dim for dim in Cell._fields[1:] if scores.sizes[dim] > 1]
        rows = []
        for cell in map(cell_of, self.record["cells"]):
            at = tuple(place[dim][value] for dim, value in cell._asdict().items())
            row: dict[str, Any] = {"controller": cell.controller} | {dim: getattr(cell, dim) for dim in several}
            row["information"] = sees[cell.controller]
            row |= {m.name: float(known[m.name][at]) if m.name in known else float("nan") for m in METRICS}
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
            If the folder holds something else, or is the one that this process works in.
        """
        target = place(folder)
        check_folder(target, self.record, overwrite=overwrite)
        reasons = {
            name: [cell._asdict() | {"reason": reason} for cell, reason in cells.items()]
            for name, cells in (("skipped", self.skipped), ("failed", self.failed))
        }
        with whole_folder(target) as scratch:
            write_dataset(scratch / SCORES, {"": self.metrics.assign_attrs(format=FORMAT)})
            for cell, name in _file_names([cell_of(entry) for entry in self.record["cells"]]).items():
                if cell in self.runs:
                    self.runs[cell].save(scratch / RUNS / name)
            self.table().to_csv(scratch / TABLE, index=False)
            if also is not None:
                also(scratch)
            write_text(
                scratch / RECORD, json.dumps({**self.record, **reasons, "files": entries(scratch)}, indent=2) + "\n"
            )
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
        record, metrics = read_record(base), read_scores(base)
        skipped, failed = (
            {cell_of(entry): str(entry["reason"]) for entry in record.pop(name)} for name in ("skipped", "failed")
        )
        record.pop("files", None)
        files = {
            cell: base / RUNS / name
            for cell, name in _file_names([cell_of(entry) for entry in record["cells"]]).items()
            if cell not in skipped
        }
        runs = {cell: Result.load(path) for cell, path in files.items() if cell not in failed or path.exists()}
        return cls(metrics, runs, skipped, record, failed)


_LONGEST = 100  # characters of a file's name; systems refuse more than 255, with what is added while it is written


def _file_names(cells: Sequence[Cell]) -> dict[Cell, str]:
    """Return a readable, unique file name for each cell; parts that all cells share are left out."""
    varying = [k for k in range(len(Cell._fields)) if k == 0 or len({cell[k] for cell in cells}) > 1]
    names: dict[Cell, str] = {}
    for cell in cells:
        stem = re.sub(r"[^A-Za-z0-9.=+-]+", "_", "_".join(str(cell[k]) for k in varying))
        stem = stem[:_LONGEST].strip("_.") or "run"
        taken, name, count = set(names.values()), f"{stem}.nc", 2
        while name in taken:
            name, count = f"{stem}_{count}.nc", count + 1
        names[cell] = name
    return names
