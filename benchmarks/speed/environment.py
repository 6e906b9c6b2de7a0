"""A step of the volt-var environment against the same environment on `pandapower.runpp`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandapower

from benchmarks.speed.timing import Row, paired
from feederlab.learn.volt_var.env import VoltVarEnv
from feederlab.learn.volt_var.sb3 import VoltVarVecEnv
from feederlab.models.library import load
from feederlab.models.powerflow.pandapower import PandapowerFlow

DAY = "2016-06-22"
THEIR_STEPS, COPIES = 60, 256


class Runpp(PandapowerFlow):
    """`pandapower.runpp` as it comes, in place of the reference's stricter settings."""

    def run(self, net: Any) -> None:
        pandapower.runpp(net)


def rows() -> Iterator[Row]:
    case, rng = load("mapdn33"), np.random.default_rng(0)
    alone, theirs = VoltVarEnv(case, days=[DAY]), VoltVarEnv(case, days=[DAY], engine=Runpp(case.feeder))
    herd = VoltVarVecEnv(COPIES, case, days=[DAY])
    actions = rng.uniform(-1, 1, (480, COPIES, 6)).astype(np.float32)
    they = _single(theirs, actions[:, 0], THEIR_STEPS)
    for what, ours, steps, aim in (
        ("one copy", _single(alone, actions[:, 0], 480), 480, 75.0),
        (f"{COPIES} copies", _many(herd, actions[:40]), 40 * COPIES, 1000.0),
    ):
        a, b, ratio = paired(ours, they, rounds=3)
        yield Row(
            f"step of VoltVar-v0, mapdn33, {what}", a / steps, "the same on runpp", b / THEIR_STEPS,
            ratio * steps / THEIR_STEPS, aim,
            note=f"{steps / a:,.0f} steps/s against {THEIR_STEPS / b:,.0f}",
        )  # fmt: skip


def _single(env: VoltVarEnv, actions: Any, steps: int) -> Callable[[], None]:
    def run() -> None:
        env.reset(options={"start": DAY})
        for action in actions[:steps]:
            env.step(action)

    return run


def _many(herd: VoltVarVecEnv, actions: Any) -> Callable[[], None]:
    herd.seed(0)
    herd.reset()

    def run() -> None:
        for action in actions:
            herd.step(action)

    return run
