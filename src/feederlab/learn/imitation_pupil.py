"""Who imitates: fits a rule, lives by it, fits it again to what it met, and is graded on days unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.learn.imitation_lessons import Lessons, Lived, Rows
from feederlab.learn.imitation_models import FAMILIES, FIRST, Samples, Score, cross_validate, day_folds, fit
from feederlab.learn.likeness import likeness
from feederlab.learn.policies.estimators import EstimatorPolicy, inputs, own_inputs
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class Grade:
    """How a rule did, cross-validated over days.

    score : the error of its answers.  samples : how many it was fitted to.  cost_mw : in closed loop, the mean of
    losses plus voltage penalty, what the teacher minimises; infinite where a power flow had no solution.  in_band_pct :
    share of steps with every bus in band.

    Each fold's rule is fitted anew to the other folds' days.  What it is fitted to was met by rules of earlier rounds,
    which had seen all days; no answer of the teacher on the fold's own days reaches it.
    """

    score: Score
    samples: int
    cost_mw: float
    in_band_pct: float

    def row(self) -> dict[str, Any]:
        """Return the figures by their names in tables."""
        return {
            "setting": str(self.score.setting), "cv_cost_mw": self.cost_mw, "cv_in_band_pct": self.in_band_pct,
            "cv_rms_mvar": self.score.rms_mvar, "cv_r2": self.score.r2, "samples": self.samples,
        }  # fmt: skip


class Pupil:
    """Learns from lessons with one observation."""

    def __init__(
        self, lessons: Lessons, layout: Layout, bound: float, present_q: bool, rounds: int, folds: int, seed: int,
        jobs: int,
    ) -> None:  # fmt: skip
        self.lessons, self.layout, self.bound, self.present_q = lessons, layout, bound, present_q
        self.rounds, self.folds, self.seed, self.jobs = rounds, folds, seed, jobs
        self.price = lessons.scenario.task().voltage_penalty
        task = lessons.scenario.task()
        self.chosen = inputs(layout, task, len(task.inverters), present_q)
        self.own = own_inputs(layout, task, self.chosen)
        self.met = self.samples(lessons.lived(layout, lambda t, _: lessons.q_mvar[:, t]))

    def learn(self, model: str, told: Callable[[int], None]) -> tuple[EstimatorPolicy, Grade]:
        """Return a rule and how it did; `told` of each of `rounds` + 1 fits."""
        samples, setting, score = self.met, FIRST[model], None
        if self.rounds == 0:
            score = self.best(model, samples)
        for k in range(self.rounds):
            rule = self.policy(fit(samples, setting, self.seed, self.jobs))
            seen = self.lessons.lived(self.layout, self.acting(rule, self.lessons))
            samples = samples.join(self.samples(seen))
            score = self.best(model, samples) if k == 0 else None
            setting = setting if score is None else score.setting
            told(self.rounds + 1)
        if score is None:
            score = cross_validate(samples, [setting], self.folds, self.seed, self.jobs)[0]
        policy = self.policy(fit(samples, score.setting, self.seed, self.jobs))
        grade = self.grade(samples, score)
        told(self.rounds + 1)
        return policy, grade

    def best(self, model: str, samples: Samples) -> Score:
        """Return the setting with the least cross-validated error."""
        return min(
            cross_validate(samples, FAMILIES[model], self.folds, self.seed, self.jobs), key=lambda one: one.rms_mvar
        )

    def grade(self, samples: Samples, score: Score) -> Grade:
        """Return how rules of this setting do in closed loop on the days of each fold, fitted to all other days'."""
        days, lives = np.arange(len(self.lessons.days)), []
        for train, test in day_folds(days, self.folds):
            rule = self.policy(fit(samples.of(days[train]), score.setting, self.seed, self.jobs))
            unseen = self.lessons.only(days[test])
            lives.append(unseen.lived(self.layout, self.acting(rule, unseen)))
        cost = np.concatenate([(one.losses_mw + self.price * one.excess).ravel() for one in lives])
        inside = np.concatenate([one.in_band.ravel() for one in lives])
        whole = float(cost.mean()) if np.isfinite(cost).all() else np.inf
        return Grade(score, len(samples), whole, 100 * float(inside.mean()))

    def policy(self, fitted: tuple[Any, ...]) -> EstimatorPolicy:
        """Return the rule of fitted regressors."""
        feeder = likeness(self.lessons.scenario.feeder)
        return EstimatorPolicy(fitted, self.layout.record(), self.bound, feeder, self.present_q, "imitation")

    def acting(self, policy: EstimatorPolicy, lessons: Lessons) -> Callable[[int, Rows], FloatArray]:
        """Return the rule as it acts on all days of lessons at once; where it has no number it asks for nothing."""
        room = self.bound * lessons.room_mvar
        return lambda t, rows: np.clip(np.nan_to_num(policy.mean(rows, self.chosen)), -1.0, 1.0) * room[:, t]

    def samples(self, lived: Lived) -> Samples:
        """Return what can be learnt from a life: the steps where teacher and power flow have an answer."""
        lessons, usable = self.lessons, lived.solved & self.lessons.known
        seen = lived.rows[usable].astype(np.float64)
        at = range(len(self.chosen)) if self.layout.shared else [0] * len(self.chosen)
        return Samples(
            tuple(seen[:, row, columns] for row, columns in zip(at, self.chosen, strict=True)),
            lessons.actions(self.bound)[usable], self.bound * lessons.room_mvar[usable], np.nonzero(usable)[0],
            self.own,
        )  # fmt: skip
