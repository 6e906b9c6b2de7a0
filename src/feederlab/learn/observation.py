"""What the slow layer sees, P3 (10): the mean net active power at every node over an interval, and the banks' steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.controllers.base import Measurement
from feederlab.models.arrays import FloatArray, frozen
from feederlab.models.devices import Inverters, Storages
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Series

LIMIT = 10.0  # an entry further out than so many scales is cut off


@dataclass(frozen=True, eq=False)
class Observation:
    """How a measurement becomes a vector: ``x_k = clip((s_k - centre_k) / scale_k, -10, 10)``.

    s : the mean net active power consumed at every node but the slack (MW; generation counts negative), in node order,
    then the closed steps of each bank.

    names, units : of each entry.  centre, scale : (entries,) in the entry's unit.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, feeder: Feeder, days: Sequence[Series]) -> Observation:
        """Return the layout for a feeder; power is centred on its mean over `days` and scaled by its deviation.

        A node whose power never changes has scale 1 MW.  A bank of n steps is centred on n/2 and scaled by it.
        """
        at = _nodes(feeder)
        net = np.vstack([_offered(feeder, series)[:, at] for series in days])
        spread = net.std(axis=0)
        half = np.maximum(feeder.capacitors.max_step, 1) / 2
        return cls(
            names=entries(feeder), units=("MW",) * len(at) + ("steps",) * len(half),
            centre=frozen(np.concatenate([net.mean(axis=0), half])),
            scale=frozen(np.concatenate([np.where(spread > 1e-9, spread, 1.0), half])),
        )  # fmt: skip

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, Any]]) -> Observation:
        """Return the layout that `rows` wrote."""
        return cls(
            tuple(str(row["name"]) for row in rows), tuple(str(row["unit"]) for row in rows),
            frozen([float(row["centre"]) for row in rows]), frozen([float(row["scale"]) for row in rows]),
        )  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON-ready row for each entry."""
        return [
            {"name": name, "unit": unit, "centre": float(centre), "scale": float(scale)}
            for name, unit, centre, scale in zip(self.names, self.units, self.centre, self.scale, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, feeder: Feeder, mean: Measurement) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the (entries,) vector of a measurement that holds an interval's means.

        A reading that was lost counts as the centre.
        """
        net = net_power(mean, feeder.inverters, feeder.storages)[_nodes(feeder)]
        scaled = (np.concatenate([net, mean.step]) - self.centre) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0), -LIMIT, LIMIT).astype(np.float32)


def entries(feeder: Feeder) -> tuple[str, ...]:
    """Return what each entry of the observation of a feeder means."""
    bus = feeder.node_bus
    power = [f"net p at bus {bus[n]}" if bus[n] >= 0 else f"net p at node {n}" for n in _nodes(feeder)]
    return (*power, *(f"step of bank {index}" for index in feeder.capacitors.index))


def net_power(measurement: Measurement, inverters: Inverters, storages: Storages) -> FloatArray:
    """Return the (nodes,) active power consumed, devices included (MW)."""
    net = np.array(measurement.load_p_mw)
    on = inverters.node >= 0
    np.subtract.at(net, inverters.node[on], measurement.p_mw[on])
    stored = storages.node >= 0
    np.add.at(net, storages.node[stored], measurement.storage_p_mw[stored])
    return net


def _nodes(feeder: Feeder) -> Any:
    return np.delete(np.arange(feeder.n_nodes), feeder.slack)


def _offered(feeder: Feeder, series: Series) -> FloatArray:
    """Return the (T, nodes) net power with inverters at all that they may inject."""
    net = np.array(series.load_mva.real)
    on = feeder.inverters.node >= 0
    p = np.minimum(series.p_available_mw, feeder.inverters.s_mva)
    np.subtract.at(net.T, feeder.inverters.node[on], p.T[on])
    return net
