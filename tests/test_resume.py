"""A study that is killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import toy
import toy_controllers
from command_line import Run
from equal import assert_equal
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import FeederlabError, ResultFileError
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

    asked.run(out=out, resume=True)
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
    begun = Unfinished(tmp_path / "out", record, resume=False, overwrite=False)
    with contextlib.suppress(KeyboardInterrupt), begun:
        begun.put("bounds-00000-000", xr.Dataset())
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


def test_a_failed_cell_is_tried_again_and_no_other(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    rows = {
        "none": NoControl(), "counting": toy_controllers.Counting(str(log)),
        "late": toy_controllers.Waiting(str(tmp_path / "ready")),
    }  # fmt: skip
    asked: dict[str, object] = {"seeds": [1], "chunk": "1h"}
    day = toy.scenario()
    windows = [day.window("2016-06-20 11:00", 5), day.window("2016-06-20 16:00", 5)]
    first = compare(windows, rows, **asked, out=out)  # type: ignore[arg-type]
    assert {cell.controller for cell in first.failed} == {"late"}
    begun = runs(log)
    again = compare(windows, rows, **asked, out=out, resume=True)  # type: ignore[arg-type]
    assert dict(again.failed) == dict(first.failed)

    (tmp_path / "ready").touch()
    whole = compare(windows, rows, **asked, out=out, resume=True)  # type: ignore[arg-type]
    assert not whole.failed
    assert runs(log) == begun
    assert_equal(Comparison.load(out), whole)
    at_once = compare(windows, rows, **asked)  # type: ignore[arg-type]
    assert list(whole.runs) == list(at_once.runs)
    for cell, run in at_once.runs.items():
        xr.testing.assert_identical(whole.runs[cell].data, run.data)
        bounds = (one.certificate["bound"] for one in (run, whole.runs[cell]) if one.certificate is not None)
        np.testing.assert_allclose(*bounds, rtol=1e-5)  # as tight as what was known when they were computed


def test_a_request_that_cannot_work_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FeederlabError, match="third step"):
        compare(toy.short(4), {"row": toy_controllers.Breaking()}, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    compare(toy.short(4), {"row": NoControl()}, out=tmp_path / "out", certificates=False)


def test_other_arguments_are_another_comparison(tmp_path: Path) -> None:
    compare(toy.short(4), {"none": NoControl()}, out=tmp_path / "out", certificates=False)
    with pytest.raises(ResultFileError, match="result of another run"):
        compare(toy.short(4), {"none": NoControl()}, out=tmp_path / "out", resume=True)


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    rows = {"none": NoControl()}
    compare(toy.short(4), rows, out=tmp_path / "out", certificates=False)
    for name in (".out.abcd1234.part", ".out.abcd1234.old", ".out.b.abcd1234.part", ".out.mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    compare(toy.short(4), rows, out=tmp_path / "out", certificates=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.b.abcd1234.part", ".out.mine", "out"]
    # killed between moving the old folder aside and putting the new one in its place
    (tmp_path / "out").rename(tmp_path / ".out.abcd1234.old")
    with pytest.raises(ResultFileError, match="result of another run"):
        compare(toy.short(4), {"droop": VoltVar()}, out=tmp_path / "out", certificates=False)
    assert Comparison.load(tmp_path / "out").runs


def test_ctrl_c_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    net = toy.write_files(tmp_path / "files")
    monkeypatch.setattr(Study, "run", stopped)
    answer = run("compare", net, "--profiles", net.parent / "profiles", "-c", "none", "--out", tmp_path / "out")
    assert answer.code == 130
    assert "the same command with --resume goes on" in answer.err
