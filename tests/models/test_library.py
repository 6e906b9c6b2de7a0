import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from feederlab.errors import InputError, UnknownNameError
from feederlab.models import library
from feederlab.models.library import mapdn
from feederlab.models.library.plain import load_case
from feederlab.models.library.sce47 import load as load_sce47
from feederlab.models.library.sce47 import sce47_net
from feederlab.models.powerflow.base import engine

DAYS = (20, 110, 172, 200, 290)


def uncontrolled(scenario, days=DAYS):
    """Return the share of steps with all buses in 0.95-1.05 and the mean losses, at q = 0."""
    feeder = scenario.feeder
    flow = engine(feeder)
    gather = np.zeros((len(feeder.inverters), feeder.n_nodes))
    gather[np.arange(len(feeder.inverters)), feeder.inverters.node] = 1
    vm, losses = [], []
    for day in days:
        series = scenario.days(scenario.data_span[0] + pd.Timedelta(days=day)).series()
        solved = flow.solve_batch(series.p_available_mw @ gather - series.load_mva)
        vm.append(solved.vm)
        losses.append(solved.losses_mw())
    inside = (np.concatenate(vm) >= 0.95) & (np.concatenate(vm) <= 1.05)
    return inside.all(axis=1).mean(), np.concatenate(losses).mean()


def peak(profile):
    return (profile.shapes @ np.bincount(profile.pick, profile.scale, profile.shapes.shape[1])).max()


def test_listing_names_imports_nothing_heavy():
    code = (
        "import sys; from feederlab.models import library; library.names();"
        "print([m for m in ('pandapower', 'simbench', 'pandas', 'scipy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'mapdn33'"):
        library.load("mapdn3")
    with pytest.raises(UnknownNameError, match="did you mean '1-MV-rural--0-sw'"):
        library.load("simbench:1-MV-rural-0-sw")
    with pytest.raises(InputError, match="brings its own profiles"):
        library.load("case33", profiles_folder="anywhere")


@pytest.mark.parametrize("name", [n for n in library.names() if n != library.FAMILY and n != "mapdn322"])
def test_every_scenario_loads_radial_with_something_to_control(scenario, name):
    loaded = scenario(name)
    assert loaded.name == name
    assert loaded.feeder.is_radial
    assert len(loaded.feeder.inverters) > 0
    assert np.array_equal(np.unique(loaded.band[0]), [0.95])
    assert np.array_equal(np.unique(loaded.band[1]), [1.05])
    assert loaded.data_span == (pd.Timestamp("2016-01-01"), pd.Timestamp("2017-01-01"))
    series = loaded.days("2016-06-21").series()
    assert np.isfinite(series.load_mva).all()
    assert series.p_available_mw.max() > 0
    assert (series.p_available_mw <= loaded.feeder.inverters.s_mva).all()


# The spread over draws of the shapes stands in the module's docstring; these are the default draw's figures.
@pytest.mark.parametrize(
    ("name", "inside", "losses"), [("mapdn33", 0.759, 0.0499), ("mapdn141", 0.301, 0.8004), ("mapdn322", 0.397, 0.0536)]
)
def test_mapdn_without_control(scenario, name, inside, losses):
    share, mean = uncontrolled(scenario(name))
    assert share == pytest.approx(inside, abs=5e-4)
    assert mean == pytest.approx(losses, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "load_mw", "pv_mw", "sites", "zones"),
    [
        ("mapdn33", 3.5, 9.005, 6, {"main", "1", "2", "3", "4"}),
        ("mapdn141", 20.0, 84.5957, 22, {str(k) for k in range(1, 10)}),
        ("mapdn322", 1.5, 3.93748, 38, {"main", *(str(k) for k in range(1, 23))}),
    ],
)
def test_mapdn_peaks_sites_and_zones(scenario, name, load_mw, pv_mw, sites, zones):
    loaded = scenario(name)
    net, pv = loaded.feeder.net, loaded.profiles["sgen", "p_mw"]
    assert loaded.step == pd.Timedelta("3min")
    assert peak(loaded.profiles["load", "p_mw"]) == pytest.approx(load_mw, rel=1e-12)
    assert net.sgen.p_mw.sum() == pytest.approx(pv_mw, abs=5e-4)
    assert np.max(pv.shapes, axis=0)[pv.pick] * pv.scale == pytest.approx(net.sgen.p_mw.to_numpy(), rel=1e-12)
    assert net.sgen.sn_mva.to_numpy() == pytest.approx(1.2 * net.sgen.p_mw.to_numpy())
    assert len(net.sgen) == sites
    assert set(net.bus.zone) == zones
    load = net.load.assign(pick=loaded.profiles["load", "p_mw"].pick)
    assert len(load[["bus", "pick"]].drop_duplicates()) == load.bus.nunique(), "one load profile per bus"
    zone = net.bus.zone.loc[net.sgen.bus].to_numpy()
    assert len(set(zip(zone, pv.pick, strict=True))) == len(set(zone)), "one PV profile per zone"
    assert not len(loaded.feeder.tap_changers)


def test_mapdn33_zones_are_the_papers(scenario):
    zone = scenario("mapdn33").feeder.net.bus.zone
    assert zone[0:5].eq("main").all()
    assert [zone[b] for b in (6, 17, 18, 21, 22, 24, 25, 32)] == ["1", "1", "2", "2", "3", "3", "4", "4"]


def test_mapdn322_network(scenario):
    net = scenario("mapdn322").feeder.net
    assert (len(net.bus), len(net.load), len(net.trafo)) == (322, 333, 4)
    assert net.bus.vn_kv.value_counts().to_dict() == {0.4: 296, 20.0: 25, 110.0: 1}
    assert [int(b) for b in net.trafo.hv_bus] == [0, 5, 13, 22]
    low = [int(b) for b in net.trafo.lv_bus[1:]]
    assert [26 <= low[0] <= 153, 154 <= low[1] <= 263, 264 <= low[2] <= 321] == [True] * 3
    first, last = net.line.iloc[0], net.line.iloc[23]
    assert first.r_ohm_per_km * first.length_km == pytest.approx(0.4132 * 3.26873)
    assert (first.x_ohm_per_km, last.x_ohm_per_km) == pytest.approx((0.36, 0.132))
    assert last.r_ohm_per_km * last.length_km == pytest.approx(0.443 * 0.78120)


def test_a_seed_is_a_draw(scenario):
    first, again, other = scenario("mapdn33"), mapdn.load("mapdn33"), mapdn.load("mapdn33", seed=4)
    for key, profile in first.profiles.items():
        assert np.array_equal(profile.pick, again.profiles[key].pick)
        assert np.array_equal(profile.scale, again.profiles[key].scale)
    assert not np.array_equal(first.profiles["load", "p_mw"].pick, other.profiles["load", "p_mw"].pick)
    plain, same, drawn = scenario("case33"), load_case("case33"), load_case("case33", seed=1)
    assert plain.feeder.net.sgen.equals(same.feeder.net.sgen)
    assert not plain.feeder.net.sgen.bus.equals(drawn.feeder.net.sgen.bus)


def original_folder(tmp_path, loads=32, sites=6):
    times = pd.date_range("2012-01-01", periods=480, freq="3min")
    rng = np.random.default_rng(0)
    frames = {"load_active": loads, "load_reactive": loads, "pv_active": sites}
    made = {name: pd.DataFrame(rng.random((480, n)) / 10, index=times) for name, n in frames.items()}
    for name, frame in made.items():
        frame.to_csv(tmp_path / f"{name}.csv", index_label="DateTime")
    return made


def test_mapdn_reads_the_original_files(tmp_path):
    made = original_folder(tmp_path)
    loaded = library.load("mapdn33", profiles_folder=tmp_path)
    assert loaded.step == pd.Timedelta("3min")
    assert loaded.start == pd.Timestamp("2012-01-01")
    series = loaded.series()
    assert series.load_mva.real[:, 1:] == pytest.approx(made["load_active"].to_numpy(), rel=1e-12)
    assert series.load_mva.imag[:, 1:] == pytest.approx(made["load_reactive"].to_numpy(), rel=1e-12)
    assert series.p_available_mw == pytest.approx(made["pv_active"].to_numpy(), rel=1e-12)


def test_faulty_original_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"lacks load_active\.csv"):
        library.load("mapdn33", profiles_folder=tmp_path)
    original_folder(tmp_path, loads=31)
    with pytest.raises(InputError, match="31 columns after the time; the network has 32"):
        library.load("mapdn33", profiles_folder=tmp_path)
    original_folder(tmp_path)
    (tmp_path / "pv_active.csv").write_text("t,a\nyesterday,1\n")
    with pytest.raises(InputError, match=r"pv_active\.csv"):
        library.load("mapdn33", profiles_folder=tmp_path)


# Farivar et al. 2011, Gan et al. 2015: Table I; checked with power factor 0.9 and 1 p.u. at the substation, no PV.
@pytest.mark.parametrize(("closed", "vmin", "bus", "loss_kw"), [(0, 0.9261, 39, 414.32), (1, 0.9586, 22, 326.61)])
def test_sce47_at_its_peak(closed, vmin, bus, loss_kw):
    feeder = load_sce47(power_factor=0.9).feeder
    injection = np.zeros(feeder.n_nodes, dtype=complex)
    np.subtract.at(injection, feeder.loads.node, feeder.loads.p_mw + 1j * feeder.loads.q_mvar)
    solved = engine(feeder).solve(injection, steps=np.full(3, closed))
    vm = feeder.to_buses(solved.vm)
    assert solved.losses_mw() * 1e3 == pytest.approx(loss_kw, abs=0.005)
    assert vm.min() == pytest.approx(vmin, abs=5e-5)
    assert vm[list(feeder.bus_index).index(bus)] == vm.min()


def test_sce47_devices(scenario):
    feeder = scenario("sce47").feeder
    assert feeder.n_nodes == 42
    assert feeder.capacitors.bus.tolist() == [3, 37, 47]
    assert feeder.capacitors.q_step_mvar.tolist() == [-1.2, -1.8, -1.8]
    assert feeder.capacitors.max_step.tolist() == [1, 1, 1]
    assert dict(zip(feeder.inverters.bus.tolist(), feeder.inverters.s_mva / 1.1, strict=True)) == pytest.approx(
        {13: 1.5, 17: 0.4, 19: 1.5, 23: 1.0, 24: 2.0}
    )
    assert feeder.loads.p_mw.sum() == pytest.approx(0.8 * 11.3)
    assert feeder.loads.q_mvar.sum() == pytest.approx(0.6 * 11.3)
    with pytest.raises(InputError, match="power factor"):
        sce47_net(1.2)


def test_plain_cases_keep_table_peaks_and_power_factors(scenario):
    loaded = scenario("case69")
    net, p, q = loaded.feeder.net, loaded.profiles["load", "p_mw"], loaded.profiles["load", "q_mvar"]
    assert p.shapes.max(axis=0)[p.pick] * p.scale == pytest.approx(net.load.p_mw.to_numpy())
    assert np.array_equal(p.pick, q.pick)
    assert q.scale == pytest.approx(net.load.q_mvar.to_numpy())


@pytest.mark.parametrize("name", ["case69", "cigre_mv"])
def test_pv_of_plain_cases_lifts_the_year_to_the_limit(scenario, name):
    """No hour of the year exceeds 1.10 p.u. without control, and one reaches it."""
    loaded = scenario(name)
    feeder, flow = loaded.feeder, engine(loaded.feeder)
    series = loaded.series()
    gather = np.zeros((len(feeder.inverters), feeder.n_nodes))
    gather[np.arange(len(feeder.inverters)), feeder.inverters.node] = 1
    highest = flow.solve_batch(series.p_available_mw @ gather - series.load_mva).vm.max()
    assert highest == pytest.approx(1.10, abs=2e-3)


def test_cigre_lv_is_the_published_grid(scenario):
    net = scenario("cigre_lv").feeder.net
    assert len(net.bus) == 44
    residential = net.bus.index[(net.bus.zone == "R") & (net.bus.vn_kv < 1)]
    assert len(residential) == 18
    assert net.load.p_mw[net.load.bus.isin(residential)].sum() == pytest.approx(0.3838, abs=1e-4)
