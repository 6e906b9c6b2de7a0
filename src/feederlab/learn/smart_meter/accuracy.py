"""How far the estimated voltage is from the truth, stage by stage, on days that the model has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.controllers.none import NoControl
from feederlab.controllers.random_storage import RandomStorage
from feederlab.errors import InputError
from feederlab.learn.smart_meter.estimate import STAGES, EstimateSettings, VoltageModel, fit_voltage_model
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.learn.smart_meter.known import decisions
from feederlab.learn.smart_meter.recording import record
from feederlab.models.arrays import FloatArray
from feederlab.models.scenario import Scenario

PERSISTENCE = "persistence"
LABELS = {"raw": "Thevenin", "H": "after H", "all": "after E"}
"""Stage -> what stands in tables."""


@dataclass(frozen=True)
class EstimationError:
    """The error of one stage at one meter, in per cent of the true voltage, over all steps of the held-out days.

    storage : what the storage did on the held-out days.  "explores": all units at random, as on the days of the fit;
    "alone": the meter's own unit explores and all others rest; "rests": none moves.
    stage : ``persistence`` (V_t = V_t-1), ``raw`` (Thevenin), ``H``, ``all`` (after E).
    seed : of the recorded exploration and of E.  steps : how many were judged.
    median_pct, p95_pct, worst_pct : median, 95th percentile and largest of |V~ / V - 1|.
    bias_pct : mean of V~ / V - 1.
    """

    meter: str
    storage: str
    stage: str
    seed: int
    steps: int
    median_pct: float
    p95_pct: float
    worst_pct: float
    bias_pct: float


def estimation_errors(
    scenario: Scenario, buses: Iterable[int], fit_days: Sequence[str | pd.Timestamp],
    test_days: Sequence[str | pd.Timestamp], *, seeds: Sequence[int] = (0,), settings: EstimateSettings | None = None,
) -> list[EstimationError]:  # fmt: skip
    """Return the errors of all stages at some meters, for every seed and for three behaviours of the storage.

    Each meter's model is fitted on its own history of `fit_days`, recorded while all storage explores, and judged on
    `test_days`.  A meter without a battery predicts its voltage from its demand alone; it is not judged "alone".

    Raises
    ------
    InputError
        If a day is in both, and whatever `record` and `fit_voltage_model` raise.
    """
    both = sorted({pd.Timestamp(day) for day in fit_days} & {pd.Timestamp(day) for day in test_days})
    if both:
        raise InputError(f"{both[0].date()} is to be fitted and judged on: a held-out day must be unseen")
    listed, found = list(buses), []
    for seed in seeds:
        fitted = record(scenario, listed, fit_days, seed=2 * seed)
        for bus in listed:
            model = fit_voltage_model(fitted[bus], seed=seed, settings=settings)
            for storage, controller in _behaviours(scenario, bus):
                history = record(scenario, [bus], test_days, under=controller, seed=2 * seed + 1)[bus]
                found += [
                    EstimationError(history.name, storage, stage, seed, len(e), *_summary(e))
                    for stage, e in errors(model, history).items()
                ]
    return found


def errors(model: VoltageModel, history: MeterHistory) -> dict[str, FloatArray]:
    """Return (n,) V~ / V - 1 of every stage that the model has, and of persistence, at each step that can be judged."""
    rows, known = decisions(history, model.guard)
    taken, truth = history.storage_p_mw[rows], history.vm[rows]
    has = STAGES[: STAGES.index(model.stage) + 1]
    predicted = {stage: model.predict(taken, known, stage=stage) for stage in has}
    return {stage: vm / truth - 1 for stage, vm in {PERSISTENCE: known.vm[:, 0], **predicted}.items()}


def _summary(error: FloatArray) -> tuple[float, float, float, float]:
    size = 100 * np.abs(error)
    return float(np.median(size)), float(np.quantile(size, 0.95)), float(size.max()), 100 * float(error.mean())


def _behaviours(scenario: Scenario, bus: int) -> Iterator[tuple[str, Controller]]:
    units = scenario.feeder.storages
    yield "explores", RandomStorage()
    own = units.index[units.bus == bus]
    if len(own):
        yield "alone", RandomStorage(active=str(int(own[0])))
    yield "rests", NoControl()
