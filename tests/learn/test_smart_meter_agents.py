"""Agents learn alone: from their own meter, in their own process; deployed, each acts on its own meter."""

import dataclasses
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from feederlab.controllers.base import Scope
from feederlab.controllers.coordination import Coordination
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.policies.actor import Actor
from feederlab.learn.smart_meter.agents import ANSWERS, Lost, Taught, household_folder, train_agents
from feederlab.learn.smart_meter.controller import SmartMeterAgents
from feederlab.learn.smart_meter.estimate import fit_voltage_model
from feederlab.learn.smart_meter.history import Battery, MeterHistory
from feederlab.learn.smart_meter.household import POLICY, VOLTAGE, Household
from feederlab.learn.smart_meter.known import Known, decisions
from feederlab.learn.smart_meter.lesson import AgentSettings, Lesson
from feederlab.learn.smart_meter.memory import battery_of
from feederlab.learn.smart_meter.recording import record
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.smart_meter.sight import Sight
from feederlab.models.scenario import Scenario
from feederlab.models.thevenin import Guard
from feederlab.papers.smart_meter_case import AGENTS, bus_of, smart_meter_scenario
from feederlab.simulate import simulate
from feederlab.testing import check_controller, example_scenario

DAYS = ["2016-03-01", "2016-06-05"]
SHORT = AgentSettings(steps=1024, rollout=256, copies=4, epochs=2, hidden=(8,), stages="H")


@pytest.fixture(scope="module")
def scenario():
    return smart_meter_scenario(3)


@pytest.fixture(scope="module")
def buses(scenario):
    return [bus_of(scenario, name) for name in AGENTS[3]]


@pytest.fixture(scope="module")
def histories(scenario, buses):
    return record(scenario, buses, DAYS, seed=1)


@pytest.fixture(scope="module")
def taught(histories, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    found = train_agents({bus: Lesson(one, SHORT, seed=4) for bus, one in histories.items()}, folder, jobs=2)
    return folder, found


def invented(scenario: Scenario, row: int, seed: int = 0) -> Household:
    """A household with random weights for a storage unit, its voltage model fitted on invented readings."""
    import pandas as pd

    rng, battery = np.random.default_rng([seed, row]), battery_of(scenario.feeder.storages, row)
    count = 300
    demand, power = rng.uniform(0, 0.1, count), rng.uniform(battery.p_min_mw, battery.p_max_mw, count)
    times = pd.date_range("2016-01-01", periods=count, freq=scenario.step)
    vm = 1.0 - 0.1 * (demand + power) + 1e-3 * rng.standard_normal(count)
    history = MeterHistory(
        "invented", scenario.step.total_seconds(), times, vm, demand, 0.3 * demand, power, battery
    )  # fmt: skip
    sizes = [7, 8, 1]
    layers = tuple(
        (rng.normal(size=(out, into)).astype(np.float32), rng.normal(size=out).astype(np.float32))
        for into, out in itertools.pairwise(sizes)
    )  # fmt: skip
    model = fit_voltage_model(history, stages="H")
    return Household(Actor(layers), Sight.of(demand), model, battery, history.step_s, (0.95, 1.05), {}, {})


def settle(scenario: Scenario, folder: Path) -> Path:
    """Write an invented household for every storage unit of a scenario."""
    for row, bus in enumerate(scenario.feeder.storages.bus.tolist()):
        invented(scenario, row).save(household_folder(folder, bus))
    return folder


# --- what an agent gets, and what it gives


def kinds(cls: type) -> set[type]:
    """Every type that a dataclass can hold, however deep."""
    found: set[type] = set()
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        parts = [hints[field.name]]
        while parts:
            part = parts.pop()
            inside = typing.get_args(part)
            if inside and typing.get_origin(part) is not np.ndarray:
                parts += [one for one in inside if one is not Ellipsis]
                continue
            found.add(part)
            if dataclasses.is_dataclass(part):
                found |= kinds(part)
    return found


def test_a_lesson_can_hold_one_meter_and_nothing_else():
    """By construction: no type in the payload could carry a grid, a scenario, or another meter."""
    held = kinds(Lesson)
    assert {one for one in held if dataclasses.is_dataclass(one)} == {
        MeterHistory, Battery, AgentSettings, RelaxedReward
    }  # fmt: skip
    assert [f.name for f in dataclasses.fields(MeterHistory)] == [
        "name", "step_s", "times", "vm", "demand_p_mw", "demand_q_mvar", "storage_p_mw", "battery"
    ]  # fmt: skip


def test_a_lesson_as_a_file_is_the_same_lesson(histories, buses, tmp_path):
    lesson = Lesson(histories[buses[0]], SHORT, seed=9)
    lesson.save(tmp_path)
    again = Lesson.load(tmp_path)
    assert (again.settings, again.seed, again.history.battery) == (SHORT, 9, lesson.history.battery)
    for name in ("vm", "demand_p_mw", "demand_q_mvar", "storage_p_mw"):
        np.testing.assert_array_equal(getattr(again.history, name), getattr(lesson.history, name))
    (tmp_path / "lesson.json").write_text("{}")
    with pytest.raises(ResultFileError, match="lesson"):
        Lesson.load(tmp_path)


def test_every_agent_learns_and_says_what_it_took(taught, buses):
    folder, found = taught
    assert list(found) == buses
    for bus, one in found.items():
        assert isinstance(one, Taught), one
        assert one.folder == folder / f"bus-{bus}"
        assert sorted(path.name for path in one.folder.iterdir()) == sorted(ANSWERS)
        assert one.log["steps"] == SHORT.steps
        assert len(one.log["curve"]) == SHORT.steps // SHORT.rollout
        assert 0 < one.log["fit_s"] + one.log["train_s"] < one.seconds
        assert one.household.training["seed"] == 4


def test_no_other_meter_moves_a_weight(taught, scenario, buses, histories, tmp_path):
    """All other meters' readings are replaced; the weights of this agent stay what they were, to the last bit."""
    folder, _ = taught
    mine, other = buses[1], buses[2]
    rng, theirs = np.random.default_rng(0), histories[other]
    replaced = dataclasses.replace(
        theirs, vm=rng.uniform(0.9, 1.1, len(theirs)), demand_p_mw=rng.uniform(0, 0.2, len(theirs)),
        storage_p_mw=np.roll(theirs.storage_p_mw, 7),
    )  # fmt: skip
    lessons = {other: Lesson(replaced, SHORT, seed=4), mine: Lesson(histories[mine], SHORT, seed=4)}
    train_agents(lessons, tmp_path, jobs=2)
    for name in (POLICY, VOLTAGE):
        before, after = ((household_folder(base, mine) / name).read_bytes() for base in (folder, tmp_path))
        assert before == after
        before, after = ((household_folder(base, other) / name).read_bytes() for base in (folder, tmp_path))
        assert before != after  # the change was one that does move weights


def test_a_lost_agent_is_reported_and_the_others_go_on(histories, buses, tmp_path):
    """One is killed, one has too short a history; the third learns."""
    killed, short, well = buses
    few = histories[short]._rows(np.arange(len(histories[short])) < 20)
    lessons = {
        killed: Lesson(histories[killed], dataclasses.replace(SHORT, steps=256 * 40_000)), short: Lesson(few, SHORT),
        well: Lesson(histories[well], SHORT),
    }  # fmt: skip
    older = household_folder(tmp_path, killed)
    invented(smart_meter_scenario(3), 0).save(older)
    ended = []

    def strike(bus, pid):
        if bus == killed:
            os.kill(pid, signal.SIGKILL)

    found = train_agents(lessons, tmp_path, jobs=2, started=strike, progress=lambda bus, _: ended.append(bus))
    assert isinstance(found[killed], Lost)
    assert "SIGKILL" in found[killed].reason
    assert not list(older.iterdir())  # nothing stands where it has not answered
    assert isinstance(found[short], Lost)
    assert found[short].reason.startswith("InputError: ")
    assert isinstance(found[well], Taught)
    assert sorted(ended) == sorted(buses)


def test_impossible_requests(histories, buses, tmp_path):
    with pytest.raises(InputError, match="at least one lesson"):
        train_agents({}, tmp_path)
    with pytest.raises(InputError, match="jobs"):
        train_agents({buses[0]: Lesson(histories[buses[0]], SHORT)}, tmp_path, jobs=0)
    with pytest.raises(InputError, match="no storage"):
        Lesson(dataclasses.replace(histories[buses[0]], battery=None))
    with pytest.raises(InputError, match="shared evenly"):
        AgentSettings(rollout=100, copies=16)
    with pytest.raises(UnknownNameError):
        AgentSettings(stages="most")
    for wrong in ({"steps": 0}, {"discount": 2.0}, {"band": (1.05, 0.95)}):
        with pytest.raises(InputError):
            AgentSettings(**wrong)


def test_ppo_finds_the_best_action_of_a_household_whose_answer_is_known():
    """A household whose voltage is exactly 1.06 - 0.5 P: what (28) wants there can be worked out by hand."""
    import pandas as pd

    from feederlab.learn.smart_meter.agent import ppo
    from feederlab.learn.smart_meter.rehearsal import Rehearsal
    from feederlab.learn.smart_meter.vector import SmartMeterVecEnv

    class Exact:
        guard = Guard()

        def predict(self, p, known):
            return 1.06 - 0.5 * np.broadcast_to(np.asarray(p, dtype=float), np.shape(known.demand_p_mw))

    exact = Exact()
    battery = Battery(-0.06, 0.06, 0.3, 2.7, 1.5, 1.0)
    times = pd.date_range("2016-01-01", periods=96, freq="15min")
    flat = np.full(96, 0.02)
    history = MeterHistory("known", 900.0, times, np.full(96, 1.06), flat, 0 * flat, 0 * flat, battery)
    # Inside needs half the rate, which costs 0.5; less costs 1 + 300 times what is missed, and more costs more.
    chosen = AgentSettings(steps=12_288, hidden=(16,), log_std=-1.0)
    actor, curve = ppo(SmartMeterVecEnv(Rehearsal(history, exact, copies=16)), chosen, 0)
    rehearsal = Rehearsal(history, exact)
    rehearsal.begin(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([0.5]))
    action = float(actor(rehearsal.seen())[0, 0])
    assert 0.49 < action < 0.8  # above the best by what its exploration makes wise, and far from resting or full rate
    assert np.mean(curve[-3:]) > np.mean(curve[:3]) + 0.5


# --- deployed


def test_it_keeps_the_promises_of_a_controller(tmp_path):
    case = example_scenario()
    folder = str(settle(case, tmp_path))
    for beta in (1.0, 0.4):
        controller = SmartMeterAgents(folder, beta=beta)
        assert controller.sees.scope is Scope.LOCAL
        check_controller(controller, case)
    check_controller(Coordination(SmartMeterAgents(folder), "lindistflow"), case)


def test_it_is_registered_and_needs_no_torch(tmp_path):
    folder = settle(example_scenario(), tmp_path)
    code = (
        "import sys; from feederlab.controllers.registry import create; from feederlab.testing import example_scenario;"
        f"case = example_scenario(); create('smart_meter:policies={folder},beta=0.5').prepare(case.task());"
        "print([name for name in ('torch', 'stable_baselines3', 'sklearn') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_an_agent_sees_deployed_is_what_it_learnt_with(scenario, buses, taught):
    """The state of a run by hand: E and Z, voltages and demands from the result, as `Known` has them."""
    folder, _ = taught
    window = scenario.window("2016-06-21T06:00", 40)
    controller = SmartMeterAgents(str(folder))
    result = simulate(window, controller)
    data, series, row = result.data, window.series(), 1
    household = Household.load(household_folder(folder, buses[row]))
    history = MeterHistory.read(window, result, buses[row])
    rows, known = decisions(history, household.model.guard)
    led = Known.first(history.vm[0], history.p_mw[0], history.q_mvar[0], household.model.guard)
    soc = data["soc"].to_numpy()[:, row]
    assert np.isfinite(series.load_mva).all()
    for t in range(1, len(history)):
        led = led.then(history.vm[t], history.p_mw[t], history.q_mvar[t], household.model.guard)
    for k in range(20, len(rows)):
        t = rows[k]
        rest = float(household.model.predict(0.0, known[k]))
        state = [
            history.demand_p_mw[t], soc[t], rest, history.vm[t - 1], history.vm[t - 2], history.demand_p_mw[t - 1],
            history.demand_p_mw[t - 2],
        ]  # fmt: skip
        asked = float(household.actor(household.sight.read(np.array(state)))[0]) * 0.06
        assert history.storage_p_mw[t] == pytest.approx(asked, abs=1e-6)


def test_beta_scales_what_is_done(scenario, buses, taught):
    folder, _ = taught
    window = scenario.window("2016-06-21T10:00", 1)
    full, half = (simulate(window, SmartMeterAgents(str(folder), beta=beta)).data for beta in (1.0, 0.5))
    np.testing.assert_allclose(half["storage_p_mw"], 0.5 * full["storage_p_mw"], atol=1e-12)
    assert np.abs(full["storage_p_mw"]).max() > 1e-4


def test_beta_shrinks_the_energy_too(scenario, taught, buses):
    """(34): with beta, SOC leaves its start by no more than beta times the way to its limits."""
    folder, _ = taught
    task = scenario.task()
    prepared = SmartMeterAgents(str(folder), beta=0.5).prepare(dataclasses.replace(task, feeder=None))
    agent = prepared._agents[0]
    start, low, high = 1.5 / 2.7, 0.3, 2.7
    assert agent._energy(start) == pytest.approx(1.5)
    assert agent._energy((1.5 + 0.5 * (high - 1.5)) / 2.7) == pytest.approx(high)
    assert agent._energy((1.5 + 0.5 * (low - 1.5)) / 2.7) == pytest.approx(low)


def test_a_policy_that_does_not_fit_is_refused(scenario, buses, taught, tmp_path):
    folder, _ = taught
    task = scenario.task()
    with pytest.raises(InputError, match="policies=FOLDER"):
        SmartMeterAgents().prepare(task)
    for anywhere in (task, smart_meter_scenario(0).task()):  # without storage, too
        with pytest.raises(ResultFileError, match="there is no such folder"):
            SmartMeterAgents(str(tmp_path / "none")).prepare(anywhere)
    with pytest.raises(InputError, match="no policy for the storage at bus"):
        SmartMeterAgents(str(folder)).prepare(smart_meter_scenario(6).task())
    other = smart_meter_scenario(0).with_devices(storages=dict.fromkeys(buses, (0.05, 3.0)))
    with pytest.raises(InputError, match="p_max_mw"):
        SmartMeterAgents(str(folder)).prepare(other.task())
    with pytest.raises(InputError, match="acts every 900 s"):
        SmartMeterAgents(str(folder)).prepare(scenario.resample("1h").task())
    with pytest.raises(InputError, match="beta"):
        SmartMeterAgents(str(folder), beta=0.0)


def test_a_touched_household_is_refused(tmp_path):
    case = smart_meter_scenario(3)
    one, two = (invented(case, 0, seed=seed) for seed in (0, 1))
    one.save(tmp_path / "one")
    two.save(tmp_path / "two")
    again = Household.load(tmp_path / "one")
    assert (again.battery, again.step_s, again.band, again.sight) == (one.battery, 900.0, one.band, one.sight)
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    np.testing.assert_array_equal(again.actor(x), one.actor(x))
    mixed = tmp_path / "two" / VOLTAGE
    mixed.write_bytes((tmp_path / "one" / VOLTAGE).read_bytes())
    with pytest.raises(ResultFileError, match="was taught with"):
        Household.load(tmp_path / "two")
    whole = (tmp_path / "one" / POLICY).read_bytes()
    for place in range(0, len(whole), max(len(whole) // 25, 1)):
        broken = bytearray(whole)
        broken[place] ^= 0x41
        (tmp_path / "one" / POLICY).write_bytes(bytes(broken))
        with pytest.raises(ResultFileError):
            Household.load(tmp_path / "one")
    (tmp_path / "one" / POLICY).unlink()
    with pytest.raises(ResultFileError, match="cannot read"):
        Household.load(tmp_path / "one")


def test_the_record_of_a_run_names_the_policies(tmp_path):
    case = smart_meter_scenario(3)
    folder = settle(case, tmp_path)
    controller = create(f"smart_meter:policies={folder}")
    assert len(controller.reads) == 3
    assert pickle.loads(pickle.dumps(controller)) == controller
    run = simulate(case.window("2016-06-21T12:00", 2), controller)
    assert len(json.loads(json.dumps(run.provenance))["reads"]) == 3
