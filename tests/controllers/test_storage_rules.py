"""Storage droop, schedule and exploration: their curves and hours, what the SOC allows, and bad settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.registry import create
from feederlab.controllers.storage_rating import power_range
from feederlab.errors import InputError, UnknownNameError
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import example_scenario
from feederlab.testing.trials import measurements


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


def first(scenario, spec, **changes):
    """The first decision of a controller on a measurement with these changes."""
    measured = replace(measurements(scenario, 0)[0], **changes)
    ready = create(spec).prepare(replace(scenario.task(), feeder=None))
    return ready.step(ready.initial_state(), measured)[0].storage_p_mw


def flat(scenario, vm):
    return np.full(scenario.feeder.n_nodes, vm)


@pytest.mark.parametrize(
    ("vm", "share"), [(0.90, -1), (0.95, -1), (0.97, -0.5), (1.0, 0), (1.01, 0), (1.03, 0.5), (1.10, 1)]
)
def test_droop_follows_its_curve(scenario, vm, share):
    p = first(scenario, "storage_droop:damping=1", vm=flat(scenario, vm))
    np.testing.assert_allclose(p, share * scenario.feeder.storages.p_max_mw, atol=1e-12)


def test_droop_goes_part_of_the_way(scenario):
    now = np.array([0.1, -0.2])
    p = first(scenario, "storage_droop:damping=0.25", vm=flat(scenario, 1.05), storage_p_mw=now)
    np.testing.assert_allclose(p, now + 0.25 * (0.3 - now))


def test_droop_uses_the_rate_of_each_direction(scenario):
    units = replace(scenario.feeder.storages, p_min_mw=np.array([-0.1, -0.3]))
    ready = create("storage_droop:damping=1").prepare(replace(scenario.task(), feeder=None, storages=units))
    measured = replace(measurements(scenario, 0)[0], vm=flat(scenario, 0.9))
    np.testing.assert_allclose(ready.step(ready.initial_state(), measured)[0].storage_p_mw, [-0.1, -0.3])


@pytest.mark.parametrize(("vm", "soc"), [(1.1, 1.0), (0.9, 0.1)])
def test_full_or_empty_units_stand_still(scenario, vm, soc):
    p = first(scenario, "storage_droop:damping=1", vm=flat(scenario, vm), soc=np.array([soc, 0.5]))
    assert p[0] == pytest.approx(0.0, abs=1e-12)
    assert abs(p[1]) == pytest.approx(0.3)


def test_power_range_is_what_the_plant_does(scenario):
    feeder = scenario.feeder
    plant, start, rng = Plant(feeder, engine(feeder), 0.25), DeviceState.initial(feeder), np.random.default_rng(0)
    for soc in rng.uniform(0.0, 1.0, (20, 2)):
        low, high = power_range(feeder.storages, soc, 0.25)
        for side, wanted in ((low, -1.0), (high, 1.0)):
            state, _ = plant.apply(replace(start, soc=soc), Wanted(storage_p_mw=np.full(2, wanted)), np.zeros(6))
            np.testing.assert_allclose(state.storage_p_mw, side, atol=1e-12)


@pytest.mark.parametrize(
    ("time", "share"),
    [("09:59", 0), ("10:00", 0.5), ("12:30", 0.5), ("13:00", 0), ("21:59", 0), ("22:00", -0.5), ("03:00", -0.5)],
)
def test_schedule_keeps_its_hours(scenario, time, share):
    spec = "storage_schedule:charge=10-12.5/12.5-13,discharge=22-4.5,share=0.5"
    p = first(scenario, spec, time=pd.Timestamp(f"2016-06-21 {time}"))
    np.testing.assert_allclose(p, 0.3 * share * np.ones(2))


def test_schedule_over_a_day_keeps_the_energy(scenario):
    run = simulate(scenario, create("storage_schedule:charge=0-12,discharge=12-24")).data
    soc = run["soc"].to_numpy()
    assert soc.max() == pytest.approx(1.0)
    assert soc.min() == pytest.approx(0.1)
    assert run["clipped"].sum() == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("storage_droop:damping=0", "damping must lie above 0"),
        ("storage_droop:curve=1.0:0/0.9:1", "must ascend"),
        ("storage_schedule:charge=10-25", "'10-25' are no hours"),
        ("storage_schedule:charge=noon", "'noon' are no hours"),
        ("storage_schedule:charge=10-18,discharge=17-22", "overlap at 17 h"),
        ("storage_schedule:share=2", "above 0 and at most 1"),
        ("random_storage:share=0", "above 0 and be at most 1"),
        ("random_storage:rest=1", r"rest lie in \[0, 1\)"),
        ("random_storage:active=1-3", "e.g. 0/2/5"),
    ],
)
def test_bad_settings(spec, message):
    with pytest.raises(InputError, match=message):
        create(spec)


def test_unknown_curve():
    with pytest.raises(UnknownNameError, match="did you mean 'steep'"):
        create("storage_droop:curve=steeep")


def test_random_storage_explores_within_rates_and_energy(scenario):
    units = scenario.feeder.storages

    def powers(spec, seed):
        run = simulate(scenario, create(spec), RunOptions(seed=seed)).data
        assert not run["clipped"].any()
        energy = run["energy_mwh"].to_numpy()
        assert (energy >= units.e_min_mwh - 1e-9).all()
        assert (energy <= units.e_max_mwh + 1e-9).all()
        return run["storage_p_mw"].to_numpy()

    p = powers("random_storage", 3)
    assert (p.max(axis=0) > 0.7 * units.p_max_mw).all()
    assert (p.min(axis=0) < 0.7 * units.p_min_mw).all()
    np.testing.assert_array_equal(powers("random_storage", 3), p)
    assert (powers("random_storage", 4) != p).any()
    assert 0.4 < (p == 0).mean() < 0.6
    assert (powers("random_storage:rest=0", 3) != 0).mean() > 0.9
    assert np.abs(powers("random_storage:share=0.2", 3)).max() <= 0.2 * units.p_max_mw.max()
    held = powers("random_storage:hold=4,share=0.2", 3)
    np.testing.assert_array_equal(held[0:4], held[[0, 0, 0, 0]])
    alone = powers("random_storage:active=1", 3)
    assert (alone[:, 0] == 0).all()
    np.testing.assert_array_equal(alone[:2, 1], p[:2, 1])


def test_random_storage_of_units_that_are_not_there(scenario):
    with pytest.raises(InputError, match="there is no storage 7 that can be controlled; there are 0, 1"):
        create("random_storage:active=1/7").prepare(scenario.task())
