"""The scores of a comparison as the HTML report shows them: one table per view, and the findings in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from feederlab.metrics import METRICS, Metric
from feederlab.models.objective import Objective
from feederlab.report.table import SHOWN, best_rows, format_value, worth_showing

if TYPE_CHECKING:
    from feederlab.comparison import Comparison

MOST_ROWS = 1000
"""Rows of a view; table.csv holds them all."""


@dataclass(frozen=True)
class Entry:
    """One score: its text, the number to sort by, its standard deviation ("" if none), whether it is best."""

    text: str
    number: float | None
    spread: str
    best: bool


@dataclass(frozen=True)
class Row:
    """One row: what it is of, its scores in the order of the columns, and why it has none."""

    head: tuple[str, ...]
    entries: tuple[Entry, ...]
    note: str


@dataclass(frozen=True)
class View:
    """A table: `head` names the columns before the scores."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    cut: int


def columns(rows: pd.DataFrame, objective: str) -> list[tuple[Metric, bool]]:
    """Return the metrics that have any number, each with whether it is a main one; those come first."""
    main = [name for name in SHOWN if worth_showing(rows, name, objective)]
    known = [metric for metric in METRICS if rows[metric.name].notna().any()]
    return sorted(
        ((metric, metric.name in main) for metric in known),
        key=lambda one: main.index(one[0].name) if one[1] else len(main),
    )


def views(comparison: Comparison, metrics: list[Metric]) -> list[View]:
    """Return the tables: means over windows and seeds where there are several, then every run."""
    rows = comparison.table()
    where = [name for name in ("scenario", "window", "seed") if name in rows]
    made = []
    if {"window", "seed"} & set(where):
        scenario = [name for name in where if name == "scenario"]
        keys = [*scenario, "controller"]
        names = [metric.name for metric in metrics]
        groups = rows.groupby(keys, sort=False)
        mean, spread = groups[names].mean().reset_index(), groups[names].std().reset_index()
        if "infeasible_steps" not in mean:
            mean["infeasible_steps"] = 0.0
        mean["note"] = groups["note"].agg(lambda notes: "" if (notes == "").any() else notes.iloc[0]).to_numpy()
        count = groups.size().max()
        made.append(_view(f"mean ± standard deviation of {count} runs each", mean, spread, scenario, metrics))
    made.append(_view("every run" if made else "the runs", rows, None, where, metrics))
    return made


def _view(title: str, rows: pd.DataFrame, spread: pd.DataFrame | None, where: list[str], metrics: list[Metric]) -> View:
    best = {metric.name: best_rows(rows, metric, where) for metric in metrics}
    shown = []
    for place, (index, row) in enumerate(rows.head(MOST_ROWS).iterrows()):
        entries = []
        for metric in metrics:
            value = float(row.loc[metric.name])
            off = np.nan if spread is None else float(spread[metric.name].iloc[place])
            entries.append(
                Entry(
                    text=format_value(value, metric) if np.isfinite(value) else "-",
                    number=value if np.isfinite(value) else None,
                    spread=format_value(off, metric) if np.isfinite(off) else "",
                    best=index in best[metric.name],
                )
            )
        shown.append(
            Row((str(row["controller"]), *(str(row[name]) for name in where)), tuple(entries), str(row["note"]))
        )
    return View(title, ("controller", *where), tuple(shown), max(len(rows) - MOST_ROWS, 0))


def findings(comparison: Comparison, objective: str) -> list[tuple[str, list[str]]]:
    """Return (scenario, sentences): who keeps the band, at what losses, and how far that is from optimal."""
    rows = comparison.table()
    if "scenario" not in rows:
        rows["scenario"] = str(comparison.metrics["scenario"].item())
    return [
        (str(name), list(_sentences(part, comparison, objective)))
        for name, part in rows.groupby("scenario", sort=False)
    ]


def _sentences(rows: pd.DataFrame, comparison: Comparison, objective: str) -> Iterator[str]:
    ran = rows[rows["note"] == ""]
    if ran.empty:
        yield "No controller could work here."
        return
    steps = _steps(comparison)
    by = ran.groupby("controller", sort=False)
    out, proven = by["infeasible_steps"].sum(), by["infeasible_proven"].sum(min_count=1)
    cost = by["loss_mw" if objective == "losses" else "objective"].mean()
    gap = by["gap_penalised_pct"].mean()
    what = "losses" if objective == "losses" else f"objective ({objective})"
    unit = " MW" if objective == "losses" else ""
    runs = len(ran) // max(len(by), 1)
    total = steps * runs

    def costs(label: Any) -> str:
        certified = ""
        if np.isfinite(gap[label]):
            certified = (
                "at the certified optimum" if abs(gap[label]) < 0.005
                else f"certified within {_percent(gap[label])} of the optimum"
            )  # fmt: skip
            certified = f", {certified}"
        return f"{cost[label]:.4g}{unit}{certified}"

    keepers = [label for label in out.index if out[label] == 0]
    if keepers:
        best = min(keepers, key=lambda label: float(cost[label]) if np.isfinite(cost[label]) else np.inf)
        level = [k for k in keepers if abs(cost[k] - cost[best]) <= 5e-5 * max(abs(cost[best]), 1e-12)]
        word = "keeps" if len(keepers) == 1 else "keep"
        yield f"{_names(keepers)} {word} every bus in the band at all {total:,} steps."
        lead = "The" if len(keepers) == 1 else "Of these, the lowest"
        yield f"{lead} mean {what}{' of ' + _names(level) if len(keepers) > 1 else ''}: {costs(best)}."
        if len(keepers) > len(level):
            worst = max(keepers, key=lambda label: float(cost[label]))
            yield f"The highest among them: {_names([worst])} with {costs(worst)}."
    else:
        fewest = out.index[out == out.min()].tolist()
        yield (
            f"No controller keeps every bus in the band. {_names(fewest)} {'comes' if len(fewest) == 1 else 'come'} "
            f"closest: out of band at {int(out.min()):,} of {total:,} steps."
        )
        best = min(fewest, key=lambda label: float(cost[label]) if np.isfinite(cost[label]) else np.inf)
        yield f"The mean {what}{' of ' + str(best) if len(fewest) > 1 else ''}: {cost[best]:.4g}{unit}." + (
            f" With the price of leaving the band, its cost lies {_percent(gap[best])} above the certified lower bound."
            if np.isfinite(gap[best])
            else ""
        )
    leavers = [label for label in out.index if out[label] > 0 and (keepers or out[label] > out.min())]
    if leavers:
        listed = ", ".join(f"{label} at {int(out[label]):,}" for label in leavers[:8])
        more = f" and {len(leavers) - 8} more" if len(leavers) > 8 else ""
        yield f"Out of band at some of the {total:,} steps: {listed}{more}."
    sure = proven.max()
    if np.isfinite(sure) and sure > 0:
        yield f"At up to {int(sure):,} steps the relaxation proves that no setpoints could have kept the band."
    if gap.isna().all():
        yield "There is no certificate here: these runs say nothing about the distance from the optimum."


def _steps(comparison: Comparison) -> int:
    return next(iter(comparison.runs.values())).data.sizes["time"]


def _percent(value: float) -> str:
    return f"{value:.2g} %" if value < 100 else f"{value:,.0f} %"


def _names(labels: list[Any]) -> str:
    shown = [str(label) for label in labels[:6]]
    if len(labels) > 6:
        shown.append(f"{len(labels) - 6} more")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"


def objective_of(comparison: Comparison) -> str:
    """Return the words of the objective, ``losses`` or ``name=weight+...``."""
    given = comparison.record.get("options", {}).get("objective", {})
    weights = tuple((str(name), float(weight)) for name, weight in given.get("weights", [["losses", 1.0]]))
    if weights == (("losses", 1.0),):
        return "losses"
    return str(Objective(weights, float(given.get("v0", 1.0))))


def regret_unit(objective: str) -> str:
    """Return the unit of a sum of the objective over time."""
    return "MWh" if objective == "losses" else "objective x h"


def settings(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (controller, what it sees, its settings in words)."""
    return [
        (
            label,
            str(about.get("sees", "")),
            ", ".join(f"{key} = {value}" for key, value in about.get("settings", {}).items() if value != "") or "none",
        )
        for label, about in record.get("controllers", {}).items()
    ]
