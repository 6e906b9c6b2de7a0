"""How much the rebuilt MAPDN scenarios hang on the draw of SimBench shapes: the table of `models/library/mapdn.py`.

`python -m benchmarks.mapdn_draws [--step 15min] [--write]`: five days, seeds 0 to 9, no control and P1 droop.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd

from benchmarks.report import markdown, show, write_section
from benchmarks.voltage_control import DAYS, NETWORKS
from feederlab.controllers.registry import create
from feederlab.models.library import mapdn
from feederlab.simulate import RunOptions, simulate

SEEDS = range(10)
ROWS = ("none", "volt_var:curve=mapdn")
HEADER = ["network", "controller", "in band %, mean +- std", "losses MW, mean +- std", "default seed"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", default="15min")
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in NETWORKS:
        for spec in ROWS:
            found = np.array([scores(name, seed, spec, options.step) for seed in SEEDS])
            (band, loss), (d_band, d_loss), usual = found.mean(axis=0), found.std(axis=0, ddof=1), found[mapdn.SEED]
            rows.append([name, spec, f"{band:.1f} +- {d_band:.1f}", f"{loss:.3f} +- {d_loss:.3f}",
                         f"{usual[0]:.1f}, {usual[1]:.3f}"])  # fmt: skip
            print(rows[-1], flush=True)
    show("Draws of SimBench shapes", HEADER, rows)
    if options.write:
        write_section("mapdn-draws", "python -m benchmarks.mapdn_draws --write", markdown(HEADER, rows))
    return 0


def scores(name: str, seed: int, spec: str, step: str) -> tuple[float, float]:
    """Return the share of steps in band (%) and the mean losses (MW) over the five days."""
    scenario = mapdn.load(name, seed=seed).resample(step)
    first = scenario.data_span[0]
    days = [scenario.days(str(first + pd.Timedelta(days=day)), 1) for day in DAYS]
    runs = [simulate(day, create(spec), RunOptions(record="metrics")).data for day in days]
    in_band = np.concatenate([run.out_share.to_numpy() == 0 for run in runs])
    return 100 * float(in_band.mean()), float(np.mean([run.losses_mw.mean() for run in runs]))


if __name__ == "__main__":
    raise SystemExit(main())
