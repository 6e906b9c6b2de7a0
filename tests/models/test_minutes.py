"""Noise inside the steps of the data: what it keeps, and what it depends on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.errors import InputError
from feederlab.models import library
from feederlab.models.minutes import MinuteNoise
from feederlab.models.profiles import Profile

QUARTER, MINUTE = pd.Timedelta("15min"), pd.Timedelta("1min")


@pytest.fixture(scope="module")
def year():
    return library.load("sce47_minutes")


def quarters(values):
    return values.reshape(96, 15, -1).mean(axis=1)


@pytest.mark.parametrize("day", ["2016-01-01", "2016-04-10", "2016-12-31"])
def test_each_quarter_hour_keeps_its_energy(year, day):
    noisy, smooth = year.days(day).series(), library.load("sce47").resample("1min").days(day).series()
    for name in ("load_mva", "p_available_mw"):
        one, other = (getattr(series, name) for series in (noisy, smooth))
        assert np.abs(quarters(one) - quarters(other)).max() < 1e-12
    assert (noisy.p_available_mw >= 0).all()
    assert (noisy.p_available_mw <= year.feeder.inverters.p_mw + 1e-12).all()
    assert (noisy.load_mva.real >= -1e-12).all()
    dark = smooth.p_available_mw == 0
    assert dark.any()
    assert (noisy.p_available_mw[dark] == 0).all()


def test_minutes_scatter_and_remember_for_minutes(year):
    """z has unit variance and the correlation it is given, before a step's mean is taken off."""
    flat = Profile.from_frame(
        pd.DataFrame(np.ones((8, 40)), index=pd.date_range("2016-01-01", periods=8, freq="15min"))
    )
    z = MinuteNoise(3, correlation=6.0)._draws(flat, "load", pd.Timestamp("2016-01-01"), 5)
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1] == pytest.approx(np.exp(-1 / 6), abs=0.01)
    assert np.abs(np.corrcoef(z.T) - np.eye(40)).max() < 0.3  # elements are independent


def test_a_single_instant_has_no_minutes_of_its_own():
    one = Profile.from_frame(pd.DataFrame([[1.0, 2.0]], index=pd.DatetimeIndex(["2016-01-01"])))
    times = pd.date_range("2016-01-01", periods=3, freq="15min")
    assert (MinuteNoise().of(one, "load", np.full(2, np.inf), times, QUARTER) == np.zeros((3, 2))).all()


def test_noise_follows_the_roughness_of_the_data():
    """Independent quarter hours scatter by their own deviation; a parabola has no scatter to go on with."""
    times = pd.date_range("2016-01-01", periods=96 * 30, freq="15min")
    rng = np.random.default_rng(0)
    rough = 10 + rng.standard_normal(len(times))
    smooth = 10 + np.linspace(-1, 1, len(times)) ** 2
    profile = Profile.from_frame(pd.DataFrame({0: rough, 1: smooth}, index=times))
    minutes = pd.date_range("2016-01-02", periods=1440 * 28, freq="1min")
    noise = MinuteNoise(1, correlation=1e-2).of(profile, "load", np.full(2, np.inf), minutes, MINUTE)
    assert noise[:, 0].std() == pytest.approx(np.sqrt(14 / 15), abs=0.1)
    assert np.abs(noise[:, 1]).max() < 1e-9


def test_a_day_has_its_own_minutes_whatever_window_or_process_asks(year):
    day = year.days("2016-06-21").series()
    again, other = year.days("2016-06-21").series(), year.with_minutes(seed=1).days("2016-06-21").series()
    part, longer = year.window("2016-06-21T10:07", 100).trimmed().series(), year.days("2016-06-20", 3).series()
    np.testing.assert_array_equal(day.load_mva, again.load_mva)
    np.testing.assert_array_equal(day.load_mva[607:707], part.load_mva)
    np.testing.assert_array_equal(day.p_available_mw[607:707], part.p_available_mw)
    np.testing.assert_array_equal(day.p_available_mw, longer.p_available_mw[1440:2880])
    assert np.abs(day.load_mva - other.load_mva).max() > 1e-3


def test_longer_steps_take_the_mean_of_their_minutes(year):
    fine, five = year.days("2016-05-05").series(), year.resample("5min").days("2016-05-05")
    smooth = library.load("sce47").resample("1min").days("2016-05-05").series().load_mva
    base = library.load("sce47").resample("5min").days("2016-05-05").series().load_mva
    mean = (fine.load_mva - smooth).reshape(288, 5, -1).mean(axis=1)
    np.testing.assert_allclose(five.series().load_mva - base, mean, atol=1e-12)
    whole = year.resample("15min").days("2016-05-05").series().load_mva
    np.testing.assert_allclose(whole, library.load("sce47").days("2016-05-05").series().load_mva, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-5, 5), min_size=8, max_size=8), most=st.floats(0, 6), seed=st.integers(0, 99),
    correlation=st.floats(0.1, 60), table=st.sampled_from(["load", "sgen"]),
)  # fmt: skip
def test_no_sign_turns_and_no_bound_is_passed(values, most, seed, correlation, table):
    times = pd.date_range("2016-01-01", periods=8, freq="15min")
    profile = Profile.from_frame(pd.DataFrame({4: values}, index=times))
    minutes = pd.date_range("2016-01-01", periods=120, freq="1min")
    x = profile.sample(minutes, MINUTE)
    noise = MinuteNoise(seed, correlation).of(profile, table, np.array([most]), minutes, MINUTE)
    noisy = x + noise
    assert np.isfinite(noisy).all()
    assert (noisy * x >= -1e-12).all()
    assert (np.abs(noisy) <= np.maximum(np.abs(x), most) + 1e-12).all()
    assert np.abs(noise.reshape(8, 15).mean(axis=1)).max() < 1e-12


def test_data_in_minutes_need_no_noise_and_bad_settings_are_refused():
    times = pd.date_range("2016-01-01", periods=60, freq="1min")
    profile = Profile.from_frame(pd.DataFrame({0: np.arange(60.0)}, index=times))
    assert not MinuteNoise().of(profile, "load", np.array([np.inf]), times, MINUTE).any()
    with pytest.raises(InputError, match="correlation=0"):
        MinuteNoise(correlation=0)
    with pytest.raises(InputError, match="seed=-1"):
        MinuteNoise(seed=-1)
