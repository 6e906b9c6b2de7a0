"""Study files: what they ask for, every fault with its key and line, and `feederlab run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import toy
from command_line import Answer
from feederlab import read_study
from feederlab.comparison import Comparison
from feederlab.errors import FeederlabError, InputError
from feederlab.study import Study

EXAMPLES = Path(__file__).parents[1] / "examples"
Run = Callable[..., Answer]

STUDY = """\
title = "Noise"
seeds = [3, 4]
objective = "losses=1+voltage_deviation=0.1"
certificates = false

[[scenarios]]
name = "net.json"
label = "toy"
profiles = "profiles"
band = [0.96, 1.04]

[controllers]
none = "none"
"my droop" = "volt_var:curve=mapdn"

[windows]
random = { count = 2, periods = 2, seed = 5 }

[options]
vm_noise = 0.01
delay = 1

[statistics]
reference = "none"
metrics = ["loss_mw"]
resamples = 500
correction = "fdr_bh"

[output]
folder = "out"
record = "float32"
"""


RANDOM = "random = { count = 2, periods = 2, seed = 5 }"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.json, profiles/ and study.toml."""
    made = toy.write_files(tmp_path_factory.mktemp("study")).parent
    (made / "study.toml").write_text(STUDY)
    return made


def faults(folder: Path, text: str) -> list[str]:
    """Every line of the message after its head."""
    path = folder / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_study(path).load()
    head, *lines = str(caught.value).split("\n")
    assert head in {f"{len(lines)} problem{'s' * (len(lines) > 1)} in {path}:", str(caught.value)}
    return lines or [head]


def test_a_study_runs_prints_and_is_kept(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # paths start from the study's own folder
    code, printed, err = run("run", folder / "study.toml")
    assert (code, err) == (0, "")
    for words in ("Noise", "my droop", "±", "differences from none", "Benjamini-Hochberg", "significance.csv"):
        assert words in printed
    assert max(map(len, printed.splitlines())) <= 120
    made = Comparison.load(folder / "out")
    assert dict(made.metrics.sizes) == {"controller": 2, "scenario": 1, "window": 2, "seed": 2}
    options = made.run("my droop", window=str(made.metrics["window"].values[0]), seed=4).provenance["options"]
    assert (options["vm_noise"], options["delay"], options["seed"]) == (0.01, 1, 4)
    tests = pd.read_csv(folder / "out" / "significance.csv")
    assert list(tests["pairs"]) == [2]
    assert tests["p"][0] == made.significance("none", ["loss_mw"])["p"][0]
    summary = pd.read_csv(folder / "out" / "summary.csv").set_index(["controller", "metric"])
    assert summary.loc[("none", "loss_mw"), "mean"] == pytest.approx(float(made.metrics["loss_mw"][0].mean()))

    asked = Study.from_record(folder / "out")  # the record knows its study
    assert asked == read_study(folder / "study.toml").study
    again = asked.run()
    np.testing.assert_array_equal(again.metrics["loss_mw"], made.metrics["loss_mw"])
    assert dict(again.record) == dict(made.record)


def test_check_runs_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    code, printed, err = run("run", folder / "study.toml", "--check", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "runs: 8 (rows 2 x windows 2 x seeds 2), 16 steps in all" in printed
    answer = json.loads(run("run", folder / "study.toml", "--check", "--json").out)
    assert (answer["cells"], answer["steps"]) == (8, 16)
    assert not list(tmp_path.iterdir())


def test_a_list_of_rows_dates_and_defaults(folder: Path) -> None:
    path = folder / "short.toml"
    path.write_text(
        'scenarios = [{ name = "net.json", profiles = "profiles" }]\ncontrollers = ["none", "volt_var"]\n'
        "windows = { starts = [2016-06-20, 2016-06-20T13:00:00], periods = 2 }\n"
    )
    asked = read_study(path)
    assert asked.study.controllers == {"none": "none", "volt_var": "volt_var"}
    assert asked.study.seeds == (0,)
    assert [str(one.start) for one in asked.load()] == ["2016-06-20 00:00:00", "2016-06-20 13:00:00"]
    assert read_study(path).study.scenarios[0].name == str(folder / "net.json")


def test_every_fault_at_once_with_key_and_line(folder: Path) -> None:
    text = (
        STUDY.replace("objective =", "objectiv =").replace("[3, 4]", "[3,\n  -4]").replace("=mapdn", "=mapnd")
        .replace("count = 2", "count = 0").replace("delay = 1", "delay = 1.5").replace('"fdr_bh"', '"fdr"')
        .replace("[0.96, 1.04]", "[1.04, 0.96]").replace('profiles = "', 'profiles = "no_')
    )  # fmt: skip
    lines = text.split("\n")
    wanted = {
        "seeds[2]": "must be at least 0, not -4", "objectiv": "did you mean 'objective'",
        "scenarios[1].profiles": "there is no ", "scenarios[1].band": "empty or inverted",
        'controllers."my droop"': "did you mean 'mapdn'", "windows.random.count": "must be at least 1, not 0",
        "options.delay": "must be a whole number, not 1.5", "statistics.correction": "must be one of 'holm'",
    }  # fmt: skip
    found = faults(folder, text)
    assert len(found) == len(wanted)
    for fault, (key, message) in zip(found, wanted.items(), strict=True):  # in the order of the file
        number = int(fault.split("line ")[1].split(",")[0])
        assert f"line {number}, {key}: " in fault
        assert message in fault
        last = key.rstrip("]").replace("[", ".").split(".")[-1].strip('"')
        assert {"2": "-4]", "count": "random ="}.get(last, last) in lines[number - 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[output]", "[output]\nchunk = '1D'"), "output.chunk: unknown key here: it belongs to the top"),
        (("seeds = [3, 4]", "reference = 'none'"), "reference: unknown key here: it belongs into [statistics]"),
        (('reference = "none"', 'reference = "nonne"'), "line 24, statistics.reference: unknown reference row 'nonne'"),
        (('reference = "none"\n', ""), "line 23, statistics.reference: is missing"),
        (('["loss_mw"]', '["losses"]'), "statistics.metrics[1]: unknown metric 'losses'"),
        (('"net.json"', '"mapdn34"'), "did you mean 'mapdn33'"),
        (("seeds = [3, 4]", "seeds = [3, 3]"), "seeds[2]: 3 is given twice"),
        (("seeds = [3, 4]", "seeds = []"), "line 2, seeds: must not be empty"),
        (("seeds = [3, 4]", "seeds = 3"), "seeds: must be a list, e.g. [1, 2], not 3"),
        (("periods = 2,", "periods = 2, days = 1,"), "windows.random.days: give periods or days, not both"),
        (("[windows]\n", "[windows]\ndays = 1\n"), "windows.days: random windows bring their own"),
        (('record = "float32"', 'record = "some"'), "output.record: record must be all"),
        (("losses=1", "loses=1"), "objective: unknown objective 'loses': did you mean 'losses'"),
        (("count = 2, periods = 2", "count = 2, periods = 50"), "line 17, windows.random: 2 windows of 50 steps"),
        ((RANDOM, "starts = ['2016-06-20',\n 'someday']"), "line 18, windows.starts[2]: 'someday' is no date"),
        ((RANDOM, "starts = [2016-06-20, 2016-06-20T01:00:00]\nperiods = 9"),
         "overlap"),
        (("[[scenarios]]", "[[scenarios]]\nstep = '7min'"), "line 7, scenarios[1].step: a step of 7min does not"),
        (("vm_noise = 0.01", "vm_noise = nan"), "options.vm_noise: must be"),
        (("delay = 1", "delay = true"), "line 21, options.delay: must be a whole number, not True"),
        (("seeds =", "chunk = '20min'\nseeds ="), "line 2, chunk: a chunk of 20min is no whole number of steps"),
        (("seeds =", "chunk = 'week'\nseeds ="), "line 2, chunk: "),
        ((RANDOM, "starts = [2016-06-20, 2016-06-20T00:00:00]\nperiods = 2"),
         "line 17, windows.starts[2]: 2016-06-20 00:00:00 is given twice"),
        (('"my droop" = "volt_var:curve=mapdn"', ""), "line 23, statistics: there is no row but the reference 'none'"),
    ],
)  # fmt: skip
def test_one_fault(folder: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in STUDY
    (fault,) = faults(folder, STUDY.replace(*change, 1))
    assert message in fault


def test_statistics_that_have_nothing_to_go_by(folder: Path) -> None:
    text = STUDY.replace("count = 2", "count = 1").replace("[3, 4]", "[3]")
    (fault,) = faults(folder, text)
    assert "line 23, statistics: they need several windows or seeds" in fault


def test_statistics_that_turn_out_impossible_cost_no_run(run: Run, folder: Path, tmp_path: Path) -> None:
    """Gaps without certificates have no values: that is said, and the runs are kept."""
    (folder / "gaps.toml").write_text(STUDY.replace('["loss_mw"]', '["gap_pct"]'))
    code, _, err = run("run", folder / "gaps.toml", "--out", tmp_path / "out")
    assert code == 0
    assert "warning: no statistics: no row shares two windows" in err
    assert Comparison.load(tmp_path / "out").runs
    assert not (tmp_path / "out" / "significance.csv").exists()


def test_a_report_needs_a_folder(run: Run, folder: Path) -> None:
    (folder / "report.toml").write_text(STUDY.replace('folder = "out"', "report = true"))
    code, _, err = run("run", folder / "report.toml")
    assert code == 2
    assert "give output.folder or --out" in err


def test_a_byte_order_mark_is_no_fault(folder: Path) -> None:
    (folder / "bom.toml").write_text(STUDY, encoding="utf-8-sig")
    assert read_study(folder / "bom.toml").study == read_study(folder / "study.toml").study


def test_two_scenarios_of_one_name(folder: Path) -> None:
    (fault,) = faults(folder, STUDY.replace('[[scenarios]]\nname = "net.json"\nlabel = "toy"', '''\
[[scenarios]]
name = "net.json"
label = "toy"
[[scenarios]]
name = "net.json"
label = "toy"'''))  # fmt: skip
    assert "line 9, scenarios[2]: a second scenario named 'toy': give each its own label" in fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 1 2\n", "line 1: "), ("a = 1\n\n[b\n", "line 3: "), ("x = 'open", "line 1: "),
        ("a = 1\na = 2\n", "line 2: cannot overwrite"), ("", "2 problems"),
    ],
)  # fmt: skip
def test_no_toml(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    answer = run("run", tmp_path / "study.toml")
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FeederlabError, match=r"cannot read the study file .*nowhere\.toml"):
        read_study(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FeederlabError, match="no text in UTF-8"):
        read_study(tmp_path / "binary.toml")


@pytest.mark.parametrize("name", ["droop_against_opf", "own_feeder", "seasons"])
def test_examples_are_sound(name: str) -> None:
    asked = read_study(EXAMPLES / f"{name}.toml")
    assert len(asked.load()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["droop_against_opf", "own_feeder", "seasons"])
def test_examples_run(run: Run, tmp_path: Path, name: str) -> None:
    code, printed, err = run("run", EXAMPLES / f"{name}.toml", "--jobs", "2", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "±" in printed
    assert Comparison.load(tmp_path / "out").runs
