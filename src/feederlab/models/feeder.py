"""`Feeder`: the frozen, array-based, per-unit view of a pandapower net."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray, frozen
from feederlab.models.branches import Branches, TwoPort
from feederlab.models.devices import Capacitors, Elements, Inverters, Storages, TapChangers
from feederlab.models.network import convert, fuse_zero_impedance, skeleton, tap_positions
from feederlab.models.read_devices import (
    read_capacitors,
    read_fixed_storages,
    read_inverters,
    read_loads,
    read_sgens,
    read_storages,
    read_tap_changers,
)
from feederlab.models.tree import Tree, build_tree


@dataclass(frozen=True, eq=False)
class Feeder:
    """A distribution feeder: electrical nodes, branches, devices and limits, with maps back to pandapower.

    Nodes are pandapower's internal ones (fused buses are one node; an open line end is a node without a bus).

    bus_index, bus_node : (buses,) pandapower bus index and its node (-1: out of service or unsupplied).
    node_bus : (nodes,) first pandapower bus of each node, -1 for a node without one.
    node_vn_kv : (nodes,) nominal voltage (kV).  node_zone : (nodes,) zone names from `net.bus.zone`, "" if none.
    node_shunt, node_fixed : (nodes,) constant shunt admittance and constant injection (p.u. on `base_mva`).
    vm_min, vm_max : (nodes,) `bus.min/max_vm_pu`; NaN where the net gives none.
    slack, slack_vm, slack_rad : slack node, voltage magnitude (p.u.), angle (rad).
    pv : nodes held by voltage-controlled generators (only the pandapower engine solves these).
    net : a copy of the source net.
    """

    name: str
    base_mva: float
    net: Any
    bus_index: IntArray
    bus_node: IntArray
    node_bus: IntArray
    node_vn_kv: FloatArray
    node_zone: tuple[str, ...]
    node_shunt: ComplexArray
    node_fixed: ComplexArray
    vm_min: FloatArray
    vm_max: FloatArray
    slack: int
    slack_vm: float
    slack_rad: float
    pv: IntArray
    branches: Branches
    loads: Elements
    sgens: Elements
    fixed_storages: Elements
    inverters: Inverters
    storages: Storages
    capacitors: Capacitors
    tap_changers: TapChangers
    notes: tuple[str, ...] = ()

    @classmethod
    def from_pandapower(cls, net: Any, name: str = "", *, validate: bool = True) -> Feeder:
        """Read a pandapower net.

        Parameters
        ----------
        net
            A pandapower net; it is copied, never altered.
        name
            Name of the feeder; `net.name` if empty.
        validate
            Check the tables first and raise every problem found together.

        Raises
        ------
        ValidationError
            Missing or impossible table values, an island, no slack, two slacks, negative resistance, ...
        """
        if validate:
            from feederlab.models.validate import assert_valid_net

            assert_valid_net(net)
        net, notes = fuse_zero_impedance(net)
        core = convert(bare := skeleton(net))
        del bare
        if len(core.pv):
            notes = [*notes, "generators hold voltages: pandapower's power flow is used, which is slower"]
        nodes = len(core.node_vn_kv)
        lookup = {int(b): int(n) for b, n in zip(net.bus.index, core.node_of_bus, strict=True)}
        node_bus = np.full(nodes, -1, dtype=np.int64)
        for bus, node in reversed(lookup.items()):
            if node >= 0:
                node_bus[node] = bus
        return cls(
            name=name or str(getattr(net, "name", "") or "feeder"),
            base_mva=core.base_mva,
            net=net,
            bus_index=frozen(net.bus.index, np.int64),
            bus_node=frozen(core.node_of_bus, np.int64),
            node_bus=frozen(node_bus, np.int64),
            node_vn_kv=frozen(core.node_vn_kv),
            node_zone=_zones(net, node_bus),
            node_shunt=frozen(core.node_shunt, np.complex128),
            node_fixed=frozen(core.node_fixed, np.complex128),
            vm_min=_limit(net, lookup, nodes, "min_vm_pu", np.fmax),
            vm_max=_limit(net, lookup, nodes, "max_vm_pu", np.fmin),
            slack=core.slack,
            slack_vm=core.slack_vm,
            slack_rad=core.slack_rad,
            pv=frozen(core.pv, np.int64),
            branches=core.branches,
            loads=read_loads(net, lookup),
            sgens=read_sgens(net, lookup),
            fixed_storages=read_fixed_storages(net, lookup),
            inverters=read_inverters(net, lookup),
            storages=read_storages(net, lookup),
            capacitors=read_capacitors(net, lookup),
            tap_changers=read_tap_changers(net, core.branches, lookup),
            notes=tuple(notes),
        )

    @property
    def n_nodes(self) -> int:
        """Number of electrical nodes, the slack included."""
        return len(self.node_vn_kv)

    @cached_property
    def tree(self) -> Tree:
        """The radial view.  Raises `NotRadialError` naming the branches that close loops."""
        return build_tree(self.branches, self.n_nodes, self.slack)

    @cached_property
    def upstream(self) -> tuple[IntArray, BoolArray]:
        """(nodes,) branch by which a breadth-first search from the slack reaches each node; whether it is its to end.

        The branch is -1 for the slack and what has no supply.
        """
        f, t = self.branches.from_node, self.branches.to_node
        graph = sp.coo_array((np.ones(len(f)), (f, t)), shape=(self.n_nodes, self.n_nodes)).tocsr()
        _, parent = breadth_first_order(graph, self.slack, directed=False)
        branch, at_to = np.full(self.n_nodes, -1), np.zeros(self.n_nodes, dtype=bool)
        for ends, other, is_to in ((t, f, True), (f, t, False)):
            mine = np.flatnonzero(parent[ends] == other)
            branch[ends[mine]], at_to[ends[mine]] = mine, is_to
        return branch, at_to

    @cached_property
    def feeding_capacitors(self) -> tuple[IntArray, IntArray, BoolArray]:
        """(k,) bank, branch, whether the bank is at its to end: the `upstream` branch and those parallel to it."""
        (upstream, _), node = self.upstream, self.capacitors.node
        ends = np.sort(np.stack([self.branches.from_node, self.branches.to_node]), axis=0)
        found = [
            (bank, row) for bank, up in enumerate(np.where(node >= 0, upstream[node], -1)) if up >= 0
            for row in np.flatnonzero((ends == ends[:, [up]]).all(axis=0))
        ]  # fmt: skip
        bank, row = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return bank, row, self.branches.to_node[row] == node[bank]

    @property
    def is_radial(self) -> bool:
        """Whether the feeder is a tree once parallel branches are merged."""
        pairs = np.sort(np.stack([self.branches.from_node, self.branches.to_node]), axis=0)
        return len(np.unique(pairs, axis=1).T) == self.n_nodes - 1

    @cached_property
    def tap_tables(self) -> list[TwoPort]:
        """Per tap changer, its two-port at every position from `tap_min` to `tap_max`."""
        taps = self.tap_changers
        return tap_positions(skeleton(self.net), self.branches, taps.branch, taps.tap_min, taps.tap_max)

    def two_port(self, taps: IntArray | None = None) -> TwoPort:
        """Return the (branches,) two-ports with the tap changers at `taps` (default: as in the net)."""
        changers = self.tap_changers
        if taps is None or not len(changers) or np.array_equal(taps, changers.tap):
            return self.branches.two_port
        rows = [table.take(np.array([taps[k] - changers.tap_min[k]])) for k, table in enumerate(self.tap_tables)]
        stacked = TwoPort(*(np.concatenate([getattr(r, f) for r in rows]) for f in TwoPort.__dataclass_fields__))
        return self.branches.two_port.put(changers.branch, stacked)

    def shunt(self, steps: IntArray | None = None) -> ComplexArray:
        """Return the (nodes,) shunt admittance (p.u.) with the capacitor banks at `steps` (default: as in the net)."""
        caps = self.capacitors
        total = self.node_shunt.copy()
        count = caps.step if steps is None else np.asarray(steps)
        on = caps.node >= 0
        np.add.at(total, caps.node[on], (count * (caps.p_step_mw - 1j * caps.q_step_mvar) / self.base_mva)[on])
        return total

    def to_buses(self, values: FloatArray) -> FloatArray:
        """Return node `values` (..., nodes) as (..., buses) in pandapower's index order, NaN where unsupplied."""
        return np.where(self.bus_node >= 0, values[..., self.bus_node], np.nan)

    def with_line_errors(self, spread: float, seed: int) -> Feeder:
        """Return the feeder as a controller might wrongly know it: r and x each off by up to `spread`.

        Every branch's r and x is multiplied by its own 1 + U(-spread, spread); tap tables follow the same factors.
        """
        rng = np.random.default_rng(seed)
        factor_r, factor_x = 1 + rng.uniform(-spread, spread, (2, len(self.branches)))
        true = self.branches.two_port
        wrong = replace(self, branches=self.branches.with_parameters(_scaled(true, factor_r, factor_x)))
        if len(self.tap_changers):
            rows = self.tap_changers.branch
            wrong.__dict__["tap_tables"] = [
                _scaled(table, factor_r[row], factor_x[row]) for row, table in zip(rows, self.tap_tables, strict=True)
            ]
        return wrong


def _scaled(two_port: TwoPort, factor_r: Any, factor_x: Any) -> TwoPort:
    return replace(two_port, r=two_port.r * factor_r, x=two_port.x * factor_x)


def _limit(net: Any, lookup: dict[int, int], nodes: int, column: str, tightest: Any) -> FloatArray:
    limit = np.full(nodes, np.nan)
    if column in net.bus:
        for bus, value in net.bus[column].items():
            if lookup[bus] >= 0 and 0 < value < 2:  # 0 and 2 are what pandapower fills in where no limit is given
                limit[lookup[bus]] = tightest(limit[lookup[bus]], float(value))
    return frozen(limit)


def _zones(net: Any, node_bus: IntArray) -> tuple[str, ...]:
    if "zone" not in net.bus:
        return ("",) * len(node_bus)
    zone = net.bus.zone.astype(object).where(net.bus.zone.notna(), "")
    return tuple("" if bus < 0 else str(zone[bus]) for bus in node_bus)
