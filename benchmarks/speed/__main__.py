"""Measure every line of the speed budget in one run."""

from __future__ import annotations

import argparse
import importlib
import warnings

from benchmarks.report import markdown, milliseconds, show, write_section
from benchmarks.speed.timing import Row

LINES = ("power_flow", "closed_loop", "environment", "decisions", "optimal", "start_up")
HEADER = ["what", "ours", "against", "theirs", "ratio", "aim", "met", "note"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(LINES)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for name in options.names or LINES:
        rows.extend(importlib.import_module(f"benchmarks.speed.{name}").rows())
    cells = [as_cells(row) for row in rows]
    show("Speed", HEADER, cells)
    if options.write:
        write_section("speed", "make bench", markdown(HEADER, cells))
    return 0 if all(row.met for row in rows) else 1


def as_cells(row: Row) -> list[str]:
    aim = "" if row.aim == 0 else f"{'>=' if row.faster else '<='} {row.aim:g}"
    met = "" if row.aim == 0 else ("yes" if row.met else "NO")
    ratio = f"{row.ratio:.3g}" + ("x" if row.faster else "")
    return [row.what, milliseconds(row.ours_s), row.against, milliseconds(row.theirs_s), ratio, aim, met, row.note]


if __name__ == "__main__":
    raise SystemExit(main())
