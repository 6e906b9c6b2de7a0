"""Is the relaxation exact under reverse flow?  The table of `feederlab.papers.two_timescale_exactness`, alone.

python -m benchmarks.two_timescale_exactness [--write]
"""

from __future__ import annotations

import sys

from benchmarks.report import markdown, show, write_section
from feederlab.models.feeder import Feeder
from feederlab.models.library.sce47 import sce47_net
from feederlab.models.powerflow.base import engine
from feederlab.papers.two_timescale_exactness import CASES, COLUMNS, NOTES, solve


def main(write: bool = False) -> None:
    """Print reported and reproduced values, and the cone gaps behind them."""
    feeder = Feeder.from_pandapower(sce47_net(power_factor=0.8), "sce47")
    flow = engine(feeder)
    header = [
        "case",
        *(f"{name}: reported / reproduced" for name in COLUMNS),
        "cone gap (7) / + loss",
        "(7) as printed",
    ]
    rows = []
    for case in CASES:
        out = solve(feeder, flow, case)
        cells = [f"{a:.3g} / {b:.3g}" for a, b in zip(case.reported, out.deviation, strict=True)]
        gaps = f"{out.gap[0]:.0e} / {out.gap[1]:.0e}"
        rows.append([str(case), *cells, gaps, f"{out.spread[0]:.3g} to {out.spread[1]:.3g}"])
    show("sum (v - 1)^2 after an AC power flow, SCE 47-bus feeder", header, rows)
    print(NOTES)
    if write:
        write_section(
            "two_timescale_exactness",
            "python -m benchmarks.two_timescale_exactness",
            f"{markdown(header, rows)}\n\n{NOTES}",
        )


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
