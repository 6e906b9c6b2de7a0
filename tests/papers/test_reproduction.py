"""What a reproduction gives, how it is saved, and where it refuses to write."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

import toy
from feederlab.errors import ResultFileError
from feederlab.papers.reproduction import How, Reproduced, Reproduction, Row
from feederlab.simulate import RunOptions


@dataclass(frozen=True)
class Toy(Reproduction):
    """One comparison on the toy feeder; breaks where it is told to."""

    name: ClassVar[str] = "toy"
    citation: ClassVar[str] = "nobody, never"
    folder: str = "runs-of-toy"
    periods: int = 2
    breaks: bool = False

    def compute(self, how: How) -> Reproduced:
        runs = how.compare(self.folder, [toy.short(self.periods)], ("none",), RunOptions(record="metrics"))
        if self.breaks:
            raise KeyboardInterrupt
        loss = float(runs.metrics["loss_mw"].squeeze())
        rows = (
            Row("toy", "none", "losses", "MW", 0.1, "Table 1", loss, 3, why="other feeder [1]"),
            Row("toy", "learner", "CR", "%", 97.0, "Table 1", math.nan, 1),
        )
        tables = {"Every row | all": pd.DataFrame([{"row": "none", "losses MW": loss, "gap": math.nan, "steps": 2}])}
        return Reproduced(self.name, self.citation, self.values(), rows, tables, ("a note",), 1.5, {self.folder: runs})


def test_saved_and_read_again(tmp_path: Path) -> None:
    found = Toy().run(How(out=tmp_path / "out"))
    read = Reproduced.load(tmp_path / "out")
    pd.testing.assert_frame_equal(read.frame(), found.frame())
    assert read.to_dict() == found.to_dict()
    assert json.loads((tmp_path / "out" / "reproduction.json").read_text())["rows"][1]["reproduced"] is None
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert table["reproduced"][0] == pytest.approx(found.rows[0].reproduced)
    assert (tmp_path / "out" / "tables" / "every-row-all.csv").is_file()
    run = read.comparisons["runs-of-toy"].run("none")
    assert run.certificate is not None
    assert float(run.data["losses_mw"].mean()) == pytest.approx(found.rows[0].reproduced)


def test_agreement_is_at_the_digits_reported() -> None:
    row = Row("a", "b", "c", "", 0.069, "", 0.0694, 3)
    assert row.agrees
    assert not Row("a", "b", "c", "", 0.069, "", 0.0696, 3).agrees
    assert not Row("a", "b", "c", "", 0.069, "", math.nan, 3).agrees


def test_the_same_again_and_other_settings(tmp_path: Path) -> None:
    out = tmp_path / "out"
    Toy().run(How(out=out))
    Toy().run(How(out=out))
    other = Toy(folder="other", periods=3)
    with pytest.raises(ResultFileError, match="holds toy with other settings"):
        other.run(How(out=out))
    assert Reproduced.load(out).settings["periods"] == 2
    other.run(How(out=out, overwrite=True))
    assert Reproduced.load(out).settings["periods"] == 3
    assert sorted(path.name for path in out.iterdir()) == ["other", "reproduction.json", "table.csv", "tables"]


def test_overwrite_spares_what_is_not_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    Toy().run(How(out=out))
    (out / "runs-of-toy" / "thesis.docx").write_text("years of work")
    with pytest.raises(ResultFileError, match=r"thesis\.docx"):
        Toy(folder="other", periods=3).run(How(out=out, overwrite=True))
    assert (out / "runs-of-toy" / "thesis.docx").is_file()


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResultFileError, match=r"no reproduction\.json"):
        Toy().run(How(out=tmp_path, overwrite=True))
    with pytest.raises(ResultFileError, match="is a file"):
        Toy().run(How(out=tmp_path / "notes.txt"))
    with pytest.raises(ResultFileError, match=r"no reproduction\.json"):
        Reproduced.load(tmp_path / "absent")
    for text, message in (
        ("{", "truncated"),
        ("[]", "no record of a feederlab reproduction"),
        ('{"kind": "feederlab reproduction", "format": 99}', "format 99"),
        ('{"kind": "feederlab reproduction", "format": 1, "name": "toy"}', "finished, settings missing"),
    ):
        (tmp_path / "reproduction.json").write_text(text)
        with pytest.raises(ResultFileError, match=message):
            Reproduced.load(tmp_path)


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        Toy(breaks=True).run(How(out=out))
    with pytest.raises(ResultFileError, match="unfinished"):
        Reproduced.load(out)
    monkeypatch.setattr(Toy, "values", lambda self: {"folder": self.folder})  # the two differ in where they break only
    (out / "reproduction.json").write_text(
        json.dumps(json.loads((out / "reproduction.json").read_text()) | {"settings": Toy().values()})
    )
    monkeypatch.setattr("feederlab.plan.Run.__call__", lambda *args: pytest.fail("a finished run was computed again"))
    Toy().run(How(out=out, resume=True))
    assert Reproduced.load(out).rows[0].reproduced > 0
