"""The 47-bus feeder as P3 has it, in slots of one minute."""

from __future__ import annotations

import numpy as np

from feederlab.models.feeder import Feeder
from feederlab.models.library.devices_rule import plain_profiles
from feederlab.models.library.sce47 import SEED, sce47_net
from feederlab.models.scenario import Scenario

NAME, EVERY, POWER_FACTOR = "sce47_p3", "5min", 0.8
NO_BAND = (0.5, 1.5)  # (7) and (9) have no voltage limits


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
