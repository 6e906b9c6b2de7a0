"""`Sweep`: every setting that was tried, with what it did to the band and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab import answer, atomic
from feederlab.errors import InputError, ResultFileError
from feederlab.models.arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

KIND = "feederlab sweep"
TABLE, RECORD = "sweep.csv", "sweep.json"
VIOLATIONS = {
    "bus_steps": ("v_out_pct", "bus-steps out of band", "%"),
    "excess": ("excess_mean", "voltage excess, summed over the buses", "p.u.²"),
}
"""measure -> (column, what it is, unit)."""
COST = "lost_mw"


def front(violations: FloatArray, cost: FloatArray) -> BoolArray:
    """Return (n,) which points no other point beats: none has less of one and no more of the other.

    Points that are not finite are on no front; of equal points all are.
    """
    known = np.isfinite(violations) & np.isfinite(cost)
    kept = known.copy()
    for k in np.flatnonzero(known):
        no_worse = (violations <= violations[k]) & (cost <= cost[k]) & known
        kept[k] = not (no_worse & ((violations < violations[k]) | (cost < cost[k]))).any()
    return kept


@dataclass(frozen=True, eq=False)
class Sweep:
    """A table of settings.

    table : one row per setting and per baseline: ``kind``, ``controller`` (the specification), one column per swept
    key, then the metrics of `metrics.METRICS` (``_value`` behind a name that a swept key has too), ``excess_mean``,
    the mean over the steps of the voltage excess (`scoring.voltage_excess`; inf if a step has no power flow), and
    ``lost_mw``, mean losses plus mean curtailment.
    violations : which measure the front and the best are about, a key of `VIOLATIONS`.
    keys : the swept keys.  record : JSON-ready: scenario, window, space, versions.
    """

    table: pd.DataFrame
    violations: str
    keys: tuple[str, ...]
    record: Mapping[str, Any] = field(repr=False)

    @property
    def settings(self) -> pd.DataFrame:
        """The rows that were swept."""
        return self.table[self.table["kind"] == "setting"]

    @property
    def baselines(self) -> pd.DataFrame:
        """The rows to compare with."""
        return self.table[self.table["kind"] == "baseline"]

    @property
    def column(self) -> str:
        """The column that measures violations."""
        return VIOLATIONS[self.violations][0]

    def sound(self) -> pd.DataFrame:
        """Return the settings that settled, and had a power flow, at every step; all if none did."""
        rows = self.settings[self.settings["note"] == ""]
        good = rows[(rows["unsettled_steps"] == 0) & (rows["not_converged"] == 0)]
        return good if len(good) else rows

    def best(self) -> pd.Series:
        """Return the sound setting with the least violations, and of those the one with the least losses."""
        return self.sound().sort_values([self.column, COST], kind="stable").iloc[0]

    def pareto(self) -> pd.DataFrame:
        """Return the sound settings that no other beats in violations and losses both, least violations first."""
        rows = self.sound()
        kept = front(rows[self.column].to_numpy(dtype=float), rows[COST].to_numpy(dtype=float))
        return rows[kept].sort_values([self.column, COST], kind="stable")

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        marks = {"best": str(self.best()["controller"]), "pareto": self.pareto()["controller"].tolist()}
        return {**self.record, **marks, "rows": self.table.to_dict(orient="records")}

    def save(self, folder: str | Path, *, overwrite: bool = False, also: Callable[[Path], None] | None = None) -> Path:
        """Write ``sweep.csv`` and ``sweep.json``, each whole or not at all.

        also : called with the folder, to add files of its own (the picture, say), before the record seals it.

        Raises
        ------
        ResultFileError
            If the folder holds something else, or another sweep and `overwrite` was not said.
        """
        target = Path(folder)
        answer.check_folder(target, RECORD, self.record, overwrite=overwrite)
        with atomic.whole(target / TABLE) as scratch:
            self.table.to_csv(scratch, index=False)
        if also is not None:
            also(target)
        answer.write(target, RECORD, self.to_dict())
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Sweep:
        """Read what `save` wrote.  Raises `ResultFileError` if it is missing, truncated or something else."""
        import pandas as pd

        record = answer.read(Path(folder), RECORD, KIND)
        try:
            for mark in ("best", "pareto", "rows"):
                record.pop(mark)
            text = (Path(folder) / TABLE).read_text(encoding="utf-8")
            kept = ["kind", "controller", "note", *record["keys"]]
            table = pd.read_csv(StringIO(text), dtype=dict.fromkeys(kept, str), keep_default_na=False, na_values={
                name: [""] for name in text.splitlines()[0].split(",") if name not in kept
            })  # fmt: skip
            _ = table[[*kept, COST, VIOLATIONS[record["violations"]][0], "unsettled_steps", "not_converged"]]
            return cls(table, record["violations"], tuple(record["keys"]), record)
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise ResultFileError(f"{folder} holds a damaged sweep: {error}") from error


def check_violations(name: str) -> str:
    """Return the name of a measure; raises `InputError` for an unknown one."""
    if name not in VIOLATIONS:
        raise InputError(f"violations are measured as {' or '.join(VIOLATIONS)}, not {name!r}")
    return name
