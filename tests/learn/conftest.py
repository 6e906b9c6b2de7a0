"""Fixtures of the tests of learning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import toy_banks
from feederlab.learn.actions import configurations
from feederlab.learn.likeness import likeness
from feederlab.learn.observation import Observation
from feederlab.learn.policy import Policy
from feederlab.models.scenario import Scenario


@pytest.fixture(scope="session")
def banks() -> Scenario:
    return toy_banks.scenario()


@pytest.fixture(scope="session")
def make_policy():
    """``make_policy(scenario, interval_s)``: a policy with random weights."""

    def make(scenario: Scenario, interval_s: float = 3600.0, seed: int = 0) -> Policy:
        rng = np.random.default_rng(seed)
        seen, actions = Observation.of(scenario.feeder, [scenario.series()]), configurations(scenario.feeder.capacitors)
        sizes = [len(seen), 16, 16, len(actions)]
        return Policy(
            layers=tuple(
                (rng.normal(size=(out, into)).astype(np.float32), rng.normal(size=out).astype(np.float32))
                for into, out in itertools.pairwise(sizes)
            ),
            observation=seen, actions=actions, feeder=likeness(scenario.feeder), interval_s=interval_s,
            slot_s=scenario.step.total_seconds(), fast={}, training={}, versions={},
        )  # fmt: skip

    return make
