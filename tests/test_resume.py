"""A study that is killed goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import toy
import toy_controllers
from equal import assert_equal
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.controllers.none import NoControl
from feederlab.errors import ResultFileError
from feederlab.study import ScenarioChoice, Study
from feederlab.unfinished import Unfinished

TESTS = Path(__file__).parent


def study(net: Path, log: Path, pause: float) -> Study:
    counting = f"toy_controllers:Counting:log={log},pause={pause}"
    choice = ScenarioChoice(str(net), profiles=str(net.parent / "profiles"))
    return Study((choice,), {"none": "none", counting: counting}, chunk="3h")


def begin_elsewhere(asked: Study, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    rows = [word for spec in asked.controllers for word in ("-c", spec)]
    net = asked.scenarios[0]
    command = [sys.executable, "-m", "feederlab", "compare", net.name, "--profiles", str(net.profiles)]
    command += ["--chunk", asked.chunk, *rows, "--out", str(out), "--jobs", str(jobs)]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(command, env=env, start_new_session=True)


def runs(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_and_resume(tmp_path: Path, jobs: int) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    asked = study(toy.write_files(tmp_path / "files"), log, 0.02)
    killed = begin_elsewhere(asked, out, jobs)
    done = tmp_path / "out.unfinished" / "done"
    until = time.monotonic() + 120
    while len(list(done.glob("run-00001-*.nc"))) < 2 and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in done.glob("run-*.nc")}
    counted = len([name for name in finished if name.startswith("run-00001")])
    assert 2 <= counted < 8
    assert not out.exists()
    begun = runs(log)

    with pytest.raises(ResultFileError, match="of this comparison: give --resume to go on"):
        asked.run(out=out)
    assert {path.name: path.stat().st_mtime_ns for path in done.glob("run-*.nc")} == finished

    asked.run(out=out, resume=True, jobs=jobs)
    assert runs(log) - begun == 8 - counted, "a finished part was computed again"
    assert not done.parent.exists()
    assert_equal(Comparison.load(out), asked.run(), tolerance=1e-7)


def test_resuming_what_is_complete_returns_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    rows = {"none": NoControl(), "counting": toy_controllers.Counting(str(log))}
    made = compare(toy.short(8), rows, chunk="1h", out=tmp_path / "out", resume=True)
    again = compare(toy.short(8), rows, chunk="1h", out=tmp_path / "out", resume=True)
    assert runs(log) == 2
    assert_equal(again, made)


def test_bounds_are_not_computed_again_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_picture(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(toy.short(8), {"none": NoControl()}, chunk="1h", out=tmp_path / "out", also=no_picture)
    assert len(list((tmp_path / "out.unfinished" / "done").glob("bounds-*.nc"))) == 2
    monkeypatch.delattr(sys.modules["feederlab.certify"], "lower_bounds")
    made = compare(toy.short(8), {"none": NoControl()}, chunk="1h", out=tmp_path / "out", resume=True)
    monkeypatch.undo()
    assert_equal(made, compare(toy.short(8), {"none": NoControl()}, chunk="1h"), tolerance=1e-9)


def test_unfinished_work_of_another_comparison_is_not_touched(tmp_path: Path) -> None:
    record = {"cells": [], "versions": {"numpy": "2.0"}}
    with pytest.raises(KeyboardInterrupt), Unfinished(tmp_path / "out", record, resume=False, overwrite=False):
        raise KeyboardInterrupt
    for resume in (False, True):
        with pytest.raises(ResultFileError, match=r"unfinished work of another comparison.*--overwrite"):
            compare(toy.short(4), {"none": NoControl()}, out=tmp_path / "out", resume=resume)
    other = {**record, "versions": {"numpy": "2.1"}}
    with (
        pytest.raises(ResultFileError, match="begun with other versions of numpy"),
        Unfinished(tmp_path / "out", other, resume=True, overwrite=False),
    ):
        pass
    compare(toy.short(4), {"none": NoControl()}, out=tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out.unfinished").exists()


def test_two_processes_do_not_work_on_the_same_study(tmp_path: Path) -> None:
    record = {"cells": [], "versions": {}}
    first = Unfinished(tmp_path / "out", record, resume=True, overwrite=False)
    second = Unfinished(tmp_path / "out", record, resume=True, overwrite=False)
    with first, pytest.raises(ResultFileError, match="another process is at work on"), second:
        pass


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "letter.txt").write_text("dear")
    with pytest.raises(ResultFileError, match="no unfinished comparison"):
        compare(toy.short(4), {"none": NoControl()}, out=tmp_path / "out", overwrite=True)
    assert (tmp_path / "out.unfinished" / "letter.txt").read_text() == "dear"
