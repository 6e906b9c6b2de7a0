"""Hosting capacities as a terminal table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from feederlab.hosting import Capacity, Hosting


def hosting_table(study: Hosting, *, window: str = "") -> Table:
    """Return one row per controller, and below what else there is to know; `window` says how it was chosen."""
    asked = study.record
    low, high = asked["band"]
    table = Table(
        title=escape(
            f"{asked['scenario']}, {asked['start'][:16]}, {asked['periods']} steps of {asked['step_s'] / 60:g} min: "
            f"PV within {low:g}-{high:g} p.u. and {asked['max_loading_percent']:g} % loading"
        ),
        box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("controller", overflow="fold")
    for head in ("MW", "times now"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("what breaks first, just above that")
    most = max((row.mw for row in study.rows if not row.note), default=0.0)
    for row in study.rows:
        if row.note:
            table.add_row(f"[bold]{escape(row.controller)}[/bold]", "-", "-", "not applicable: see below")
            continue
        sign = ">= " if row.at_least else ""
        text = f"{sign}{row.mw:.4g}"
        shown = f"[bold green]{text}*[/bold green]" if row.mw == most else f"{text} "
        what = str(row.binding) if row.binding else f"nothing up to {asked['max_factor']:g} times what there is now"
        table.add_row(f"[bold]{escape(row.controller)}[/bold]", shown, f"{sign}{row.factor:.4g}", escape(what))
    table.caption = "\n".join(escape(line) for line in _notes(study, window))
    return table


def _notes(study: Hosting, window: str) -> list[str]:
    asked = study.record
    scaled = "inverters and other generators" if asked["everything"] else "inverters"
    lines = [f"installed now: {asked['installed_mw']:.4g} MW; power and rating of all {scaled} grow together"]
    if window:
        lines.append(f"window: {window}")
    if study.without_pv is not None:
        text = f"the loads alone break a limit ({study.without_pv})"
        if not asked["strict"]:
            text += ": a place that is out of its limit without PV counts only where PV makes it worse"
            text += " (--strict: it counts)"
        lines.append(text)
    if all(point.loading_percent is None for row in study.rows for point in row.points):
        lines.append("no line or transformer here has a current limit: only voltages can bind")
    for row in study.rows:
        lines += [f"{row.controller}: {text}" for text in _remarks(row)]
    return lines + [f"note: {text}" for text in asked["notes"]]


def _remarks(row: Capacity) -> list[str]:
    said = []
    if row.note:
        said.append(f"not applicable: {row.note}")
    if row.unsettled:
        said.append(f"at its capacity the loop is still moving at the end of {row.unsettled} steps")
    if row.works_again:
        listed = ", ".join(f"{k:.3g}" for k in row.works_again)
        said.append(f"more is not always worse: it works again at {listed} times what there is now")
    if row.proven and row.breaks_at is not None:
        said.append(
            f"proven: at {row.breaks_at:.4g} times what there is now no setpoints of the inverters keep the band"
        )
    if row.adopted:
        said.append(f"{row.adopted} steps took the setpoints of another row, or started from them")
    return said
