"""The residential part of CIGRE's low-voltage benchmark as P0 has it: 18 nodes, storage behind some of the meters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import FloatArray, frozen
from feederlab.models.feeder import Feeder
from feederlab.models.library.year import QUARTERS, shapes, unit_peak, year_profile
from feederlab.models.profiles import Key, Profile
from feederlab.models.scenario import Scenario

NAME, BAND = "cigre_r18", (0.95, 1.05)
AGENTS = {3: ("R9", "R14", "R16"), 6: ("R9", "R14", "R16", "R7", "R15", "R18")}
RATE_MW, ENERGY_MWH = 0.06, 3.0
POWER_FACTOR, SLACK_VM, PV_PER_LOAD = 0.95, 1.0, 1.5

BENCHMARK_KW = {"R1": 190.0, "R11": 14.25, "R15": 49.4, "R16": 52.25, "R17": 33.25, "R18": 44.65}
"""The benchmark's loads, 383.8 kW in all."""
HOUSEHOLDS_KW = {"R7": 20.0, "R9": 20.0, "R10": 20.0, "R14": 20.0}
"""Households behind the meters at nodes where the benchmark has no load; taken off R1, whose load stands for others."""
_SHAPES = ("H0-A_pload", "H0-B_pload", "H0-C_pload", "H0-G_pload", "H0-L_pload")
_SUN = ("PV1", "PV3", "PV5")
_HOUSEHOLD_KW, _WEEKS, _WEEK = 2.5, 4, 672


def smart_meter_scenario(agents: int | Sequence[str] = 3, *, seed: int = 0) -> Scenario:
    """Return the year in steps of 15 minutes, band 0.95 to 1.05.

    P0's profiles and the loads behind its meters are lost; what stands here for them is a choice.

    - Grid: R0 (20 kV, the external grid at 1 p.u.) and R1 to R18 of ``create_cigre_network_lv``, 0.5 MVA transformer.
    - Loads: the benchmark's, 383.8 kW at power factor 0.95 (with all of it the lowest voltage is 0.9169 p.u., at R15).
      Of R1's 190 kW, four times 20 kW stand at R7, R9, R10 and R14, for otherwise three of the six agents would have a
      meter with nothing behind it.
    - Each load is a sum of SimBench households, one for 2.5 kW, drawn by `seed` from five shapes and moved by up to
      four weeks; its largest value in the year is the table's.
    - PV: 1.5 times the load at every node but R1, on three of SimBench's shapes.  No one controls it.
    - Storage: 60 kW, 3 MWh, SOC 10 to 90 %, from 50 % on, 95 % efficient either way.

    Load and PV are as large as it takes for both limits to be missed without storage, now and then (4 % of the year
    each), while three units at full rate can always mend it, and six at full rate overshoot the other limit.

    agents : 3 (R9, R14, R16), 6 (R7, R15 and R18 too), or names of nodes; none at all for a grid without storage.

    Raises
    ------
    InputError
        For another number of agents, or two at one node.
    UnknownNameError
        For a node that is not there.
    """
    if isinstance(agents, int):
        if agents not in AGENTS and agents != 0:
            raise InputError(f"there are cases of {' and '.join(map(str, AGENTS))} agents, not {agents}; or name nodes")
        agents = AGENTS.get(agents, ())
    base = _without_storage(seed)
    if len(set(agents)) < len(agents):
        raise InputError(f"an agent has one storage unit: a node is given twice in {', '.join(agents)}")
    if not agents:
        return base
    return base.with_devices(storages={bus_of(base, name): (RATE_MW, ENERGY_MWH) for name in agents})


def bus_of(scenario: Scenario, name: str) -> int:
    """Return the pandapower bus of a node, e.g. ``R10``.  Raises `UnknownNameError` if there is none."""
    found = {str(label).removeprefix("Bus "): int(bus) for bus, label in scenario.feeder.net.bus.name.items()}
    if name not in found:
        raise UnknownNameError("node", name, list(found))
    return found[name]


@cache
def _without_storage(seed: int) -> Scenario:
    import pandapower

    net = _grid()
    bus = {str(name).removeprefix("Bus "): int(index) for index, name in net.bus.name.items()}
    sizes = {**BENCHMARK_KW, **HOUSEHOLDS_KW}
    sizes["R1"] -= sum(HOUSEHOLDS_KW.values())
    tangent = np.tan(np.arccos(POWER_FACTOR))
    rng, drawn = np.random.default_rng([seed, 5]), []
    for name, kw in sizes.items():
        pandapower.create_load(net, bus[name], kw / 1000, kw / 1000 * tangent, name=f"Load {name}")
        drawn.append(_households(rng, round(kw / _HOUSEHOLD_KW)))
        if name != "R1":
            p_mw = PV_PER_LOAD * kw / 1000
            pandapower.create_sgen(net, bus[name], p_mw=p_mw, q_mvar=0.0, name=f"PV {name}", controllable=False)
    load, sun = frozen(np.array(drawn).T), unit_peak("renewables", list(_SUN))
    profiles: dict[Key, Profile] = {
        ("load", column): year_profile(load, np.arange(len(sizes)), net.load[column], net.load.index)
        for column in ("p_mw", "q_mvar")
    }
    profiles["sgen", "p_mw"] = year_profile(sun, np.arange(len(net.sgen)) % len(_SUN), net.sgen.p_mw, net.sgen.index)
    return Scenario.build(Feeder.from_pandapower(net, NAME), profiles, name=NAME, band=BAND)


def _grid() -> Any:
    """Return R0 to R18 without loads, the external grid at R0."""
    from pandapower.networks import create_cigre_network_lv
    from pandapower.toolbox import drop_buses

    net = create_cigre_network_lv()
    residential = net.bus.name.astype(str).str.startswith("Bus R")
    net.ext_grid["bus"] = net.bus.index[net.bus.name == "Bus R0"][0]
    net.ext_grid["vm_pu"] = SLACK_VM
    drop_buses(net, net.bus.index[~residential].tolist())
    net.load = net.load.drop(net.load.index)
    return net


def _households(rng: np.random.Generator, count: int) -> FloatArray:
    """Return the (35136,) sum of `count` households of equal yearly energy, over its own peak."""
    relative, total = shapes("load", list(_SHAPES)), np.zeros(QUARTERS)
    relative = relative / relative.mean(axis=0)
    for _ in range(count):
        weeks = int(rng.integers(-_WEEKS, _WEEKS + 1))
        total += np.roll(relative[:, rng.integers(len(_SHAPES))], weeks * _WEEK)
    return np.asarray(total / total.max())
