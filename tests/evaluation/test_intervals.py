"""Conformal intervals: exact ranks, coverage that is what it says, and what cannot be given."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil, comb

import numpy as np
import pytest

from crystalcodec.evaluation.intervals import (
    Conformal,
    IntervalError,
    binomial_interval,
    conformal_rank,
    coverage_figures,
    cross_fitted,
    rows_needed,
)


def test_ranks_are_those_of_exact_arithmetic():
    for n, hundredths in product(range(1, 400), (5, 30, 50, 68, 70, 80, 90, 95, 99)):
        exact = ceil(Fraction(hundredths, 100) * (n + 1))
        assert conformal_rank(n, hundredths / 100) == (exact if exact <= n else None)


def test_rows_needed_is_where_ranks_begin():
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        n = rows_needed(coverage)
        assert conformal_rank(n, coverage) == n
        assert conformal_rank(n - 1, coverage) is None


def test_one_width_by_hand():
    # Errors 1, 2, 3, 4: the third of four is ceil(5 x 0.6).
    conformal = Conformal.fit([10.0, 10.0, 10.0, 10.0], [11.0, 8.0, 13.0, 6.0])
    assert conformal.scores.tolist() == [1, 2, 3, 4]
    lower, upper = conformal.interval([0.0, 5.0], 0.6)
    assert (lower.tolist(), upper.tolist()) == ([-3, 2], [3, 8])


def test_widths_that_follow_the_spread_by_hand():
    # Floor 2 (the median): scales 3, 4, 6; scores 1, 2, 0.5.
    conformal = Conformal.fit([0.0, 0.0, 0.0], [3.0, 8.0, -3.0], [1.0, 2.0, 4.0])
    assert conformal.floor == 2
    assert conformal.scores.tolist() == [0.5, 1, 2]
    lower, upper = conformal.interval([10.0, 10.0], 0.75, [0.0, 8.0])
    # No spread at all still leaves an interval.
    assert (lower.tolist(), upper.tolist()) == ([6, -10], [14, 30])


@pytest.mark.parametrize("spreads", [None, "given"])
def test_the_coverage_is_what_theory_says(spreads):
    """Over many draws: exactly rank / (n + 1) for continuous scores."""
    rng = np.random.default_rng(0)
    n, trials, coverage = 24, 4000, 0.8
    hits = 0
    for _ in range(trials):
        spread = rng.gamma(2, size=n + 1)
        errors = rng.normal(size=n + 1) * spread
        given = (None, None) if spreads is None else (spread[:n], spread[n:])
        conformal = Conformal.fit(np.zeros(n), errors[:n], given[0])
        lower, upper = conformal.interval(errors[n:], coverage, given[1])
        hits += bool(lower[0] <= 0 <= upper[0])
    low, high = binomial_interval(hits, trials, 0.999)
    assert low < 20 / 25 < high


def test_narrower_where_the_members_agree_and_right_in_both():
    rng = np.random.default_rng(1)
    spread = np.repeat([0.01, 1.0], 2000)
    errors = rng.normal(size=4000) * spread
    half = np.arange(4000) % 2 == 0
    conformal = Conformal.fit(np.zeros(2000), errors[half], spread[half])
    lower, upper = conformal.interval(errors[~half], 0.9, spread[~half])
    figures = coverage_figures(
        np.zeros(2000), lower, upper, {"small": spread[~half] < 0.1, "large": spread[~half] > 0.1}
    )
    small, large = figures["groups"]["small"], figures["groups"]["large"]
    assert small["median_width"] < large["median_width"] / 2
    assert figures["low"] < 0.9 < figures["high"]


def test_too_few_rows_give_no_interval():
    conformal = Conformal.fit(np.zeros(8), np.ones(8))
    lower, upper = conformal.interval([1.0], 0.9)
    assert np.isnan(conformal.quantile(0.9))
    assert np.isnan([lower, upper]).all()
    assert conformal.quantile(0.8) == 1
    assert np.isnan(Conformal.fit([], []).quantile(0.5))
    assert np.isnan(Conformal.fit([], [], []).quantile(0.5))


def test_a_limit_cuts_the_interval_and_loses_no_target_above_it():
    rng = np.random.default_rng(2)
    targets = np.maximum(rng.normal(size=500), 0)
    values = targets + rng.normal(size=500)
    plain = Conformal.fit(targets, values)
    cut = Conformal.fit(targets, values, lower_limit=0.0)
    lower, upper = cut.interval(values, 0.9)
    assert lower.min() == 0
    assert (upper >= lower).all()
    below, above = plain.interval(values, 0.9)
    inside = (below <= targets) & (targets <= above)
    assert (((lower <= targets) & (targets <= upper)) >= inside).all()
    assert cut.interval([-5.0], 0.9)[1].tolist() == [0.0]


def test_rows_without_a_target_or_value_are_left_out():
    conformal = Conformal.fit([0.0, np.nan, 0.0], [1.0, 1.0, np.nan], [1.0, np.nan, np.nan])
    assert conformal.scores.tolist() == [0.5]
    lower, _ = Conformal.fit(np.zeros(9), np.ones(9)).interval([np.nan, 0.0], 0.9)
    assert np.isnan(lower).tolist() == [True, False]


def test_spreads_of_zero_fall_back():
    conformal = Conformal.fit(np.zeros(3), [1.0, 2.0, 3.0], np.zeros(3))
    assert conformal.floor is None
    # More than half are zero: the mean.
    assert Conformal.fit(np.zeros(3), np.ones(3), [0.0, 0.0, 3.0]).floor == 1


def test_folds_calibrate_each_row_on_the_others():
    rng = np.random.default_rng(3)
    values = rng.normal(size=40)
    lower, upper = cross_fitted(np.zeros(40), values, 0.9, folds=40)
    errors = np.abs(values)
    for i in range(40):
        others = np.sort(np.delete(errors, i))
        assert upper[i] - values[i] == pytest.approx(others[ceil(0.9 * 40) - 1])
    np.testing.assert_allclose(upper - values, values - lower)
    outlier = np.append(np.zeros(99), 100.0)
    lower, upper = cross_fitted(np.zeros(100), outlier, 0.99, folds=100)
    # Its own error is not in its calibration.
    assert lower[-1] == 100
    assert np.isnan(cross_fitted([], [], 0.9)).size == 0


def test_binomial_interval_against_sums_of_the_distribution():
    def tail(n, p, hits):
        return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in hits)

    for hits, n in ((1, 7), (19, 20), (90, 100)):
        low, high = binomial_interval(hits, n)
        assert tail(n, low, range(hits, n + 1)) == pytest.approx(0.025)
        assert tail(n, high, range(hits + 1)) == pytest.approx(0.025)
    assert binomial_interval(5, 5)[1] == 1


def test_coverage_figures_by_hand():
    figures = coverage_figures(
        [1.0, 2.0, 9.0, np.nan, 3.0],
        [0.0, 2.0, 0.0, 0.0, np.nan],
        [4.0, 3.0, 2.0, 1.0, np.nan],
        {"first": np.arange(5) == 0, "none": np.zeros(5, bool)},
    )
    assert (figures["n"], figures["inside"], figures["median_width"]) == (3, 2 / 3, 2)
    assert figures["groups"]["first"]["inside"] == 1
    assert figures["groups"]["none"] == dict.fromkeys(("inside", "low", "high", "median_width")) | {
        "n": 0
    }


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: conformal_rank(5, 1.0), "between 0 and 1"),
        (lambda: rows_needed(0), "between 0 and 1"),
        (lambda: Conformal.fit([1.0], [1.0, 2.0]), "shapes"),
        (lambda: Conformal.fit([1.0], [1.0], [-1.0]), "none below 0"),
        (lambda: Conformal.fit([1.0], [1.0], [np.nan]), "no spread"),
        (lambda: Conformal.fit([1.0], [2.0], [1.0]).interval([1.0], 0.5), "wanted the spread"),
        (lambda: binomial_interval(3, 2), "3 of 2"),
    ],
)
def test_what_cannot_be_made_is_refused(call, says):
    with pytest.raises(IntervalError, match=says):
        call()


def test_a_limit_that_the_rows_break_is_none():
    rng = np.random.default_rng(0)
    targets, values = rng.normal(size=2000), np.zeros(2000)
    conformal = Conformal.fit(targets[:1000], values[:1000], lower_limit=0.0)
    assert conformal.lower_limit is None
    lower, upper = conformal.interval(values[1000:], 0.9)
    assert coverage_figures(targets[1000:], lower, upper)["inside"] == pytest.approx(0.9, abs=0.03)
