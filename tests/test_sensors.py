from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.none import NoControl
from feederlab.sensors import Sensors
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def measurement():
    return Case(NoControl(), example_scenario(), 1e-6, 0).measurements[0]


def at(measurement, hour, settle_round=0):
    return replace(measurement, time=pd.Timestamp("2016-06-21") + pd.Timedelta(hours=hour), settle_round=settle_round)


def test_perfect_sensors_change_nothing(measurement):
    sensors = Sensors(0.0, 0.0, 0, seed=0)
    sensors.next_step(len(measurement.vm))
    assert sensors.read(measurement) is measurement


def test_errors_are_drawn_once_per_step(measurement):
    sensors = Sensors(0.01, 0.2, 0, seed=0)
    nodes = len(measurement.vm)
    sensors.next_step(nodes)
    first, again = sensors.read(measurement).vm, sensors.read(at(measurement, 0, settle_round=1)).vm
    np.testing.assert_array_equal(first, again)
    sensors.next_step(nodes)
    assert not np.array_equal(first, sensors.read(measurement).vm, equal_nan=True)


def test_noise_and_lost_readings_have_the_stated_size(measurement):
    sensors = Sensors(0.01, 0.1, 0, seed=0)
    readings = []
    for _ in range(2000):
        sensors.next_step(len(measurement.vm))
        readings.append(sensors.read(measurement).vm - measurement.vm)
    errors = np.array(readings)
    assert np.isnan(errors).mean() == pytest.approx(0.1, rel=0.05)
    assert np.nanstd(errors) == pytest.approx(0.01, rel=0.02)
    assert abs(np.nanmean(errors)) < 2e-4


def test_a_lost_reading_comes_back(measurement):
    """Without noise, too: what was lost in one step must not stay lost in all that follow."""
    sensors = Sensors(0.0, 0.3, 0, seed=0)
    shares = []
    for _ in range(200):
        sensors.next_step(len(measurement.vm))
        shares.append(np.isnan(sensors.read(measurement).vm).mean())
    assert np.mean(shares[-100:]) == pytest.approx(0.3, abs=0.03)


def test_the_seed_fixes_the_errors(measurement):
    def reading(seed):
        sensors = Sensors(0.01, 0.1, 0, seed)
        sensors.next_step(len(measurement.vm))
        return sensors.read(measurement).vm

    np.testing.assert_array_equal(reading(1), reading(1))
    assert not np.array_equal(reading(1), reading(2), equal_nan=True)


def test_delay_hands_out_old_measurements(measurement):
    sensors = Sensors(0.0, 0.0, 2, seed=0)
    arrived = []
    for hour in range(5):
        sensors.next_step(len(measurement.vm))
        arrived.append(sensors.read(at(measurement, hour)).time.hour)
    assert arrived == [0, 0, 0, 1, 2]


def test_a_delayed_step_is_seen_as_its_last_round_left_it(measurement):
    sensors = Sensors(0.0, 0.0, 1, seed=0)
    for hour in range(3):
        sensors.next_step(len(measurement.vm))
        for settle_round in range(3):
            now = replace(at(measurement, hour, settle_round), vm=measurement.vm + settle_round)
            seen = sensors.read(now)
            assert seen.settle_round == settle_round
            assert seen.time.hour == max(hour - 1, 0)
            np.testing.assert_array_equal(seen.vm, measurement.vm + (2 if hour else settle_round))


def test_every_part_of_a_window_draws_its_own_errors(measurement):
    def reading(*seed_and_part):
        sensors = Sensors(0.01, 0.0, 0, *seed_and_part)
        sensors.next_step(len(measurement.vm))
        return sensors.read(measurement).vm

    np.testing.assert_array_equal(reading(3), reading(3, 0))
    np.testing.assert_array_equal(reading(3, 2), reading(3, 2))
    parts = [reading(3, part) for part in range(4)]
    assert not any(np.array_equal(parts[i], parts[j]) for i in range(4) for j in range(i))
