"""What a scenario is: size, devices, peaks, and the state of its grid at table values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from feederlab.models.arrays import FloatArray
from feederlab.models.devices import Elements
from feederlab.models.powerflow.net import at_table_values
from feederlab.models.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Summary:
    """A scenario in figures.

    peak_load_mw, peak_load_at : highest coincident load over the data and when; peak_pv_mw, peak_pv_at : the same for
    what all static generators offer.
    base_* : power flow with the loads alone at the net's table values; NaN without a solution.
    base_low_bus, base_high_bus : pandapower bus of the extremes.
    """

    name: str
    buses: int
    nodes: int
    branches: int
    loops: int
    loads: int
    generators: int
    inverters: int
    inverters_mva: float
    storages: int
    storages_mwh: float
    capacitors: int
    tap_changers: int
    zones: int
    vn_kv: tuple[float, ...]
    band: tuple[float, float]
    first: str
    end: str
    step_s: float
    peak_load_mw: float
    peak_load_at: str
    peak_pv_mw: float
    peak_pv_at: str
    base_losses_mw: float
    base_vm_min_pu: float
    base_vm_max_pu: float
    base_low_bus: int
    base_high_bus: int
    notes: tuple[str, ...] = field(default=())


def summarise(scenario: Scenario) -> Summary:
    """Return a scenario in figures."""
    feeder = scenario.feeder
    solved = at_table_values(feeder, loads_alone=True)
    vm = feeder.to_buses(solved.vm)
    known = bool(np.isfinite(vm).any())
    load, load_at = _peak(scenario, "load", feeder.loads)
    sun, sun_at = _peak(scenario, "sgen", feeder.sgens, feeder.inverters)
    pairs = np.sort(np.stack([feeder.branches.from_node, feeder.branches.to_node]), axis=0)
    first, end = scenario.data_span
    return Summary(
        name=scenario.name,
        buses=int((feeder.bus_node >= 0).sum()),
        nodes=feeder.n_nodes,
        branches=len(feeder.branches),
        loops=len(np.unique(pairs, axis=1).T) - feeder.n_nodes + 1,
        loads=int((feeder.loads.node >= 0).sum()),
        generators=int((feeder.sgens.node >= 0).sum()),
        inverters=len(feeder.inverters),
        inverters_mva=float(feeder.inverters.s_mva.sum()),
        storages=len(feeder.storages),
        storages_mwh=float(feeder.storages.e_max_mwh.sum()),
        capacitors=len(feeder.capacitors),
        tap_changers=len(feeder.tap_changers),
        zones=len(set(feeder.node_zone) - {""}),
        vn_kv=tuple(sorted({float(v) for v in feeder.node_vn_kv}, reverse=True)),
        band=(float(scenario.band[0].min()), float(scenario.band[1].max())),
        first=str(first),
        end=str(end),
        step_s=scenario.step.total_seconds(),
        peak_load_mw=load,
        peak_load_at=load_at,
        peak_pv_mw=sun,
        peak_pv_at=sun_at,
        base_losses_mw=float(solved.losses_mw()),
        base_vm_min_pu=float(np.nanmin(vm)) if known else np.nan,
        base_vm_max_pu=float(np.nanmax(vm)) if known else np.nan,
        base_low_bus=int(feeder.bus_index[np.nanargmin(vm)]) if known else -1,
        base_high_bus=int(feeder.bus_index[np.nanargmax(vm)]) if known else -1,
        notes=tuple(dict.fromkeys((*feeder.notes, *scenario.notes))),
    )


def _peak(scenario: Scenario, table: str, *groups: Elements) -> tuple[float, str]:
    """Return the highest sum over time of `p_mw` in MW, and when; computed from the shared shapes, a year at once."""
    profile = scenario.profiles.get((table, "p_mw"))
    constant, weight = 0.0, {}
    for elements in groups:
        served = elements.node >= 0
        for index, p, scaling in zip(
            elements.index[served], elements.p_mw[served], elements.scaling[served], strict=True
        ):
            weight[int(index)] = (float(p), float(scaling))
    if profile is None:
        return sum(p * scaling for p, scaling in weight.values()), ""
    per_shape: FloatArray = np.zeros(profile.shapes.shape[1])
    for column, index in enumerate(profile.index):
        if int(index) in weight:
            per_shape[profile.pick[column]] += profile.scale[column] * weight.pop(int(index))[1]
    constant = sum(p * scaling for p, scaling in weight.values())
    total = profile.shapes @ per_shape + constant
    at = int(np.argmax(total))
    when: pd.Timestamp = profile.times[at]
    return float(total[at]), f"{when:%Y-%m-%d %H:%M}" if per_shape.any() else ""
