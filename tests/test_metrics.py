"""Metrics against numbers worked out by hand, and against pandapower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest
import xarray as xr

import toy
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.metrics import BAND_TOLERANCE, METRICS, per_step, score
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.scenario import Scenario
from feederlab.result import Result
from feederlab.simulate import RunOptions, simulate

BAND = np.array([[0.95, 0.95, 0.95], [1.05, 1.05, 1.05]])
NO_LOADING, NO_BRANCH = np.zeros((2, 0)), np.zeros(0, dtype=bool)


def steps(vm: list[list[float]], band: np.ndarray = BAND) -> dict[str, np.ndarray]:
    return per_step(np.array(vm), band, NO_LOADING, NO_BRANCH)


def test_shares_excess_and_deviation_by_hand() -> None:
    got = steps([[1.00, 0.94, 1.07], [1.00, 1.02, 1.01]])
    assert got["out_share"] == pytest.approx([2 / 3, 0])
    assert got["below_share"] == pytest.approx([1 / 3, 0])
    assert got["above_share"] == pytest.approx([1 / 3, 0])
    assert got["drop_pu"] == pytest.approx([0.01, 0])
    assert got["rise_pu"] == pytest.approx([0.02, 0])
    assert got["drop_ref_pu"] == pytest.approx([0.06, 0])
    assert got["rise_ref_pu"] == pytest.approx([0.07, 0.02])
    assert got["deviation_pu"] == pytest.approx([0.13 / 3, 0.03 / 3])
    assert got["vm_min_pu"] == pytest.approx([0.94, 1.00])
    assert got["vm_max_pu"] == pytest.approx([1.07, 1.02])


def test_a_bus_on_its_limit_is_in_band() -> None:
    got = steps([[0.95, 1.05 + BAND_TOLERANCE / 2, 1.0], [0.95 - 2 * BAND_TOLERANCE, 1.0, 1.0]])
    assert got["out_share"] == pytest.approx([0, 1 / 3])


def test_a_power_flow_without_solution_counts_as_wholly_out_of_band() -> None:
    got = steps([[np.nan] * 3, [1.0] * 3])
    assert got["out_share"] == pytest.approx([1, 0])
    assert np.isnan(got["drop_pu"][0])
    assert got["drop_pu"][1] == 0


def test_unsupplied_buses_do_not_count_and_the_slack_is_never_out_of_band() -> None:
    band = np.array([[0.0, 0.95, np.nan], [np.inf, 1.05, np.nan]])
    got = steps([[1.10, 1.06, np.nan], [1.10, 1.00, np.nan]], band)
    assert got["out_share"] == pytest.approx([0.5, 0])
    assert got["rise_pu"] == pytest.approx([0.01, 0])


def test_loading_is_the_highest_of_lines_and_of_transformers() -> None:
    loading = np.array([[50.0, 120.0, 80.0], [np.nan, 30.0, np.nan]])
    got = per_step(np.ones((2, 3)), BAND, loading, np.array([True, True, False]))
    assert got["line_loading_percent"] == pytest.approx([120, 30])
    assert got["transformer_loading_percent"] == pytest.approx([80, np.nan], nan_ok=True)


@pytest.fixture(scope="module")
def none() -> Result:
    return simulate(toy.short(), NoControl())


def test_losses_and_voltages_agree_with_pandapower(none: Result) -> None:
    grid, series = toy.net(), toy.profiles(toy.net())
    losses, out, deviation = [], [], []
    for time in none.data["time"].to_numpy():
        grid.load["p_mw"] = series["load", "p_mw"].loc[time]
        grid.load["q_mvar"] = series["load", "q_mvar"].loc[time]
        grid.sgen["p_mw"] = series["sgen", "p_mw"].loc[time]
        pp.runpp(grid, numba=False, tolerance_mva=1e-10)
        vm = grid.res_bus.vm_pu
        losses.append(grid.res_line.pl_mw.sum())
        out.append(((vm > 1.05) | (vm < 0.95)).mean())
        deviation.append((vm - 1).abs().mean())
    scores = score(none)
    assert scores["loss_mw"] == pytest.approx(np.mean(losses), abs=1e-8)
    assert scores["line_loss_mw"] == pytest.approx(np.mean(losses), abs=1e-8)
    assert scores["v_out_pct"] == pytest.approx(100 * np.mean(out), abs=1e-9)
    assert scores["cr_pct"] == pytest.approx(100 * np.mean(np.array(out) == 0), abs=1e-9)
    assert scores["v_dev_pu"] == pytest.approx(np.mean(deviation), abs=1e-8)
    assert scores["objective"] == pytest.approx(scores["loss_mw"])
    assert 0 < scores["v_out_pct"] < 100


def test_transformer_losses_are_no_line_losses() -> None:
    grid = pp.create_empty_network()
    high, low, end = pp.create_bus(grid, 20.0), pp.create_bus(grid, 0.4), pp.create_bus(grid, 0.4)
    pp.create_ext_grid(grid, high)
    pp.create_transformer(grid, high, low, "0.25 MVA 20/0.4 kV")
    pp.create_line(grid, low, end, 0.1, "NAYY 4x150 SE")
    pp.create_load(grid, end, p_mw=0.3, q_mvar=0.05)
    profile = {("load", "p_mw"): toy.profiles(toy.net())["load", "p_mw"].iloc[:2, :1] * 0 + 0.3}
    profile["load", "p_mw"].columns = grid.load.index
    scores = score(simulate(Scenario.build(Feeder.from_pandapower(grid), profile), NoControl()))
    pp.runpp(grid, numba=False)
    assert scores["line_loss_mw"] == pytest.approx(float(grid.res_line.pl_mw.sum()), rel=1e-6)
    assert scores["loss_mw"] == pytest.approx(float(grid.res_line.pl_mw.sum() + grid.res_trafo.pl_mw.sum()), rel=1e-6)
    assert scores["max_transformer_loading_pct"] == pytest.approx(float(grid.res_trafo.loading_percent.max()), rel=1e-6)
    assert scores["max_line_loading_pct"] == pytest.approx(float(grid.res_line.loading_percent.max()), rel=1e-6)
    assert scores["overload_steps"] == 2
    assert scores["import_mwh"] == pytest.approx(float(grid.res_ext_grid.p_mw.sum()) * 0.5, rel=1e-6)


def test_scores_do_not_depend_on_how_much_is_recorded() -> None:
    scenario = toy.short()
    all_, single, few = (
        score(simulate(scenario, VoltVar(curve="mapdn"), RunOptions(record=r))) for r in ("all", "float32", "metrics")
    )
    for metric in METRICS:
        if metric.unit == "ms":
            continue
        assert few[metric.name] == pytest.approx(all_[metric.name], rel=1e-12, nan_ok=True), metric.name
        assert single[metric.name] == pytest.approx(all_[metric.name], rel=1e-6, nan_ok=True), metric.name


def test_the_realised_objective_is_what_the_options_name() -> None:
    scenario, controller = toy.short(4), VoltVar(curve="mapdn")
    objective = Objective.parse("voltage_deviation=2+control_effort")
    data = simulate(scenario, controller, RunOptions(objective=objective)).data
    vm, q = data["vm_pu"].to_numpy(), data["q_mvar"].to_numpy()
    expected = 2 * ((vm[:, 1:] ** 2 - 1) ** 2).sum(axis=1) + ((q / scenario.feeder.inverters.s_mva) ** 2).sum(axis=1)
    assert data["realised"].to_numpy() == pytest.approx(expected, rel=1e-9)


def test_reactive_power_curtailment_and_decisions_by_hand(none: Result) -> None:
    data = none.data.copy(deep=True)
    data["q_mvar"][:] = [[0.3, -0.6, 0.0]] * data.sizes["time"]
    data["p_mw"][:, 0] = data["p_available_mw"][:, 0] - 0.2
    data["rung"][:3] = 2
    data["settled"][0] = False
    data["clipped"][:2] = 4
    timing = none.timing.copy(deep=True)
    timing["decision_s"][:] = np.arange(1, data.sizes["time"] + 1) / 1e3
    scores = score(replace(none, data=data, timing=timing))
    assert scores["q_mean_mvar"] == pytest.approx(0.3)
    assert scores["curtailed_mwh"] == pytest.approx(0.2 * data.sizes["time"] * 0.25)
    assert scores["fallbacks"] == 3
    assert scores["unsettled_steps"] == 1
    assert scores["clipped"] == 8
    assert scores["decide_ms_p50"] == pytest.approx(4.5)
    assert scores["decide_ms_max"] == pytest.approx(8)


def test_gap_and_proof_by_hand(none: Result) -> None:
    count = none.data.sizes["time"]
    data = none.data.copy(deep=True)
    data["realised"][:], data["penalty"][:] = 1.1, 0.4
    data["out_share"][:] = [0.5, 0.5] + [0.0] * (count - 2)
    data["voltage_excess"][:] = [0.01, 0.02] + [0.0] * (count - 2)
    bound = np.full(count, 1.0)
    bound[-1] = -np.inf
    least = np.zeros(count)
    least[1] = 0.015
    certificate = xr.Dataset({"bound": ("time", bound), "least_excess": ("time", least)})
    scores = score(replace(none, data=data, certificate=certificate))
    assert scores["gap_pct"] == pytest.approx(10)
    assert scores["gap_penalised_pct"] == pytest.approx(50)
    assert scores["infeasible_steps"] == 2
    assert scores["infeasible_proven"] == 1
    assert scores["excess_worst"] == pytest.approx(0.02)
    assert scores["excess_bound"] == pytest.approx(0.015)
    assert scores["certified_pct"] == pytest.approx(100 * (count - 1) / count)


def test_how_tight_the_certificates_are_by_hand(none: Result) -> None:
    count = none.data.sizes["time"]
    data = none.data.copy(deep=True)
    data["realised"][:], data["penalty"][:] = 1.0, 0.0
    gap = np.linspace(0.0, 0.2, count)
    series = {"bound": 1 / (1 + gap / 100), "bound_plain": np.full(count, 0.5), "least_excess": np.zeros(count)}
    bounds = xr.Dataset({name: ("time", values) for name, values in series.items()})
    scores = score(replace(none, data=data, certificate=bounds))
    assert scores["gap_mean_pct"] == pytest.approx(0.1)
    assert scores["gap_p95_pct"] == pytest.approx(0.19)
    assert scores["gap_max_pct"] == pytest.approx(0.2)
    assert scores["certified_01_pct"] == pytest.approx(100 * (gap <= 0.1).mean())
    assert scores["gap_plain_pct"] == scores["gap_plain_p95_pct"] == pytest.approx(100)
    assert scores["certified_01_plain_pct"] == 0
    assert np.isnan(score(none)["certified_01_pct"])


def test_no_percentage_of_a_bound_that_is_rounding(none: Result) -> None:
    count = none.data.sizes["time"]
    for bound, known in ((0.0, False), (2e-10, False), (-4e-12, False), (1e-6, True)):
        series = {"bound": ("time", np.full(count, bound)), "least_excess": ("time", np.zeros(count))}
        scores = score(replace(none, certificate=xr.Dataset(series)))
        assert np.isfinite(scores["gap_pct"]) == np.isfinite(scores["gap_penalised_pct"]) == known
        assert scores["certified_pct"] == 100


def test_every_metric_is_described() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.title, metric.name
        assert metric.about, metric.name
        assert metric.source, metric.name
