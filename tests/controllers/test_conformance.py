"""Every registered controller keeps the interface's promises, and the suite notices each broken one."""

import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from feederlab.controllers import registry
from feederlab.controllers.base import (
    GLOBAL,
    LOCAL,
    ZONE,
    Controller,
    Decision,
    Information,
    Prepared,
    Setpoints,
    Settle,
)
from feederlab.models.feeder import Feeder
from feederlab.testing import check_controller, example_scenario

VARIANTS = [
    "volt_var:curve=ieee1547_b",
    "volt_var:curve=rule21,priority=var,start=previous",
    "volt_var:curve=vde4105,response_s=10",
    "volt_watt:curve=0.98:1/1.02:0",
    "watt_var:priority=var",
    "fixed_pf:cos_phi=0.9,direction=inject,priority=var",
    "feedback:rounds=1,margin=0",
    "opf:method=sqp,curtail=true,max_loading_percent=60",
    "avr:r=0.2,x=0.3,delay=1000",
    "cap_rule:control=var",
    "cap_rule:control=time",
    "fixed:step=1/0/2,tap=-1",
    "random:taps=true,hold=2",
    "avr+volt_var",
    "cap_rule+avr+lindistflow",
    "two_timescale:slow=cap_rule,control=var,fast=volt_var,every=30min",
    "two_timescale:slow=enumerate,fast=lindistflow,about=flat,every=1h",
]


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


SPECS = {  # of those whose defaults do not fit a step of 15 minutes, or take long
    "two_timescale": "two_timescale:every=30min", "foresight": "foresight:horizon=30min", "mpc": "mpc:horizon=30min",
    "callable": "callable:f=toy_rules:droop,raw=true",
}  # fmt: skip
FROM_A_FILE = ("dqn", "sb3", "sklearn", "smart_meter")  # tests/learn make one, and check it


@pytest.fixture(scope="module")
def few(scenario):
    """The scenario with banks of one step each: eight configurations instead of 64."""
    net = copy.deepcopy(scenario.feeder.net)
    net.shunt["max_step"] = 1
    return replace(scenario, feeder=Feeder.from_pandapower(net))


@pytest.mark.parametrize("spec", [*(SPECS.get(n, n) for n in registry.BUILT_IN if n not in FROM_A_FILE), *VARIANTS])
def test_registered_controllers_conform(spec, scenario, few):
    check_controller(registry.create(spec), few if "enumerate" in spec else scenario)


@dataclass(frozen=True)
class Sinner(Controller):
    """Breaks one promise, named by a function of (prepared, state, measurement)."""

    sees: ClassVar[Information] = LOCAL
    decide: object = field(default=None, compare=False)

    def prepare(self, task, *, seed=None):
        return Ready(task, self.decide, seed)


@dataclass(frozen=True)
class ZoneSinner(Sinner):
    sees: ClassVar[Information] = ZONE


@dataclass(frozen=True)
class GlobalSinner(Sinner):
    sees: ClassVar[Information] = GLOBAL


class Ready(Prepared):
    def __init__(self, task, decide, seed):
        self.task, self.decide, self.calls = task, decide, 0
        self.s, self.node = task.inverters.s_mva, task.inverters.node
        self.rng = np.random.default_rng(seed)

    def initial_state(self):
        return {"seen": np.zeros(len(self.s)), "count": np.zeros(1)}

    def step(self, state, measurement):
        self.calls += 1
        return self.decide(self, state, measurement)


def idle(state, q, **more):
    return Setpoints(q_mvar=np.asarray(q, dtype=float), **more), state


def keeps_everything(self, state, m):
    vm = np.where(np.isfinite(m.vm[self.node]), m.vm[self.node], 1.0)
    return idle({**state, "seen": vm, "count": state["count"] + 1}, 0.1 * self.s * np.clip(1 - vm, -1, 1))


def reads_its_neighbour(self, state, m):
    vm = np.nan_to_num(m.vm[self.node], nan=1.0)
    return idle(state, 0.1 * self.s * np.roll(1 - vm, 1))


def reads_its_neighbours_power(self, state, m):
    return idle(state, 0.01 * self.s * np.tanh(np.nan_to_num(m.q_mvar).sum()))


def remembers_its_neighbour(self, state, m):
    return idle({**state, "seen": np.roll(np.nan_to_num(m.vm[self.node], nan=1.0), 1)}, 0 * self.s)


def reads_its_neighbours_rating(self, state, m):
    return idle(state, np.full(len(self.s), 0.01 * self.s.sum()))


def asks_for_the_grid(self, state, m):
    return idle(state, 0 * self.s * self.task.grid().n_nodes)


def stores_instead_of_passing(self, state, m):
    return idle(state, 0.01 * self.s * np.sin(self.calls))


def draws_from_a_hidden_generator(self, state, m):
    return idle(state, 0.01 * self.s * self.rng.random())


def draws_without_a_seed(self, state, m):
    return idle(state, 0.01 * self.s * np.random.default_rng().random())


def changes_the_state(self, state, m):
    state["count"] += 1
    return idle(state, 0 * self.s)


def writes_into_the_measurement(self, state, m):
    m.vm[0] = 1.0
    return idle(state, 0 * self.s)


def keeps_an_object(self, state, m):
    return idle({**state, "solver": object()}, 0 * self.s)


def has_the_wrong_shape(self, state, m):
    return idle(state, np.zeros(len(self.s) + 1))


def exceeds_the_rating(self, state, m):
    return idle(state, 1.1 * self.s)


def asks_for_more_than_the_sun(self, state, m):
    return idle(state, 0 * self.s, p_mw=self.s)


def is_not_finite(self, state, m):
    return idle(state, np.nan * self.s)


def raises_on_lost_readings(self, state, m):
    if np.isnan(m.vm[self.node]).any():
        raise ValueError("no voltage")
    return idle(state, 0 * self.s)


def never_recovers(self, state, m):
    seen = state["seen"] + m.vm[self.node]
    return idle({**state, "seen": seen}, 0.01 * self.s * np.tanh(seen))


def half_a_tap(self, state, m):
    return idle(state, 0 * self.s, tap=np.array([0.5]))


def returns_no_decision(self, state, m):
    return Setpoints(info="fine"), state


SINS = [
    (Sinner, reads_its_neighbour, "non-interference: decision 0: q_mvar of inverters[0] follows"),
    (Sinner, reads_its_neighbours_power, "non-interference: decision 0: q_mvar of inverters[0] follows"),
    (Sinner, remembers_its_neighbour, "non-interference: decision 0: the state's row of inverters[0] follows"),
    (Sinner, reads_its_neighbours_rating, "non-interference: decision 0: q_mvar of inverters[0] follows"),
    (ZoneSinner, reads_its_neighbour, "of zone 'north' follows what it may not see"),
    (ZoneSinner, reads_its_neighbours_power, "of zone 'south' follows what it may not see"),
    (Sinner, asks_for_the_grid, "raised LookupError: a LOCAL controller is not given the grid model"),
    (Sinner, stores_instead_of_passing, "differs when the same run is repeated after other solves"),
    (GlobalSinner, stores_instead_of_passing, "pure: equal state and measurement give different setpoints"),
    (Sinner, draws_from_a_hidden_generator, "pure: equal state and measurement give different setpoints"),
    (Sinner, draws_without_a_seed, "differs when the controller is rebuilt"),
    (Sinner, changes_the_state, "pure: step() changes the state it is given"),
    (Sinner, writes_into_the_measurement, "read-only"),
    (Sinner, keeps_an_object, "plain state: the state holds object"),
    (Sinner, has_the_wrong_shape, "sane: decision 0: q_mvar has shape (7,), not (6,)"),
    (Sinner, exceeds_the_rating, "leaves the devices' limits"),
    (Sinner, asks_for_more_than_the_sun, "p_mw = "),
    (Sinner, is_not_finite, "q_mvar is not finite"),
    (Sinner, raises_on_lost_readings, "robust: raised ValueError on lost voltages: no voltage"),
    (Sinner, never_recovers, "robust: after lost voltages: q_mvar is not finite"),
    (Sinner, half_a_tap, "tap must hold integers"),
    (Sinner, returns_no_decision, "Setpoints.info must be a Decision, not str"),
]


@pytest.mark.parametrize(("cls", "decide", "message"), SINS, ids=[f"{c.__name__}-{d.__name__}" for c, d, _ in SINS])
def test_a_broken_promise_is_named(cls, decide, message, scenario):
    with pytest.raises(AssertionError) as caught:
        check_controller(cls(decide), scenario)
    assert message in str(caught.value)


@dataclass(frozen=True)
class BatchSinner(Controller):
    """Steers q by the sun (or, settling, by the voltage); `together` says what it answers for many steps at once."""

    sees: ClassVar[Information] = LOCAL
    together: object = field(default=None, compare=False)
    start: str = ""

    @property
    def settle(self):
        return Settle(self.start, 0.5) if self.start else None

    def prepare(self, task, *, seed=None):
        return BatchReady(task, self)


class BatchReady(Prepared):
    def __init__(self, task, settings):
        self.s, self.node, self.settings = task.inverters.s_mva, task.inverters.node, settings

    def rule(self, vm, available):
        signal = 1 - np.nan_to_num(vm, nan=1.0) if self.settings.start else -0.1 * available
        return Setpoints(q_mvar=np.clip(signal, -0.5, 0.5) * self.s)

    def step(self, state, m):
        return self.rule(m.vm[self.node], m.p_available_mw), state

    def step_batch(self, m):
        return self.settings.together(self, m)


def keeps_its_word(self, m):
    return self.rule(m.vm[:, self.node], m.p_available_mw)


def decides_otherwise(self, m):
    return Setpoints(q_mvar=self.rule(m.vm[:, self.node], m.p_available_mw).q_mvar * (1 + 1e-3))


def forgets_the_hour(self, m):
    return Setpoints(q_mvar=self.rule(m.vm[0, self.node], m.p_available_mw[0]).q_mvar)


def moves_storage(self, m):
    return replace(keeps_its_word(self, m), storage_p_mw=np.zeros(2))


BATCH_SINS = [
    (decides_otherwise, "", "batch: decision 1 of step_batch differs from that of step"),
    (decides_otherwise, "zero", "batch: q_mvar of a run with step_batch differs from that of one without"),
    (forgets_the_hour, "", "batch: decision 1 of step_batch differs from that of step"),
    (moves_storage, "", "batch: step_batch may move inverters only"),
    (keeps_its_word, "previous", "batch: step_batch must not be offered where a settling loop goes on"),
]


@pytest.mark.parametrize(("together", "start", "message"), BATCH_SINS)
def test_a_broken_promise_about_many_steps_is_named(together, start, message, scenario):
    with pytest.raises(AssertionError) as caught:
        check_controller(BatchSinner(together, start), scenario)
    assert message in str(caught.value)


@pytest.mark.parametrize("start", ["", "zero"])
def test_whoever_decides_many_steps_alike_passes(start, scenario):
    check_controller(BatchSinner(keeps_its_word, start), scenario)


@pytest.mark.parametrize("cls", [Sinner, ZoneSinner, GlobalSinner])
def test_a_blameless_controller_passes(cls, scenario):
    check_controller(cls(keeps_everything), scenario)


def test_who_sees_everything_may_use_everything(scenario):
    check_controller(GlobalSinner(reads_its_neighbour), scenario)
    check_controller(GlobalSinner(asks_for_the_grid), scenario)


def test_a_controller_must_be_immutable(scenario):
    @dataclass
    class Thawed(Controller):
        sees: ClassVar[Information] = LOCAL

        def prepare(self, task, *, seed=None):
            return Ready(task, keeps_everything, seed)

    with pytest.raises(AssertionError, match="must be a frozen dataclass"):
        check_controller(Thawed(), scenario)


def test_a_setpoint_carries_a_decision_by_default():
    assert Setpoints().info == Decision()
