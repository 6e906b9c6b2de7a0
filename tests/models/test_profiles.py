"""Sampling: interpolation below the data's step, means above it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feederlab.models.profiles import Profile

TIMES = pd.date_range("2016-06-21", periods=8, freq="15min")
VALUES = pd.DataFrame({4: [0, 3, 6, 3, 0, -3, 0, 9.0], 7: np.arange(8.0)}, index=TIMES)


def sample(start, periods, step):
    return Profile.from_frame(VALUES).sample(pd.date_range(start, periods=periods, freq=step), pd.Timedelta(step))


def test_at_the_datas_own_step():
    assert np.array_equal(sample("2016-06-21", 8, "15min"), VALUES.to_numpy())
    assert np.array_equal(sample("2016-06-21 00:30", 2, "15min"), VALUES.to_numpy()[2:4])


def test_shorter_steps_are_interpolated_and_the_last_sample_held():
    values = sample("2016-06-21", 40, "3min")
    assert values.shape == (40, 2)
    minutes = np.arange(40) * 3.0
    for column in range(2):
        expected = np.interp(minutes, np.arange(8) * 15.0, VALUES.to_numpy()[:, column])
        assert np.allclose(values[:, column], expected, atol=1e-12)
    assert (values[-4:, 0] == 9.0).all()


def test_longer_steps_take_the_mean():
    assert np.allclose(sample("2016-06-21", 2, "1h"), [[3.0, 1.5], [1.5, 5.5]])
    assert np.allclose(sample("2016-06-21 01:00", 2, "30min"), [[-1.5, 4.5], [4.5, 6.5]])


@pytest.mark.parametrize("step", ["3min", "5min", "15min", "30min", "1h"])
def test_a_window_samples_the_same_values_as_the_whole(step):
    whole = sample("2016-06-21", int(pd.Timedelta("2h") / pd.Timedelta(step)), step)
    late = sample("2016-06-21 01:00", int(pd.Timedelta("1h") / pd.Timedelta(step)), step)
    assert np.allclose(whole[-len(late) :], late, atol=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_scaling_and_frames(a, b):
    profile = Profile.from_frame(VALUES)
    assert np.array_equal(profile.to_frame().to_numpy(), VALUES.to_numpy())
    assert np.allclose(profile.scaled(np.array([a, b])).to_frame().to_numpy(), VALUES.to_numpy() * [a, b])
    assert profile.scaled(2.0).scaled(a).scale.tolist() == [2 * a, 2 * a]


def test_elements_share_shapes():
    profile = Profile(TIMES, VALUES.to_numpy(), np.array([1, 1, 0]), np.array([1.0, 2.0, -1.0]), np.array([5, 6, 9]))
    frame = profile.to_frame()
    assert frame.columns.tolist() == [5, 6, 9]
    assert np.array_equal(frame[6], 2 * VALUES[7])
    assert np.array_equal(profile.sample(TIMES[:2], pd.Timedelta("15min")), [[0, 0, 0], [1, 2, -3]])
