"""Comparisons: rows, bounds, parallel work, skipped rows, folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import toy
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.controllers.volt_watt import VoltWatt
from feederlab.errors import InputError, NotRadialError, ResultFileError, UnknownNameError
from feederlab.models.objective import Objective
from feederlab.record import Cell
from feederlab.simulate import RunOptions

PROMISED = [
    "controller", "information", "v_out_pct", "v_below_pct", "v_above_pct", "cr_pct", "v_dev_pu", "max_drop_pu",
    "max_rise_pu", "loss_mw", "line_loss_mw", "q_mean_mvar", "curtailed_mwh", "objective", "gap_pct",
    "gap_penalised_pct", "max_loading_pct", "decide_ms_p50", "decide_ms_p99", "fallbacks", "infeasible_steps",
    "infeasible_proven",
]  # fmt: skip


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(toy.short(), ["none", "volt_var:curve=mapdn", "lindistflow", "opf"])


def test_the_table_has_the_promised_columns_in_order(comparison: Comparison) -> None:
    table = comparison.table()
    assert list(table.columns[: len(PROMISED)]) == PROMISED
    assert list(table["controller"]) == ["none", "volt_var:curve=mapdn", "lindistflow", "opf"]
    assert list(table["information"]) == ["local", "local", "global", "global"]


def test_no_row_beats_the_bound_and_opf_meets_it(comparison: Comparison) -> None:
    table = comparison.table().set_index("controller")
    assert (table["certified_pct"] == 100).all()
    assert (table["gap_penalised_pct"] > -1e-4).all()
    assert abs(table.loc["opf", "gap_pct"]) < 1e-3
    assert table.loc["opf", "cr_pct"] == 100
    assert table.loc["none", "v_above_pct"] > 0
    assert table.loc["none", "gap_penalised_pct"] > 1
    assert table.loc["volt_var:curve=mapdn", "gap_pct"] > 1


def test_a_band_that_nothing_can_keep_is_proven_infeasible() -> None:
    scenario = toy.short(3).with_band(1.02, 1.05)
    row = compare(scenario, ["opf"]).table().iloc[0]
    low = scenario.with_band(0.5, 1.5)
    assert row["infeasible_steps"] == 3
    assert row["infeasible_proven"] == 3
    assert 0 < row["excess_bound"] <= row["excess_worst"] * (1 + 1e-6)
    assert compare(low, ["none"]).table().iloc[0]["infeasible_steps"] == 0


def test_a_curtailing_run_is_measured_against_a_bound_that_may_curtail() -> None:
    table = compare(toy.short(3), {"none": NoControl(), "volt_watt": VoltWatt(curve="1.03:1/1.1:0")}).table()
    table = table.set_index("controller")
    assert table.loc["volt_watt", "curtailed_mwh"] > 0
    assert table.loc["volt_watt", "certified_pct"] == 100
    assert table.loc["volt_watt", "gap_penalised_pct"] > -1e-4


def test_a_feeder_too_large_to_compile_is_refused_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feederlab.models.coneprogram._LARGEST_GIB", 1e-6)
    made = compare(toy.short(3), ["none", "socp"])
    table = made.table().set_index("controller")
    assert "too large for this optimisation" in table.loc["socp", "note"]
    assert np.isnan(table.loc["none", "gap_pct"])
    assert table.loc["none", "loss_mw"] > 0


def test_scenarios_windows_and_seeds_span_the_metrics() -> None:
    day = toy.scenario()
    made = compare(
        [day.window("2016-06-20 03:00", 2), day.window("2016-06-20 12:00", 2)],
        {"idle": NoControl(), "droop": VoltVar(curve="mapdn")},
        RunOptions(vm_noise=0.01),
        seeds=[1, 2],
        certificates=False,
    )
    assert dict(made.metrics.sizes) == {"controller": 2, "scenario": 1, "window": 2, "seed": 2}
    table = made.table()
    assert len(table) == 8
    assert list(table.columns[:3]) == ["controller", "window", "seed"]
    droop = table[table["controller"] == "droop"].pivot_table(index="window", columns="seed", values="q_mean_mvar")
    assert (droop[1] != droop[2]).all()
    assert made.run("droop", window="2016-06-20 12:00", seed=2).provenance["options"]["seed"] == 2
    with pytest.raises(ResultFileError, match="4 runs"):
        made.run("droop")
    with pytest.raises(UnknownNameError, match="did you mean 'droop'"):
        made.run("drop")


def test_a_row_that_cannot_work_is_skipped_and_says_why() -> None:
    meshed = toy.scenario(meshed=True).window("2016-06-20 12:00", 2)
    made = compare(meshed, ["none", "socp"])
    assert list(made.runs) == [Cell("none", "toy", "2016-06-20 12:00", 0)]
    row = made.table().set_index("controller").loc["socp"]
    assert "meshed" in row["note"]
    assert "opf" in row["note"]
    assert np.isnan(row["loss_mw"])
    assert np.isnan(made.table().iloc[0]["gap_pct"])
    with pytest.raises(NotRadialError, match="close a loop"):
        compare(meshed, ["socp"])
    with pytest.raises(InputError, match=r"(?s)no controller can work.*socp.*lindistflow"):
        compare(meshed, ["socp", "lindistflow"])


def test_save_and_load(comparison: Comparison, tmp_path: Path) -> None:
    folder = comparison.save(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["result.nc", "run.json", "runs", "table.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    back = Comparison.load(folder)
    xr.testing.assert_identical(back.metrics, comparison.metrics)
    assert back.runs.keys() == comparison.runs.keys()
    xr.testing.assert_identical(back.run("opf").data, comparison.run("opf").data)
    pd.testing.assert_frame_equal(back.table(), comparison.table())
    read = pd.read_csv(folder / "table.csv", keep_default_na=True)
    assert list(read.columns) == list(comparison.table().columns)


def test_skipped_rows_survive_the_way_to_disk(tmp_path: Path) -> None:
    made = compare(toy.scenario(meshed=True).window("2016-06-20 12:00", 2), ["none", "socp"], out=tmp_path / "out")
    assert dict(Comparison.load(tmp_path / "out").skipped) == dict(made.skipped)
    made.save(tmp_path / "out")


def test_a_folder_is_only_replaced_by_the_same_comparison_or_on_demand(tmp_path: Path) -> None:
    out, scenario = tmp_path / "out", toy.short(2)
    compare(scenario, ["none"], out=out, certificates=False)
    compare(scenario, ["none"], out=out, certificates=False)
    others = {
        "controllers": lambda: compare(scenario, ["volt_var"], out=out, certificates=False),
        "settings": lambda: compare(scenario, {"none": VoltVar()}, out=out, certificates=False),
        "band": lambda: compare(scenario.with_band(0.9, 1.1), ["none"], out=out, certificates=False),
        "options": lambda: compare(scenario, ["none"], RunOptions(delay=1), out=out, certificates=False),
    }
    for other in others.values():
        with pytest.raises(ResultFileError, match="result of another run"):
            other()
    assert list(Comparison.load(out).table()["controller"]) == ["none"]
    compare(scenario, ["volt_var"], out=out, overwrite=True, certificates=False)
    assert list(Comparison.load(out).table()["controller"]) == ["volt_var"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ResultFileError, match="holds files, and no comparison"):
            compare(toy.short(2), ["none"], out=tmp_path, overwrite=overwrite, certificates=False)
    with pytest.raises(ResultFileError, match="is a file"):
        compare(toy.short(2), ["none"], out=tmp_path / "thesis.txt", overwrite=True, certificates=False)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_folder_with_notes_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    def save(overwrite: bool) -> Comparison:
        return compare(
            toy.short(2), ["none"], out=tmp_path / "out", overwrite=overwrite, certificates=False,
            also=lambda _, path: path.joinpath("extra.png").touch(),
        )  # fmt: skip

    save(False)
    save(False)  # what `also` added is part of the comparison
    for name in ("notes.txt", "runs/mine.nc", "more/deep.txt"):
        mine = tmp_path / "out" / name
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("precious")
        for overwrite in (False, True):
            with pytest.raises(ResultFileError, match=mine.name):
                save(overwrite)
        assert mine.read_text() == "precious"
        mine.unlink()
    (tmp_path / "out" / "more").rmdir()
    save(True)


@pytest.mark.parametrize("text", ["{}", "", "[1]", '{"kind": "another"}', '{"format": 1, "kind": "something'])
def test_a_foreign_record_does_not_make_a_folder_ours(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultFileError, match="holds files, and no comparison"):
        compare(toy.short(2), ["none"], out=tmp_path, overwrite=True, certificates=False)
    assert (tmp_path / "run.json").read_text() == text


def test_any_label_can_be_saved(tmp_path: Path) -> None:
    labels = ["a/b", "a b", "a_b", "..", "", "\n", "ä", "x" * 300, "x" * 299 + "y"]
    made = compare(toy.short(2), {label: NoControl() for label in labels}, out=tmp_path / "out", certificates=False)
    back = Comparison.load(tmp_path / "out")
    assert back.runs.keys() == made.runs.keys()
    assert all(run.provenance["label"] == (cell.controller or "NoControl") for cell, run in back.runs.items())


def test_the_folder_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "deep")
    for out in (".", "", "..", tmp_path / "out"):
        with pytest.raises(ResultFileError, match="is the folder you are in, or holds it"):
            compare(toy.short(2), ["none"], out=out, certificates=False)


def test_a_link_leads_to_the_folder_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    compare(toy.short(2), ["none"], out=tmp_path / "out", certificates=False)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "run.json").is_file()


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(ResultFileError, match=r"cannot write .*HDF error.*is the disk full"):
        compare(toy.short(2), ["none"], out=tmp_path / "out", certificates=False)
    assert list(tmp_path.iterdir()) == []


def test_damaged_folders(comparison: Comparison, tmp_path: Path) -> None:
    whole = comparison.save(tmp_path / "whole")
    for name, message in (
        ("result.nc", r"result\.nc is missing, truncated"),
        ("run.json", r"run\.json is truncated"),
        ("runs/opf.nc", r"opf\.nc is truncated"),
    ):
        folder = shutil.copytree(whole, tmp_path / name.replace("/", "_"))
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ResultFileError, match=message):
            Comparison.load(folder)
        if name != "runs/opf.nc":
            with pytest.raises(ResultFileError, match=message):
                comparison.save(folder)
            comparison.save(folder, overwrite=True)
            assert Comparison.load(folder).runs.keys() == comparison.runs.keys()
    with pytest.raises(ResultFileError, match=r"no run\.json"):
        Comparison.load(tmp_path / "nowhere")


def test_nothing_half_written_when_a_picture_fails(comparison: Comparison, tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        comparison.save(tmp_path / "out", also=fail)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_step() -> None:
    seen: dict[str, int] = {}
    compare(
        toy.short(3), ["none", "volt_var"],
        progress=lambda what, done, total: seen.update({what: seen.get(what, 0) + done}),
    )  # fmt: skip
    assert seen == {"none": 3, "volt_var": 3, "lower bounds": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controllers": ["none", "none"]}, "given twice: none"),
        ({"controllers": []}, "at least one controller"),
        ({"controllers": ["volt_vra"]}, "did you mean 'volt_var'"),
        ({"jobs": 0}, "jobs must be"),
        ({"seeds": []}, "seeds must be"),
        ({"seeds": [1, 1]}, "seeds must be"),
        ({"scenario": []}, "at least one scenario"),
        ({"options": RunOptions(objective=Objective.parse("cost"))}, "cost"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    request = {"scenario": toy.short(2), "controllers": ["none"]} | change
    with pytest.raises(InputError, match=message):
        compare(**request)  # type: ignore[arg-type]


def test_two_scenarios_of_one_name_and_window() -> None:
    with pytest.raises(InputError, match="different names"):
        compare([toy.short(2), toy.short(3)], ["none"])
