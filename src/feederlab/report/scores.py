"""The scores of a comparison as the HTML report shows them: one table per view, and the findings in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.metrics import METRICS, Metric
from feederlab.models.objective import Objective
from feederlab.report.table import SHOWN, best_rows, format_spread, format_value, worth_showing

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
    """One row: what it is of, its scores in the order of the columns (none without a run), and what there is to say."""

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


def views(rows: pd.DataFrame, metrics: list[Metric]) -> list[View]:
    """Return the tables of `Comparison.table()`: means over windows and seeds if there are several, then every run."""
    where = [name for name in ("scenario", "window", "seed") if name in rows]
    made = []
    if {"window", "seed"} & set(where):
        scenario = [name for name in where if name == "scenario"]
        groups = rows.groupby([*scenario, "controller"], sort=False)
        names = [metric.name for metric in metrics]
        mean, spread = groups[names].mean().reset_index(), groups[names].std().reset_index()
        ran, runs = groups["cr_pct"].count().to_numpy(), groups.size().max()
        reason = groups["note"].agg(lambda notes: next(filter(None, notes), "")).to_numpy()
        mean["note"] = [
            "" if there == runs else f"{there} of {runs} runs have values: {why}" if there else why
            for there, why in zip(ran, reason, strict=True)
        ]
        made.append(_view(f"mean ± standard deviation of {runs} runs each", mean, spread, scenario, metrics))
    made.append(_view("every run" if made else "the runs", rows, None, where, metrics))
    return made


def _view(title: str, rows: pd.DataFrame, spread: pd.DataFrame | None, where: list[str], metrics: list[Metric]) -> View:
    best = {metric.name: best_rows(rows, metric, where) for metric in metrics}
    shown = []
    for place, (index, row) in enumerate(rows.head(MOST_ROWS).iterrows()):
        entries = []
        for metric in metrics:
            value = float(row[metric.name])
            off = np.nan if spread is None else float(spread[metric.name].iloc[place])
            entries.append(
                Entry(
                    text=format_value(value, metric) if np.isfinite(value) else "-",
                    number=value if np.isfinite(value) else None,
                    spread=format_spread(off, metric) if np.isfinite(off) else "",
                    best=index in best[metric.name],
                )
            )
        head = (str(row["controller"]), *(str(row[name]) for name in where))
        reason = row["note"] and (row["note"] if row["note"].startswith("failed") else f"not applicable: {row['note']}")
        ran = bool(np.isfinite(row["cr_pct"]))
        shown.append(Row(head, tuple(entries) if ran else (), str(row["note"] if ran else reason)))
    return View(title, ("controller", *where), tuple(shown), max(len(rows) - MOST_ROWS, 0))


def findings(comparison: Comparison, rows: pd.DataFrame, objective: str) -> list[tuple[str, list[str]]]:
    """Return (scenario, sentences): who keeps the band, at what losses, how far from optimal, and what is overloaded.

    rows : `Comparison.table()`.
    """
    names = rows["scenario"] if "scenario" in rows else [comparison.metrics["scenario"].item()] * len(rows)
    steps: dict[str, Counter[str]] = {}
    for cell, run in comparison.runs.items():
        steps.setdefault(cell.scenario, Counter())[cell.controller] += run.data.sizes["time"]
    return [
        (str(name), list(_sentences(part, steps.get(str(name), Counter()), objective)))
        for name, part in rows.groupby(np.asarray(names, dtype=object), sort=False)
    ]


def _sentences(rows: pd.DataFrame, steps: Counter[str], objective: str) -> Iterator[str]:
    ran = rows[rows["cr_pct"].notna()]
    if ran.empty:
        yield "No controller could work here."
        return
    by = ran.groupby("controller", sort=False)
    out, proven = by["infeasible_steps"].sum(), by["infeasible_proven"].sum(min_count=1)
    cost = by["loss_mw" if objective == "losses" else "objective"].mean()
    gap, bounded = by["gap_penalised_pct"].mean(), by["certified_pct"].mean()
    average = " on average over the runs" if (by.size() > 1).any() else ""
    what = "losses" if objective == "losses" else f"objective ({objective})"
    unit = " MW" if objective == "losses" else ""
    total = max(steps.values())

    def certified(label: Any) -> str:
        if not np.isfinite(gap[label]):
            return ""
        where = average + (f" ({bounded[label]:.1f} % of the steps have a bound)" if bounded[label] < 100 else "")
        if gap[label] < _EXACT:
            return f", the certified optimum to 0.01 %{where}"
        return f", at most {_percent(gap[label])} above the optimum{where}"

    def cheapest(labels: list[Any]) -> Any:
        return min(labels, key=lambda label: float(cost[label]) if np.isfinite(cost[label]) else np.inf)

    keepers = [label for label in out.index if out[label] == 0]
    if keepers:
        keep = "keeps" if len(keepers) == 1 else "keep"
        yield f"{_names(keepers)} {keep} every bus in the band {_at_all(total)}."
        best = cheapest(keepers)
        level = [k for k in keepers if abs(cost[k] - cost[best]) <= 5e-5 * max(abs(cost[best]), 1e-12)]
        if len(keepers) == 1:
            yield f"Its mean {what}: {cost[best]:.4g}{unit}{certified(best)}."
        elif len(level) == len(keepers):
            yield f"Their mean {what}: {cost[best]:.4g}{unit}{certified(best)}."
        else:
            yield f"Of these, {_names(level)} {'has' if len(level) == 1 else 'have'} the lowest mean {what}: " + (
                f"{cost[best]:.4g}{unit}{certified(best)}."
            )
            worst = max(keepers, key=lambda label: float(cost[label]))
            yield f"{worst} has the highest among them: {cost[worst]:.4g}{unit}{certified(worst)}."
    else:
        fewest = out.index[out == out.min()].tolist()
        yield (
            f"No controller keeps every bus in the band. {_names(fewest)} {'comes' if len(fewest) == 1 else 'come'} "
            f"closest: out of band at {int(out.min()):,} of {total:,} step{_s(total)}."
        )
        best = cheapest(fewest)
        of = f" of {best}" if len(fewest) > 1 else ""
        yield f"The mean {what}{of}: {cost[best]:.4g}{unit}." + (
            f" With the price of leaving the band{certified(best)}." if np.isfinite(gap[best]) else ""
        )
    leavers = [label for label in out.index if out[label] > 0 and (keepers or out[label] > out.min())]
    if leavers:
        yield f"Out of band at some of the {total:,} step{_s(total)}: {_listed(leavers, lambda k: f'{int(out[k]):,}')}."
    lost = by["not_converged"].sum()
    if (lost > 0).any():
        yield "Steps without a power-flow solution, which count as out of band: " + (
            f"{_listed(lost.index[lost > 0], lambda k: f'{int(lost[k]):,}')}."
        )
    over, most = by["overload_steps"].sum(), by["max_loading_pct"].max()
    if (over > 0).any():
        labels = list(over.index[over > 0])
        yield f"A line or transformer is loaded above 100 % at some of the {total:,} step{_s(total)}: " + (
            f"{_listed(labels, lambda k: f'{int(over[k]):,} (up to {most[k]:.0f} %)')}."
        )
    sure = proven.max()
    if np.isfinite(sure) and sure > 0:
        yield f"At up to {int(sure):,} steps the relaxation proves that no setpoints could have kept the band."
    fewer = [label for label in out.index if steps[str(label)] < total]
    if fewer:
        yield f"Fewer steps than the other rows have: {_listed(fewer, lambda k: f'{steps[str(k)]:,}')}."
    if gap.isna().all():
        yield "There is no certificate here: these runs say nothing about the distance from the optimum."


_EXACT = 0.005  # % of the bound: printed as 0.00
_LISTED = 8


def _at_all(steps: int) -> str:
    return f"at all {steps:,} steps" if steps > 1 else "in the one step"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _listed(labels: Iterable[Any], value: Callable[[Any], str]) -> str:
    labels = list(labels)
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(f"{label} at {value(label)}" for label in labels[:_LISTED]) + more


def _percent(value: float) -> str:
    return f"{value:.2g} %" if value < 100 else f"{value:,.0f} %"


def _names(labels: list[Any]) -> str:
    shown = [str(label) for label in labels[:6]]
    if len(labels) > 6:
        shown.append(f"{len(labels) - 6} more")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"


@dataclass(frozen=True)
class Differences:
    """What every row's differences from `reference` over windows and seeds are worth; no rows: the notes say why."""

    reference: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def differences(comparison: Comparison) -> Differences | None:
    """Return the tests that the study asked for; else those against a row named ``opf``.

    None with a single window and seed, or where there is neither.
    """
    from feederlab.report.statistics_table import about_tests, test_rows

    sizes = comparison.metrics.sizes
    asked = (comparison.record.get("request") or {}).get("statistics") or {}
    reference = asked.get("reference", "opf")
    if sizes["window"] * sizes["seed"] < 2 or reference not in comparison.metrics["controller"]:
        return None
    how = {name: asked[name] for name in ("level", "resamples", "seed", "correction", "unit") if name in asked}
    try:
        found = comparison.significance(reference, asked.get("metrics", ()), **how)
    except InputError as error:
        return Differences(reference, (), (), (str(error),))
    level = how.get("level", 0.05)
    head, rows = test_rows(found, level)
    return Differences(reference, head, tuple(rows), tuple(about_tests(found, level, how.get("correction", "holm"))))


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
