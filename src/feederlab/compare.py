"""Many controllers on the same scenarios: one closed loop per cell, in parallel, scored by one set of metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.comparison import Comparison
from feederlab.controllers.base import Controller
from feederlab.errors import FeederlabError, InputError, NotRadialError, ResultFileError
from feederlab.folder import check_folder, holds, place
from feederlab.metrics import METRICS, score
from feederlab.models.scenario import Scenario
from feederlab.plan import Bounds, Plan, Run
from feederlab.record import Cell, changed_versions
from feederlab.result import Result
from feederlab.simulate import RunOptions
from feederlab.unfinished import Unfinished
from feederlab.work import Refusal, check_backend, work

if TYPE_CHECKING:
    import xarray as xr

Progress = Callable[[str, int, int], None]
"""Called with (what is being run, steps done since the last call, steps of all that goes by that name)."""


def compare(
    scenario: Scenario | Sequence[Scenario],
    controllers: Mapping[str, Controller] | Sequence[str],
    options: RunOptions | None = None,
    *,
    seeds: Sequence[int] | None = None,
    chunk: str = "",
    jobs: int = 1,
    backend: str = "loky",
    certificates: bool = True,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
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
    chunk
        Length of the parts that each window is cut into, e.g. ``"7D"``, so that a year fits in memory and on several
        processes.  Every part starts from the net's own device states.  It belongs to what is compared: results
        depend on it (for controllers with memory), and do not depend on `jobs` or `backend`.
    jobs
        Processes; -1: as many as there are cores.
    backend
        ``"loky"``: processes of this machine; ``"ray"``: a Ray cluster (`feederlab.work`).
    certificates
        Bound each scenario from below, for the gap and infeasibility columns (radial feeders; NaN elsewhere).
    out
        Folder to save to (`Comparison.save`), checked before anything runs; `overwrite` replaces another comparison.
        Until it is complete, what is finished is kept in ``<out>.unfinished``.
    resume
        Go on with what an interrupted call with the same arguments has finished in ``<out>.unfinished``; nothing of
        that is computed again.  If `out` is complete, it is returned, once its failed cells have been tried again.
    also
        Called with the comparison and the folder under construction, to add files of its own (pictures, say).
    progress
        Called as work gets done: per step with one job, per piece of work with several.
    request
        JSON-ready words of whoever asked for it, kept in the record.

    Raises
    ------
    InputError
        Bad options, or no controller that can work on any scenario.  A controller that cannot work on one scenario
        is kept as a skipped row with its reason, and one that breaks as a failed row, as long as another cell runs.
    ResultFileError
        If `out` holds something else, or something unfinished and neither `resume` nor `overwrite` was said.
    """
    options = options or RunOptions()
    options.objective.check_feeder()
    if resume and out is None:
        raise InputError("there is nothing to resume without a folder: say where the comparison is saved (out)")
    check_backend(jobs, backend)
    plan = Plan.of(scenario, controllers, options, seeds, chunk)
    record = plan.record() | {"request": dict(request or {})} | ({} if certificates else {"certificates": False})
    if out is None:
        return _Work(plan, None, {}, jobs, backend, progress).comparison(record, certificates)
    folder = place(out)
    store = Unfinished(folder, record, resume=resume, overwrite=overwrite)
    known: Mapping[Cell, Result] = {}
    if resume and holds(folder, record):
        before = Comparison.load(folder)
        if not before.failed and not store.exists():
            return before
        if before.failed and not overwrite:
            known = _kept(before, record, folder)
    check_folder(folder, record, overwrite=overwrite)
    with store:
        comparison = _Work(plan, store, known, jobs, backend, progress).comparison(record, certificates)
        adds = None if also is None else lambda path: also(comparison, path)
        comparison.save(folder, overwrite=overwrite, also=adds)
    return comparison


def _kept(before: Comparison, record: Mapping[str, Any], folder: Path) -> Mapping[Cell, Result]:
    """Return the runs of a saved comparison that others may join."""
    if changed := changed_versions(before.record, record):
        raise ResultFileError(
            f"{folder} was made with other versions of {', '.join(changed)}: install those to try its failed cells "
            "again, or give --overwrite to begin anew"
        )
    return before.runs


class _Work:
    """A plan being carried out; what is finished already is known, or comes from the store."""

    def __init__(
        self,
        plan: Plan,
        store: Unfinished | None,
        known: Mapping[Cell, Result],
        jobs: int,
        backend: str,
        progress: Progress | None,
    ) -> None:
        self.plan, self.store, self.known, self.jobs, self.backend = plan, store, known, jobs, backend
        self.progress = progress or (lambda what, steps, total: None)

    def comparison(self, record: Mapping[str, Any], certificates: bool) -> Comparison:
        answers: dict[Cell, list[Result | Refusal]] = {
            cell: [*self.known[cell].cut(self.plan.lengths(cell))] if cell in self.known else []
            for cell in self.plan.cells
        }
        pieces = [piece for piece in self.plan.runs() if piece.cell not in self.known]
        for piece, answer in zip(pieces, self._answers(pieces), strict=True):
            answers[piece.cell].append(answer)
        runs = {cell: parts for cell, parts in answers.items() if not any(isinstance(p, Refusal) for p in parts)}
        refused = {
            cell: next(p for p in parts if isinstance(p, Refusal))
            for cell, parts in answers.items() if cell not in runs
        }  # fmt: skip
        if not runs:
            raise _none_left(refused)
        if certificates:
            refused |= self._certify(runs)  # type: ignore[arg-type]
        joined = {cell: Result.joined(parts) for cell, parts in runs.items()}  # type: ignore[arg-type]
        skipped = {cell: refusal.reason for cell, refusal in refused.items() if refusal.kind != "failed"}
        failed = {cell: refusal.reason for cell, refusal in refused.items() if refusal.kind == "failed"}
        return Comparison(_scores(self.plan, joined), joined, skipped, record, failed)

    def _certify(self, runs: dict[Cell, list[Result]]) -> dict[Cell, Refusal]:
        """Attach their bounds to the runs that have none; return the cells whose bounds broke."""
        pieces, taken = self.plan.bounds(runs)
        without = [cell for cell, parts in runs.items() if any(part.certificate is None for part in parts)]
        needed = sorted({k for cell in without for k in taken[cell]})
        found = dict(zip(needed, self._answers([pieces[k] for k in needed]), strict=True))
        broken: dict[Cell, Refusal] = {}
        for cell in without:
            bounds = [found[k] for k in taken[cell]]
            refusal = next((b for b in bounds if isinstance(b, Refusal)), None)
            if refusal is None:
                runs[cell] = [replace(run, certificate=b) for run, b in zip(runs[cell], bounds, strict=True)]
            elif refusal.kind == "failed":
                broken[cell] = replace(refusal, reason=f"its lower bounds: {refusal.reason}")
        return broken

    def _answers(self, pieces: Sequence[Run | Bounds]) -> list[Any]:
        """Return every piece's answer, a `Refusal` where there is none; each is kept as soon as it is there."""
        total = Counter[str]()
        for piece in pieces:
            total[piece.what] += piece.steps
        answers: list[Any] = [None if self.store is None else self.store.get(piece.key) for piece in pieces]
        for k, piece in enumerate(pieces):
            if answers[k] is not None:
                self.progress(piece.what, piece.steps, total[piece.what])
        missing = [k for k, answer in enumerate(answers) if answer is None]
        told = dict.fromkeys(missing, 0)

        def tell(position: int, steps: int) -> None:
            k = missing[position]
            told[k] += steps
            self.progress(pieces[k].what, steps, total[pieces[k].what])

        for position, answer in work([pieces[k] for k in missing], jobs=self.jobs, backend=self.backend, steps=tell):
            k = missing[position]
            answers[k] = answer
            if self.store is not None and not isinstance(answer, Refusal):
                self.store.put(pieces[k].key, answer)
            if told[k] < pieces[k].steps:
                tell(position, pieces[k].steps - told[k])
        return answers


def _none_left(refused: Mapping[Cell, Refusal]) -> FeederlabError:
    """Return the error that says why no cell has a run."""
    kinds = {refusal.kind for refusal in refused.values()}
    error = FeederlabError if "failed" in kinds else NotRadialError if kinds == {"meshed"} else InputError
    reasons = list(dict.fromkeys(f"{cell.controller}: {refusal.reason}" for cell, refusal in refused.items()))
    return error(
        reasons[0] if len(reasons) == 1 else "no controller can work here:\n" + "\n".join(f"  - {r}" for r in reasons)
    )


def _scores(plan: Plan, runs: Mapping[Cell, Result]) -> xr.Dataset:
    """Return the metrics Dataset; cells without a run are NaN."""
    import xarray as xr

    labels, seeds = list(plan.controllers), list(plan.seeds)
    names = list(dict.fromkeys(name for name, _ in plan.windows))
    windows = list(dict.fromkeys(window for _, window in plan.windows))
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
