"""The unit slip: powers in kW entered as MW stand out against what the feeder can carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

from feederlab.errors import Problem
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.validate.columns import in_service, numbers, table
from feederlab.models.validate.graph import Graph
from feederlab.models.validate.topology import source_nodes

OVER_RATING = 10.0
"""Powers this many times the rating of what carries them are a slip of units, not an overload."""
OVER_DROP = 10.0
"""So is a linear estimate of the voltage drop of this many p.u.: no operating point exists beyond about 1."""


def slipped(net: Any, graph: Graph, buses: FloatArray, mva: FloatArray) -> tuple[BoolArray, str]:
    """Say which of n elements at `buses` with powers `mva` cannot be meant in MW, and why.

    Three tests, each far beyond anything that a real feeder does (a slip is a factor of 1000):

    1. the power at a node against the summed rating of the branches in service there;
    2. all powers together against the rating of the branches that leave the slack;
    3. where ratings are unknown, ``max_n sum_path |z| S`` (p.u.) along the shortest paths from the sources, the linear
       voltage drop: a feeder has no operating point once it exceeds about 1.

    Powers at the slack node load nothing and are left out.
    """
    source = source_nodes(net, graph)
    node = graph.node_of(net, buses)
    counted = (node >= 0) & np.isfinite(mva) & ~np.isin(node, source)
    if not counted.any():
        return counted, ""
    at_node = np.asarray(
        np.bincount(node[counted], weights=np.abs(mva[counted]), minlength=graph.nodes), dtype=np.float64
    )
    capacity = _capacity(graph)
    over = at_node > OVER_RATING * capacity
    bad = counted & over[node] & (np.abs(mva) >= 0.01 * at_node[node])
    if bad.any():
        worst = int(np.argmax(np.where(over, at_node / capacity, 0.0)))
        return bad, f"{at_node[worst]:.4g} MVA where lines and transformers carry {capacity[worst]:.4g} MVA"
    total = float(at_node.sum())
    supply = float(capacity[source].sum()) if len(source) else np.nan
    if total > OVER_RATING * supply and not _has_generators(net):
        return counted, f"{total:.4g} MVA in all, where {supply:.4g} MVA can leave the slack"
    drop = _drop(net, graph, source, at_node)
    if drop > OVER_DROP:
        return counted, f"{total:.4g} MVA in all would drop the voltage by about {drop:.3g} p.u."
    return np.zeros(len(buses), dtype=bool), ""


def _capacity(graph: Graph) -> FloatArray:
    """Return (nodes,) summed rating of the closed branches at each node; NaN where one of them has none."""
    rating = graph.rating_mva[graph.closed]
    total = _sums(graph.a[graph.closed], rating, graph.nodes) + _sums(graph.b[graph.closed], rating, graph.nodes)
    return np.where(total > 0, total, np.nan)


def _sums(node: IntArray, values: FloatArray, nodes: int) -> FloatArray:
    return np.bincount(node, weights=values, minlength=nodes).astype(np.float64)


def _has_generators(net: Any) -> bool:
    return bool(in_service(table(net, "gen")).any())


def _drop(net: Any, graph: Graph, source: IntArray, at_node: FloatArray) -> float:
    """Return the largest linear voltage drop (p.u.) along the shortest paths (by |z|) from the sources."""
    gen = table(net, "gen")
    held = graph.node_of(net, numbers(gen, "bus"))[in_service(gen)]
    roots = np.unique(np.concatenate([source, held[held >= 0]])).astype(np.int64)
    if not len(roots):
        return 0.0
    a, b, z = graph.a[graph.closed], graph.b[graph.closed], graph.z_pu[graph.closed]
    ends = np.sort(np.stack([a, b]), axis=0)
    order = np.lexsort((z, ends[1], ends[0]))
    first = np.append(True, np.any(np.diff(ends[:, order], axis=1) != 0, axis=0)) if len(order) else np.array([], bool)
    kept = order[first]
    shape = (graph.nodes, graph.nodes)
    matrix = sp.coo_matrix((np.maximum(z[kept], 1e-12), (ends[0][kept], ends[1][kept])), shape=shape).tocsr()
    distance, before, _ = dijkstra(matrix, directed=False, indices=roots, min_only=True, return_predecessors=True)
    reached = np.flatnonzero(np.isfinite(distance) & (before >= 0))
    below = at_node.copy()
    nearest_first = reached[np.argsort(distance[reached], kind="stable")]
    for n in nearest_first[::-1]:
        below[before[n]] += below[n]
    drop = np.zeros(graph.nodes)
    for n in nearest_first:
        drop[n] = drop[before[n]] + (distance[n] - distance[before[n]]) * below[n]
    return float(drop.max(initial=0.0))


def unit_slip(net: Any, graph: Graph) -> list[Problem]:
    """Loads and generators are not a thousand times too large for the feeder."""
    problems = []
    for name in ("load", "sgen"):
        frame = table(net, name)
        power = np.hypot(numbers(frame, "p_mw"), numbers(frame, "q_mvar")) * numbers(frame, "scaling", 1.0)
        power = np.where(in_service(frame), power, np.nan)
        bad, why = slipped(net, graph, numbers(frame, "bus"), power)
        if bad.any():
            largest = float(np.nanmax(power[bad]))
            message = f"up to {largest:.4g} MVA each: {why}; powers are MW and MVAr, so divide by 1000 if these are kW"
            problems.append(Problem(name, "p_mw", tuple(frame.index[bad]), message))
    return problems
