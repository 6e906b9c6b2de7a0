"""Piecewise-linear local curves, and the published ones by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray

Base = Literal["rating", "headroom"]


@dataclass(frozen=True)
class Curve:
    """A piecewise-linear curve y(x), held flat outside its points.

    points : ((x, y), ...) with x strictly ascending.
    base : what y = 1 stands for: the inverter's ``"rating"`` S, or its ``"headroom"`` sqrt(S^2 - p^2) now.
    """

    points: tuple[tuple[float, float], ...]
    base: Base = "rating"

    def __post_init__(self) -> None:
        if not self.points or not np.isfinite(self.points).all():
            raise InputError(f"a curve needs finite points, not {self.points}")
        x = [point[0] for point in self.points]
        if any(right <= left for left, right in pairwise(x)):
            raise InputError(f"the first values of a curve's points must ascend, not {x}")

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return y at `x`, of any shape; NaN where `x` is NaN."""
        return np.asarray(np.interp(x, *self._arrays))

    @cached_property
    def _arrays(self) -> tuple[FloatArray, FloatArray]:
        x, y = np.transpose(self.points)
        return x.copy(), y.copy()

    @classmethod
    def parse(cls, text: str) -> Curve:
        """Read ``"x:y/x:y/..."``; spaces may stand for the slashes."""
        points = []
        for part in text.replace("/", " ").split():
            x, _, y = part.partition(":")
            try:
                points.append((float(x), float(y)))
            except ValueError:
                raise InputError(
                    f"curve {text!r}: {part!r} is no point; write x:y pairs such as 0.92:0.44/0.98:0/1.02:0/1.08:-0.44"
                ) from None
        return cls(tuple(points))


VOLT_VAR: Mapping[str, Curve] = MappingProxyType(
    {
        # Wang et al., NeurIPS 2021, public code.
        "mapdn": Curve(((0.95, 1.0), (1.00, 0.0), (1.05, -1.0)), base="headroom"),
        # IEEE 1547-2018, Table 8.
        "ieee1547_a": Curve(((0.90, 0.25), (1.00, 0.0), (1.10, -0.25))),
        "ieee1547_b": Curve(((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))),
        # California Rule 21, weak source.
        "rule21": Curve(((0.92, 0.30), (0.967, 0.0), (1.033, 0.0), (1.07, -0.30))),
        # Hawaiian Electric Rule 14H.
        "hawaii14h": Curve(((0.94, 0.44), (0.97, 0.0), (1.03, 0.0), (1.06, -0.44))),
        # VDE-AR-N 4105 gives Q up to tan(acos 0.9) = 0.484 of P_inst; at S = P_inst / 0.9 that is 0.436 of S.
        "vde4105": Curve(((0.93, 0.436), (0.97, 0.0), (1.03, 0.0), (1.07, -0.436))),
    }
)
"""Q (p.u., injection positive) over V (p.u.)."""

VOLT_WATT: Mapping[str, Curve] = MappingProxyType({"ieee1547": Curve(((1.06, 1.0), (1.10, 0.0)))})
"""Cap on P (p.u. of rated power) over V (p.u.): IEEE 1547-2018, Table 31, for a plant that can go down to P = 0."""

WATT_VAR: Mapping[str, Curve] = MappingProxyType(
    {
        "ieee1547_a": Curve(((0.5, 0.0), (1.0, -0.25))),
        "ieee1547_b": Curve(((0.5, 0.0), (1.0, -0.44))),
    }
)
"""Q (p.u. of S) over P (p.u. of rated power): IEEE 1547-2018, Table 9."""


def find_curve(curve: str, presets: Mapping[str, Curve]) -> Curve:
    """Return the preset of that name, or the points written out as ``x:y/x:y/...``.

    Raises
    ------
    UnknownNameError
        If it is neither; the nearest preset is suggested.
    InputError
        If the points are no numbers or do not ascend.
    """
    if curve in presets:
        return presets[curve]
    if ":" in curve:
        return Curve.parse(curve)
    raise UnknownNameError("curve", curve, list(presets))
