"""`feederlab sweep` and `feederlab hosting`: what they print, what they write, and how they refuse bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import toy
from command_line import Answer, Run, refused
from feederlab.hosting import Hosting
from feederlab.sweep import Sweep

HOSTING = ("-c", "none", "-c", "volt_var:curve=mapdn")
SWEEP = ("--set", "curve=mapdn,rule21", "-b", "none")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_files(tmp_path_factory.mktemp("files")).parent


def ask(run: Run, verb: str, files: Path, *words: object) -> Answer:
    window = ("--start", "2016-06-20 11:00", "--days", "0.05")
    given = [] if "--start" in words or "--step" in words else window
    return run(verb, files / "net.json", "--profiles", files / "profiles", *given, *words)


def test_hosting(run: Run, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, err = ask(run, "hosting", files, *HOSTING, "--tolerance", "0.1", "--out", out)
    assert (code, err) == (0, "")
    assert max(map(len, printed.splitlines())) <= 120
    for words in ("none", "volt_var:curve=mapdn", "times now", "bus 17 at 1.0", "above 1.05", "installed now: 4 MW"):
        assert words in printed
    assert sorted(p.name for p in out.iterdir()) == ["hosting.csv", "hosting.json", "hosting.png"]
    assert (out / "hosting.png").read_bytes().startswith(b"\x89PNG")
    study = Hosting.load(out)
    assert study.row("none").mw < study.row("volt_var:curve=mapdn").mw
    refused(ask(run, "hosting", files, "-c", "none", "--out", out), 6, "another question", tmp_path, left=["out"])
    assert ask(run, "hosting", files, "-c", "none", "--tolerance", "0.1", "--out", out, "--overwrite").code == 0
    figures = json.loads(ask(run, "hosting", files, "-c", "none", "--tolerance", "0.1", "--json").out)
    assert figures["rows"][0]["mw"] == Hosting.load(out).row("none").mw


def test_hosting_picks_the_day(run: Run, files: Path) -> None:
    code, printed, _ = ask(run, "hosting", files, "-c", "none", "--tolerance", "0.1", "--step", "3h")
    assert code == 0
    assert "window: the day of the data on which generation exceeds load most" in printed
    assert "8 steps of 180 min" in printed


def test_sweep(run: Run, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--set", "v_dead=0..0.02", "--set", "slope=5,20", "--samples", "4", "--seed", "2", "-b", "none")
    code, printed, err = ask(run, "sweep", files, *words, "--out", out)
    assert (code, err) == (0, "")
    assert max(map(len, printed.splitlines())) <= 120
    for text in ("v_dead", "slope", "losses", "none", "* least bus-steps out of band", "best: -c volt_var:curve="):
        assert text in printed
    assert sorted(p.name for p in out.iterdir()) == ["pareto.png", "sweep.csv", "sweep.json"]
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert len(Sweep.load(out).settings) == 4
    figures = json.loads(ask(run, "sweep", files, *words, "--json").out)
    assert figures["best"] == Sweep.load(out).best()["controller"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("-c", "nonne"), 3, "did you mean 'none'"),
        ((), 2, "no controller given"),
        (("-c", "none", "--scale", "some"), 3, "unknown scale"),
        (("-c", "none", "--max-factor", "0"), 2, "largest factor"),
        (("-c", "none", "--tolerance", "2"), 2, "tolerance must lie"),
        (("-c", "none", "--max-loading", "-5"), 2, "positive percentage"),
        (("-c", "none", "--max-curtailed", "-5"), 2, "0-100 %"),
        (("-c", "none", "--band", "1.05"), 2, "give LO,HI"),
        (("-c", "none", "--start", "2031-01-01"), 2, "do not lie inside the data"),
    ],
)
def test_hosting_refuses(
    run: Run, files: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    refused(ask(run, "hosting", files, *words, "--out", tmp_path / "out"), code, message, tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "empty space"),
        (("--set", "curv=mapdn"), 3, "did you mean 'curve'"),
        (("--set", "damping=0.3..0.1", "--samples", "3"), 2, "empty or inverted"),
        (("--set", "damping=0.1..0.3"), 2, "needs --samples"),
        (("--set", "v_dead=0.1", "--set", "v_sat=0.05"), 2, "no combination makes a controller"),
        ((*SWEEP, "--violations", "many"), 2, "bus_steps or excess"),
        ((*SWEEP, "--jobs", "0"), 2, "jobs must be"),
        (("-c", "volt_vra", *SWEEP), 3, "did you mean 'volt_var'"),
        ((*SWEEP, "-b", "nonne"), 3, "did you mean 'none'"),
    ],
)
def test_sweep_refuses(run: Run, files: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    refused(ask(run, "sweep", files, *words, "--out", tmp_path / "out"), code, message, tmp_path)
