"""What is given over a window of steps, and what storage can do in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scenario import Series

PRICED = ("substation_import", "storage_use")
"""Terms of the objective that a window's prices multiply."""


@dataclass(frozen=True, eq=False)
class Window:
    """T steps, one after another; their cost is the sum of the steps' costs.

    With the stored energy e_t at the end of step t, and one unit's power split into charging and discharging,

        e_t = e_{t-1} + (eta P_charge - P_discharge / eta) dt,    E_min <= e_t <= E_max,    e_T >= end,

    and ``end_value (e_T - e_0) / dt`` is taken off the cost.

    points : T operating points; storage's power is not in them.  step_h : dt (h).
    start_mwh : (storages,) e_0.  end_mwh : (storages,) least energy at the end.
    prices : (T,) factors of the terms `PRICED`.
    end_value : of energy stored at the end, objective units times hours per MWh.
    """

    points: tuple[OperatingPoint, ...]
    step_h: float
    start_mwh: FloatArray
    end_mwh: FloatArray
    prices: FloatArray
    end_value: float = 0.0

    @classmethod
    def of(
        cls,
        feeder: Feeder,
        points: tuple[OperatingPoint, ...],
        step_h: float,
        *,
        start_mwh: FloatArray | None = None,
        end_mwh: FloatArray | None = None,
        prices: FloatArray | None = None,
        end_value: float = 0.0,
    ) -> Window:
        """Check and complete.

        Parameters
        ----------
        start_mwh
            Default: as in the net.
        end_mwh
            Default: what there is at the start.
        prices
            Default: 1 throughout.

        Raises
        ------
        InputError
            No steps, arrays of the wrong length, prices or a value that are negative, or more energy wanted at the end
            than can be charged.
        """
        units = feeder.storages
        start = units.soc * units.e_max_mwh if start_mwh is None else np.asarray(start_mwh, dtype=float)
        end = start if end_mwh is None else np.asarray(end_mwh, dtype=float)
        price = np.ones(len(points)) if prices is None else np.asarray(prices, dtype=float)
        if not points or not 0 < step_h < np.inf:
            raise InputError(f"a window needs steps of some length, not {len(points)} of {step_h} h")
        for name, values, count in (
            ("start_mwh", start, len(units)), ("end_mwh", end, len(units)), ("prices", price, len(points)),
        ):  # fmt: skip
            if values.shape != (count,):
                raise InputError(f"{name} has shape {values.shape}; it takes {count} numbers")
        if not (np.isfinite(price).all() and (price >= 0).all() and 0 <= end_value < np.inf):
            raise InputError("prices and the value of stored energy must be finite and not negative")
        window = cls(points, step_h, start, end, price, end_value)
        fleet = Fleet.of(feeder, window)
        most = start.copy()
        most[fleet.used] = np.minimum(
            fleet.high_mwh, fleet.start_mwh + len(points) * step_h * fleet.efficiency * fleet.charge_mw
        )
        for k in np.flatnonzero(~(end <= most + 1e-9 * units.e_max_mwh)):
            raise InputError(
                f"storage {units.index[k]} cannot hold {end[k]:.6g} MWh at the end: in {len(points)} steps of "
                f"{step_h:g} h it gets to {most[k]:.6g} MWh at most"
            )
        return window

    def __len__(self) -> int:
        return len(self.points)

    def weights(self, objective: Objective, t: int) -> dict[str, float]:
        """Return term -> weight of step t."""
        return {name: w * (self.prices[t] if name in PRICED else 1.0) for name, w in objective.weights}

    def gain(self, end_mwh: FloatArray) -> float:
        """Return what the energy at the end takes off the cost (objective units)."""
        return float(self.end_value * (end_mwh - self.start_mwh).sum() / self.step_h)


def points_of(
    series: Series, taps: IntArray | None = None, steps: IntArray | None = None
) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a series, with one setting of taps and capacitor steps."""
    return tuple(
        OperatingPoint(series.load_mva[t], series.p_available_mw[t], float(series.slack_vm[t]), taps, steps)
        for t in range(len(series))
    )


@dataclass(frozen=True, eq=False)
class Fleet:
    """The storage units that can do something in a window; (k,) arrays.

    used : rows of `Feeder.storages`.  node, s_mva, efficiency : theirs.  charge_mw, discharge_mw : largest power.
    low_mwh, high_mwh : energy limits; a unit that starts outside may stay there.
    start_mwh, end_mwh : as in `Window`.
    """

    used: IntArray
    node: IntArray
    s_mva: FloatArray
    efficiency: FloatArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    low_mwh: FloatArray
    high_mwh: FloatArray
    start_mwh: FloatArray
    end_mwh: FloatArray

    @classmethod
    def of(cls, feeder: Feeder, window: Window) -> Fleet:
        """Read a feeder's storage."""
        units = feeder.storages
        charge, discharge = np.minimum(units.p_max_mw, units.s_mva), np.minimum(-units.p_min_mw, units.s_mva)
        used = np.flatnonzero((units.node >= 0) & (units.s_mva > 0) & (units.e_max_mwh > 0))
        start, end = window.start_mwh[used], window.end_mwh[used]
        return cls(
            used, units.node[used], units.s_mva[used], units.efficiency[used], np.maximum(charge[used], 0.0),
            np.maximum(discharge[used], 0.0), np.minimum(units.e_min_mwh[used], start),
            np.maximum(units.e_max_mwh[used], start), start, np.minimum(end, np.maximum(units.e_max_mwh[used], start)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.used)
