"""Coordination: in band wherever that is possible, by the least change, on what an agent may know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import nnls

from feederlab.controllers.base import GLOBAL, LOCAL, ZONE, Controller, Information, Prepared, Setpoints
from feederlab.controllers.coordination import Coordination
from feederlab.controllers.registry import create
from feederlab.controllers.storage_rating import power_range
from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.voltage_polynomial import fit_polynomial
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.powerflow.base import engine
from feederlab.models.predictors.actions import Actions, Limits
from feederlab.models.predictors.reach import Reach
from feederlab.scenarios import load_scenario
from feederlab.simulate import simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements

THREE, SIX = (10, 15, 17), (10, 15, 17, 8, 16, 19)  # R9, R14, R16; then R7, R15, R18
SCHEDULE = "storage_schedule:charge=17-22,discharge=10-15"
DROOP = "storage_droop:damping=1"
COORDINATED = {
    SCHEDULE: "coordination:locals=storage_schedule,locals.charge=17-22,locals.discharge=10-15",
    DROOP: "coordination:locals=storage_droop,locals.damping=1",
}
WINTER, SUMMER = "2016-01-19", "2016-06-20"


@cache
def residential(agents=THREE):
    """CIGRE's low-voltage grid with storage of 60 kW and 3 MWh."""
    return load_scenario("cigre_lv").with_devices(storages=dict.fromkeys(agents, (0.06, 3.0)))


@cache
def run(agents, start, spec, days=1):
    return simulate(residential(agents).days(start, days), create(spec)).data


def outside(data):
    """Largest excursion of every step (p.u.)."""
    vm = data["vm_pu"].to_numpy()
    return np.maximum(np.maximum(vm - 1.05, 0.95 - vm), 0).max(axis=1)


def steps(agents, start, spec):
    """For every step: the injection of all but storage, slack voltage, limits, what is proposed, what was done."""
    data, scenario, inner = run(agents, start, spec), residential(agents).days(start, 1), create(spec).locals
    feeder, series = scenario.feeder, scenario.series()
    units, ready = feeder.storages, inner.prepare(replace(scenario.task(), feeder=None))
    actions = Actions.of(np.full(len(units), 2), np.arange(len(units)), units.node)
    soc = np.vstack([units.soc, data["soc"].to_numpy()[:-1]])
    p, q = data["p_mw"].to_numpy(), data["q_mvar"].to_numpy()
    measured = measurements(scenario, 0)[0]
    for t in range(len(series)):
        rest = -series.load_mva[t].copy()
        np.add.at(rest, feeder.inverters.node, p[t] + 1j * q[t])
        limits = Limits.of(actions, *power_range(units, soc[t], 0.25), units.s_mva)
        seen = replace(measured, time=series.times[t], soc=soc[t])
        proposed = ready.step(ready.initial_state(), seen)[0].storage_p_mw
        yield actions, rest, float(series.slack_vm[t]), limits, proposed, data["storage_p_mw"].to_numpy()[t]


@pytest.mark.parametrize(
    ("agents", "start", "rule"),
    [(THREE, WINTER, SCHEDULE), (THREE, SUMMER, SCHEDULE), (SIX, WINTER, SCHEDULE), (SIX, SUMMER, SCHEDULE),
     (SIX, WINTER, DROOP)],
)  # fmt: skip
def test_in_band_wherever_that_is_possible(agents, start, rule):
    """Agents that overshoot together; what stays out of band is proven to be out of reach, step by step."""
    alone, spec = run(agents, start, rule), COORDINATED[rule]
    data, feeder = run(agents, start, spec), residential(agents).feeder
    assert (outside(alone) > 1e-3).sum() >= 20
    assert data["clipped"].sum() == 0
    assert data["rung"].max() == 0
    missed = outside(data) > 1e-8
    excess = data["voltage_excess"].to_numpy()
    reach = None
    for t, (actions, rest, slack_vm, limits, _, done) in enumerate(steps(agents, start, spec)):
        assert (done >= limits.low - 1e-9).all()
        assert (done <= limits.high + 1e-9).all()
        assert missed[t] == str(data["status"][t].item()).startswith("short of the band")
        if missed[t]:
            reach = reach or Reach(BranchFlow.of(feeder), residential(agents).band, actions, 0.06)
            proven = reach.least_excess(rest, slack_vm, limits).value
            assert proven == pytest.approx(excess[t], rel=1e-4)
            assert proven > 0
    assert missed.any() == (start == WINTER)  # in winter the commercial area is out of band, and out of reach


@pytest.mark.parametrize(("agents", "start"), [(THREE, SUMMER), (SIX, SUMMER), (SIX, WINTER)])
def test_least_change_meets_the_conditions_of_an_optimum(agents, start):
    """KKT of the exact problem: a - a~ is minus a non-negative combination of the active limits' slopes.

    Slopes are central differences of power flows, and multipliers come from a non-negative least-squares fit.
    """
    spec = COORDINATED[SCHEDULE]
    feeder, changed = residential(agents).feeder, 0
    flow = engine(feeder)

    def voltages(rest, actions, points):
        injection = np.repeat(rest[None], len(points), axis=0)
        np.subtract.at(injection.T, actions.node, points.T)
        return flow.solve_batch(injection).vm

    for actions, rest, _, limits, proposed, done in steps(agents, start, spec):
        if np.abs(done - proposed).max() < 1e-9:
            continue
        vm = voltages(rest, actions, done[None])[0]
        if vm.min() < 0.95 - 1e-8 or vm.max() > 1.05 + 1e-8:
            continue  # no action keeps the band; see above
        changed += 1
        h = 1e-5 * np.eye(len(done))
        slopes = (voltages(rest, actions, done + h) - voltages(rest, actions, done - h)).T / 2e-5
        at = [slopes[vm > 1.05 - 1e-6], -slopes[vm < 0.95 + 1e-6]]
        at += [np.eye(len(done))[done > limits.high - 1e-6], -np.eye(len(done))[done < limits.low + 1e-6]]
        active = np.concatenate(at)
        assert len(active)
        _, left = nnls(active.T, proposed - done)
        assert left < 1e-4 * np.linalg.norm(proposed - done)
    assert changed > 10


def test_no_sampled_action_changes_less():
    """Random actions nearer to the proposal, at steps of much change; and the relaxation's bound where it is tight."""
    feeder, flow, rng = residential().feeder, engine(residential().feeder), np.random.default_rng(0)
    every = list(steps(THREE, "2016-01-18", COORDINATED[SCHEDULE]))
    most = sorted(every, key=lambda s: -np.abs(s[4] - s[5]).max())
    charging, discharging = ([s for s in most if sign * s[4][0] > 0][:3] for sign in (1, -1))
    for actions, rest, slack_vm, limits, proposed, done in charging + discharging:
        own = 0.5 * np.square(done - proposed).sum()
        assert own > 1e-5
        points = proposed + np.sqrt(2 * own) * rng.uniform(-1, 1, (50_000, 3))
        points = np.clip(points, limits.low, limits.high)
        points = points[0.5 * np.square(points - proposed).sum(axis=1) < own * (1 - 1e-6)]
        injection = np.repeat(rest[None], len(points), axis=0)
        np.subtract.at(injection.T, actions.node, points.T)
        vm = flow.solve_batch(injection).vm
        assert len(points) > 1000
        assert ((vm < 0.95).any(axis=1) | (vm > 1.05).any(axis=1)).all()
        if proposed[0] > 0:  # the lower limit binds, and the relaxation is tight: no action at all changes less
            reach = Reach(BranchFlow.of(feeder), residential().band, actions, 0.06)
            assert reach.least_change(rest, slack_vm, limits, proposed).value == pytest.approx(own, rel=1e-6)


def test_nothing_to_correct_changes_nothing():
    scenario = example_scenario().window("2016-06-21 10:00", 12).with_band(0.5, 1.5)
    for spec in ("storage_droop", "volt_watt", "storage_schedule"):
        alone, wrapped = (simulate(scenario, c).data for c in (create(spec), Coordination(create(spec))))
        for name in ("q_mvar", "p_mw", "storage_p_mw", "vm_pu"):
            np.testing.assert_allclose(alone[name], wrapped[name], atol=1e-9)
        assert set(wrapped["status"].to_numpy()) == {"as proposed"}


@dataclass(frozen=True)
class Pushing(Controller):
    """Asks for everything that pushes voltages up (or down), by inverters and storage, p and q."""

    sees: ClassVar[Information] = LOCAL
    up: bool = True

    def prepare(self, task, *, seed=None):
        return _Pushing(task, 1.0 if self.up else -1.0)


class _Pushing(Prepared):
    def __init__(self, task, sign):
        self.task, self.sign = task, sign

    def step(self, state, measurement):
        s, units = self.task.inverters.s_mva, self.task.storages
        p = np.minimum(measurement.p_available_mw, s) * (1.0 if self.sign > 0 else 0.0)
        return Setpoints(
            q_mvar=self.sign * s, p_mw=p, storage_p_mw=-self.sign * units.s_mva,
            storage_q_mvar=-self.sign * units.s_mva,
        ), state  # fmt: skip


@pytest.mark.parametrize("up", [True, False])
def test_all_kinds_of_actions_together(up):
    scenario = example_scenario().window("2016-06-21 10:00", 12).with_band(0.96, 1.02)
    alone, wrapped = (simulate(scenario, c).data for c in (Pushing(up), Coordination(Pushing(up))))
    for data, free in ((alone, True), (wrapped, False)):
        vm = data["vm_pu"].to_numpy()[:, 1:]
        assert ((vm > 1.02 + 1e-7).any() or (vm < 0.96 - 1e-7).any()) == free
    assert wrapped["clipped"].sum() == 0
    assert wrapped["rung"].max() == 0
    for data in (alone, wrapped):
        units = scenario.feeder.storages
        assert (np.hypot(data["storage_p_mw"], data["storage_q_mvar"]) <= units.s_mva + 1e-9).all()


def test_taps_pass_and_are_reckoned_with():
    @dataclass(frozen=True)
    class Tapping(Controller):
        sees: ClassVar[Information] = LOCAL

        def prepare(self, task, *, seed=None):
            class Ready(Prepared):
                def step(self, state, measurement):
                    return Setpoints(tap=np.array([-3]), storage_p_mw=np.full(2, -0.3)), state

            return Ready()

    scenario = example_scenario().window("2016-06-21 02:00", 2).with_band(0.9, 1.02)
    for predictor, tolerance in (("exact", 1e-8), ("lindistflow", 2e-3)):
        data = simulate(scenario, Coordination(Tapping(), predictor)).data
        assert (data["tap"] == -3).all()
        assert data["storage_p_mw"].max() > -0.3 + 1e-6
        short = str(data["status"][0].item()).startswith("short")
        assert short or data["vm_pu"].to_numpy()[:, 1:].max() < 1.02 + tolerance


@pytest.mark.parametrize(
    ("predictor", "neighbours"),
    [("lindistflow", "line"), ("lindistflow", "zone"), ("lindistflow", "10-15"), ("polynomial", "line"),
     ("polynomial", "10-15")],
)  # fmt: skip
def test_agents_get_nothing_but_their_neighbours(neighbours, predictor, tmp_path):
    """What is not a neighbour's changes; the agent's answer does not."""
    scenario = residential(SIX)
    inner, file = create("storage_droop:damping=1"), ""
    if predictor == "polynomial":
        fit = fit_polynomial(scenario.days(SUMMER, 2), inner, neighbours=neighbours, order=1)
        file = str(fit.save(tmp_path / "p.json"))
    task = scenario.task()
    if neighbours == "zone":  # all storage stands in zone R
        zone = tuple(
            "far" if bus in (10, 19) else name for bus, name in zip(scenario.feeder.node_bus, task.zone, strict=True)
        )
        task = replace(task, zone=zone)
        if predictor == "polynomial":
            pytest.skip("the polynomials were fitted in the feeder's own zones")
    ready = Coordination(inner, predictor, neighbours, file=file).prepare(task)
    node = scenario.feeder.storages.node
    of = ready._models[0][1]._of
    measured, rng = measurements(scenario, 0)[1], np.random.default_rng(0)
    measured = replace(measured, vm=np.where(np.arange(task.nodes) % 2, 1.07, 0.97))
    base = ready.step(ready.initial_state(), measured)[0].storage_p_mw
    watched_zone = np.array(task.zone)
    seen_any = False
    for k in range(len(node)):
        mates = np.isin(node, list(of[int(node[k])]))
        known = np.isin(np.arange(task.nodes), node[mates])
        if neighbours == "zone":
            known |= watched_zone == watched_zone[node[k]]
        noise = rng.uniform(0.9, 1.1, task.nodes)
        other = replace(
            measured, vm=np.where(known, measured.vm, noise), load_p_mw=measured.load_p_mw * noise,
            load_q_mvar=measured.load_q_mvar * noise, slack_vm=1.02, soc=np.where(mates, measured.soc, 0.15),
            storage_p_mw=np.where(mates, measured.storage_p_mw, 0.04), p_mw=measured.p_mw * 0.5,
        )  # fmt: skip
        again = ready.step(ready.initial_state(), other)[0].storage_p_mw
        assert again[k] == pytest.approx(base[k], abs=1e-9)
        seen_any |= bool(np.abs(again - base).max() > 1e-3)
    assert seen_any  # the change was one that matters to those who may see it


def test_beta_alone_scales_proposals_and_energy():
    scenario = residential().days(SUMMER, 2)
    spec = "storage_schedule:charge=0-12,discharge=12-24"
    alone = simulate(scenario, create(spec)).data
    half = simulate(scenario, Coordination(create(spec), "none", beta=0.5)).data
    np.testing.assert_allclose(half["storage_p_mw"], 0.5 * alone["storage_p_mw"], atol=1e-9)
    start = scenario.feeder.storages.soc
    np.testing.assert_allclose(half["soc"] - start, 0.5 * (alone["soc"] - start), atol=1e-9)
    assert half["clipped"].sum() == 0


def test_what_it_sees():
    assert Coordination(predictor="none").sees == LOCAL
    assert Coordination().sees == GLOBAL
    assert Coordination(predictor="lindistflow", neighbours="line").sees == GLOBAL
    assert Coordination(predictor="lindistflow", neighbours="zone").sees == ZONE
    assert Coordination(create("lindistflow"), "none").sees == GLOBAL
    assert Coordination(predictor="lindistflow", neighbours={5: [6]}).neighbours == "5-6"


@pytest.mark.parametrize(
    "spec",
    [
        "coordination:predictor=lindistflow,neighbours=zone",
        "coordination:predictor=lindistflow,neighbours=line,beta=0.5",
        "coordination:predictor=none,beta=0.4",
        "coordination:locals=volt_watt,locals.curve=0.98:1/1.02:0,predictor=lindistflow,neighbours=zone",
    ],
)
def test_conformance(spec):
    check_controller(create(spec))


def test_polynomial_conforms_and_helps(tmp_path):
    scenario, inner = residential(SIX), create("storage_droop:damping=1")
    fitted = fit_polynomial(scenario.days("2016-06-01", 5), inner, order=1)
    wrapped = Coordination(inner, "polynomial", file=str(fitted.save(tmp_path / "p.json")))
    day = scenario.days(SUMMER, 1)
    at = [k for k, name in enumerate(scenario.feeder.net.bus.name) if str(name).startswith("Bus R")][1:]

    def worst(controller):
        vm = simulate(day, controller).data["vm_pu"].to_numpy()[:, at]
        return np.maximum(np.maximum(vm - 1.05, 0.95 - vm), 0).max()

    assert worst(inner) > 0.03
    assert worst(wrapped) < 0.002
    check_controller(wrapped, scenario.days(SUMMER, 1))


def test_bad_input(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'exact'"):
        Coordination(predictor="exactly")
    with pytest.raises(InputError, match="'lindistflow', 'polynomial' or 'none', not 'exactly'"):
        create("coordination:predictor=exactly")
    with pytest.raises(InputError, match="take predictor=lindistflow or polynomial"):
        create("coordination:neighbours=line")
    with pytest.raises(InputError, match="takes file=PATH"):
        create("coordination:predictor=polynomial")
    with pytest.raises(InputError, match="takes file=PATH"):
        create("coordination:file=p.json")
    for setting in ("beta=0", "beta=1.5", "margin=-0.1"):
        with pytest.raises(InputError, match="0 < beta <= 1 and margin >= 0"):
            create(f"coordination:{setting}")
    with pytest.raises(InputError, match="leaves nothing of the voltage band"):
        create("coordination:margin=0.06").prepare(residential().task())
    with pytest.raises(InputError, match="nothing acts at bus 3"):
        create("coordination:predictor=lindistflow,neighbours=3-10").prepare(residential().task())
    day, inner = residential().days(SUMMER, 1), create("storage_schedule")
    file = str(fit_polynomial(day, inner, order=1).save(tmp_path / "p.json"))
    with pytest.raises(InputError, match=r"fitted for storage_p_mw 0, storage_p_mw 1, storage_p_mw 2, not for .* 5;"):
        Coordination(inner, "polynomial", file=file).prepare(residential(SIX).task())
    with pytest.raises(InputError, match=r"devices at buses \(10, 15, 17\), .* here they stand at \(10, 15, 19\)"):
        Coordination(inner, "polynomial", file=file).prepare(residential((10, 15, 19)).task())
    with pytest.raises(InputError, match="fitted for neighbours=all, not line"):
        Coordination(inner, "polynomial", "line", file=file).prepare(residential().task())
    with pytest.raises(InputError, match="moved nothing"):
        fit_polynomial(day, create("none"))
    with pytest.raises(InputError, match="more than the 96 steps"):
        fit_polynomial(day, inner, order=4)
