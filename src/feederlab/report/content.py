"""What the HTML report draws: the runs of a comparison as plain values, thinned to a size that a browser likes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.models.arrays import FloatArray
from feederlab.models.topology import Topology
from feederlab.report.layout import along_the_feeder, device_nodes, routes, where
from feederlab.report.series import (
    SPREAD,
    Bins,
    band_of,
    duration_curve,
    floats,
    highest_loading,
    regrets,
    step_edges,
    steps_to_show,
    worst_voltages,
)

if TYPE_CHECKING:
    import xarray as xr

    from feederlab.comparison import Comparison
    from feederlab.record import Cell
    from feederlab.result import Result

_VOLTAGES = 1_200_000
"""Voltages (runs x steps x buses) that the maps and heat maps may hold in all; each takes 2.7 bytes of the file."""
_POINTS = 60_000
"""Points in time (runs x points) that the curves may hold in all; each takes about 45 bytes."""
_FEWEST_STEPS, _FEWEST_POINTS, _MOST_POINTS = 12, 120, 1500
_MOST_RUNS = _POINTS // _FEWEST_POINTS
_GRAIN = 40_000  # voltages are stored as 16-bit counts of 1/40,000 p.u.; 0: unknown


def draw_content(comparison: Comparison) -> dict[str, Any]:
    """Return what the page's script draws, JSON-ready.

    ``groups``: one per scenario, window and seed, each with its time axis (the beginning of each bin, and the end of
    the last) and its runs by controller;
    ``feeders``: the drawings they refer to; ``left_out``: how many groups had no room.
    """
    by_group: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in comparison.runs:
        by_group.setdefault(cell[1:], []).append(cell)
    shown: dict[tuple[str, str, int], list[Cell]] = {}
    for key, cells in by_group.items():
        if not shown or sum(map(len, shown.values())) + len(cells) <= _MOST_RUNS:
            shown[key] = cells
    runs = sum(map(len, shown.values()))
    points = int(np.clip(_POINTS // max(runs, 1), _FEWEST_POINTS, _MOST_POINTS))
    buses = sum(comparison.runs[cell].data.sizes.get("bus", 0) for cells in shown.values() for cell in cells)
    steps = _VOLTAGES // max(buses, 1)
    feeders = _Feeders()
    groups = [_group(comparison, cells, points, steps, feeders) for cells in shown.values()]
    return {"groups": groups, "feeders": feeders.drawn, "left_out": len(by_group) - len(shown)}


def _group(comparison: Comparison, cells: Sequence[Cell], points: int, most: int, feeders: _Feeders) -> dict[str, Any]:
    first = comparison.runs[cells[0]]
    data, count = first.data, first.data.sizes["time"]
    bins = Bins(count, points)
    low, high = next(
        (b for b in (band_of(comparison.runs[c].data) for c in cells) if np.isfinite(b).any()), (None, None)
    )
    detailed = "vm_pu" in data and most >= _FEWEST_STEPS
    steps = steps_to_show((comparison.runs[cell].data for cell in cells), most) if detailed else np.array([], dtype=int)
    times = np.datetime_as_string(step_edges(first), unit="s")
    labels = list(map(str, comparison.metrics["controller"].to_numpy()))
    return {
        "scenario": cells[0].scenario, "window": cells[0].window, "seed": cells[0].seed,
        "count": count,
        "band": [_number(low), _number(high)],
        "time": [str(times[k]) for k in [*bins.first, count]], "bin": bins.size,
        "step_time": [str(times[k]) for k in steps],
        "feeder": feeders.number(data), "inverters": _inverters(data),
        "runs": {labels.index(cell.controller): _run(comparison.runs[cell], bins, steps) for cell in cells},
    }  # fmt: skip


def _run(result: Result, bins: Bins, steps: Any) -> dict[str, Any]:
    data, timing = result.data, result.timing
    vm_low, vm_high, losses = (floats(data[name]) for name in ("vm_min_pu", "vm_max_pu", "losses_mw"))
    loading = highest_loading(data)
    run: dict[str, Any] = {
        "in_band_pct": round(100 * float((floats(data["out_share"]) <= 0).mean()), 1),
        "vm_min": _f32(bins.lowest(vm_low)), "vm_max": _f32(bins.highest(vm_high)), "losses": _f32(bins.mean(losses)),
        "duration": {
            "vm_max": _f32(duration_curve(vm_high)), "vm_min": _f32(duration_curve(vm_low)),
            "losses": _f32(duration_curve(losses)), "loading": _f32(duration_curve(loading)),
        },
        "decide_ms": _f32(duration_curve(1e3 * floats(timing["decision_s"]))[::-1]),
        "devices": _device_use(result, bins),
    }  # fmt: skip
    if "vm_pu" in data:
        vm = floats(data["vm_pu"])
        supplied = vm[:, np.isfinite(vm).any(axis=0)]
        solved = np.isfinite(supplied).all(axis=1)
        inner = np.full((3, len(vm)), np.nan)
        inner[:, solved] = np.percentile(supplied[solved], [SPREAD[0], 50, SPREAD[1]], axis=1)
        run |= {
            "p_low": _f32(bins.lowest(inner[0])), "p_mid": _f32(bins.mean(inner[1])),
            "p_high": _f32(bins.highest(inner[2])), "worst": _f32(worst_voltages(data)),
        }  # fmt: skip
        if len(steps):
            run["vm"] = _u16(vm[steps])
    summed = regrets(result)
    if summed is not None:
        run["regret"], run["regret_alone"] = (_f32(values[bins.last]) for values in summed)
    return run


def _device_use(result: Result, bins: Bins) -> dict[str, Any]:
    """Return what the devices did: means per inverter, and the course of storage, taps and capacitor steps."""
    data, hours = result.data, float(result.provenance["step_s"]) / 3600
    use: dict[str, Any] = {}
    if data.sizes.get("inverter", 0):
        rating = floats(data["inverter_s_mva"])
        share = np.divide(np.abs(floats(data["q_mvar"])).mean(axis=0), rating, where=rating > 0,
                          out=np.full(len(rating), np.nan))  # fmt: skip
        use["q_pct"] = _f32(100 * share)
        use["curtailed_mwh"] = _f32((floats(data["p_available_mw"]) - floats(data["p_mw"])).sum(axis=0) * hours)
    for name, dim, title in (
        ("soc", "storage", "storage"),
        ("tap", "transformer", "transformer"),
        ("step", "capacitor", "capacitor"),
    ):
        if data.sizes.get(dim, 0):
            values = floats(data[name])[bins.first]
            use[name] = {f"{title} {index}": _f32(values[:, k]) for k, index in enumerate(data[dim].to_numpy())}
    return use


def _inverters(data: xr.Dataset) -> list[str]:
    if not data.sizes.get("inverter", 0):
        return []
    return [
        f"{index} at bus {bus}" for index, bus in zip(data["inverter"].values, data["inverter_bus"].values, strict=True)
    ]


class _Feeders:
    """The drawings of the page, each feeder once."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, Any]] = []
        self._known: dict[bytes, int] = {}

    def number(self, data: xr.Dataset) -> int | None:
        """Return the number of the drawing of a run's feeder, None where the run does not carry it."""
        grid = Topology.from_data(data)
        if grid is None:
            return None
        key = b"".join(
            np.ascontiguousarray(part).tobytes() for part in (grid.bus, grid.from_node, grid.to_node, grid.bus_xy)
        )
        if key not in self._known:
            self._known[key] = len(self.drawn)
            self.drawn.append(_drawing(grid))
        return self._known[key]


def _drawing(grid: Topology) -> dict[str, Any]:
    """Return the lines of a feeder, and its nodes in the order of a walk along it."""
    places, on_map = where(grid)
    walk = along_the_feeder(grid)
    walk = walk[grid.node_row[walk] >= 0]  # open line ends carry no bus
    lines = {True: [], False: []}  # type: dict[bool, list[FloatArray]]
    for route, is_line in zip(routes(grid, places, elbows=not on_map), grid.is_line, strict=True):
        lines[bool(is_line)] += [route, np.full((1, 2), np.nan)]
    return {
        "on_map": on_map,
        "x": _rounded(places[walk, 0]), "y": _rounded(places[walk, 1]),
        "bus": [int(bus) for bus in grid.node_bus[walk]], "row": [int(row) for row in grid.node_row[walk]],
        "slack": [_number(value) for value in places[grid.slack]],
        "lines": _polyline(lines[True]), "transformers": _polyline(lines[False]),
        "devices": {
            kind: {"x": _rounded(places[at, 0]), "y": _rounded(places[at, 1])}
            for kind, at in device_nodes(grid).items()
        },
        "span": [float(value) for value in np.ptp(places, axis=0)],
    }  # fmt: skip


def _polyline(parts: Sequence[FloatArray]) -> Mapping[str, list[float | None]]:
    points = np.concatenate(parts) if parts else np.empty((0, 2))
    return {"x": _rounded(points[:, 0]), "y": _rounded(points[:, 1])}


def _rounded(values: FloatArray) -> list[float | None]:
    return [_number(value, 7) for value in values]


def _number(value: Any, digits: int = 12) -> float | None:
    return round(float(value), digits) if value is not None and np.isfinite(value) else None


def _f32(values: FloatArray) -> str:
    """Return 32-bit floats, little-endian, base64."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")


def _u16(vm: FloatArray) -> str:
    """Return voltages (p.u.) as 16-bit counts of 1/`_GRAIN`, little-endian, base64; 0: unknown."""
    counts = np.clip(np.rint(np.nan_to_num(vm) * _GRAIN), 0, 65535)
    return base64.b64encode(counts.astype("<u2").tobytes()).decode("ascii")
