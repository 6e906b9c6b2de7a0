"""What a run cost against what it must have cost: the one definition behind `certify` and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.models.arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    import xarray as xr

GAP_FLOOR = 1e-8
"""Mean bound per step (objective units; 10 mW of losses) below which no percentage is taken: solvers stop at about
1e-8, so a smaller bound is rounding, or 0, and any percentage of it is arbitrary."""
CERTIFIED_PERCENT = 0.1
"""A step counts as certified tightly from this gap down (%)."""


def percent_above_bound(cost: FloatArray, bound: FloatArray) -> float:
    """Return 100 (sum cost - sum bound) / |sum bound| over the steps that have both, (T,) each.

    NaN where no step has both, or |mean bound| is below `GAP_FLOOR`.
    """
    both = np.isfinite(cost) & np.isfinite(bound)
    total = float(bound[both].sum())
    if abs(total) < GAP_FLOOR * both.sum() or not both.any():
        return np.nan
    return float(100 * (cost[both].sum() - total) / abs(total))


def steps_above_bound(cost: FloatArray, bound: FloatArray) -> FloatArray:
    """Return, (T,), 100 (cost - bound) / |bound| of each step, with the rule of `percent_above_bound` for each.

    Below `GAP_FLOOR` a step is 0 % above its bound if it costs no more than that floor above it, else NaN.
    """
    percent = np.full(len(cost), np.nan)
    both = np.isfinite(cost) & np.isfinite(bound)
    cost, bound = np.where(both, cost, 0.0), np.where(both, bound, 0.0)
    some = both & (np.abs(bound) >= GAP_FLOOR)
    percent[some] = 100 * (cost[some] - bound[some]) / np.abs(bound[some])
    percent[both & ~some & (cost - bound <= GAP_FLOOR)] = 0.0
    return percent


@dataclass(frozen=True, eq=False)
class Certificate:
    """What one run's steps cost, and what they must have cost; (T,) arrays.

    cost : objective plus voltage penalty (nan: power flow without solution).  bound : its lower bound.
    bound_plain : what the relaxation gives without tightening.
    excess, least_excess : voltage excess, and its proven lower bound (p.u. of squared magnitude).
    out_of_band : whether some bus is counted out of band, by the tolerance of `metrics.per_step`.
    window_bound : lower bound of the whole window's cost, storage decided (NaN: unknown); None without storage.
    Without bounds, `bound` and `least_excess` are nan.
    """

    cost: FloatArray
    bound: FloatArray
    bound_plain: FloatArray
    excess: FloatArray
    least_excess: FloatArray
    out_of_band: BoolArray
    window_bound: float | None = None

    @classmethod
    def of(cls, run: xr.Dataset, bounds: xr.Dataset | None) -> Certificate:
        """Return the certificate of a run (`Result.data`) against its `lower_bounds`, if there are any."""

        def bounded(name: str) -> FloatArray:
            return np.full(run.sizes["time"], np.nan) if bounds is None else _floats(bounds[name])

        return cls(
            cost=_floats(run["realised"]) + _floats(run["penalty"]), bound=bounded("bound"),
            bound_plain=bounded("bound_plain" if bounds is not None and "bound_plain" in bounds else "bound"),
            excess=_floats(run["voltage_excess"]), least_excess=bounded("least_excess"),
            out_of_band=_floats(run["out_share"]) > 0,
            window_bound=float(bounds["window_bound"]) if bounds is not None and "window_bound" in bounds else None,
        )  # fmt: skip

    @property
    def gap(self) -> FloatArray:
        """(T,) cost minus bound, objective units."""
        return self.cost - self.bound

    @property
    def gap_percent(self) -> float:
        """The gap over the window in percent of the bound (`percent_above`)."""
        return self.percent_above(self.cost)

    def percent_above(self, cost: FloatArray, *, plain: bool = False) -> float:
        """Return by how much a cost, (T,), lies above the bound over the window, in percent (`percent_above_bound`).

        With storage the bound is that of the whole window, which no step can be told from.
        plain : the bound without tightening; that of a window has none.
        """
        if self.window_bound is not None:
            return percent_above_bound(cost.sum(keepdims=True), np.array([self.window_bound]))
        return percent_above_bound(cost, self.bound_plain if plain else self.bound)

    @property
    def step_percent(self) -> FloatArray:
        """(T,) the gap of each step in percent of its bound (`steps_above_bound`)."""
        return steps_above_bound(self.cost, self.bound)

    @property
    def plain_percent(self) -> FloatArray:
        """(T,) the same against the bound without tightening."""
        return steps_above_bound(self.cost, self.bound_plain)

    def regret(self, step_h: float) -> tuple[FloatArray, FloatArray]:
        """Return, (T,) each, `gap` and its sum over time (objective units times hours); step_h : length of a step (h).

        Steps without cost or bound add nothing to the sum.
        """
        gap = self.gap
        return gap, np.cumsum(np.where(np.isfinite(gap), gap, 0.0)) * step_h

    @property
    def proven(self) -> BoolArray:
        """(T,) whether the step is out of band and no inverter setpoints could have kept it in."""
        return np.asarray(self.out_of_band & (self.least_excess > 0))

    @property
    def infeasible_steps(self) -> int:
        """Number of steps out of band."""
        return int(self.out_of_band.sum())

    @property
    def infeasible_proven(self) -> int:
        """Of these, the number that is proven unavoidable."""
        return int(self.proven.sum())


def _floats(values: Any) -> FloatArray:
    return np.asarray(values.to_numpy(), dtype=float)
