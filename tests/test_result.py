"""Results survive the way to disk and back; damaged files say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import toy
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import ResultFileError
from feederlab.result import Result
from feederlab.simulate import RunOptions, simulate


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(toy.short(), VoltVar(curve="mapdn"), label="droop")


def test_round_trip(result: Result, tmp_path: Path) -> None:
    path = result.save(tmp_path / "deep" / "run.nc")
    back = Result.load(path)
    xr.testing.assert_identical(back.data, result.data)
    xr.testing.assert_identical(back.timing, result.timing)
    assert back.provenance == result.provenance
    assert [p.name for p in path.parent.iterdir()] == ["run.nc"]


@pytest.mark.parametrize("record", ["float32", "metrics"])
def test_round_trip_of_smaller_records(record: str, tmp_path: Path) -> None:
    made = simulate(toy.short(), VoltVar(curve="mapdn"), RunOptions(record=record))
    xr.testing.assert_identical(Result.load(made.save(tmp_path / "run.nc")).data, made.data)


def test_two_runs_are_equal_but_for_timing(result: Result) -> None:
    again = simulate(toy.short(), VoltVar(curve="mapdn"), label="droop")
    xr.testing.assert_identical(again.data, result.data)
    assert again.provenance == result.provenance


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file(result: Result, tmp_path: Path, share: float) -> None:
    path = result.save(tmp_path / "run.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ResultFileError, match="truncated or no feederlab result"):
        Result.load(path)


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError, match="no result file"):
        Result.load(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(ResultFileError, match="no feederlab result"):
        Result.load(tmp_path / "text.nc")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    with pytest.raises(ResultFileError, match="no feederlab result"):
        Result.load(tmp_path / "other.nc")


def test_other_format(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = result.save(tmp_path / "run.nc")
    monkeypatch.setattr("feederlab.result.FORMAT", 99)
    with pytest.raises(ResultFileError, match="format 1; this version reads format 99"):
        Result.load(path)


def test_nothing_is_left_of_a_failed_save(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(tmp_path / "run.nc")
    assert list(tmp_path.iterdir()) == []
