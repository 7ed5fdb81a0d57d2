"""Bounds looked at after every row: exact chances to miss the truth, by dynamic programming."""

from __future__ import annotations

from fractions import Fraction
from math import log

import numpy as np
import pytest
from looks import chance_to_be_caught

from automix_cli.evaluation.sequences import capital, mean_bound, share_bounds, share_rise

LOOKS = 300


def ratio(k: int, n: int) -> Fraction:
    """B(k+½, n-k+½)/B(½, ½) by its product."""
    value = Fraction(1)
    for i in range(k):
        value *= Fraction(2 * i + 1, 2)
    for i in range(n - k):
        value *= Fraction(2 * i + 1, 2)
    for i in range(1, n + 1):
        value /= i
    return value


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (2, 100), (37, 100), (99, 100), (23, 1000)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_bounds_are_where_the_mixture_is_the_likelihood_over_alpha(k: int, n: int, alpha: float) -> None:
    goal = log(ratio(k, n).numerator) - log(ratio(k, n).denominator) + log(alpha)
    bounds = share_bounds(k, n, alpha)
    for p in (bounds.low, bounds.high):
        if 0 < p < 1:
            assert k * log(p) + (n - k) * log(1 - p) == pytest.approx(goal, abs=1e-6)
    assert bounds.low <= k / n <= bounds.high
    assert (bounds.low == 0.0) == (k == 0)


@pytest.mark.parametrize("p", [0.003, 0.02, 0.1, 0.5])
def test_a_share_leaves_its_bounds_at_any_look_in_at_most_5_percent(p: float) -> None:
    def misses(k: int, n: int) -> bool:
        bounds = share_bounds(k, n)
        return not bounds.low <= p <= bounds.high

    chance = chance_to_be_caught(p, misses, 120 if p == 0.5 else LOOKS)
    assert 0.001 < chance <= 0.05


def test_an_interval_for_a_fixed_number_of_rows_is_wrong_far_more_often() -> None:
    def misses(k: int, n: int) -> bool:
        return abs(k - 0.5 * n) > 1.96 * 0.5 * n**0.5

    assert chance_to_be_caught(0.5, misses, LOOKS) > 0.25


@pytest.mark.parametrize(("p", "cases"), [(0.03, 100), (0.1, 60)])
def test_a_share_that_did_not_rise_is_warned_of_in_at_most_5_percent(p: float, cases: int) -> None:
    chance, weight = 0.0, (1 - p) ** cases
    for hits in range(40):
        looks = chance_to_be_caught(p, lambda k, n, h=hits: share_rise(k, n, h, cases) >= 20, 120)
        chance += weight * looks
        weight *= (cases - hits) / (hits + 1) * p / (1 - p)
    assert 0.0005 < chance <= 0.05


def test_a_share_seen_of_very_many_is_exceeded_where_the_lower_bound_is_above_it() -> None:
    for n in (50, 200, 1000):
        for k in range(n // 10, n // 3):
            low = share_bounds(k, n).low
            if abs(low - 0.1) > 1e-3:
                assert (share_rise(k, n, 1e7, 1e8) >= 20) == (low > 0.1), (k, n)


# ---------------------------------------------------------------- means


def test_the_bound_of_a_mean_covers_it_at_every_look_at_once() -> None:
    rng = np.random.default_rng(5)
    streams = rng.choice([1.0, 0.0, -1.0, 0.5], p=[0.04, 0.9, 0.03, 0.03], size=(40, 200))
    truth = 0.04 - 0.03 + 0.015
    assert np.mean([mean_bound(values) < truth for values in streams]) <= 0.1
    refuted = [capital(truth - values, 1 - truth) >= 20 for values in streams]
    assert np.mean(refuted) <= 0.1


def test_the_bound_of_a_mean_falls_with_the_rows_and_stays_above_what_was_seen() -> None:
    bounds = [mean_bound(np.zeros(n)) for n in (0, 20, 100, 1000)]
    assert bounds == sorted(bounds, reverse=True)
    assert 0 < bounds[-1] < 0.01
    assert mean_bound(np.ones(50)) == 1.0
    assert -1 < mean_bound(np.full(50, -1.0)) < -0.5
