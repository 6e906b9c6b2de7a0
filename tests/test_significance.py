"""Statistics over windows and seeds: pairing, known answers, the null by brute force, coverage, corrections, errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, ttest_1samp, wilcoxon

import toy
from feederlab import compare, random_windows
from feederlab.errors import InputError, UnknownNameError
from feederlab.significance import (
    CORRECTIONS,
    bootstrap_interval,
    hodges_lehmann,
    pairs_needed,
    rank_biserial,
    signed_rank_p,
    significance,
    summary,
)

INTERVAL = 1000
"""Resamples where only the rest is looked at."""


def scores(values: dict[str, object], metric: str = "loss_mw") -> xr.Dataset:
    """Metrics of one scenario: label -> (windows,) or (windows, seeds)."""
    grid = np.array([np.reshape(v, (np.shape(v)[0], -1)) for v in values.values()], dtype=float)
    return several({"toy": grid}, list(values), metric)


def several(grids: dict[str, np.ndarray], labels: list[str], metric: str = "loss_mw") -> xr.Dataset:
    grid = np.stack(list(grids.values()), axis=1)
    coords = {
        "controller": np.array(labels, dtype=str), "scenario": np.array(list(grids), dtype=str),
        "window": np.array([f"w{k}" for k in range(grid.shape[2])]), "seed": np.arange(grid.shape[3]),
    }  # fmt: skip
    return xr.Dataset({metric: (("controller", "scenario", "window", "seed"), grid)}, coords=coords)


def test_a_case_by_hand() -> None:
    base = np.array([10.0, 12.0, 9.0, 11.0, 14.0, 8.0])
    change = np.array([1.0, 2.0, -0.5, 3.0, 4.0, 2.5])
    row = significance(scores({"a": base + change, "ref": base}), "ref", ["loss_mw"]).iloc[0]
    assert (row["controller"], row["metric"], row["pairs"], row["nonzero"]) == ("a", "loss_mw", 6, 6)
    assert row["difference"] == pytest.approx(2.0)
    assert row["mean"] - row["reference_mean"] == pytest.approx(2.0)
    # W- = 1 (the smallest difference): of the 64 signs, 2 have a sum of negative ranks of at most 1; two-sided 4/64
    assert row["p"] == pytest.approx(4 / 64)
    assert row["p_corrected"] == row["p"]
    assert not row["significant"]
    assert row["rank_biserial"] == pytest.approx((20 - 1) / 21)
    assert row["hodges_lehmann"] == pytest.approx(2.0)
    assert row["ci_low"] < 2.0 < row["ci_high"]


def brute_force_p(difference: np.ndarray) -> float:
    """Two-sided p over all signs of the (n,) differences, zeros dropped, ties at mean ranks."""
    left = difference[difference != 0]
    if not left.size:
        return 1.0
    ranks = rankdata(np.abs(left))
    null = np.array([ranks @ signs for signs in product((0, 1), repeat=left.size)])
    seen = ranks @ (left > 0)
    return min(1.0, 2 * min((null <= seen + 1e-9).mean(), (null >= seen - 1e-9).mean()))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_p_equals_the_count_over_all_signs(steps: list[int]) -> None:
    """Few distinct values: nearly every case has ties or zeros."""
    assert signed_rank_p(np.array(steps, dtype=float)) == pytest.approx(brute_force_p(np.array(steps)), abs=1e-12)


def test_p_is_scipys_without_ties() -> None:
    rng = np.random.default_rng(3)
    for n in (5, 20, 80):
        difference = rng.normal(0.3, 1, n)
        assert signed_rank_p(difference) == pytest.approx(float(wilcoxon(difference).pvalue), rel=1e-9)


def test_ties_but_for_rounding_are_ties() -> None:
    exact = np.array([1.0, 1.0, 1.0, -1.0, 2.0])
    rounded = np.array([0.3 - 0.2, 0.2 - 0.1, 0.1, -(0.7 - 0.6), 0.2])
    assert len(set(np.abs(rounded))) > 2
    assert signed_rank_p(rounded) == signed_rank_p(exact)
    assert rank_biserial(rounded) == rank_biserial(exact)


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    p = np.array([signed_rank_p(rng.standard_t(3, 30)) for _ in range(600)])
    for level in (0.05, 0.25, 0.5):
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / p.size)


@pytest.mark.parametrize(("draw", "covered"), [("normal", 0.94), ("exponential", 0.93)])
def test_the_bootstrap_covers_the_mean(draw: str, covered: float) -> None:
    """40 differences, 400 times, 95 % intervals; `covered` was measured over 2,000 others.  Three standard errors."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(400):
        values = rng.normal(1.0, 2.0, 40) if draw == "normal" else rng.exponential(1.0, 40)
        low, high = bootstrap_interval(values, 0.05, 2000, 0)
        hits += low <= 1.0 <= high
    assert abs(hits / 400 - covered) < 3 * np.sqrt(covered * (1 - covered) / 400)


def test_the_interval_is_near_students_for_normal_values() -> None:
    values = np.random.default_rng(2).normal(1.0, 1.0, 200)
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose(bootstrap_interval(values, 0.1, 20_000, 0), wanted, atol=0.015)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12))
def test_the_interval_is_finite_and_around_the_mean(steps: list[int]) -> None:
    values = np.array(steps, dtype=float)
    low, high = bootstrap_interval(values, 0.05, INTERVAL, 0)
    assert values.min() <= low <= values.mean() + 1e-12
    assert values.mean() - 1e-12 <= high <= values.max()
    if np.ptp(values) == 0:
        assert low == high == values[0]


def test_rows_that_do_the_same_have_p_one() -> None:
    base = np.linspace(1, 2, 8)
    table = significance(scores({"ref": base, "same": base * (1 + 1e-9), "more": base + 0.5}), "ref", ["loss_mw"])
    same, more = table.set_index("controller").loc[["same", "more"]].itertuples()
    assert (same.p, same.difference, same.ci_low, same.ci_high, same.rank_biserial, same.nonzero) == (1, 0, 0, 0, 0, 0)
    assert (more.difference, more.ci_low, more.ci_high) == pytest.approx((0.5, 0.5, 0.5))
    assert more.p == pytest.approx(2 / 2**8)


def test_seeds_of_a_window_are_no_further_evidence() -> None:
    """Eight equal seeds of each window change nothing: the window is the unit."""
    rng = np.random.default_rng(5)
    base, other = rng.uniform(1, 2, 6), rng.uniform(1, 2, 6)
    once = significance(scores({"ref": base, "a": other}), "ref", ["loss_mw"], resamples=INTERVAL)
    eight = scores({"ref": np.tile(base[:, None], 8), "a": np.tile(other[:, None], 8)})
    pd.testing.assert_frame_equal(once, significance(eight, "ref", ["loss_mw"], resamples=INTERVAL))
    cells = significance(eight, "ref", ["loss_mw"], resamples=INTERVAL, unit="cell").iloc[0]
    assert (cells["pairs"], once.iloc[0]["pairs"]) == (48, 6)
    alone = significance(scores({"ref": base[None, :], "a": other[None, :]}), "ref", ["loss_mw"], resamples=INTERVAL)
    assert alone.iloc[0]["pairs"] == 6  # one window: its seeds are the unit
    assert alone.iloc[0]["p"] == once.iloc[0]["p"]


def test_only_cells_that_both_rows_have_are_paired() -> None:
    nan = np.nan
    made = scores({"ref": [[1, 2], [3, nan], [5, 6], [nan, nan]], "a": [[2, nan], [5, 6], [8, 9], [1, 1]]})
    row = significance(made, "ref", ["loss_mw"], resamples=INTERVAL).iloc[0]
    assert row["pairs"] == 3
    assert row["difference"] == pytest.approx(np.mean([2 - 1, 5 - 3, 8.5 - 5.5]))
    assert row["reference_mean"] == pytest.approx(np.mean([1, 3, 5.5]))


def test_a_row_without_values_is_shown_and_takes_no_part() -> None:
    base = np.linspace(1, 2, 7)
    table = significance(scores({"ref": base, "a": base + 1, "none": base * np.nan}), "ref", ["loss_mw"])
    a, nothing = table.set_index("controller").loc[["a", "none"]].itertuples()
    assert (nothing.pairs, nothing.significant) == (0, False)
    assert np.isnan([nothing.p, nothing.p_corrected, nothing.difference, nothing.ci_low]).all()
    assert a.p_corrected == a.p  # a family of one


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(sorted(CORRECTIONS)), st.integers(2, 4), st.integers(2, 8))
def test_order_does_not_matter_and_correction_never_lowers_p(seed: int, correction: str, rows: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    grids = {name: rng.integers(0, 6, (rows, n, 2)).astype(float) for name in ("one", "two")}
    made = several(grids, [f"c{k}" for k in range(rows)])
    settled = {"metrics": ["loss_mw"], "resamples": 200, "correction": correction}
    table = significance(made, "c0", **settled)  # type: ignore[arg-type]
    assert (table["p_corrected"] >= table["p"] - 1e-15).all()
    assert (table["significant"] == (table["p_corrected"] <= 0.05)).all()
    order = {dim: rng.permutation(made.sizes[dim]) for dim in made.sizes}
    again = significance(made.isel(order), "c0", **settled)  # type: ignore[arg-type]
    keys = ["scenario", "controller", "metric"]
    one, other = (t.sort_values(keys).reset_index(drop=True) for t in (table, again))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_corrections_by_hand() -> None:
    base = np.arange(1.0, 9.0)
    signs = {"a": 1, "b": np.array([1, 1, 1, 1, 1, 1, 1, -1]), "c": np.array([-1, 1, 1, 1, 1, 1, 1, 1])}
    made = scores({"ref": 0 * base, **{name: sign * base for name, sign in signs.items()}})
    p = np.array([2, 2 * 25, 4]) / 256  # 25 sets of different ranks 1..8 have a sum of at most 8
    wanted = {
        "bonferroni": np.minimum(1, 3 * p),
        "holm": [3 * p[0], max(3 * p[0], 2 * p[2], p[1]), 2 * p[2]],
        "fdr_bh": [min(3 * p[0], 1.5 * p[2], p[1]), p[1], min(1.5 * p[2], p[1])],
    }
    for correction, corrected in wanted.items():
        table = significance(made, "ref", ["loss_mw"], correction=correction, resamples=INTERVAL)
        np.testing.assert_allclose(table["p"], p)
        np.testing.assert_allclose(table["p_corrected"], corrected, err_msg=correction)


def test_pairs_needed() -> None:
    assert pairs_needed(1) == 6  # 2/2^6 = 0.031, 2/2^5 = 0.0625
    for comparisons in (1, 3, 12, 100):
        n = pairs_needed(comparisons)
        assert 2.0 ** (1 - n) <= 0.05 / comparisons < 2.0 ** (2 - n)


def test_effect_sizes() -> None:
    assert rank_biserial(np.array([1.0, 2.0, 0.0])) == 1
    assert rank_biserial(np.array([-1.0, -2.0])) == -1
    assert rank_biserial(np.array([-1.0, 2.0])) == pytest.approx(1 / 3)
    values = np.array([3.0, -1.0, 4.0, 1.0, 50.0])
    assert hodges_lehmann(values) == np.median([(a + b) / 2 for i, a in enumerate(values) for b in values[i:]])


def test_summary() -> None:
    made = several({"x": np.arange(12.0).reshape(2, 3, 2), "y": np.full((2, 3, 2), np.nan)}, ["a", "b"])
    table = summary(made)
    assert list(table.columns) == ["controller", "scenario", "metric", "n", "mean", "std"]
    ax = table.set_index(["controller", "scenario"]).loc[("a", "x")]
    assert (ax["n"], ax["mean"]) == (6, 2.5)
    assert ax["std"] == pytest.approx(np.std(np.arange(6), ddof=1))
    ay = table.set_index(["controller", "scenario"]).loc[("a", "y")]
    assert ay["n"] == 0
    assert np.isnan([ay["mean"], ay["std"]]).all()
    each = summary(made.sel(scenario=["x"]), by=("controller", "scenario", "window", "seed"))
    assert list(each["mean"]) == list(np.arange(12.0))
    assert each["std"].isna().all()


BASE = {"ref": np.arange(4.0), "a": np.arange(4.0) + 1}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: significance(scores(BASE), "reff", ["loss_mw"]), UnknownNameError, "did you mean 'ref'"),
        (lambda: significance(scores(BASE), "ref", ["loss_mv"]), UnknownNameError, "did you mean 'loss_mw'"),
        (lambda: significance(scores(BASE), "ref", []), InputError, "at least one metric"),
        (lambda: significance(scores(BASE), "ref", ["loss_mw"], correction="hom"), UnknownNameError, "'holm'"),
        (lambda: significance(scores(BASE), "ref", ["loss_mw"], unit="day"), UnknownNameError, "unit"),  # type: ignore[arg-type]
        (lambda: significance(scores(BASE), "ref", ["loss_mw"], level=5), InputError, "between 0 and 1"),
        (lambda: significance(scores(BASE), "ref", ["loss_mw"], resamples=3), InputError, "100 resamples"),
        (lambda: significance(scores({"ref": [1.0, 2.0]}), "ref", ["loss_mw"]), InputError, "no row but the reference"),
        (lambda: significance(scores({"ref": [1.0], "a": [2.0]}), "ref", ["loss_mw"]), InputError, "random_windows"),
        (lambda: summary(scores(BASE), by=("controler",)), UnknownNameError, "did you mean 'controller'"),
        (lambda: summary(scores(BASE), metrics=["loss"]), UnknownNameError, "did you mean 'loss_mw'"),
    ],
)
def test_bad_input(call: Callable[[], object], kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_overlapping_windows_are_refused_and_touching_ones_are_not() -> None:
    def at(hour: int, name: str = "toy") -> dict[str, object]:
        return {"name": name, "start": f"2016-06-20 {hour:02d}:00", "periods": 4, "step_s": 900.0}

    made = scores(BASE)
    for fine in ([at(3), at(4), at(2)], [at(3), at(3, "another")]):
        assert len(significance(made, "ref", ["loss_mw"], windows=fine, resamples=INTERVAL)) == 1
    late = at(3) | {"start": "2016-06-20 03:45"}
    with pytest.raises(InputError, match=r"(?s)2016-06-20 03:00:00 and from 2016-06-20 03:45:00 overlap"):
        significance(made, "ref", ["loss_mw"], windows=[late, at(3)])


def test_of_a_comparison() -> None:
    windows = random_windows(toy.short(28, "2016-06-20 09:00"), 7, 2, seed=1)
    made = compare(windows, ["none", "lindistflow"], certificates=False)
    table = made.significance("none")
    assert list(table["metric"]) == ["loss_mw", "cr_pct", "v_out_pct"]
    assert (table["pairs"] == 7).all()
    mine, base = (made.metrics["loss_mw"].sel(controller=c).to_numpy().ravel() for c in ("lindistflow", "none"))
    losses = table.set_index("metric").loc["loss_mw"]
    assert losses["difference"] == pytest.approx((mine - base).mean())
    assert losses["p"] == pytest.approx(float(wilcoxon(mine - base).pvalue))
    means = made.summary(metrics=["loss_mw"]).set_index("controller")
    assert means.loc["none", "mean"] == pytest.approx(base.mean())
    assert (means["n"] == 7).all()
    day = toy.scenario()
    close = compare([day.window("2016-06-20 12:00", 2), day.window("2016-06-20 12:15", 2)], ["none", "volt_var"])
    with pytest.raises(InputError, match="overlap"):
        close.significance("none")
