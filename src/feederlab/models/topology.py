"""`Topology`: which nodes a feeder joins and where its devices sit; all that a picture of it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.models.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    import xarray as xr

    from feederlab.models.feeder import Feeder


@dataclass(frozen=True, eq=False)
class Topology:
    """A feeder without its electrical values; it travels with every run as coordinates of the run's Dataset.

    bus, bus_node : (buses,) pandapower bus and its node (-1: unsupplied).
    bus_xy : (buses, 2) the net's own coordinates, NaN where it gives none.
    slack : slack node.
    from_node, to_node : (branches,) nodes that each branch joins.  is_line : (branches,) others are transformers etc.
    inverter, storage, capacitor : (n,) node of each device (-1: unsupplied).
    tap_branch : (n,) row of each tap changer's branch.
    """

    bus: IntArray
    bus_node: IntArray
    bus_xy: FloatArray
    slack: int
    from_node: IntArray
    to_node: IntArray
    is_line: Any
    inverter: IntArray
    storage: IntArray
    capacitor: IntArray
    tap_branch: IntArray

    @classmethod
    def of(cls, feeder: Feeder) -> Topology:
        """Return the topology of a feeder."""
        branches = feeder.branches
        return cls(
            bus=feeder.bus_index, bus_node=feeder.bus_node, bus_xy=_coordinates(feeder.net), slack=feeder.slack,
            from_node=branches.from_node, to_node=branches.to_node,
            is_line=np.array([element == "line" for element in branches.element], dtype=bool),
            inverter=feeder.inverters.node, storage=feeder.storages.node, capacitor=feeder.capacitors.node,
            tap_branch=feeder.tap_changers.branch,
        )  # fmt: skip

    @classmethod
    def from_data(cls, data: xr.Dataset) -> Topology | None:
        """Return the topology that a run's Dataset carries (`coords`); None where its detail was not kept."""
        if "branch_from" not in data.coords:
            return None
        of = {name: values.to_numpy() for name, values in data.coords.items()}
        none = np.array([], dtype=np.int64)
        bus, bus_node = of["bus"], of["bus_node"]
        nowhere = np.full(len(bus), np.nan)
        node = dict(zip(bus.tolist(), bus_node.tolist(), strict=True))
        return cls(
            bus=bus, bus_node=bus_node, slack=int(of["slack_node"]),
            bus_xy=np.column_stack([of.get("bus_x", nowhere), of.get("bus_y", nowhere)]),
            from_node=of["branch_from"], to_node=of["branch_to"], is_line=of["branch_element"] == "line",
            inverter=np.array([node[at] for at in of["inverter_bus"].tolist()], dtype=np.int64),
            storage=of.get("storage_node", none), capacitor=of.get("capacitor_node", none),
            tap_branch=of.get("transformer_branch", none),
        )  # fmt: skip

    def coords(self) -> dict[str, Any]:
        """Return the coordinates from which `from_data` reads; a run has the rest of its own.

        That is ``bus``, ``branch_element`` and ``inverter_bus``.  What there is none of is left out: a file takes
        milliseconds for every variable.
        """
        kept: dict[str, Any] = {
            "bus_node": ("bus", self.bus_node), "slack_node": self.slack, "branch_from": ("branch", self.from_node),
            "branch_to": ("branch", self.to_node),
        }  # fmt: skip
        if np.isfinite(self.bus_xy).any():
            kept |= {"bus_x": ("bus", self.bus_xy[:, 0]), "bus_y": ("bus", self.bus_xy[:, 1])}
        for name, dim, values in (
            ("storage_node", "storage", self.storage),
            ("capacitor_node", "capacitor", self.capacitor),
            ("transformer_branch", "transformer", self.tap_branch),
        ):
            if len(values):
                kept[name] = dim, values
        return kept

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        ends = [*self.from_node, *self.to_node, *self.bus_node, self.slack]
        return int(max(ends)) + 1

    @property
    def node_bus(self) -> IntArray:
        """(nodes,) first bus of each node, -1 for a node without one."""
        first = np.full(self.n_nodes, -1, dtype=np.int64)
        served = self.bus_node >= 0
        first[self.bus_node[served][::-1]] = self.bus[served][::-1]
        return first

    @property
    def node_row(self) -> IntArray:
        """(nodes,) row of that bus in `bus`, -1 for a node without one."""
        first = np.full(self.n_nodes, -1, dtype=np.int64)
        rows = np.flatnonzero(self.bus_node >= 0)[::-1]
        first[self.bus_node[rows]] = rows
        return first


def _coordinates(net: Any) -> FloatArray:
    """Return (buses, 2) coordinates from ``net.bus.geo``, NaN where there are none."""
    places = np.full((len(net.bus), 2), np.nan)
    if "geo" in net.bus:
        for k, geo in enumerate(net.bus.geo):
            try:
                places[k] = json.loads(geo)["coordinates"][:2]
            except (TypeError, ValueError, KeyError):
                continue
    return places
