"""`feederlab reproduce` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run

QUICK = ("reproduce", "opf-baselines", "--cases", "case9", "--networks", "case33", "--steps", "2", "--jobs", "1")


def test_list(run: Run) -> None:
    code, out, _ = run("reproduce", "--list")
    assert code == 0
    assert "mapdn-classical" in out
    listed = json.loads(run("reproduce", "--list", "--json")[1])
    assert set(listed) == {"mapdn-classical", "opf-baselines", "smart-meter", "two-timescale"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("mapdn-clasical",), 3, "did you mean 'mapdn-classical'"),
        ((), 2, "reproduce --list shows the names"),
        (("opf-baselines", "--windows", "3"), 2, "'opf-baselines' has no windows"),
        (("mapdn-classical", "--networks", "mapdn33,mapdn34"), 3, "unknown network 'mapdn34'"),
        (("mapdn-classical", "--networks", "mapdn33", "--windows", "999999"), 2, "draw at most"),
        (("opf-baselines", "--networks", "case33", "--resume"), 2, "--out"),
        (("two-timescale", "--days", "0", "--quick"), 2, "days must be at least 1, not 0"),
        (("opf-baselines", "--write", "nowhere/page.md"), 2, "lies in no folder that exists"),
    ],
)
def test_wrong_words(run: Run, words: tuple[str, ...], code: int, message: str) -> None:
    answer, out, err = run("reproduce", *words)
    assert answer == code
    assert out == ""
    assert message in err


def test_prints_saves_and_writes(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    code, out, err = run(*QUICK, "--out", tmp_path / "out", "--resume", "--write", page)
    assert (code, err) == (0, "")
    for words in ("202.677", "agrees to the digits", "written to"):
        assert words in out
    text = page.read_text()
    assert "`feederlab reproduce opf-baselines --networks case33 --cases case9 --steps 2`, 20" in text
    assert "| case33bw | power flow | losses (kW) | 202.677, pandapower | 202.677 |" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "exactness", "reproduction.json", "table.csv", "tables",
    ]  # fmt: skip


def test_json_and_nothing_but_losses(run: Run) -> None:
    code, out, _ = run("reproduce", "opf-baselines", "--cases", "", "--networks", "", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["settings"] == {"cases": [], "networks": [], "steps": 16}
    assert found["rows"][0]["reproduced"] == pytest.approx(202.677, abs=6e-4)
