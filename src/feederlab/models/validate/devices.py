"""Rules on devices: inverters, storage, capacitor banks, tap changers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import Problem
from feederlab.models.validate.columns import in_service, numbers, span, table, truths, where


def controllable(net: Any) -> list[Problem]:
    """A mark is yes or no: text such as ``"no"`` would count as yes."""
    problems = []
    for name in ("sgen", "storage"):
        frame = table(net, name)
        if "controllable" in frame:
            marks = frame["controllable"]
            bad = np.array([not (pd.isna(m) or (not isinstance(m, str) and m in (0, 1))) for m in marks], dtype=bool)
            message = f"{marks[bad].iloc[0]!r} is no mark; give True or False" if bad.any() else ""
            problems += where(name, "controllable", frame, bad, message)
    return problems


def inverter_rating(net: Any) -> list[Problem]:
    """A controllable sgen has an apparent power that covers its active power, which it feeds in."""
    frame = table(net, "sgen")
    live = in_service(frame) & truths(frame, "controllable")
    s, p = numbers(frame, "sn_mva"), numbers(frame, "p_mw") * numbers(frame, "scaling", 1.0)
    missing = live & ~(s > 0)
    message = "a controllable sgen needs its apparent power: give sn_mva > 0 (MVA), or set controllable to False"
    problems = where("sgen", "sn_mva", frame, missing, message)
    small = live & (s > 0) & (p > s * (1 + 1e-9))
    if small.any():
        k = int(np.flatnonzero(small)[0])
        message = f"sn_mva ({s[k]:.6g} MVA) is smaller than p_mw ({p[k]:.6g} MW, scaling included); it must be >= p_mw"
        problems += where("sgen", "sn_mva", frame, small, message)
    negative = live & (p < 0)
    if negative.any():
        message = f"{span(p[negative])} MW: an sgen counts what it feeds in as positive; give p_mw >= 0"
        problems += where("sgen", "p_mw", frame, negative, message)
    return problems


def storage_energy(net: Any) -> list[Problem]:
    """A storage unit that is not marked as uncontrollable has an energy, a state of charge within it, and rates."""
    frame = table(net, "storage")
    live = in_service(frame) & truths(frame, "controllable", True)
    top, bottom = numbers(frame, "max_e_mwh"), np.nan_to_num(numbers(frame, "min_e_mwh", 0.0))
    soc = numbers(frame, "soc_percent")
    message = "max_e_mwh is missing or not positive; give the usable energy in MWh, or take the storage out of service"
    problems = where("storage", "max_e_mwh", frame, live & ~(top > 0), message)
    bad = live & (top > 0) & ((bottom < 0) | (bottom > top))
    if bad.any():
        message = f"min_e_mwh is {span(bottom[bad])} MWh; it must lie between 0 and max_e_mwh ({span(top[bad])} MWh)"
        problems += where("storage", "min_e_mwh", frame, bad, message)
    missing = live & ~np.isfinite(soc)
    message = "the state of charge at the start is missing; give soc_percent, 0 to 100 of max_e_mwh"
    problems += where("storage", "soc_percent", frame, missing, message)
    least = 100 * bottom / np.where(top > 0, top, np.nan)
    bad = live & (top > 0) & (bottom <= top) & ((soc > 100 + 1e-9) | (soc < np.maximum(least, 0) - 1e-9))
    if bad.any():
        message = f"soc_percent is {span(soc[bad])}; it must lie between min_e_mwh ({span(least[bad])} %) and 100 %"
        problems += where("storage", "soc_percent", frame, bad, message)
    return problems + _storage_rates(frame, live)


def _storage_rates(frame: Any, live: Any) -> list[Problem]:
    low, high, s = (numbers(frame, column) for column in ("min_p_mw", "max_p_mw", "sn_mva"))
    unknown = live & np.isnan(high) & ~(s > 0)
    message = "neither max_p_mw nor sn_mva says how fast it charges; give one of them (MW, MVA)"
    problems = where("storage", "max_p_mw", frame, unknown, message)
    bad = live & ((low > 0) | (high < 0))
    message = "the range min_p_mw..max_p_mw must include 0 (charging counts positive, discharging negative)"
    problems += where("storage", "min_p_mw", frame, bad, message)
    percent = numbers(frame, "efficiency_percent")
    bad = live & ((percent <= 1) | (percent > 100))
    message = "an efficiency must lie above 1 and up to 100; write 95 for 95 %, not 0.95"
    return problems + where("storage", "efficiency_percent", frame, bad, message)


def capacitor_steps(net: Any) -> list[Problem]:
    """A shunt's step is an integer from 0 to `max_step`."""
    frame = table(net, "shunt")
    step, most = numbers(frame, "step"), numbers(frame, "max_step")
    bad = in_service(frame) & ((step < 0) | (step > most) | (step != np.round(step)) & np.isfinite(step))
    if not bad.any():
        return []
    message = f"step {span(step[bad])} is not possible; it must be a whole number, 0 to max_step ({span(most[bad])})"
    return where("shunt", "step", frame, bad, message)


def tap_range(net: Any) -> list[Problem]:
    """A tap changer stands at a whole position inside its range."""
    frame = table(net, "trafo")
    tap, low, high = (numbers(frame, column) for column in ("tap_pos", "tap_min", "tap_max"))
    live = in_service(frame) & np.isfinite(tap)
    problems = where("trafo", "tap_min", frame, live & (low > high), "tap_min lies above tap_max; swap them")
    bad = live & (low < high) & ((tap < low) | (tap > high) | (tap != np.round(tap)))
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        message = f"tap_pos {tap[k]:.6g} is not possible; it must be a whole number from {low[k]:.6g} to {high[k]:.6g}"
        problems += where("trafo", "tap_pos", frame, bad, message)
    return problems


def pace(net: Any) -> list[Problem]:
    """What says how fast taps and capacitor banks may move is a number of seconds."""
    problems = []
    for name, column in (("shunt", "dwell_s"), ("trafo", "tap_delay_s")):
        frame = table(net, name)
        seconds = numbers(frame, column, 0.0)
        bad = in_service(frame) & ((seconds < 0) | np.isinf(seconds))
        if bad.any():
            message = f"{column} is {span(seconds[bad])}; it must be a number of seconds, 0 or more"
            problems += where(name, column, frame, bad, message)
    return problems


DEVICE_RULES = (controllable, inverter_rating, storage_energy, capacitor_steps, tap_range, pace)
