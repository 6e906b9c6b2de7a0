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
        return cls(
            bus=of["bus"], bus_node=of["bus_node"], bus_xy=np.column_stack([of["bus_x"], of["bus_y"]]),
            slack=int(of["slack_node"]), from_node=of["branch_from"], to_node=of["branch_to"],
            is_line=of["branch_element"] == "line", inverter=of["inverter_node"], storage=of["storage_node"],
            capacitor=of["capacitor_node"], tap_branch=of["transformer_branch"],
        )  # fmt: skip

    def coords(self) -> dict[str, Any]:
        """Return the coordinates from which `from_data` reads, besides ``bus`` and ``branch_element``."""
        return {
            "bus_node": ("bus", self.bus_node),
            "bus_x": ("bus", self.bus_xy[:, 0]), "bus_y": ("bus", self.bus_xy[:, 1]),
            "slack_node": self.slack, "branch_from": ("branch", self.from_node), "branch_to": ("branch", self.to_node),
            "inverter_node": ("inverter", self.inverter), "storage_node": ("storage", self.storage),
            "capacitor_node": ("capacitor", self.capacitor), "transformer_branch": ("transformer", self.tap_branch),
        }  # fmt: skip

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
