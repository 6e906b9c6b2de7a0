"""Certificates: bounds below every run, shared between runs, and proofs that hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import toy
from feederlab.certificate import Certificate
from feederlab.certify import certify, curtailed, lower_bounds
from feederlab.controllers.lindistflow import LinDistFlow
from feederlab.controllers.none import NoControl
from feederlab.controllers.socp import Socp
from feederlab.errors import InputError, NotRadialError
from feederlab.metrics import score
from feederlab.simulate import simulate


@pytest.fixture(scope="module")
def scenario():
    return toy.short(8)


@pytest.fixture(scope="module")
def task(scenario):
    return scenario.task()


@pytest.fixture(scope="module")
def bounds(scenario, task):
    return lower_bounds(scenario, task)


@pytest.mark.parametrize("controller", [NoControl(), LinDistFlow(), LinDistFlow(about="flat"), Socp()])
def test_no_run_beats_the_bound(scenario, task, bounds, controller):
    found = certify(scenario, task, simulate(scenario, controller).data, bounds)
    assert (found.gap >= -1e-8 * np.abs(found.bound)).all()
    assert (found.excess >= found.least_excess - 1e-9).all()
    if isinstance(controller, Socp):
        assert found.gap_percent < 1e-3
        assert found.infeasible_steps == 0
    if isinstance(controller, NoControl):
        assert found.gap_percent > 1.0
        assert found.infeasible_steps > 0
    assert found.infeasible_proven == 0


def test_unavoidable_violations_are_proven(scenario):
    """A band that no reactive power can keep: every step is proven, whoever runs it."""
    tight = scenario.with_band(1.0099, 1.01)
    task = tight.task()
    found = certify(tight, task, simulate(tight, Socp()).data)
    assert found.infeasible_steps == found.infeasible_proven == 8
    assert (found.least_excess > 0).all()
    assert (found.least_excess <= found.excess).all()


def test_bounds_follow_the_runs_own_course(scenario, task):
    run = simulate(scenario, LinDistFlow(curtail=True)).data
    assert curtailed(run)
    assert not curtailed(simulate(scenario, NoControl()).data)
    found = certify(scenario, task, run)
    assert (found.gap >= -1e-8 * np.abs(found.bound)).all()
    assert found.bound.sum() < lower_bounds(scenario, task)["bound"].sum()


def test_progress_and_shape(scenario, task):
    done = []
    bounds = lower_bounds(scenario, task, progress=done.append)
    assert sum(done) == 8
    assert (bounds["time"].to_numpy() == scenario.times.to_numpy()).all()
    assert (bounds["cone_gap"] < 1e-5).all()


def test_a_step_without_solution_counts_as_out_of_band():
    found = Certificate(
        cost=np.array([1.0, np.nan]), bound=np.array([0.9, 0.9]), bound_plain=np.array([0.8, 0.9]),
        excess=np.array([0.0, np.nan]),
        least_excess=np.zeros(2), out_of_band=np.array([False, True]),
    )  # fmt: skip
    assert found.infeasible_steps == 1
    assert found.gap_percent == pytest.approx(100 * 0.1 / 0.9)


def test_metrics_and_certificate_agree(scenario, task, bounds):
    run = simulate(scenario, NoControl())
    found, scores = certify(scenario, task, run.data, bounds), score(replace(run, certificate=bounds))
    assert scores["gap_penalised_pct"] == found.gap_percent
    assert scores["infeasible_steps"] == found.infeasible_steps > 0
    assert scores["infeasible_proven"] == found.infeasible_proven


def test_loops_are_refused():
    meshed = toy.scenario(meshed=True)
    with pytest.raises(NotRadialError):
        lower_bounds(meshed, meshed.task())


def test_gaps_of_steps_and_regret_by_hand():
    nan = np.nan
    found = Certificate(
        cost=np.array([1.1, 2.0, nan, 3e-9, 1e-3, 1.0]), bound=np.array([1.0, 2.0, 1.0, 0.0, 1e-10, -np.inf]),
        bound_plain=np.array([0.5, 1.0, 1.0, 0.0, 0.0, -np.inf]), excess=np.zeros(6), least_excess=np.zeros(6),
        out_of_band=np.zeros(6, dtype=bool),
    )  # fmt: skip
    assert found.step_percent == pytest.approx([10, 0, nan, 0, nan, nan], nan_ok=True)
    assert found.plain_percent == pytest.approx([120, 100, nan, 0, nan, nan], nan_ok=True)
    gap, total = found.regret(0.05)
    assert gap[:2] == pytest.approx([0.1, 0.0])
    assert total == pytest.approx(0.05 * np.array([0.1, 0.1, 0.1, 0.1, 0.101, 0.101]), abs=1e-9)


def test_what_is_known_must_fit_and_caps_the_bound(scenario, task, bounds):
    with pytest.raises(InputError, match=r"upper has shape \(3,\); it takes one number per step, 8"):
        lower_bounds(scenario, task, upper=np.ones(3))
    capped = lower_bounds(scenario, task, upper=np.full(8, np.nan))
    assert (capped["bound"] == bounds["bound"]).all()
    assert (bounds["bound"] <= bounds["upper"] * (1 + 1e-9)).all()
    assert (bounds["bound_plain"] <= bounds["bound"]).all()
    assert (bounds["tightened"] == 0).all()
