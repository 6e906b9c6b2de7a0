"""Perfect foresight: the plant follows the plan, nothing is cheaper, failure has a ladder, bad settings are named."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from feederlab.certificate import Certificate
from feederlab.certify import certify, lower_bounds
from feederlab.controllers.base import Measurement
from feederlab.controllers.foresight import Foresight
from feederlab.controllers.ladder import CONVEX, HELD, LOOSER
from feederlab.controllers.none import NoControl
from feederlab.controllers.opf import Opf
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.errors import InputError
from feederlab.metrics import score
from feederlab.models.multiperiod.opf import MultiPeriodOpf
from feederlab.models.objective import Objective
from feederlab.simulate import RunOptions, simulate


@pytest.fixture(scope="module")
def day(scenario):
    """A third of a day on CIGRE LV with three batteries, in hours."""
    units = {10: (0.06, 0.3), 15: (0.06, 0.3), 18: (0.06, 0.3)}
    return scenario("cigre_lv").with_devices(storages=units).resample("1h").window("2016-06-21 10:00", 8)


def total(run):
    return float((run.data["realised"] + run.data["penalty"]).sum())


@pytest.mark.parametrize("objective", ["losses", "substation_import=1+storage_use=0.02"])
def test_the_plant_follows_the_plan(day, objective):
    run = simulate(day, Foresight(), RunOptions(objective=Objective.parse(objective)))
    data, units = run.data, day.feeder.storages
    assert (data["rung"] == 0).all()
    assert (data["clipped"] == 0).all()
    realised = data["realised"] + data["penalty"]
    np.testing.assert_allclose(realised, data["objective"], rtol=1e-6, atol=1e-12)
    p = data["storage_p_mw"].to_numpy()
    gain = np.where(p > 0, p * units.efficiency, p / units.efficiency)
    np.testing.assert_allclose(data["energy_mwh"][-1], units.soc * units.e_max_mwh + gain.sum(axis=0), atol=1e-6)
    assert (data["energy_mwh"][-1] >= units.soc * units.e_max_mwh - 1e-6).all()
    assert int(data["iterations"][0]) > 0
    assert (data["iterations"][1:] == 0).all()


def test_it_is_the_cheapest_and_certified(day):
    """Of runs that end as full: steps on their own cost more, and the bound of the window meets the plan."""
    task, options = day.task(), RunOptions()
    runs = {"foresight": simulate(day, Foresight(), options), "none": simulate(day, NoControl(), options)}
    runs["opf"] = simulate(day, Opf(), options)
    bounds = lower_bounds(day, task)
    assert total(runs["foresight"]) < total(runs["opf"]) < total(runs["none"])
    own = certify(day, task, runs["foresight"].data)
    assert 0 <= own.gap_percent < 1e-3
    assert own.window_bound == pytest.approx(float(bounds["window_bound"]), rel=1e-5)
    for run in runs.values():
        found = Certificate.of(run.data, bounds)
        assert found.gap_percent == pytest.approx(100 * (total(run) / found.window_bound - 1))
        assert score(replace(run, certificate=bounds))["gap_penalised_pct"] == found.gap_percent
    assert Certificate.of(runs["opf"].data, bounds).step_percent.max() < 1e-3  # for storage at rest it is the best


def test_a_run_is_held_against_schedules_that_leave_as_much(day):
    """A unit that was emptied saves imports; the bound of its window may empty it too."""
    task = day.task("substation_import")
    imports = RunOptions(objective=Objective.parse("substation_import"))
    emptied = simulate(day, StorageSchedule(charge="", discharge="10-18", share=0.4), imports)
    rested = float(lower_bounds(day, task)["window_bound"])
    found = certify(day, task, emptied.data)
    assert found.window_bound < rested - 0.1
    assert found.window_bound <= total(emptied)
    assert 0 <= found.gap_percent < 5


def test_a_window_too_long_to_bound_has_no_gap(day, monkeypatch):
    """Not even one against the steps' own bounds, which know nothing of other storage schedules."""
    monkeypatch.setattr(importlib.import_module("feederlab.certify"), "LARGEST", 10)
    found = certify(day, day.task(), simulate(day, NoControl()).data)
    assert found.window_bound is not None
    assert np.isnan(found.window_bound)
    assert np.isnan(found.gap_percent)
    assert np.isfinite(found.step_percent).all()


def test_storage_at_the_slack_node_draws_from_the_external_grid(scenario):
    feeder = scenario("cigre_lv").feeder
    bus = int(feeder.node_bus[feeder.slack])
    day = scenario("cigre_lv").with_devices(storages={bus: (0.06, 0.3)}).resample("1h").window("2016-06-21 10:00", 2)
    imports = RunOptions(objective=Objective.parse("substation_import"))
    charging = simulate(day, StorageSchedule(charge="10-12", discharge=""), imports).data
    rest = simulate(day, NoControl(), imports).data
    assert (charging["storage_p_mw"] > 0.05).all()
    for name in ("realised", "slack_p_mw"):
        np.testing.assert_allclose(charging[name] - rest[name], charging["storage_p_mw"][:, 0], atol=1e-9)


def test_plans_follow_one_another(day):
    run = simulate(day, Foresight(horizon="3h")).data
    planned = np.flatnonzero(run["iterations"].to_numpy())
    assert planned.tolist() == [0, 3, 6]
    start = run["storage_e_start_mwh"].to_numpy()
    for last in (2, 5, 7):
        assert (run["energy_mwh"][last].to_numpy() >= start - 1e-6).all()


def test_what_is_left_may_be_spent_or_worth_keeping(day):
    goal = RunOptions(objective=Objective.parse("substation_import"))
    stored = {
        rule: float(simulate(day, Foresight(terminal=rule), goal).data["energy_mwh"][-1].sum())
        for rule in ("free", "keep", "5")
    }
    units = day.feeder.storages
    assert stored["free"] == pytest.approx(units.e_min_mwh.sum(), abs=1e-5)
    assert stored["keep"] == pytest.approx((units.soc * units.e_max_mwh).sum(), abs=1e-5)
    assert stored["5"] == pytest.approx(units.e_max_mwh.sum(), abs=1e-4)


def test_curtailment_is_part_of_the_plan(day):
    """Where exports cost (imports would be negative), the plan shuts plants down only if that may be."""
    sunny = day.with_band(0.95, 1.005)
    curtailing, plain = simulate(sunny, Foresight(curtail=True)), simulate(sunny, Foresight())
    assert (curtailing.data["p_mw"] <= curtailing.data["p_available_mw"] + 1e-9).all()
    assert total(curtailing) <= total(plain) + 1e-9


def test_the_ladder(day, monkeypatch):
    """Ipopt's failure leads to a looser tolerance, then to the relaxation's schedule, then to rest."""
    solve, calls = MultiPeriodOpf.solve, []

    def fails(times):
        def instead(self, window, start=None, ipopt=None):
            calls.append(ipopt.tol)
            found = solve(self, window, start, ipopt)
            return replace(found, solved=len(calls) > times)

        return instead

    best = total(simulate(day, Foresight()))
    monkeypatch.setattr(MultiPeriodOpf, "solve", fails(1))
    loose = simulate(day, Foresight())
    assert (loose.data["rung"] == LOOSER).all()
    assert calls[1] > calls[0]
    assert total(loose) == pytest.approx(best, rel=1e-3)
    monkeypatch.setattr(MultiPeriodOpf, "solve", fails(np.inf))
    convex = simulate(day, Foresight())
    assert (convex.data["rung"] == CONVEX).all()
    assert total(convex) == pytest.approx(best, rel=1e-3)

    def breaks(*_, **__):
        raise ArithmeticError("no")

    monkeypatch.setattr(MultiPeriodOpf, "solve", breaks)
    monkeypatch.setattr("feederlab.models.branchflow.multiperiod.WindowRelaxation.solve", breaks)
    rest = simulate(day, Foresight())
    assert (rest.data["rung"] == HELD).all()
    assert (rest.data["storage_p_mw"] == 0).all()
    assert total(rest) == pytest.approx(total(simulate(day, NoControl())), rel=1e-12)


def test_an_instant_without_forecast_is_no_exception(day):
    task = simulate_task(day)
    ready = Foresight().prepare(task)
    early = measurement(day)
    setpoints, _ = ready.step(ready.initial_state(), replace(early, time=early.time - day.step))
    assert setpoints.info.rung == HELD
    assert (setpoints.storage_p_mw == 0).all()


def simulate_task(day):
    from feederlab.models.truth import Truth

    return replace(day.task(), forecast=Truth(day.series()))


def measurement(day) -> Measurement:
    from feederlab.models.plant import DeviceState, Plant
    from feederlab.models.powerflow.base import engine

    series, devices = day.series(), DeviceState.initial(day.feeder)
    solved = Plant(day.feeder, engine(day.feeder), 1.0).solve(series.load_mva[0], devices, 1.0)
    return Measurement.take(
        series.times[0], 0, solved, series.load_mva[0], devices, series.p_available_mw[0], float(series.slack_vm[0])
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"terminal": "half"}, "terminal must be keep, free or a number from 0 on, not 'half'"),
        ({"terminal": "-1"}, "terminal must be keep, free or a number"),
        ({"max_time_s": 0.0}, "max_time_s > 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Foresight(**settings)


def test_a_horizon_that_does_not_fit_is_refused(day):
    with pytest.raises(InputError, match=r"a horizon of 12 steps of 3600 s \(12 h\) is longer than the data"):
        simulate(day, Foresight(horizon="12h"))
    with pytest.raises(InputError, match="horizon must be a duration of whole steps of 3600 s"):
        simulate(day, Foresight(horizon="90min"))
    with pytest.raises(InputError, match="horizon must be a duration"):
        simulate(day, Foresight(horizon="soon"))
    with pytest.raises(InputError, match="needs a forecast handle"):
        Foresight().prepare(day.task())


def test_storage_without_reactive_power(day):
    """Active power alone keeps the band at a higher cost; both plans are carried out to the digit."""
    options = RunOptions(objective=Objective.parse("storage_use"))
    narrow = day.with_band(0.97, 1.0)
    both, alone = (simulate(narrow, Foresight(terminal="free", storage_q=q), options) for q in (True, False))
    assert np.abs(both.data["storage_q_mvar"]).max() > 1e-3
    assert not alone.data["storage_q_mvar"].any()
    np.testing.assert_allclose(alone.data["realised"] + alone.data["penalty"], alone.data["objective"], atol=1e-8)
    assert total(alone) > total(both) + 1e-6
