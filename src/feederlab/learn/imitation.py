"""`train_imitation`: how much of optimal power flow a rule keeps that sees its own terminals only."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from feederlab import answer, atomic
from feederlab.controllers.base import Controller
from feederlab.controllers.none import NoControl
from feederlab.controllers.registry import create
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.days import Days, pick_days
from feederlab.learn.extra import need
from feederlab.learn.imitation_judge import judge
from feederlab.learn.imitation_lessons import Lessons
from feederlab.learn.imitation_models import FAMILIES, day_folds
from feederlab.learn.imitation_pupil import Grade, Pupil
from feederlab.learn.likeness import likeness
from feederlab.learn.policies.estimators import EstimatorPolicy
from feederlab.learn.policies.sklearn_policy import SklearnPolicy
from feederlab.learn.volt_var.layout import SCOPES, Layout
from feederlab.lock import held
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions

need("skops")

KIND = "imitation"
RECORD, POLICY, TABLE, RULES, FOLDER = "training.json", "policy.skops", "table.csv", "rules.csv", "rules"
NONE, DROOP = "none", "volt_var:curve=mapdn"
MODELS = tuple(FAMILIES)
Tell = Callable[[str, int, int], None]
"""Told of progress: what, how many pieces of it are done since last told, and how many there are."""


@dataclass(frozen=True, eq=False)
class Imitation:
    """What an imitation gave.

    policy : file of the rule with the least cross-validated cost, among those of the first observation that was named.
    rules : a row for each rule: observation, model, setting, cross-validated ``cv_cost_mw`` and ``cv_in_band_pct`` in
    closed loop (`Grade`), cross-validated error ``cv_rms_mvar`` (root mean square over inverters and samples) and
    ``cv_r2`` of the answers, number of samples, file.
    table : what each controller did on the held-out days (`judge`); empty without such days.
    days, holdout : midnights.
    """

    folder: Path
    policy: Path
    rules: pd.DataFrame
    table: pd.DataFrame
    days: tuple[pd.Timestamp, ...]
    holdout: tuple[pd.Timestamp, ...]


def train_imitation(
    scenario: Scenario,
    out: str | Path,
    *,
    teacher: Controller | str = "opf",
    models: Sequence[str] = MODELS,
    observation: Sequence[str] = ("local",),
    days: int | Days = 20,
    holdout: int | Days = 3,
    rounds: int = 2,
    folds: int = 5,
    margin: float = 0.005,
    bound: float = 1.0,
    present_q: bool = False,
    seed: int = 0,
    jobs: int = 2,
    overwrite: bool = False,
    progress: Tell | None = None,
) -> Imitation:
    """Fit rules that move inverters as a teacher does who sees everything.

    The teacher answers each step of the training days once.  What a rule is to answer it to are the measurements that
    it will meet: those under its own setpoints of the step before, not the teacher's.  So a first rule is fitted to
    what the teacher met, lives through the training days in closed loop, and is fitted again to what it met there as
    well, `rounds` times (Ross, Gordon and Bagnell, AISTATS 2011; the teacher's answer does not depend on the setpoints
    of the step before, so that it need not be asked again).

    Settings (degree and alpha; leaves) are chosen by the error of q, and rules by their cost in closed loop (losses
    plus voltage penalty, as the teacher counts), both cross-validated over days: all samples of a day, of whatever
    round, are on one side of every fold.

    Parameters
    ----------
    out
        Folder for the policy, the tables and the record; written when all is done.
    teacher
        A controller that sees everything and moves inverters alone, or its spec.
    models
        Of ``"linear"``, ``"poly"`` (polynomial features and ridge regression) and ``"boosting"`` (histogram gradient
        boosting).
    observation
        Of ``"local"``, ``"zone"`` and ``"global"``: a rule is fitted for each of them and each model.
    days, holdout
        Days to learn from and days to judge by: dates, or how many to draw from the scenario's.
    folds
        Of the cross-validation.
    margin
        By how much (p.u.) the teacher's band is narrower on both sides: optimal setpoints lie on the band's edge, and
        every error beyond it counts.
    bound
        Share of sqrt(s^2 - p^2) that a rule may use.
    present_q
        Whether a rule reads present reactive power, its own answer to the step before.  It predicts well and acts
        badly: an answer that leans on the last one drifts with it.
    jobs
        Processes; -1: all cores.
    overwrite
        Replace another imitation in `out`.

    Raises
    ------
    InputError
        If there is no inverter, the days are fewer than the folds, or the teacher, a name or a number does not fit.
    ResultFileError
        If `out` holds something else, or another imitation.
    """
    folder, models, observation = Path(out), tuple(models), tuple(observation)
    _check(models, observation, rounds, margin, bound, seed, jobs)
    chosen, unseen = pick_days(scenario, days, holdout, seed)
    day_folds(np.arange(len(chosen)), folds)  # so that too few days are known before the teacher is asked
    expert = create(teacher) if isinstance(teacher, str) else teacher
    named = teacher if isinstance(teacher, str) else type(teacher).__name__
    made_by = provenance(scenario, expert, "", RunOptions())
    about = answer.question(
        KIND, method="imitation", scenario=scenario.name, step_s=scenario.step.total_seconds(),
        data=_fingerprint(scenario, chosen), days=[str(day.date()) for day in chosen],
        holdout=[str(day.date()) for day in unseen],
        teacher={"controller": made_by["controller"], "settings": made_by["settings"]}, models=list(models),
        observation=list(observation), rounds=rounds, folds=folds, margin=margin, bound=bound, present_q=present_q,
        seed=seed, versions=made_by["versions"] | {name: version(name) for name in ("scikit-learn", "skops")},
    )  # fmt: skip
    if (folder / RECORD).is_file():
        answer.read(folder, RECORD, KIND)  # another kind of training is not replaced, whatever is said
    answer.check_folder(folder, RECORD, about, overwrite=overwrite)
    layouts = {scope: _layout(scenario, scope, chosen) for scope in observation}
    told = progress or _silent
    with threadpool_limits(limits=1):  # rows are few and trees small: threads would only wait for each other
        lessons = Lessons.ask(
            scenario, chosen, expert, margin=margin, jobs=jobs, progress=lambda k: told(named, k, len(chosen))
        )
        made: dict[tuple[str, str], tuple[EstimatorPolicy, Grade]] = {}
        for scope, layout in layouts.items():
            pupil = Pupil(lessons, layout, bound, present_q, rounds, folds, seed, jobs)
            for model in models:
                policy, grade = pupil.learn(model, partial(told, f"{model}, {scope}", 1))
                made[scope, model] = _documented(policy, about, scope, model, grade), grade
        table = _judged(scenario, unseen, expert, named, {key: found[0] for key, found in made.items()}, jobs, told)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        return _written(folder, about, made, table, chosen, unseen)


def _silent(what: str, done: int, total: int) -> None:
    pass


def _check(
    models: Sequence[str], observation: Sequence[str], rounds: int, margin: float, bound: float, seed: int, jobs: int
) -> None:
    for what, given, known in (("model", models, MODELS), ("observation", observation, SCOPES)):
        if not given:
            raise InputError(f"name at least one {what}: {', '.join(known)}")
        for name in given:
            if name not in known:
                raise UnknownNameError(what, name, known)
        if len({*given}) < len(given):
            raise InputError(f"a {what} is named twice: {', '.join(given)}")
    if rounds < 0 or seed < 0:
        raise InputError(f"rounds and seed must not be negative, not {rounds} and {seed}")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be a positive number, or -1 for all cores, not {jobs}")
    if not 0 < bound <= 1:
        raise InputError(f"the bound must lie in (0, 1], not {bound}")
    if not 0 <= margin < np.inf:
        raise InputError(f"the margin must be a number of p.u., not negative, not {margin}")


def _layout(scenario: Scenario, scope: str, days: Sequence[pd.Timestamp]) -> Layout:
    return Layout.of(scenario.task(), scope, [scenario.days(day).series() for day in days], identity=False)


def _fingerprint(scenario: Scenario, days: Sequence[pd.Timestamp]) -> str:
    """Return a short hash of what happens on the training days, and of the feeder."""
    total = hashlib.sha256(str(likeness(scenario.feeder)).encode() + scenario.band.tobytes())
    for day in days:
        series = scenario.days(day).series()
        for values in (series.load_mva, series.p_available_mw, series.slack_vm):
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()[:16]


def _documented(
    policy: EstimatorPolicy, about: dict[str, Any], scope: str, model: str, grade: Grade
) -> EstimatorPolicy:
    found = {"observation": scope, "model": model, **grade.row()}
    return EstimatorPolicy(
        policy.estimators, policy.layout, policy.bound, policy.feeder, policy.present_q, policy.method,
        answer.finite({**about, "rule": found}), about["versions"], policy.fingerprint,
    )  # fmt: skip


def _judged(
    scenario: Scenario, days: Sequence[pd.Timestamp], teacher: Controller, named: str,
    policies: dict[tuple[str, str], EstimatorPolicy], jobs: int, told: Tell,
) -> pd.DataFrame:  # fmt: skip
    if not days:
        return pd.DataFrame()
    rows: dict[str, Controller] = {NONE: NoControl(), DROOP: VoltVar(curve="mapdn"), named: teacher}
    rows |= {f"{model}, {scope}": SklearnPolicy(policy) for (scope, model), policy in policies.items()}
    total = len(rows) * len(days)
    return judge(
        scenario, days, rows, teacher=named, droop=DROOP, none=NONE, jobs=jobs,
        progress=lambda k: told("held-out days", k, total),
    )  # fmt: skip


def _written(
    folder: Path, about: dict[str, Any], made: dict[tuple[str, str], tuple[EstimatorPolicy, Grade]],
    table: pd.DataFrame, days: tuple[pd.Timestamp, ...], unseen: tuple[pd.Timestamp, ...],
) -> Imitation:  # fmt: skip
    (folder / RECORD).unlink(missing_ok=True)  # it comes back last: a folder with a record is whole
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (first, _), rows = next(iter(made)), []
    pick = min((key for key in made if key[0] == first), key=lambda key: made[key][1].cost_mw)
    for (scope, model), (policy, grade) in made.items():
        path = policy.save(folder / FOLDER / f"{scope}-{model}.skops")
        file = str(path.relative_to(folder))
        rows.append(
            {"observation": scope, "model": model, **grade.row(), "file": file, "picked": (scope, model) == pick}
        )
    rules = pd.DataFrame(rows)
    made[pick][0].save(folder / POLICY)
    for name, frame in ((RULES, rules), (TABLE, table)):
        with atomic.whole(folder / name) as scratch:
            frame.to_csv(scratch, index=False)
    answer.write(folder, RECORD, about)
    return Imitation(folder, folder / POLICY, rules, table, days, unseen)
