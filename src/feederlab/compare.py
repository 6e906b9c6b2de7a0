"""Many controllers on the same scenarios: one closed loop per cell, in parallel, scored by one set of metrics."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.comparison import Cell, Comparison, check_folder, new_record
from feederlab.controllers.base import Controller
from feederlab.controllers.registry import create
from feederlab.errors import InputError, NotRadialError
from feederlab.metrics import METRICS, score
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions, simulate

if TYPE_CHECKING:
    import xarray as xr

    from feederlab.result import Result

Progress = Callable[[str, int, int], None]
"""Called with (what is being run, steps done, steps in all)."""


def compare(
    scenario: Scenario | Sequence[Scenario],
    controllers: Mapping[str, Controller] | Sequence[str],
    options: RunOptions | None = None,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    certificates: bool = True,
    out: str | Path | None = None,
    overwrite: bool = False,
    also: Callable[[Comparison, Path], None] | None = None,
    progress: Progress | None = None,
    request: Mapping[str, Any] | None = None,
) -> Comparison:
    """Run every controller on every scenario with every seed, and score the runs.

    Parameters
    ----------
    scenario
        One scenario, or several (windows of one, or different feeders).
    controllers
        Label -> controller, or specifications ``name:key=value,...``, which are then the labels.
    options
        How the closed loop runs, and what it minimises.
    seeds
        Seeds of sensors, model errors and stochastic controllers; default: that of `options`.
    jobs
        Processes; -1: as many as there are cores.  The scores do not depend on it.
    certificates
        Bound each scenario from below, for the gap and infeasibility columns (radial feeders; NaN elsewhere).
    out
        Folder to save to (`Comparison.save`), checked before anything runs; `overwrite` replaces another comparison.
    also
        Called with the comparison and the folder under construction, to add files of its own (pictures, say).
    progress
        Called as work gets done: per step with one job, per run with several.
    request
        JSON-ready words of whoever asked for it, kept in the record.

    Raises
    ------
    InputError
        Bad options, or no controller that can work on any scenario.  A controller that cannot work on one scenario
        is kept as a skipped row with its reason as long as another cell runs.
    ResultFileError
        If `out` holds something else.
    """
    options = options or RunOptions()
    if options.objective.weight("cost") > 0:
        raise InputError("the objective 'cost' needs generation cost tables; it serves single optimal power flows only")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be a positive number, or -1 for all cores, not {jobs}")
    plan = _plan(scenario, controllers, options, seeds)
    record = _record(plan, options) | {"request": dict(request or {})}
    if out is not None:
        check_folder(Path(out), record, overwrite=overwrite)
    outcome = dict(zip((task.cell for task in plan.runs), _work(plan.runs, jobs, progress), strict=True))
    runs = {cell: answer for cell, answer in outcome.items() if not isinstance(answer, _Refusal)}
    refused = {cell: answer for cell, answer in outcome.items() if isinstance(answer, _Refusal)}
    if not runs:
        raise _all_refused(refused)
    if certificates:
        bounds = _bounds(plan, runs, options, jobs, progress)
        runs = {cell: replace(run, certificate=bounds[cell]) for cell, run in runs.items()}
    metrics = _scores(plan, runs)
    comparison = Comparison(metrics, runs, {cell: refusal.reason for cell, refusal in refused.items()}, record)
    if out is not None:
        comparison.save(out, overwrite=overwrite, also=None if also is None else lambda path: also(comparison, path))
    return comparison


def fingerprint(scenario: Scenario) -> str:
    """Return a hash of everything a scenario feeds into a run: grid, devices, band, loads, sun, slack voltage."""
    digest, feeder, series = hashlib.sha256(), scenario.feeder, scenario.series()
    parts = [
        scenario.band, feeder.branches.from_node, feeder.branches.to_node, feeder.node_shunt, feeder.node_fixed,
        series.load_mva, series.p_available_mw, series.slack_vm, feeder.branches.i_max_f_ka, feeder.branches.i_max_t_ka,
    ]  # fmt: skip
    for table in (
        feeder.branches.two_port,
        feeder.inverters,
        feeder.storages,
        feeder.capacitors,
        feeder.tap_changers,
    ):
        parts += [getattr(table, f.name) for f in fields(table)]
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Refusal:
    """Why a controller cannot work on a scenario (errors themselves do not all survive the way between processes)."""

    reason: str
    meshed: bool


def _all_refused(refused: Mapping[Cell, _Refusal]) -> InputError:
    kind = NotRadialError if all(refusal.meshed for refusal in refused.values()) else InputError
    reasons = list(dict.fromkeys(f"{cell.controller}: {refusal.reason}" for cell, refusal in refused.items()))
    return kind(
        reasons[0] if len(reasons) == 1 else "no controller can work here:\n" + "\n".join(f"  - {r}" for r in reasons)
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """One cell: returns its `Result`, or why the controller cannot work there."""

    cell: Cell
    scenario: Scenario
    controller: Controller
    options: RunOptions

    @property
    def what(self) -> str:
        return self.cell.controller

    @property
    def steps(self) -> int:
        return self.scenario.periods

    def __call__(self, done: Callable[[int], None] | None = None) -> Result | _Refusal:
        try:
            return simulate(self.scenario, self.controller, self.options, label=self.cell.controller, progress=done)
        except InputError as error:
            return _Refusal(str(error), isinstance(error, NotRadialError))


@dataclass(frozen=True, eq=False)
class _Bound:
    """Lower bounds of a scenario, as a Dataset over time; None where there are none.

    course : the run whose taps, capacitor steps and storage the bounds are for; None: the scenario's own.
    """

    scenario: Scenario
    options: RunOptions
    curtail: bool
    course: xr.Dataset | None
    what: str = "lower bounds"

    @property
    def steps(self) -> int:
        return self.scenario.periods

    def __call__(self, done: Callable[[int], None] | None = None) -> xr.Dataset | None:
        from feederlab.certify import lower_bounds

        task = self.scenario.task(self.options.objective)
        try:
            return lower_bounds(self.scenario, task, course=self.course, curtail=self.curtail, progress=done)
        except InputError:
            return None


def _bounds(
    plan: _Plan, runs: Mapping[Cell, Result], options: RunOptions, jobs: int, progress: Progress | None
) -> dict[Cell, xr.Dataset | None]:
    """Return each run's certificate.

    Runs share one unless they lowered active power, which a bound must allow for, or moved something that is no
    inverter: taps, capacitors and storage are given to a bound, so such a run gets its own.
    """
    from feederlab.certify import curtailed

    wanted: dict[tuple[Any, ...], _Bound] = {}
    key_of: dict[Cell, tuple[Any, ...]] = {}
    for cell, result in runs.items():
        scenario, curtail = plan.scenarios[cell.scenario, cell.window], curtailed(result.data)
        moved = _moved(scenario, result.data)
        key_of[cell] = key = (cell.scenario, cell.window, curtail, cell if moved else None)
        wanted.setdefault(key, _Bound(scenario, options, curtail, result.data if moved else None))
    found = dict(zip(wanted, _work(list(wanted.values()), jobs, progress), strict=True))
    return {cell: found[key] for cell, key in key_of.items()}


def _moved(scenario: Scenario, data: xr.Dataset) -> bool:
    """Say whether a run moved a tap, a capacitor or a storage unit."""
    feeder = scenario.feeder
    return bool(
        (data["tap"].to_numpy() != feeder.tap_changers.tap).any()
        or (data["step"].to_numpy() != feeder.capacitors.step).any()
        or data["storage_p_mw"].to_numpy().any()
        or data["storage_q_mvar"].to_numpy().any()
    )


_Task = _Run | _Bound


@dataclass(frozen=True, eq=False)
class _Plan:
    scenarios: dict[tuple[str, str], Scenario]
    controllers: dict[str, Controller]
    seeds: tuple[int, ...]
    runs: list[_Run]


def _plan(
    scenario: Scenario | Sequence[Scenario],
    controllers: Mapping[str, Controller] | Sequence[str],
    options: RunOptions,
    seeds: Sequence[int] | None,
) -> _Plan:
    if not isinstance(controllers, Mapping):
        twice = sorted({spec for spec in controllers if list(controllers).count(spec) > 1})
        if twice:
            raise InputError(f"controllers given twice: {', '.join(twice)}")
        controllers = {spec: create(spec) for spec in controllers}
    if not controllers:
        raise InputError("a comparison needs at least one controller")
    scenarios: dict[tuple[str, str], Scenario] = {}
    for one in [scenario] if isinstance(scenario, Scenario) else scenario:
        key = (one.name, f"{one.start:%Y-%m-%d %H:%M}")
        if key in scenarios:
            raise InputError(f"two scenarios named {key[0]!r} start at {key[1]}: give them different names")
        scenarios[key] = one
    if not scenarios:
        raise InputError("a comparison needs at least one scenario")
    drawn = (options.seed,) if seeds is None else tuple(seeds)
    if not drawn or len(set(drawn)) != len(drawn):
        raise InputError(f"seeds must be different numbers, at least one, not {list(drawn)}")
    runs = [
        _Run(Cell(label, *key, seed), one, controller, replace(options, seed=seed))
        for label, controller in controllers.items()
        for key, one in scenarios.items()
        for seed in drawn
    ]
    return _Plan(scenarios, dict(controllers), drawn, runs)


def _record(plan: _Plan, options: RunOptions) -> dict[str, Any]:
    """Return what identifies a comparison, JSON-ready."""
    first = next(iter(plan.scenarios.values()))
    described = {label: provenance(first, c, label, options) for label, c in plan.controllers.items()}
    one = next(iter(described.values()))
    return new_record(
        [task.cell for task in plan.runs],
        controllers={
            label: {key: about[key] for key in ("controller", "settings", "sees")} for label, about in described.items()
        },
        scenarios=[
            {
                "name": name,
                "start": str(scenario.start),
                "periods": scenario.periods,
                "step_s": scenario.step.total_seconds(),
                "fingerprint": fingerprint(scenario),
                "notes": list(dict.fromkeys((*scenario.feeder.notes, *scenario.notes))),
            }
            for (name, _), scenario in plan.scenarios.items()
        ],
        options=one["options"],
        seeds=list(plan.seeds),
        versions=one["versions"],
    )


def _work(tasks: Sequence[_Task], jobs: int, progress: Progress | None) -> Iterator[Any]:
    """Yield every task's answer in order; several jobs are processes with one solver thread each."""
    tell = progress or (lambda what, done, total: None)
    if jobs == 1 or len(tasks) == 1:
        for task in tasks:
            yield task(lambda steps, task=task: tell(task.what, steps, task.steps))  # type: ignore[misc]
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        answers = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="all")(
            delayed(_alone)(task) for task in tasks
        )
        for task, answer in zip(tasks, answers, strict=True):
            tell(task.what, task.steps, task.steps)
            yield answer


def _alone(task: _Task) -> Any:
    """Run a task in a worker process; joblib limits BLAS and OpenMP, and this limits solvers written in Rust."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    return task()


def _scores(plan: _Plan, runs: Mapping[Cell, Result]) -> xr.Dataset:
    """Return the metrics Dataset; cells without a run are NaN."""
    import xarray as xr

    labels, seeds = list(plan.controllers), list(plan.seeds)
    names = list(dict.fromkeys(name for name, _ in plan.scenarios))
    windows = list(dict.fromkeys(window for _, window in plan.scenarios))
    values = np.full((len(METRICS), len(labels), len(names), len(windows), len(seeds)), np.nan)
    for cell, result in runs.items():
        place = (
            labels.index(cell.controller),
            names.index(cell.scenario),
            windows.index(cell.window),
            seeds.index(cell.seed),
        )
        scores = score(result)
        values[(slice(None), *place)] = [scores[metric.name] for metric in METRICS]
    dims = ("controller", "scenario", "window", "seed")
    return xr.Dataset(
        {
            metric.name: (dims, values[k], {"units": metric.unit, "long_name": metric.about, "source": metric.source})
            for k, metric in enumerate(METRICS)
        },
        coords={
            "controller": np.array(labels, dtype=str),
            "scenario": np.array(names, dtype=str),
            "window": np.array(windows, dtype=str),
            "seed": np.array(seeds, dtype=np.int64),
            "information": ("controller", np.array([str(c.sees) for c in plan.controllers.values()], dtype=str)),
        },
    )
