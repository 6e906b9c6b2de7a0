"""Windows coupled by storage: known answers, brute force, one step, the plant, and the bound below them all."""

from __future__ import annotations

import itertools

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from feederlab.errors import InputError
from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.branchflow.multiperiod import WindowRelaxation
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.feeder import Feeder
from feederlab.models.multiperiod.opf import MultiPeriodOpf, with_storage
from feederlab.models.multiperiod.window import Window, points_of
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scenario import band_of
from feederlab.models.scoring import voltage_penalty
from strategies import operating_points, radial_feeders

R = 0.04  # p.u.


def two_bus(*, x=0.0, eta=0.9, soc=0.5, e_mwh=2.0, rate=1.0, s_mva=None):
    """A slack, a line of R + jx, and a bus with storage; 1 MVA, 1 kV."""
    net = pp.create_empty_network(sn_mva=1.0)
    a, b = pp.create_bus(net, 1.0), pp.create_bus(net, 1.0)
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, 1.0, R, x, 0.0, 1.0)
    pp.create_load(net, b, 0.5, 0.0)
    pp.create_storage(
        net, b, p_mw=0.0, max_e_mwh=e_mwh, min_e_mwh=0.1 * e_mwh, soc_percent=100 * soc, sn_mva=s_mva or rate,
        min_p_mw=-rate, max_p_mw=rate, efficiency_percent=100 * eta,
    )  # fmt: skip
    return Feeder.from_pandapower(net)


def points(loads):
    return tuple(OperatingPoint(np.array([0.0, load + 0j]), np.zeros(0), 1.0) for load in loads)


def models(feeder, objective="losses", band=(0.8, 1.2), penalty=100.0, curtail=False):
    goal, limits = Objective.parse(objective), band_of(feeder, band)
    step = Relaxation(feeder, limits, goal, penalty, curtail=curtail, loss_weight=0.0)
    return MultiPeriodOpf(feeder, limits, goal, penalty, curtail=curtail), WindowRelaxation(step)


@pytest.mark.parametrize("eta", [1.0, 0.95, 0.9])
def test_two_buses_by_hand(eta):
    """Losses R P^2 of a resistive line, P - R P^2 = load + storage; the marginal losses differ by eta^2."""
    low, high = 0.1, 0.7
    exact, relaxed = models(feeder := two_bus(eta=eta))
    window = Window.of(feeder, points([low, high]), 1.0)

    def sent(received):
        return (1 - np.sqrt(1 - 4 * R * received)) / (2 * R)

    def marginal(received):
        p = sent(received)
        return 2 * R * p / (1 - 2 * R * p)

    charge = brentq(lambda c: marginal(low + c) - eta**2 * marginal(high - eta**2 * c), 0.0, 0.5, xtol=1e-14)
    best = R * (sent(low + charge) ** 2 + sent(high - eta**2 * charge) ** 2)
    found, bound = exact.solve(window), relaxed.solve(window)
    assert charge > 0.1
    assert found.solved
    assert found.schedule.storage_p_mw[:, 0] == pytest.approx([charge, -(eta**2) * charge], abs=1e-6)
    assert found.schedule.cost == pytest.approx(best, rel=1e-8)
    assert found.claimed == pytest.approx(best, rel=1e-7)
    assert best * (1 - 1e-5) <= bound.bound <= best  # the dual bound pays for the solver's residuals


def test_prices_and_the_worth_of_what_is_left():
    """It discharges when power is dear, for P0's price on its own use, and keeps energy that is worth more."""
    exact, relaxed = models(feeder := two_bus(eta=0.9), "substation_import=1+storage_use=0.05")
    loads, prices = [0.5, 0.5, 0.5], np.array([1.0, 3.0, 0.5])
    window = Window.of(feeder, points(loads), 0.5, prices=prices)
    found = exact.solve(window)
    p = found.schedule.storage_p_mw[:, 0]
    assert p[1] == pytest.approx(-1.0, abs=1e-6)
    assert p[2] > 0.5
    assert found.schedule.cost == pytest.approx(found.claimed, rel=1e-7)
    solved = exact.problem.solve(with_storage(feeder, window.points[1], p[1:2], np.zeros(1)), *np.zeros((2, 0)))
    by_hand = prices[1] * (float(solved.slack_mva().real) + 0.05 * abs(p[1]))
    assert found.schedule.objective[1] == pytest.approx(by_hand, rel=1e-6)
    assert relaxed.solve(window).bound == pytest.approx(found.schedule.cost, rel=1e-5)
    hoard = Window.of(feeder, points(loads), 0.5, end_mwh=np.zeros(1), end_value=5.0)
    kept = exact.solve(hoard).schedule
    assert kept.energy_mwh[-1, 0] == pytest.approx(2.0, abs=1e-5)
    assert relaxed.solve(hoard).bound == pytest.approx(kept.cost, rel=1e-5)
    spend = Window.of(feeder, points(loads), 0.5, end_mwh=np.zeros(1))
    assert exact.solve(spend).schedule.energy_mwh[-1, 0] == pytest.approx(0.2, abs=1e-5)


BRUTE = [  # loads (MW), eta, SOC, energy (MWh), objective: burning energy pays in the last four
    ([0.9, -0.4, 0.6, 0.2], 0.8, 0.5, 0.5, "losses"),
    ([-1.0, 0.8, -0.7, 0.5], 0.95, 0.2, 1.0, "substation_import"),
    ([0.4, 0.9, 0.1, 0.8], 0.9, 0.9, 0.5, "losses=1+storage_use=0.02"),
    ([-1.1, -1.0, -0.9, 0.4], 0.9, 0.9, 0.5, "losses"),
    ([-0.6, -1.2, -1.1, 0.1], 0.7, 1.0, 0.5, "voltage_deviation"),
    ([-1.2, -1.1, 0.2, -0.9], 0.8, 0.9, 0.2, "losses"),
    ([-0.576, -0.509, -0.511, 0.069], 0.6, 0.2, 0.2, "losses"),
]  # fmt: skip


@pytest.mark.parametrize(("loads", "eta", "soc", "e_mwh", "objective"), BRUTE)
def test_no_schedule_on_a_grid_is_cheaper(loads, eta, soc, e_mwh, objective):
    """Every schedule in steps of 50 kW, with the best of seven reactive powers at each."""
    feeder = two_bus(x=0.03, eta=eta, soc=soc, e_mwh=e_mwh, rate=0.3)
    exact, relaxed = models(feeder, objective, (0.95, 1.03), 20.0)
    window = Window.of(feeder, points(loads), 1.0)
    steps = np.linspace(-0.3, 0.3, 13)
    price = np.empty((len(loads), len(steps)))
    for t, j in itertools.product(range(len(loads)), range(len(steps))):
        room = np.sqrt(max(0.3**2 - steps[j] ** 2, 0.0))
        reactive = np.linspace(-room, room, 7)[:, None]
        tried = [with_storage(feeder, window.points[t], steps[j : j + 1], q) for q in reactive]
        price[t, j] = min(exact.problem.verify(point, np.zeros(0), np.zeros(0))[0] for point in tried)
    gain = np.where(steps > 0, eta * steps, steps / eta)
    grid = np.array(list(itertools.product(range(len(steps)), repeat=len(loads))))
    energy = soc * e_mwh + np.cumsum(gain[grid], axis=1)
    fits = ((energy >= 0.1 * e_mwh - 1e-12) & (energy <= e_mwh + 1e-12)).all(axis=1) & (
        energy[:, -1] >= soc * e_mwh - 1e-12
    )
    brute = price[np.arange(len(loads)), grid[fits]].sum(axis=1).min()
    found, bound = exact.solve(window), relaxed.solve(window)
    assert found.solved
    assert bound.bound <= found.schedule.cost <= brute + 1e-9
    held = found.schedule.energy_mwh[:, 0]
    assert 0.1 * e_mwh - 1e-9 <= held.min() <= held.max() <= e_mwh + 1e-9
    assert held[-1] >= soc * e_mwh - 1e-8
    assert found.claimed == pytest.approx(found.schedule.cost, rel=1e-6, abs=1e-8)


def stored(feeder: Feeder, units: list[tuple[int, float, float, float]]) -> Feeder:
    """The feeder with storage (place in the bus table, rating, hours, SOC)."""
    net = feeder.net
    for place, s, hours, soc in units:
        bus = net.bus.index[place % len(net.bus)]
        pp.create_storage(
            net, bus, p_mw=0.0, max_e_mwh=s * hours, min_e_mwh=0.1 * s * hours, soc_percent=100 * soc, sn_mva=s,
            min_p_mw=-0.8 * s, max_p_mw=s, efficiency_percent=90.0,
        )  # fmt: skip
    return Feeder.from_pandapower(net, "stored")


_units = st.lists(
    st.tuples(
        st.integers(0, 20), st.sampled_from([0.1, 0.5]), st.sampled_from([0.5, 3.0]), st.sampled_from([0.1, 0.6, 1.0])
    ),
    min_size=1, max_size=3,
)  # fmt: skip
GOALS = ["losses", "substation_import=1+storage_use=0.01", "voltage_deviation", "losses=1+curtailment=0.1"]


@settings(max_examples=6, deadline=None)
@given(st.data(), st.sampled_from(GOALS), st.booleans())
def test_the_bound_holds_for_every_schedule(data, objective, curtail):
    """For the optimum, and for random schedules with the energy they end with; storage may sit at the slack too."""
    feeder = stored(data.draw(radial_feeders()), data.draw(_units))
    steps = tuple(data.draw(operating_points(feeder)) for _ in range(3))
    penalty = voltage_penalty(Objective.parse(objective), feeder)
    exact, relaxed = models(feeder, objective, (0.97, 1.03), penalty, curtail)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    prices = rng.uniform(0.0, 2.0, 3)
    window = Window.of(feeder, steps, 0.5, prices=prices)
    found, bound = exact.solve(window), relaxed.solve(window)
    tolerance = 1e-7 * max(1.0, abs(found.schedule.cost))
    assert bound.status != "failed"
    if found.solved:
        assert bound.bound <= found.schedule.cost + tolerance
        assert (found.schedule.energy_mwh[-1] >= window.end_mwh - 1e-6).all()
    s, stores = feeder.inverters.s_mva, feeder.storages

    def random(sizes):
        return rng.uniform(-1, 1, (3, len(sizes))) * sizes

    p = np.abs(random(s)) if curtail else np.tile(s, (3, 1))
    tried = exact.follow(window, random(s), p, random(stores.s_mva), random(stores.s_mva))
    same_end = Window.of(feeder, steps, 0.5, prices=prices, end_mwh=tried.energy_mwh[-1] - 1e-9)
    if np.isfinite(tried.cost):
        assert relaxed.solve(same_end).bound <= tried.cost + tolerance


def test_one_step_is_the_single_step_problem(scenario):
    """With storage that may not move, and without any."""
    day = scenario("cigre_lv").window("2016-06-21 12:00", 1)
    full = day.with_devices(storages={10: (0.06, 0.3)})
    for one in (day, full):
        task, feeder = one.task("losses=1+control_effort=0.01"), one.feeder
        window = Window.of(feeder, points_of(one.series()), 0.25)
        step = AcOpf(feeder, one.band, task.objective, task.voltage_penalty).solve(window.points[0])
        found = MultiPeriodOpf(feeder, one.band, task.objective, task.voltage_penalty).solve(window)
        if one is full:  # the unit may still charge, and give reactive power: it can only be better
            assert found.schedule.cost <= step.cost + 1e-9
            idle = np.zeros((1, 1))
            rest = MultiPeriodOpf(feeder, one.band, task.objective, task.voltage_penalty).follow(
                window, step.q_mvar[None], step.p_mw[None], idle, idle
            )
            assert rest.cost == pytest.approx(step.cost, rel=1e-7)
        else:
            assert found.schedule.cost == pytest.approx(step.cost, rel=1e-7)
            assert found.schedule.q_mvar[0] == pytest.approx(step.q_mvar, abs=1e-4)


def test_a_day_of_three_batteries(scenario):
    """CIGRE LV in 24 hourly steps: energy closes, limits hold, and the bound meets the optimum."""
    day = scenario("cigre_lv").with_devices(storages={10: (0.06, 0.3), 15: (0.06, 0.3), 18: (0.06, 0.3)})
    day = day.resample("1h").days("2016-06-21")
    feeder, task = day.feeder, day.task()
    window = Window.of(feeder, points_of(day.series()), 1.0)
    exact, relaxed = models(feeder, "losses", (0.95, 1.05), task.voltage_penalty)
    found, bound = exact.solve(window), relaxed.solve(window)
    plan, units = found.schedule, feeder.storages
    p, eta = plan.storage_p_mw, units.efficiency
    assert found.solved
    assert plan.cost == pytest.approx(bound.bound, rel=1e-6)
    assert bound.bound <= plan.cost < 0.85 * exact.at_rest(window).cost
    gain = np.where(p > 0, eta * p, p / eta)
    assert np.diff(plan.energy_mwh, axis=0) == pytest.approx(gain, abs=1e-9)
    assert plan.energy_mwh[-1] == pytest.approx(window.start_mwh, abs=1e-6)
    assert (plan.energy_mwh >= units.e_min_mwh - 1e-9).all()
    assert (plan.energy_mwh <= units.e_max_mwh + 1e-9).all()
    assert (np.hypot(p, plan.storage_q_mvar) <= units.s_mva + 1e-9).all()


def test_without_storage_steps_stand_alone(scenario):
    day = scenario("case15da").resample("1h").window("2016-06-21 10:00", 3)
    task = day.task()
    window = Window.of(day.feeder, points_of(day.series()), 1.0)
    exact, relaxed = models(day.feeder, "losses", (0.95, 1.05), task.voltage_penalty)
    single = Relaxation(day.feeder, day.band, task.objective, task.voltage_penalty)
    bounds = [single.solve(point).bound for point in window.points]
    assert exact.solve(window).schedule.cost == pytest.approx(sum(bounds), rel=1e-6)
    assert relaxed.solve(window).bound == pytest.approx(sum(bounds), rel=1e-6)


def test_bad_windows_are_refused():
    feeder = two_bus()
    good = points([0.1, 0.2])
    for settings_, message in (
        ({"end_mwh": np.array([2.1])}, r"storage 0 cannot hold 2.1 MWh at the end: in 2 steps of 1 h it gets to 2 MWh"),
        ({"prices": np.ones(3)}, r"prices has shape \(3,\); it takes 2 numbers"),
        ({"prices": -np.ones(2)}, "prices and the value of stored energy must be finite and not negative"),
        ({"start_mwh": np.ones(2)}, r"start_mwh has shape \(2,\); it takes 1 numbers"),
        ({"end_value": np.nan}, "prices and the value"),
    ):
        with pytest.raises(InputError, match=message):
            Window.of(feeder, good, 1.0, **settings_)
    with pytest.raises(InputError, match="a window needs steps"):
        Window.of(feeder, (), 1.0)
