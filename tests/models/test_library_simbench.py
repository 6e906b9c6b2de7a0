import numpy as np
import pandas as pd
import pytest

from feederlab.models.library import cache, year
from feederlab.models.library.simbench import load, profiles, read_net


@pytest.fixture(scope="module")
def storage_grid():
    return "1-LV-rural1--2-sw"


def test_profiles_are_simbenchs_absolute_values(simbench_net, storage_grid):
    import simbench

    net = simbench_net(storage_grid)
    theirs = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    ours = profiles(net, 2)
    assert set(ours) == {("load", "p_mw"), ("load", "q_mvar"), ("sgen", "p_mw"), ("storage", "p_mw")}
    for key, profile in ours.items():
        assert profile.index.tolist() == theirs[key].columns.tolist()
        assert np.array_equal(profile.shapes[:, profile.pick] * profile.scale, theirs[key].to_numpy()), key


def test_compact_profiles_share_shapes(storage_grid):
    loaded = load(storage_grid)
    profile = loaded.profiles["load", "p_mw"]
    used = len(set(profile.pick))
    assert profile.shapes.shape == (35_136, used + 1)
    assert loaded.data_span == (pd.Timestamp("2016-01-01"), pd.Timestamp("2017-01-01"))
    assert ("storage", "p_mw") not in loaded.profiles, "controlled storage follows its controller"


def test_devices_of_a_simbench_grid(storage_grid):
    shipped = read_net(storage_grid)
    feeder = load(storage_grid).feeder
    assert feeder.inverters.s_mva == pytest.approx(1.1 * shipped.sgen.p_mw.to_numpy())
    store = feeder.storages
    assert len(store) == len(shipped.storage)
    assert store.p_max_mw == pytest.approx(shipped.storage.p_mw.abs().to_numpy())
    assert store.p_min_mw == pytest.approx(-store.p_max_mw)
    energy = shipped.storage.max_e_mwh.to_numpy()
    assert store.e_max_mwh == pytest.approx(0.9 * energy)
    assert store.e_min_mwh == pytest.approx(0.1 * energy)
    assert store.soc * store.e_max_mwh == pytest.approx(0.5 * energy)
    assert store.efficiency == pytest.approx(0.95)


def test_taps_take_effect_and_only_regulated_transformers_are_devices(scenario, storage_grid):
    low, medium = load(storage_grid).feeder, load("1-MV-rural--0-sw").feeder
    assert not len(low.tap_changers)
    assert len(medium.tap_changers) == 2
    raised = read_net(storage_grid)
    assert raised.trafo.tap_pos.iloc[0] == 1
    at = low.branches.element.index("trafo")
    assert low.branches.two_port.ratio[at] == pytest.approx(1.025)


def test_cached_nets_equal_fresh_ones(tmp_path, monkeypatch, simbench_net, storage_grid):
    from pandapower.toolbox import nets_equal

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh, cached, shipped = read_net(storage_grid), read_net(storage_grid), simbench_net(storage_grid)
    assert list(cache.cache_folder().glob("simbench-*/net-*.json"))
    assert nets_equal(fresh, cached)
    for net in (cached, shipped):
        net.trafo["tap_changer_type"] = None
        for key in ("profiles", "loadcases"):
            if key in net:
                del net[key]
    assert nets_equal(cached, shipped)


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parsed = pd.DataFrame(np.ones((year.QUARTERS, 1)), columns=["x"])
    monkeypatch.setattr(year, "_parse", lambda name, scenario: parsed)
    path = cache.cache_folder() / year._file("load", 0)
    path.parent.mkdir(parents=True)
    short = tmp_path / "short.parquet"
    parsed.iloc[:2].to_parquet(short)
    for damage in (b"", b"PAR1 not a table", b"\x00" * 100, short.read_bytes()):
        path.write_bytes(damage)
        assert year.table.__wrapped__("load", 0) is parsed
        assert pd.read_parquet(path).equals(parsed), "made again and kept"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    cache.remember("a/b.txt", lambda path: path.write_text("x"))
    assert cache.recall("a/b.txt", lambda path: path.read_text()) is None


def test_the_cache_appears_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def half(path):
        path.write_text("half")
        raise OSError("disk full")

    cache.remember("x.txt", half)
    assert list((tmp_path / "feederlab").iterdir()) == []
    cache.remember("x.txt", lambda path: path.write_text("whole"))
    assert cache.recall("x.txt", lambda path: path.read_text()) == "whole"


def test_generators_that_hold_voltages_are_refused():
    from feederlab.errors import InputError

    with pytest.raises(InputError, match="choose a code of MV, LV or MVLV"):
        load("1-EHV-mixed--0-sw")
