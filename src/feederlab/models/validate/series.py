"""Rules on profiles: names, elements, times, values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import Problem
from feederlab.models.arrays import FloatArray
from feederlab.models.profiles import Key, Profile
from feederlab.models.validate.columns import in_service, listed, numbers, table, truths, where
from feederlab.models.validate.graph import build_graph
from feederlab.models.validate.units import slipped

KNOWN: tuple[Key, ...] = (
    ("load", "p_mw"), ("load", "q_mvar"), ("sgen", "p_mw"), ("sgen", "q_mvar"), ("storage", "p_mw"),
    ("storage", "q_mvar"), ("ext_grid", "vm_pu"),
)  # fmt: skip
"""The profiles that a scenario uses."""
_MOVED = {
    "storage": "a controlled storage has no profile: drop its column, or set controllable to False",
    "sgen": "controllers set the reactive power of a controllable sgen: drop its column, or set controllable to False",
}
_ROUNDING = 1e-6
"""Share of the rating by which a profile may exceed it."""
_STANDBY = 1e-4
"""Share of the rating that an inverter may draw by night; SimBench's PV shapes draw 1e-5 of their peak."""


def names(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Profiles are given for what a scenario drives, and there is one at least."""
    if not profiles:
        return [Problem("profiles", "", (), "there is none; give at least one, e.g. ('load', 'p_mw')")]
    known = listed(f"{name}.{column}" for name, column in KNOWN)
    return [
        Problem(*key, (), f"no profile of this name is used; known are {known}") for key in profiles if key not in KNOWN
    ]


def elements(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Every column is an element of the net, once, and no element with power is left out."""
    problems = []
    for key, profile in _known(profiles):
        name, column = key
        frame, index = table(net, name), pd.Index(profile.index)
        extra = index.difference(frame.index)
        if len(extra):
            message = f"the net has no {name} of this index; its {name} indices are {_range(frame.index)}"
            problems.append(Problem(name, column, tuple(extra), message))
        if not index.is_unique:
            twice = tuple(index[index.duplicated()].unique())
            problems.append(Problem(name, column, twice, "the profile has more than one column of this index"))
        used = in_service(frame) & (np.nan_to_num(numbers(frame, column)) != 0)
        if name == "storage" or key == ("sgen", "q_mvar"):
            moved = in_service(frame) & truths(frame, "controllable", name == "storage")
            problems += where(name, column, frame, moved & frame.index.isin(index), _MOVED[name])
            used &= ~moved
        left_out = frame.index[used].difference(index)
        if len(left_out) and name != "ext_grid":
            message = "the profile has no column for this element; add one (a constant one if it does not change)"
            problems.append(Problem(name, column, tuple(left_out), message))
    return problems


def _range(index: pd.Index) -> str:
    if not len(index):
        return "none"
    return f"{index.min()} to {index.max()} ({len(index)})"


def times(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Times ascend evenly, and are the same in all profiles."""
    problems: list[Problem] = []
    first: tuple[Key, pd.DatetimeIndex] | None = None
    for key, profile in profiles.items():
        own = profile.times
        fault = _time_fault(own)
        if fault:
            problems.append(Problem(*key, (), fault))
            continue
        if first is None:
            first = key, own
        elif len(own) != len(first[1]):
            message = (
                f"{len(own)} rows, but {'.'.join(first[0])} has {len(first[1])}; all profiles must have the same times"
            )
            problems.append(Problem(*key, (), message))
        elif not own.equals(first[1]):
            k = int(np.flatnonzero(own != first[1])[0])
            message = f"row {k} is at {own[k]}, but in {'.'.join(first[0])} it is {first[1][k]}; times must be equal"
            problems.append(Problem(*key, (), message))
    return problems


def _time_fault(own: pd.DatetimeIndex) -> str:
    if not len(own):
        return "the profile has no rows"
    if own.hasnans:
        return f"row {int(np.flatnonzero(own.isna())[0])} has no time"
    if own.tz is not None:
        return f"times have the time zone {own.tz}; give local standard time without a zone (tz_localize(None))"
    gaps = np.diff(own.to_numpy().astype("datetime64[ns]").astype(np.int64))
    if not len(gaps):
        return ""
    if (gaps == 0).any():
        return f"the time {own[int(np.flatnonzero(gaps == 0)[0])]} occurs more than once"
    if (gaps < 0).any():
        k = int(np.flatnonzero(gaps < 0)[0])
        return f"times must ascend, but {own[k + 1]} follows {own[k]}; sort the rows"
    step = np.median(gaps)
    if (gaps != step).any():
        k = int(np.flatnonzero(gaps != step)[0])
        usual = pd.Timedelta(int(step), unit="ns")
        what = "a gap" if gaps[k] > step else "an irregular step"
        return f"{what}: {own[k + 1]} follows {own[k]}, but the usual step is {usual}; fill in or drop whole days"
    return ""


def values(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Values are finite numbers; slack voltages are possible."""
    problems = []
    for key, profile in profiles.items():
        holes = ~np.isfinite(profile.shapes)
        broken = np.asarray(holes.any(axis=0))[profile.pick]
        if broken.any():
            mine = holes[:, profile.pick[broken]]
            row = int(np.argmax(mine.any(axis=1)))
            index = profile.index[broken]
            message = (
                f"{int(mine.sum())} values are missing or not finite (NaN), the first of {key[0]} "
                f"{index[int(np.argmax(mine[row]))]} at {profile.times[row]}; fill them in"
            )
            problems.append(Problem(*key, tuple(int(i) for i in index), message))
        elif key == ("ext_grid", "vm_pu"):
            used = profile.shapes[:, profile.pick] * profile.scale
            if used.size and (used.min() < 0.5 or used.max() > 2):
                message = f"{used.min():.6g} to {used.max():.6g} is no slack voltage in p.u.; it must lie in 0.5-2"
                problems.append(Problem(*key, (), message))
    return problems


def inverter_range(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """What the sun offers a controllable sgen lies between 0 and its rating, `scaling` included.

    A draw of up to `_STANDBY` by night is let pass; `Scenario.series` counts it as nothing on offer.
    """
    profile, frame = profiles.get(("sgen", "p_mw")), table(net, "sgen")
    if profile is None or not len(profile.times) or not frame.index.is_unique:
        return []
    row = frame.index.get_indexer(pd.Index(profile.index))
    live = (in_service(frame) & truths(frame, "controllable"))[row] & (row >= 0)
    s = np.where(live, numbers(frame, "sn_mva")[row], np.nan)
    factor = numbers(frame, "scaling", 1.0)[row] * profile.scale
    ends = np.stack([profile.shapes.min(axis=0), profile.shapes.max(axis=0)])[:, profile.pick] * factor
    low, high = ends.min(axis=0), ends.max(axis=0)
    problems = []
    for bad, worst, message in (
        (low < -_STANDBY * s, low, "an sgen counts what it feeds in as positive; give values >= 0"),
        (high > (1 + _ROUNDING) * s, high, "more than its apparent power; raise sn_mva, or lower the profile"),
    ):
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            what = f"sgen {profile.index[k]} reaches {worst[k]:.6g} MW (scaling included; sn_mva is {s[k]:.6g} MVA)"
            problems.append(Problem("sgen", "p_mw", tuple(int(i) for i in profile.index[bad]), f"{what}: {message}"))
    return problems


def unit_slip(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Peaks are not a thousand times too large for the feeder."""
    problems = []
    graph = None
    for key, profile in _known(profiles):
        name, column = key
        frame = table(net, name)
        if name == "ext_grid" or not len(profile.times) or not pd.Index(profile.index).isin(frame.index).all():
            continue
        graph = graph or build_graph(net)
        row = frame.index.get_indexer(pd.Index(profile.index))
        weight = np.where(in_service(frame), numbers(frame, "scaling", 1.0), 0.0)[row] * profile.scale
        powers = _at_largest_total(profile, weight)
        bad, why = slipped(net, graph, numbers(frame, "bus")[row], powers)
        if bad.any():
            largest = float(np.max(np.abs(powers[bad])))
            message = f"up to {largest:.4g} each: {why}; values are MW and MVAr, so divide by 1000 if these are kW"
            problems.append(Problem(name, column, tuple(int(i) for i in profile.index[bad]), message))
    return problems


def _at_largest_total(profile: Profile, weight: FloatArray) -> FloatArray:
    """Return (n,) values at the instant at which the elements' magnitudes add up to most."""
    per_shape = np.bincount(profile.pick, weights=np.abs(weight), minlength=profile.shapes.shape[1])
    row = int(np.argmax(np.nan_to_num(np.abs(profile.shapes)) @ per_shape))
    return np.asarray(profile.shapes[row][profile.pick] * weight)


def _known(profiles: Mapping[Key, Profile]) -> list[tuple[Key, Profile]]:
    return [(key, profile) for key, profile in profiles.items() if key in KNOWN]


SERIES_RULES = (names, elements, times, values, inverter_range, unit_slip)
