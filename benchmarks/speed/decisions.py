"""Decisions of the convex controllers against the solver's own reported time, and those of MPC against a second."""

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
    yield from _slow_over_fast()
    yield from _looking_ahead()


def _slow_over_fast() -> Iterator[Row]:
    """The fast layer under capacitors that stand: every slot but those of a switching."""
    scenario = load("mapdn322").days(SUMMER, 1).with_devices(capacitors={10: (0.2, 2), 200: (0.05, 1)})
    scenario = replace(scenario, start=scenario.start + scenario.step * 120, periods=120)
    controller = create("two_timescale:slow=fixed,every=15min,fast=lindistflow")
    timing = simulate(scenario, controller).timing
    ours, solver = (np.median(timing[name][1:]) for name in ("decision_s", "solver_s"))
    ratio = float(np.median(timing.decision_s[1:] / timing.solver_s[1:]))
    what = "fast layer of two_timescale, lindistflow, 322 buses"
    yield Row(what, float(ours), "the solver's own report", float(solver), ratio, 1.5, faster=False)


def _looking_ahead() -> Iterator[Row]:
    """24 hourly steps ahead on 33 buses, with two batteries, three banks of three steps and a tap changer."""
    day = load("mapdn33").resample("1h").days(SUMMER, 1).with_devices(
        storages={17: (0.5, 2.0), 30: (0.3, 1.2)}, capacitors={12: (0.1, 3), 23: (0.1, 3), 29: (0.1, 3)},
        regulators={0: (-8, 8, 1.25)},
    )  # fmt: skip
    for objective in ("losses", "voltage_deviation"):
        spent = simulate(day, create(f"mpc:objective={objective}")).timing.decision_s.to_numpy()
        middle = float(np.median(spent))
        note = f"seconds; slowest {spent.max():.2f} s"
        yield Row(f"mpc decision, {objective}: median", middle, "", np.nan, middle, 1.0, faster=False, note=note)
    limit = 0.25
    spent = simulate(day, create(f"mpc:time_limit_s={limit},masters=50,gap=1e-7")).timing.decision_s.to_numpy()
    what = f"mpc decision, never done, limit {limit} s: slowest over the limit"
    yield Row(what, float(spent.max()), "", np.nan, float(spent.max()) / limit, 1.1, faster=False)
