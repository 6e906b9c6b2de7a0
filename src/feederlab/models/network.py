"""A pandapower net as arrays, by pandapower's own converter: fused buses, switches and transformers are exactly its."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branches import Branches, TwoPort

# Columns of pandapower's internal tables (pandapower.pypower.idx_bus, idx_brch, idx_gen).
_BUS_TYPE, _PD, _QD, _GS, _BS, _BASE_KV = 1, 2, 3, 4, 5, 9
_F_BUS, _T_BUS, _R, _X, _B, _TAP, _SHIFT = 0, 1, 2, 3, 4, 8, 9
_REF, _PV = 3, 2
_NO_LIMIT_KA = 9999.0  # pandapower's MATPOWER converter writes 99999 kA where a case gives no rating
_NO_LIMIT_MVA = 99999.0  # and so for transformers


@dataclass(frozen=True, eq=False)
class Network:
    """The electrical skeleton: everything but loads, static generators, storage and switchable shunts.

    node_of_bus : (len(net.bus),) node of each pandapower bus in index order, -1 if out of service or unsupplied.
    node_vn_kv, node_shunt, node_fixed : (nodes,) nominal voltage; shunt admittance (p.u.); injection of wards, motors
    and the like (p.u.), generation positive.
    slack, slack_vm, slack_rad : slack node, its voltage magnitude (p.u.) and angle (rad).
    pv : nodes held by voltage-controlled generators.
    """

    base_mva: float
    node_of_bus: IntArray
    node_vn_kv: FloatArray
    node_shunt: ComplexArray
    node_fixed: ComplexArray
    slack: int
    slack_vm: float
    slack_rad: float
    pv: IntArray
    branches: Branches


def fuse_zero_impedance(net: Any) -> tuple[Any, list[str]]:
    """Return a copy of `net` in which lines of zero impedance are closed bus-bus switches, and a note for each.

    pandapower divides by a line's impedance; a line without any joins its two buses into one electrical node.
    """
    net = copy.deepcopy(net)
    line = net.line
    zero = line.in_service & (line.r_ohm_per_km * line.length_km == 0) & (line.x_ohm_per_km * line.length_km == 0)
    notes = []
    for index in line.index[zero]:
        opened = net.switch[(net.switch.et == "l") & (net.switch.element == index) & ~net.switch.closed]
        net.line.loc[index, "in_service"] = False
        if not len(opened):
            _close_between(net, int(line.from_bus[index]), int(line.to_bus[index]))
            notes.append(
                f"line {index} has zero impedance: buses {line.from_bus[index]} and {line.to_bus[index]} are one node"
            )
    return net, notes


def _close_between(net: Any, a: int, b: int) -> None:
    row = {"bus": a, "element": b, "et": "b", "type": "CB", "closed": True, "name": "zero impedance", "z_ohm": 0.0}
    index = int(net.switch.index.max()) + 1 if len(net.switch) else 0
    for column, value in row.items():
        if column in net.switch.columns:
            net.switch.loc[index, column] = value
    net.switch = net.switch.astype({"bus": np.int64, "element": np.int64, "closed": bool})


def skeleton(net: Any) -> Any:
    """Return a copy of `net` without the injections and shunts that a scenario drives, and without old results."""
    bare = copy.deepcopy(net)
    for table in ("load", "sgen", "storage"):
        bare[table]["in_service"] = False
    bare.shunt.loc[switchable(bare.shunt), "in_service"] = False
    return bare


def switchable(shunt: pd.DataFrame) -> pd.Series:
    """Say which shunts are capacitor banks: `max_step` above 1, or marked `controllable`."""
    several = shunt["max_step"].fillna(1) > 1 if "max_step" in shunt else pd.Series(False, index=shunt.index)
    marked: pd.Series | bool = False
    if "controllable" in shunt:
        marked = shunt["controllable"].map(lambda value: bool(value) if pd.notna(value) else False).astype(bool)
    result: pd.Series = (several | marked).astype(bool)
    return result


def convert(net: Any) -> Network:
    """Convert a `skeleton` net with pandapower's own builder.

    Raises
    ------
    InputError
        If pandapower cannot convert it, or no slack feeds it.
    """
    internal = _internal_model(net)
    bus, branch = internal["bus"], internal["branch"].real
    base = float(internal["baseMVA"])
    slack = np.flatnonzero(bus[:, _BUS_TYPE] == _REF)
    if len(slack) != 1:
        raise InputError(f"the net has {len(slack)} slack nodes in service; exactly one ext_grid must feed it")
    lookup = np.asarray(net._pd2ppc_lookups["bus"])
    node_of_bus = lookup[net.bus.index.to_numpy()].astype(np.int64)
    supplied = net.bus.in_service.to_numpy() & (node_of_bus >= 0) & (node_of_bus < len(bus))
    node_of_bus = np.where(supplied, node_of_bus, -1)
    ext = net.ext_grid[net.ext_grid.in_service].iloc[0]
    branches = _branches(net, internal, branch)
    # A branch beside a closed switch has both ends at one node: all that is left of it is a shunt there.
    looped = branches.from_node == branches.to_node
    shunt = (bus[:, _GS] + 1j * bus[:, _BS]) / base
    np.add.at(shunt, branches.from_node[looped], np.sum(branches.two_port.take(looped).admittances(), axis=0))
    return Network(
        base_mva=base,
        node_of_bus=node_of_bus,
        node_vn_kv=bus[:, _BASE_KV].astype(float),
        node_shunt=shunt,
        node_fixed=-(bus[:, _PD] + 1j * bus[:, _QD]) / base,
        slack=int(slack[0]),
        slack_vm=float(ext.vm_pu),
        slack_rad=float(np.radians(ext.va_degree)),
        pv=np.flatnonzero(bus[:, _BUS_TYPE] == _PV).astype(np.int64),
        branches=branches.take(~looped),
    )


def tap_positions(net: Any, branches: Branches, rows: IntArray, lowest: IntArray, highest: IntArray) -> list[TwoPort]:
    """Return, per transformer, its two-port at every position ``lowest .. highest``, made by pandapower's builder.

    rows : (n,) rows of the transformers in `branches`.  A position changes r, x and b as well as the ratio.
    """
    net = copy.deepcopy(net)
    index = branches.element_index[rows]
    span = int((highest - lowest).max()) + 1 if len(rows) else 0
    built = []
    for offset in range(span):
        net.trafo.loc[index, "tap_pos"] = np.minimum(lowest + offset, highest)
        internal = _internal_model(net)
        branch = internal["branch"].real
        kept = branch[:, _F_BUS] != branch[:, _T_BUS]
        built.append(two_ports(internal, branch).take(kept).take(rows))
    return [_stack(built, k, int(highest[k] - lowest[k]) + 1) for k in range(len(rows))]


def _stack(built: list[TwoPort], k: int, count: int) -> TwoPort:
    return TwoPort(*(np.array([getattr(b, f)[k] for b in built[:count]]) for f in TwoPort.__dataclass_fields__))


def _internal_model(net: Any) -> dict[str, Any]:
    from pandapower.converter.pypower.to_ppc import to_ppc

    try:
        model: dict[str, Any] = to_ppc(net, init="flat", mode="pf", calculate_voltage_angles=True)
    except (UserWarning, KeyError, ValueError, IndexError, NotImplementedError, FloatingPointError) as error:
        raise InputError(f"pandapower cannot convert this net: {error}") from error
    if "branch_r_asym" in model or "branch_x_asym" in model:
        raise InputError("impedance elements with different values in the two directions are not supported")
    return model


def two_ports(internal: dict[str, Any], branch: FloatArray) -> TwoPort:
    """Return the two-ports of the branch table of pandapower's internal model."""
    kept = internal["internal"]["branch_is"]

    def extra(name: str) -> FloatArray:
        column = internal.get(name)
        if column is None:
            return np.zeros(len(branch))
        column = np.asarray(column).real
        return np.asarray(column[kept] if len(column) != len(branch) else column, dtype=float)

    g, b = extra("branch_g"), branch[:, _B]
    ratio = np.where(branch[:, _TAP] == 0, 1.0, branch[:, _TAP])
    return TwoPort(
        r=branch[:, _R], x=branch[:, _X], g_f=g / 2, b_f=b / 2,
        g_t=(g + extra("branch_g_asym")) / 2, b_t=(b + extra("branch_b_asym")) / 2,
        ratio=ratio, shift_rad=np.radians(branch[:, _SHIFT]),
    )  # fmt: skip


def _branches(net: Any, internal: dict[str, Any], branch: FloatArray) -> Branches:
    kept = np.flatnonzero(internal["internal"]["branch_is"])
    element = np.full(len(internal["internal"]["branch_is"]), "", dtype=object)
    index = np.full(len(element), -1, dtype=np.int64)
    limit_f, limit_t = np.full(len(element), np.nan), np.full(len(element), np.nan)
    for table, start, ids, at_f, at_t in _tables(net):
        rows = slice(start, start + len(ids))
        element[rows], index[rows], limit_f[rows], limit_t[rows] = table, ids, at_f, at_t
    return Branches(
        from_node=branch[:, _F_BUS].astype(np.int64), to_node=branch[:, _T_BUS].astype(np.int64),
        two_port=two_ports(internal, branch), element=tuple(element[kept]), element_index=index[kept],
        i_max_f_ka=limit_f[kept], i_max_t_ka=limit_t[kept],
    )  # fmt: skip


def _tables(net: Any) -> Iterator[tuple[str, int, Any, Any, Any]]:
    """Yield (table, first row, pandapower indices, current limit at the from and to end in kA)."""
    for table, (start, end) in net._pd2ppc_lookups["branch"].items():
        if table == "line":
            rated = net.line.max_i_ka.where(net.line.max_i_ka < _NO_LIMIT_KA)
            limit = (rated * net.line.df * net.line.parallel).to_numpy(dtype=float)
            yield table, start, net.line.index, limit, limit
        elif table == "trafo":
            t = net.trafo
            rated = t.sn_mva.where(t.sn_mva < _NO_LIMIT_MVA) * t.df * t.parallel
            rated = rated.to_numpy(dtype=float) / np.sqrt(3)
            yield table, start, t.index, rated / t.vn_hv_kv.to_numpy(), rated / t.vn_lv_kv.to_numpy()
        elif table == "trafo3w":
            count = len(net.trafo3w)
            for part in range(3):
                yield table, start + part * count, net.trafo3w.index, np.nan, np.nan
        elif table in net and len(net[table]) == end - start:
            yield table, start, net[table].index, np.nan, np.nan
        else:
            yield table, start, np.arange(end - start), np.nan, np.nan
