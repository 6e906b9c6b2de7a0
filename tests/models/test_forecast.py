"""Forecasts: what each source says, where the data end, and how bad ones are refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.forecast import Custom, ForecastError, Noisy, Perfect, Persistence, Present, source
from feederlab.models.scenario import Series
from feederlab.models.truth import Truth
from feederlab.testing import example_scenario


@pytest.fixture(scope="module")
def day():
    scenario = example_scenario()
    series = scenario.series()
    return replace(scenario.task(), forecast=Truth(series)), series


def now(series, t=0):
    return Present(series.times[t], series.load_mva[t], series.p_available_mw[t], float(series.slack_vm[t]))


def test_perfect_is_the_truth_and_shrinks_at_the_end(day):
    task, series = day
    found = Perfect().ahead(task, now(series, 90), 24)
    assert len(found) == 6
    np.testing.assert_array_equal(found.load_mva, series.load_mva[90:])


def test_perfect_averages_over_longer_steps(day):
    task, series = day
    found = Perfect().ahead(replace(task, step_s=3600.0), now(series), 5)
    np.testing.assert_allclose(found.load_mva, series.load_mva[:20].reshape(5, 4, -1).mean(axis=1))
    np.testing.assert_array_equal(found.times, series.times[:20:4])


def test_persistence_stays(day):
    task, series = day
    found = Persistence().ahead(task, now(series, 40), 3)
    np.testing.assert_array_equal(found.p_available_mw, np.repeat(series.p_available_mw[40][None], 3, axis=0))
    assert found.times[1] - found.times[0] == pd.Timedelta("15min")


def test_noise_follows_from_seed_and_instant_and_spares_the_present(day):
    task, series = day
    one, again, other = (Noisy(0.2, seed).ahead(task, now(series, 40), 40) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.load_mva, again.load_mva)
    np.testing.assert_array_equal(one.load_mva[0], series.load_mva[40])
    assert not np.array_equal(one.load_mva, other.load_mva)
    assert not np.array_equal(one.load_mva[5:], Noisy(0.2, 1).ahead(task, now(series, 41), 40).load_mva[4:39])
    loaded = series.load_mva[41:80].real > 0
    ratio = one.load_mva[1:40].real[loaded] / series.load_mva[41:80].real[loaded]
    assert ratio.std() == pytest.approx(0.2, rel=0.1)
    assert (one.p_available_mw >= 0).all()


def test_the_own_forecast_has_the_present_measured(day):
    task, series = day
    wrong = Truth(Series(series.times, 2 * series.load_mva, series.p_available_mw, series.slack_vm))
    found = source(wrong).ahead(task, now(series), 3)
    np.testing.assert_array_equal(found.load_mva[0], series.load_mva[0])
    np.testing.assert_array_equal(found.load_mva[1], 2 * series.load_mva[1])


def test_a_horizon_longer_than_the_data_is_refused_with_both_lengths(day):
    task, _ = day
    with pytest.raises(InputError, match=r"97 steps .* is longer than the data, which have 96 steps"):
        Perfect().check(task, 97)
    Perfect().check(task, 96)
    with pytest.raises(InputError, match="use forecast=persistence"):
        Perfect().check(replace(task, forecast=None), 1)


def broken(series, **changed):
    values = {name: getattr(series, name)[:4] for name in ("times", "load_mva", "p_available_mw", "slack_vm")}
    return lambda time, periods: Series(**{**values, **changed})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: broken(s, load_mva=s.load_mva[:4, 1:]), r"load_mva of shape \(4, 34\) .* not \(4, 33\)"),
        (lambda s: broken(s, slack_vm=s.slack_vm[:3]), r"slack_vm of shape \(4,\) .* not \(3,\)"),
        (
            lambda s: broken(s, p_available_mw=np.full((4, 6), np.nan)),
            r"p_available_mw that is not finite, first at \[0",
        ),
        (lambda s: broken(s, p_available_mw=np.full((4, 6), "x")), "numbers in p_available_mw"),
        (lambda s: broken(s, slack_vm=np.full(4, 1 + 0j)), "real numbers in slack_vm, not complex128"),
        (lambda s: lambda time, periods: np.zeros(3), "must return a feederlab.models.scenario.Series, not ndarray"),
        (lambda s: broken(s, times=s.times[1:5]), "must begin with the step asked for, .* it begins at"),
        (lambda s: broken(s, times=s.times[:16:4]), "must have steps of 900 s, not of 3600 s"),
        (lambda s: lambda time, periods: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_callable_that_does_not_fit_is_refused(day, make, message):
    task, series = day
    own = Custom(make(series), "mine")
    with pytest.raises(InputError, match=f"the forecast mine .*{message}"):
        own.check(task, 4)
    with pytest.raises(ForecastError, match=message):
        own.ahead(task, now(series), 4)


def test_a_callable_that_fits_is_taken(day):
    task, series = day
    Custom(Truth(series), "mine").check(task, 4)


def test_too_many_steps_are_refused(day):
    task, series = day
    with pytest.raises(InputError, match="1 to 4 steps, as asked; it returned 96"):
        Custom(lambda time, periods: series, "mine").check(task, 4)


def test_names():
    assert source("perfect") == Perfect()
    assert source("noisy(0.1)") == Noisy(0.1)
    assert source("noisy(0.1;7)") == Noisy(0.1, 7)
    assert source("feederlab.models.forecast:source").name == "feederlab.models.forecast:source"
    with pytest.raises(UnknownNameError, match="did you mean 'perfect'"):
        source("perfekt")
    with pytest.raises(InputError, match="write noisy"):
        source("noisy(much)")
    with pytest.raises(InputError, match="neither negative"):
        source("noisy(-1)")
    with pytest.raises(InputError, match="cannot import the forecast 'nowhere:f'"):
        source("nowhere:f")
    with pytest.raises(InputError, match=r"cannot import the forecast '\.nowhere:f'"):
        source(".nowhere:f")
    with pytest.raises(InputError, match="is no function"):
        source("feederlab.models.forecast:NAMES")
    with pytest.raises(InputError, match="a forecast must be"):
        source(3)
