"""`feederlab/Capacitors-v0` as the subject of a training: banks that are switched once an interval."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from feederlab.learn.capacitors import CapacitorsEnv
from feederlab.learn.days import Days as Wanted
from feederlab.learn.days import pick_days
from feederlab.learn.environments import CAPACITORS
from feederlab.learn.likeness import likeness
from feederlab.learn.policy import Policy
from feederlab.learn.training.algorithms import layers_of
from feederlab.learn.training.subject import Days, check_arguments, lived, side_by_side
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions

_PRIVATE = ("scenario", "days", "step", "observation", "cost_scale")


class CapacitorsSubject:
    """`CapacitorsEnv` on some days, judged on others.

    Raises
    ------
    UnknownNameError, InputError
        As `CapacitorsEnv` and `pick_days` do.
    """

    name = CAPACITORS

    def __init__(
        self, scenario: Scenario, arguments: Mapping[str, Any], days: int | Wanted, holdout: int | Wanted, seed: int
    ) -> None:
        check_arguments(CAPACITORS, CapacitorsEnv, arguments, _PRIVATE)
        self.days: Days
        self.unseen: Days
        self.days, self.unseen = pick_days(scenario, days, holdout, seed)
        self._arguments = dict(arguments)
        self.env = CapacitorsEnv(scenario, **arguments, days=self.days)
        self._judge = self._another(self.unseen) if self.unseen else None

    @property
    def spaces(self) -> tuple[Any, Any]:
        """The observation and the action space."""
        return self.env.observation_space, self.env.action_space

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of what `judge` returns."""
        return ("reward", "cost")

    def copies(self, count: int) -> Any:
        """Make copies side by side, on the training days."""
        return side_by_side(lambda: self._another(self.days), count)

    def policy(self, model: Any, about: Mapping[str, Any]) -> Policy:
        """Return the network: the largest output is the configuration to take."""
        env = self.env
        slot_s = env.scenario.step.total_seconds()
        return Policy(
            layers=layers_of(model), observation=env.observation, actions=env.actions,
            feeder=likeness(env.scenario.feeder), interval_s=env.slots * slot_s, slot_s=slot_s, fast=about["fast"],
            training=about, versions=about["versions"],
        )  # fmt: skip

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return reward and cost of an interval when `policy` lives through the held-out days."""
        return {} if self._judge is None else lived(self._judge, self.unseen, greedy(policy))

    def identity(self) -> dict[str, Any]:
        """Return, JSON-ready, what the result depends on."""
        env = self.env
        made_by = provenance(env.scenario, env.fast, "", RunOptions())
        return {
            "scenario": env.scenario.name, "slot_s": env.scenario.step.total_seconds(), "every": env.every,
            "fast": {"controller": made_by["controller"], "settings": made_by["settings"]},
            "cost_scale": env.cost_scale,
            # the layout of the observation depends on the feeder and on every training day
            "data": hashlib.sha256(str(env.observation.rows()).encode()).hexdigest()[:16],
            "versions": made_by["versions"],
        }  # fmt: skip

    def _another(self, days: Days) -> CapacitorsEnv:
        shared: dict[str, Any] = {"observation": self.env.observation, "cost_scale": self.env.cost_scale}
        return CapacitorsEnv(self.env.scenario, **self._arguments, **shared, days=days)


def greedy(policy: Policy) -> Any:
    """Return the decision of a policy that does not explore: observation -> number of a configuration."""
    return lambda seen: int(policy.values(seen).argmax())
