"""The slow layer's choices: every configuration of the capacitor banks, numbered."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import IntArray, frozen
from feederlab.models.devices import Capacitors

MOST = 1024  # configurations; a network has one output for each


def configurations(banks: Capacitors) -> IntArray:
    """Return the (configurations, banks) table of closed steps, the last bank counting fastest.

    A bank without supply stays at its step.

    Raises
    ------
    InputError
        If there is nothing to switch, or more than `MOST` configurations.
    """
    levels = [
        range(int(most) + 1) if node >= 0 else (int(step),)
        for node, step, most in zip(banks.node, banks.step, banks.max_step, strict=True)
    ]
    count = math.prod(len(one) for one in levels)
    if count < 2:
        raise InputError(
            "the feeder has no capacitor bank to switch: the environment needs shunts with max_step >= 1 that are "
            "controllable; Scenario.with_devices(capacitors={bus: (q_mvar, steps)}) adds some"
        )
    if count > MOST:
        raise InputError(
            f"{len(banks)} capacitor banks have {count} configurations, and a network has one output for each: at most "
            f"{MOST} are taken; make some banks not controllable"
        )
    return frozen(np.array(list(product(*levels))), np.int64)
