"""The net as a graph of buses: which are one node, which are connected, and what stands open between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.validate.columns import in_service, numbers, positions, table, truths


@dataclass(frozen=True, eq=False)
class Graph:
    """Buses by position in `net.bus`, and the connections between them.

    live : (buses,) in service.  node : (buses,) number of the electrical node (closed bus-bus switches fuse).
    nodes : how many there are.  part : (nodes,) connected component.
    a, b : (branches,) nodes at the ends of every branch.  closed : (branches,) in service, no open switch.
    name : (branches,) e.g. ``"line 7"``, or ``"switch 3 (line 7)"`` for what an open switch interrupts.
    z_pu : (branches,) impedance magnitude on 1 MVA.  rating_mva : (branches,) NaN where unknown.
    """

    live: BoolArray
    node: IntArray
    nodes: int
    part: IntArray
    a: IntArray
    b: IntArray
    closed: BoolArray
    name: tuple[str, ...]
    z_pu: FloatArray
    rating_mva: FloatArray

    def node_of(self, net: Any, buses: FloatArray) -> IntArray:
        """Return (n,) nodes of pandapower buses; -1 for an unknown bus or one out of service."""
        at = positions(net["bus"].index, buses)
        return np.where((at >= 0) & self.live[at], self.node[at], -1)


def build_graph(net: Any) -> Graph:
    """Read the net's connections; rows that refer to nothing are left out."""
    bus = net["bus"]
    live = in_service(bus)
    count = len(bus)
    switch = table(net, "switch")
    closed_switch = truths(switch, "closed", True)
    et = switch["et"].to_numpy() if len(switch) else np.array([], dtype=object)
    at, element = positions(bus.index, numbers(switch, "bus")), numbers(switch, "element")

    joined = et == "b"
    other = positions(bus.index, np.where(joined, element, np.nan))
    known = joined & (at >= 0) & (other >= 0)
    both = known & live[at] & live[other]
    fuse = both & closed_switch
    nodes, node = connected_components(_adjacency(at[fuse], other[fuse], count), directed=False)

    rows = [_Rows(at[known & ~fuse], other[known & ~fuse], np.zeros((known & ~fuse).sum(), bool),
                  [f"switch {i}" for i in switch.index[known & ~fuse]])]  # fmt: skip
    for short, name, ends in (
        ("l", "line", ("from_bus", "to_bus")), ("t", "trafo", ("hv_bus", "lv_bus")),
        ("t3", "trafo3w", ("hv_bus", "mv_bus")), ("t3", "trafo3w", ("hv_bus", "lv_bus")),
        ("", "impedance", ("from_bus", "to_bus")),
    ):  # fmt: skip
        opened = (et == short) & ~closed_switch
        rows.append(_branch_rows(net, name, ends, switch.index[opened], element[opened], at[opened]))
    a, b = np.concatenate([r.a for r in rows]), np.concatenate([r.b for r in rows])
    closed = np.concatenate([r.closed for r in rows])
    z = np.concatenate([np.zeros(len(r.a)) if r.z is None else r.z for r in rows])
    rating = np.concatenate([np.full(len(r.a), np.nan) if r.rating is None else r.rating for r in rows])
    names = [name for r in rows for name in r.name]
    good = (a >= 0) & (b >= 0)
    a, b, closed = a[good], b[good], (closed & live[a] & live[b])[good]
    label = tuple(names[k] for k in np.flatnonzero(good))
    _, part = connected_components(_adjacency(node[a[closed]], node[b[closed]], nodes), directed=False)
    return Graph(
        live, node.astype(np.int64), int(nodes), part.astype(np.int64), node[a].astype(np.int64),
        node[b].astype(np.int64), closed, label, z[good], rating[good],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Rows:
    a: IntArray
    b: IntArray
    closed: BoolArray
    name: list[str]
    z: FloatArray | None = None
    rating: FloatArray | None = None


def _branch_rows(net: Any, name: str, ends: tuple[str, str], switches: Any, element: Any, switch_at: IntArray) -> _Rows:
    frame = table(net, name)
    a, b = (positions(net["bus"].index, numbers(frame, column)) for column in ends)
    live = in_service(frame)
    label = [f"{name} {index}" for index in frame.index]
    closed = live.copy()
    row = positions(frame.index, element)
    for k, switch, bus in zip(row, switches, switch_at, strict=True):
        if k >= 0 and bus in (a[k], b[k]):
            closed[k] = False
            label[k] = f"switch {switch} ({name} {frame.index[k]})" if live[k] else label[k]
    with np.errstate(all="ignore"):  # impossible values are another rule's business
        z, rating = _sizes(net, name, frame, a)
    return _Rows(a, b, closed, label, z, rating)


def _sizes(net: Any, name: str, frame: Any, a: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return impedance magnitude (p.u. on 1 MVA) and rating (MVA, NaN where unknown) of each branch."""
    if name == "line":
        vn = np.where(a >= 0, numbers(net["bus"], "vn_kv")[a], np.nan)
        ohm = np.hypot(numbers(frame, "r_ohm_per_km"), numbers(frame, "x_ohm_per_km")) * numbers(frame, "length_km")
        parallel = numbers(frame, "parallel", 1.0)
        rating = np.sqrt(3) * vn * numbers(frame, "max_i_ka") * numbers(frame, "df", 1.0) * parallel
        z = ohm / parallel / vn**2
    elif name == "trafo":
        rating = numbers(frame, "sn_mva") * numbers(frame, "parallel", 1.0)
        z = np.abs(numbers(frame, "vk_percent")) / 100 / rating
    elif name == "trafo3w":
        rating = numbers(frame, "sn_hv_mva")
        z = np.abs(numbers(frame, "vk_hv_percent")) / 100 / rating
    else:
        sn = numbers(frame, "sn_mva")
        rating = np.full(len(frame), np.nan)
        z = np.hypot(numbers(frame, "rft_pu"), numbers(frame, "xft_pu")) / sn
    return np.nan_to_num(z, nan=0.0, posinf=0.0), np.where(rating > 0, rating, np.nan)


def _adjacency(a: IntArray, b: IntArray, count: int) -> sp.csr_matrix:
    return sp.coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
