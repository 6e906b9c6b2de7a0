"""What a comparison has to compute: runs, cell by cell and part by part, and the lower bounds to hold against them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.controllers.base import Controller
from feederlab.controllers.registry import create
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance
from feederlab.record import Cell, new_record
from feederlab.simulate import RunOptions, simulate
from feederlab.work import Steps

if TYPE_CHECKING:
    import xarray as xr

    from feederlab.result import Result

Window = tuple[str, str]  # a scenario's name and its first instant


@dataclass(frozen=True, eq=False)
class Run:
    """One part of one cell: a closed loop from the net's own device states on.

    key : its name among the pieces of the same comparison.  part : its place in its window.
    """

    key: str
    cell: Cell
    part: int
    scenario: Scenario
    controller: Controller
    options: RunOptions

    @property
    def what(self) -> str:
        """What a person calls it."""
        return self.cell.controller

    @property
    def steps(self) -> int:
        """Its length."""
        return self.scenario.periods

    def __call__(self, done: Steps | None = None) -> Result:
        """Return its `Result`."""
        label = self.cell.controller
        return simulate(self.scenario, self.controller, self.options, label=label, progress=done, part=self.part)


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower bounds of one part of a window, as a Dataset over time.

    course : the run whose taps, capacitor steps and storage the bounds are for; None: the scenario's own.
    upper : (T,) what the cheapest of the runs that share the bounds cost at each step.
    """

    key: str
    scenario: Scenario
    options: RunOptions
    curtail: bool
    course: xr.Dataset | None
    upper: FloatArray
    what: str = "lower bounds"

    @property
    def steps(self) -> int:
        """Its length."""
        return self.scenario.periods

    def __call__(self, done: Steps | None = None) -> xr.Dataset:
        """Return `feederlab.certify.lower_bounds`."""
        from feederlab.certify import lower_bounds

        task = self.scenario.task(self.options.objective)
        return lower_bounds(
            self.scenario, task, course=self.course, curtail=self.curtail, upper=self.upper, progress=done
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """Controllers x windows x seeds.

    windows : each window's scenario.  chunk : length of the parts that windows are computed in; "": whole.
    parts : each window's parts, with no more data than they need.
    """

    windows: dict[Window, Scenario]
    controllers: dict[str, Controller]
    seeds: tuple[int, ...]
    options: RunOptions
    chunk: str
    parts: dict[Window, list[Scenario]]

    @classmethod
    def of(
        cls,
        scenario: Scenario | Sequence[Scenario],
        controllers: Mapping[str, Controller] | Sequence[str],
        options: RunOptions,
        seeds: Sequence[int] | None,
        chunk: str,
    ) -> Plan:
        """Read what `feederlab.compare.compare` is given.  Raises `InputError` for what makes no comparison."""
        if not isinstance(controllers, Mapping):
            twice = sorted({spec for spec in controllers if list(controllers).count(spec) > 1})
            if twice:
                raise InputError(f"controllers given twice: {', '.join(twice)}")
            controllers = {spec: create(spec) for spec in controllers}
        if not controllers:
            raise InputError("a comparison needs at least one controller")
        windows: dict[Window, Scenario] = {}
        for one in [scenario] if isinstance(scenario, Scenario) else scenario:
            window = (one.name, f"{one.start:%Y-%m-%d %H:%M}")
            if window in windows:
                raise InputError(f"two scenarios named {window[0]!r} start at {window[1]}: give them different names")
            windows[window] = one
        if not windows:
            raise InputError("a comparison needs at least one scenario")
        drawn = (options.seed,) if seeds is None else tuple(seeds)
        if not drawn or len(set(drawn)) != len(drawn):
            raise InputError(f"seeds must be different numbers, at least one, not {list(drawn)}")
        parts = {
            window: [part.trimmed() for part in (one.parts(chunk) if chunk else [one])]
            for window, one in windows.items()
        }
        return cls(windows, dict(controllers), drawn, options, chunk, parts)

    @property
    def cells(self) -> list[Cell]:
        """Every cell, in the order of the table."""
        return [
            Cell(label, *window, seed) for label in self.controllers for window in self.windows for seed in self.seeds
        ]

    def lengths(self, cell: Cell) -> list[int]:
        """Return the number of steps of each part of a cell."""
        return [part.periods for part in self.parts[cell.scenario, cell.window]]

    def runs(self) -> list[Run]:
        """Return every run."""
        return [
            Run(
                f"run-{k:05d}-{part:03d}", cell, part, scenario, self.controllers[cell.controller],
                replace(self.options, seed=cell.seed),
            )
            for k, cell in enumerate(self.cells)
            for part, scenario in enumerate(self.parts[cell.scenario, cell.window])
        ]  # fmt: skip

    def bounds(self, runs: Mapping[Cell, Sequence[Result]]) -> tuple[list[Bounds], dict[Cell, list[int]]]:
        """Return the bounds that these runs (cell -> its parts) need, and which of them each cell's parts take.

        Runs share one unless they lowered active power, which a bound must allow for, or moved something that is no
        inverter: taps, capacitors and storage are given to a bound, so such a run gets its own.
        """
        from feederlab.certify import curtailed

        wanted: dict[tuple[Any, ...], Bounds] = {}
        taken: dict[Cell, list[tuple[Any, ...]]] = {}
        cost: dict[tuple[Any, ...], FloatArray] = {}
        windows, cells = list(self.windows), self.cells
        for cell, results in runs.items():
            window = (cell.scenario, cell.window)
            for part, (scenario, result) in enumerate(zip(self.parts[window], results, strict=True)):
                data, curtail = result.data, curtailed(result.data)
                own = cell if _moved(scenario, data) else None
                key = (window, part, own, curtail)
                paid = np.asarray((data["realised"] + data["penalty"]).to_numpy(), dtype=float)
                for covered in (key, (*key[:3], True)):  # a bound that allows for curtailment covers runs without
                    cost[covered] = np.fmin(cost.get(covered, np.inf), paid)
                name = f"bounds-{windows.index(window):05d}-{part:03d}{'-curtail' if curtail else ''}"
                name += f"-{cells.index(cell):05d}" if own else ""
                course = data if own else None
                wanted.setdefault(key, Bounds(name, scenario, self.options, curtail, course, cost[key]))
                taken.setdefault(cell, []).append(key)
        place = {key: k for k, key in enumerate(wanted)}
        pieces = [replace(bounds, upper=cost[key]) for key, bounds in wanted.items()]
        return pieces, {cell: [place[key] for key in keys] for cell, keys in taken.items()}

    def record(self) -> dict[str, Any]:
        """Return what identifies the comparison, JSON-ready."""
        first = next(iter(self.windows.values()))
        described = {label: provenance(first, c, label, self.options) for label, c in self.controllers.items()}
        one = next(iter(described.values()))
        chunk = {"chunk": self.chunk} if self.chunk else {}
        return new_record(
            self.cells,
            controllers={
                label: {key: about[key] for key in ("controller", "settings", "sees", "reads") if key in about}
                for label, about in described.items()
            },
            scenarios=[
                {
                    "name": name,
                    "start": str(scenario.start),
                    "periods": scenario.periods,
                    "step_s": scenario.step.total_seconds(),
                    "fingerprint": fingerprint(self.parts[name, window]),
                    "notes": list(dict.fromkeys((*scenario.feeder.notes, *scenario.notes))),
                }
                for (name, window), scenario in self.windows.items()
            ],
            options=one["options"],
            seeds=list(self.seeds),
            versions=one["versions"],
            **chunk,
        )


def fingerprint(parts: Iterable[Scenario]) -> str:
    """Return a hash of everything that scenarios feed into runs: grid, devices, band, loads, sun, slack voltage."""
    digest = hashlib.sha256()
    for scenario in parts:
        feeder, series = scenario.feeder, scenario.series()
        inputs = [
            scenario.band, feeder.branches.from_node, feeder.branches.to_node, feeder.node_shunt, feeder.node_fixed,
            series.load_mva, series.p_available_mw, series.slack_vm,
            feeder.branches.i_max_f_ka, feeder.branches.i_max_t_ka,
        ]  # fmt: skip
        for table in (
            feeder.branches.two_port,
            feeder.inverters,
            feeder.storages,
            feeder.capacitors,
            feeder.tap_changers,
        ):
            inputs += [getattr(table, f.name) for f in fields(table)]
        for values in inputs:
            digest.update(np.ascontiguousarray(values).tobytes())
        taps = feeder.net.trafo.filter(like="tap").to_csv()
        digest.update(repr((feeder.base_mva, feeder.slack, feeder.node_zone, taps)).encode())
    return digest.hexdigest()[:16]


def _moved(scenario: Scenario, data: xr.Dataset) -> bool:
    """Say whether a run moved a tap, a capacitor or a storage unit."""
    feeder = scenario.feeder
    return bool(
        (data["tap"].to_numpy() != feeder.tap_changers.tap).any()
        or (data["step"].to_numpy() != feeder.capacitors.step).any()
        or data["storage_p_mw"].to_numpy().any()
        or data["storage_q_mvar"].to_numpy().any()
    )
