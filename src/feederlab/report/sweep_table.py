"""The settings of a sweep as a terminal table: the front, the best of it marked, and the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from feederlab.sweep.result import COST, VIOLATIONS

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.sweep import Sweep


def sweep_table(made: Sweep, *, window: str = "") -> Table:
    """Return the settings that no other beats, least violations first, above the baselines.

    ``*`` marks the setting with the least losses among those with the least violations.
    """
    asked = made.record
    low, high = asked["band"]
    table = Table(
        title=escape(
            f"{asked['scenario']}, {asked['start'][:16]}, {asked['periods']} steps of {asked['step_s'] / 60:g} min, "
            f"{low:g}-{high:g} p.u.: {asked['controller']}, {len(made.settings)} settings"
        ),
        box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), title_justify="left", caption_justify="left",
    )  # fmt: skip
    for key in made.keys:
        table.add_column(key, overflow="fold", vertical="bottom")
    loading = bool(made.table["max_loading_pct"].notna().any())
    curtails = bool((made.table["curtailed_mwh"] > 1e-9).any())
    unit = VIOLATIONS[made.violations][2]
    heads = [_VIOLATION_HEADS[made.violations] + f"\n[dim]{unit}[/dim]"]
    heads.append(("losses +\ncurtailed" if curtails else "losses") + "\n[dim]MW[/dim]")
    heads += ["highest v\n[dim]p.u.[/dim]", "lowest v\n[dim]p.u.[/dim]"]
    heads += ["max loading\n[dim]%[/dim]"] if loading else []
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
    best = made.best()["controller"]
    for _, row in made.pareto().head(_SHOWN).iterrows():
        chosen = row["controller"] == best
        cells = [escape(str(row[key])) for key in made.keys]
        if chosen:
            cells = [f"[bold green]{cell}[/bold green]" for cell in cells]
            cells[0] += "[bold green]*[/bold green]"
        table.add_row(*cells, *_figures(made, row, loading))
    table.add_section()
    for _, row in made.baselines.iterrows():
        name = f"[dim]{escape(str(row['controller']))}[/dim]"
        table.add_row(name, *[""] * (len(made.keys) - 1), *_figures(made, row, loading))
    table.caption = "\n".join(escape(line) for line in _notes(made, window))
    return table


_SHOWN = 15
_VIOLATION_HEADS = {"bus_steps": "out of\nband", "excess": "excess"}


def _figures(made: Sweep, row: pd.Series, loading: bool) -> list[str]:
    if row["note"]:
        return ["-"] * (4 + loading)
    violation = "{:.3f}" if made.violations == "bus_steps" else "{:.3g}"
    figures = [violation.format(row[made.column]), f"{row[COST]:.4g}"]
    figures += [f"{row['vm_max_pu']:.4f}", f"{row['vm_min_pu']:.4f}"]
    return figures + ([f"{row['max_loading_pct']:.1f}"] if loading else [])


def _notes(made: Sweep, window: str) -> list[str]:
    best: Any = made.best()
    said = f"* least {VIOLATIONS[made.violations][1]}, then least losses"
    if best["v_out_pct"] > 0:
        said += " (no setting keeps the band)"
    count = len(made.pareto())
    shown = "shown" if count <= _SHOWN else f"the first {_SHOWN} are shown"
    lines = [said, f"settings that no other beats in both: {count}, {shown}; the files hold all"]
    if window:
        lines.append(f"window: {window}")
    working = made.settings[made.settings["note"] == ""]
    if aside := len(working) - len(made.sound()):
        lines.append(
            f"{aside} of {len(working)} settings did not settle, or had no power flow, at some steps: left aside"
        )
    elif (working["unsettled_steps"] > 0).any():
        lines.append("no setting settled at every step: the figures are those of the last rounds")
    lines += [f"{row['controller']}: {row['note']}" for _, row in made.table.iterrows() if row["note"]]
    return lines + [f"note: {text}" for text in made.record["notes"]]
