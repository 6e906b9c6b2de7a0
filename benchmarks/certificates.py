"""How tight the certificates are: opf on random windows of the MAPDN networks, and on a sunny day, by both relaxations.

`python -m benchmarks.certificates [--windows N] [--write] [NETWORK ...]`
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.report import markdown, milliseconds, show, write_section
from feederlab.certificate import CERTIFIED_PERCENT, Certificate
from feederlab.certify import lower_bounds
from feederlab.controllers.opf import Opf
from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.library import load
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scenario import Scenario
from feederlab.models.windows import random_windows
from feederlab.simulate import RunOptions, simulate

NETWORKS = ("mapdn33", "mapdn141", "mapdn322")
PERIODS, STEP, SEED = 240, "3min", 0
SUNNY_DAY, SUNNY_HOUR = 172, 6
"""A day on which reverse flow meets upper voltage limits: its 240 steps from this hour on."""
HEADER = [
    "network", "windows", "relaxation", "steps", "within 0.1 % (share of steps)", "largest gap %", "p95 %", "mean %",
    "time per step", "steps tightened",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Study:
    """Per step of all windows: the gap (%) of opf by each relaxation, and whether it was tightened; and times (s)."""

    plain: FloatArray
    tight: FloatArray
    tightened: FloatArray
    plain_s: float
    tight_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[list[str]] = []
    for name in options.networks:
        began = time.perf_counter()
        scenario = load(name).resample(STEP)
        sunny = scenario.data_span[0] + pd.Timedelta(days=SUNNY_DAY, hours=SUNNY_HOUR)
        rows += rows_of(
            name, f"{options.windows} random", study(random_windows(scenario, options.windows, PERIODS, SEED))
        )
        rows += rows_of(name, f"{sunny:%Y-%m-%d}", study([scenario.window(str(sunny), PERIODS)]))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    show(f"opf, windows of {PERIODS} steps", HEADER, rows)
    if options.write:
        command = f"python -m benchmarks.certificates --windows {options.windows} --write"
        write_section("certificates", command, markdown(HEADER, rows))
    return 0


def study(windows: list[Scenario]) -> Study:
    """Run opf, and bound its steps: with its own costs as what is known, as a comparison does."""
    plain, tight, tightened, plain_s, tight_s = [], [], [], 0.0, 0.0
    for window in windows:
        task, run = window.task(), simulate(window, Opf(), RunOptions(record="metrics")).data
        plain_s += time_plain(window)
        began = time.perf_counter()
        upper = (run["realised"] + run["penalty"]).to_numpy()
        bounds = lower_bounds(window, task, upper=upper)
        tight_s += time.perf_counter() - began
        found = Certificate.of(run, bounds)
        plain.append(found.plain_percent)
        tight.append(found.step_percent)
        tightened.append(bounds["tightened"].to_numpy())
    return Study(np.concatenate(plain), np.concatenate(tight), np.concatenate(tightened), plain_s, tight_s)


def time_plain(window: Scenario) -> float:
    """Return the time that the plain relaxation takes for all steps (s), compiling included."""
    task, series = window.task(), window.series()
    began = time.perf_counter()
    relaxation = Relaxation(task.grid(), task.band, task.objective, task.voltage_penalty, loss_weight=0.0)
    for load_mva, p_mw, slack_vm in zip(series.load_mva, series.p_available_mw, series.slack_vm, strict=True):
        relaxation.solve(OperatingPoint(load_mva, p_mw, float(slack_vm)))
    return time.perf_counter() - began


def rows_of(name: str, windows: str, found: Study) -> list[list[str]]:
    steps = len(found.tight)
    return [
        [
            name, windows, label, f"{steps}",
            f"{np.sum(gap <= CERTIFIED_PERCENT)} ({np.mean(gap <= CERTIFIED_PERCENT):.2%})",
            f"{np.nanmax(gap):.4f}", f"{np.nanpercentile(gap, 95):.4f}", f"{np.nanmean(gap):.4f}",
            milliseconds(seconds / steps), count,
        ]
        for label, gap, seconds, count in (
            ("plain", found.plain, found.plain_s, ""),
            ("tightened", found.tight, found.tight_s, f"{found.tightened.sum():.0f}"),
        )
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
