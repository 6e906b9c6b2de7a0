"""The HTML report: one file that holds everything it shows, script and data included, and loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.atomic import write_text
from feederlab.errors import InputError
from feederlab.report.content import draw_content
from feederlab.report.curve_plots import REGRET_FLOOR, TIME_FLOOR_MS
from feederlab.report.feeder_plot import DEVICES
from feederlab.report.scores import columns, differences, findings, objective_of, regret_unit, settings, views
from feederlab.report.series import band_of
from feederlab.report.style import ALARM, COLOURS, GRID, INK, MUTED

if TYPE_CHECKING:
    from feederlab.comparison import Comparison

_RAMP = ("#2c7bb6", "#abd9e9", "#ffffbf", "#fdae61", "#d7191c")
"""RdYlBu, as in the static pictures: blue is low, red is high."""


def write_report(comparison: Comparison, path: str | Path) -> Path:
    """Write the report of a comparison as one self-contained HTML file.

    Runs recorded with ``metrics`` have no voltages of single buses; the report says so and shows the rest.

    Parameters
    ----------
    comparison
        The comparison; a saved one is read with `Comparison.load`.
    path
        File to write; its folder must exist.

    Raises
    ------
    InputError
        If the folder does not exist, or the path is one.
    """
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        why = "is a folder" if target.is_dir() else "lies in no folder that exists"
        raise InputError(f"cannot write the report: {target} {why}; give a file such as report.html")
    return write_text(target, render(comparison))


def render(comparison: Comparison) -> str:
    """Return the report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    record, objective = comparison.record, objective_of(comparison)
    pages = Environment(
        loader=PackageLoader("feederlab.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters["breakable"] = _breakable
    folder = Path(__file__).with_name("templates")
    css, table_script, chart_script = (
        Markup((folder / name).read_text(encoding="utf-8")) for name in ("report.css", "table.js", "charts.js")
    )  # our own files: nothing in them to escape
    rows = comparison.table()
    shown = columns(rows, objective)
    scenarios = list(dict.fromkeys(str(one["name"]) for one in record["scenarios"]))
    names = ", ".join(scenarios[:4]) + (f" and {len(scenarios) - 4} more" if len(scenarios) > 4 else "")
    request = record.get("request") or {}
    titled = [("scenario" if len(scenarios) == 1 else "scenarios", names)]
    content = _content(comparison, objective)
    return pages.get_template("report.html").render(
        title=request.get("title") or names,
        facts=(titled if request.get("title") else []) + _facts(comparison, objective),
        findings=findings(comparison, rows, objective),
        metrics=shown,
        gaps=any(metric.name == "gap_pct" for metric, _ in shown),
        views=views(rows, [metric for metric, _ in shown]),
        tests=differences(comparison),
        charts=bool(comparison.runs), drawn=len(content["groups"]), left_out=content["left_out"],
        configuration=_configuration(comparison),
        repeat="feederlab compare --replay run.json" if "controllers" in request else "",
        version=record["versions"].get("feederlab", ""),
        css=css, table_script=table_script, chart_script=chart_script,
        content=Markup(_script_json(content)), plotly=Markup(get_plotlyjs()),
    )  # fmt: skip


def _content(comparison: Comparison, objective: str) -> dict[str, Any]:
    """Return all that the script of the figures reads."""
    content = draw_content(comparison)
    labels = list(map(str, comparison.metrics["controller"].to_numpy()))
    several = [name for name in ("scenario", "window", "seed") if comparison.metrics.sizes[name] > 1]
    return content | {
        "controllers": labels,
        "titles": [", ".join(_word(name, group[name]) for name in several) for group in content["groups"]],
        "regret_unit": regret_unit(objective),
        "regret_floor": REGRET_FLOOR,
        "time_floor": TIME_FLOOR_MS,
        "style": {
            "ink": INK, "muted": MUTED, "grid": GRID, "alarm": ALARM, "colours": list(COLOURS),
            "ramp": [[k / (len(_RAMP) - 1), colour] for k, colour in enumerate(_RAMP)],
            "devices": {kind: colour for kind, (_, colour, _) in DEVICES.items()},
        },
    }  # fmt: skip


def _breakable(text: object) -> Any:
    """Return a label as HTML that may be broken where its parts join, on a narrow screen."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([:,=_])", r"\1<wbr>", str(escape(text))))


def _word(name: str, value: object) -> str:
    return f"seed {value}" if name == "seed" else str(value)


def _script_json(value: Any) -> str:
    """Return JSON that may stand inside a script element: no ``<`` can end it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _facts(comparison: Comparison, objective: str) -> list[tuple[str, str]]:
    sizes, scenarios = comparison.metrics.sizes, comparison.record["scenarios"]
    starts = list(dict.fromkeys(str(one["start"])[:16] for one in scenarios))
    steps = list(dict.fromkeys(f"{one['periods']} of {one['step_s'] / 60:g} min" for one in scenarios))
    facts = [
        ("window", starts[0]) if len(starts) == 1 else ("windows", f"{len(starts)}, from {min(starts)}"),
        ("steps", steps[0] if len(steps) == 1 else "differ by scenario"),
        ("controllers", str(sizes["controller"])),
        ("objective", objective),
    ]  # fmt: skip
    if sizes["seed"] > 1:
        facts.append(("seeds", str(sizes["seed"])))
    data = next((run.data for run in comparison.runs.values() if "vm_low" in run.data.coords), None)
    if data is not None and len({one["name"] for one in scenarios}) == 1:
        low, high = band_of(data)
        facts.append(("voltage band", f"{low:g} to {high:g} p.u."))
        facts.append(("feeder", f"{data.sizes['bus']} buses, {data.sizes.get('inverter', 0)} inverters"))
    return facts


def _configuration(comparison: Comparison) -> list[tuple[str, tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Return (heading, column names, rows) of everything that identifies the comparison."""
    record = comparison.record
    options = {name: value for name, value in record.get("options", {}).items() if name not in ("objective", "seed")}
    request = record.get("request") or {}
    return [
        ("Controllers", ("controller", "sees", "settings"), settings(record)),
        (
            "Data",
            ("scenario", "from", "steps", "step", "fingerprint", "notes"),
            [
                (
                    str(one["name"]), str(one["start"])[:16], str(one["periods"]), f"{one['step_s'] / 60:g} min",
                    str(one["fingerprint"]), " ".join(one.get("notes", [])) or "none",
                )
                for one in record["scenarios"]
            ],
        ),
        (
            "Options",
            (),
            [
                ("objective", objective_of(comparison)),
                ("seeds", ", ".join(map(str, record.get("seeds", [])))),
                *((name, _plain(value)) for name, value in options.items()),
            ],
        ),
        ("Request", (), [(name, words) for name, value in request.items() if (words := _plain(value))]),
        ("Versions", (), [(name, str(value)) for name, value in record["versions"].items()]),
    ]  # fmt: skip


def _plain(value: Any) -> str:
    """Return a JSON value in words; what is empty is left out of a dictionary."""
    if isinstance(value, dict):
        known = {name: _plain(part) for name, part in value.items()}
        return ", ".join(part if part == name else f"{name} = {part}" for name, part in known.items() if part)
    if isinstance(value, (list, tuple)):
        return "; ".join(filter(None, map(_plain, value)))
    return "" if value is None else str(value)
