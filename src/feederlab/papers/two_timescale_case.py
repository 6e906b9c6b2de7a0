"""The 47-bus feeder as P3 has it, in slots of one minute, and the days it is learnt and judged on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.feeder import Feeder
from feederlab.models.library.devices_rule import plain_profiles
from feederlab.models.library.sce47 import SEED, sce47_net
from feederlab.models.scenario import Scenario

NAME, EVERY, POWER_FACTOR = "sce47_p3", "5min", 0.8
NO_BAND = (0.5, 1.5)  # (7) and (9) have no voltage limits
PROFILES = "2016"


def p3_scenario(seed: int = 0) -> Scenario:
    """Return the year in minutes (`MinuteNoise`, from `seed`).

    P3's limit (2), ``|q| <= sqrt(s^2 - p^2)``, takes the nameplate's p and s: it is the same at night and at noon.  So
    each plant is two devices at its bus: a generator that no one controls, which gives the sun's active power, and an
    inverter of rating sqrt(s^2 - p^2) that gives reactive power alone.
    """
    import pandapower

    net = sce47_net(POWER_FACTOR)
    profiles = plain_profiles(net, SEED)
    plants = net.sgen.copy()
    net.sgen["controllable"] = False
    pandapower.create_sgens(
        net, plants.bus, p_mw=0.0, q_mvar=0.0, sn_mva=np.sqrt(plants.sn_mva**2 - plants.p_mw**2),
        name=[f"inverter {bus}" for bus in plants.bus], controllable=True,
    )  # fmt: skip
    return Scenario.build(Feeder.from_pandapower(net, NAME), profiles, name=NAME, band=NO_BAND).with_minutes(seed)


def days_of_the_year(count: int, others: int) -> tuple[list[pd.Timestamp], list[pd.Timestamp], list[pd.Timestamp]]:
    """Return (test, validation, training) days, disjoint, each spread over the whole year.

    count : test days, evenly spaced.  others : training days; with a sixth as many validation days (at least one)
    between them, they are evenly spaced among the days that are left.

    Raises
    ------
    InputError
        If the year is too short for that.
    """
    year = pd.date_range(f"{PROFILES}-01-01", f"{PROFILES}-12-31", freq="D")
    total = others + max(others // 6, 1)
    if count < 1 or others < 1 or count + total > len(year) // 2:
        raise InputError(
            f"{count} test days and {others} training days do not fit: give at least one of each, and about "
            f"{len(year) // 2} in all at most"
        )
    test = [year[k] for k in np.linspace(0, len(year), count, endpoint=False).astype(int) + len(year) // (2 * count)]
    left = [day for day in year if day not in test]
    chosen = [left[k] for k in np.linspace(0, len(left) - 1, total).astype(int)]
    validation = [chosen[k] for k in np.linspace(0, total - 1, total - others + 2).astype(int)[1:-1]]
    return test, validation, [day for day in chosen if day not in validation]
