"""The days that a policy is trained on, and those held out to judge it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.scenario import Scenario

Days = Sequence[str | pd.Timestamp]


def whole_days(scenario: Scenario) -> list[pd.Timestamp]:
    """Return the midnights from which the window holds a whole day.  Raises `InputError` if there is none."""
    end = scenario.start + scenario.periods * scenario.step
    day = pd.Timedelta(days=1)
    found = [d for d in pd.date_range(scenario.start.ceil("D"), end, freq="D") if d + day <= end]
    if not found:
        raise InputError(
            f"{scenario.name!r} holds no whole day (it covers {scenario.start} up to {end}): training takes days"
        )
    return found


def pick_days(
    scenario: Scenario, train: int | Days, holdout: int | Days, seed: int
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timestamp, ...]]:
    """Return the days to train on and the days held out, each in order; a number is drawn from the rest by `seed`.

    Raises
    ------
    InputError
        If a day is not in the data, is given twice or for both, or if there are not enough days to draw from.
    """
    known = whole_days(scenario)
    train, holdout = (_several(days) for days in (train, holdout))
    fixed = [() if isinstance(days, int) else _read(days, known, scenario) for days in (train, holdout)]
    both = sorted({*fixed[0]} & {*fixed[1]})
    if both:
        raise InputError(f"{both[0].date()} is a training day and held out: a held-out day must be unseen")
    rng, picked = np.random.default_rng([seed, 3]), []
    taken = {*fixed[0], *fixed[1]}
    for what, asked, given in (("training", train, fixed[0]), ("held-out", holdout, fixed[1])):
        if not isinstance(asked, int):
            picked.append(given)
            continue
        free = [day for day in known if day not in taken]
        least = 1 if what == "training" else 0
        if not least <= asked <= len(free):
            raise InputError(
                f"{asked} {what} days cannot be drawn: {len(free)} of the {len(known)} whole days of "
                f"{scenario.name!r} are left; ask for {least} to {len(free)}"
            )
        drawn = tuple(free[k] for k in np.sort(rng.choice(len(free), size=asked, replace=False)))
        taken |= {*drawn}
        picked.append(drawn)
    return picked[0], picked[1]


def _several(days: int | Days | str | pd.Timestamp) -> int | Days:
    """Return a number of days, or a list of them; a day by itself is a list of one."""
    if isinstance(days, int | np.integer):
        return int(days)
    return [days] if isinstance(days, str | pd.Timestamp) else list(days)


def _read(days: Days, known: Sequence[pd.Timestamp], scenario: Scenario) -> tuple[pd.Timestamp, ...]:
    if not len(days):
        raise InputError("no day is given: name at least one, e.g. 2016-06-21, or a number of days to draw")
    read = []
    for day in days:
        try:
            stamp = pd.Timestamp(day)
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{day!r} is no date; write e.g. 2016-06-21") from None
        if stamp not in known:
            raise InputError(
                f"{day} is no whole day of {scenario.name!r}, whose days are {known[0].date()} to {known[-1].date()}"
            )
        read.append(stamp)
    if len({*read}) < len(read):
        raise InputError(f"a day is given twice: {', '.join(str(day.date()) for day in read)}")
    return tuple(sorted(read))
