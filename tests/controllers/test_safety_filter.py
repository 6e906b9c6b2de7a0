"""Safety filter: in band wherever that is possible, by the least change, never worse than what was proposed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import two_bus
from feederlab.compare import compare
from feederlab.controllers import safety_projection
from feederlab.controllers.base import GLOBAL, LOCAL, ZONE, Controller, Decision, Information, Prepared, Setpoints
from feederlab.controllers.none import NoControl
from feederlab.controllers.opf import Opf
from feederlab.controllers.registry import create
from feederlab.controllers.safety_filter import SafetyFilter
from feederlab.controllers.safety_projection import TOLERANCE
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError
from feederlab.metrics import BAND_TOLERANCE, score
from feederlab.models.feeder import Feeder
from feederlab.models.plant import Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.models.scoring import voltage_excess
from feederlab.scenarios import load_scenario
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements
from strategies import operating_points, radial_feeders, setpoints

NOON = "2016-06-21 12:00"


@cache
def whole_day(name, date):
    return load_scenario(name, start=date, days=1)


def mapdn33(start, periods):
    return whole_day("mapdn33", start[:10]).window(start, periods)


@dataclass(frozen=True)
class RandomQ(Controller):
    """Draws each inverter's reactive power from all that its rating leaves, as an untrained policy does."""

    sees: ClassVar[Information] = LOCAL

    def prepare(self, task, *, seed=None):
        return _RandomQ(task, seed or 0)


class _RandomQ(Prepared):
    def __init__(self, task, seed):
        self.s, self.seed = task.inverters.s_mva, seed

    def initial_state(self):
        return {"decisions": np.zeros(1, dtype=np.int64)}

    def step(self, state, m):
        rng = np.random.default_rng([self.seed, int(state["decisions"][0])])
        p = np.minimum(m.p_available_mw, self.s)
        q = rng.uniform(-1, 1, len(p)) * np.sqrt(self.s**2 - p**2)
        return Setpoints(q_mvar=q), {"decisions": state["decisions"] + 1}


@dataclass(frozen=True)
class Asking(Controller):
    """Asks for the same in every step."""

    sees: ClassVar[Information] = LOCAL
    wish: Setpoints = field(default_factory=Setpoints, compare=False)

    def prepare(self, task, *, seed=None):
        return _Asking(self.wish)


class _Asking(Prepared):
    def __init__(self, wish):
        self.wish = wish

    def step(self, state, m):
        return self.wish, state


def furthest(data):
    """(T,) by how much the worst bus leaves the band (p.u.)."""
    return np.maximum(data["drop_pu"].to_numpy(), data["rise_pu"].to_numpy())


def statuses(data):
    return [str(s) for s in data["status"].to_numpy()]


# The promise: in band wherever an optimal power flow is.


def never_out_where_opf_is_in(scenario, controller, options=None):
    alone, safe, opf = (
        simulate(scenario, c, options).data for c in (controller, SafetyFilter(controller), Opf(method="sqp"))
    )
    in_reach = furthest(opf) <= BAND_TOLERANCE
    assert (furthest(safe)[in_reach] <= TOLERANCE).all()
    assert (safe["voltage_excess"] - opf["voltage_excess"]).max() < 1e-6  # and as near as opf where it is out of reach
    assert (
        safe["voltage_excess"] <= alone["voltage_excess"] + 1e-9
    ).all()  # what precedes a step is not alike: no more
    assert safe["clipped"].sum() == 0
    assert safe["rung"].max() == 0
    return alone, safe, in_reach


@pytest.mark.parametrize(
    ("name", "start", "periods", "band"),
    [
        ("mapdn33", "2016-06-21 10:00", 60, (0.95, 1.05)),
        ("mapdn33", "2016-12-15 16:30", 40, (0.975, 1.02)),  # for some of it, no setpoints keep this band
        ("mapdn141", "2016-06-21 12:00", 20, (0.97, 1.02)),
    ],
)
def test_random_setpoints_are_kept_in_band_wherever_opf_is(name, start, periods, band):
    day = whole_day(name, start[:10]).window(start, periods).with_band(*band)
    alone, safe, in_reach = never_out_where_opf_is_in(day, RandomQ())
    assert (furthest(alone) > 0.01).mean() > 0.4
    assert in_reach.all() == (band != (0.975, 1.02))
    assert in_reach.any()
    expected = np.where(furthest(safe) > TOLERANCE, "short of the band", "adjusted")
    expected = np.where(furthest(alone) > TOLERANCE, expected, "as proposed")
    assert all(s.startswith(e) for s, e in zip(statuses(safe), expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "date"), [("mapdn33", "2016-06-21"), ("mapdn33", "2016-12-15"), ("mapdn141", "2016-06-21")]
)
def test_whole_days_of_random_setpoints(name, date):
    alone, _, in_reach = never_out_where_opf_is_in(whole_day(name, date), RandomQ())
    assert in_reach.all()
    assert (furthest(alone) > BAND_TOLERANCE).sum() > 100


def test_a_loop_that_settles_is_in_band_whether_or_not_it_comes_to_rest():
    """A droop stops when voltages move by less than `tol` a round, far more than the band allows."""
    scenario = mapdn33("2016-06-21 11:00", 10).with_band(0.99, 1.01)
    for inner in (VoltVar(), VoltVar(damping=0.9, max_rounds=7), VoltVar(start="previous", response_s=200.0)):
        alone, safe, _ = never_out_where_opf_is_in(scenario, inner)
        assert (furthest(alone) > 1e-3).any()
        assert safe["rounds"].max() <= inner.settle.max_rounds


def test_a_loop_that_keeps_the_band_rests_where_it_would_alone():
    scenario = mapdn33("2016-06-21 11:00", 10)
    inner = VoltVar(tol=1e-9, max_rounds=500)
    alone, safe = (simulate(scenario, c).data for c in (inner, SafetyFilter(inner)))
    assert furthest(alone).max() == 0
    assert safe["settled"].all()
    np.testing.assert_allclose(safe["q_mvar"], alone["q_mvar"], atol=1e-7)
    assert set(statuses(safe)) == {"as proposed"}


# The least change, against brute force.


def two_inverters(load_mw: float = 0.4) -> Scenario:
    """Two inverters of 1.2 MVA along one line of 10 kV, at full sun."""
    net = pp.create_empty_network(sn_mva=1.0)
    buses = [pp.create_bus(net, 10.0) for _ in range(3)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.0)
    for a, b in ((0, 1), (1, 2)):
        pp.create_line_from_parameters(
            net, a, b, length_km=1.0, r_ohm_per_km=1.5, x_ohm_per_km=2.0, c_nf_per_km=0.0, max_i_ka=0.4
        )
    for bus in (1, 2):
        pp.create_load(net, bus, load_mw, 0.3 * load_mw)
        pp.create_sgen(net, bus, p_mw=1.0, q_mvar=0.0, sn_mva=1.2, controllable=True)
    times = pd.date_range("2016-06-21 12:00", periods=2, freq="1h")
    full = pd.DataFrame(1.0, index=times, columns=[0, 1])
    return Scenario.build(Feeder.from_pandapower(net, "line"), {("sgen", "p_mw"): full}, band=(0.97, 1.03))


ROOM = np.sqrt(1.2**2 - 1.0)


def every_q(scenario, count=401):
    """All (q1, q2) on a grid, and the voltages (count^2, 2) at both inverters by power-grid-model."""
    feeder, line = scenario.feeder, np.linspace(-ROOM, ROOM, count)
    q = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    injection = np.zeros((len(q), 3), dtype=complex)
    injection -= scenario.series().load_mva[0]
    injection[:, feeder.inverters.node] += 1.0 + 1j * q
    return q, engine(feeder, "power-grid-model").solve_batch(injection).vm[:, feeder.inverters.node]


@pytest.mark.parametrize("asked", [(0.6, 0.5), (0.6, -0.2), (-0.6, 0.6), (0.0, 0.4), (5.0, 5.0)])
def test_no_point_of_a_grid_changes_less(asked):
    scenario = two_inverters().with_band(0.985, 1.012)
    data = simulate(scenario, SafetyFilter(Asking(Setpoints(q_mvar=np.array(asked))))).data
    proposed, done = np.clip(asked, -ROOM, ROOM), data["q_mvar"].to_numpy()[0]
    q, vm = every_q(scenario)
    kept = ((vm >= 0.985) & (vm <= 1.012)).all(axis=1)
    distance = np.linalg.norm(q - proposed, axis=1)
    assert kept.any()
    assert not kept[distance.argmin()]
    own = np.linalg.norm(done - proposed)
    assert own <= distance[kept].min() + 1e-9
    assert own >= distance[kept].min() - 2 * ROOM / 400 * np.sqrt(2)  # one cell of the grid
    assert furthest(data)[0] < 1e-9
    assert statuses(data)[0] == "adjusted"
    assert data["objective"][0] == pytest.approx(own**2)


@pytest.mark.parametrize(("load_mw", "band"), [(0.4, (1.045, 1.06)), (0.0, (0.97, 1.0)), (3.0, (0.95, 1.05))])
def test_where_the_band_is_out_of_reach_no_point_of_a_grid_misses_it_by_less(load_mw, band):
    scenario = two_inverters(load_mw).with_band(*band)
    _, vm = every_q(scenario)
    low, high = np.square(band)
    excess = (np.maximum(vm**2 - high, 0) + np.maximum(low - vm**2, 0)).sum(axis=1)
    assert excess.min() > 1e-6
    for asked in ((0.6, 0.5), (-0.6, 0.3), (0.0, 0.0)):
        data = simulate(scenario, SafetyFilter(Asking(Setpoints(q_mvar=np.array(asked))))).data
        assert data["voltage_excess"][0] <= excess.min() + 1e-7
        assert statuses(data)[0] == f"short of the band by {furthest(data)[0]:.1e} p.u."


def test_curtailment_is_the_least_that_brings_the_voltage_into_band():
    """On two buses every (p, q) of a grid is priced by the closed form of the voltage."""
    scenario = two_bus.scenario(s_mva=1.05, load=0.02 + 0.01j, band=(0.98, 1.008)).window(two_bus.TIMES[2], 1)
    p, q = (a.ravel() for a in np.meshgrid(np.linspace(0, 1.0, 801), np.linspace(-1.05, 1.05, 801)))
    line = np.sqrt(1.05**2 - 1)
    assert two_bus.voltage(1.0 - 0.02, -line - 0.01) > 1.008  # q alone is not enough
    vm = np.array([two_bus.voltage(*s) for s in zip(p - 0.02, q - 0.01, strict=True)])
    kept = (vm <= 1.008) & (vm >= 0.98) & (np.hypot(p, q) <= 1.05)
    for weight in (1.0, 100.0):
        inner = Asking(Setpoints(q_mvar=np.array([0.1])))
        price = (q - 0.1) ** 2 + weight * (p - 1.0) ** 2
        data = simulate(scenario, SafetyFilter(inner, curtail=True, p_weight=weight)).data
        done = float((data["q_mvar"] - 0.1).item() ** 2 + weight * (data["p_mw"] - 1.0).item() ** 2)
        assert done <= price[kept].min() + 1e-9
        assert done >= price[kept].min() * 0.98
        assert furthest(data)[0] < 1e-9
        assert data["clipped"].sum() == 0
        without = simulate(scenario, SafetyFilter(inner)).data
        assert statuses(without)[0].startswith("short of the band")
        assert without["p_mw"].item() == 1.0
        assert without["q_mvar"].item() == pytest.approx(-line)


def test_active_power_stays_where_reactive_power_is_enough():
    scenario = mapdn33("2016-06-21 11:00", 5)
    plain, curtailing = (simulate(scenario, SafetyFilter(RandomQ(), curtail=c)).data for c in (False, True))
    np.testing.assert_array_equal(plain["q_mvar"], curtailing["q_mvar"])
    np.testing.assert_array_equal(plain["p_mw"], plain["p_available_mw"])
    np.testing.assert_array_equal(curtailing["p_mw"], plain["p_available_mw"])


def test_active_power_that_the_inner_controller_sets_takes_part():
    scenario = two_bus.scenario(s_mva=1.05, load=0.02 + 0.01j, band=(0.98, 1.008)).window(two_bus.TIMES[2], 1)
    data = simulate(scenario, SafetyFilter(Asking(Setpoints(q_mvar=np.zeros(1), p_mw=np.array([0.97]))))).data
    assert furthest(data)[0] < 1e-9
    assert 0 < data["p_mw"].item() < 0.97


# Never worse than the proposal.


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_never_worse_than_the_proposal(data):
    feeder = data.draw(radial_feeders(6))
    times, s = pd.date_range(NOON, periods=1, freq="15min"), feeder.inverters.s_mva
    loads = pd.DataFrame([feeder.loads.p_mw], index=times, columns=feeder.loads.index)
    flow = engine(feeder, "power-grid-model")
    for _ in range(6):
        low = data.draw(st.integers(90, 99)) / 100
        limits = low, low + data.draw(st.integers(1, 12)) / 100
        scenario = Scenario.build(feeder, {("load", "p_mw"): loads}, band=limits)
        margin, curtail = data.draw(st.sampled_from([0.0, 0.002])), data.draw(st.booleans())
        point = data.draw(operating_points(feeder))
        p, q = data.draw(setpoints(feeder, point))
        ready = SafetyFilter(Asking(Setpoints(q_mvar=q)), margin=margin, curtail=curtail).prepare(scenario.task())
        answer, _ = ready.step(ready.initial_state(), measurements_at(scenario, point))
        done_p = p if answer.p_mw is None else answer.p_mw
        assert (np.hypot(done_p, answer.q_mvar) <= s + 1e-9).all()
        assert (done_p >= 0).all()
        assert (done_p <= np.minimum(point.p_available_mw, s) + 1e-12).all()
        assert curtail or answer.p_mw is None
        before, after = (
            flow.solve(point.injection_mva(feeder, *pq), taps=point.taps, steps=point.steps, slack_vm=point.slack_vm)
            for pq in ((p, q), (done_p, answer.q_mvar))
        )
        excess, after_excess = (
            float(voltage_excess(x.u, scenario.band, feeder.slack)) if x.converged else np.inf for x in (before, after)
        )
        assert after_excess <= excess + 1e-8
        assert answer.info.rung == 0
        if answer.info.status == "as proposed":
            np.testing.assert_array_equal(answer.q_mvar, q)
        if not answer.info.status.startswith("short"):
            assert after_excess <= 3e-7 * feeder.n_nodes


def measurements_at(scenario, point):
    """The measurement of an operating point, inverters at all their active and no reactive power."""
    feeder, one = scenario.feeder, measurements(scenario, 0)[0]
    p = np.minimum(point.p_available_mw, feeder.inverters.s_mva)
    return replace(
        one, load_p_mw=point.load_mva.real, load_q_mvar=point.load_mva.imag, slack_vm=point.slack_vm,
        p_available_mw=point.p_available_mw, p_mw=p, q_mvar=0 * p, tap=feeder.tap_changers.tap,
        step=feeder.capacitors.step,
    )  # fmt: skip


# What passes, what is remembered, what is seen.


def test_what_keeps_the_band_passes_to_the_last_bit():
    scenario = example_scenario().window("2016-06-21 10:00", 12).with_band(0.5, 1.5)
    for spec in ("opf:method=sqp", "storage_droop", "avr+fixed_pf", "random", "cap_rule+lindistflow", "none"):
        inner = create(spec)
        alone, safe = (simulate(scenario, c, RunOptions(batch=False)) for c in (inner, SafetyFilter(inner)))
        for name in ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar", "tap", "step", "clipped", "vm_pu", "rung"):
            np.testing.assert_array_equal(alone.data[name], safe.data[name])
        assert set(statuses(safe.data)) == {"as proposed"}
        assert score(safe)["adjusted_steps"] == 0


def test_taps_banks_and_storage_pass_and_are_reckoned_with():
    """The tap changer needs three steps for its way, the banks rest: the check knows where they really stand."""
    scenario = example_scenario().window("2016-06-21 11:00", 6)
    wish = Setpoints(
        q_mvar=scenario.feeder.inverters.s_mva, tap=np.array([-4]), step=np.array([3, 3, 3]),
        storage_p_mw=np.array([-0.3, -0.2]), storage_q_mvar=np.array([-0.1, 0.0]),
    )  # fmt: skip
    changers, banks = scenario.feeder.tap_changers, scenario.feeder.capacitors
    slow = replace(
        scenario.feeder, tap_changers=replace(changers, delay_s=np.array([450.0])),
        capacitors=replace(banks, dwell_s=np.full(3, 1800.0)),
    )  # fmt: skip
    scenario = replace(scenario, feeder=slow).with_band(0.95, 1.06)
    alone, safe = (simulate(scenario, c).data for c in (Asking(wish), SafetyFilter(Asking(wish))))
    assert len(set(safe["tap"].to_numpy().ravel())) > 1
    for name in ("tap", "step", "storage_p_mw", "storage_q_mvar"):
        np.testing.assert_array_equal(alone[name], safe[name])
    assert (furthest(alone) > 1e-3).all()
    missed = furthest(safe)
    said = [s.startswith("short of the band") for s in statuses(safe)]
    assert (missed[~np.array(said)] <= TOLERANCE).all()
    for k in np.flatnonzero(said):
        assert statuses(safe)[k] == f"short of the band by {missed[k]:.1e} p.u."
    assert not all(said)


def test_q_that_is_left_as_it_is_returns_to_what_it_was():
    """The filter's own correction is not taken for the inner controller's wish in the next step."""
    scenario = example_scenario().window("2016-06-21 10:00", 8)
    narrow = scenario.with_band(0.99, 1.01)
    inner = create("storage_schedule:charge=0-2")
    ready = SafetyFilter(inner).prepare(narrow.task())
    first = measurements(narrow, 0)[1]
    answer, state = ready.step(ready.initial_state(), first)
    assert np.abs(answer.q_mvar).max() > 1e-3
    calm = replace(first, load_p_mw=0 * first.load_p_mw, load_q_mvar=0 * first.load_q_mvar, q_mvar=answer.q_mvar)
    calm = replace(calm, p_available_mw=0 * first.p_mw, p_mw=0 * first.p_mw, step=np.zeros(3, dtype=np.int64))
    again, _ = ready.step(state, calm)
    assert again.info.status == "as proposed"
    np.testing.assert_array_equal(again.q_mvar, 0.0)


@dataclass(frozen=True)
class Spy(Controller):
    """Keeps what it is shown."""

    sees: ClassVar[Information] = LOCAL
    book: list = field(default_factory=list, compare=False)

    def prepare(self, task, *, seed=None):
        self.book.append((task, seed))
        return _Spy(self.book)


@dataclass(frozen=True)
class ZoneSpy(Spy):
    sees: ClassVar[Information] = ZONE


class _Spy(Prepared):
    def __init__(self, book):
        self.book = book

    def step(self, state, m):
        self.book.append(m)
        return Setpoints(), state


@pytest.mark.parametrize("kind", [Spy, ZoneSpy])
def test_the_inner_controller_is_shown_what_it_would_see_alone(kind):
    scenario, alone, inside = example_scenario().window(NOON, 2), kind(), kind()
    simulate(scenario, alone, RunOptions(seed=3))
    simulate(scenario, SafetyFilter(inside), RunOptions(seed=3))
    (task, seed), (task_inside, seed_inside) = alone.book[0], inside.book[0]
    assert seed == seed_inside == 3
    assert (task.feeder is None) == (task_inside.feeder is None) == (kind is Spy)
    assert task_inside.forecast is None
    first, shown = alone.book[1], inside.book[1]
    for name in ("vm", "load_p_mw", "load_q_mvar", "slack_vm"):
        np.testing.assert_array_equal(getattr(first, name), getattr(shown, name))
    assert np.isnan(shown.slack_vm)
    assert np.isnan(shown.vm).any() == (kind is Spy)  # devices stand in both zones


def test_what_it_sees():
    assert SafetyFilter(VoltVar()).sees == GLOBAL
    assert SafetyFilter(create("mpc")).sees == create("mpc").sees
    assert create("safety_filter:inner=volt_var,curve=rule21,margin=0.01") == SafetyFilter(
        VoltVar(curve="rule21"), 0.01
    )


# How often it acted, and what happens when things fail.


def test_the_comparison_says_how_often_it_acted():
    day = mapdn33("2016-06-21 04:00", 60)
    table = compare(day, {"random": RandomQ(), "safe": SafetyFilter(RandomQ())}).table().set_index("controller")
    out = furthest(simulate(day, RandomQ()).data) > TOLERANCE
    assert 0 < out.sum() < 60
    assert table.loc["safe", "adjusted_steps"] == out.sum()
    assert table.loc["random", "adjusted_steps"] == 0
    assert table.loc["safe", "cr_pct"] == 100


def test_a_failing_program_leaves_the_proposal(monkeypatch):
    def broken(*_, **__):
        raise np.linalg.LinAlgError("no")

    scenario = mapdn33(NOON, 3)
    monkeypatch.setattr(safety_projection, "least_change", broken)
    alone, safe = (simulate(scenario, c).data for c in (RandomQ(), SafetyFilter(RandomQ())))
    np.testing.assert_array_equal(alone["q_mvar"], safe["q_mvar"])
    assert (safe["rung"] == 3).all()
    assert all(s.startswith("short of the band") for s in statuses(safe))


def test_loads_that_no_voltage_supplies_are_no_exception():
    scenario = example_scenario()
    ready = SafetyFilter(RandomQ()).prepare(scenario.task())
    good = measurements(scenario, 0)[1]
    heavy = replace(good, load_p_mw=100 * good.load_p_mw)
    answer, state = ready.step(ready.initial_state(), heavy)
    assert answer.info.rung == 3
    assert answer.info.status == "held: the power flow has no solution"
    assert np.isfinite(answer.q_mvar).all()
    assert ready.step(state, good)[0].info.rung == 0


def test_proposals_without_a_power_flow_are_brought_back():
    """So much q is drawn that voltages collapse; less of it supplies the loads."""
    scenario = two_inverters(3.0)
    large = replace(scenario.feeder.inverters, s_mva=np.full(2, 40.0))
    scenario = replace(scenario, feeder=replace(scenario.feeder, inverters=large)).with_band(0.95, 1.05)
    inner = Asking(Setpoints(q_mvar=np.full(2, -35.0)))
    alone, safe = (simulate(scenario, c).data for c in (inner, SafetyFilter(inner)))
    assert not alone["converged"].any()
    assert furthest(safe).max() < TOLERANCE


def test_the_inner_controllers_fallbacks_still_count():
    inner = Asking(Setpoints(q_mvar=np.zeros(6), info=Decision(solver="x", status="held", rung=3)))
    data = simulate(example_scenario().window(NOON, 2).with_band(0.5, 1.5), SafetyFilter(inner)).data
    assert (data["rung"] == 3).all()


def test_a_margin_makes_up_for_a_wrong_grid_model():
    day = mapdn33("2016-06-21 09:00", 60)
    wrong = RunOptions(mismatch=0.2, seed=1)
    plain, careful = (furthest(simulate(day, SafetyFilter(RandomQ(), m), wrong).data) for m in (0.0, 0.01))
    assert 1e-4 < plain.max() < 0.01
    assert careful.max() == 0


def test_a_margin_that_cannot_be_had_does_not_cost_the_band():
    day = mapdn33("2016-12-15 16:30", 40).with_band(0.975, 1.02)
    plain, careful = (furthest(simulate(day, SafetyFilter(RandomQ(), m)).data) for m in (0.0, 0.002))
    np.testing.assert_array_equal(careful > TOLERANCE, plain > TOLERANCE)


@pytest.mark.parametrize(
    "spec",
    [
        "safety_filter:inner=(avr+volt_var),curtail=true",
        "safety_filter:inner=(random+storage_droop),margin=0.02",
        "safety_filter:inner=watt_var,priority=var",
        "safety_filter:inner=lindistflow,margin=0.02,curtail=true",
        "safety_filter:inner=(two_timescale:slow=cap_rule,control=var,fast=volt_var,every=30min)",
        "safety_filter:inner=(two_timescale:slow=random,fast=fixed_pf,every=30min)",
        "two_timescale:slow=cap_rule,fast=(safety_filter:inner=fixed_pf),every=30min",
    ],
)
def test_conformance(spec):
    check_controller(create(spec))


def test_conformance_of_a_random_policy():
    check_controller(SafetyFilter(RandomQ(), margin=0.01))


def test_bad_input():
    for setting in ("margin=-0.1", "margin=inf", "p_weight=0"):
        with pytest.raises(InputError, match="margin >= 0 and p_weight > 0"):
            create(f"safety_filter:{setting}")
    with pytest.raises(InputError, match="leaves nothing of the voltage band"):
        SafetyFilter(NoControl(), margin=0.06).prepare(example_scenario().task())
    net = copy.deepcopy(example_scenario().feeder.net)
    pp.create_gen(net, 10, p_mw=0.1, vm_pu=1.0)
    scenario = example_scenario()
    scenario = replace(scenario, feeder=Feeder.from_pandapower(net))
    with pytest.raises(InputError, match="voltage-controlled generators"):
        SafetyFilter(NoControl()).prepare(scenario.task())


def test_nothing_to_move_is_nothing_moved():
    net = copy.deepcopy(example_scenario().feeder.net)
    net.sgen["controllable"] = False
    scenario = replace(example_scenario(), feeder=Feeder.from_pandapower(net)).window(NOON, 2).with_band(0.99, 1.0)
    data = simulate(scenario, SafetyFilter(create("avr"))).data
    assert all(s.startswith("short of the band") for s in statuses(data))
    assert Plant(scenario.feeder, engine(scenario.feeder), 0.25).feeder.inverters.index.size == 0
