"""`random_windows`: windows of a scenario at random instants that share no step."""

from __future__ import annotations

import numpy as np

from feederlab.errors import InputError
from feederlab.models.scenario import Scenario


def random_windows(scenario: Scenario, count: int, periods: int, seed: int = 0) -> list[Scenario]:
    """Draw `count` windows of `periods` steps each from the scenario's own steps, without overlap, in order of time.

    Every arrangement of windows that share no step is equally likely: of the ``T - count (periods - 1)`` places that
    are left when each window is shrunk to one step, `count` are drawn without replacement, and stretched again.
    A scenario cut to a season (`Scenario.window`) draws from that season only.

    Raises
    ------
    InputError
        If a number is below one, or the windows do not fit.
    """
    for name, value in (("the number of windows", count), ("the number of steps of a window", periods)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
    if seed < 0:
        raise InputError(f"the seed of random windows must not be negative, not {seed}")
    if count * periods > scenario.periods:
        raise InputError(
            f"{count} windows of {periods} steps need {count * periods} steps, but {scenario.name!r} has "
            f"{scenario.periods} ({scenario.times[0]} to {scenario.times[-1]}): draw at most "
            f"{scenario.periods // periods}, or shorter ones"
        )
    places = scenario.periods - count * (periods - 1)
    drawn = np.sort(np.random.default_rng(seed).choice(places, size=count, replace=False))
    first = drawn + np.arange(count) * (periods - 1)
    return [scenario.window(scenario.start + int(k) * scenario.step, periods) for k in first]
