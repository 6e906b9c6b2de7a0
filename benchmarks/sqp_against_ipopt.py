"""`opf:method=sqp` against Ipopt on random steps: same optimum, time, and what a deadline leaves of it.

`python -m benchmarks.sqp_against_ipopt [--write] [--steps N] [NETWORK ...]`

Half of the steps are drawn from the whole year, half from the hours around noon between April and September.  Every
method first decides the step 3 minutes before, untimed, and starts from its own state after it (Ipopt from its last
iterate); those with a deadline start from the state of `sqp` without one.  Methods take turns at a step, so that a
drifting machine slows all.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.report import markdown, show, write_section
from feederlab.controllers.base import ControlTask, Measurement, Prepared, State
from feederlab.controllers.opf import Opf
from feederlab.models.arrays import FloatArray
from feederlab.models.library import load
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.plant import DeviceState
from feederlab.models.scenario import Scenario
from feederlab.models.setpoints import SetpointProblem

NETWORKS = ("mapdn33", "mapdn141", "mapdn322")
METHODS = {
    "ipopt": Opf(certify=False),
    "certify, ipopt": Opf(),
    "sqp": Opf(method="sqp"),
    "certify, sqp": Opf(method="sqp", certify=True),
}
DEADLINES_MS = (20.0, 10.0, 5.0)
TOL = 1e-5
EQUAL = [
    "network", "method", "median ms", "p95 ms", "max ms", "ipopt / method, medians",
    "largest relative difference to the best Ipopt", "worse by > 1e-5", "better by > 1e-5", "out of band",
]  # fmt: skip
DEADLINE = [
    "network", "deadline ms", "worse than its start", "within 1e-5 of the optimum", "gap p50", "gap p95", "gap max",
    "decision p50 ms", "p99 ms", "max ms", "later than the deadline",
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """cost : objective plus penalties in an AC power flow.  excess : p.u. of squared magnitude."""

    cost: float
    excess: float
    time_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the tables into benchmarks/README.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    equal, deadline = [], []
    for name in options.networks:
        began = time.perf_counter()
        found, starts = race(load(name), options.steps, options.seed)
        equal += [equal_row(name, method, found) for method in METHODS]
        deadline += [deadline_row(name, limit, found, starts) for limit in DEADLINES_MS]
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    show("Same optimum", EQUAL, equal)
    show("Under a deadline", DEADLINE, deadline)
    if options.write:
        command = f"python -m benchmarks.sqp_against_ipopt --write --steps {options.steps}"
        body = (
            f"{options.steps} random steps each, half of them around noon in summer.  Every method starts from its own "
            "state after the step 3 minutes before; with 'certify' the relaxation comes first.\n\n"
        )
        write_section(
            "sqp-against-ipopt", command, body + markdown(EQUAL, equal) + "\n\n" + markdown(DEADLINE, deadline)
        )
    return 0


def race(scenario: Scenario, steps: int, seed: int) -> tuple[dict[str, list[Outcome]], FloatArray]:
    """Return each method's outcomes, and what each step's start costs."""
    task = scenario.task()
    problem = SetpointProblem(task.grid(), task.band, task.objective, task.voltage_penalty)
    limited = {deadline_name(ms): Opf(method="sqp", deadline_ms=ms) for ms in DEADLINES_MS}
    ready = {name: opf.prepare(task) for name, opf in {**METHODS, **limited}.items()}
    found: dict[str, list[Outcome]] = {name: [] for name in ready}
    starts = []
    for before, now in pairs(scenario, task, steps, seed):
        states = {name: ready[name].step(ready[name].initial_state(), before)[1] for name in METHODS}
        point = now.operating_point(task)
        starts.append(cost_of(problem, point, states["sqp"]["q_mvar"])[0])
        for name, prepared in ready.items():
            found[name].append(decide(prepared, problem, states.get(name, states["sqp"]), now, point))
    return found, np.array(starts)


def decide(
    prepared: Prepared, problem: SetpointProblem, state: State, now: Measurement, point: OperatingPoint
) -> Outcome:
    began = time.perf_counter()
    setpoints, _ = prepared.step(state, now)
    taken = time.perf_counter() - began
    assert setpoints.q_mvar is not None
    return Outcome(*cost_of(problem, point, setpoints.q_mvar), taken)


def cost_of(problem: SetpointProblem, point: OperatingPoint, q_mvar: FloatArray) -> tuple[float, float]:
    """Return the cost and the voltage excess of setpoints, clipped to what the devices can do."""
    q, p = problem.feasible(point, q_mvar)
    price = problem.price(point, problem.solve(point, q, p), q, p)
    return price.cost, price.excess


def pairs(scenario: Scenario, task: ControlTask, steps: int, seed: int) -> Iterator[tuple[Measurement, Measurement]]:
    """The measurement of each drawn step, and that of the step before."""
    rng, year = np.random.default_rng(seed), scenario.data_span[0]
    for k in range(steps):
        day, minute = int(rng.integers(0, 365)), 3 * int(rng.integers(1, 480))
        if k % 2:
            day, minute = int(rng.integers(91, 274)), 3 * int(rng.integers(200, 281))
        window = scenario.window(str(year + pd.Timedelta(days=day, minutes=minute - 3)), 2)
        series = window.series()
        devices = DeviceState.initial(window.feeder)
        q = devices.q_mvar
        taken = []
        for t in range(2):
            vm = np.full(window.feeder.n_nodes, np.nan)  # no optimal power flow needs a voltage reading
            taken.append(Measurement(
                time=series.times[t], settle_round=0, vm=vm, load_p_mw=series.load_mva[t].real,
                load_q_mvar=series.load_mva[t].imag, slack_vm=float(series.slack_vm[t]),
                p_available_mw=series.p_available_mw[t], p_mw=series.p_available_mw[t], q_mvar=q,
                storage_p_mw=devices.storage_p_mw, storage_q_mvar=devices.storage_q_mvar, soc=devices.soc,
                tap=devices.tap, step=devices.step,
            ))  # fmt: skip
        yield taken[0], taken[1]


def deadline_name(ms: float) -> str:
    return f"within {ms:g} ms"


def equal_row(name: str, method: str, found: dict[str, list[Outcome]]) -> list[str]:
    best = np.minimum(costs(found["ipopt"]), costs(found["certify, ipopt"]))
    worse = (costs(found[method]) - best) / best
    ms, reference = (1e3 * np.array([o.time_s for o in found[key]]) for key in (method, "ipopt"))
    return [
        name, method, f"{np.median(ms):.3g}", f"{np.quantile(ms, 0.95):.3g}", f"{ms.max():.3g}",
        f"{np.median(reference) / np.median(ms):.3g}x", f"{worse[np.abs(worse).argmax()]:+.1e}",
        f"{np.sum(worse > TOL)} of {len(ms)}", str(np.sum(worse < -TOL)),
        str(sum(o.excess > 1e-6 for o in found[method])),
    ]  # fmt: skip


def deadline_row(name: str, limit: float, found: dict[str, list[Outcome]], starts: FloatArray) -> list[str]:
    mine, best = found[deadline_name(limit)], costs(found["certify, sqp"])
    gap = (costs(mine) - best) / best
    ms = 1e3 * np.array([o.time_s for o in mine])
    return [
        name, f"{limit:g}", f"{np.sum(costs(mine) > starts * (1 + 1e-9))} of {len(ms)}", f"{np.sum(gap <= TOL)}",
        *(f"{np.quantile(gap, share):+.1e}" for share in (0.5, 0.95, 1.0)),
        f"{np.median(ms):.3g}", f"{np.quantile(ms, 0.99):.3g}", f"{ms.max():.3g}", str(np.sum(ms > limit)),
    ]  # fmt: skip


def costs(outcomes: list[Outcome]) -> FloatArray:
    return np.array([o.cost for o in outcomes])


if __name__ == "__main__":
    raise SystemExit(main())
