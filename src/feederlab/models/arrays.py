"""Read-only numpy arrays for the frozen model classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def frozen(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """Return a contiguous copy of `values` as `dtype` that cannot be written to."""
    array = np.array(values, dtype=dtype, copy=True, order="C")
    array.setflags(write=False)
    return array
