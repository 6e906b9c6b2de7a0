"""Hosting capacity: against closed forms and a scan, the element that binds, and what optimal power flow must reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import toy
import two_bus
from feederlab.controllers.base import Controller
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.hosting import Hosting, hosting_capacity
from feederlab.hosting.limits import Limits
from feederlab.hosting.rows import Simulated, _Steps, make_rows
from feederlab.hosting.search import first_break, scan_factors
from feederlab.metrics import BAND_TOLERANCE
from feederlab.models.objective import Objective
from feederlab.models.scaling import sunniest_day, with_generation
from feederlab.models.scenario import Scenario
from feederlab.report.hosting_plot import plot_hosting
from feederlab.simulate import simulate

TIGHT = 1e-5


def host(scenario: Scenario, *controllers: str, **options: object) -> Hosting:
    return hosting_capacity(scenario, controllers, **options)  # type: ignore[arg-type]


# --- against closed forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controller", "q_of_p"),
    [
        ("none", lambda p: 0.0),
        ("fixed_pf:cos_phi=0.95", lambda p: -p * np.tan(np.arccos(0.95))),
        ("fixed_pf:cos_phi=0.98,direction=inject", lambda p: p * np.tan(np.arccos(0.98))),
    ],
)
def test_voltage_rise_of_two_buses(controller: str, q_of_p: Callable[[float], float]) -> None:
    limit = 1.05 + BAND_TOLERANCE
    exact = two_bus.capacity(lambda p, q: two_bus.voltage(p, q) - limit, q_of_p)
    row = host(two_bus.scenario(), controller, tolerance=TIGHT).row(controller)
    assert exact * (1 - TIGHT) <= row.mw <= exact  # the scenario has 1 MW: factor and MW are the same number
    assert row.factor == pytest.approx(row.mw)
    assert row.breaks_at is not None
    assert exact <= row.breaks_at <= exact * (1 + 2 * TIGHT)
    assert row.binding is not None
    assert (row.binding.kind, row.binding.element) == ("voltage too high", "bus 1 (village)")
    assert row.binding.time == "2016-06-20 11:00"  # full sun
    assert row.binding.value == pytest.approx(1.05, abs=1e-4)
    assert row.binding.limit == 1.05


@pytest.mark.parametrize("percent", [100.0, 80.0])
def test_line_loading_of_two_buses(percent: float) -> None:
    rated = 0.1  # kA
    exact = two_bus.capacity(lambda p, q: two_bus.current_ka(p, q) - percent / 100 * rated * (1 + 1e-5), lambda p: 0.0)
    study = host(two_bus.scenario(max_i_ka=rated), "none", tolerance=TIGHT, max_loading_percent=percent)
    row = study.row("none")
    assert row.mw == pytest.approx(exact, rel=2 * TIGHT)
    assert row.binding is not None
    assert (row.binding.kind, row.binding.element) == ("overload", "line 0")
    assert row.binding.value == pytest.approx(percent, rel=1e-3)
    assert row.binding.time == "2016-06-20 11:00"


def test_the_first_of_two_limits_binds() -> None:
    voltage = host(two_bus.scenario(), "none").row("none").mw
    at_break = two_bus.current_ka(voltage - two_bus.LOAD.real, -two_bus.LOAD.imag)
    for margin, kind in ((1.02, "voltage too high"), (0.98, "overload")):
        binding = host(two_bus.scenario(max_i_ka=margin * at_break), "none").row("none").binding
        assert binding is not None
        assert binding.kind == kind


@pytest.mark.parametrize("controller", ["volt_var:curve=ieee1547_b", "volt_var:curve=mapdn"])
def test_against_a_scan_of_the_simulation(controller: str) -> None:
    scenario, step, tolerance = two_bus.scenario(band=(0.95, 1.03)), 0.1, 0.001
    row = host(scenario, controller, tolerance=tolerance).row(controller)
    keeps = True
    for factor in np.arange(0.0, 12.0, step):
        run = simulate(with_generation(scenario, factor), create(controller))
        keeps = bool((run.data["out_share"] == 0).all())
        if not keeps:
            break
    assert not keeps
    assert factor - step <= row.factor * (1 + tolerance)
    assert row.factor <= factor


# --- what is odd: nothing fits, everything fits, works again ---------------------------------------------------------


def test_limits_that_the_loads_alone_break() -> None:
    heavy = two_bus.scenario(load=2.2 + 0.8j)
    assert two_bus.voltage(-2.2, -0.8) < 0.95
    strict = host(heavy, "none", strict=True)
    row = strict.row("none")
    assert (row.mw, row.breaks_at) == (0.0, 0.0)
    assert row.binding is not None
    assert (row.binding.kind, row.binding.element) == ("voltage too low", "bus 1 (village)")
    assert row.binding.value == pytest.approx(two_bus.voltage(-2.2, -0.8))
    assert strict.without_pv == row.binding
    forgiving = host(heavy, "none", tolerance=TIGHT)
    exact = two_bus.capacity(lambda p, q: two_bus.voltage(p, q) - 1.05 - BAND_TOLERANCE, lambda p: 0.0, 2.2 + 0.8j)
    assert forgiving.row("none").mw == pytest.approx(exact, rel=2 * TIGHT)
    assert forgiving.without_pv == row.binding


def test_what_pv_makes_worse_still_counts() -> None:
    """A bus too high without PV may not rise further."""
    scenario = two_bus.scenario(band=(0.9, 0.99))
    study = host(scenario, "none")
    row = study.row("none")
    assert study.without_pv is not None
    assert study.without_pv.kind == "voltage too high"
    assert row.mw < 1e-3
    assert row.binding is not None
    assert row.binding.kind == "voltage too high"
    assert row.binding.limit == pytest.approx(two_bus.voltage(-0.4, -0.1))


def test_nothing_breaks_up_to_the_largest_factor() -> None:
    row = host(two_bus.scenario(), "none", max_factor=1.5).row("none")
    assert (row.factor, row.breaks_at, row.binding, row.at_least) == (1.5, None, None, True)


def test_a_power_flow_without_solution_breaks() -> None:
    row = host(two_bus.scenario(band=(0.5, 2.0)), "none", max_factor=200.0).row("none")
    assert row.binding is not None
    assert row.binding.kind == "no solution"
    assert row.binding.time == "2016-06-20 11:00"
    beyond = row.breaks_at or 0.0
    p, q = beyond - 0.4, -0.1
    linear = 1 + 2 * (two_bus.R * p + two_bus.X * q) / 100
    assert linear**2 < 4 * (two_bus.R**2 + two_bus.X**2) * (p**2 + q**2) / 1e4  # the closed form has no root either


def test_a_droop_that_swings_hosts_nothing_more() -> None:
    """q = -20 S (v - 1), moved by a share d per round, swings where d (1 + 20 S dv/dq) = 2, well inside the band."""
    steep = "volt_var:curve=0.95:1/1.05:-1"
    study = host(two_bus.scenario(), f"{steep},damping=1", f"{steep},damping=0.5", f"{steep},damping=1,start=previous")
    for row, damping in zip(study.rows[:2], (1.0, 0.5), strict=True):
        assert row.binding is not None
        assert (row.binding.kind, str(row.binding)[:42]) == ("no rest", "the control loop does not come to rest, 20")
        p, s = row.mw - two_bus.LOAD.real, 1.25 * row.mw

        def off(q: float, p: float = p, s: float = s) -> float:
            return q + 20 * s * (two_bus.voltage(p, q - two_bus.LOAD.imag) - 1)

        q = brentq(off, -s, s)
        loop = (off(q + 1e-6) - off(q - 1e-6)) / 2e-6  # 1 + 20 S dv/dq
        assert 0.9 * 2 < damping * loop < 1.02 * 2
        assert two_bus.voltage(p, q - two_bus.LOAD.imag) < 1.04
    goes_on = study.rows[2]
    assert goes_on.mw > study.rows[0].mw  # its every round is what the grid goes through: rest is not asked of it
    assert goes_on.unsettled > 0


@given(threshold=st.floats(0.0, 20.0), tolerance=st.sampled_from([0.1, 0.01, 0.001]), start=st.floats(0.0, 16.0))
def test_the_search_brackets_a_threshold(threshold: float, tolerance: float, start: float) -> None:
    found = first_break(lambda k: k <= threshold, 16.0, tolerance, from_=start)
    if threshold >= 16.0:
        assert np.isnan(found.breaks)
        assert found.works == 16.0
    else:
        assert found.works <= threshold < found.breaks
        assert found.breaks - found.works <= max(tolerance * found.breaks, 1e-3)
        assert found.works_again == ()


def test_the_search_tells_what_works_again() -> None:
    found = first_break(lambda k: k < 1.2 or k > 1.9, 16.0, 0.001)
    assert found.works == pytest.approx(1.2, rel=0.001)
    assert found.works_again == (2.0, pytest.approx(2.0**1.5))
    none_at_all = first_break(lambda k: k > 0.3, 16.0, 0.001)
    assert np.isnan(none_at_all.works)
    assert none_at_all.breaks == 0.0
    assert min(none_at_all.works_again) == pytest.approx(2.0**-1.5)


def test_the_scan_doubles_in_two_steps() -> None:
    assert scan_factors(1.0) == pytest.approx([0.25, 0.25 * 2**0.5, 0.5, 0.5 * 2**0.5, 1.0])
    with pytest.raises(InputError, match="largest factor"):
        scan_factors(0.0)


# --- optimal power flow ----------------------------------------------------------------------------------------------

ROWS = ("none", "volt_var:curve=mapdn", "volt_var:curve=ieee1547_b", "opf")


def best_of_the_others(study: Hosting) -> float:
    return max(row.mw for row in study.rows if not row.controller.startswith("opf"))


def test_optimal_power_flow_of_two_buses() -> None:
    """Full absorption, q = -sqrt(s^2 - p^2) at full sun, is the best that can be done."""
    exact = two_bus.capacity(
        lambda p, q: two_bus.voltage(p, q) - 1.05 - BAND_TOLERANCE, lambda p: -p * np.sqrt(1.05**2 - 1)
    )
    row = host(two_bus.scenario(s_mva=1.05), "opf", tolerance=0.005).row("opf")
    assert exact * (1 - 0.005) <= row.mw <= exact
    assert row.proven


def test_optimal_power_flow_is_never_below_on_mapdn33(scenario: Callable[[str], Scenario]) -> None:
    day = sunniest_day(scenario("mapdn33")).resample("1h")
    study = host(day.window(day.start + pd.Timedelta("13h"), 2), *ROWS, tolerance=0.05, max_factor=4.0)
    assert study.row("opf").mw >= best_of_the_others(study) > study.row("none").mw > 0


def test_optimal_power_flow_is_never_below_on_a_low_voltage_grid(scenario: Callable[[str], Scenario]) -> None:
    day = sunniest_day(scenario("simbench:1-LV-rural1--0-sw")).resample("6h")
    study = host(day, *ROWS, tolerance=0.05)
    assert study.row("opf").mw >= best_of_the_others(study)
    assert {row.binding.element for row in study.rows if row.binding} == {"trafo 0"}  # 160 kVA


def test_optimal_power_flow_takes_the_setpoints_of_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its own search found nothing better than q = 0."""
    plain = _Steps.held

    def useless(self: _Steps, t: int, start_q_mvar: object = None) -> object:
        idle = np.zeros(len(self._plant.feeder.inverters))
        return plain(self, t, idle, idle)

    monkeypatch.setattr(_Steps, "own", useless)
    study = host(toy.short(2), "opf", "none", "volt_var:curve=mapdn", tolerance=0.05)
    best = best_of_the_others(study)
    assert best > 1.2 * study.row("none").mw
    assert study.row("opf").mw >= best
    assert study.row("opf").adopted > 0


def test_one_step_alone_has_the_setpoints_of_the_window() -> None:
    window = toy.short(4)
    limits = Limits.of(window, 100.0, 0.0)

    def row(controller: Controller) -> Simulated:
        made = make_rows(window, {"row": controller}, limits, Objective(), max_loading_percent=100.0, everything=False)[
            0
        ]
        assert isinstance(made, Simulated)
        return made

    for spec in ("none", "volt_var:curve=mapdn", "feedback"):
        alone, whole = row(create(spec)), row(create(spec))
        whole.state(1.3)
        for t in (0, 2):
            np.testing.assert_allclose(alone.setpoints(1.3, t), whole.setpoints(1.3, t), atol=1e-9)


def test_curtailment_has_an_allowance() -> None:
    """Without one, curtailing is no way to host more; with one, optimal curtailment hosts at least as much."""
    window = two_bus.scenario()
    watt = "volt_watt:curve=1.04:1/1.06:0"
    none = host(window, "none").row("none").mw
    strict = host(window, watt).row(watt)
    assert strict.mw <= none
    assert strict.binding is not None
    assert strict.binding.kind == "curtailment"
    best = "opf:curtail=true,objective=curtailment=1+losses=0.001"
    allowed = host(window, watt, best, max_curtailed_percent=5.0, tolerance=0.02)
    assert allowed.row(watt).mw > strict.mw
    assert allowed.row(best).mw >= allowed.row(watt).mw
    assert allowed.row(best).mw > none


# --- results, records, input -----------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    study = host(two_bus.scenario(max_i_ka=0.2), "none", "volt_var:curve=mapdn", tolerance=0.05)
    study.save(tmp_path / "out", also=lambda folder: plot_hosting(study, folder / "hosting.png") and None)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["hosting.csv", "hosting.json", "hosting.png"]
    again = Hosting.load(tmp_path / "out")
    assert again.rows == study.rows
    assert again.without_pv == study.without_pv
    assert again.table().equals(study.table())
    study.save(tmp_path / "out")
    other = host(two_bus.scenario(max_i_ka=0.2), "none", tolerance=0.05)
    with pytest.raises(ResultFileError, match="another question"):
        other.save(tmp_path / "out")
    other.save(tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "hosting.json").write_text('{"format": 1')
    with pytest.raises(ResultFileError, match="truncated"):
        Hosting.load(tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("")
    with pytest.raises(ResultFileError, match="holds files"):
        host(two_bus.scenario(), "none", out=tmp_path / "mine", overwrite=True)


def test_the_record_is_strict_json(tmp_path: Path) -> None:
    host(two_bus.scenario(), "none", out=tmp_path / "out", tolerance=0.1)  # no rating: loadings are no numbers

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (tmp_path / "out" / "hosting.json").read_text()
    record = json.loads(text, parse_constant=no_constant)
    assert record["installed_mw"] == 1.0
    assert record["rows"][0]["points"][0]["loading_percent"] is None


@pytest.mark.parametrize("objective", ["voltage_deviation", "losses=1+control_effort=0.1"])
def test_every_objective_has_a_value_without_pv(objective: str) -> None:
    study = host(
        two_bus.scenario(), "none", "feedback", "opf:method=sqp", tolerance=0.2, max_factor=4.0, objective=objective
    )
    assert (
        study.row("opf:method=sqp").mw
        >= study.row("none").mw
        == host(two_bus.scenario(), "none", tolerance=0.2).rows[0].mw
    )


def test_a_controller_that_cannot_work_is_noted() -> None:
    study = host(toy.scenario(meshed=True).window("2016-06-20 12:00", 2), "none", "socp", tolerance=0.1)
    assert "meshed" in study.row("socp").note
    assert study.row("none").mw > 0
    with pytest.raises(InputError, match="no controller can work here"):
        host(toy.scenario(meshed=True).window("2016-06-20 12:00", 2), "socp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance must lie"),
        ({"tolerance": 1.0}, "tolerance must lie"),
        ({"max_factor": -1.0}, "largest factor"),
        ({"max_loading_percent": 0.0}, "positive percentage"),
        ({"max_curtailed_percent": 101.0}, "0-100 %"),
        ({"objective": "loses"}, "did you mean 'losses'"),
        ({"objective": "cost"}, "single optimal power flows only"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        host(two_bus.scenario(), "none", **options)


def test_bad_rows() -> None:
    window = two_bus.scenario()
    with pytest.raises(InputError, match="no controller given"):
        host(window)
    with pytest.raises(InputError, match="given twice: none"):
        host(window, "none", "none")
    with pytest.raises(UnknownNameError, match="did you mean 'none'"):
        host(window, "nonne")
    with pytest.raises(UnknownNameError, match="row"):
        host(window, "none", tolerance=0.5).row("opf")
    net = toy.net()
    net.sgen["controllable"] = False
    from feederlab.models.feeder import Feeder

    bare = Scenario.build(Feeder.from_pandapower(net, "bare"), toy.profiles(net)).window("2016-06-20 12:00", 2)
    with pytest.raises(InputError, match="'bare' has no PV to scale"):
        host(bare, "none")
    assert host(bare, "none", everything=True, tolerance=0.1).row("none").mw > 0
