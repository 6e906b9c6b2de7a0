"""Windows, steps, noise, band, and the series that a scenario makes of its profiles."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from grids import small_net

from feederlab.errors import InputError
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.scenario import Scenario

TIMES = pd.date_range("2016-06-20", periods=192, freq="15min")


@pytest.fixture(scope="module")
def scenario():
    net = small_net()
    net.load["scaling"] = [1.0, 0.5]
    shape = 1 + np.sin(np.arange(192) / 30.0)
    return Scenario.build(
        Feeder.from_pandapower(net, name="small"),
        {
            ("load", "p_mw"): pd.DataFrame({0: 0.02 * shape, 1: 0.03 * shape}, index=TIMES),
            ("sgen", "p_mw"): pd.DataFrame({0: 0.02 * shape}, index=TIMES),
        },
    )


def test_series_follows_profiles_scaling_and_tables(scenario):
    series, feeder = scenario.series(), scenario.feeder
    shape = 1 + np.sin(np.arange(192) / 30.0)
    one, two = feeder.loads.node
    assert np.allclose(series.load_mva[:, one], 0.02 * shape + 0.01j)  # q has no profile: the table's value
    assert np.allclose(series.load_mva[:, two], 0.5 * (0.03 * shape + 0.02j))
    assert np.allclose(series.p_available_mw[:, 0], 0.02 * shape)
    assert (series.slack_vm == 1.02).all()


def test_window_and_days(scenario):
    day = scenario.days("2016-06-21")
    assert (day.start, day.periods) == (pd.Timestamp("2016-06-21"), 96)
    assert np.array_equal(day.series().load_mva, scenario.series().load_mva[96:])
    assert scenario.days("2016-06-20", 0.25).periods == 24
    assert scenario.window("2016-06-20 12:00", 4).times[-1] == pd.Timestamp("2016-06-20 12:45")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.window("2017-01-01", 4), "4 steps .* from 2017-01-01 00:00:00 do not lie inside the data"),
        (lambda s: s.window("2016-06-21 12:00", 96), "covers 2016-06-20 00:00:00 up to 2016-06-22 00:00:00"),
        (lambda s: s.window("2016-06-20", 0), "at least one step, not 0"),
        (lambda s: s.days("2016-06-20", 0), "number of days must be positive, .* not 0"),
        (lambda s: s.days("2016-06-20", -2), "number of days must be positive, .* not -2"),
        (lambda s: s.days("midsummer", 1), "'midsummer' is no date"),
        (lambda s: s.resample("7min"), "a step of 7min does not divide a day"),
        (lambda s: s.resample("0min"), "does not divide a day"),
        (lambda s: s.resample("-15min"), "does not divide a day"),
        (lambda s: s.resample("2d"), "does not divide a day"),
        (lambda s: s.days("2016-06-20", float("inf")), "less than a million, not inf"),
        (lambda s: s.days("2016-06-20", float("nan")), "less than a million, not nan"),
        (lambda s: s.days("2016-06-20", 1e12), "less than a million, not 1"),
        (lambda s: s.days("2016-06-20", 9e5), "do not lie inside the data"),
        (lambda s: s.days("2016-06-20T00:00Z", 1), "has a time zone; give the data's time without one"),
        (lambda s: s.days("NaT", 1), "'NaT' is no date"),
        (lambda s: s.resample("5"), "'5' has no unit; write e.g. 3min"),
        (lambda s: s.resample(""), "'' is no duration; write e.g. 3min"),
        (lambda s: s.resample("NaT"), "'NaT' is no duration"),
        (lambda s: s.resample("1ms"), "shorter than 1 s"),
        (lambda s: s.with_noise(float("nan"), 0), "finite numbers, not negative: sigma=nan"),
        (lambda s: s.with_noise(0.01, -1), "not negative: sigma=0.01, seed=-1"),
        (lambda s: s.with_band(95, 105), "in p.u., not in %"),
        (lambda s: s.with_band(0.95, float("inf")), "does not lie in 0.5-2"),
        (lambda s: s.with_band(float("nan"), 1.05), "empty or inverted"),
        (lambda s: s.resample("often"), "'often' is no duration; write e.g. 3min"),
    ],
)
def test_bad_windows_and_steps(scenario, call, message):
    with pytest.raises(InputError, match=message):
        call(scenario)


def test_resample_keeps_span_and_energy(scenario):
    for step, periods in (("3min", 960), ("1h", 48)):
        other = scenario.resample(step)
        assert (other.periods, other.times[0]) == (periods, TIMES[0])
    mean = scenario.resample("1h").series().load_mva.mean(axis=0)
    assert np.allclose(mean, scenario.series().load_mva.mean(axis=0))


def test_noise_is_seeded_and_scaled(scenario):
    plain = scenario.series().load_mva.real
    one, again = (scenario.with_noise(0.1, seed=3).series().load_mva.real for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, scenario.with_noise(0.1, seed=4).series().load_mva.real)
    node = scenario.feeder.loads.node[0]
    spread = (one - plain)[:, node].std() / plain[:, node].std()
    assert 0.08 < spread < 0.12
    above = scenario.with_noise(0.1, seed=3, one_sided=True).series().load_mva.real - plain
    assert (above >= -1e-15).all()
    assert above.max() > 0


def test_noise_is_an_elements_own_whoever_moves_it():
    """Two generators get independent noise, and keep it when one of them becomes controllable."""
    shape = 0.02 + 0.01 * np.sin(np.arange(192) / 30.0)
    power = {}
    for controllable in (True, False):
        net = small_net()
        pp.create_sgen(net, 2, 0.01, 0.0, sn_mva=0.05, controllable=controllable)
        noisy = Scenario.build(
            Feeder.from_pandapower(net), {("sgen", "p_mw"): pd.DataFrame({0: shape, 1: shape}, index=TIMES)}
        ).with_noise(0.1, seed=3)
        series, feeder = noisy.series(), noisy.feeder
        power[controllable] = {int(i): series.p_available_mw[:, k] for k, i in enumerate(feeder.inverters.index)}
        if not controllable:
            node = feeder.sgens.node[0]
            loads = feeder.loads.p_mw[feeder.loads.node == node].sum()
            power[controllable][1] = loads - series.load_mva[:, node].real
    noise = [power[True][k] - shape for k in (0, 1)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.3
    for k in (0, 1):
        np.testing.assert_allclose(power[False][k], power[True][k], atol=1e-12)


def test_band_of_the_net_and_given(scenario):
    feeder = scenario.feeder
    low, high = scenario.band
    assert low[feeder.bus_node].tolist() == [0.95, 0.9, 0.9, 0.9]
    assert high[feeder.bus_node].tolist() == [1.05, 1.1, 1.1, 1.1]
    assert scenario.with_band(0.97, 1.03).band.tolist() == [[0.97] * 4, [1.03] * 4]


def test_slack_profile_and_fixed_storage():
    net = small_net()
    net.storage["controllable"] = False
    feeder = Feeder.from_pandapower(net)
    scenario = Scenario.build(
        feeder,
        {
            ("ext_grid", "vm_pu"): pd.DataFrame({0: np.linspace(1.0, 1.03, 192)}, index=TIMES),
            ("storage", "p_mw"): pd.DataFrame({0: np.linspace(-0.01, 0.01, 192)}, index=TIMES),
        },
    )
    series = scenario.series()
    assert np.allclose(series.slack_vm, np.linspace(1.0, 1.03, 192))
    assert np.allclose(series.load_mva.sum(axis=1).real, 0.08 + np.linspace(-0.01, 0.01, 192))


def test_a_note_says_which_engine_generators_need(scenario):
    net = small_net()
    pp.create_gen(net, 3, 0.01, vm_pu=1.0)
    assert any("generators hold voltages" in note for note in Feeder.from_pandapower(net).notes)
    assert scenario.feeder.notes == ()


def test_an_objective_names_each_term_once():
    with pytest.raises(InputError, match="names a term twice"):
        Objective.parse("losses+voltage_deviation+losses=2")
