"""Sweeps: the space, its draws, the front, the best, and that the answer depends on neither jobs nor batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy
from feederlab import sweep as flat_sweep
from feederlab.controllers.curves import VOLT_VAR, Curve
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.report.pareto_plot import plot_pareto
from feederlab.report.sweep_table import sweep_table
from feederlab.simulate import simulate
from feederlab.sweep import Sweep, shape, study, sweep
from feederlab.sweep.result import front
from feederlab.sweep.space import Space

SHAPED = ("v_dead=0..0.03", "v_sat=0.02..0.1", "q_max=0.2..1")


@pytest.fixture(scope="module")
def made() -> Sweep:
    return sweep(toy.short(3), "volt_var", SHAPED, samples=12, seed=4)


# --- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [("ieee1547_b", {}), ("ieee1547_a", {"v_dead": 0.0, "v_sat": 0.1, "q_max": 0.25}),
     ("hawaii14h", {"v_dead": 0.03, "v_sat": 0.06, "q_max": 0.44}),
     ("vde4105", {"v_dead": 0.03, "q_max": 0.436, "slope": 0.436 / 0.04})],
)  # fmt: skip
def test_the_four_numbers_describe_the_published_curves(name: str, values: dict[str, float]) -> None:
    made, published = Curve.parse(shape.curve(values)), VOLT_VAR[name]
    x = np.linspace(0.85, 1.15, 301)
    np.testing.assert_allclose(made(x), published(x), atol=1e-6)


def test_a_grid_is_every_combination_in_order() -> None:
    space = Space.parse("volt_var:priority=var", ["curve=mapdn,0.94:0.4/1:0/1.06:-0.4", "damping=0.1..0.3/3"])
    tried, notes = space.settings(None, 0)
    assert notes == []
    assert [values["damping"] for values in tried] == ["0.1", "0.2", "0.3"] * 2
    assert space.spec(tried[3]) == "volt_var:priority=var,curve=0.94:0.4/1:0/1.06:-0.4,damping=0.1"


def test_draws_are_seeded_different_and_inside() -> None:
    space = Space.parse("volt_var", ["v_dead=0..0.05", *SHAPED[1:], "max_rounds=50..52", "priority=watt,var"])
    one, notes = space.settings(40, 3)
    assert notes
    assert "left out" in notes[0]
    assert one == space.settings(40, 3)[0]
    assert one != space.settings(40, 4)[0]
    assert len({space.spec(values) for values in one}) == 40
    assert {values["max_rounds"] for values in one} == {"50", "51", "52"}
    for values in one:
        assert 0 <= float(values["v_dead"]) < float(values["v_sat"]) <= 0.1
        create(space.spec(values))


def test_combinations_that_make_no_controller_are_left_out_in_one_message() -> None:
    space = Space.parse("volt_var", ["v_dead=0.01,0.05", "v_sat=0.04,0.08"])
    tried, notes = space.settings(None, 0)
    assert [(v["v_dead"], v["v_sat"]) for v in tried] == [("0.01", "0.04"), ("0.01", "0.08"), ("0.05", "0.08")]
    assert len(notes) == 1
    assert "1 combination left out: v_dead=0.05, v_sat=0.04 (v_sat = 0.04 does not lie beyond v_dead" in notes[0]


def test_fewer_settings_than_asked_for_are_told() -> None:
    tried, notes = Space.parse("volt_var", ["curve=mapdn,rule21"]).settings(10, 0)
    assert len(tried) == 2
    assert "only 2 different settings" in notes[0]


@pytest.mark.parametrize(
    ("controller", "settings", "samples", "message"),
    [
        ("volt_var", [], None, "empty space"),
        ("volt_var", ["curve"], None, "write key=a,b,c"),
        ("volt_var", ["curve=,"], None, "no values"),
        ("volt_var", ["dampin=0.1"], None, "did you mean 'damping'"),
        ("volt_var", ["curve=mapnd"], None, "did you mean 'mapdn'"),
        ("volt_var", ["curve=mapdn..rule21"], 3, "only a number has a range"),
        ("volt_var", ["damping=0.1,0.2", "damping=0.3"], None, "gives damping twice"),
        ("volt_var", ["damping=0.1..0.3"], None, "needs --samples"),
        ("volt_var", ["damping=0.3..0.1"], 3, "empty or inverted"),
        ("volt_var", ["damping=low..0.1"], 3, "'low' is no number"),
        ("volt_var", ["damping=0.1..inf"], 3, "'inf' is no number"),
        ("volt_var", ["damping=0.1..0.2/1"], None, "after the slash"),
        ("volt_var", ["damping=0.1,2"], None, "0 < damping <= 1"),
        ("volt_var", ["damping=0.1..0.2/100", "tol=1e-5..1e-4/100"], None, "10000 combinations are more than"),
        ("volt_var", ["v_sat=0.03,0.05", "slope=10"], None, "either v_sat or slope"),
        ("volt_var:curve=mapdn", ["v_sat=0.03,0.05"], None, "do not give curve as well"),
        ("volt_var", ["v_sat=0.03,0.05", "curve=mapdn"], None, "do not give curve as well"),
        ("volt_var:damping=0.2", ["damping=0.1"], None, "give it once"),
        ("volt_var", ["q_max=0.4,1.2"], None, "q_max must lie in above 0, to 1, not 1.2"),
        ("volt_var", ["v_dead=-0.1..0.1"], 3, "v_dead must lie in 0 to 0.2, not -0.1"),
        ("volt_var", ["v_dead=0.1", "v_sat=0.05"], None, "no combination makes a controller"),
        ("volt_var", ["damping=0.1..0.3"], 0, "samples must lie"),
        ("fixed_pf", ["v_dead=0.01"], None, "unknown fixed_pf key 'v_dead'"),
        ("volt_vra", ["curve=mapdn"], None, "did you mean 'volt_var'"),
    ],
)  # fmt: skip
def test_spaces_that_make_no_sense(controller: str, settings: list[str], samples: int | None, message: str) -> None:
    with pytest.raises(InputError) as error:
        Space.parse(controller, settings).settings(samples, 0)
    assert message in str(error.value)
    assert isinstance(error.value, UnknownNameError) == ("did you mean" in message or "unknown" in message)


# --- what comes out --------------------------------------------------------------------------------------------------


def test_rows_are_those_of_a_simulation(made: Sweep) -> None:
    assert len(made.settings) == 12
    assert list(made.baselines["controller"]) == ["none", *(f"volt_var:curve={name}" for name in VOLT_VAR), "opf"]
    row = made.settings.iloc[5]
    assert row["controller"] == "volt_var:curve=" + shape.curve({k: float(row[k]) for k in made.keys})
    run = simulate(toy.short(3), create(row["controller"])).data
    assert row["loss_mw"] == pytest.approx(float(run["losses_mw"].mean()), rel=1e-9)
    assert row["lost_mw"] == pytest.approx(row["loss_mw"])
    assert row["v_out_pct"] == pytest.approx(100 * float(run["out_share"].mean()))
    assert row["excess_mean"] == pytest.approx(float(run["voltage_excess"].mean()), rel=1e-6, abs=1e-12)


def test_curtailed_power_counts_as_lost() -> None:
    made = sweep(toy.short(3), "volt_watt", ["curve=1.0:1/1.02:0,1.06:1/1.1:0"], baselines=["none"])
    low, high = made.settings["curve"].map(str), made.settings.set_index("curve")
    row = high.loc[low.iloc[0]]
    assert row["curtailed_mwh"] > 0
    assert row["lost_mw"] == pytest.approx(row["loss_mw"] + row["curtailed_mwh"] / 0.75)  # three quarters of an hour
    assert made.best()["curve"] == "1.06:1/1.1:0" or made.best()["v_out_pct"] < high["v_out_pct"].max()


def test_best_and_front(made: Sweep) -> None:
    rows, best = made.sound(), made.best()
    assert best["v_out_pct"] == rows["v_out_pct"].min()
    assert best["lost_mw"] == rows[rows["v_out_pct"] == best["v_out_pct"]]["lost_mw"].min()
    assert best["controller"] == made.pareto().iloc[0]["controller"]
    losses = made.pareto()["lost_mw"].to_numpy()
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize(
    ("dampings", "told"),
    [("0.9,1", "no setting settled at every step"), ("0.1,1", "1 of 2 settings did not settle, or had no power flow")],
)
def test_settings_that_swing_are_told(dampings: str, told: str) -> None:
    swept = sweep(toy.short(2), "volt_var:curve=0.99:1/1.01:-1", [f"damping={dampings}"], baselines=["none"])
    assert (swept.settings["unsettled_steps"] > 0).sum() == dampings.count("0.9") + 1
    assert told in str(sweep_table(swept).caption)
    assert len(swept.pareto()) == (2 if "0.9" in dampings else 1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_front_by_brute_force(points: list[tuple[int, int]]) -> None:
    kept = front(*np.array(points, dtype=float).T)
    for k, (v, c) in enumerate(points):
        beaten = any((a <= v and b < c) or (a < v and b <= c) for a, b in points)
        assert kept[k] == (not beaten)


def test_what_has_no_number_is_on_no_front() -> None:
    kept = front(np.array([0.0, np.inf, 1.0, np.nan]), np.array([2.0, 0.0, 1.0, 0.0]))
    assert kept.tolist() == [True, False, True, False]


def test_the_answer_depends_on_neither_jobs_nor_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (toy.short(3), "volt_var", ["curve=mapdn,rule21,vde4105"])
    one = flat_sweep(*asked, baselines=["none", "fixed_pf"])
    monkeypatch.setattr(study, "_VALUES", 1)
    monkeypatch.setattr(study, "_LEAST", 3)
    two = sweep(*asked, baselines=["none", "fixed_pf"], jobs=2)
    pd.testing.assert_frame_equal(two.table, one.table, rtol=1e-7, atol=1e-9)
    assert two.record == one.record


def test_save_and_load(made: Sweep, tmp_path: Path) -> None:
    made.save(tmp_path / "out", also=lambda folder: plot_pareto(made, folder / "pareto.png") and None)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pareto.png", "sweep.csv", "sweep.json"]
    again = Sweep.load(tmp_path / "out")
    pd.testing.assert_frame_equal(again.table, made.table)
    assert (again.keys, again.violations) == (made.keys, made.violations)
    assert again.best()["controller"] == made.best()["controller"]
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert record["best"] == made.best()["controller"]
    with pytest.raises(ResultFileError, match="another question"):
        sweep(toy.short(2), "volt_var", ["curve=mapdn"], baselines=[], out=tmp_path / "out")
    (tmp_path / "out" / "sweep.csv").write_text("kind\n")
    with pytest.raises(ResultFileError, match="damaged"):
        Sweep.load(tmp_path / "out")
    with pytest.raises(ResultFileError, match=r"no sweep\.json"):
        Sweep.load(tmp_path)


def test_bad_words() -> None:
    with pytest.raises(InputError, match="bus_steps or excess"):
        sweep(toy.short(2), "volt_var", ["curve=mapdn"], violations="many")
    with pytest.raises(InputError, match="baselines given twice"):
        sweep(toy.short(2), "volt_var", ["curve=mapdn"], baselines=["none", "none"])
    with pytest.raises(InputError, match="jobs must be"):
        sweep(toy.short(2), "volt_var", ["curve=mapdn"], jobs=0)
    meshed = toy.scenario(meshed=True).window("2016-06-20 12:00", 2)
    with pytest.raises(InputError, match=r"socp cannot work here: .*meshed"):
        sweep(meshed, "socp", ["objective=losses,voltage_deviation"], baselines=["none"])
