"""Reproductions that learn: how much they compute, and the days of the year on which they learn and are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.papers.reproduction import Reproduction

YEAR = "2016"
"""Of the profiles."""


@dataclass(frozen=True)
class Learnt(Reproduction):
    """A published study with trainings in it.

    days, train : unseen days it is judged on, and days of training.  seeds, steps : trainings, and steps of each.
    seed : of what is random in the case, and the first of the trainings'.  quick : as little as runs at all.
    least, most : what is computed where that is not given, quickly and as it should be.
    """

    modules: ClassVar[tuple[str, ...]] = ("torch", "stable_baselines3", "gymnasium", "safetensors")
    least: ClassVar[Mapping[str, int]]
    most: ClassVar[Mapping[str, int]]
    days: int | None = None
    train: int | None = None
    seeds: int | None = None
    steps: int | None = None
    seed: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        for key, value in self.sizes.items():
            if value < 1:
                raise InputError(f"{key} must be at least 1, not {value}")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}")
        self.chosen_days()

    @property
    def sizes(self) -> dict[str, int]:
        """What is computed: the settings, with defaults in place of those that are not given."""
        default = self.least if self.quick else self.most
        return {key: default[key] if getattr(self, key) is None else getattr(self, key) for key in default}

    def chosen_days(self) -> tuple[list[pd.Timestamp], list[pd.Timestamp], list[pd.Timestamp]]:
        """Return test, validation and training days (`days_of_the_year`)."""
        return days_of_the_year(self.sizes["days"], self.sizes["train"])


def days_of_the_year(count: int, others: int) -> tuple[list[pd.Timestamp], list[pd.Timestamp], list[pd.Timestamp]]:
    """Return (test, validation, training) days, disjoint, each spread over the whole year.

    count : test days, evenly spaced.  others : training days; with a sixth as many validation days (at least one)
    between them, they are evenly spaced among the days that are left.

    Raises
    ------
    InputError
        If the year is too short for that.
    """
    year = pd.date_range(f"{YEAR}-01-01", f"{YEAR}-12-31", freq="D")
    total = others + max(others // 6, 1)
    if count < 1 or others < 1 or count + total > len(year) // 2:
        raise InputError(
            f"{count} test days and {others} training days do not fit: give at least one of each, and about "
            f"{len(year) // 2} in all at most"
        )
    test = [year[k] for k in np.linspace(0, len(year), count, endpoint=False).astype(int) + len(year) // (2 * count)]
    left = [day for day in year if day not in test]
    chosen = [left[k] for k in np.linspace(0, len(left) - 1, total).astype(int)]
    validation = [chosen[k] for k in np.linspace(0, total - 1, total - others + 2).astype(int)[1:-1]]
    return test, validation, [day for day in chosen if day not in validation]
