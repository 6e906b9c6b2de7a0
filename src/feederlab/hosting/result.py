"""`Hosting`: the capacities of a study, as values that can be saved, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab import answer, atomic
from feederlab.errors import ResultFileError, UnknownNameError
from feederlab.hosting.limits import Binding

if TYPE_CHECKING:
    import pandas as pd

KIND = "feederlab hosting capacity"
TABLE, RECORD = "hosting.csv", "hosting.json"


@dataclass(frozen=True)
class Point:
    """What one factor did: the extremes over the steps that were looked at, and whether every limit was kept.

    steps : how many steps that were; optimal power flow stops at the first that breaks.  The extremes are None where
    nothing has a number (no solution, no rating).
    """

    factor: float
    kept: bool
    steps: int
    vm_min_pu: float | None
    vm_max_pu: float | None
    loading_percent: float | None


@dataclass(frozen=True)
class Capacity:
    """One row: how much fits under one controller.

    factor : the largest factor of the scenario's PV that was tried below the first break, and works; 0 where nothing
    does.  mw : the installed power at it (MW).
    breaks_at : the smallest factor above it that was tried and does not work; None if none up to the largest did, and
    the capacity is *at least* `mw`.
    binding : the element that breaks first between the two, as it stands at `breaks_at`; None if nothing broke.
    works_again : factors above the break that work nevertheless: more PV is then not always worse.
    proven : the relaxation proves that no setpoints of the inverters keep the band at `breaks_at` (`opf` only).
    adopted : steps at the capacity for which `opf` took the setpoints of another row, or started from them.
    unsettled : steps at the capacity at which a loop that goes on from step to step had not come to rest.
    points : every factor that was tried, ascending.
    note : why the controller cannot work here, if it cannot; the other fields then mean nothing.
    """

    controller: str
    information: str
    factor: float
    mw: float
    breaks_at: float | None
    binding: Binding | None
    works_again: tuple[float, ...] = ()
    proven: bool = False
    adopted: int = 0
    unsettled: int = 0
    points: tuple[Point, ...] = field(default=(), repr=False)
    note: str = ""

    @property
    def at_least(self) -> bool:
        """Whether nothing broke up to the largest factor."""
        return not self.note and self.breaks_at is None


@dataclass(frozen=True, eq=False)
class Hosting:
    """The capacities, in the order asked for.

    without_pv : the limit that the loads alone break worst, None if they break none; such places count as kept as
    long as they get no worse, unless ``record["strict"]``.
    record : JSON-ready: scenario, window, limits, versions.
    """

    rows: tuple[Capacity, ...]
    without_pv: Binding | None
    record: Mapping[str, Any] = field(repr=False)

    def row(self, controller: str) -> Capacity:
        """Return the row of a controller."""
        for row in self.rows:
            if row.controller == controller:
                return row
        raise UnknownNameError("row", controller, [row.controller for row in self.rows])

    def table(self) -> pd.DataFrame:
        """Return one row per controller: MW, factor, the break, and the binding element with value, limit and time."""
        import pandas as pd

        names = ("kind", "element", "value", "limit", "unit", "time")
        rows = []
        for row in self.rows:
            binding = dict.fromkeys(names) if row.binding is None else asdict(row.binding)
            rows.append(
                {
                    "controller": row.controller, "information": row.information, "capacity_mw": row.mw,
                    "factor": row.factor, "at_least": row.at_least, "breaks_at": row.breaks_at,
                    **{f"binding_{name}": binding[name] for name in names},
                    "works_again": " ".join(f"{k:.4g}" for k in row.works_again), "proven": row.proven,
                    "adopted_steps": row.adopted, "unsettled_steps": row.unsettled,
                    "factors_tried": len(row.points), "note": row.note,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        without = None if self.without_pv is None else asdict(self.without_pv)
        return {**self.record, "without_pv": without, "rows": [asdict(row) for row in self.rows]}

    def save(self, folder: str | Path, *, overwrite: bool = False, also: Callable[[Path], None] | None = None) -> Path:
        """Write ``hosting.csv`` and ``hosting.json``, each whole or not at all.

        also : called with the folder, to add files of its own (the picture, say), before the record seals it.

        Raises
        ------
        ResultFileError
            If the folder holds something else, or the answer to another question and `overwrite` was not said.
        """
        target = Path(folder)
        answer.check_folder(target, RECORD, self.record, overwrite=overwrite)
        with atomic.whole(target / TABLE) as scratch:
            self.table().to_csv(scratch, index=False)
        if also is not None:
            also(target)
        answer.write(target, RECORD, self.to_dict())
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Hosting:
        """Read what `save` wrote.  Raises `ResultFileError` if it is missing, truncated or something else."""
        from pydantic import TypeAdapter, ValidationError

        record = answer.read(Path(folder), RECORD, KIND)
        try:
            rows = TypeAdapter(tuple[Capacity, ...]).validate_python(record.pop("rows"))
            without = TypeAdapter(Binding | None).validate_python(record.pop("without_pv"))
        except (KeyError, ValidationError) as error:
            raise ResultFileError(f"{Path(folder) / RECORD} is damaged: {error}") from error
        return cls(rows, without, record)
