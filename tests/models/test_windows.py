"""Random windows: inside the data, apart, seeded, and every arrangement equally likely."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toy
from feederlab import random_windows
from feederlab.errors import InputError


@settings(deadline=None)  # the scenario is built in the first case
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10))
def test_windows_lie_in_the_scenario_and_share_no_step(count: int, periods: int, seed: int) -> None:
    scenario = toy.short(40)
    if count * periods > 40:
        with pytest.raises(InputError, match="draw at most"):
            random_windows(scenario, count, periods, seed)
        return
    drawn = random_windows(scenario, count, periods, seed)
    steps = [t for window in drawn for t in window.times]
    assert len(steps) == len(set(steps)) == count * periods
    assert steps == sorted(steps)
    assert set(steps) <= set(scenario.times)
    assert [w.start for w in random_windows(scenario, count, periods, seed)] == [w.start for w in drawn]


def test_every_arrangement_is_equally_likely() -> None:
    scenario, draws = toy.short(7), 3000
    seen = Counter(
        tuple(scenario.times.get_loc(w.start) for w in random_windows(scenario, 2, 2, seed)) for seed in range(draws)
    )
    possible = [pair for pair in combinations(range(6), 2) if pair[1] - pair[0] >= 2]
    assert set(seen) == set(possible)
    expected = draws / len(possible)
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 21.67  # chi-squared, 9 degrees, 1 %


def test_another_seed_draws_others() -> None:
    starts = {tuple(w.start for w in random_windows(toy.scenario(), 3, 4, seed)) for seed in range(5)}
    assert len(starts) == 5


@pytest.mark.parametrize(("count", "periods", "seed"), [(0, 4, 0), (2, 0, 0), (1, 1, -1)])
def test_impossible_numbers(count: int, periods: int, seed: int) -> None:
    with pytest.raises(InputError, match=r"at least 1|not be negative"):
        random_windows(toy.scenario(), count, periods, seed)
