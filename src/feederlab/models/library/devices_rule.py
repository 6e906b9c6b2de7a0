"""How library scenarios get devices and profiles, because as shipped most have nothing to control.

Every rule is fixed or drawn from a seed.  A user's own net is never altered: `with_devices` works on a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray, frozen
from feederlab.models.feeder import Feeder
from feederlab.models.library.year import consumer_shapes, pv_shapes, unit_peak, year_profile
from feederlab.models.powerflow.base import engine
from feederlab.models.profiles import Key, Profile
from feederlab.models.scenario import Scenario

RATING = 1.1  # apparent power of an inverter over its largest active power
SHARE_OF_BUSES = 1 / 3
PV_VM = 1.10  # the limit of EN 50160
PV_LIMIT, SUNNIEST = 4.0, 48
SOC_START, SOC_LOW, SOC_HIGH = 0.5, 0.1, 0.9


def control_simbench(net: Any) -> None:
    """Make a SimBench net's renewables and storage controllable, in place.

    Renewable generators get S = 1.1 p.  Storage, shipped empty and unable to charge, gets symmetric power limits and
    works between 10 and 90 % of its energy from 50 % on: `max_e_mwh` becomes the 90 %, to which `soc_percent` refers.
    Transformers that SimBench marks as not regulated keep their tap position.
    """
    if len(net.sgen):
        renewable = (net.sgen.phys_type == "RES") & (net.sgen.p_mw > 0)
        net.sgen["controllable"] = renewable
        net.sgen.loc[renewable, "sn_mva"] = RATING * net.sgen.p_mw[renewable]
    if len(net.storage):
        store = net.storage
        power, energy = store.p_mw.abs(), store.max_e_mwh.copy()
        store["controllable"] = True
        store["max_p_mw"], store["min_p_mw"], store["sn_mva"] = power, -power, power
        store["max_e_mwh"], store["min_e_mwh"] = SOC_HIGH * energy, SOC_LOW * energy
        store["soc_percent"] = 100 * SOC_START / SOC_HIGH
        store["efficiency_percent"] = store.efficiency_percent.where(
            store.efficiency_percent > 1, 100 * store.efficiency_percent
        )
    if "autoTap" in net.trafo:
        fixed = (net.trafo.autoTap != 1) & net.trafo.tap_pos.notna()
        net.trafo.loc[fixed, "tap_min"] = net.trafo.tap_pos[fixed]
        net.trafo.loc[fixed, "tap_max"] = net.trafo.tap_pos[fixed]


def equip_plain(net: Any, seed: int) -> dict[Key, Profile]:
    """Add PV to a plain net, in place, and return its `plain_profiles`.

    One in three load buses, drawn without replacement, gets a site; p_max goes with the square root of the bus's load
    (so that one large customer does not take all of it), S = 1.1 p_max.  Together the sites are as large as it takes to
    lift some bus to 1.10 p.u. at the year's sunniest hours without control, but at most `PV_LIMIT` times the loads:
    enough to leave the band at noon, short of the absurd.
    """
    import pandapower

    load = net.load[net.load.in_service]
    at_bus = (load.p_mw * load.scaling).abs().groupby(load.bus).sum()
    at_bus = at_bus[at_bus > 0]
    count = max(1, round(SHARE_OF_BUSES * len(at_bus)))
    buses = np.sort(np.random.default_rng([seed, 1]).choice(at_bus.index.to_numpy(), size=count, replace=False))
    weight = np.sqrt(at_bus.loc[buses].to_numpy())
    p_max = PV_LIMIT * at_bus.sum() * weight / weight.sum()
    pandapower.create_sgens(
        net, buses, p_mw=p_max, q_mvar=0.0, name=[f"PV {b}" for b in buses], type="PV", controllable=False
    )
    profiles = plain_profiles(net, seed)
    factor = _hosted(Feeder.from_pandapower(net, validate=False), profiles)
    net.sgen["p_mw"] *= factor
    net.sgen["sn_mva"] = RATING * net.sgen.p_mw
    net.sgen["controllable"] = True
    profiles["sgen", "p_mw"] = profiles["sgen", "p_mw"].scaled(factor)
    return profiles


def _hosted(feeder: Feeder, profiles: Mapping[Key, Profile]) -> float:
    """Return the share (0..1] of the PV that lifts the highest voltage to `PV_VM`, by bisection."""
    p, q, sun = profiles["load", "p_mw"], profiles["load", "q_mvar"], profiles["sgen", "p_mw"]
    rows = np.argsort(_totals(p) - _totals(sun), kind="stable")[:SUNNIEST]
    load = np.zeros((SUNNIEST, feeder.n_nodes), dtype=np.complex128)
    light = np.zeros((SUNNIEST, feeder.n_nodes))
    for k, node in enumerate(feeder.loads.node):
        load[:, node] += feeder.loads.scaling[k] * (_values(p, rows, k) + 1j * _values(q, rows, k))
    for k, node in enumerate(feeder.sgens.node):
        light[:, node] += _values(sun, rows, k)
    flow = engine(feeder)

    def too_high(share: float) -> bool:
        vm = flow.solve_batch(share * light - load).vm
        return not bool(vm.max() <= PV_VM)  # a power flow without solution counts as too high

    low, high = 0.0, 1.0
    if too_high(high):
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if too_high(middle) else (middle, high)
    return high


def _totals(profile: Profile) -> FloatArray:
    weight = np.bincount(profile.pick, weights=profile.scale, minlength=profile.shapes.shape[1])
    return np.asarray(profile.shapes @ weight)


def _values(profile: Profile, rows: IntArray, k: int) -> FloatArray:
    return np.asarray(profile.shapes[rows, profile.pick[k]] * profile.scale[k])


def plain_profiles(net: Any, seed: int) -> dict[Key, Profile]:
    """Return SimBench's year for a plain net: a shape drawn for each bus with loads, and one for each PV site.

    A load's largest value in the year is its table value, at the table's power factor; a site's is its p_mw.
    """
    rng = np.random.default_rng([seed, 2])
    relative, sun = unit_peak("load", consumer_shapes()), unit_peak("renewables", pv_shapes())
    buses, at = np.unique(net.load.bus.to_numpy(), return_inverse=True)
    pick = rng.integers(relative.shape[1], size=len(buses))[at]
    found = {
        ("load", column): year_profile(relative, pick, net.load[column], net.load.index)
        for column in ("p_mw", "q_mvar")
    }
    if len(net.sgen):
        drawn = rng.integers(sun.shape[1], size=len(net.sgen))
        found["sgen", "p_mw"] = year_profile(sun, drawn, net.sgen.p_mw, net.sgen.index)
    return found


def with_devices(
    scenario: Scenario,
    inverters: Mapping[int, tuple[float, float]],
    storages: Mapping[int, tuple[float, float]],
    capacitors: Mapping[int, tuple[float, int]],
    regulators: Mapping[int, tuple[int, int, float]],
    shape: FloatArray | None,
    pace_s: tuple[float, float],
) -> Scenario:
    """Do the work of `Scenario.with_devices`, where the arguments are described."""
    import pandapower

    net = copy.deepcopy(scenario.feeder.net)
    _check_places(net, {"bus": [*inverters, *storages, *capacitors], "line": list(regulators)})
    _check_sizes(storages, capacitors, regulators, pace_s)
    profiles = dict(scenario.profiles)
    added = {}
    for bus, (s_mva, p_mw) in inverters.items():
        added[pandapower.create_sgen(net, bus, p_mw=p_mw, sn_mva=s_mva, controllable=True)] = p_mw
    if shape is not None and added:
        profiles["sgen", "p_mw"] = _joined(scenario, profiles.get(("sgen", "p_mw")), added, shape)
    if "controllable" not in net.storage:
        net.storage["controllable"] = True  # what is there may be controlled; a new row would make it False
    for bus, (p_mw, e_mwh) in storages.items():
        pandapower.create_storage(
            net, bus, p_mw=0.0, max_e_mwh=SOC_HIGH * e_mwh, min_e_mwh=SOC_LOW * e_mwh, max_p_mw=p_mw, min_p_mw=-p_mw,
            sn_mva=p_mw, soc_percent=100 * SOC_START / SOC_HIGH, controllable=True,
        )  # fmt: skip
    for bus, (q_mvar, steps) in capacitors.items():
        index = pandapower.create_shunt(net, bus, q_mvar=-q_mvar, step=0, max_step=steps)
        net.shunt.loc[index, "controllable"] = True
        net.shunt.loc[index, "dwell_s"] = pace_s[0]
    against = _against_the_flow(scenario.feeder)
    for line, (lowest, highest, percent) in regulators.items():
        _regulate(net, line, lowest, highest, percent, pace_s[1], turned=line in against)
    feeder = Feeder.from_pandapower(net, scenario.feeder.name)
    return replace(scenario, feeder=feeder, profiles=profiles, band=_same_band(scenario, feeder))


def _check_places(net: Any, wanted: Mapping[str, list[int]]) -> None:
    for table, indices in wanted.items():
        missing = sorted(set(indices) - set(net[table].index))
        if missing:
            raise InputError(f"the net has no {table} {', '.join(map(str, missing[:8]))}, where a device is to stand")


def _check_sizes(
    storages: Mapping[int, tuple[float, float]],
    capacitors: Mapping[int, tuple[float, int]],
    regulators: Mapping[int, tuple[int, int, float]],
    pace_s: tuple[float, float],
) -> None:
    """Raise `InputError` for what makes a net without fault, and a device that can do nothing."""
    for bus, (p_mw, _) in storages.items():
        if not p_mw > 0:
            raise InputError(f"the storage at bus {bus} needs a rate above 0 MW, not {p_mw}")
    for bus, (q_mvar, steps) in capacitors.items():
        if steps < 1 or q_mvar == 0:
            raise InputError(f"the capacitor at bus {bus} needs MVAr and at least one step, not {q_mvar} and {steps}")
    for line, (lowest, highest, percent) in regulators.items():
        if not lowest <= 0 <= highest or lowest == highest:
            raise InputError(f"the regulator in line {line} needs positions around 0, not {lowest} to {highest}")
        if not 0 < abs(percent) * max(-lowest, highest) < 100:
            raise InputError(
                f"the regulator in line {line} needs a percentage per position that is not 0 and leaves its ratio "
                f"positive over all positions {lowest} to {highest}, not {percent}"
            )
    if not all(0 <= seconds < np.inf for seconds in pace_s):
        raise InputError(f"dwell_s and tap_delay_s must be numbers of seconds, 0 or more, not {pace_s[0]}, {pace_s[1]}")


def _against_the_flow(feeder: Feeder) -> set[int]:
    """Return the lines whose from end lies farther from the external grid."""
    branches, (upstream, _) = feeder.branches, feeder.upstream
    turned = np.flatnonzero(upstream[branches.from_node] == np.arange(len(branches)))
    return {int(branches.element_index[row]) for row in turned if branches.element[row] == "line"}


def _joined(scenario: Scenario, existing: Profile | None, added: dict[int, float], shape: FloatArray) -> Profile:
    times = next(iter(scenario.profiles.values())).times
    if np.shape(shape) != (len(times),):
        raise InputError(f"shape has {np.shape(shape)} values; the scenario's data have {len(times)} instants")
    column = np.asarray(shape, dtype=float)[:, None]
    index, scale = list(added), list(added.values())
    if existing is None:
        return Profile(times, frozen(column), frozen(np.zeros(len(index)), np.int64), frozen(scale),
                       frozen(index, np.int64))  # fmt: skip
    new = np.full(len(index), existing.shapes.shape[1])
    return Profile(
        times, frozen(np.hstack([existing.shapes, column])), frozen([*existing.pick, *new], np.int64),
        frozen([*existing.scale, *scale]), frozen([*existing.index, *index], np.int64),
    )  # fmt: skip


def _regulate(net: Any, index: int, lowest: int, highest: int, percent: float, delay_s: float, *, turned: bool) -> None:
    """Replace a line by a transformer of its impedance and nominal ratio 1, its charging by shunts at both ends.

    turned : its taps are at the line's to end, and it regulates the voltage at the from end.
    """
    import pandapower

    line = net.line.loc[index]
    a, b = (line.to_bus, line.from_bus) if turned else (line.from_bus, line.to_bus)
    a, b, kv = int(a), int(b), float(net.bus.vn_kv[a])
    if not line.in_service:
        raise InputError(f"line {index} is out of service; a regulator must stand in a line that carries power")
    opened = (net.switch.et == "l") & (net.switch.element == index)
    if opened.any():
        raise InputError(f"line {index} has switches; a regulator must stand in a line without")
    r, x = (line[c] * line.length_km / line.parallel for c in ("r_ohm_per_km", "x_ohm_per_km"))
    limit = float(line.max_i_ka) * line.df * line.parallel
    sn = np.sqrt(3) * kv * limit if np.isfinite(limit) else 99999.0  # pandapower's mark for a missing rating
    ohm = kv**2 / sn
    made = pandapower.create_transformer_from_parameters(
        net, a, b, sn_mva=sn, vn_hv_kv=kv, vn_lv_kv=kv,
        vkr_percent=100 * r / ohm, vk_percent=100 * np.hypot(r, x) / ohm,
        pfe_kw=0.0, i0_percent=0.0, tap_side="hv", tap_neutral=0, tap_min=lowest, tap_max=highest, tap_pos=0,
        tap_step_percent=percent, tap_changer_type="Ratio", name=f"regulator in line {index}",
    )  # fmt: skip
    net.trafo.loc[made, "tap_delay_s"] = delay_s
    siemens = 2 * np.pi * net.f_hz * line.c_nf_per_km * 1e-9 * line.length_km * line.parallel
    if siemens:
        pandapower.create_shunts(net, [a, b], q_mvar=-siemens / 2 * kv**2)
    net.line.loc[index, "in_service"] = False


def _same_band(scenario: Scenario, feeder: Feeder) -> FloatArray:
    """Return the band of the new feeder's nodes, bus by bus."""
    old = scenario.feeder
    node_of = {int(bus): int(node) for bus, node in zip(old.bus_index, old.bus_node, strict=True)}
    nodes = [node_of.get(int(bus), -1) for bus in feeder.node_bus]
    widest = np.array([scenario.band[0].min(), scenario.band[1].max()])
    return frozen(np.array([scenario.band[:, n] if n >= 0 else widest for n in nodes]).T)
