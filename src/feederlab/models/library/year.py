"""SimBench's year: 35,136 quarter hours of load, renewable and storage shapes (data: ODbL, simbench.de)."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab.models.arrays import FloatArray, frozen
from feederlab.models.library.cache import recall, remember
from feederlab.models.profiles import Profile

QUARTERS = 35_136
TABLES = {
    "load": "LoadProfile", "renewables": "RESProfile", "storage": "StorageProfile", "powerplants": "PowerPlantProfile",
}  # fmt: skip
"""name -> file of SimBench's data."""


def times() -> pd.DatetimeIndex:
    """Return the (35136,) instants: 2016 in central European standard time.

    SimBench labels its rows in local time, so that an hour is missing in March and one comes twice in October; the rows
    are evenly spaced all the same, and are numbered here without summer time.
    """
    return pd.date_range("2016-01-01", periods=QUARTERS, freq="15min")


@lru_cache(maxsize=8)
def table(name: str, scenario: int = 0) -> pd.DataFrame:
    """Return the (35136, shapes) relative profiles of one of `TABLES`; load shapes end in ``_pload`` and ``_qload``.

    scenario : SimBench's 0 (today), 1 (future), 2 (far future); storage shapes exist in 1 and 2 only.
    """
    found = recall(_file(name, scenario), _read)
    if found is None:
        found = _parse(name, scenario)
        remember(_file(name, scenario), found.to_parquet)
    return found


def shapes(name: str, columns: list[str], scenario: int = 0) -> FloatArray:
    """Return (35136, len(columns)) relative values."""
    return table(name, scenario)[columns].to_numpy(dtype=np.float64)


def unit_peak(name: str, columns: list[str], scenario: int = 0) -> FloatArray:
    """Return (35136, len(columns)) shapes, each divided by the largest value it takes in the year."""
    values = shapes(name, columns, scenario)
    return frozen(values / values.max(axis=0))


def load_shapes() -> list[str]:
    """Return the names of SimBench's 96 active-power load shapes."""
    return [column for column in table("load").columns if column.endswith("_pload")]


def consumer_shapes() -> list[str]:
    """Return those of households, trades, farms and whole low- and medium-voltage grids.

    Left out are vehicles, heat pumps and high-voltage customers, whose shapes only make sense beside other loads.
    """
    kinds = ("H0", "G", "L0", "L1", "L2", "BL", "WB", "lv_", "mv_")
    return [column for column in load_shapes() if column.startswith(kinds)]


def pv_shapes() -> list[str]:
    """Return the names of SimBench's 8 PV shapes."""
    return [column for column in table("renewables").columns if column.startswith("PV")]


def year_profile(values: FloatArray, pick: Any, scale: Any, index: Any) -> Profile:
    """Return the year's profile ``values[t, pick[e]] * scale[e]`` of the elements `index`."""
    return Profile(times(), values, frozen(pick, np.int64), frozen(scale), frozen(index, np.int64))


def _file(name: str, scenario: int) -> str:
    return f"simbench-{version('simbench')}/year-{scenario}-{name}.parquet"


def _read(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    if len(frame) not in (0, QUARTERS):
        raise ValueError(f"{len(frame)} rows")
    return frame


def _parse(name: str, scenario: int) -> pd.DataFrame:
    """Read the table from SimBench's files, without importing the package, which takes longer than the reading."""
    spec = importlib.util.find_spec("simbench")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("simbench")
    folder = Path(spec.origin).parent / "networks" / f"1-complete_data-mixed-all-{scenario}-sw"
    frame = pd.read_csv(folder / f"{TABLES[name]}.csv", sep=";", index_col="time")
    return frame.reset_index(drop=True).astype(np.float64)
