"""Pieces of work in this process, in others, and on Ray: what breaks or dies stops no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import toy
import toy_controllers
from equal import assert_equal
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.none import NoControl
from feederlab.controllers.opf import Opf
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import FeederlabError, InputError, UnknownNameError

ROWS = {"none": NoControl(), "droop": VoltVar(curve="mapdn"), "lindistflow": LinDistFlow(), "opf": Opf()}


@pytest.fixture(scope="module")
def serial() -> Comparison:
    return compare(toy.short(12), ROWS, chunk="1h")


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[None]:
    """A real local cluster of two workers that find the tests' own modules."""
    import ray

    tests = str(Path(__file__).parent)
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": tests}},
    )  # fmt: skip
    yield
    ray.shutdown()


def test_a_broken_cell_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    made = compare(toy.short(5), {"none": NoControl(), "broken": toy_controllers.Breaking()}, out=tmp_path / "out")
    table = made.table().set_index("controller")
    assert table.loc["broken", "note"] == "failed: ZeroDivisionError: a slip of the third step"
    assert table.loc["none", "note"] == ""
    assert table.loc["none", "loss_mw"] > 0
    again = Comparison.load(tmp_path / "out")
    assert dict(again.failed) == dict(made.failed)
    assert again.runs.keys() == made.runs.keys()
    assert not (tmp_path / "out.unfinished").exists()


def test_when_every_cell_breaks_the_reason_is_the_error() -> None:
    with pytest.raises(FeederlabError, match="broken: ZeroDivisionError: a slip of the third step"):
        compare(toy.short(5), {"broken": toy_controllers.Breaking()})


def test_processes_give_the_serial_result(serial: Comparison) -> None:
    seen = Counter[str]()
    tell: Any = lambda what, done, total: seen.update({what: done})  # noqa: E731
    parallel = compare(toy.short(12), ROWS, chunk="1h", jobs=2, progress=tell)
    assert seen == dict.fromkeys([*ROWS, "lower bounds"], 12)
    assert_equal(parallel, serial, tolerance=1e-7)
    for label in ("none", "droop"):
        xr.testing.assert_identical(parallel.run(label).data, serial.run(label).data)
    assert dict(parallel.record) == dict(serial.record)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    rows = {"none": NoControl(), "killed": toy_controllers.Killing(str(tmp_path / "deaths"), times=1)}
    made = compare(toy.short(8), rows, chunk="1h", jobs=2, certificates=False)
    assert len(list((tmp_path / "deaths").iterdir())) == 1
    assert not made.failed
    calm = {"none": NoControl(), "killed": toy_controllers.Killing(str(tmp_path / "none"), times=0)}
    assert_equal(made, compare(toy.short(8), calm, chunk="1h", certificates=False))


def test_a_piece_that_always_kills_its_process_is_found_out(tmp_path: Path) -> None:
    rows = {"none": NoControl(), "killer": toy_controllers.Killing(str(tmp_path / "deaths"), times=99)}
    made = compare(toy.short(4), rows, jobs=2, certificates=False)
    table = made.table().set_index("controller")
    assert "its process died" in table.loc["killer", "note"]
    assert table.loc["none", "loss_mw"] > 0


def test_ray_gives_the_serial_result(serial: Comparison, ray_of_two: None) -> None:
    assert_equal(compare(toy.short(12), ROWS, chunk="1h", backend="ray", jobs=2), serial, tolerance=1e-7)


def test_ray_loses_nothing_with_a_worker(tmp_path: Path, ray_of_two: None) -> None:
    rows = {"none": NoControl(), "killed": toy_controllers.Killing(str(tmp_path / "deaths"), times=1)}
    made = compare(toy.short(8), rows, chunk="1h", backend="ray", certificates=False)
    assert len(list((tmp_path / "deaths").iterdir())) == 1
    assert not made.failed
    calm = {"none": NoControl(), "killed": toy_controllers.Killing(str(tmp_path / "none"), times=0)}
    assert_equal(made, compare(toy.short(8), calm, chunk="1h", certificates=False))


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"jobs": 0}, InputError, "jobs must be a positive number"),
    ({"backend": "rey"}, UnknownNameError, "did you mean 'ray'"),
    ({"chunk": "10min"}, InputError, "no whole number of steps"),
    ({"chunk": "7"}, InputError, "no unit"),
    ({"resume": True}, InputError, "nothing to resume"),
])  # fmt: skip
def test_bad_options(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compare(toy.short(4), {"none": NoControl()}, **options)  # type: ignore[arg-type]
