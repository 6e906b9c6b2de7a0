"""Meters' histories of days on which all storage explored: what agents learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.controllers.random_storage import RandomStorage
from feederlab.errors import InputError
from feederlab.learn.days import pick_days, whole_days
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario
from feederlab.simulate import RunOptions, simulate


def record(
    scenario: Scenario,
    buses: Sequence[int],
    days: Sequence[str | pd.Timestamp],
    *,
    under: Controller | None = None,
    seed: int = 0,
) -> dict[int, MeterHistory]:
    """Return bus -> what its meter has recorded on these days, under storage that moves at random.

    Days that follow one another are one run, which the storage's energy goes through; each run draws of its own.

    Parameters
    ----------
    under
        The controller of the run; default: `RandomStorage`.  The effect of a storage unit can only be learnt where it
        moves without regard to the voltage.

    Raises
    ------
    InputError
        If a day is not in the data, a bus has no supply, or a power flow of the run has no solution.
    """
    chosen = pick_days(scenario, list(days), 0, 0)[0]
    runs: list[list[pd.Timestamp]] = []
    for day in chosen:
        if runs and day - runs[-1][-1] == pd.Timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    parts: dict[int, list[MeterHistory]] = {bus: [] for bus in buses}
    for k, run in enumerate(runs):
        window = scenario.days(run[0], len(run))
        own = int(np.random.SeedSequence([seed, k]).generate_state(1)[0])
        result = simulate(window, under or RandomStorage(), RunOptions(seed=own))
        for bus, found in parts.items():
            found.append(MeterHistory.read(window, result, bus))
    return {bus: MeterHistory.joined(found) for bus, found in parts.items()}


def recorded(
    scenario: Scenario | str,
    bus: int | str,
    *,
    days: Sequence[str | pd.Timestamp] | None = None,
    storage: tuple[float, float] | str | None = None,
    step: str | None = None,
    seed: int = 0,
) -> MeterHistory:
    """Return the history of one household, for a scenario by name and a bus by name or index.

    storage : (MW, MWh), or ``"MW:MWh"``, of a unit to add at the bus where none stands there.
    days : default: the first 14 of the scenario.

    Raises
    ------
    InputError
        If there is no such bus, or no storage there and none to add, and whatever `record` raises.
    """
    case = load_scenario(scenario) if isinstance(scenario, str) else scenario
    case = case if step is None else case.resample(step)
    at = bus_index(case, bus)
    units = case.feeder.storages
    if storage is not None and not (units.bus == at).any():
        case = case.with_devices(storages={at: _size(storage)})
        units = case.feeder.storages
    if not (units.bus == at).any():
        have = ", ".join(map(str, sorted(units.bus.tolist()))) or "none"
        raise InputError(
            f"there is no storage at bus {bus} of {case.name!r} (buses with storage: {have}); give "
            "storage=(MW, MWh) to add a unit"
        )
    return record(case, [at], whole_days(case)[:_DAYS] if days is None else days, seed=seed)[at]


_DAYS = 14


def _size(storage: tuple[float, float] | str) -> tuple[float, float]:
    try:
        p_mw, e_mwh = map(float, storage.split(":") if isinstance(storage, str) else storage)
    except (TypeError, ValueError):
        raise InputError(f"storage={storage!r} is no size of a unit; write MW:MWh, e.g. 0.06:3.0") from None
    return p_mw, e_mwh


def bus_index(scenario: Scenario, bus: int | str) -> int:
    """Return the pandapower index of a bus given by index or name.

    Raises
    ------
    InputError
        If there is none, or several have that name.
    """
    names = scenario.feeder.net.bus.name.astype(str)
    if isinstance(bus, str):
        found = [int(k) for k in names.index[names == bus]]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{len(found)} buses of {scenario.name!r} are named {bus!r}: give the index")
        if not bus.isdecimal():
            listed = ", ".join(names.tolist()[:20])
            raise InputError(f"there is no bus {bus!r} in {scenario.name!r}; its buses are {listed}")
    if int(bus) not in names.index:
        raise InputError(f"there is no bus {bus} in {scenario.name!r}")
    return int(bus)
