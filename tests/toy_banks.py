"""The toy feeder with capacitor banks over four days, none like the other; subprocesses import it by name."""

from __future__ import annotations

from functools import cache

import numpy as np

import toy
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario


@cache
def scenario() -> Scenario:
    """Steps of 15 minutes; a bank of one step at bus 17, one of two steps at bus 30."""
    net = toy.net()
    series = toy.profiles(net, 4 * 96)
    for k, frame in enumerate(series.values()):
        frame *= 1 + 0.2 * np.sin(np.arange(len(frame)) / 96 + k)[:, None]
    made = Scenario.build(Feeder.from_pandapower(net, "toy"), series)
    return made.with_devices(capacitors={17: (0.3, 1), 30: (0.4, 2)})
