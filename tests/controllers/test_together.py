"""Controllers side by side: each with its own devices, its own information, its own pace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from feederlab.controllers.avr import Avr
from feederlab.controllers.base import GLOBAL, LOCAL, Controller, Decision, Information, Prepared, Setpoints
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.none import NoControl
from feederlab.controllers.random_switching import RandomSwitching
from feederlab.controllers.registry import create
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.controllers.together import Together
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.controllers.volt_var import VoltVar
from feederlab.controllers.volt_watt import VoltWatt
from feederlab.errors import InputError
from feederlab.simulate import simulate
from feederlab.testing import example_scenario


@dataclass(frozen=True)
class Saying(Controller):
    """Decides the same whatever happens."""

    word: Setpoints = field(default_factory=Setpoints)
    sees: ClassVar[Information] = LOCAL

    def prepare(self, task, *, seed=None):
        return _Saying(self.word)


class _Saying(Prepared):
    def __init__(self, word):
        self._word = word

    def step(self, state, measurement):
        return self._word, state


@pytest.fixture(scope="module")
def day():
    return example_scenario().window("2016-06-21 09:00", 16)


def test_the_settling_part_settles_as_if_it_were_alone(day):
    alone = simulate(day, VoltVar()).data
    beside = simulate(day, Together((VoltVar(), Fixed()))).data
    for name in ("q_mvar", "vm_pu", "rounds", "step"):
        np.testing.assert_allclose(beside[name], alone[name], atol=1e-12, err_msg=name)


def test_what_does_not_settle_decides_once_and_stands(day):
    run = simulate(day, Together((Avr(), VoltVar()))).data
    assert int(run.clipped.sum()) == 0
    assert (run.rounds > 1).all()
    mixed = simulate(day, Together((LinDistFlow(), VoltWatt(curve="1.0:1/1.02:0")))).data
    plain = simulate(day, Together((LinDistFlow(), NoControl()))).data
    far = np.abs(mixed.q_mvar[0] - plain.q_mvar[0]) / np.abs(plain.q_mvar[0])
    assert far.max() < 0.9 ** int(mixed.rounds[0]) * 1.01  # what is left of the way after damped rounds
    assert int(mixed.rounds[0]) > 20


def test_the_part_named_first_has_its_way(day):
    for parts, q in (((NoControl(), LinDistFlow()), 0.0), ((LinDistFlow(), NoControl()), None)):
        run = simulate(day, Together(parts)).data
        assert (float(np.abs(run.q_mvar).max()) == 0) == (q == 0.0)


def test_a_part_whose_layers_act_in_turn_has_its_second_turn(day):
    turns = TwoTimescale(RandomSwitching(), LinDistFlow(), "30min")
    alone = simulate(day, turns).data
    beside = simulate(day, Together((turns, StorageSchedule(charge="9-10")))).data
    idle = simulate(day, Together((turns, Fixed()))).data
    assert (alone.rounds == 2).any()
    np.testing.assert_array_equal(beside.rounds, alone.rounds)
    np.testing.assert_allclose(idle.q_mvar, alone.q_mvar, atol=1e-9)
    assert float(beside.storage_p_mw.max()) > 0
    settling = simulate(day, Together((turns, VoltWatt(curve="1.0:1/1.02:0")))).data
    assert float(np.abs(settling.q_mvar).min(dim="inverter").max()) > 0


def test_a_fallback_of_a_part_that_stands_is_not_forgotten(day):
    blind = Setpoints(q_mvar=np.zeros(len(day.feeder.inverters)), info=Decision("none", "held", 3, solver_time_s=0.5))
    run = simulate(day, Together((Saying(blind), VoltWatt(curve="1.0:1/1.02:0"))))
    assert (run.data.rounds > 1).any()
    assert (run.data.rung == 3).all()
    assert set(run.data.status.values) == {"held"}
    assert (run.timing.solver_s >= 0.5).all()


def test_it_sees_the_union_and_each_part_its_own(day):
    assert Together((Avr(), VoltVar())).sees == LOCAL
    both = Together((VoltVar(), LinDistFlow()))
    assert both.sees == GLOBAL
    assert both.prepare(day.task())._parts["0"].seen.sum() < day.feeder.n_nodes


@pytest.mark.parametrize(("spec", "parts"), [
    ("avr+volt_var", (Avr(), VoltVar())),
    (" avr:target=1.02 + volt_var:curve=rule21,damping=0.2", (Avr(target=1.02), VoltVar(curve="rule21", damping=0.2))),
    ("fixed:step=1/0/2+lindistflow:objective=losses=1+voltage_deviation=0.1",
     (Fixed(step="1/0/2"), LinDistFlow(objective="losses=1+voltage_deviation=0.1"))),
    ("( (avr) + (volt_var:damping=0.2) )", (Avr(), VoltVar(damping=0.2))),
    ("(two_timescale:fast=lindistflow,every=1h)+storage_schedule",
     (TwoTimescale(fast=LinDistFlow(), every="1h"), StorageSchedule())),
    ("storage_schedule+two_timescale:every=1h", (StorageSchedule(), TwoTimescale(every="1h"))),
])  # fmt: skip
def test_it_is_written_with_plus(spec, parts):
    assert create(spec) == Together(parts)


def test_parentheses_hold_an_inner_controller_together():
    spec = "two_timescale:slow=(fixed:step=1),fast=(avr:target=1.02+volt_var),every=1h"
    assert create(spec) == TwoTimescale(Fixed(step="1"), Together((Avr(target=1.02), VoltVar())), "1h")
    assert create("coordination:locals=(two_timescale:every=1h)").locals == TwoTimescale(every="1h")


@pytest.mark.parametrize(("spec", "message"), [
    ("coordination:locals=avr+volt_var", r"write coordination:locals=\(...\+...\)"),
    ("two_timescale:fast=lindistflow+storage_droop", r"or \(two_timescale:fast=lindistflow\)\+..."),
    ("coordination:locals=(avr+volt_var", "parentheses do not match"),
    ("(avr)(volt_var)", "parentheses do not match"),
    ("(avr)volt_var", "only \\+ may follow"),
    ("two_timescale:fast=(lindistflow),about=flat", "about stands behind"),
])  # fmt: skip
def test_what_a_plus_joins_must_be_clear(spec, message):
    with pytest.raises(InputError, match=message):
        create(spec)


def test_a_plus_inside_an_objective_is_no_second_controller():
    assert create("lindistflow:objective=losses+voltage_deviation") == LinDistFlow(objective="losses+voltage_deviation")


def test_what_cannot_go_together():
    with pytest.raises(InputError, match="settle in different ways"):
        Together((VoltVar(), VoltWatt(damping=0.5)))
    with pytest.raises(InputError, match="at least two"):
        Together((VoltVar(),))
