"""Hosting capacity: how far the PV of a scenario can grow under each controller, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.answer import check_folder, question
from feederlab.controllers.base import Controller
from feederlab.controllers.none import NoControl
from feederlab.controllers.registry import create
from feederlab.errors import InputError
from feederlab.hosting.limits import Limits, State, first_to_break
from feederlab.hosting.result import KIND, RECORD, Capacity, Hosting, Point
from feederlab.hosting.rows import Optimal, Row, Simulated, make_rows
from feederlab.hosting.search import check_tolerance, first_break, scan_factors
from feederlab.models.objective import Objective
from feederlab.models.scaling import installed_mw, with_generation
from feederlab.models.scenario import Scenario
from feederlab.plan import fingerprint
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions

Progress = Callable[[str, int, int], None]
"""Called with (controller, factors tried since the last call, factors that it may take)."""


def hosting_capacity(
    scenario: Scenario,
    controllers: Mapping[str, Controller] | Sequence[str],
    *,
    max_loading_percent: float = 100.0,
    max_curtailed_percent: float = 0.0,
    everything: bool = False,
    strict: bool = False,
    max_factor: float = 16.0,
    tolerance: float = 0.005,
    objective: Objective | str = "losses",
    out: str | Path | None = None,
    overwrite: bool = False,
    also: Callable[[Hosting, Path], None] | None = None,
    progress: Progress | None = None,
) -> Hosting:
    """Find how much PV fits under each controller.

    Active power and rating of every inverter with PV grow by one common factor (`scaling.with_generation`), loads stay.
    A factor works if at every step of the scenario's window all buses are in the band (to `metrics.BAND_TOLERANCE`),
    no line or transformer is loaded above its limit, the power flow has a solution, a loop that settles afresh at every
    step comes to rest, and no more energy is curtailed than is allowed.  The capacity is the largest factor below the
    first one that does not work (`search.first_break`).

    Exact optimal power flow (`opf`) is given the loading limit too, and the setpoints of the other rows as starts and
    candidates (`rows.Optimal`); it is never below a row that steers the same inverters.

    Parameters
    ----------
    scenario
        The window that is looked at; `models.scaling.sunniest_day` picks a telling one.
    controllers
        Label -> controller, or specifications ``name:key=value,...``, which are then the labels.
    max_loading_percent
        Limit of every line and transformer that has a rating (%).
    max_curtailed_percent
        Share of the energy on offer in the window that a controller may curtail (%).
    everything
        Scale the generators that no controller steers as well.
    strict
        Count a place that is out of its limit without any PV as broken.  By default it counts only where PV makes it
        worse: PV is not to blame for a voltage that is low in the evening.
    max_factor, tolerance
        Largest factor tried; width at which the bisection ends, relative to the factor.
    objective
        What optimisation controllers minimise.
    out, overwrite, also
        Folder to save to (`Hosting.save`), checked before anything runs; `also` adds files of its own to it.
    progress
        Called as factors are tried.

    Raises
    ------
    InputError
        Nothing to scale, bad numbers, or no controller that can work here.
    ResultFileError
        If `out` holds something else.
    """
    chosen = read_controllers(controllers)
    goal = Objective.parse(objective) if isinstance(objective, str) else objective
    goal.check_feeder()
    mw = installed_mw(scenario, everything=everything)
    if not mw > 0:
        raise InputError(
            f"{scenario.name!r} has no PV to scale: it needs static generators (table sgen) in service with p_mw > 0 "
            "or a profile, marked controllable with a rating sn_mva" + ("" if everything else "; or scale all of them")
        )
    limits = Limits.of(scenario, max_loading_percent, max_curtailed_percent)
    about = {label: provenance(scenario, c, label, RunOptions(objective=goal)) for label, c in chosen.items()}
    first = next(iter(about.values()))
    record = question(
        KIND, scenario=scenario.name, start=str(scenario.start), periods=scenario.periods,
        step_s=scenario.step.total_seconds(), fingerprint=fingerprint([scenario.trimmed()]),
        notes=list(dict.fromkeys((*scenario.feeder.notes, *scenario.notes))),
        band=[float(scenario.band[0].min()), float(scenario.band[1].max())], installed_mw=mw,
        max_loading_percent=max_loading_percent, max_curtailed_percent=max_curtailed_percent,
        everything=everything, strict=strict, max_factor=max_factor, tolerance=tolerance, objective=str(goal),
        controllers={k: {name: a[name] for name in ("controller", "settings", "sees")} for k, a in about.items()},
        versions=first["versions"],
    )  # fmt: skip
    if out is not None:
        check_folder(Path(out), RECORD, record, overwrite=overwrite)
    tries = len(scan_factors(max_factor)) + math.ceil(-math.log2(check_tolerance(tolerance)))
    loads_alone = Simulated("", NoControl(), limits, lambda k: with_generation(scenario, k, everything=True), goal)
    without = loads_alone.state(0.0)
    without_pv = None if limits.kept(without) else first_to_break(limits, None, without)
    if not strict:
        limits = limits.no_worse_than(without)
    rows = make_rows(scenario, chosen, limits, goal, max_loading_percent=max_loading_percent, everything=everything)
    found: dict[str, Capacity] = {}
    best = 0.0
    for row in rows:
        tell = _teller(progress, row.label, tries)
        found[row.label] = one = _capacity(row, mw, max_factor, tolerance, best, tell)
        best = max(best, one.factor)
    if all(row.note for row in found.values()):
        raise InputError("no controller can work here:\n" + "\n".join(f"  - {k}: {r.note}" for k, r in found.items()))
    study = Hosting(tuple(found[label] for label in chosen), without_pv, record)
    if out is not None:
        study.save(out, overwrite=overwrite, also=None if also is None else lambda folder: also(study, folder))
    return study


def read_controllers(controllers: Mapping[str, Controller] | Sequence[str]) -> dict[str, Controller]:
    """Return label -> controller.  Raises `InputError` for none at all, twins, and what does not exist."""
    if not isinstance(controllers, Mapping):
        twice = sorted({spec for spec in controllers if list(controllers).count(spec) > 1})
        if twice:
            raise InputError(f"controllers given twice: {', '.join(twice)}")
        controllers = {spec: create(spec) for spec in controllers}
    if not controllers:
        raise InputError("no controller given: name at least one, e.g. none (feederlab controllers lists them)")
    return dict(controllers)


def _capacity(
    row: Row, mw: float, max_factor: float, tolerance: float, best: float, tell: Callable[[], None]
) -> Capacity:
    def works(factor: float) -> bool:
        tell()
        return row.works(factor)

    information = str(row.controller.sees)
    try:
        found = first_break(works, max_factor, tolerance, from_=best if isinstance(row, Optimal) else 0.0)
    except InputError as error:
        if row.seen:
            raise
        return Capacity(row.label, information, 0.0, 0.0, None, None, note=str(error))
    factor = 0.0 if np.isnan(found.works) else found.works
    binding, proven = None, False
    if not np.isnan(found.breaks):
        below = None if np.isnan(found.works) else row.state(found.works)
        binding = first_to_break(row.limits, below, row.state(found.breaks))
        proven = isinstance(row, Optimal) and row.proves(found.breaks)
    return Capacity(
        row.label, information, factor, factor * mw, None if np.isnan(found.breaks) else found.breaks, binding,
        found.works_again, proven, row.adopted.get(factor, 0) if isinstance(row, Optimal) else 0,
        int((~row.seen[factor].settled).sum()),
        tuple(_point(row.limits, factor, row.seen[factor]) for factor in sorted(row.seen)),
    )  # fmt: skip


def _point(limits: Limits, factor: float, state: State) -> Point:
    def extreme(values: Any, pick: Any) -> float | None:
        known = values[np.isfinite(values)]
        return float(pick(known)) if known.size else None

    return Point(
        factor, limits.kept(state), len(state.times), extreme(state.vm, np.min), extreme(state.vm, np.max),
        extreme(state.loading, np.max),
    )  # fmt: skip


def _teller(progress: Progress | None, label: str, tries: int) -> Callable[[], None]:
    return (lambda: None) if progress is None else (lambda: progress(label, 1, tries))
