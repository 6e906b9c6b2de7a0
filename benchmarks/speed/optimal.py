"""AC optimal power flow against `pandapower.runopp` on the same problem."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandapower
from pandapower.optimal_powerflow import OPFNotConverged

from benchmarks.speed.timing import Row
from feederlab.controllers.registry import create
from feederlab.models.library import load
from feederlab.models.scenario import Scenario
from feederlab.simulate import simulate

SUMMER = "2016-06-22"


def rows() -> Iterator[Row]:
    for name, runopp_steps in (("mapdn33", 24), ("mapdn322", 8)):
        day = load(name).days(SUMMER, 1)
        result = simulate(day, create("opf"))
        ours = result.timing.decision_s.to_numpy()
        every = day.periods // runopp_steps
        theirs, solved = by_runopp(replace(day, step=day.step * every, periods=runopp_steps))
        picked = ours[::every][:runopp_steps]
        failed = int((result.data.rung >= 2).sum())
        note = (
            f"ours: {day.periods - failed}/{day.periods} solved, slowest {ours.max():.2f} s; "
            f"runopp: {solved}/{runopp_steps} solved"
        )
        ratio = float(np.median(theirs / picked))
        yield Row(f"AC OPF, {name} (median)", float(np.median(ours)), "pandapower.runopp", float(np.median(theirs)),
                  ratio, 5.0, note=note)  # fmt: skip
        if name == "mapdn322":
            worst = float(ours.max())
            yield Row("AC OPF, mapdn322: median decision", float(np.median(ours)), "", np.nan, float(np.median(ours)),
                      0.1, faster=False, note="seconds")  # fmt: skip
            yield Row("AC OPF, mapdn322: slowest decision", worst, "", np.nan, worst, 5.0, faster=False, note="seconds")
    yield sqp_against_ipopt(load("mapdn322").days(SUMMER, 1))


def sqp_against_ipopt(day: Scenario) -> Row:
    """Both without the relaxation, each on its own closed loop of a day in steps of an hour and a half."""
    coarse = replace(day, step=day.step * 30, periods=day.periods // 30)
    ipopt, sqp = (simulate(coarse, create(f"opf:certify=false,method={method}")) for method in ("ipopt", "sqp"))
    theirs, ours = (run.timing.decision_s.to_numpy() for run in (ipopt, sqp))
    worse = (sqp.data.losses_mw / ipopt.data.losses_mw - 1).max()
    note = f"slowest {1e3 * ours.max():.0f} ms; losses at most {float(worse):.0e} above Ipopt's"
    return Row("opf:method=sqp, mapdn322 (median)", float(np.median(ours)), "Ipopt", float(np.median(theirs)),
               float(np.median(theirs) / np.median(ours)), 10.0, note=note)  # fmt: skip


def by_runopp(scenario: Scenario) -> tuple[np.ndarray, int]:
    """Return the time of every call (failures included) and how many succeeded."""
    net, series = scenario.feeder.net, scenario.series()
    inverters = scenario.feeder.inverters
    low, high = scenario.band[:, 0]
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = low, high
    net.ext_grid["controllable"] = False
    pandapower.create_poly_cost(net, net.ext_grid.index[0], "ext_grid", cp1_eur_per_mw=1.0)
    times, solved = np.zeros(len(series)), 0
    loads = scenario.feeder.loads
    for t in range(len(series)):
        net.load["p_mw"] = spread(series.load_mva[t].real, loads.node)
        net.load["q_mvar"] = spread(series.load_mva[t].imag, loads.node)
        p = series.p_available_mw[t]
        room = np.sqrt(inverters.s_mva**2 - p**2)
        net.sgen.loc[inverters.index, ["min_p_mw", "max_p_mw", "p_mw"]] = np.stack([p, p, p], axis=1)
        net.sgen.loc[inverters.index, ["min_q_mvar", "max_q_mvar"]] = np.stack([-room, room], axis=1)
        began = time.perf_counter()
        try:
            pandapower.runopp(net, init="pf")
            solved += 1
        except (OPFNotConverged, pandapower.LoadflowNotConverged):
            pass
        times[t] = time.perf_counter() - began
    return times, solved


def spread(per_node: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return each load's share of its node's consumption, equally divided among the loads of a node."""
    return np.asarray(per_node[node] / np.bincount(node, minlength=len(per_node))[node])
