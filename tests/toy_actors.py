"""Actor policies with random weights."""

from __future__ import annotations

import itertools

import numpy as np

from feederlab.learn.likeness import likeness
from feederlab.learn.policies.actor import Actor, ActorPolicy
from feederlab.learn.volt_var.layout import Layout


def actor(sizes, seed=0, activation="tanh", output="clip", scale=0.3):
    rng = np.random.default_rng(seed)
    return Actor(
        tuple(
            ((scale * rng.normal(size=(out, into))).astype(np.float32), rng.normal(size=out).astype(np.float32))
            for into, out in itertools.pairwise(sizes)
        ),
        activation, output,
    )  # fmt: skip


def policy(scenario, scope="global", bound=0.8, method="ppo", hidden=(16, 16), **more):
    task = scenario.task()
    layout = Layout.of(task, scope, [scenario.series()])
    outputs = 1 if layout.shared else len(task.inverters)
    return ActorPolicy(
        actor([layout.shape[1], *hidden, outputs], **more), layout.record(), bound, likeness(scenario.feeder), method,
        {"seed": 0}, {"feederlab": "0"},
    )  # fmt: skip
