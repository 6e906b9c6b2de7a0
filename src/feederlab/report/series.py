"""A run's series made small enough to draw, with nothing that matters lost: extremes are kept, sums are exact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.certificate import Certificate
from feederlab.models.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    import xarray as xr

    from feederlab.result import Result

SPREAD = (10, 90)  # percentiles of the buses inside an envelope
QUANTILES = 201  # points of a duration curve


def band_of(data: Any) -> tuple[float, float]:
    """Return the band that most buses of a run have, NaN where the run kept no bus."""
    if "vm_low" not in data.coords:
        return np.nan, np.nan
    return float(np.nanmedian(data["vm_low"])), float(np.nanmedian(data["vm_high"]))


def voltage_scale(band: tuple[float, float], vm: FloatArray) -> tuple[float, float]:
    """Return the ends of a colour scale: the band in its middle, wide enough for all of `vm` but at most thrice it."""
    low, high = (limit if np.isfinite(limit) else edge for limit, edge in zip(band, (0.9, 1.1), strict=True))
    middle, half = (low + high) / 2, (high - low) / 2
    known = vm[np.isfinite(vm)]
    away = float(np.abs(known - middle).max()) if len(known) else half
    away = float(np.clip(away, 1.25 * half, 3 * half))
    return middle - away, middle + away


def worst_voltages(data: xr.Dataset) -> FloatArray:
    """Return the (buses,) voltage that lies furthest out of each bus's band, or nearest to its edge; NaN: unsupplied.

    Of the highest and the lowest voltage v of the run, the one with the larger of v - v_high and v_low - v.
    """
    vm = floats(data["vm_pu"])
    high, low = np.fmax.reduce(vm, initial=np.nan), np.fmin.reduce(vm, initial=np.nan)
    rises = high - floats(data["vm_high"]) >= floats(data["vm_low"]) - low
    return np.asarray(np.where(rises, high, low))


def duration_curve(values: FloatArray) -> FloatArray:
    """Return `QUANTILES` values of the curve that falls from the highest to the lowest; empty without any number."""
    known = values[np.isfinite(values)]
    if not len(known):
        return known
    return np.asarray(np.quantile(known, np.linspace(1, 0, QUANTILES)))


def highest_loading(data: xr.Dataset) -> FloatArray:
    """Return the (T,) highest loading of any line or transformer (%); NaN where nothing has a limit."""
    return np.asarray(np.fmax(floats(data["line_loading_percent"]), floats(data["transformer_loading_percent"])))


def regrets(result: Result) -> tuple[FloatArray, FloatArray] | None:
    """Return the (T,) distance from the certified bound summed up to each step, in objective units times hours.

    First of the cost with the price of the voltage excess, then of the objective alone, which a run can push below
    the bound by leaving the band.  Steps without a bound add nothing.  None where no step has one.
    """
    certificate = Certificate.of(result.data, result.certificate)
    known = np.isfinite(certificate.gap)
    if not known.any():
        return None
    hours = float(result.provenance["step_s"]) / 3600
    alone = floats(result.data["realised"]) - certificate.bound
    return (
        np.cumsum(np.where(known, certificate.gap, 0.0)) * hours,
        np.cumsum(np.where(known, alone, 0.0)) * hours,
    )


class Bins:
    """Equal stretches of steps, at most `most` of them, each drawn as one point."""

    def __init__(self, steps: int, most: int) -> None:
        self.size = -(-steps // most)
        self.first: IntArray = np.arange(0, steps, self.size)
        self.last: IntArray = np.minimum(self.first + self.size, steps) - 1

    def lowest(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.fmin.reduceat(values, self.first))

    def highest(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.fmax.reduceat(values, self.first))

    def mean(self, values: FloatArray) -> FloatArray:
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype(float), self.first)
        total = np.add.reduceat(np.where(known, values, 0.0), self.first)
        return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def steps_to_show(runs: Iterable[xr.Dataset], most: int) -> IntArray:
    """Return at most about `most` steps: evenly spread ones, and of each run the worst and the extreme ones."""
    runs = list(runs)
    steps = runs[0].sizes["time"]
    if steps <= most:
        return np.arange(steps)
    kept = set(np.linspace(0, steps - 1, max(most - 3 * len(runs), 2)).astype(int))
    for data in runs:
        for values in (floats(data["voltage_excess"]), floats(data["vm_max_pu"]), -floats(data["vm_min_pu"])):
            if np.isfinite(values).any():
                kept.add(int(np.nanargmax(values)))
    return np.array(sorted(kept), dtype=np.int64)


def step_edges(result: Result) -> Any:
    """Return the (T + 1,) instants between the steps of a run: the beginning of each, and the end of the last."""
    time = result.data["time"].to_numpy()
    return np.append(time, time[-1] + np.timedelta64(round(1e9 * float(result.provenance["step_s"])), "ns"))


def held(values: FloatArray) -> FloatArray:
    """Return the (T + 1,) values at `step_edges`: the last one holds until its step ends."""
    return np.append(values, values[-1])


def floats(values: Any) -> FloatArray:
    """Return a series as floats."""
    return np.asarray(values.to_numpy(), dtype=float)
