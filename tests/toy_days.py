"""Some days of the toy feeder, no two alike, in steps of an hour."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

import toy
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario

DAYS = 8


@cache
def scenario() -> Scenario:
    grid = toy.net()
    grid.bus["zone"] = ["south" if 5 < bus < 18 else "north" for bus in grid.bus.index]
    rng = np.random.default_rng(0)
    sun, load = np.repeat(rng.uniform(0.3, 1.0, DAYS), 24), np.repeat(rng.uniform(0.7, 1.2, DAYS), 24)
    frames = {key: frame.iloc[: DAYS * 96 : 4] for key, frame in toy.profiles(grid, DAYS * 96).items()}
    frames = {
        key: pd.DataFrame(frame.to_numpy() * (sun if key[0] == "sgen" else load)[:, None], frame.index, frame.columns)
        for key, frame in frames.items()
    }
    return Scenario.build(Feeder.from_pandapower(grid, "toy days"), frames, band=(0.95, 1.05))
