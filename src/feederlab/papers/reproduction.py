"""What every reproduction gives: rows *reported | reproduced | why they differ*, tables behind them, and notes."""

from __future__ import annotations

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from feederlab.atomic import whole, write_text
from feederlab.errors import FeederlabError, ResultFileError

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.compare import Progress
    from feederlab.comparison import Comparison
    from feederlab.controllers.base import Controller
    from feederlab.models.scenario import Scenario
    from feederlab.simulate import RunOptions
    from feederlab.work import Piece

_KIND = "feederlab reproduction"
_FORMAT = 1
RECORD, TABLE, TABLES = "reproduction.json", "table.csv", "tables"


@dataclass(frozen=True)
class Row:
    """One figure of a paper, and ours.

    case, row, quantity, unit : what is meant, e.g. ``mapdn33``, ``droop``, ``CR``, ``%``.
    reported : the published value; NaN: none.  source : where it stands.
    digits : decimals that it is printed with, which ours are printed with too; negative: significant digits.
    reproduced, std, n : our mean, its standard deviation over `n` windows; NaN: not computed, or a single value.
    why : why the two differ; ``[k]`` refers to the k-th note.
    """

    case: str
    row: str
    quantity: str
    unit: str
    reported: float
    source: str
    reproduced: float
    digits: int
    std: float = math.nan
    n: int = 1
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both are the same number at the digits reported."""
        return self.digits >= 0 and abs(self.reproduced - self.reported) <= 0.501 * 10.0**-self.digits


@dataclass(frozen=True, eq=False)
class Reproduced:
    """The answer of a reproduction.

    settings : what was computed.  rows : reported beside reproduced.  tables : title -> DataFrame, units in the column
    names.  notes : numbered from 1.  seconds : wall time.  comparisons : folder name -> the runs behind the
    reproduced figures.
    """

    name: str
    citation: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    tables: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...]
    seconds: float
    comparisons: Mapping[str, Comparison] = field(default_factory=dict, repr=False)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows], columns=[f.name for f in fields(Row)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the runs as plain values, None where there is no number."""
        return {
            "format": _FORMAT, "kind": _KIND, "name": self.name, "settings": dict(self.settings), "finished": True,
            "citation": self.citation, "seconds": self.seconds, "rows": [_plain(asdict(row)) for row in self.rows],
            "tables": {
                title: [_plain(line) for line in table.to_dict(orient="records")]
                for title, table in self.tables.items()
            },
            "notes": list(self.notes), "comparisons": list(self.comparisons),
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write ``table.csv``, ``tables/*.csv`` and, last, ``reproduction.json``, each whole or not at all.

        The runs stand beside them, one folder per comparison, saved as they were made.
        """
        base = Path(folder)
        with whole(base / TABLE) as scratch:
            self.frame().to_csv(scratch, index=False)
        for title, table in self.tables.items():
            with whole(base / TABLES / f"{_slug(title)}.csv") as scratch:
                table.to_csv(scratch, index=False)
        write_text(base / RECORD, json.dumps(self.to_dict(), indent=2) + "\n")
        return base

    @classmethod
    def load(cls, folder: str | Path) -> Reproduced:
        """Read what `save` wrote, and the comparisons beside it.

        Raises
        ------
        ResultFileError
            If there is none, it is damaged, or the reproduction has not finished.
        """
        import pandas as pd

        from feederlab.comparison import Comparison

        base = Path(folder)
        record = read_record(base)
        if not record["finished"]:
            raise ResultFileError(f"{base} holds an unfinished reproduction: go on with it by --resume")
        try:
            rows = tuple(Row(**_numbers(row)) for row in record["rows"])
            tables = {title: pd.DataFrame(lines) for title, lines in record["tables"].items()}
            notes, seconds = tuple(record["notes"]), float(record["seconds"])
            names, citation = list(record["comparisons"]), str(record["citation"])
        except (KeyError, TypeError, ValueError) as error:
            raise ResultFileError(f"{base / RECORD} is damaged: {error!r}") from error
        return cls(
            record["name"], citation, record["settings"], rows, tables, notes, seconds,
            {name: Comparison.load(base / name) for name in names},
        )  # fmt: skip


@dataclass(frozen=True)
class How:
    """How a reproduction is carried out; the figures do not depend on it.

    jobs : processes, -1: one per core.  out : folder that the runs are saved to; None: they are not.
    overwrite : replace what another reproduction left there.  resume : go on with what a killed one left there.
    """

    jobs: int = 1
    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    progress: Progress | None = None

    def compare(
        self,
        name: str,
        scenarios: Sequence[Scenario],
        controllers: Mapping[str, Controller] | Sequence[str],
        options: RunOptions,
        *,
        certificates: bool = True,
        keep: bool = True,
    ) -> Comparison:
        """Run a comparison and, with `keep`, save it to the folder `name` of `out`."""
        from feederlab.compare import compare

        out = self.out / name if keep and self.out is not None else None
        total = (len(controllers) + certificates) * sum(one.periods for one in scenarios)
        tell = self.progress
        return compare(
            list(scenarios), controllers, options, jobs=self.jobs, certificates=certificates,
            out=out, overwrite=self.overwrite, resume=self.resume and out is not None,
            progress=None if tell is None else lambda what, steps, of: tell(name, steps, total),
        )  # fmt: skip

    def do(self, what: str, pieces: Sequence[Piece], total: int | None = None) -> list[Any]:
        """Return the answers of all pieces, in their order.

        total : the steps of all pieces together, of which they tell; None: each piece is one step.

        Raises
        ------
        FeederlabError
            If a piece broke: then no row would say what it seems to.
        """
        from feederlab.work import Refusal, work

        tell = self.progress or (lambda name, count, of: None)
        inside = total is not None and (self.jobs == 1 or len(pieces) == 1)
        most = len(pieces) if total is None else total
        answers: dict[int, Any] = {}
        for k, answer in work(pieces, jobs=self.jobs, steps=(lambda k, n: tell(what, n, most)) if inside else None):
            if isinstance(answer, Refusal):
                raise FeederlabError(f"{what}: {answer.reason}\n{answer.details}".rstrip())
            if not inside:
                tell(what, most // len(pieces), most)
            answers[k] = answer
        return [answers[k] for k in range(len(pieces))]


class Reproduction(ABC):
    """A published study; its fields are its settings, with the paper's own as defaults.

    modules : of the extra ``feederlab[learn]``, without which nothing is begun.
    """

    name: ClassVar[str]
    citation: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def compute(self, how: How) -> Reproduced:
        """Compute everything."""

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Return the names of the settings."""
        return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

    def run(self, how: How | None = None) -> Reproduced:
        """Compute everything, and save it where `how` says.

        Raises
        ------
        ResultFileError
            If the folder holds something else.
        MissingExtraError
            If what it learns with is not installed.
        """
        how = how or How()
        if self.modules:
            from feederlab.learn.extra import need

            need(*self.modules)
        if how.out is not None:
            self._claim(how.out, overwrite=how.overwrite)
        found = self.compute(how)
        if how.out is not None:
            found.save(how.out)
        return found

    def values(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {key: _plain_value(getattr(self, key)) for key in self.settings()}

    def _claim(self, folder: Path, *, overwrite: bool) -> None:
        """Make sure that `folder` is new or ours, drop what other settings left, and mark it as begun."""
        if folder.exists() and not folder.is_dir():
            raise ResultFileError(f"{folder} is a file, not a folder")
        if folder.exists() and any(folder.iterdir()):
            before = read_record(folder)
            same = before["name"] == self.name and before["settings"] == self.values()
            if not same and not overwrite:
                raise ResultFileError(
                    f"{folder} holds {before['name']} with other settings: choose another folder, or give --overwrite"
                )
            if not same:
                _drop(folder)
        begun = {"format": _FORMAT, "kind": _KIND, "name": self.name, "settings": self.values(), "finished": False}
        write_text(folder / RECORD, json.dumps(begun, indent=2) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the ``reproduction.json`` of a folder.

    Raises
    ------
    ResultFileError
        If there is none, or it is another file or of another format.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultFileError(f"no {RECORD} in {folder}: no reproduction was saved there") from error
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path} is truncated or no record of a reproduction: {error}") from error
    if not isinstance(record, dict) or record.get("kind") != _KIND:
        raise ResultFileError(f"{path} is no record of a feederlab reproduction")
    if record.get("format") != _FORMAT:
        raise ResultFileError(f"{path} has format {record.get('format')}; this version reads format {_FORMAT}")
    if missing := {"name", "settings", "finished"} - record.keys():
        raise ResultFileError(f"{path} is damaged: {', '.join(sorted(missing))} missing")
    return record


def _drop(folder: Path) -> None:
    """Remove the comparisons and tables that a reproduction left; anything foreign inside a comparison is an error."""
    from feederlab.folder import check_folder

    old = [path.parent for path in folder.glob("*/run.json") if not path.parent.name.endswith(".unfinished")]
    for path in old:
        check_folder(path, {}, overwrite=True)
    for path in old:
        shutil.rmtree(path)
    for path in (folder / TABLES).glob("*.csv"):
        path.unlink()


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain_value(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in row.items()}
