"""The horizon model against finite differences, its mixed-integer program against enumeration, plans against SciPy."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.optimize import minimize

from feederlab.models.horizon import convex, mixed
from feederlab.models.horizon.model import HorizonModel
from feederlab.models.horizon.plan import Plan, Start
from feederlab.models.horizon.program import HorizonProgram, Rules
from feederlab.models.horizon.search import Search
from feederlab.models.horizon.stages import Stages, lengths
from feederlab.testing import example_scenario

OBJECTIVES = ["losses", "voltage_deviation", "substation_import=1+control_effort=0.01", "losses=1+curtailment=0.1"]


day = lru_cache(maxsize=1)(example_scenario)


class Setting:
    """A few hours of the example feeder, three stages or so; banks, units: other columns of its devices."""

    def __init__(
        self,
        objective="losses",
        stages=3,
        step="3h",
        begin=2,
        curtail=False,
        band=None,
        banks=None,
        units=None,
        **model,
    ):
        scenario = day().resample(step)
        feeder = replace(
            scenario.feeder, capacitors=replace(scenario.feeder.capacitors, **(banks or {})),
            storages=replace(scenario.feeder.storages, **(units or {})),
        )  # fmt: skip
        feeder.__dict__["tap_tables"] = scenario.feeder.tap_tables  # costly, and the grid is the same
        scenario = replace(scenario, feeder=feeder)
        if band is not None:
            scenario = scenario.with_band(*band)
        series, task = scenario.series(), scenario.task(objective)
        rows = slice(begin, begin + stages)
        self.hours = scenario.step.total_seconds() / 3600
        self.stages = Stages(
            np.ones(stages, dtype=np.int64), series.load_mva[rows], series.p_available_mw[rows], series.slack_vm[rows],
            self.hours,
        )  # fmt: skip
        self.feeder = feeder
        self.model = HorizonModel(feeder, task.band, task.objective, task.voltage_penalty, curtail=curtail, **model)
        units = feeder.storages
        self.start = Start(
            units.soc * units.e_max_mwh, feeder.tap_changers.tap, feeder.capacitors.step,
            np.zeros(len(feeder.tap_changers)), np.zeros(len(feeder.capacitors)),
        )  # fmt: skip
        p = np.minimum(self.stages.p_available_mw, feeder.inverters.s_mva)
        none = np.zeros((stages, len(units)))
        self.idle = Plan(
            0 * p,
            p,
            none,
            none,
            np.repeat(self.start.tap[None], stages, 0),
            np.repeat(self.start.step[None], stages, 0),
        )

    def program(self, plan=None, **rules):
        about = self.model.expand(self.stages, self.model.price(self.stages, plan or self.idle))
        return HorizonProgram(self.model, self.stages, self.start, about, Rules(**rules))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_and_rows_are_those_of_power_flows(objective):
    case = Setting(objective, curtail=True)
    model, stages = case.model, case.stages
    rng = np.random.default_rng(0)
    n, s = len(case.feeder.inverters), len(case.feeder.storages)
    p = 0.6 * case.idle.p_mw + 0.01
    plan = replace(
        case.idle, q_mvar=rng.uniform(-0.1, 0.1, (3, n)), p_mw=p, storage_p_mw=rng.uniform(0.05, 0.1, (3, s)),
        storage_q_mvar=rng.uniform(-0.1, 0.1, (3, s)),
    )  # fmt: skip
    about = model.expand(stages, model.price(stages, plan))
    for column in range(model.layout.tap.start):
        step = np.zeros_like(about.at)
        step[:, column] = 1e-4
        ends = [model.price(stages, model.plan(about.at + side * step, plan)) for side in (-1, 1)]
        slope = (ends[1].objective - ends[0].objective) / 2e-4
        np.testing.assert_allclose(about.gradient[:, column], slope, rtol=1e-5, atol=1e-7)
        v = [np.abs(end.u) ** 2 for end in ends]
        roof = np.arange(case.feeder.n_nodes) != case.feeder.slack
        count = roof.sum()
        np.testing.assert_allclose(about.slopes[:, :count, column], ((v[1] - v[0]) / 2e-4)[:, roof], atol=1e-6)
    assert (np.linalg.eigvalsh(about.hessian) > -1e-9).all()


def test_taps_and_steps_are_half_the_difference_of_their_neighbours():
    case = Setting("losses", taps=True)
    model, stages = case.model, case.stages
    about = model.expand(stages, model.price(stages, case.idle))
    for name, column in (("tap", model.layout.tap.start), ("step", model.layout.step.start)):
        ends = []
        for move in (-1, 1):
            moved = getattr(case.idle, name).copy()
            moved[:, 0] += move
            ends.append(model.price(stages, replace(case.idle, **{name: moved})))
        np.testing.assert_allclose(about.gradient[:, column], (ends[1].objective - ends[0].objective) / 2, rtol=1e-9)


def brute_force(program, working):
    """The least value over all whole positions."""
    columns = np.unique(program.integer)
    ranges = [range(int(program.lower[c]), int(program.upper[c]) + 1) for c in columns]
    best = np.inf
    for chosen in itertools.product(*ranges):
        x = np.zeros(len(program.lower))
        x[columns] = chosen
        found, _ = convex.solve_one_way(program, working, *program.positioned(x[program.integer]))
        if found is not None:
            best = min(best, found.value)
    return best


@pytest.mark.parametrize(
    ("objective", "band", "efficiency", "rules"),
    [
        ("losses", (0.95, 1.05), 1.0, {}),
        ("losses", (0.95, 1.05), 0.95, {}),
        ("losses", (0.985, 1.0), 1.0, {"step_cost": 0.002}),  # a band that cannot be kept everywhere
        ("voltage_deviation", (0.95, 1.05), 1.0, {"max_moves": 2}),
        ("substation_import", (0.95, 1.05), 0.95, {"step_cost": 1e-3, "blocks": 2}),
    ],
)
def test_the_mixed_integer_program_equals_enumeration(objective, band, efficiency, rules):
    banks = {"max_step": np.array([1, 1, 0]), "step": np.array([0, 1, 0])}
    units = {"efficiency": np.full(2, efficiency)}
    case = Setting(objective, band=band, banks=banks, units=units, taps=False)
    program = case.program(end_mwh=case.start.energy_mwh, **rules)
    working = np.zeros(program.rows.shape, dtype=bool)
    found = mixed.solve(program, working, hint=None, deadline=time.perf_counter() + 60, gap=1e-7, masters=50)
    best = brute_force(program, working)
    assert found.found.value == pytest.approx(best, rel=2e-6)
    assert found.bound <= best * (1 + 1e-6)
    if efficiency == 1.0:  # else some of the gap is energy that only the bound may burn
        assert found.gap < 1e-5


def test_dwell_and_rest_hold_banks_back():
    case = Setting("losses", stages=6, step="15min", begin=40, banks={"dwell_s": np.full(3, 1800.0)})
    case.start = replace(case.start, step_rest_s=np.array([0.0, 1000.0, 0.0]))
    program = case.program()
    working = np.zeros(program.rows.shape, dtype=bool)
    found = mixed.solve(program, working, hint=None, deadline=time.perf_counter() + 20, gap=1e-3, masters=4)
    step = np.rint(found.found.x[program.z[:, case.model.layout.step]])
    moved = np.diff(step, axis=0, prepend=case.start.step[None].astype(float)) != 0
    assert not (moved[1:] & moved[:-1]).any()
    assert not moved[:2, 1].any()
    assert moved.any()


def test_a_plan_is_as_cheap_as_the_one_of_scipy_on_power_flows():
    case = Setting("losses", stages=2, step="6h", begin=1, taps=False, steps=False)
    model, stages = case.model, case.stages
    rules = Rules(end_mwh=case.start.energy_mwh)
    found = Search(rounds=8, tol=1e-9).solve(model, stages, case.start, case.idle, rules)
    units, at = case.feeder.storages, model.layout
    k = at.tap.start

    def cost(z):
        return model.price(stages, model.plan(z.reshape(2, -1), case.idle)).cost

    low, high = np.zeros((2, k)), np.ones((2, k))
    share = np.clip(stages.p_available_mw / case.feeder.inverters.s_mva, 0, 1)[:, at.inverters]
    low[:, at.q], high[:, at.q] = -np.sqrt(1 - share**2), np.sqrt(1 - share**2)
    low[:, at.storage_q], high[:, at.storage_q] = -0.5, 0.5

    def energy(z):
        z = z.reshape(2, -1)
        into = (units.efficiency * z[:, at.charge] - z[:, at.discharge] / units.efficiency) * units.s_mva
        return case.start.energy_mwh + np.cumsum(into, axis=0) * case.hours

    def room(z):
        e = energy(z)
        inside = (e - units.e_min_mwh).ravel(), (units.e_max_mwh - e).ravel()
        return np.concatenate([*inside, e[-1] - case.start.energy_mwh])

    answer = minimize(
        cost, model.controls(case.idle).ravel(), method="SLSQP",
        bounds=list(zip(low.ravel(), high.ravel(), strict=True)),
        constraints={"type": "ineq", "fun": room}, options={"maxiter": 60, "ftol": 1e-10},
    )  # fmt: skip
    assert found.priced.cost <= answer.fun * (1 + 1e-4)
    assert abs(found.model_error) < 1e-3
    energy_mwh = found.priced.plan.energy_mwh(case.feeder, case.start.energy_mwh, stages.hours)
    assert (energy_mwh >= units.e_min_mwh - 1e-6).all()
    assert (energy_mwh <= units.e_max_mwh + 1e-6).all()
    assert (energy_mwh[-1] >= case.start.energy_mwh - 1e-6).all()


def test_no_storage_burns_energy_by_charging_and_discharging_at_once():
    case = Setting("losses", stages=4, step="1h", begin=11, band=(0.9, 1.0), taps=False, steps=False)
    units = case.feeder.storages
    case.start = replace(case.start, energy_mwh=units.e_max_mwh.copy())  # full, at noon, above the band
    program = case.program()
    working = np.zeros(program.rows.shape, dtype=bool)
    free = convex.solve(program, working)
    found, price = convex.solve_one_way(program, working, program.lower, program.upper)
    at = program.layout
    assert np.minimum(free.x[program.z[:, at.charge]], free.x[program.z[:, at.discharge]]).max() > 0.01
    assert np.minimum(found.x[program.z[:, at.charge]], found.x[program.z[:, at.discharge]]).max() < 1e-6
    assert price == pytest.approx(free.value, rel=1e-6)
    assert found.value >= price * (1 - 1e-7)


@pytest.mark.parametrize(("periods", "most"), [(1, 24), (24, 24), (96, 24), (480, 24), (1000, 2), (25, 24)])
def test_stages_grow_and_fill_the_horizon(periods, most):
    found = lengths(periods, most)
    assert found.sum() == periods
    assert len(found) == min(periods, most)
    assert found[0] == 1
    assert (found >= 1).all()
    assert (np.diff(found) >= -1).all()
