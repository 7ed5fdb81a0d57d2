"""The prior over states, against hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from automix_cli.fitting import prior


def test_independent_is_the_product_of_smoothed_marginals_by_hand() -> None:
    # 3 rows: tier 0 right in 2, tier 1 right in 1; marginals 2.5/4 and 1.5/4
    counts = np.array([1.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(
        prior.independent(counts), [0.375 * 0.625, 0.625 * 0.625, 0.375 * 0.375, 0.625 * 0.375]
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_pseudo_counts_are_those_under_which_left_out_rows_are_likeliest(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, 8).astype(float)
    weights = prior.weight_grid(int(counts.sum()))
    by_hand = []
    for alpha in weights:
        total = 0.0
        for state in range(8):
            if counts[state]:
                left = counts.copy()
                left[state] -= 1
                chance = prior.shrunk(left, prior.independent(left), float(alpha))[state]
                total += counts[state] * math.log(chance)
        by_hand.append(total)
    assert prior.choose_alpha(counts) == weights[int(np.argmax(by_hand))]


def test_tiers_that_are_independent_are_drawn_harder_to_the_product_than_tiers_that_are_not() -> None:
    independent, dependent = np.array([16.0, 24.0, 24.0, 36.0]), np.array([40.0, 0.0, 0.0, 60.0])
    assert prior.choose_alpha(independent) > 10 * prior.choose_alpha(dependent)


def test_classes_alike_are_drawn_together_and_classes_apart_are_not() -> None:
    alike = np.array([[10.0, 10.0, 10.0, 70.0]] * 3)
    apart = np.array([[70.0, 10.0, 10.0, 10.0], [10.0, 10.0, 10.0, 70.0], [10.0, 70.0, 10.0, 10.0]])
    assert prior.choose_kappa(alike, 1.0) > 20 * prior.choose_kappa(apart, 1.0)
