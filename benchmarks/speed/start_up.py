"""Start-up of the package and of its command line, as whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.speed.timing import Row

FIRST_FLOW = (
    "from feederlab.models.library import load; from feederlab.models.powerflow.base import engine; "
    "s = load('case33'); engine(s.feeder).solve(-s.series().load_mva[0])"
)


def rows() -> Iterator[Row]:
    python = [sys.executable, "-c"]
    empty = median([*python, "pass"])
    heavy = median([*python, "import pandapower"])
    for what, command, aim in (
        ("import feederlab", [*python, "import feederlab"], 0.5),
        ("feederlab scenarios", [sys.executable, "-m", "feederlab", "scenarios"], 1.0),
        ("first power flow", [*python, FIRST_FLOW], 5.0),
    ):
        taken = median(command)
        note = f"empty Python {1e3 * empty:.0f} ms"
        yield Row(f"start-up: {what}", taken, "import pandapower", heavy, taken, aim, faster=False, note=note)


def median(command: list[str]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return float(np.median(times))
