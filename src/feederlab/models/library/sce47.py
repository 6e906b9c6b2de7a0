"""The 47-bus feeder of Southern California Edison (Farivar et al. 2011; Gan et al., IEEE TAC 60(1) 72, 2015, Table I).

Buses keep the table's numbers, 1 the substation.  The table's zero-impedance lines join PV buses to their neighbours;
the feeder model fuses them.  Left out, as in P3, is what stands at the substation and changes no voltage: a load of
30 MVA and a capacitor of 6 MVAr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.feeder import Feeder
from feederlab.models.library.devices_rule import RATING, plain_profiles
from feederlab.models.scenario import Scenario

BAND = (0.95, 1.05)
SEED = 0
POWER_FACTOR = 0.8  # P3; the table gives none, and public studies of the feeder take 0.9

_LINES = """1-2 .259 .808; 2-3 .031 .092; 3-4 .046 .092; 3-14 .092 .031; 3-15 .214 .046; 4-20 .336 .061; 4-5 .107 .183;
5-26 .061 .015; 5-6 .015 .031; 6-27 .168 .061; 6-7 .031 .046; 7-32 .076 .015; 7-8 .015 .015; 8-40 .046 .015;
8-39 .244 .046; 8-41 .107 .031; 8-35 .076 .015; 8-9 .031 .031; 9-10 .015 .015; 9-42 .153 .046; 10-11 .107 .076;
10-46 .229 .122; 11-47 .031 .015; 11-12 .076 .046; 15-18 .046 .015; 15-16 .107 .015; 20-21 .122 .092; 20-25 .214 .046;
21-22 .198 .046; 27-31 .046 .015; 27-28 .107 .031; 28-29 .107 .031; 29-30 .061 .015; 32-33 .046 .015; 33-34 .031 .010;
35-36 .076 .015; 35-37 .076 .046; 35-38 .107 .015; 42-43 .061 .015; 43-44 .061 .015; 43-45 .061 .015;
2-13 0 0; 16-17 0 0; 18-19 0 0; 21-24 0 0; 22-23 0 0"""  # ohm
_PEAK_MVA = {
    11: 0.67, 12: 0.45, 14: 0.89, 16: 0.07, 18: 0.67, 21: 0.45, 22: 2.23, 25: 0.45, 26: 0.20, 28: 0.13, 29: 0.13,
    30: 0.20, 31: 0.07, 32: 0.13, 33: 0.27, 34: 0.20, 36: 0.27, 38: 0.45, 39: 1.34, 40: 0.13, 41: 0.67, 42: 0.13,
    44: 0.45, 45: 0.20, 46: 0.45,
}  # fmt: skip
_CAPACITOR_MVAR = {3: 1.2, 37: 1.8, 47: 1.8}
_PV_MW = {13: 1.5, 17: 0.4, 19: 1.5, 23: 1.0, 24: 2.0}


def load(name: str = "sce47", *, power_factor: float = POWER_FACTOR, seed: int = SEED) -> Scenario:
    """Return the feeder over the year in steps of 15 minutes (P3 takes slots of one minute: resample to ``"1min"``).

    Loads and PV follow SimBench's year (`plain_profiles`); the capacitors, closed at the start, are one step each;
    S = 1.1 p_max.

    Raises
    ------
    InputError
        If the power factor does not lie in (0, 1].
    """
    net = sce47_net(power_factor)
    return Scenario.build(Feeder.from_pandapower(net, name), plain_profiles(net, seed), name=name, band=BAND)


def load_minutes(name: str = "sce47_minutes") -> Scenario:
    """Return `load` in slots of one minute, as P3 has them, with clouds and customers inside the quarter hours."""
    return load(name).with_minutes()


def sce47_net(power_factor: float = POWER_FACTOR) -> Any:
    """Return the net with its peak loads, PV at its rated power, and capacitors closed."""
    import pandapower

    if not 0 < power_factor <= 1:
        raise InputError(f"the power factor must lie in (0, 1], not {power_factor}")
    net = pandapower.create_empty_network(name="sce47", sn_mva=1.0)
    buses = range(1, 48)
    pandapower.create_buses(net, len(buses), vn_kv=12.35, index=list(buses), name=[str(b) for b in buses])
    pandapower.create_ext_grid(net, 1)
    rows = [text.split() for text in _LINES.split(";")]
    ends = np.array([[int(bus) for bus in row[0].split("-")] for row in rows])
    ohm = np.array([[float(value) for value in row[1:]] for row in rows])
    pandapower.create_lines_from_parameters(
        net, ends[:, 0], ends[:, 1], length_km=1.0, r_ohm_per_km=ohm[:, 0], x_ohm_per_km=ohm[:, 1], c_nf_per_km=0.0,
        max_i_ka=np.nan,
    )  # fmt: skip
    peak = np.array(list(_PEAK_MVA.values()))
    pandapower.create_loads(
        net, list(_PEAK_MVA), p_mw=power_factor * peak, q_mvar=np.sqrt(1 - power_factor**2) * peak
    )  # fmt: skip
    pandapower.create_shunts(net, list(_CAPACITOR_MVAR), q_mvar=[-q for q in _CAPACITOR_MVAR.values()])
    net.shunt["controllable"] = True
    p = np.array(list(_PV_MW.values()))
    pandapower.create_sgens(
        net, list(_PV_MW), p_mw=p, q_mvar=0.0, sn_mva=RATING * p, name=[f"PV {b}" for b in _PV_MW], type="PV",
        controllable=True,
    )  # fmt: skip
    return net
