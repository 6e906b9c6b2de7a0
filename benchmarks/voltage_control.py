"""Five days of the three MAPDN networks under physics controllers: the band, the losses, and what is proven.

`python -m benchmarks.voltage_control [--write] [NETWORK ...]`
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import markdown, show, write_section
from feederlab.compare import compare
from feederlab.comparison import Comparison
from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.arrays import BoolArray
from feederlab.models.library import load
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions

NETWORKS = ("mapdn33", "mapdn141", "mapdn322")
DAYS = (20, 110, 172, 200, 290)
ROWS = (
    "none", "volt_var:curve=mapdn", "volt_var:curve=ieee1547_b", "feedback", "lindistflow", "socp", "opf",
)  # fmt: skip
STARTS = 3
HEADER = [
    "network", "controller", "steps in band %", "losses MW", "certified gap %", "decision p50 ms", "max ms",
    "out of band", "proven", "beats opf by more than 0.1 %",
]  # fmt: skip


@dataclass(frozen=True)
class Local:
    """A step in which opf stays out of band without proof: least excess from several starts, and its lower bound."""

    scenario: str
    time: pd.Timestamp
    excess: float
    worst_pu: float
    starts: tuple[float, ...]
    bound: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    parser.add_argument("--step", default="3min")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, remarks = [], []
    for name in options.networks:
        began = time.perf_counter()
        windows = five_days(name, options.step)
        comparison = compare(windows, ROWS, RunOptions(record="metrics"))
        rows += [row_of(name, comparison, label) for label in ROWS]
        left = [local_step(step) for window in windows for step in unproven(window, comparison)]
        remarks.append(describe(name, comparison, left))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    show("Five days", HEADER, rows)
    print("\n".join(remarks))
    if options.write:
        command = "python -m benchmarks.voltage_control --write"
        write_section(
            "voltage-control", command, markdown(HEADER, rows) + "\n\n" + "\n".join(f"- {r}" for r in remarks)
        )
    return 0


def five_days(name: str, step: str) -> list[Scenario]:
    scenario = load(name).resample(step)
    first = scenario.data_span[0]
    return [scenario.days(str(first + pd.Timedelta(days=day)), 1) for day in DAYS]


def joined(comparison: Comparison, label: str, variable: str) -> Any:
    """One row's per-step values over all windows."""
    runs = [run.data[variable].to_numpy() for cell, run in comparison.runs.items() if cell.controller == label]
    return np.concatenate(runs)


def in_band(comparison: Comparison, label: str) -> BoolArray:
    return np.asarray(joined(comparison, label, "out_share") == 0)


def row_of(name: str, comparison: Comparison, label: str) -> list[str]:
    table = comparison.table()
    mine = table[table.controller == label]
    timing = np.concatenate(
        [run.timing.decision_s.to_numpy() for cell, run in comparison.runs.items() if cell.controller == label]
    )
    both = in_band(comparison, label) & in_band(comparison, "opf")
    ours, best = joined(comparison, label, "losses_mw")[both], joined(comparison, "opf", "losses_mw")[both]
    return [
        name, label, f"{mine.cr_pct.mean():.2f}", f"{mine.loss_mw.mean():.4f}", f"{mine.gap_pct.mean():.4f}",
        f"{1e3 * np.median(timing):.3g}", f"{1e3 * timing.max():.3g}", f"{mine.infeasible_steps.sum():.0f}",
        f"{mine.infeasible_proven.sum():.0f}", f"{np.sum(ours < best * (1 - 1e-3))} of {both.sum()}",
    ]  # fmt: skip


def unproven(window: Scenario, comparison: Comparison) -> list[tuple[Scenario, int, float]]:
    """The steps of a window in which opf is out of band without proof, by position, with their excess."""
    run = comparison.run("opf", window=f"{window.start:%Y-%m-%d %H:%M}").data
    excess, outside = run["voltage_excess"].to_numpy(), run["out_share"].to_numpy() > 0
    return [(window, int(t), float(excess[t])) for t in np.flatnonzero(outside)]


def local_step(step: tuple[Scenario, int, float]) -> Local:
    """Look for the least excess of a step from several starts, and for its proven lower bound."""
    from feederlab.models.branchflow.relaxation import Relaxation

    window, t, excess = step
    one = window.window(str(window.times[t]), 1)
    task, series = one.task(), one.series()
    point = OperatingPoint(series.load_mva[0], series.p_available_mw[0], float(series.slack_vm[0]))
    model = AcOpf(window.feeder, task.band, task.objective, task.voltage_penalty)
    relaxation = Relaxation(window.feeder, task.band, task.objective, task.voltage_penalty)
    rng, rating = np.random.default_rng(t), window.feeder.inverters.s_mva
    guesses = [np.zeros(len(rating)), -rating, *(rng.uniform(-1, 1, (STARTS - 2, len(rating))) * rating)]
    found = [model.least_violation(point, [model.start(point, q)]) for q in guesses]
    best = min(found, key=lambda solution: solution.excess)
    vm = np.abs(best.u)
    worst = max(float((vm - task.band[1]).max()), float((task.band[0] - vm).max()), 0.0)
    bound = max(relaxation.least_violation(point).bound, 0.0)
    return Local(window.name, window.times[t], excess, worst, tuple(f.excess for f in found), bound)


def describe(name: str, comparison: Comparison, left: list[Local]) -> str:
    table = comparison.table()
    opf = table[table.controller == "opf"]
    steps, proven = opf.infeasible_steps.sum(), opf.infeasible_proven.sum()
    text = f"{name}: opf is out of band in {steps:.0f} steps, {proven:.0f} proven"
    if not left:
        return text + "."
    spread = max(max(step.starts) - min(step.starts) for step in left)
    gap = max(step.excess - min(step.starts) for step in left)
    return (
        f"{text}. Least excess of these steps from {STARTS} starts each: up to {max(min(s.starts) for s in left):.5f} "
        f"(squared p.u., summed over nodes), {max(s.worst_pu for s in left):.4f} p.u. beyond the band at the worst "
        f"node; "
        f"the starts differ by at most {spread:.1e}, opf exceeds the best by at most {gap:.1e}; "
        f"the relaxation's lower bound is at most {max(s.bound for s in left):.1e}."
    )


if __name__ == "__main__":
    raise SystemExit(main())
