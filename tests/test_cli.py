"""The command line: what it prints, what it writes, and how it refuses bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from rich.console import Console

import toy
from command_line import Run, refused
from feederlab.comparison import Comparison
from feederlab.metrics import METRICS
from feederlab.report.table import comparison_table


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.json and profiles/."""
    return toy.write_files(tmp_path_factory.mktemp("files")).parent


def compare_words(files: Path, *words: object, controllers: tuple[str, ...] = ("none",)) -> list[object]:
    chosen = [word for name in controllers for word in ("-c", name)]
    return ["compare", files / "net.json", "--profiles", files / "profiles", "--step", "3h", *chosen, *words]


def test_lists(run: Run) -> None:
    for verb, some in (("scenarios", ["mapdn33", "sce47", "cigre_lv"]), ("controllers", ["none", "volt_var", "opf"])):
        code, out, _ = run(verb)
        assert code == 0
        assert all(name in out for name in some)
        assert set(some) <= set(json.loads(run(verb, "--json").out))


def test_show(run: Run, files: Path, tmp_path: Path) -> None:
    picture = tmp_path / "feeder.png"
    code, out, _ = run("show", files / "net.json", "--profiles", files / "profiles", "--plot", picture)
    assert code == 0
    for words in ("33 buses", "32 branches", "radial", "3 inverters", "12.66 kV", "base losses", "2016-06-20"):
        assert words in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    figures = json.loads(run("show", files / "net.json", "--profiles", files / "profiles", "--json").out)
    grid = toy.net()
    grid.sgen["in_service"] = False
    pp.runpp(grid, numba=False)
    assert figures["base_losses_mw"] == pytest.approx(float(grid.res_line.pl_mw.sum()), abs=1e-7)
    assert figures["base_vm_max_pu"] == pytest.approx(float(grid.res_bus.vm_pu.max()), abs=1e-8)
    assert figures["base_low_bus"] == int(grid.res_bus.vm_pu.idxmin())
    load = toy.profiles(grid)["load", "p_mw"].sum(axis=1)
    assert figures["peak_load_mw"] == pytest.approx(load.max())
    assert figures["peak_load_at"] == f"{load.idxmax():%Y-%m-%d %H:%M}"


def test_compare_writes_everything(run: Run, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    controllers = ("none", "volt_var:curve=ieee1547_b", "lindistflow")
    code, printed, err = run(*compare_words(files, "--out", out, controllers=controllers))
    assert (code, err) == (0, "")
    assert max(map(len, printed.splitlines())) <= 120
    assert all(label in printed for label in controllers)
    assert sorted(p.name for p in out.iterdir()) == ["result.nc", "run.json", "runs", "table.csv", "voltages.png"]
    assert (out / "voltages.png").read_bytes().startswith(b"\x89PNG")
    assert list(pd.read_csv(out / "table.csv")["controller"]) == list(controllers)
    assert Comparison.load(out).run("none").data.sizes["time"] == 8


def test_replay_repeats_a_comparison(run: Run, files: Path, tmp_path: Path) -> None:
    words = ("--noise", "0.01", "--seed", "7", "--mismatch", "0.1", "--band", "0.96,1.04", "--delay", "1")
    run(*compare_words(files, *words, "--out", tmp_path / "one", controllers=("volt_var", "lindistflow")))
    code, _, err = run("compare", "--replay", tmp_path / "one" / "run.json", "--out", tmp_path / "two")
    assert (code, err) == (0, "")
    one, two = (Comparison.load(tmp_path / name) for name in ("one", "two"))
    assert dict(one.record) == dict(two.record)
    options = one.run("volt_var").provenance["options"]
    assert (options["seed"], options["mismatch"], options["vm_noise"], options["delay"]) == (7, 0.1, 0.01, 1)
    np.testing.assert_array_equal(one.run("volt_var").data["q_mvar"], two.run("volt_var").data["q_mvar"])
    np.testing.assert_allclose(one.run("lindistflow").data["vm_pu"], two.run("lindistflow").data["vm_pu"], atol=1e-7)


def test_replay_says_when_the_data_have_changed(run: Run, tmp_path: Path) -> None:
    net = toy.write_files(tmp_path / "mine")
    run(*compare_words(net.parent, "--out", tmp_path / "one"))
    path = net.parent / "profiles" / "load.p_mw.csv"
    (pd.read_csv(path, index_col=0) * 0.9).to_csv(path)
    code, _, err = run("compare", "--replay", tmp_path / "one" / "run.json", "--out", tmp_path / "two")
    assert code == 0
    assert "warning: the scenario's data are not those of the recorded comparison" in err


@pytest.mark.parametrize("words", [("--days", "2"), ("--objective", "losses"), ("--seed", "0"), ("--noise", "0.1")])
def test_replay_takes_no_option_of_a_study(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    answer = run("compare", "--replay", tmp_path / "run.json", *words)
    refused(answer, 2, f"as it was: give no {words[0]} with it", tmp_path)


def test_replay_of_a_record_without_its_parts(run: Run, files: Path, tmp_path: Path) -> None:
    run(*compare_words(files, "--out", tmp_path / "one"))
    path = tmp_path / "one" / "run.json"
    record = json.loads(path.read_text())
    for part in ("scenarios", "versions", "cells"):
        path.write_text(json.dumps({name: value for name, value in record.items() if name != part}))
        refused(run("compare", "--replay", path), 6, f"{part} missing", tmp_path, left=["one"])
    path.write_text(json.dumps(record | {"scenarios": [{}]}))
    refused(run("compare", "--replay", path), 6, "scenarios[0] missing", tmp_path, left=["one"])


def test_a_replay_over_its_own_folder_still_says_what_changed(run: Run, files: Path, tmp_path: Path) -> None:
    run(*compare_words(files, "--out", tmp_path / "one"))
    path = tmp_path / "one" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"versions": {}}))
    code, _, err = run("compare", "--replay", path, "--out", tmp_path / "one")
    assert code == 0
    assert "versions differ" in err


def test_notes_on_the_data_are_shown_and_kept(run: Run, files: Path) -> None:
    words = ("compare", files / "net.json", "--step", "6h", "-c", "none")
    code, out, _ = run(*words)
    assert code == 0
    assert "note: no profiles given" in out
    assert "no profiles given" in json.loads(run(*words, "--json").out)["record"]["scenarios"][0]["notes"][0]


def test_markup_in_a_title_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({"controller": ["none"], "note": [""]} | {metric.name: [1.0] for metric in METRICS})
    Console(width=120).print(comparison_table(rows, title="[red]feeder[/blue]"))
    assert "[red]feeder[/blue]" in capsys.readouterr().out


def test_json_holds_every_figure_and_is_strict(run: Run, files: Path) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    answer = json.loads(run(*compare_words(files, "--json")).out, parse_constant=no_constant)
    assert answer["rows"][0]["controller"] == "none"
    assert answer["rows"][0]["loss_mw"] > 0
    assert answer["rows"][0]["max_loading_pct"] is None
    assert answer["record"]["request"]["controllers"] == {"none": "none"}


def test_a_skipped_row_is_shown_with_its_reason(run: Run, tmp_path: Path) -> None:
    meshed = toy.write_files(tmp_path / "meshed", toy.net(meshed=True)).parent
    code, out, _ = run(*compare_words(meshed, controllers=("none", "socp")))
    assert code == 0
    assert "socp: not applicable: the feeder is meshed" in out.replace("\n", " ")
    code, _, err = run(*compare_words(meshed, "--out", tmp_path / "out", controllers=("socp",)))
    assert code == 5
    assert "line 35 close a loop" in err
    assert "'opf'" in err
    assert not (tmp_path / "out").exists()


def test_opf(run: Run) -> None:
    answer = json.loads(run("opf", "case9", "--json").out)
    assert answer["converged"] is True
    assert answer["objective"] == pytest.approx(5296.686, rel=1e-6)
    code, out, _ = run("opf", "case9", "--objective", "losses")
    assert code == 0
    assert "losses" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--band", "1.05,0.95"), 2, "empty or inverted"),
        (("--band", "1.0,1.0"), 2, "empty or inverted"),
        (("--band", "low"), 2, "give LO,HI"),
        (("--days", "0"), 2, "days must be positive"),
        (("--days", "-1"), 2, "days must be positive"),
        (("--step", "7min"), 2, "does not divide a day"),
        (("--step", "often"), 2, "no duration"),
        (("--start", "2031-01-01"), 2, "do not lie inside the data"),
        (("--start", "someday"), 2, "is no date"),
        (("--days", "3"), 2, "do not lie inside the data"),
        (("-c", "volt_vra"), 3, "did you mean 'volt_var'"),
        (("-c", "volt_var:curv=mapdn"), 3, "did you mean 'curve'"),
        (("-c", "volt_var:curve=mapnd"), 3, "did you mean 'mapdn'"),
        (("-c", "none"), 2, "given twice"),
        (("--objective", "loses"), 3, "did you mean 'losses'"),
        (("--objective", "losses=many"), 2, "'many' is no number"),
        (("--objective", "cost"), 2, "cost"),
        (("--mismatch", "2"), 2, "mismatch"),
        (("--noise", "-1"), 2, "not negative"),
        (("--profile-noise", "-1"), 2, "not negative"),
        (("--record", "some"), 2, "record must be"),
        (("--jobs", "0"), 2, "jobs must be"),
    ],
)
def test_bad_options(run: Run, files: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    refused(run(*compare_words(files, *words, "--out", tmp_path / "out")), code, message, tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("mapdn34",), 3, "did you mean 'mapdn33'"),
        (("missing.json",), 2, "missing.json"),
        (("missing.m",), 2, "missing.m"),
    ],
)
def test_unknown_scenarios(run: Run, tmp_path: Path, words: tuple[str, ...], code: int, message: str) -> None:
    refused(run("compare", *words, "-c", "none", "--out", tmp_path / "out"), code, message, tmp_path)
    refused(run("show", *words), code, message, tmp_path)


def test_missing_words(run: Run, files: Path, tmp_path: Path) -> None:
    refused(run("compare", "-c", "none"), 2, "give a scenario", tmp_path)
    refused(run(*compare_words(files, controllers=())), 2, "no controller given", tmp_path)
    refused(run(*compare_words(files, "--replay", "x")), 2, "give no scenario", tmp_path)
    refused(run("compare", "--replay", tmp_path / "run.json"), 6, "no run.json", tmp_path)


def test_output_folder_of_another_run_and_truncated_result(run: Run, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*compare_words(files, "--out", out)).code == 0
    code, _, err = run(*compare_words(files, "--out", out, controllers=("volt_var",)))
    assert code == 6
    assert "result of another run" in err
    content = (out / "result.nc").read_bytes()
    (out / "result.nc").write_bytes(content[:1000])
    code, _, err = run(*compare_words(files, "--out", out))
    assert code == 6
    assert "result.nc is missing, truncated" in err
    assert run(*compare_words(files, "--out", out, "--overwrite", controllers=("volt_var",))).code == 0
    assert list(Comparison.load(out).table()["controller"]) == ["volt_var"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("")
    assert run(*compare_words(files, "--out", tmp_path / "other", "--overwrite")).code == 6


def _island(net: Any) -> None:
    net.line.loc[10, "in_service"] = False


def _no_slack(net: Any) -> None:
    net.ext_grid["in_service"] = False


def _two_slacks(net: Any) -> None:
    pp.create_ext_grid(net, 17)


def _negative_resistance(net: Any) -> None:
    net.line.loc[4, "r_ohm_per_km"] = -0.1


def _no_rating(net: Any) -> None:
    net.sgen.loc[1, "sn_mva"] = np.nan


def _small_rating(net: Any) -> None:
    net.sgen.loc[1, "sn_mva"] = 0.1


def _storage_without_energy(net: Any) -> None:
    pp.create_storage(net, 5, p_mw=0.0, max_e_mwh=np.nan, sn_mva=0.1, soc_percent=50, controllable=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_island, "no external grid reaches these buses"),
        (_no_slack, "no slack"),
        (_two_slacks, "two slacks"),
        (_negative_resistance, "line.r_ohm_per_km[4]"),
        (_no_rating, "sgen.sn_mva[1]"),
        (_small_rating, "sgen.sn_mva[1]"),
        (_storage_without_energy, "storage.max_e_mwh[0]"),
    ],
)
def test_bad_nets(run: Run, tmp_path: Path, spoil: Callable[[Any], None], message: str) -> None:
    net = toy.net()
    data = toy.profiles(net)
    spoil(net)
    toy.write_files(tmp_path / "mine", net, data)
    words = compare_words(tmp_path / "mine", "--out", tmp_path / "out")
    refused(run(*words), 4, message, tmp_path, left=["mine"])


def _edit(column: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / f"{column}.csv"
        change(pd.read_csv(path, index_col=0)).to_csv(path)

    return edit


def _with_nan(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[5, 2] = np.nan
    return frame


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_edit("load.p_mw", _with_nan), "load.p_mw.csv, line 7, column 2: a value is missing"),
        (_edit("sgen.p_mw", lambda frame: frame.iloc[:, 1:]), "sgen.p_mw[0]: the profile has no column"),
        (_edit("load.q_mvar", lambda frame: frame.drop(frame.index[7])), "load.q_mvar: a gap"),
        (_edit("load.q_mvar", lambda frame: frame.iloc[:50]), "load.q_mvar: 50 rows"),
        (_edit("load.p_mw", lambda frame: frame.rename(columns={"3": "300"})), "load.p_mw[300]: the net has no load"),
        (_edit("load.p_mw", lambda frame: 1000 * frame), "divide by 1000"),
        (lambda folder: (folder / "lod.p_mw.csv").write_text("time,0\n"), "did you mean 'load.p_mw'"),
    ],
)
def test_bad_profiles(run: Run, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    toy.write_files(tmp_path / "mine")
    spoil(tmp_path / "mine" / "profiles")
    words = compare_words(tmp_path / "mine", "--out", tmp_path / "out")
    refused(run(*words), None, message, tmp_path, left=["mine"])


def test_broken_pictures_and_unwritable_folders(run: Run, files: Path, tmp_path: Path) -> None:
    refused(run("show", files / "net.json", "--plot", tmp_path / "a.docx"), 2, "use an ending such as", tmp_path)
    refused(run("show", files / "net.json", "--plot", tmp_path / "b" / "a.png"), 2, "does not exist", tmp_path)
    (tmp_path / "file").write_text("")
    words = compare_words(files, "--out", tmp_path / "file" / "out")
    refused(run(*words), None, "file", tmp_path, left=["file"])


def test_the_installed_script_shows_no_traceback() -> None:
    words = [str(Path(sys.executable).with_name("feederlab")), "compare", "case33", "-c", "nonne"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("error: unknown controller 'nonne': did you mean 'none'?")
    assert "Traceback" not in done.stderr
