"""Rules on connections: one source feeds everything that is in service."""

from __future__ import annotations

from typing import Any

import numpy as np

from feederlab.errors import Problem
from feederlab.models.arrays import IntArray
from feederlab.models.validate.columns import in_service, listed, numbers, table, truths, where
from feederlab.models.validate.graph import Graph

_FED = ("load", "sgen", "storage", "gen", "shunt", "ward", "xward", "motor")


def slack(net: Any, graph: Graph) -> list[Problem]:
    """Exactly one node in service is held by an external grid."""
    gen = table(net, "gen")
    message = "slack=True is not supported; put an ext_grid at this bus instead of the gen"
    problems = where("gen", "slack", gen, in_service(gen) & truths(gen, "slack"), message)
    frame = table(net, "ext_grid")
    node = graph.node_of(net, numbers(frame, "bus"))
    rows = np.flatnonzero(in_service(frame) & (node >= 0))
    if not len(rows):
        why = "all of them are out of service, or at a bus that is" if len(frame) else "the table is empty"
        message = f"no slack: no external grid feeds the net ({why}); create one with pandapower.create_ext_grid"
        return [*problems, Problem("ext_grid", "", tuple(frame.index), message)]
    index = tuple(frame.index[rows])
    if len(np.unique(node[rows])) > 1:
        message = (
            f"two slacks: external grids at the separate buses {listed(frame['bus'].iloc[rows])}; exactly one may feed "
            "a feeder, so take the others out of service, or make them generators (table gen)"
        )
        problems.append(Problem("ext_grid", "", index, message))
    elif len(np.unique(numbers(frame, "vm_pu")[rows])) > 1:
        message = (
            f"external grids at one node hold different voltages ({listed(frame['vm_pu'].iloc[rows])} p.u.); keep one"
        )
        problems.append(Problem("ext_grid", "vm_pu", index, message))
    return problems


def islands(net: Any, graph: Graph) -> list[Problem]:
    """Everything in service at a bus in service is connected with the slack."""
    source = source_nodes(net, graph)
    if not len(source):
        return []
    fed = np.zeros(int(graph.part.max()) + 1, dtype=bool)
    fed[graph.part[source]] = True
    dead: dict[int, list[str]] = {}
    for name in _FED:
        frame = table(net, name)
        index = list(frame.index)
        node = graph.node_of(net, numbers(frame, "bus"))
        lost = in_service(frame) & (node >= 0) & ~fed[graph.part[node]]
        for row in np.flatnonzero(lost):
            dead.setdefault(int(graph.part[node[row]]), []).append(f"{name} {index[row]}")
    return [_island(net, graph, part, names) for part, names in dead.items()]


def branches(net: Any, graph: Graph) -> list[Problem]:
    """A branch with an impedance, in service, is connected with the slack."""
    source = source_nodes(net, graph)
    fed = graph.closed & (graph.a != graph.b) & (graph.z_pu > 0) & np.isin(graph.part[graph.a], graph.part[source])
    if not len(source) or fed.any():
        return []
    message = "no line or transformer with an impedance is in service at the external grid: nothing can be controlled"
    return [Problem("net", "", (), message)]


def _island(net: Any, graph: Graph, part: int, names: list[str]) -> Problem:
    inside = graph.part[graph.node] == part
    buses = tuple(net["bus"].index[inside & graph.live])
    border = ~graph.closed & ((graph.part[graph.a] == part) != (graph.part[graph.b] == part))
    doors = [graph.name[k] for k in np.flatnonzero(border)]
    way = f"close or put in service {listed(doors)}" if doors else "connect them"
    return Problem(
        "bus", "", buses, f"an island: no external grid reaches these buses, with {listed(names)} in service; "
        f"{way}, or take what stands there out of service",
    )  # fmt: skip


def source_nodes(net: Any, graph: Graph) -> IntArray:
    """Return the nodes of the external grids in service."""
    frame = table(net, "ext_grid")
    node = graph.node_of(net, numbers(frame, "bus"))
    found: IntArray = np.unique(node[in_service(frame) & (node >= 0)])
    return found


def voltage_band(net: Any, graph: Graph) -> list[Problem]:
    """Bands of `bus.min/max_vm_pu` are not empty: on a bus, nor between the buses that make one node.

    A slack's band is not looked at (MATPOWER gives it the set voltage as both limits).
    """
    bus = net["bus"]
    low, high = numbers(bus, "min_vm_pu"), numbers(bus, "max_vm_pu")
    live = graph.live & ~np.isin(graph.node, source_nodes(net, graph))
    odd = live & ((low < 0) | (low > 10) | (high < 0) | ((high > 10) & np.isfinite(high)))
    message = "a voltage limit must be in p.u., between 0 and about 1.5, e.g. 0.95 and 1.05 (not in % or kV)"
    problems = where("bus", "min_vm_pu/max_vm_pu", bus, odd, message)
    tight_low = np.full(graph.nodes, -np.inf)
    tight_high = np.full(graph.nodes, np.inf)
    np.fmax.at(tight_low, graph.node[live], low[live])
    np.fmin.at(tight_high, graph.node[live], high[live])
    bad = live & ~odd & (tight_low[graph.node] >= tight_high[graph.node])
    if bad.any():
        first = int(graph.node[bad][0])
        message = (
            f"the voltage band is empty or inverted ({tight_low[first]:.6g} to {tight_high[first]:.6g} p.u.); "
            "min_vm_pu must lie below max_vm_pu, also between buses joined by closed switches"
        )
        problems += where("bus", "min_vm_pu/max_vm_pu", bus, bad, message)
    return problems


TOPOLOGY_RULES = (slack, islands, branches, voltage_band)
