"""`Dqn`: a trained policy switches capacitor banks, as the slow layer of `two_timescale`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.errors import InputError
from feederlab.learn.policy import Policy
from feederlab.models.feeder import Feeder


@dataclass(frozen=True)
class Dqn(Controller):
    """Takes the configuration of the capacitor banks whose action value is largest (P3).

    policy : file that ``feederlab train dqn`` wrote.  It needs no torch, and reading it runs no code.
    """

    policy: str = ""
    sees: ClassVar[Information] = GLOBAL

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.policy,) if self.policy else ()

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Read the policy.

        Raises
        ------
        ResultFileError
            If the file is missing or damaged.
        InputError
            If none is named, or it was trained for another feeder, other devices or another interval; the message
            names the difference.
        """
        if not self.policy:
            raise InputError("dqn needs a policy: policy=FILE; `feederlab train dqn` writes one")
        policy = Policy.load(self.policy)
        policy.check(task.grid(), task.step_s, self.policy)
        return Greedy(policy, task.grid())


class Greedy(Prepared):
    """Takes the best action at every decision."""

    def __init__(self, policy: Policy, feeder: Feeder) -> None:
        self._policy, self._feeder = policy, feeder

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        best, _ = self._policy.decide(self._feeder, measurement)
        return Setpoints(step=self._policy.actions[best], info=Decision(solver="dqn")), state
