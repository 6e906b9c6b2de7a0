"""A reproduction as Markdown and on a terminal."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from feederlab.errors import InputError
from feederlab.papers import rendering
from feederlab.papers.reproduction import Reproduced, Row

FOUND = Reproduced(
    "toy", "Nobody: Nothing, Journal of Nowhere 1, 2020", {}, (
        Row("mapdn33", "none", "CR", "%", 70.6, "Table 3", 75.24, 1, 16.4, 20, "other data [1]"),
        Row("mapdn33", "none", "losses", "MW", 0.069, "Table 3", 0.0497, 3),
        Row("mapdn33", "learner", "CR", "%", 97.0, "Table 3", math.nan, 1, why="not run"),
        Row("case33", "every bus", "gap", "", math.nan, "", 2.34e-8, -2),
    ),
    {"Mean |v|": pd.DataFrame({"row": ["none", "opf"], "gap %": [1.25e5, 3.2e-7], "steps": [480, 479]})},
    ("The data are others.",), 3.0,
)  # fmt: skip


def test_markdown() -> None:
    text = rendering.markdown(FOUND)
    for line in (
        "| case | row | quantity | reported | reproduced | why they differ |",
        "| mapdn33 | none | CR (%) | 70.6, Table 3 | 75.2 ± 16.4 (20) | other data [1] |",
        "| mapdn33 | none | losses (MW) | 0.069, Table 3 | 0.050 |  |",
        "| mapdn33 | learner | CR (%) | 97.0, Table 3 | - | not run |",
        "| case33 | every bus | gap | - | 2.3e-08 |  |",
        "**Mean |v|**",
        "| none | 1.2e+05 | 480 |",
        "| opf | 3.2e-07 | 479 |",
        "1. The data are others.",
    ):
        assert line in text.splitlines()
    assert text.startswith(FOUND.citation)


def test_cells_keep_the_table_whole() -> None:
    assert rendering.markdown_table(["a|b"], [["one\ntwo"]]).splitlines() == ["| a\\|b |", "| --- |", "| one two |"]


def test_terminal_shows_everything_whole() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in rendering.terminal(FOUND):
        console.print(part, highlight=False)
    shown = console.export_text()
    console.file.close()
    for word in ("mapdn33", "75.2 ± 16.4 (20)", "other data [1]", "2.3e-08", "Mean |v|", "[1] The data are others."):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_long_reasons_are_folded_not_cut() -> None:
    why = "10 draws of the data give 100.0 ± 0.1, 99.8 to 100.0 [1, 2]; losses over those of none range further"
    row = Row(
        "mapdn141", "learner SQDDPG-L1", "losses over those of none", "", 1.19, "from Table 3", 1.27, 2, 0.26, 20, why
    )
    console = Console(width=110, record=True, file=io.StringIO())
    for part in rendering.terminal(replace(FOUND, rows=(*FOUND.rows, row))):
        console.print(part)
    shown = console.export_text()
    assert not [word for word in why.split() if word not in shown]


def test_section_is_made_replaced_and_stamped(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Benchmarks\n\n<!-- begin speed -->\nfast\n<!-- end speed -->\n")
    rendering.write_section(path, "toy", "feederlab reproduce toy", "first")
    rendering.write_section(path, "toy", "feederlab reproduce toy", "second")
    text = path.read_text()
    assert text.count("begin toy") == text.count("end toy") == 1
    assert "first" not in text
    assert "fast" in text
    assert "`feederlab reproduce toy`, 20" in text
    rendering.write_section(tmp_path / "new.md", "toy", "feederlab reproduce toy", "first")
    assert (tmp_path / "new.md").read_text().startswith("<!-- begin toy -->\n`feederlab")
    path.write_text("<!-- begin toy -->\nhalf")
    with pytest.raises(InputError, match="only one of the lines"):
        rendering.write_section(path, "toy", "feederlab reproduce toy", "third")
    assert path.read_text() == "<!-- begin toy -->\nhalf"
