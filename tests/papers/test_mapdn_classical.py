"""The classical rows of MAPDN: a short study, checked against runs made by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feederlab.controllers.registry import create
from feederlab.models.library import mapdn
from feederlab.models.windows import random_windows
from feederlab.papers import mapdn_classical as study
from feederlab.papers import mapdn_published as published
from feederlab.papers.mapdn_classical import MapdnClassical
from feederlab.papers.mapdn_evidence import Evidence
from feederlab.papers.reproduction import How, Reproduced
from feederlab.papers.runopp import solves
from feederlab.plan import Run
from feederlab.simulate import RunOptions, simulate

WINDOWS, PERIODS = 2, 4


@pytest.fixture(scope="module")
def short() -> MapdnClassical:
    return MapdnClassical(networks=("mapdn33",), windows=WINDOWS, periods=PERIODS, seed=1, draws=2, runopp=1)


@pytest.fixture(scope="module")
def saved(short: MapdnClassical, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mapdn") / "out"
    short.run(How(out=out))
    return out


@pytest.fixture(scope="module")
def found(saved: Path) -> Reproduced:
    return Reproduced.load(saved)


def value(found: Reproduced, row: str, quantity: str) -> float:
    return next(r.reproduced for r in found.rows if (r.row, r.quantity) == (row, quantity))


def test_rows_are_the_papers(found: Reproduced) -> None:
    assert [(r.row, r.quantity) for r in found.rows if r.row == "OPF"] == [
        ("OPF", "CR"), ("OPF", "losses"), ("OPF", "losses over those of none"),
    ]  # fmt: skip
    reported = {(r.row, r.quantity): r.reported for r in found.rows}
    assert reported["none", "CR"] == 70.6
    assert reported["OPF", "losses"] == 0.056
    assert reported["droop", "losses over those of none"] == pytest.approx(0.082 / 0.069)
    assert all(r.why for r in found.rows)
    learners = [r for r in found.rows if r.row.startswith("learner")]
    assert [(r.row, r.reported) for r in learners] == [("learner COMA-L1", 97.0), ("learner COMA-L1", 0.105)]
    assert all(math.isnan(r.reproduced) for r in learners)


def test_figures_are_those_of_the_runs(found: Reproduced) -> None:
    windows = random_windows(mapdn.load("mapdn33"), WINDOWS, PERIODS, 1)
    for row, spec in (("none", "none"), ("droop", "volt_var:curve=mapdn")):
        runs = [simulate(w, create(spec), RunOptions(record="metrics")).data for w in windows]
        inside = [100 * float((run["out_share"].to_numpy() == 0).mean()) for run in runs]
        losses = [float(run["line_losses_mw"].mean()) for run in runs]
        assert value(found, row, "CR") == pytest.approx(np.mean(inside))
        assert value(found, row, "losses") == pytest.approx(np.mean(losses), rel=1e-9)
    for row in ("droop", "OPF"):
        ratio = value(found, row, "losses") / value(found, "none", "losses")
        assert value(found, row, "losses over those of none") == pytest.approx(ratio)


def test_every_row_runs_on_the_same_windows(found: Reproduced) -> None:
    cells = {}
    for cell in found.comparisons["mapdn33"].runs:
        cells.setdefault(cell.controller, set()).add(cell.window)
    assert set(cells) == set(published.LABELS)
    assert len(set(map(frozenset, cells.values()))) == 1
    assert all(len(windows) == WINDOWS for windows in cells.values())


def test_certificates(found: Reproduced) -> None:
    table = found.tables[study.GAP_TABLE].set_index("row")
    assert list(table.index) == list(published.LABELS.values())
    assert table.loc["OPF", "with penalty %"] == pytest.approx(0, abs=1e-3)
    assert table.loc["OPF", "steps below 0.1 %"] == table.loc["OPF", "plain"] == 100
    assert table.loc["droop", "steps below 0.1 %"] < 100
    assert (table["with penalty %"] >= -1e-4).all()
    assert (table["worst %"] >= table["p95 %"]).all()
    assert "mapdn33 100.0 % of the steps to within 0.1 %" in found.notes[4]
    losses = found.tables[study.COST_TABLE]
    assert losses["losses MW"].to_numpy() == pytest.approx(losses["PL MW"].to_numpy())  # no transformers on 33 buses


def test_statistics(found: Reproduced) -> None:
    table = found.tables[study.TEST_TABLE]
    assert set(table["row"]) == set(published.LABELS.values()) - {"OPF"}
    droop = table[(table["row"] == "droop") & (table["metric"] == "loss_mw")].iloc[0]
    assert droop["pairs"] == WINDOWS
    assert droop["difference"] == pytest.approx(value(found, "droop", "losses") - value(found, "OPF", "losses"))
    assert droop["ci_low"] <= droop["difference"] <= droop["ci_high"]


def test_draws_and_noise(found: Reproduced) -> None:
    """Both draws, and the noise, by hand: means over the windows, and what the table makes of them."""
    line = found.tables[study.DATA_TABLE].set_index("row").loc["none"]

    def losses(scenarios) -> float:
        return float(np.mean([simulate(one, create("none")).data["line_losses_mw"].mean() for one in scenarios]))

    drawn = [losses(random_windows(mapdn.load("mapdn33", seed=k), WINDOWS, PERIODS, 1)) for k in range(2)]
    low, high = sorted(drawn)
    mean, std = np.mean(drawn), np.std(drawn, ddof=1)
    assert line["PL over 2 draws MW"] == f"{mean:.3f} ± {std:.3f} ({low:.3f} to {high:.3f})"
    windows = random_windows(mapdn.load("mapdn33"), WINDOWS, PERIODS, 1)
    noisy = losses(window.with_noise(0.01, k, one_sided=True) for k, window in enumerate(windows))
    assert line["PL with the code's noise MW"] == pytest.approx(noisy, rel=1e-9)
    assert line["PL MW"] == pytest.approx(value(found, "none", "losses"))
    assert noisy != pytest.approx(line["PL MW"], rel=1e-9)


def test_least_import_is_least_losses(found: Reproduced) -> None:
    said = re.search(r"the losses of a step differ by at most (\S+) of their mean", found.notes[4])
    assert said
    assert 0 <= float(said[1]) < 1e-4


def test_what_runopp_cannot_explain_is_said(found: Reproduced) -> None:
    assert "solves 1 of 1 random steps" in found.notes[4]
    assert "do not explain" not in found.notes[4]
    failing = Evidence("mapdn141", 141, 8, 0, 0, 4, 1, 4, 0.0, pd.DataFrame(), {})
    assert "fails on mapdn141 as well" in study._not_the_papers_solver([failing])


def test_runopp_solves_what_can_be_kept(scenario) -> None:
    step = scenario("mapdn33").window("2016-06-21 11:00", 1)
    before = step.feeder.net.load.copy()
    assert solves(step)
    assert not solves(step.with_band(1.04, 1.05))  # the slack stands at 1
    assert step.feeder.net.load.equals(before)


def test_without_draws_and_with_one_window() -> None:
    found = MapdnClassical(networks=("mapdn33",), windows=1, periods=2, draws=0, runopp=0).run()
    assert study.TEST_TABLE not in found.tables
    assert all(math.isnan(row.std) for row in found.rows)
    assert "other data [1, 2]" in found.rows[0].why


def test_resume_computes_no_kept_run_again(
    short: MapdnClassical, saved: Path, found: Reproduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.__call__

    def once(piece: Run, *args):
        assert piece.options.record == "metrics", "a finished run was computed again"
        return run(piece, *args)

    monkeypatch.setattr(Run, "__call__", once)
    again = short.run(How(out=saved, resume=True))
    assert [row.reproduced for row in again.rows[:8]] == [row.reproduced for row in found.rows[:8]]
