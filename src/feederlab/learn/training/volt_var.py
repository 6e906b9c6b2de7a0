"""`feederlab/VoltVar-v0` as the subject of a training: reactive power of all inverters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from feederlab.learn.days import Days as Wanted
from feederlab.learn.days import pick_days
from feederlab.learn.environments import VOLT_VAR
from feederlab.learn.likeness import likeness
from feederlab.learn.policies.actor import ActorPolicy
from feederlab.learn.training.algorithms import actor_of
from feederlab.learn.training.subject import Days, check_arguments
from feederlab.learn.volt_var.env import spaces
from feederlab.learn.volt_var.problem import Problem
from feederlab.learn.volt_var.sb3 import VoltVarVecEnv
from feederlab.models.scenario import Scenario
from feederlab.provenance import versions

_PRIVATE = ("count", "scenario", "days", "step", "layout")


class VoltVarSubject:
    """`VoltVarEnv` on some days, judged on others.

    All copies share one power-flow batch, and so do the held-out days when a policy is judged.

    Raises
    ------
    UnknownNameError, InputError
        As `Problem` and `pick_days` do.
    """

    name = VOLT_VAR

    def __init__(
        self, scenario: Scenario, arguments: Mapping[str, Any], days: int | Wanted, holdout: int | Wanted, seed: int
    ) -> None:
        check_arguments(VOLT_VAR, Problem, arguments, _PRIVATE)
        self.days: Days
        self.unseen: Days
        self.days, self.unseen = pick_days(scenario, days, holdout, seed)
        self.scenario, self._arguments = scenario, dict(arguments)
        self.problem = Problem(1, scenario, **arguments, days=self.days)
        self._judge: Problem | None = None
        if self.unseen:
            whole = {**arguments, "episode": None}
            self._judge = Problem(len(self.unseen), scenario, **whole, days=self.unseen, layout=self.problem.layout)

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The observation and the action space."""
        found: tuple[Any, Any] = spaces(self.problem)
        return found

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of what `judge` returns."""
        self.problem.begin(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        return ("reward", *self.problem.step(np.zeros((1, self.problem.inverters))).about)

    def copies(self, count: int) -> Any:
        """Make copies side by side, on the training days."""
        return VoltVarVecEnv(count, self.scenario, **self._arguments, days=self.days, layout=self.problem.layout)

    def policy(self, model: Any, about: Mapping[str, Any]) -> ActorPolicy:
        """Return the network that acts, with all that it needs to be a controller."""
        return ActorPolicy(
            actor=actor_of(model), layout=self.problem.layout.record(), bound=self.problem.bound,
            feeder=likeness(self.scenario.feeder), method=about["method"], training=about, versions=about["versions"],
        )  # fmt: skip

    def judge(self, policy: ActorPolicy) -> dict[str, float]:
        """Return mean reward, share of steps in band and losses when `policy` lives through the held-out days.

        After a step whose power flow has no solution the day goes on with inverters at rest; the step counts with its
        penalty, as out of band, and not in the losses.
        """
        if self._judge is None:
            return {}
        problem, every = self._judge, np.arange(len(self.unseen))
        problem.begin(every, every, np.zeros_like(every))
        totals: dict[str, list[Any]] = {"reward": []}
        for t in range(problem.episode):
            found = problem.step(policy.act(problem.observation()).astype(float))
            totals["reward"].append(found.reward)
            for name, values in found.about.items():
                totals.setdefault(name, []).append(values)
            if found.lost.any() and t + 1 < problem.episode:
                lost = np.flatnonzero(found.lost)
                problem.begin(lost, lost, np.full(len(lost), t + 1))
        return {name: float(np.nanmean(values)) for name, values in totals.items()}

    def identity(self) -> dict[str, Any]:
        """Return, JSON-ready, what the result depends on."""
        return {
            "scenario": self.scenario.name, "step_s": self.scenario.step.total_seconds(),
            "arguments": {name: str(value) for name, value in self._arguments.items()}, "data": self._fingerprint(),
            "versions": versions(),
        }  # fmt: skip

    def _fingerprint(self) -> str:
        """Return a short hash of the feeder, the layout and all that the training days hold."""
        days = self.problem.copies.days
        total = hashlib.sha256(json.dumps([self.problem.layout.record(), likeness(self.scenario.feeder)]).encode())
        for values in (days.load_mva, days.p_available_mw, days.slack_vm):
            total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()[:16]
