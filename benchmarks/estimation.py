"""How far households' voltage estimates are from the truth, and what knowing all but the neighbours' draws would leave.

python -m benchmarks.estimation [--jobs 2] [--write]
"""

from __future__ import annotations

import argparse

import joblib
import numpy as np
import pandas as pd

from benchmarks.report import markdown, show, write_section
from feederlab.controllers.none import NoControl
from feederlab.controllers.random_storage import RandomStorage
from feederlab.learn.smart_meter.accuracy import LABELS, PERSISTENCE, EstimationError, estimation_errors
from feederlab.learn.smart_meter.recording import record
from feederlab.papers.smart_meter_case import AGENTS, bus_of, smart_meter_scenario

DAYS = [str(day.date()) for day in pd.date_range("2016-01-05", "2016-12-20", periods=60)]
TEST, FIT = DAYS[::3], [day for k, day in enumerate(DAYS) if k % 3]
WITHOUT = "R10"  # has a meter and no battery
SEEDS = {3: (0, 1, 2), 6: (0,)}
"""Agents -> seeds."""
STAGES = (PERSISTENCE, *LABELS)
HEADER = ["agents", "meter", "storage", PERSISTENCE, *LABELS.values()]


def judged(agents: int, node: str, seed: int) -> list[EstimationError]:
    """Return the errors at one meter."""
    scenario = smart_meter_scenario(agents)
    return estimation_errors(scenario, [bus_of(scenario, node)], FIT, TEST, seeds=[seed])


def left_by_draws(agents: int, seed: int) -> float:
    """Return what knowing every load, and the storage's mean effect, leaves at `WITHOUT` while all storage explores.

    The 95th percentile of the error, in % of the voltage: the voltage at rest plus the mean of what storage does to it.
    """
    scenario = smart_meter_scenario(agents)
    bus = bus_of(scenario, WITHOUT)
    rests, explores = (
        record(scenario, [bus], TEST, under=rule, seed=2 * seed + 1)[bus].vm for rule in (NoControl(), RandomStorage())
    )
    effect = explores - rests
    return float(100 * np.quantile(np.abs((effect.mean() - effect) / explores), 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    cases = [(n, node, seed) for n, seeds in SEEDS.items() for node in (*AGENTS[n], WITHOUT) for seed in seeds]
    found = joblib.Parallel(n_jobs=options.jobs)(joblib.delayed(judged)(*case) for case in cases)
    errors = pd.DataFrame(
        [(n, node, e.storage, e.stage, e.p95_pct) for (n, node, _), those in zip(cases, found, strict=True)
         for e in those], columns=["agents", "meter", "storage", "stage", "p95"],
    )  # fmt: skip
    mean, reach = (
        errors.pivot_table("p95", ["agents", "meter", "storage"], "stage", how, sort=False) for how in ("mean", np.ptp)
    )
    rows = [
        [str(agents), meter, storage, *(f"{row[stage]:.2f}" for stage in STAGES)]
        for (agents, meter, storage), row in zip(mean.index, mean.to_dict("records"), strict=True)
    ]
    left = {n: np.mean([left_by_draws(n, seed) for seed in seeds]) for n, seeds in SEEDS.items()}
    show("95th percentile of the error, %", HEADER, rows)
    note = (
        f"95th percentile of |V~ / V - 1| in % on {len(TEST)} days, fitted on {len(FIT)} others, mean of "
        f"{len(SEEDS[3])} seeds (3 agents; their range after E is at most {reach['all'].max():.2f}) or one (6). At "
        f"{WITHOUT}, which has no battery, while all storage explores, one who knew every load and the storage's mean "
        f"effect, but not what it draws next, would be left with {left[3]:.2f} (3 agents) and {left[6]:.2f} (6)."
    )
    print(note)
    if options.write:
        write_section("estimation", "python -m benchmarks.estimation --write", f"{markdown(HEADER, rows)}\n\n{note}")


if __name__ == "__main__":
    main()
