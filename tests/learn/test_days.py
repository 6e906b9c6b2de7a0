"""Days are drawn without overlap, the same for the same seed; what cannot be is said."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy_banks
from feederlab.errors import InputError
from feederlab.learn.days import pick_days, whole_days


@given(train=st.integers(1, 4), holdout=st.integers(0, 3), seed=st.integers(0, 1000))
def test_drawn_days_do_not_overlap(train, holdout, seed):
    case = toy_banks.scenario()
    if train + holdout > 4:
        with pytest.raises(InputError, match="cannot be drawn"):
            pick_days(case, train, holdout, seed)
        return
    days, unseen = pick_days(case, train, holdout, seed)
    assert (days, unseen) == pick_days(case, train, holdout, seed)
    assert len(days) == train
    assert len(unseen) == holdout
    assert len({*days, *unseen}) == train + holdout
    assert list(days) == sorted(days)
    assert {*days, *unseen} <= {*whole_days(case)}


def test_named_days_are_left_out_of_the_draw():
    case = toy_banks.scenario()
    days, unseen = pick_days(case, 3, ["2016-06-21"], 0)
    assert unseen == (pd.Timestamp("2016-06-21"),)
    assert [str(day.date()) for day in days] == ["2016-06-20", "2016-06-22", "2016-06-23"]


def test_only_whole_days_of_the_window_count():
    case = toy_banks.scenario().window("2016-06-20 06:00", 2 * 96)
    assert whole_days(case) == [pd.Timestamp("2016-06-21")]
    with pytest.raises(InputError, match="holds no whole day"):
        whole_days(case.window("2016-06-20 06:00", 95))


@pytest.mark.parametrize(
    ("train", "holdout", "message"),
    [
        (["2016-06-20"], ["2016-06-20"], "2016-06-20 is a training day and held out"),
        (["2016-06-20", "2016-06-20"], 0, "given twice"),
        (["midsummer"], 0, "'midsummer' is no date"),
        (["2016-06-20 12:00"], 0, "no whole day"),
        (["2017-06-20"], 0, "whose days are 2016-06-20 to 2016-06-23"),
        ([], 0, "no day is given"),
        (0, 1, "ask for 1 to 4"),
        (2, 3, "3 held-out days cannot be drawn: 2 of the 4 .* ask for 0 to 2"),
        (5, 0, "ask for 1 to 4"),
    ],
)
def test_what_cannot_be(train, holdout, message):
    with pytest.raises(InputError, match=message):
        pick_days(toy_banks.scenario(), train, holdout, 0)
