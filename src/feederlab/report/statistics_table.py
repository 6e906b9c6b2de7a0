"""Tables for a terminal: means over windows and seeds, and tests of every row against a reference row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from feederlab.metrics import BY_NAME, Metric
from feederlab.report.table import WIDTH, best_rows, format_value
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
    several = len(set(tests["scenario"])) > 1
    heads = ["scenario"] * several + ["controller"]
    table, _ = _empty(f"differences from {reference}", {head: tests[head].tolist() for head in heads})
    table.add_column("metric", no_wrap=True, vertical="bottom")
    share = 100 * (1 - level)
    for title in ("pairs", "mean\ndifference", f"{share:g} %\ninterval", "rank\nbiserial", "p", "p\ncorrected"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    before: tuple[Any, ...] = ()
    for _, row in tests.iterrows():
        metric, here = BY_NAME[row["metric"]], (row["scenario"], row["controller"])
        named = [escape(str(here[0]))] * several + [f"[bold]{escape(str(here[1]))}[/bold]"]
        unit = f" [dim]{escape(metric.unit)}[/dim]" if metric.unit else ""
        table.add_row(
            *(named if here != before else [""] * len(named)), f"{escape(metric.title)}{unit}", str(row["pairs"]),
            _signed(row["difference"]), _interval(row["ci_low"], row["ci_high"]),
            _signed(row["rank_biserial"], "{:+.2f}"), _p(row["p"]),
            _p(row["p_corrected"]), _verdict(row, metric),
        )  # fmt: skip
        before = here
    _caption(table, _about(tests, level, correction))
    return table


def _about(tests: pd.DataFrame, level: float, correction: str) -> list[str]:
    family, most = int(tests["p"].notna().sum()), int(tests["pairs"].max())
    notes = [
        "row minus reference; interval: BCa bootstrap of the mean, each on its own; p: Wilcoxon signed-rank,",
        f"two-sided, corrected by {CORRECTIONS[correction]} over these {family} comparisons (level {level:g})",
    ]
    needed = pairs_needed(1 if correction == "fdr_bh" else family, level)
    if most < needed:
        notes.append(f"{most} pairs cannot show anything here: {needed} or more are needed for the smallest p to count")
    return notes


def _verdict(row: pd.Series[Any], metric: Metric) -> str:
    if not row["significant"]:
        return ""
    if not metric.better:
        return "differs"
    good = (row["rank_biserial"] < 0) == (metric.better == "low")
    return "[bold green]better[/bold green]" if good else "[bold red]worse[/bold red]"


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
    own = format_value(std, metric)
    return f"{format_value(mean, metric)} ± {min(own, f'{std:.2g}', key=len)}"


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
