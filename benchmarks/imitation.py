"""How much of optimal power flow rules keep that are fitted to it, and what their fitting is owed to.

python -m benchmarks.imitation [--write]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.report import markdown, show, write_section
from feederlab.learn.imitation import DROOP, Imitation, train_imitation
from feederlab.scenarios import load_scenario

TEACHER = "opf:method=sqp"
DAYS: dict[str, Any] = {"teacher": TEACHER, "days": 20, "holdout": 5, "jobs": 2}
STEP = "15min"
LOCAL, WIDER = ("linear", "poly", "boosting"), ("poly",)
GRIDS = {"mapdn33": ("zone", "global"), "cigre_lv": ("zone", "global"), "simbench:1-LV-rural2--2-no_sw": ("global",)}
"""scenario -> the observations beside the local one."""
STUDY: dict[str, dict[str, Any]] = {
    "as it is: two rounds, margin 0.005 p.u.": {},
    "no round of its own": {"rounds": 0},
    "one round": {"rounds": 1},
    "no margin": {"margin": 0.0},
    "margin 0.01 p.u.": {"margin": 0.01},
    "reads present q": {"present_q": True},
    "reads present q, no round of its own": {"present_q": True, "rounds": 0},
}
HEADER = ["in band %", "worst p.u.", "losses MW", "kept from droop %", "kept from none %"]
CROSS = ["setting", "cv: losses + penalty MW", "cv: error of q, MVAr rms"]
FIRST = ["scenario", "controller", *CROSS, *HEADER]
SECOND = ["poly, local on mapdn33", *CROSS, *HEADER]


def main(write: bool = False) -> None:
    """Print both tables."""
    rows, study, began = [], [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, wider in GRIDS.items():
            out = Path(folder) / name.replace(":", "_")
            found = _learn(name, out / "local", models=LOCAL)
            rows += [[name, *row] for row in _rows(found, whole=True)]
            for scope in wider:
                rows += [[name, *row] for row in _rows(_learn(name, out / scope, models=WIDER, observation=(scope,)))]
            _tell(rows, began)
        for what, change in STUDY.items():
            found = _learn("mapdn33", Path(folder) / what, models=("poly",), **change)
            (_, *row), *_ = _rows(found)
            study.append([what, *row])
            _tell(study, began)
    show("Rules fitted to optimal power flow, held-out days", FIRST, rows)
    show("What it is owed to", SECOND, study)
    print(NOTES)
    if write:
        body = f"{markdown(FIRST, rows)}\n\n{markdown(SECOND, study)}\n\n{NOTES}"
        write_section("imitation", "python -m benchmarks.imitation --write", body)


def _learn(name: str, out: Path, **change: Any) -> Imitation:
    return train_imitation(load_scenario(name, step=STEP), out, **{**DAYS, **change})


def _rows(found: Imitation, *, whole: bool = False) -> list[list[str]]:
    """Return the rules' rows; whole: those of none, droop and the teacher before them."""
    about = {f"{row['model']}, {row['observation']}": row for _, row in found.rules.iterrows()}
    rows = []
    for _, row in found.table.iterrows():
        rule = about.get(str(row["controller"]))
        if rule is None and not whole:
            continue
        head = ["-"] * len(CROSS)
        if rule is not None:
            head = [str(rule["setting"]), f"{rule['cv_cost_mw']:.4g}", f"{rule['cv_rms_mvar']:.4g}"]
        mark = "*" if rule is not None and rule["picked"] and len(found.rules) > 1 else ""
        rows.append([str(row["controller"]) + mark, *head, *_scores(row)])
    return rows


def _scores(row: pd.Series[Any]) -> list[str]:
    kept = [f"{row[name]:.1f}" if pd.notna(row[name]) else "-" for name in ("kept_of_droop_pct", "kept_of_none_pct")]
    worst = f"{row['worst_pu']:.4f}" if row["worst_pu"] > 1e-6 else "-"
    return [f"{row['in_band_pct']:.2f}", worst, f"{row['loss_mw']:.5g}", *kept]


def _tell(rows: list[list[str]], began: float) -> None:
    print(f"{time.perf_counter() - began:.0f} s", *rows[-9:], sep="\n  ", flush=True)


NOTES = f"""\
20 training days and 5 others to judge by, drawn by seed 0 from the year, in steps of {STEP}. The teacher is \
`{TEACHER}`; what rules learn from keeps a band that is 0.005 p.u. narrower on both sides, its own row the full one. \
"Kept" is the share of the losses that the teacher saves against droop (`{DROOP}`) or no control; "-" where it saves \
none, because what it is compared with leaves the band. Leaving the band saves losses: the shares mean something only \
beside the voltages. "cv": cross-validated over the training days, the cost in closed loop, the error of the answers; \
* the rule that the cost picks among those of its observation. Rules decide once a step on what the setpoints of the \
step before have left; droop settles within each step. Polynomials are taken of what the inverter \
reads at its own terminals; what else a zone or global rule sees counts linearly."""


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
