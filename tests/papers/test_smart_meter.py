"""The smart-meter reproduction: the central environment is the simulator, scores by hand, a small run end to end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.none import NoControl
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.errors import InputError
from feederlab.learn.smart_meter.central import CentralEnv
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.models.arrays import FloatArray
from feederlab.papers import smart_meter_scores as scores
from feederlab.papers.reproduction import How, Reproduced
from feederlab.papers.smart_meter import SmartMeter
from feederlab.papers.smart_meter_case import AGENTS, BAND, bus_of, smart_meter_scenario
from feederlab.papers.smart_meter_scores import Score
from feederlab.papers.smart_meter_work import ClosedLoop, Lived, Recorded, gap_between, left, reward_of

DAY = pd.Timestamp("2016-06-16")


def test_the_central_environment_is_the_closed_loop() -> None:
    """A day of charging and discharging by the clock: voltages and (28) as `simulate` has them."""
    rule, env = StorageSchedule(charge="10-14", discharge="18-21"), CentralEnv(smart_meter_scenario(3), [DAY])
    lived = ClosedLoop(3, rule, (DAY,))()
    expected = reward_of(3, lived, RelaxedReward(), BAND)
    env.reset(options={"day": DAY, "soc": smart_meter_scenario(3).feeder.storages.soc})
    inside = []
    for t in range(96):
        action = 1.0 if 40 <= t < 56 else -1.0 if 72 <= t < 84 else 0.0
        _, reward, ended, over, info = env.step(np.full(3, action))
        assert reward == pytest.approx(expected[t], abs=1e-7)
        inside.append(info["in_band"])
        assert (ended, over) == (False, t == 95)
    assert env.flows == 96  # one for each step
    units = smart_meter_scenario(3).feeder.storages.bus
    mine = lived.vm[:, np.isin(smart_meter_scenario(3).feeder.bus_index, units)]
    assert inside == ((mine >= 0.95) & (mine <= 1.05)).all(axis=1).tolist()
    with pytest.raises(InputError, match="call reset"):
        env.step(np.zeros(3))


def test_both_power_flows_make_the_same_environment() -> None:
    one, two = (CentralEnv(smart_meter_scenario(3), [DAY], flow=flow) for flow in ("auto", "pandapower"))
    np.testing.assert_allclose(one.reset(seed=3)[0], two.reset(seed=3)[0], atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(6):
        action = rng.uniform(-1, 1, 3)
        a, b = one.step(action), two.step(action)
        np.testing.assert_allclose(a[0], b[0], atol=1e-5)
        assert a[1] == pytest.approx(b[1], abs=1e-5)


def test_the_central_environment_keeps_gymnasiums_promises() -> None:
    from gymnasium.utils.env_checker import check_env

    env = CentralEnv(smart_meter_scenario(3), [DAY])
    check_env(env, skip_render_check=True)
    assert env.observation_space.shape == (21,)
    with pytest.raises(InputError, match="needs storage"):
        CentralEnv(smart_meter_scenario(0), [DAY])


def test_a_household_explores_while_the_others_rest() -> None:
    history = Recorded(3, "R14", (DAY,), 0)()
    assert np.ptp(history.storage_p_mw) > 0.05
    other = ClosedLoop(3, NoControl(), (DAY,))()
    scenario = smart_meter_scenario(3)
    at = int(np.flatnonzero(scenario.feeder.bus_index == bus_of(scenario, "R14"))[0])
    resting = history.storage_p_mw == 0
    assert resting.any()
    np.testing.assert_allclose(history.vm[resting], other.vm[resting, at], atol=1e-9)  # no one else moved


def lived(vm: FloatArray) -> Lived:
    return Lived(vm, np.full((len(vm), 3), 0.03), 1.0)


def test_a_score_by_hand() -> None:
    vm = np.ones((4, 19))
    vm[0, 7], vm[1, 3], vm[2, 5], vm[3, 5] = 0.94, 1.07, 1.05 + 1e-7, 0.95
    vm[1, 4] = 0.949  # nodes without a unit
    found = Score.of(3, lived(vm), RelaxedReward(), BAND)
    assert (found.steps, found.below, found.above, found.out_of_band) == (4, 2, 1, 2)
    assert found.own == 0
    assert (found.lowest, found.highest, found.worst) == pytest.approx((0.94, 1.07, 0.02))
    assert found.use_mwh == pytest.approx(4 * 3 * 0.03 * 0.25)
    nodes = [
        smart_meter_scenario(3).feeder.bus_index.tolist().index(bus_of(smart_meter_scenario(3), n)) for n in AGENTS[3]
    ]
    outside = np.maximum(vm[:, nodes] - 1.045, 0.955 - vm[:, nodes])
    by_hand = -0.5 - np.where(outside > 0, 1 + 300 * outside, 0)
    assert found.reward == pytest.approx(by_hand.sum(axis=1).mean())


def test_which_beta_keep_the_band() -> None:
    good = Score.of(3, lived(np.ones((2, 19))), RelaxedReward(), BAND)
    bad = replace(good, out_of_band=1)
    found = {
        (3, "beta = 0.4", 0): good, (3, "beta = 0.4", 1): bad, (3, "beta = 0.5", 0): good,
        (3, "beta = 0.5", 1): good, (3, "independent agents", 0): bad, (3, "independent agents", 1): bad,
    }  # fmt: skip
    assert scores.keeping(found, 3, (0.4, 0.5, 1.0)) == [0.5]


def test_what_is_lost_against_central_training() -> None:
    class One:
        def __init__(self, reward: float) -> None:
            self.reward = np.array([reward, reward])

    value, std, count = scores.lost([One(-2.0), One(-1.0)], [-3.0, -1.0])
    assert (value, count) == (25.0, 2)
    assert std == pytest.approx(np.std([50, 0], ddof=1))
    assert math.isnan(scores.lost([One(-2.0)], [-1.0])[1])


def test_polynomials_are_fitted_on_no_test_day() -> None:
    from feederlab.papers.learnt import days_of_the_year

    for count in (1, 2, 12, 30):
        test = tuple(days_of_the_year(count, 20)[0])
        start, length = gap_between(test)
        span = pd.date_range(start, periods=length, freq="D")
        assert length >= 10
        assert not {*span} & {*test}


def test_only_the_answer_to_the_same_lesson_is_taken_over(tmp_path: Path) -> None:
    from feederlab.learn.policies.actor import Actor
    from feederlab.learn.smart_meter.estimate import fit_voltage_model
    from feederlab.learn.smart_meter.household import Household
    from feederlab.learn.smart_meter.lesson import AgentSettings, Lesson
    from feederlab.learn.smart_meter.sight import Sight

    history = Recorded(3, "R14", (DAY,), 0)()
    lesson, folder = Lesson(history, AgentSettings(stages="raw"), 3), tmp_path / "bus-10"
    layers = ((np.zeros((1, 7), np.float32), np.zeros(1, np.float32)),)
    assert history.battery is not None
    household = Household(
        Actor(layers), Sight(0.0, 1.0), fit_voltage_model(history, stages="raw"), history.battery, 900.0, BAND,
        lesson.record(), {},
    )  # fmt: skip
    assert left(tmp_path, 10, lesson) is None
    household.save(folder)
    assert left(tmp_path, 10, lesson) is None  # killed before its log was written
    (folder / "log.json").write_text("{}")
    assert left(tmp_path, 10, lesson) is not None
    for other in (
        replace(lesson, seed=4), replace(lesson, settings=AgentSettings(stages="raw", steps=1)),
        replace(lesson, history=Recorded(3, "R14", (DAY,), 1)()),
    ):  # fmt: skip
        assert left(tmp_path, 10, other) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"days": 0}, "days must be at least 1"), ({"seed": -1}, "seed must be"), ({"days": 200}, "do not fit")],
)
def test_impossible_settings(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SmartMeter(**wrong)


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    study = SmartMeter(quick=True, steps=1024)
    found = study.run(How(jobs=2, out=tmp_path / "out"))
    again = Reproduced.load(tmp_path / "out")
    assert [row.row for row in again.rows] == [row.row for row in found.rows]
    table = found.tables["Voltages, 2 unseen days"].set_index(["agents", "row"])
    for agents in AGENTS:
        assert table.loc[(agents, "multi-period OPF"), "steps below"] == 0
        assert table.loc[(agents, "multi-period OPF"), "steps above"] == 0
        assert table.loc[(agents, "no control"), "storage use MWh"] == 0
        assert table.loc[(agents, "QP, true grid"), "steps above"] == 0
    assert {row.case for row in found.rows} == {"R10", "3 agents", "6 agents"}
    told: list[str] = []
    How_ = How(jobs=2, out=tmp_path / "out", resume=True, progress=lambda what, steps, of: told.append(what))
    resumed = study.run(How_)
    assert "training" not in told  # every agent had come to its end
    for one, two in zip(found.rows, resumed.rows, strict=True):
        if "per step" not in one.quantity:
            assert one.reproduced == pytest.approx(two.reproduced, rel=1e-9, nan_ok=True)
