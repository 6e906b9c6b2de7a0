"""Plain values: what they hold, and when two are the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from feederlab.controllers.base import Measurement
from feederlab.models.arrays import BoolArray

SETPOINTS = {
    "inverters": ("q_mvar", "p_mw"),
    "storages": ("storage_p_mw", "storage_q_mvar"),
    "capacitors": ("step",),
    "tap_changers": ("tap",),
}


def row_of(values: Any, k: int) -> Any:
    """Return the values at the k-th instant of a batch."""
    return values[k] if np.ndim(values) == 2 else values


def read_only(measurement: Measurement) -> Measurement:
    """Return a copy whose arrays raise when written to."""
    copies = {}
    for f in fields(measurement):
        value = getattr(measurement, f.name)
        if isinstance(value, np.ndarray):
            value = value.copy()
            value.setflags(write=False)
        copies[f.name] = value
    return Measurement(**copies)


def leaves(state: Any) -> list[Any]:
    """Return everything in a nested state, in a fixed order."""
    if isinstance(state, dict):
        return [leaf for key in sorted(state) for leaf in leaves(state[key])]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in leaves(value)]
    return [state]


def is_plain(leaf: Any) -> bool:
    """Whether a value is a plain array or scalar."""
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in "biufcUSM"
    return leaf is None or isinstance(leaf, bool | int | float | complex | str | np.generic)


def rows_of(values: Any, rows: BoolArray, count: int | None = None) -> Any:
    """Return the given rows; None for what has no rows (or not `count` of them)."""
    if not isinstance(values, np.ndarray) or values.ndim == 0 or (count is not None and len(values) != count):
        return None
    return values[rows]


def equal(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values are the same up to `tolerance`, NaN equal to NaN."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return bool(a is b or a == b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind in "US":
        return bool(a.shape == b.shape and np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=1e-6, atol=tolerance, equal_nan=True))
