"""Try many settings of one controller on one scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab import answer
from feederlab.compare import Progress, compare
from feederlab.controllers.base import Controller
from feederlab.controllers.curves import VOLT_VAR
from feederlab.controllers.registry import create
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError
from feederlab.models.scenario import Scenario
from feederlab.plan import fingerprint
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions
from feederlab.sweep.result import COST, KIND, RECORD, Sweep, check_violations
from feederlab.sweep.space import Space
from feederlab.work import check_backend

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.comparison import Comparison

_VALUES = 20_000_000  # numbers per inverter quantity that the runs at hand may hold at once
_LEAST = 16  # settings that are run together, however long the window


def sweep(
    scenario: Scenario,
    controller: str,
    settings: Sequence[str],
    *,
    samples: int | None = None,
    seed: int = 0,
    baselines: Sequence[str] | None = None,
    violations: str = "bus_steps",
    options: RunOptions | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    overwrite: bool = False,
    also: Callable[[Sweep, Path], None] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Find which settings of a controller keep the band at least loss.

    Parameters
    ----------
    scenario
        Feeder and window.
    controller
        Specification ``name:key=value,...`` that every setting starts from.
    settings
        What varies, one ``key=a,b,c``, ``key=lo..hi`` or ``key=lo..hi/n`` each (`sweep.space.Space`), curve points and
        the four numbers of a symmetric volt-var curve (`sweep.shape`) included.
    samples, seed
        Number of random settings, drawn from `seed`; None: every combination.
    baselines
        Specifications of rows to compare with; default: no control, the published curves (for `volt_var`), the
        controller as it is, and exact optimal power flow: what the best possible setpoints cost.
    violations
        What is traded against losses: ``"bus_steps"`` (share of bus-steps out of band) or ``"excess"`` (mean sum of
        what the squared voltages lie outside the squared band).
    options
        How the closed loop runs.
    jobs
        Processes; the answer does not depend on it.
    out, overwrite, also
        Folder to save to (`Sweep.save`), checked before anything runs; `also` adds files of its own to it.
    progress
        Called with ("settings", steps done since the last call, steps in all).

    Raises
    ------
    InputError
        A space that makes no sense (one message), or a controller that cannot work on the scenario.
    ResultFileError
        If `out` holds something else.
    """
    check_violations(violations)
    check_backend(jobs, "loky")
    options = replace(options or RunOptions(), record="metrics")
    options.objective.check_feeder()
    space = Space.parse(controller, settings)
    tried, notes = space.settings(samples, seed)
    specs = {space.spec(values): values for values in tried}
    wanted = list(_baselines(controller) if baselines is None else baselines)
    twice = sorted({spec for spec in wanted if wanted.count(spec) > 1})
    if twice:
        raise InputError(f"baselines given twice: {', '.join(twice)}")
    extra = {spec: create(spec) for spec in wanted if spec not in specs}
    about = provenance(scenario, create(controller), controller, options)
    record = answer.question(
        KIND, scenario=scenario.name, start=str(scenario.start), periods=scenario.periods,
        step_s=scenario.step.total_seconds(), fingerprint=fingerprint([scenario.trimmed()]),
        band=[float(scenario.band[0].min()), float(scenario.band[1].max())],
        notes=[*dict.fromkeys((*scenario.feeder.notes, *scenario.notes)), *notes], controller=controller,
        settings=list(settings), samples=samples, seed=seed, baselines=wanted, violations=violations,
        keys=list(space.keys), options=about["options"], versions=about["versions"],
    )  # fmt: skip
    if out is not None:
        answer.check_folder(Path(out), RECORD, record, overwrite=overwrite)
    table = _run(scenario, extra, specs, options, jobs, progress)
    table = table.rename(columns={key: f"{key}_value" for key in space.keys})  # a metric may share a key's name
    for key in space.keys:
        table.insert(2 + space.keys.index(key), key, [specs.get(spec, {}).get(key, "") for spec in table["controller"]])
    made = Sweep(table, violations, space.keys, record)
    if not (made.settings["note"] == "").any():
        raise InputError(f"{controller} cannot work here: {made.settings['note'].iloc[0]}")
    if out is not None:
        made.save(out, overwrite=overwrite, also=None if also is None else lambda folder: also(made, folder))
    return made


def _baselines(controller: str) -> list[str]:
    made = create(controller)
    curves = [f"volt_var:curve={name}" for name in VOLT_VAR] if isinstance(made, VoltVar) else [controller]
    return [*dict.fromkeys(["none", *curves, "opf"])]


def _run(
    scenario: Scenario,
    baselines: dict[str, Controller],
    specs: dict[str, dict[str, str]],
    options: RunOptions,
    jobs: int,
    progress: Progress | None,
) -> pd.DataFrame:
    """Return one row per controller; only so many runs are held at once as fit in memory."""
    import pandas as pd

    everyone = baselines | {spec: create(spec) for spec in specs}
    size = max(_LEAST, _VALUES // (scenario.periods * max(1, len(scenario.feeder.inverters))))
    labels, total = list(everyone), len(everyone) * scenario.periods

    def tell(what: str, done: int, of: int) -> None:
        if progress is not None:
            progress("settings", done, total)

    parts = []
    for first in range(0, len(labels), size):
        some = {label: everyone[label] for label in labels[first : first + size]}
        parts.append(_rows(compare(scenario, some, options, jobs=jobs, certificates=False, progress=tell)))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "kind", ["setting" if spec in specs else "baseline" for spec in table["controller"]])
    return table


def _rows(comparison: Comparison) -> pd.DataFrame:
    table = comparison.table()
    hours = {cell.controller: _hours(run) for cell, run in comparison.runs.items()}
    excess = {cell.controller: _excess(run) for cell, run in comparison.runs.items()}
    names = table["controller"]
    table.insert(2, "excess_mean", [excess.get(name, np.nan) for name in names])
    curtailed = table["curtailed_mwh"] / [hours.get(name, np.nan) for name in names]
    table.insert(3, COST, table["loss_mw"] + curtailed)
    return table.drop(columns=["information", *[name for name in table.columns if str(name).startswith("decide_")]])


def _hours(run: Any) -> float:
    return float(run.data.sizes["time"] * run.provenance["step_s"] / 3600)


def _excess(run: Any) -> float:
    """Return the mean over the steps, inf if a step has no power flow."""
    values = run.data["voltage_excess"].to_numpy()
    return float(values.mean()) if np.isfinite(values).all() else np.inf
