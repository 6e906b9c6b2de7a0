"""A scenario with more or less PV than it has: ratings and active power scale together, loads stay."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Elements
from feederlab.models.scenario import Scenario


def with_generation(scenario: Scenario, factor: float, *, everything: bool = False) -> Scenario:
    """Return the scenario with its PV `factor` times as large; loads, storage and the grid stay as they are.

    What scales is the active power and the rating S of every inverter that ever offers active power (an inverter
    without any, a STATCOM, keeps its rating).  Unscaled and scaled runs thus differ in the installed power alone.

    Parameters
    ----------
    factor
        0 or more; 1 is the scenario itself.
    everything
        Scale the generators that nothing controls as well.

    Raises
    ------
    InputError
        For a negative or infinite factor.
    """
    if not 0 <= factor < np.inf:
        raise InputError(f"a factor of PV must be a number, not negative, not {factor}")
    feeder = scenario.feeder
    times = np.where(peak_mw(scenario, feeder.inverters) > 0, factor, 1.0)
    inverters = replace(
        feeder.inverters, scaling=feeder.inverters.scaling * times, s_mva=feeder.inverters.s_mva * times
    )
    sgens = replace(feeder.sgens, scaling=feeder.sgens.scaling * factor) if everything else feeder.sgens
    net = copy.copy(feeder.net)
    net["sgen"] = table = feeder.net.sgen.copy()
    if "scaling" not in table:
        table["scaling"] = 1.0
    table.loc[inverters.index, "scaling"] = inverters.scaling
    table.loc[inverters.index, "sn_mva"] = inverters.s_mva
    table.loc[sgens.index, "scaling"] = sgens.scaling
    larger = replace(feeder, inverters=inverters, sgens=sgens, net=net)
    if "tap_tables" in feeder.__dict__:  # costly, and the grid has not changed
        larger.__dict__["tap_tables"] = feeder.tap_tables
    return replace(scenario, feeder=larger)


def peak_mw(scenario: Scenario, units: Elements) -> FloatArray:
    """Return the (n,) active power of generators: the table's, or the largest of their profile where that is larger.

    0 for what is out of service.
    """
    peak = np.maximum(units.p_mw, 0.0)
    profile = scenario.profiles.get(("sgen", "p_mw"))
    if profile is not None and len(profile.index):
        largest = profile.shapes.max(axis=0)[profile.pick] * profile.scale
        position = {int(index): k for k, index in enumerate(profile.index)}
        mine = [(k, position[int(i)]) for k, i in enumerate(units.index) if int(i) in position]
        for here, there in mine:
            peak[here] = max(peak[here], largest[there])
    return np.where(units.node >= 0, peak * units.scaling, 0.0)


def installed_mw(scenario: Scenario, *, everything: bool = False) -> float:
    """Return the installed active power of what `with_generation` scales (MW)."""
    feeder = scenario.feeder
    total = peak_mw(scenario, feeder.inverters).sum()
    return float(total + (peak_mw(scenario, feeder.sgens).sum() if everything else 0.0))


def sunniest_day(scenario: Scenario) -> Scenario:
    """Return the day of the data on which generation exceeds load most, in steps of the data's own length.

    The instant of the largest sum of all generators less the sum of all loads decides; shorter data are taken whole.
    """
    feeder = scenario.feeder
    first, end = scenario.data_span
    times = next(iter(scenario.profiles.values())).times
    surplus = np.zeros(len(times))
    groups: tuple[tuple[int, str, Elements], ...] = (
        (1, "sgen", feeder.inverters), (1, "sgen", feeder.sgens), (-1, "load", feeder.loads),
    )  # fmt: skip
    for sign, table, units in groups:
        surplus += sign * _total(scenario, table, units)
    day = max(first, times[int(np.argmax(surplus))].normalize())
    spacing = times[1] - times[0] if len(times) > 1 else scenario.step
    if pd.Timedelta(days=1) % spacing == pd.Timedelta(0):
        scenario = scenario.resample(spacing)
    return scenario.days(day, min(pd.Timedelta(days=1), end - day) / pd.Timedelta(days=1))


def _total(scenario: Scenario, table: str, units: Elements) -> FloatArray:
    """Return the (T,) sum of active power at the instants of the data (MW), from the shared shapes."""
    profile = scenario.profiles.get((table, "p_mw"))
    on = units.node >= 0
    scaling = dict(zip(units.index[on].tolist(), units.scaling[on].tolist(), strict=True))
    constant = dict(zip(units.index[on].tolist(), (units.p_mw * units.scaling)[on].tolist(), strict=True))
    if profile is None:
        return np.asarray(sum(constant.values()))
    mine = np.array([scaling.get(int(i), 0.0) for i in profile.index])
    weight = np.bincount(profile.pick, weights=profile.scale * mine, minlength=profile.shapes.shape[1])
    rest = sum(value for index, value in constant.items() if index not in set(profile.index.tolist()))
    return np.asarray(profile.shapes @ weight + rest)
