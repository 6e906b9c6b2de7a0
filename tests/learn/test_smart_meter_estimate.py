"""What a meter records, and the voltage it expects: three stages against known circuits, power flows and torch."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from feederlab.controllers.none import NoControl
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.smart_meter.accuracy import LABELS, errors, estimation_errors
from feederlab.learn.smart_meter.correction import CorrectionSettings, fit_correction
from feederlab.learn.smart_meter.estimate import EstimateSettings, VoltageModel, fit_voltage_model
from feederlab.learn.smart_meter.history import Battery, MeterHistory
from feederlab.learn.smart_meter.known import Known, decisions
from feederlab.learn.smart_meter.recording import record
from feederlab.learn.smart_meter.sensitivity import INPUTS, Sensitivity, SensitivitySettings, inputs
from feederlab.learn.smart_meter.sensitivity_fit import _Network, fit_sensitivity
from feederlab.models.powerflow.base import engine
from feederlab.models.thevenin import Guard, voltage
from feederlab.papers.smart_meter_case import BENCHMARK_KW, bus_of, smart_meter_scenario
from feederlab.simulate import RunOptions, simulate

QUICK = EstimateSettings(network=SensitivitySettings(width=8, heads=2, hidden=16, epochs=4))
UNIT = Battery(-0.06, 0.06, 0.3, 2.7, 1.5, 0.9)


def circuit(r=0.5, steps=400, seed=0, wander=0.0) -> MeterHistory:
    """A meter behind a resistance, on a source that wanders; its battery moves at random."""
    rng = np.random.default_rng(seed)
    demand, taken = rng.uniform(-0.05, 0.1, steps), rng.uniform(-0.06, 0.06, steps)
    e = 1.0 + wander * rng.standard_normal(steps)
    times = pd.date_range("2016-06-01", periods=steps, freq="15min")
    return MeterHistory("m", 900, times, voltage(e, r, demand + taken, 0.0), demand, 0 * demand, taken, UNIT)


@cache
def case():
    scenario = smart_meter_scenario(3)
    day = scenario.days("2016-06-20", 2)
    return day, simulate(day, StorageSchedule(charge="10-12", discharge="18-21"))


def at(name: str) -> MeterHistory:
    day, run = case()
    return MeterHistory.read(day, run, bus_of(day, name))


def test_a_meter_reads_its_own_bus_and_nothing_else():
    day, run = case()
    h, series, bus = at("R16"), case()[0].series(), bus_of(day, "R16")
    node = int(day.feeder.bus_node[np.flatnonzero(day.feeder.bus_index == bus)[0]])
    unit = int(np.flatnonzero(day.feeder.storages.bus == bus)[0])
    np.testing.assert_array_equal(h.vm, run.data["vm_pu"].sel(bus=bus))
    np.testing.assert_array_equal(h.storage_p_mw, run.data["storage_p_mw"][:, unit])
    np.testing.assert_array_equal(h.p_mw, series.load_mva[:, node].real + h.storage_p_mw)
    np.testing.assert_array_equal(h.q_mvar, series.load_mva[:, node].imag)
    assert h.demand_p_mw.min() < -0.03  # its PV is behind the meter
    assert (h.name, h.step_h, len(h), len(h.days)) == ("Bus R16", 0.25, 192, 2)
    assert astuple(h.battery) == pytest.approx((-0.06, 0.06, 0.3, 2.7, 1.5, 0.95))
    bare = at("R10")
    assert bare.battery is None
    assert not bare.storage_p_mw.any()


def test_inverters_belong_to_the_demand():
    day, _ = case()
    bus = bus_of(day, "R16")
    lit = smart_meter_scenario(3).with_devices(inverters={bus: (0.02, 0.01)}).days("2016-06-20", 1)
    h = MeterHistory.read(lit, simulate(lit, NoControl()), bus)
    np.testing.assert_allclose(h.demand_p_mw, at("R16").demand_p_mw[:96] - 0.01, atol=1e-12)


def test_days_gaps_and_joining():
    h = at("R9")
    first, second = h.days
    apart = MeterHistory.joined([h.without([first]), h.on([first])])
    np.testing.assert_array_equal(apart.vm, h.vm)
    assert h.fresh.sum() == 191
    assert apart.fresh.sum() == 191
    thinned = h._rows(np.arange(192) != 100)
    assert thinned.fresh.sum() == 189
    rows, _ = decisions(thinned, Guard())
    assert {100, 101}.isdisjoint(rows.tolist())
    assert len(rows) == 191 - 2 - 2
    with pytest.raises(InputError, match="no readings of 2016-07-01"):
        h.on(["2016-07-01"])
    with pytest.raises(InputError, match="different meters"):
        MeterHistory.joined([h, at("R14")])
    with pytest.raises(InputError, match="ascending times"):
        MeterHistory.joined([h, h.on([second])])


def test_refused_readings():
    day, run = case()
    with pytest.raises(InputError, match="no bus 999 with supply"):
        MeterHistory.read(day, run, 999)
    with pytest.raises(InputError, match="a meter needs its voltages"):
        MeterHistory.read(day.days("2016-06-21", 1), run, bus_of(day, "R9"))
    slim = simulate(day, NoControl(), RunOptions(record="metrics"))
    with pytest.raises(InputError, match="record='all'"):
        MeterHistory.read(day, slim, bus_of(day, "R9"))
    h = at("R9")
    with pytest.raises(InputError, match="finite values of vm"):
        replace(h, vm=np.append(h.vm[:-1], np.nan))
    with pytest.raises(InputError, match="no three readings in a row"):
        decisions(h._rows(np.arange(192) % 3 != 0), Guard())


def test_a_history_survives_its_file(tmp_path):
    h = at("R14")
    again = MeterHistory.load(h.save(tmp_path / "h.safetensors"))
    assert (again.name, again.step_s, again.battery) == (h.name, h.step_s, h.battery)
    assert again.times.equals(h.times)
    for name in ("vm", "demand_p_mw", "demand_q_mvar", "storage_p_mw"):
        np.testing.assert_array_equal(getattr(again, name), getattr(h, name))
    data = bytearray((tmp_path / "h.safetensors").read_bytes())
    data[-5] ^= 1
    (tmp_path / "h.safetensors").write_bytes(data)
    with pytest.raises(ResultFileError, match="damaged"):
        MeterHistory.load(tmp_path / "h.safetensors")
    with pytest.raises(ResultFileError, match="no feederlab meter history"):
        MeterHistory.load(VoltageModel(Guard()).save(tmp_path / "m.safetensors"))


def test_the_battery_does_what_the_plant_does():
    day, run = case()
    h, unit = at("R14"), int(np.flatnonzero(day.feeder.storages.bus == bus_of(day, "R14"))[0])
    e = h.battery.e_start_mwh
    for t in range(len(h)):
        low, high = h.battery.allowed(e, h.step_h)
        assert low - 1e-12 <= h.storage_p_mw[t] <= high + 1e-12
        e = h.battery.after(e, h.storage_p_mw[t], h.step_h)
        assert e == pytest.approx(float(run.data["energy_mwh"][t, unit]), abs=1e-12)
    assert UNIT.after(1.0, 0.06, 0.25) == pytest.approx(1.0 + 0.06 * 0.9 * 0.25)
    assert UNIT.after(1.0, -0.06, 0.25) == pytest.approx(1.0 - 0.06 / 0.9 * 0.25)
    assert UNIT.allowed(0.3, 0.25) == (0.0, 0.06)
    assert UNIT.allowed(2.7, 0.25) == (-0.06, 0.0)


def test_step_by_step_a_meter_knows_the_same():
    h, guard = at("R16"), Guard(z_start=0.2 + 0.1j)
    rows, known = decisions(h, guard)
    now = Known.first(h.vm[0], h.p_mw[0], h.q_mvar[0], guard)
    for t in range(1, len(h)):
        now = now.then(h.vm[t], h.p_mw[t], h.q_mvar[t], guard)
        now = Known.of(json.loads(json.dumps(now.record())))
        if t + 1 < len(h):
            there = now.now(h.demand_p_mw[t + 1], h.demand_q_mvar[t + 1])
            k = int(np.searchsorted(rows, t + 1))
            for name in ("demand_p_mw", "demand_q_mvar", "vm", "p_mw", "q_mvar", "z", "e"):
                np.testing.assert_allclose(getattr(there, name), getattr(known[k], name), rtol=1e-14)


def test_thevenin_is_exact_behind_a_resistance():
    h = circuit()
    rows, known = decisions(h, Guard())
    model = fit_voltage_model(h, stages="raw")
    later = rows > 10  # the first change of some size has been seen
    np.testing.assert_allclose(model.predict(h.storage_p_mw[rows], known)[later], h.vm[rows][later], atol=1e-9)
    tried = np.linspace(-0.06, 0.06, 5)
    vm = model.predict(tried[:, None], known[later])
    np.testing.assert_allclose(vm, voltage(1.0, 0.5, h.demand_p_mw[rows][later] + tried[:, None], 0.0), atol=1e-9)


def test_correction_finds_a_piecewise_polynomial():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.93, 1.05, 4000)
    pieces = ([1, 0.5, 2, -30], [1.01, 0.1, 0, 20], [0.99, 0.9, -3, 0])

    def truth(v):
        j = np.searchsorted([0.975, 1.0], v, side="right")
        return np.choose(j, [np.polyval(c[::-1], v - 1) for c in pieces])

    found = fit_correction(raw, truth(raw), CorrectionSettings())
    inside = np.sort(rng.uniform(0.935, 1.045, 500))
    edges = np.concatenate([found.low, found.high])
    well = np.abs(inside[:, None] - edges).min(axis=1) > 2e-3  # the tails of a piece are held constant
    np.testing.assert_allclose(found(inside)[well], truth(inside)[well], atol=2e-4)
    assert found(0.2) == found(float(found.low[0]))
    assert found(9.0) == found(float(found.high[-1]))
    assert found.samples.sum() == 4000


def test_a_piece_with_few_samples_takes_the_polynomial_of_all():
    rng = np.random.default_rng(1)
    raw = np.append(rng.uniform(1.0, 1.04, 300), [0.9, 0.91])
    found = fit_correction(raw, 1 + 0.5 * (raw - 1), CorrectionSettings())
    np.testing.assert_array_equal(found.samples, [2, 0, 300])
    np.testing.assert_array_equal(found.coefficients[0], found.coefficients[1])
    assert found(1.02) == pytest.approx(1.01, abs=1e-6)
    assert found(0.9) == pytest.approx(0.9525, abs=0.003)  # its two samples lie at 0.95 and 0.955
    with pytest.raises(InputError, match="59 steps are too few to fit a correction of order 3"):
        fit_correction(raw[:59], raw[:59], CorrectionSettings())


@pytest.mark.parametrize("settings", [{"breakpoints_v": (400.0, 390.0)}, {"order": 9}, {"base_v": 0.0}])
def test_impossible_corrections(settings):
    with pytest.raises(InputError, match="a correction needs"):
        CorrectionSettings(**settings)


@pytest.mark.parametrize("settings", [{"width": 30}, {"epochs": 0}, {"learning_rate": 0.0}])
def test_impossible_networks(settings):
    with pytest.raises(InputError, match="the sensitivity network needs"):
        SensitivitySettings(**settings)


@pytest.mark.parametrize("sizes", [{}, {"layers": 1, "width": 8, "heads": 2, "hidden": 5}])
def test_numpy_runs_what_torch_trained(sizes):
    settings = SensitivitySettings(**sizes)
    torch.manual_seed(3)
    network = _Network(settings).eval()
    for values in network.parameters():  # biases and norms too
        torch.nn.init.normal_(values, std=0.3)
    arrays = {name: values.numpy() for name, values in network.state_dict().items()}
    made = Sensitivity.of(
        settings.heads, arrays | {"centre": np.zeros(INPUTS), "scale": np.ones(INPUTS), "spread": np.ones(1)}
    )
    x = np.random.default_rng(0).normal(size=(50, INPUTS))
    with torch.no_grad():
        expected = network(torch.as_tensor(x, dtype=torch.float32)).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(made._head(x), expected, atol=2e-5)
    np.testing.assert_allclose([made._head(row[None])[0] for row in x], made._head(x), atol=1e-12)


def test_inputs_are_in_the_order_that_is_documented():
    known = Known(*map(np.asarray, (0.05, 0.01, [0.98, 0.97], [0.04, 0.03], [0.01, 0.02], 0.3 + 0.1j)))
    x = inputs([0.06, -0.06], known, np.array([0.96, 0.99]))
    np.testing.assert_allclose(x[0], [0.97, 0.03, 0.98, 0.04, float(known.e), 0.3, 0.1, 0.06, 0.05, 0.96])
    np.testing.assert_allclose(x[1, [7, 9]], [-0.06, 0.99])


def test_training_follows_from_its_seed_and_leaves_torch_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, INPUTS)), rng.normal(size=300)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    one, same, other = (fit_sensitivity(x, y, QUICK.network, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, same.arrays[name])
    assert any((values != other.arrays[name]).any() for name, values in one.arrays.items())


def test_the_network_learns_what_correction_cannot():
    """The source wanders with the household's own demand: no function of the Thevenin voltage alone can tell."""
    h = circuit(steps=3000)
    h = replace(h, vm=h.vm + 0.15 * h.demand_p_mw)
    train, test = h._rows(np.arange(3000) < 2400), h._rows(np.arange(3000) >= 2400)
    model = fit_voltage_model(train, settings=replace(QUICK, network=SensitivitySettings(epochs=10)))
    sizes = {stage: np.sqrt(np.mean(e**2)) for stage, e in errors(model, test).items()}
    assert sizes["all"] < 0.5 * sizes["H"]
    assert sizes["all"] < 0.1 * sizes["persistence"]
    _, known = decisions(test, model.guard)
    slope = (model.predict(0.05, known) - model.predict(-0.05, known)) / 0.1
    truth = (voltage(1, 0.5, known.demand_p_mw + 0.05, 0) - voltage(1, 0.5, known.demand_p_mw - 0.05, 0)) / 0.1
    assert np.abs(slope / truth - 1).mean() < 0.1


@pytest.mark.parametrize("stages", ["raw", "H", "all"])
def test_a_model_survives_its_file(tmp_path, stages):
    h = at("R9")
    model = fit_voltage_model(h, stages=stages, settings=QUICK)
    again = VoltageModel.load(model.save(tmp_path / "m.safetensors"))
    _, known = decisions(h, model.guard)
    assert again.stage == model.stage == stages
    assert again.training["meter"] == "Bus R9"
    for stage in ("raw", "H", "all"):
        np.testing.assert_array_equal(again.predict(0.01, known, stage=stage), model.predict(0.01, known, stage=stage))
    row = known[7]
    tried = np.array([-0.06, 0.0, 0.06])
    np.testing.assert_allclose(model.predict(tried, row), [model.predict(a, row) for a in tried], atol=1e-12)
    assert model.predict(0.01, row).shape == ()


def test_refused_models(tmp_path):
    h = at("R9")
    with pytest.raises(UnknownNameError, match="stage of the voltage estimate"):
        fit_voltage_model(h, stages="E")
    model = fit_voltage_model(h, stages="raw")
    with pytest.raises(UnknownNameError, match="stage of the voltage estimate"):
        model.predict(0.0, decisions(h, model.guard)[1], stage="E")
    path = model.save(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    with pytest.raises(ResultFileError):
        VoltageModel.load(path)
    with pytest.raises(ResultFileError, match="cannot read"):
        VoltageModel.load(tmp_path / "none.safetensors")
    whole = fit_voltage_model(h, settings=QUICK)
    cut = {name: values for name, values in whole.network.arrays.items() if "linear2.weight" not in name}
    broken = replace(whole, network=Sensitivity(2, cut)).save(tmp_path / "b.safetensors")
    with pytest.raises(ResultFileError, match="no usable feederlab voltage model"):
        VoltageModel.load(broken)


def test_error_table_of_days_never_seen():
    scenario = smart_meter_scenario(3)
    buses = [bus_of(scenario, name) for name in ("R9", "R10")]
    rows = estimation_errors(
        scenario, buses, ["2016-06-20", "2016-06-21"], ["2016-06-25"], seeds=(0, 1), settings=QUICK
    )
    stages = ["persistence", *LABELS]
    expected = [
        (f"Bus {meter}", storage, stage, seed)
        for seed in (0, 1)
        for meter, behaviours in (("R9", ("explores", "alone", "rests")), ("R10", ("explores", "rests")))
        for storage in behaviours
        for stage in stages
    ]
    assert [(row.meter, row.storage, row.stage, row.seed) for row in rows] == expected
    assert all(row.steps == 94 and 0 <= row.median_pct <= row.p95_pct <= row.worst_pct for row in rows)
    with pytest.raises(InputError, match="must be unseen"):
        estimation_errors(scenario, buses, ["2016-06-20"], ["2016-06-20"])


def test_the_case_is_the_benchmarks():
    scenario = smart_meter_scenario(6)
    feeder = scenario.feeder
    assert feeder.n_nodes == 19
    assert feeder.net.load.p_mw.sum() == pytest.approx(0.3838)
    assert feeder.storages.p_max_mw.tolist() == [0.06] * 6
    np.testing.assert_allclose(feeder.storages.e_max_mwh, 2.7)
    np.testing.assert_allclose(feeder.storages.e_min_mwh, 0.3)
    load = np.zeros((1, feeder.n_nodes), dtype=complex)
    for name, kw in BENCHMARK_KW.items():
        node = feeder.bus_node[np.flatnonzero(feeder.bus_index == bus_of(scenario, name))[0]]
        load[0, node] += kw / 1000 * (1 + 1j * np.tan(np.arccos(0.95)))
    vm = engine(feeder).solve_batch(-load).vm[0]
    assert vm.min() == pytest.approx(0.9169, abs=1e-4)
    assert bus_of(scenario, "R15") == feeder.node_bus[vm.argmin()]
    with pytest.raises(UnknownNameError, match="unknown node 'R19'"):
        bus_of(scenario, "R19")
    with pytest.raises(InputError, match="3 and 6 agents, not 4"):
        smart_meter_scenario(4)
    with pytest.raises(InputError, match="given twice"):
        smart_meter_scenario(("R9", "R9"))


def test_both_limits_are_missed_and_can_be_kept():
    """Without storage some steps of the year leave the band, either way; three units at full rate mend each of them."""
    scenario = smart_meter_scenario(3)
    feeder, series = scenario.feeder, scenario.series()
    flow, own = engine(feeder), feeder.storages.node

    def extremes(p_mw):
        injection = -series.load_mva.copy()
        np.subtract.at(injection.T, own, np.broadcast_to(p_mw, (len(own), len(series))))
        vm = flow.solve_batch(injection, slack_vm=series.slack_vm).vm
        return vm.min(axis=1), vm.max(axis=1)

    low, high = extremes(0.0)
    assert (low < 0.95).mean() == pytest.approx(0.037, abs=5e-4)  # what the page says
    assert (high > 1.05).mean() == pytest.approx(0.043, abs=5e-4)
    low, high = extremes(np.where(low < 0.95, -0.06, np.where(high > 1.05, 0.06, 0.0)))
    assert low.min() > 0.95
    assert high.max() < 1.05


@pytest.mark.slow
def test_the_papers_claims_at_the_meters_of_agents():
    """After H within 4 %, after E within 2 % (95th percentile), and the unit's own effect as the power flow has it."""
    scenario = smart_meter_scenario(3)
    days = [str(day.date()) for day in pd.date_range("2016-01-05", "2016-12-20", periods=60)]
    test, fit = days[::3], [day for k, day in enumerate(days) if k % 3]
    bus = bus_of(scenario, "R14")
    rows = {(r.storage, r.stage): r.p95_pct for r in estimation_errors(scenario, [bus], fit, test)}
    assert rows["explores", "H"] < 4
    assert rows["explores", "all"] < 2
    assert rows["alone", "all"] < 2
    assert rows["rests", "all"] < 2
    assert rows["explores", "all"] < rows["explores", "H"] < rows["explores", "raw"]
    model = fit_voltage_model(record(scenario, [bus], fit)[bus])
    history = record(scenario, [bus], test, under=NoControl())[bus]
    rows_, known = decisions(history, model.guard)
    slope = (model.predict(0.06, known) - model.predict(-0.06, known)) / 0.12
    load = np.vstack([scenario.days(day, 1).series().load_mva for day in test])[rows_]
    node, vm = scenario.feeder.bus_node[np.flatnonzero(scenario.feeder.bus_index == bus)[0]], []
    for p in (0.06, -0.06):
        injection = -load.copy()
        injection[:, node] -= p
        vm.append(engine(scenario.feeder).solve_batch(injection).vm[:, node])
    truth = (vm[0] - vm[1]) / 0.12
    assert abs(np.median(slope / truth) - 1) < 0.15
