"""Tables for a terminal: the comparison with its best values marked, lists, and one scenario's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from feederlab.metrics import BY_NAME, Metric

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.summary import Summary

SHOWN = (
    "cr_pct", "v_out_pct", "max_drop_pu", "max_rise_pu", "loss_mw", "q_mean_mvar", "curtailed_mwh", "tap_moves",
    "capacitor_moves", "storage_mwh", "stored_mwh", "objective", "gap_pct", "gap_plain_pct", "gap_penalised_pct",
    "gap_p95_pct", "certified_01_pct", "max_loading_pct", "decide_ms_p50", "fallbacks", "adjusted_steps",
    "infeasible_steps", "infeasible_proven",
)  # fmt: skip
"""The metrics that a table may show, in their order; the files hold them all."""
_DROPPED_FIRST = (
    "q_mean_mvar", "max_loading_pct", "curtailed_mwh", "stored_mwh", "fallbacks", "v_out_pct", "decide_ms_p50",
    "max_drop_pu", "max_rise_pu", "gap_penalised_pct", "infeasible_proven", "gap_plain_pct", "gap_p95_pct",
)  # fmt: skip
WIDTH = 120
"""Columns that a table may fill."""
_ONLY_WHERE_ANY = (
    "curtailed_mwh", "tap_moves", "capacitor_moves", "storage_mwh", "stored_mwh", "fallbacks", "adjusted_steps",
    "max_drop_pu", "max_rise_pu", "infeasible_proven",
)  # fmt: skip
_VOLTAGE = ("cr_pct", "v_out_pct", "max_drop_pu", "max_rise_pu", "infeasible_steps")
_SHORTEST_MS = 0.001  # a clock shows no less; the share of one step in a batch can be shorter
_UNIT_FORMAT = {"%": "{:.2f}", "p.u.": "{:.4f}", "ms": "{:.3g}", "steps": "{:.0f}"}  # fmt: skip


def comparison_table(
    rows: pd.DataFrame,
    *,
    title: str = "",
    objective: str = "losses",
    remarks: Iterable[str] = (),
    width: int = WIDTH,
) -> Table:
    """Return `Comparison.table()` as a rich table, units in the headers, `remarks` on the data below.

    Columns that do not fit into `width` are left out, the least telling ones first.  The best value of a column is
    marked with ``*``.  What a run costs is only marked among the rows that leave the band least: losses are easily
    saved by giving up the voltage.
    """
    table = Table(
        title=escape(title) or None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    where = [name for name in ("scenario", "window", "seed") if name in rows]
    used = sum(min(_longest(rows, name), 36) + 2 for name in ("controller", *where))
    shown = _that_fit(rows, [name for name in SHOWN if worth_showing(rows, name, objective)], width - used - 2)
    for name in ("controller", *where):
        table.add_column(name, overflow="fold", vertical="bottom", min_width=min(_longest(rows, name), 36))
    for metric in shown:
        table.add_column(_header(metric), justify="right", no_wrap=True, vertical="bottom")
    best = {metric.name: best_rows(rows, metric, where) for metric in shown}
    for index, row in rows.iterrows():
        label = escape(str(row["controller"]))
        head = [f"[bold]{label}[/bold]", *(escape(str(row[name])) for name in where)]
        if row["note"] and np.isnan(row["cr_pct"]):  # no run; a run whose bounds broke has its figures
            table.add_row(*head, *["[dim]-[/dim]"] * len(shown))
            continue
        table.add_row(*head, *(_shown(float(row[m.name]), m, index in best[m.name]) for m in shown))
    notes = ["* best of its column; what a run costs is marked only among the rows that leave the band least"]
    notes += [f"note: {text}" for text in remarks]
    notes += [
        f"{row['controller']}: {'' if row['note'].startswith('failed') else 'not applicable: '}{row['note']}"
        for _, row in rows.iterrows()
        if row["note"]
    ]
    table.caption = "\n".join(escape(note) for note in notes)
    return table


def _that_fit(rows: pd.DataFrame, names: list[str], room: int) -> list[Metric]:
    widths = {name: _width(rows, BY_NAME[name]) for name in names}
    for name in _DROPPED_FIRST:
        if sum(widths.values()) > room:
            widths.pop(name, None)
    return [BY_NAME[name] for name in widths]


def _longest(rows: pd.DataFrame, name: str) -> int:
    return max(len(name), *(len(str(value)) for value in rows[name]))


def _width(rows: pd.DataFrame, metric: Metric) -> int:
    words = [*metric.title.split(), metric.unit, *(format_value(value, metric) + "*" for value in rows[metric.name])]
    return max(map(len, words)) + 2


def _header(metric: Metric) -> str:
    return "\n".join([*metric.title.split(), f"[dim]{escape(metric.unit)}[/dim]"])


def worth_showing(rows: pd.DataFrame, name: str, objective: str) -> bool:
    """Say whether a column tells anything: it has numbers, and is not the losses or the gap over again."""
    if name == "objective" and objective == "losses":
        return False
    if name == "gap_plain_pct":
        return bool(((rows[name] - rows["gap_pct"]).abs() >= 0.01).any())
    if name in _ONLY_WHERE_ANY:
        return bool((rows[name].fillna(0).abs() > 1e-9).any()) or (
            name == "infeasible_proven" and bool(rows["gap_pct"].notna().any())
        )
    return bool(rows[name].notna().any())


def best_rows(rows: pd.DataFrame, metric: Metric, where: list[str]) -> set[object]:
    """Return the index of the best rows within each scenario; none where all are alike."""
    if not metric.better:
        return set()
    place = rows.groupby(where, sort=False).ngroup() if where else np.zeros(len(rows), dtype=int)
    known = rows[metric.name].notna()
    if metric.name not in _VOLTAGE:
        steps_out = rows["infeasible_steps"].where(known)
        known &= steps_out == steps_out.groupby(place).transform("min")
    values = rows[metric.name].where(known).map(lambda value: _as_printed(value, metric))
    of_place = values.groupby(place)
    low, high = of_place.transform("min"), of_place.transform("max")
    return set(rows.index[(low < high) & (values == (high if metric.better == "high" else low))])


def format_value(value: float, metric: Metric) -> str:
    """Return a score as it is printed."""
    if metric.unit == "%" and 1e3 <= abs(value) < 1e7:
        return f"{float(f'{value:.3g}'):.0f}"
    if metric.unit == "ms" and 0 <= value < _SHORTEST_MS:
        return f"<{_SHORTEST_MS:g}"
    return _UNIT_FORMAT.get(metric.unit, "{:.4g}").format(value)


def format_spread(std: float, metric: Metric) -> str:
    """Return a standard deviation as it is printed: two digits are enough."""
    return min(format_value(std, metric), f"{std:.2g}", key=len)


def _as_printed(value: float, metric: Metric) -> float:
    return float(format_value(value, metric).removeprefix("<"))


def _shown(value: float, metric: Metric, best: bool) -> str:
    if not np.isfinite(value):
        return "[dim]-[/dim] "
    text = format_value(value, metric)
    return f"[bold green]{text}*[/bold green]" if best else f"{text} "


def name_table(entries: Mapping[str, str] | Iterable[tuple[str, str]], head: str) -> Table:
    """Return name and one line each."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    table.add_column(head, no_wrap=True, style="bold")
    table.add_column("what it is")
    for name, line in entries.items() if isinstance(entries, Mapping) else entries:
        table.add_row(escape(name), escape(line))
    return table


def figures_table(figures: Mapping[str, object]) -> Table:
    """Return name and value, what is no number left out."""
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in figures.items():
        if not (isinstance(value, float) and np.isnan(value)):
            table.add_row(name, f"{value:.8g}" if isinstance(value, float) else escape(str(value)))
    return table


def summary_table(summary: Summary) -> Table:
    """Return a scenario's figures."""
    s = summary
    loops = "radial" if not s.loops else f"meshed, {s.loops} loop{'s' if s.loops > 1 else ''}"
    zones = f", {s.zones} zones" if s.zones else ""
    lines = [
        ("grid", f"{s.buses} buses, {s.nodes} nodes, {s.branches} branches, {loops}{zones}"),
        ("nominal voltage", ", ".join(f"{v:g} kV" for v in s.vn_kv)),
        ("voltage band", f"{s.band[0]:g} to {s.band[1]:g} p.u."),
        ("loads", f"{s.loads}; highest {_power(s.peak_load_mw)}{_at(s.peak_load_at)}"),
        ("generators", f"{s.inverters + s.generators}; highest {_power(s.peak_pv_mw)}{_at(s.peak_pv_at)}"),
        ("controllable", _controllable(s)),
        ("base losses", f"{_power(s.base_losses_mw)} with the loads alone, at table values"),
        ("base voltages", f"{s.base_vm_min_pu:.4f} (bus {s.base_low_bus}) to {s.base_vm_max_pu:.4f} p.u. "
                          f"(bus {s.base_high_bus}), likewise"),
        ("data", f"{s.first} up to {s.end}, step {_duration(s.step_s)}"),
        *(("note", note) for note in s.notes),
    ]  # fmt: skip
    table = Table(title=escape(s.name), box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in lines:
        table.add_row(name, escape(text))
    return table


def _controllable(s: Summary) -> str:
    parts = [
        (s.inverters, f"inverter{_s(s.inverters)} ({s.inverters_mva:.3g} MVA)"),
        (s.storages, f"storage unit{_s(s.storages)} ({s.storages_mwh:.3g} MWh)"),
        (s.capacitors, f"capacitor bank{_s(s.capacitors)}"),
        (s.tap_changers, f"tap changer{_s(s.tap_changers)}"),
    ]
    return ", ".join(f"{count} {what}" for count, what in parts if count) or "nothing"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _at(when: str) -> str:
    return f" at {when}" if when else " (table values)"


def _power(mw: float) -> str:
    return f"{mw:.3f} MW" if not abs(mw) < 1 else f"{1e3 * mw:.3f} kW"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
