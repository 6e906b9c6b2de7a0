"""A year in minutes: `python -m benchmarks.year [--write] [--days N]`.

Three tables: a year of the 33-bus feeder in steps of 3 minutes, feeders of growing size, windows of growing length.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from benchmarks.report import markdown, show, write_section
from feederlab.compare import compare
from feederlab.controllers.registry import create
from feederlab.models.library import load
from feederlab.models.scenario import Scenario
from feederlab.simulate import simulate

DROOP = "volt_var:curve=mapdn"
STUDIES = ((["none", DROOP], 2.0), (["lindistflow"], 10.0))  # controllers, aim in minutes
SIZES = (
    "simbench:1-LV-rural1--1-sw", "mapdn33", "simbench:1-MV-rural--1-sw", "mapdn141", "mapdn322",
    "simbench:1-MVLV-rural-2.107-1-sw", "simbench:1-MVLV-rural-all-2-sw",
)  # fmt: skip
SUMMER = "2016-06-20"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables into benchmarks/README.md")
    parser.add_argument("--days", type=float, default=366, help="length of the first table's run (default: the year)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    parts, met = [], True
    header = ["controllers", "steps", "minutes", "aim", "met", "steps/s", "peak memory, GiB"]
    rows = [year(specs, aim, options.days) for specs, aim in STUDIES]
    met &= all(row[4] == "yes" for row in rows)
    parts.append(("mapdn33, 3 min, two processes, weeks apart (`compare(chunk='7D', jobs=2)`)", header, rows))
    header = ["scenario", "nodes", "controller", "steps", "rounds", "steps/s", "us per step", "us per step and node"]
    parts.append(("a day on one process", header, [row for name in SIZES for row in size(name)]))
    header = ["scenario", "controller", "days", "steps", "us per step"]
    parts.append(("mapdn33 on one process", header, list(lengths())))
    for title, head, body in parts:
        show(title, head, body)
    if options.write:
        text = "\n\n".join(f"{title}:\n\n{markdown(head, body)}" for title, head, body in parts)
        write_section("year", "python -m benchmarks.year --write", text)
    return 0 if met else 1


def year(controllers: list[str], aim_min: float, days: float) -> list[str]:
    """Time a comparison: everything from loading the scenario to the table of metrics, certificates aside."""
    with PeakMemory() as memory:
        began = time.perf_counter()
        scenario = load("mapdn33")
        scenario = scenario if days >= 366 else scenario.days(scenario.start, days)
        compare(scenario, controllers, chunk="7D", jobs=2, certificates=False).table()
        taken = time.perf_counter() - began
    steps, minutes = scenario.periods * len(controllers), taken / 60
    met = "yes" if minutes < aim_min and memory.peak_gib < 4 else "NO"
    return [
        " + ".join(controllers), f"{len(controllers)} x {scenario.periods:,}", f"{minutes:.2f}", f"< {aim_min:g}", met,
        f"{steps / taken:,.0f}", f"{memory.peak_gib:.2f}",
    ]  # fmt: skip


def size(name: str) -> Iterator[list[str]]:
    """Time a day of a scenario, without and with droop."""
    whole = load(name)
    nodes, day = whole.feeder.n_nodes, whole.days(SUMMER, 1)
    for spec in ("none", DROOP):
        taken, rounds = best(day, spec)
        us = 1e6 * taken / day.periods
        yield [
            name, f"{nodes:,}", spec, str(day.periods), f"{rounds:.1f}", f"{1e6 / us:,.0f}", f"{us:,.0f}",
            f"{us / nodes:.2f}",
        ]  # fmt: skip


def lengths() -> Iterator[list[str]]:
    """Time windows of growing length."""
    whole = load("mapdn33")
    for spec in ("none", DROOP):
        for days in (1, 7, 28):
            window = whole.days(SUMMER, days)
            taken, _ = best(window, spec)
            yield ["mapdn33", spec, str(days), f"{window.periods:,}", f"{1e6 * taken / window.periods:.1f}"]


def best(scenario: Scenario, spec: str) -> tuple[float, float]:
    """Return the shortest time of three runs (s), and the mean rounds of settling."""
    controller, times = create(spec), []
    for _ in range(3):
        began = time.perf_counter()
        result = simulate(scenario, controller)
        times.append(time.perf_counter() - began)
    return min(times), float(result.data["rounds"].mean())


class PeakMemory:
    """Watches the resident memory of this process and all its children together (Linux); shared pages count twice."""

    def __enter__(self) -> PeakMemory:
        self.peak_gib, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._over.wait(0.1):
            self.peak_gib = max(self.peak_gib, page * sum(_resident_pages(os.getpid())) / 2**30)


def _resident_pages(pid: int) -> Iterator[int]:
    try:
        yield int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    except OSError:  # it has just ended
        return
    for child in children:
        yield from _resident_pages(int(child))


if __name__ == "__main__":
    raise SystemExit(main())
