"""H: the piecewise polynomial that turns a Thevenin prediction into the voltage to be expected (P0, (24))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, frozen

_PER_TERM = 15  # samples that a piece needs for each coefficient
_TAIL = 0.005  # share of a piece's samples beyond which it is not extrapolated


@dataclass(frozen=True)
class CorrectionSettings:
    """How H is fitted.

    breakpoints_v : line voltages (V) at which its pieces meet; base_v : nominal voltage (V).  P0: 390 and 400 of 400 V.
    order : of the polynomials.  P0's text says both 5 and 3; with 5, pieces swing at their ends.
    """

    breakpoints_v: tuple[float, ...] = (390.0, 400.0)
    base_v: float = 400.0
    order: int = 3

    def __post_init__(self) -> None:
        edges = np.asarray(self.breakpoints_v, dtype=float)
        if not (self.base_v > 0 and 0 <= self.order <= 8 and (np.diff(edges) > 0).all() and (edges > 0).all()):
            raise InputError(
                "a correction needs ascending breakpoints above 0 V, a base above 0 V and an order of 0 to 8, not "
                f"breakpoints_v={self.breakpoints_v}, base_v={self.base_v}, order={self.order}"
            )


@dataclass(frozen=True, eq=False)
class Correction:
    """V^adj = sum_k c_jk x^k,  x = (clip(V, low_j, high_j) - centre_j) / width_j,  j the piece V lies in.

    Outside of the range [low_j, high_j] of its samples a piece is constant: what the impedance of a bad pair of
    readings predicts would otherwise be cubed.

    edges : (m - 1,) where the pieces meet (p.u.).  low, high : (m,) (p.u.).
    coefficients : (m, order + 1) (p.u.).  samples : (m,) how many each piece was fitted on; `_PER_TERM` for each
    coefficient are enough, and a piece with fewer takes the polynomial fitted on all samples.
    """

    edges: FloatArray
    low: FloatArray
    high: FloatArray
    coefficients: FloatArray
    samples: FloatArray

    def __call__(self, vm: Any) -> FloatArray:
        """Return V^adj (p.u.) of Thevenin predictions (...,)."""
        v = np.asarray(vm, dtype=float)
        piece = np.searchsorted(self.edges, v, side="right")
        low, high = self.low[piece], self.high[piece]
        x = (np.minimum(np.maximum(v, low), high) - (high + low) / 2) / ((high - low) / 2)
        found = np.zeros_like(v)
        for k in reversed(range(self.coefficients.shape[1])):
            found = found * x + self.coefficients[piece, k]
        return found

    def arrays(self) -> dict[str, FloatArray]:
        """Return its arrays by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def of(cls, arrays: dict[str, Any]) -> Correction:
        """Return the correction of `arrays`.  Raises `ValueError` if they do not fit each other."""
        made = cls(**{name: frozen(arrays[name]) for name in _ARRAYS})
        pieces = len(made.edges) + 1
        fits = made.coefficients.ndim == 2 and all(
            len(getattr(made, name)) == pieces for name in _ARRAYS if name != "edges"
        )
        if not fits or not all(np.isfinite(v).all() for v in made.arrays().values()) or (made.high <= made.low).any():
            raise ValueError("the pieces of its correction do not fit each other")
        return made


_ARRAYS = ("edges", "low", "high", "coefficients", "samples")


def fit_correction(raw: FloatArray, vm: FloatArray, settings: CorrectionSettings) -> Correction:
    """Return H fitted by least squares on Thevenin predictions `raw` (n,) of voltages `vm` (n,), p.u.

    Raises
    ------
    InputError
        If there are fewer samples than coefficients ask for.
    """
    terms = settings.order + 1
    if len(raw) < _PER_TERM * terms:
        raise InputError(
            f"{len(raw)} steps are too few to fit a correction of order {settings.order}: give {_PER_TERM * terms} at "
            "least, or a lower order"
        )
    edges = np.asarray(settings.breakpoints_v) / settings.base_v
    piece, everything = np.searchsorted(edges, raw, side="right"), _fitted(raw, vm, settings.order)
    rows = []
    for j in range(len(edges) + 1):
        mine = piece == j
        enough = np.count_nonzero(mine) >= _PER_TERM * terms
        rows.append((_fitted(raw[mine], vm[mine], settings.order) if enough else everything, np.count_nonzero(mine)))
    low, high = (np.array([row[0][k] for row in rows]) for k in (0, 1))
    coefficients = np.array([row[0][2] for row in rows])
    return Correction(
        frozen(edges), frozen(low), frozen(high), frozen(coefficients), frozen([row[1] for row in rows])
    )  # fmt: skip


def _fitted(raw: FloatArray, vm: FloatArray, order: int) -> tuple[float, float, FloatArray]:
    """Return the range of the samples without their tails, and the coefficients of the powers of x."""
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import PolynomialFeatures

    low, high = np.quantile(raw, [_TAIL, 1 - _TAIL])
    high = max(high, low + 1e-6)
    x = (np.clip(raw, low, high) - (high + low) / 2) / ((high - low) / 2)
    powers = PolynomialFeatures(order).fit_transform(x[:, None])
    return float(low), float(high), np.asarray(LinearRegression(fit_intercept=False).fit(powers, vm).coef_)
