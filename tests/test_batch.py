"""Many steps at once give what one after another gives, for every controller that offers it."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import toy
from feederlab.controllers import registry
from feederlab.controllers.base import LOCAL, Controller, Information, Prepared, Setpoints, Settle
from feederlab.loop.sequential import Loop
from feederlab.models.feeder import Feeder
from feederlab.models.library import load
from feederlab.models.scenario import Scenario
from feederlab.models.truth import Truth
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import example_scenario

OFFERS = ["fixed_pf", "none", "volt_var", "volt_watt", "watt_var"]
SPECS = [
    "none",
    "fixed_pf:cos_phi=0.9,priority=var",
    "volt_var",
    "volt_var:curve=ieee1547_b,priority=var",
    "volt_var:curve=0.99:1/1.01:-1,damping=1,max_rounds=7",  # steep: it swings and never settles
    "volt_watt:curve=0.98:1/1.02:0",
    "watt_var:priority=var",
]


def assert_equal(batch, sequential):
    assert set(batch.data) == set(sequential.data)
    for name in batch.data:
        a, b = batch.data[name], sequential.data[name]
        assert (a.dims, a.dtype, a.attrs) == (b.dims, b.dtype, b.attrs)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def both(scenario, controller, **options):
    return [simulate(scenario, controller, RunOptions(batch=batch, **options)) for batch in (True, False)]


@pytest.fixture(scope="module")
def scenario():
    """Storage, taps, capacitor banks and two zones."""
    return example_scenario()


def heavy(scenario, steps, factor=20.0):
    """The scenario with `factor` times the load in `steps`, which has no power-flow solution."""
    profiles = dict(scenario.profiles)
    for column in ("p_mw", "q_mvar"):
        frame = profiles["load", column].to_frame()
        frame.iloc[list(steps)] *= factor
        profiles["load", column] = frame
    return Scenario.build(scenario.feeder, profiles, band=(0.95, 1.05))


def test_who_offers_it(scenario):
    task = replace(scenario.task(), forecast=Truth(scenario.series()))
    specs = {
        name: name for name in registry.BUILT_IN if name not in ("dqn", "sb3", "sklearn", "smart_meter")
    }  # from files
    specs["callable"] = "callable:f=toy_rules:droop,raw=true"
    specs["two_timescale"] = "two_timescale:every=30min"  # a multiple of the example's step
    made = {name: registry.create(spec) for name, spec in specs.items()}
    offering = [name for name, controller in made.items() if _offers(controller.prepare(task))]
    assert sorted(offering) == OFFERS
    for spec in ("volt_var:start=previous", "volt_var:response_s=10", "volt_watt:start=previous"):
        assert not _offers(registry.create(spec).prepare(task))


@pytest.mark.parametrize("spec", SPECS)
def test_no_step_is_taken_alone(spec, scenario, monkeypatch):
    taken = []
    monkeypatch.setattr(Loop, "step", lambda self, t, series, recorder: taken.append(t))
    simulate(scenario, registry.create(spec))
    assert taken == []
    simulate(heavy(scenario, [10, 11, 40]), registry.create(spec))
    assert taken == ([9, 10, 11, 39, 40] if spec.startswith("volt") else [])


def _offers(prepared):
    return type(prepared).step_batch is not Prepared.step_batch and getattr(prepared, "_from_zero", True)


@pytest.mark.parametrize("spec", SPECS)
def test_equal_on_a_day_with_every_device(spec, scenario):
    assert_equal(*both(scenario, registry.create(spec)))


@pytest.mark.parametrize("spec", ["none", "volt_var", "volt_watt:curve=0.98:1/1.02:0"])
def test_equal_on_noisy_profiles(spec, scenario):
    assert_equal(*both(scenario.window("2016-06-21 10:00", 24).with_noise(0.05, seed=3), registry.create(spec)))


@pytest.mark.parametrize("spec", ["none", "volt_var", "volt_watt:curve=0.98:1/1.02:0"])
@pytest.mark.parametrize("steps", [[0, 10, 11], [95]], ids=str)
def test_equal_around_steps_without_a_solution(spec, steps, scenario):
    batch, sequential = both(heavy(scenario, steps), registry.create(spec))
    assert np.flatnonzero(~batch.data.converged.to_numpy()).tolist() == steps
    assert_equal(batch, sequential)


def test_equal_where_two_inverters_share_a_node():
    net = toy.net()
    net.sgen.loc[1, "bus"] = 12
    scenario = Scenario.build(Feeder.from_pandapower(net), toy.profiles(net), band=(0.95, 1.05))
    batch, sequential = both(scenario, registry.create("volt_var"))
    assert_equal(batch, sequential)
    assert batch.data.q_mvar.std("time").min() > 0.01


@pytest.mark.parametrize("name", ["simbench:1-LV-rural1--1-sw", "sce47"])
def test_equal_on_shipped_feeders(name):
    scenario = load(name)
    scenario = scenario.window(scenario.start + scenario.periods // 2 * scenario.step, 48)
    for spec in ("none", "volt_var"):
        assert_equal(*both(scenario, registry.create(spec)))


@pytest.mark.parametrize("engine", ["fixed-point", "power-grid-model"])
def test_equal_on_each_engine(engine, scenario):
    assert_equal(*both(scenario.window(scenario.start, 40), registry.create("volt_var"), engine=engine))


@pytest.mark.parametrize("how", [{"vm_noise": 0.01}, {"dropout": 0.2}, {"delay": 2}], ids=str)
def test_imperfect_meters_are_read_one_step_at_a_time(how, scenario):
    batch, sequential = both(scenario.window(scenario.start, 12), registry.create("volt_var"), **how)
    for name in batch.data:
        np.testing.assert_array_equal(batch.data[name], sequential.data[name], err_msg=name)


def test_charging_storage_that_cannot_rest_is_taken_in_sequence(scenario):
    units = scenario.feeder.storages
    busy = replace(scenario.feeder, storages=replace(units, p_min_mw=np.full(len(units), 0.05)))
    batch, sequential = both(replace(scenario, feeder=busy), registry.create("none"))
    assert_equal(batch, sequential)
    assert float(batch.data.storage_p_mw[0].min()) == pytest.approx(0.05)


def test_blocks_do_not_show(scenario, monkeypatch):
    """A run is taken in blocks that bound its memory; their size changes nothing, and progress adds up."""
    from feederlab.loop import batch

    whole, controller, told = scenario, registry.create("volt_var"), []
    at_once = simulate(whole, controller)
    monkeypatch.setattr(batch, "_ROWS", 17)
    assert_equal(simulate(whole, controller, progress=told.append), at_once)
    assert told == [17] * 5 + [11]


@dataclass(frozen=True)
class Fickle(Controller):
    """Offers a whole window, and asks for no number, or for storage, from its third block on."""

    sees: ClassVar[Information] = LOCAL
    storage: bool = False
    settling: bool = False

    @property
    def settle(self):
        return Settle() if self.settling else None

    def prepare(self, task, *, seed=None):
        return FickleReady(self, task)


class FickleReady(Prepared):
    def __init__(self, settings, task):
        self.settings, self.s, self.calls = settings, task.inverters.s_mva, 0

    def step(self, state, m):
        return Setpoints(q_mvar=-0.1 * m.p_available_mw), state

    def step_batch(self, m):
        self.calls += 1
        q = -0.1 * m.p_available_mw
        if self.calls < 3:
            return Setpoints(q_mvar=q)
        return Setpoints(q_mvar=q, storage_p_mw=np.zeros(2)) if self.settings.storage else Setpoints(q_mvar=q * np.nan)


@pytest.mark.parametrize(("storage", "settling"), [(False, False), (True, False), (True, True)])
def test_what_cannot_be_taken_at_once_is_taken_in_sequence(storage, settling, scenario, monkeypatch):
    from feederlab.loop import batch

    monkeypatch.setattr(batch, "_ROWS", 20)
    told = []
    controller = Fickle(storage, settling)
    one = simulate(scenario, controller, progress=told.append)
    assert_equal(one, simulate(scenario, controller, RunOptions(batch=False)))
    assert sum(told) == 96
