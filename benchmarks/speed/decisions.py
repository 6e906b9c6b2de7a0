"""Decisions of the convex controllers against the solver's own reported time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.speed.timing import Row
from feederlab.controllers.registry import create
from feederlab.models.library import load
from feederlab.simulate import simulate

SUMMER = "2016-06-22"


def rows() -> Iterator[Row]:
    scenario = load("mapdn322").days(SUMMER, 1)
    scenario = replace(scenario, start=scenario.start + scenario.step * 120, periods=120)
    for name in ("lindistflow", "socp"):
        began = time.perf_counter()
        timing = simulate(scenario, create(name)).timing
        note = f"{scenario.periods} steps in {time.perf_counter() - began:.0f} s"
        ours, solver = float(np.median(timing.decision_s)), float(np.median(timing.solver_s))
        ratio = float(np.median(timing.decision_s / timing.solver_s))
        what = f"{name} decision, 322 buses"
        yield Row(what, ours, "the solver's own report", solver, ratio, 1.5, faster=False, note=note)
