"""Tables for a terminal: means over windows and seeds, and tests of every row against a reference row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from feederlab.metrics import BY_NAME, Metric
from feederlab.report.table import WIDTH, best_rows, format_spread, format_value
from feederlab.significance import CORRECTIONS, pairs_needed

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.comparison import Comparison

SUMMARISED = ("cr_pct", "v_out_pct", "loss_mw", "objective", "gap_pct", "gap_penalised_pct", "max_loading_pct")
_NONE = "-"


def summary_table(
    comparison: Comparison, metrics: Sequence[str] = (), *, title: str = "", remarks: Iterable[str] = ()
) -> Table:
    """Return mean ± standard deviation of each row over windows and seeds, the best means marked.

    metrics : the columns; default: those of `SUMMARISED` that have numbers.  What a run costs is only marked among the
    rows that leave the band least (`table.best_rows`).
    """
    order = [
        (str(scenario), str(label))
        for scenario in comparison.metrics["scenario"].to_numpy()
        for label in comparison.metrics["controller"].to_numpy()
    ]
    wide = comparison.summary().set_index(["metric", "scenario", "controller"]).unstack("metric").loc[order]  # noqa: PD010
    mean, std, count = wide["mean"], wide["std"], wide["n"]
    several = comparison.metrics.sizes["scenario"] > 1
    where = ["scenario"] if several else []
    means, texts = mean.reset_index(), {}
    for name in metrics or _worth_showing(means):
        metric = BY_NAME[name]
        best = best_rows(means, metric, where)
        texts[name] = [
            (_spread(mean[name].iloc[k], std[name].iloc[k], metric), k in best) for k in range(len(order))
        ]  # fmt: skip
    heads = {"scenario": [s for s, _ in order]} if several else {}
    table, used = _empty(title, {**heads, "controller": [label for _, label in order]})
    shown = list(texts) if metrics else _that_fit(texts, WIDTH - used)
    for name in shown:
        title = "\n".join([*BY_NAME[name].title.split(), f"[dim]{escape(BY_NAME[name].unit)}[/dim]"])
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    most = int(count.to_numpy().max())
    notes = [f"mean ± standard deviation over {most} runs of each row (windows x seeds); * best mean of its column"]
    for place, (scenario, label) in enumerate(order):
        ran = int(count.iloc[place]["loss_mw"])
        head = [escape(scenario)] * several + [f"[bold]{escape(label)}[/bold]"]
        marked = [f"[bold green]{t}*[/bold green]" if best else f"{t} " for t, best in (texts[n][place] for n in shown)]
        table.add_row(*head, *marked)
        if ran < most:
            notes.append(f"{label}{f', {scenario}' * several}: {ran} of {most} runs have values")
    reasons = {f"{cell.controller}: not applicable: {reason}" for cell, reason in comparison.skipped.items()}
    _caption(table, [*notes, *sorted(reasons), *(f"note: {text}" for text in remarks)])
    return table


def _worth_showing(mean: pd.DataFrame) -> list[str]:
    losses_only = np.allclose(mean["objective"], mean["loss_mw"], equal_nan=True)
    return [name for name in SUMMARISED if mean[name].notna().any() and not (name == "objective" and losses_only)]


def _that_fit(texts: Mapping[str, list[tuple[str, bool]]], room: int) -> list[str]:
    """Return the first columns that fit into `room`."""
    shown = []
    for name, column in texts.items():
        words = [*BY_NAME[name].title.split(), *(text + "*" for text, _ in column)]
        room -= max(map(len, words)) + 2
        if room >= 0:
            shown.append(name)
    return shown


def significance_table(tests: pd.DataFrame, reference: str, *, level: float = 0.05, correction: str = "holm") -> Table:
    """Return `Comparison.significance` as a rich table: each row's difference from the reference, and what it is worth.

    level, correction : as given to the tests.  The last column says better or worse where the corrected p is at most
    `level`, and the metric has a better side.
    """
    heads, rows = test_rows(tests, level)
    first = heads.index("metric")
    table, _ = _empty(f"differences from {reference}", {head: tests[head].tolist() for head in heads[:first]})
    table.add_column("metric", no_wrap=True, vertical="bottom")
    for head in heads[first + 1 :]:
        table.add_column("\n".join(head.rsplit(" ", 1)), justify="right", no_wrap=True)
    before: tuple[str, ...] = ()
    for row in rows:
        named = [f"[bold]{escape(part)}[/bold]" for part in row[:first]]
        style = _VERDICT_STYLE.get(row[-1], "none")
        table.add_row(
            *(named if row[:first] != before else [""] * first), *map(escape, row[first:-1]), f"[{style}]{row[-1]}[/]"
        )
        before = row[:first]
    _caption(table, about_tests(tests, level, correction))
    return table


_VERDICT_STYLE = {"better": "bold green", "worse": "bold red"}


def test_rows(tests: pd.DataFrame, level: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return (headings, rows) of `Comparison.significance` as text; what the last column says, `_verdict` decides."""
    where = ("scenario", "controller") if len(set(tests["scenario"])) > 1 else ("controller",)
    heads = (
        *where, "metric", "pairs", "mean difference", f"{100 * (1 - level):g} % interval", "rank biserial", "p",
        "p corrected", "verdict",
    )  # fmt: skip
    rows = []
    for _, row in tests.iterrows():
        metric = BY_NAME[row["metric"]]
        name = metric.title + (f" ({metric.unit})" if metric.unit else "")
        rows.append(
            (
                *(str(row[head]) for head in where), name, str(row["pairs"]),
                _signed(row["difference"]), _interval(row["ci_low"], row["ci_high"]),
                _signed(row["rank_biserial"], "{:+.2f}"), _p(row["p"]), _p(row["p_corrected"]), _verdict(row, metric),
            )
        )  # fmt: skip
    return heads, rows


def about_tests(tests: pd.DataFrame, level: float, correction: str) -> list[str]:
    """Return the notes below the tests."""
    family, most = int(tests["p"].notna().sum()), int(tests["pairs"].max())
    notes = [
        "row minus reference; interval: BCa bootstrap of the mean, each on its own; p: Wilcoxon signed-rank, two-sided,"
        f" corrected by {CORRECTIONS[correction]} over these {family} comparisons; a verdict only up to {level:g}",
    ]
    needed = pairs_needed(1 if correction == "fdr_bh" else family, level)
    if most < needed:
        notes.append(f"{most} pairs cannot show anything here: {needed} or more are needed for the smallest p to count")
    return notes


def _verdict(row: pd.Series[Any], metric: Metric) -> str:
    """Say better or worse where the corrected p is small enough, differs where the metric has no better side."""
    if not row["significant"]:
        return ""
    if not metric.better:
        return "differs"
    return "better" if (row["rank_biserial"] < 0) == (metric.better == "low") else "worse"


def _empty(title: str, heads: Mapping[str, list[str]]) -> tuple[Table, int]:
    """Return a table with its first columns, wide enough for what they will hold (up to a limit), and that width."""
    table = Table(
        title=escape(title) or None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left",
        caption_justify="left",
    )  # fmt: skip
    used = 2
    for head, entries in heads.items():
        width = min(max(map(len, [head, *entries])), 26)
        table.add_column(head, overflow="fold", vertical="bottom", min_width=width)
        used += width + 2
    return table, used


def _caption(table: Table, notes: Iterable[str]) -> None:
    table.caption = "\n".join(escape(note) for note in notes)


def _spread(mean: float, std: float, metric: Metric) -> str:
    if not np.isfinite(mean):
        return _NONE
    if not np.isfinite(std):
        return format_value(mean, metric)
    return f"{format_value(mean, metric)} ± {format_spread(std, metric)}"


def _signed(value: float, form: str = "{:+.3g}") -> str:
    if not np.isfinite(value):
        return _NONE
    return form.format(value) if value else "0"


def _interval(low: float, high: float) -> str:
    return f"{_signed(low)} .. {_signed(high)}" if np.isfinite(low) else _NONE


def _p(value: float) -> str:
    if not np.isfinite(value):
        return _NONE
    return f"{value:.3f}" if value >= 1e-3 else f"{value:.0e}"
