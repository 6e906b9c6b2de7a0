"""Careful access to tables that may be broken: what cannot be read comes back as NaN, and other rules skip it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import Problem
from feederlab.models.arrays import BoolArray, FloatArray, IntArray


def table(net: Any, name: str) -> pd.DataFrame:
    """Return a table of the net, empty if the net has none of that name."""
    found = net.get(name)
    return found if isinstance(found, pd.DataFrame) else pd.DataFrame()


def numbers(frame: pd.DataFrame, column: str, default: float = np.nan) -> FloatArray:
    """Return a column as (rows,) floats: NaN where a value is no number, `default` where the column does not exist."""
    if column not in frame:
        return np.full(len(frame), default)
    values = frame[column]
    if values.dtype.kind in "fiub":
        return values.to_numpy(dtype=float)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)


def truths(frame: pd.DataFrame, column: str, default: bool = False) -> BoolArray:
    """Return a column as (rows,) truth values; `default` where it is empty or does not exist."""
    if column not in frame:
        return np.full(len(frame), default)
    values = frame[column]
    if values.dtype.kind == "b":
        return values.to_numpy(dtype=bool)
    return np.array([default if pd.isna(value) else bool(value) for value in values], dtype=bool)


def in_service(frame: pd.DataFrame) -> BoolArray:
    """Return (rows,) whether each element is in service."""
    return truths(frame, "in_service", True)


def positions(index: pd.Index, wanted: FloatArray) -> IntArray:
    """Return (n,) positions in `index` of the labels `wanted`; -1 where there is none."""
    found = np.full(len(wanted), -1, dtype=np.int64)
    known = np.isfinite(wanted)
    if known.any() and index.is_unique:
        found[known] = index.get_indexer(pd.Index(wanted[known].astype(np.int64)))
    return found


def where(name: str, column: str, frame: pd.DataFrame, bad: BoolArray, message: str) -> list[Problem]:
    """Return one problem for the rows marked `bad`, or none."""
    return [Problem(name, column, tuple(frame.index[bad]), message)] if bad.any() else []


def span(values: FloatArray) -> str:
    """Return ``"-0.1"``, or ``"-0.1 to -0.4"`` for several different values."""
    low, high = np.nanmin(values), np.nanmax(values)
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def listed(items: Iterable[object], limit: int = 8) -> str:
    """Return the items, comma-separated, the first few of many."""
    shown = [str(item) for item in items]
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")
