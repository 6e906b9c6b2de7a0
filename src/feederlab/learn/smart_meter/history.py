"""What one smart meter has recorded: all that an agent of the smart-meter system ever gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError, ResultFileError
from feederlab.learn.tensors import read_tensors, write_tensors
from feederlab.models.arrays import BoolArray, FloatArray, frozen
from feederlab.models.scenario import Scenario
from feederlab.result import Result

KIND = "feederlab meter history"
_NS = 1_000_000_000


@dataclass(frozen=True)
class Battery:
    """The household's own storage, p > 0 charging.

    p_min_mw, p_max_mw : rates (MW).  e_min_mwh, e_max_mwh : energy it works between (MWh).
    e_start_mwh : energy at the beginning.  efficiency : one-way, of charging and of discharging.
    """

    p_min_mw: float
    p_max_mw: float
    e_min_mwh: float
    e_max_mwh: float
    e_start_mwh: float
    efficiency: float = 1.0

    def allowed(self, e_mwh: Any, step_h: float) -> tuple[FloatArray, FloatArray]:
        """Return the lowest and the highest power (MW) that a step of `step_h` hours allows at energy `e_mwh`, (...,).

        As `plant.Plant` has it: rates, and energy between its limits at the step's end.
        """
        charge = np.maximum(self.e_max_mwh - np.asarray(e_mwh), 0.0) / (self.efficiency * step_h)
        discharge = np.maximum(np.asarray(e_mwh) - self.e_min_mwh, 0.0) * self.efficiency / step_h
        return np.maximum(self.p_min_mw, -discharge), np.minimum(self.p_max_mw, charge)

    def after(self, e_mwh: Any, p_mw: Any, step_h: float) -> FloatArray:
        """Return the energy (MWh) after a step at power `p_mw`: e' = e + (eta P_charge - P_discharge / eta) dt."""
        p = np.asarray(p_mw, dtype=float)
        return np.asarray(e_mwh) + np.where(p > 0, p * self.efficiency, p / self.efficiency) * step_h


@dataclass(frozen=True, eq=False)
class MeterHistory:
    """The readings of ONE meter, and of the battery inverter behind it.  Nothing here is about anyone else.

    A reading of step t is that of the whole step: the voltage under the step's load, and the battery's power decided in
    it.  So a meter that decides in step t knows the readings up to t - 1, and its present demand.

    name : of the place, for tables only.  step_s : length of a step (s).
    times : (T,) beginning of the steps, ascending; days may be missing between them (`fresh`).
    vm : (T,) voltage magnitude (p.u.).
    demand_p_mw, demand_q_mvar : (T,) P^D, Q^D: what the household draws beside its battery, its own PV subtracted
    (MW, MVAr).
    storage_p_mw : (T,) power of its battery, charging positive (MW); zeros where there is none.
    battery : its battery's limits, None without one.
    """

    name: str
    step_s: float
    times: pd.DatetimeIndex
    vm: FloatArray
    demand_p_mw: FloatArray
    demand_q_mvar: FloatArray
    storage_p_mw: FloatArray
    battery: Battery | None = None

    def __post_init__(self) -> None:
        count = len(self.times)
        for name in _SERIES:
            values = frozen(getattr(self, name))
            object.__setattr__(self, name, values)
            if values.shape != (count,) or not np.isfinite(values).all():
                raise InputError(
                    f"the history of {self.name or 'a meter'} needs {count} finite values of {name}, one for each time"
                )
        if not self.step_s > 0 or (np.diff(self.times.asi8) <= 0).any():
            raise InputError(f"the history of {self.name or 'a meter'} needs ascending times and a step above 0 s")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def step_h(self) -> float:
        """Length of a step (h)."""
        return self.step_s / 3600

    @property
    def p_mw(self) -> FloatArray:
        """(T,) active power through the meter, drawn positive: demand and battery (MW)."""
        return self.demand_p_mw + self.storage_p_mw

    @property
    def q_mvar(self) -> FloatArray:
        """(T,) reactive power through the meter (MVAr): the demand's, since the battery gives none."""
        return self.demand_q_mvar

    @property
    def fresh(self) -> BoolArray:
        """(T,) whether the reading one step earlier is the one before in this history."""
        spacing = np.diff(self.times.asi8) / _unit(self.times)
        return np.append(False, np.isclose(spacing, self.step_s)) if len(self) else np.zeros(0, dtype=bool)

    @property
    def days(self) -> list[pd.Timestamp]:
        """Midnights of the days that have readings."""
        return list(self.times.normalize().unique())

    def on(self, days: Sequence[pd.Timestamp | str]) -> MeterHistory:
        """Return the readings of these days alone.

        Raises
        ------
        InputError
            If it has none of one of them.
        """
        wanted = [pd.Timestamp(day) for day in days]
        missing = [day for day in wanted if day not in self.days]
        if missing:
            raise InputError(f"the history of {self.name or 'a meter'} has no readings of {missing[0].date()}")
        return self._rows(self.times.normalize().isin(wanted))

    def without(self, days: Sequence[pd.Timestamp | str]) -> MeterHistory:
        """Return the readings of all other days."""
        return self._rows(~self.times.normalize().isin([pd.Timestamp(day) for day in days]))

    def _rows(self, keep: BoolArray) -> MeterHistory:
        series = {name: getattr(self, name)[keep] for name in _SERIES}
        return MeterHistory(self.name, self.step_s, self.times[keep], battery=self.battery, **series)

    @classmethod
    def joined(cls, parts: Sequence[MeterHistory]) -> MeterHistory:
        """Return the readings of one meter from several runs, in order of time.

        Raises
        ------
        InputError
            If there are none, they are of different meters or steps, or overlap.
        """
        if not parts:
            raise InputError("there is no history to join")
        parts = sorted(parts, key=lambda part: part.times[0])
        first = parts[0]
        if any((part.name, part.step_s) != (first.name, first.step_s) for part in parts):
            raise InputError("histories of different meters, or of different steps, cannot be joined")
        series = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _SERIES}
        times = pd.DatetimeIndex(np.concatenate([part.times.to_numpy() for part in parts]))
        return cls(first.name, first.step_s, times, battery=first.battery, **series)

    @classmethod
    def read(cls, scenario: Scenario, result: Result, bus: int) -> MeterHistory:
        """Return what a meter at pandapower bus `bus` has recorded over a run of `scenario`.

        Its demand is all that is connected there but the one storage unit: loads and other elements less the inverters.

        Raises
        ------
        InputError
            If there is no such bus or it has no supply, if the run is not one of this scenario's window or has no
            voltages, if two storage units stand there, or if a voltage is missing (a power flow without solution).
        """
        feeder, data = scenario.feeder, result.data
        position = np.flatnonzero(feeder.bus_index == bus)
        if not len(position) or feeder.bus_node[position[0]] < 0:
            raise InputError(f"there is no bus {bus} with supply in {scenario.name!r}, where a meter is to stand")
        node = int(feeder.bus_node[position[0]])
        times = scenario.times
        if "vm_pu" not in data or not np.array_equal(data["time"].to_numpy(), times.to_numpy()):
            raise InputError(
                f"the run is not one of {scenario.name!r} from {times[0]} on with record='all': a meter needs its "
                "voltages at every step"
            )
        here = np.flatnonzero(feeder.storages.node == node)
        if len(here) > 1:
            raise InputError(f"bus {bus} has {len(here)} storage units; a meter knows one of its own")
        demand = scenario.series().load_mva[:, node].copy()
        at = feeder.inverters.node == node
        demand -= (data["p_mw"].to_numpy() + 1j * data["q_mvar"].to_numpy())[:, at].sum(axis=1)
        storage, battery = np.zeros(len(times)), None
        if len(here):
            k, units = int(here[0]), feeder.storages
            storage = data["storage_p_mw"].to_numpy()[:, k]
            demand += 1j * data["storage_q_mvar"].to_numpy()[:, k]
            battery = Battery(
                float(max(units.p_min_mw[k], -units.s_mva[k])), float(min(units.p_max_mw[k], units.s_mva[k])),
                float(units.e_min_mwh[k]), float(units.e_max_mwh[k]), float(units.soc[k] * units.e_max_mwh[k]),
                float(units.efficiency[k]),
            )  # fmt: skip
        name = str(feeder.net.bus.name.get(bus, "") or bus)
        vm = data["vm_pu"].to_numpy()[:, position[0]]
        return cls(name, scenario.step.total_seconds(), times, vm, demand.real, demand.imag, storage, battery)

    def save(self, path: str | Path) -> Path:
        """Write the history to one file, whole or not at all."""
        about = {
            "name": self.name, "step_s": self.step_s,
            "battery": None if self.battery is None else {f.name: getattr(self.battery, f.name) for f in _LIMITS},
        }  # fmt: skip
        seconds = self.times.as_unit("ns").asi8 // _NS
        write_tensors(
            Path(path), KIND, {"time_s": seconds, **{n: np.asarray(getattr(self, n)) for n in _SERIES}}, about
        )
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> MeterHistory:
        """Read a history.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged, or no history.
        """
        arrays, about = read_tensors(Path(path), KIND)
        try:
            battery = None if about["battery"] is None else Battery(**about["battery"])
            times = pd.DatetimeIndex(pd.to_datetime(arrays["time_s"], unit="s"))
            series = {name: arrays[name] for name in _SERIES}
            return cls(str(about["name"]), float(about["step_s"]), times, battery=battery, **series)
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error


_SERIES = ("vm", "demand_p_mw", "demand_q_mvar", "storage_p_mw")
_LIMITS = fields(Battery)


def _unit(times: pd.DatetimeIndex) -> float:
    """Return how many of the index's own units make a second."""
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.unit]
