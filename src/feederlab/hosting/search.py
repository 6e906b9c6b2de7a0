"""How far a factor can grow before something breaks: a coarse scan upwards, then bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feederlab.errors import InputError

_LEAST = 1e-3
"""Below this factor nothing is told apart from nothing."""
_PER_DOUBLING = 2
_ABOVE = 2.0
"""The scan goes on to this multiple of the factor that broke."""


@dataclass(frozen=True)
class Found:
    """Where a factor stops working.

    works : largest factor tried below the first break (NaN: not even 0 works).  breaks : smallest factor tried above it
    that does not work; NaN: none up to the largest.
    works_again : factors of the scan above the break that work nevertheless.
    """

    works: float
    breaks: float
    works_again: tuple[float, ...]


def scan_factors(largest: float) -> list[float]:
    """Return the factors of the coarse scan: 1/4 to `largest`, two per doubling, and `largest` itself."""
    if not 0 < largest < np.inf:
        raise InputError(f"the largest factor must be positive, not {largest}")
    grid = [2.0 ** (k / _PER_DOUBLING) for k in range(-4, 200)]
    return [k for k in grid if k < largest * (1 - 1e-9)] + [largest]


def check_tolerance(tolerance: float) -> float:
    """Return the relative width at which the bisection ends, if it is one; raises `InputError` otherwise."""
    if not 1e-6 <= tolerance < 1:
        raise InputError(f"the tolerance must lie between 1e-6 and 1, not {tolerance}")
    return tolerance


def first_break(works: Callable[[float], bool], largest: float, tolerance: float, *, from_: float = 0.0) -> Found:
    """Return the first break of `works` between `from_` and `largest`.

    The scan finds the first of its factors that does not work; bisection then narrows the last interval down to
    ``breaks - works <= tolerance breaks``.  That is the first break if `works` changes once inside that interval and
    not at all inside the ones before it.  The scan's factors above the break are tried as well, up to twice the
    break: any that work are told, since then more is not always worse.

    Parameters
    ----------
    works
        Whether a factor works.
    from_
        A factor that is to be tried first: the scan starts there if it works, and at 0 if not.

    Raises
    ------
    InputError
        If the largest factor or the tolerance makes no sense.
    """
    check_tolerance(tolerance)
    grid = scan_factors(largest)
    low = from_ if from_ > 0 and works(from_) else 0.0
    if low == 0.0 and not works(0.0):
        return Found(np.nan, 0.0, tuple(k for k in grid if k <= 2 * _ABOVE and works(k)))
    high = np.nan
    for k in grid:
        if k <= low:
            continue
        if not works(k):
            high = k
            break
        low = k
    if np.isnan(high):
        return Found(low, np.nan, ())
    scanned = high
    while high >= _LEAST and high - low > tolerance * high:
        middle = (low + high) / 2
        low, high = (middle, high) if works(middle) else (low, middle)
    again = tuple(k for k in grid if scanned < k <= _ABOVE * scanned and works(k))
    return Found(low, high, again)
