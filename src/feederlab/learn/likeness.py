"""What a policy remembers of the feeder that it was trained on, and how another feeder differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from feederlab.models.feeder import Feeder

_DEVICES = {"inverters": "s_mva", "storages": "s_mva", "capacitors": "q_step_mvar", "tap_changers": "rise_pu"}
"""table -> the size that a device must share.  Impedances are left out: a controller's grid model may be wrong."""


def likeness(feeder: Feeder) -> dict[str, Any]:
    """Return the JSON-ready record of a feeder: its nodes, its branches and its devices."""
    record: dict[str, Any] = {
        "name": feeder.name,
        "slack": int(feeder.slack),
        "buses": feeder.node_bus.tolist(),
        "branches": np.stack([feeder.branches.from_node, feeder.branches.to_node], axis=1).tolist(),
    }
    for table, size in _DEVICES.items():
        devices = getattr(feeder, table)
        record[table] = {
            "index": devices.index.tolist(),
            "node": devices.node.tolist(),
            "size": [float(value) for value in getattr(devices, size)],
        }
    record["capacitors"]["max_step"] = feeder.capacitors.max_step.tolist()
    return record


def differences(trained: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return in words how the feeder `here` differs from the one that a policy was `trained` on; empty: not at all."""
    if len(trained["buses"]) != len(here["buses"]):
        return [
            f"it was trained on {trained['name']!r} with {len(trained['buses'])} nodes, here are {len(here['buses'])}"
        ]
    found = []
    if (trained["slack"], trained["buses"]) != (here["slack"], here["buses"]):
        moved = [k for k, (a, b) in enumerate(zip(trained["buses"], here["buses"], strict=True)) if a != b]
        found.append(f"the buses of nodes {_some(moved)} are others" if moved else "the external grid is elsewhere")
    if sorted(map(sorted, trained["branches"])) != sorted(map(sorted, here["branches"])):
        found.append("branches join other nodes")
    for table in _DEVICES:
        found += _devices(table, trained[table], here[table])
    return found


def _devices(table: str, trained: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    words = table.replace("_", " ")
    if trained["index"] != here["index"]:
        return [f"{words}: trained with {_some(trained['index'])}, here {_some(here['index'])}"]
    found = []
    for what in sorted(set(trained) - {"index"}):
        same = np.isclose(
            np.array(trained[what], dtype=float), np.array(here[what], dtype=float), rtol=1e-9, atol=1e-12
        )
        other = [trained["index"][k] for k in np.flatnonzero(~same)]
        if other:
            found.append(f"{words} {_some(other)} have another {what.replace('_', ' ')}")
    return found


def _some(values: list[Any]) -> str:
    if not values:
        return "none"
    return ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
