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


def test_a_row_on_which_a_tier_failed_counts_for_the_tiers_that_answered() -> None:
    # three rows answered by both tiers: 00, 01, 11; on two the first failed, and the other was right once
    right = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    failed = np.array([[False, False]] * 3 + [[True, False]] * 2)
    counts = prior.count_states(right, failed, np.zeros(5, int), 1)
    # where the other is right, the first always was: the fourth row goes there whole, the fifth by halves
    np.testing.assert_allclose(counts, [[1.5, 1.5, 0.0, 2.0]], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_counts_without_failures_are_those_of_the_rows_in_each_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right, classes = rng.integers(0, 2, (200, 3)), rng.integers(0, 2, 200)
    counts = prior.count_states(right, np.zeros((200, 3), bool), classes, 2)
    for row, cell in ((row, cell) for row in range(8) for cell in range(2)):
        assert counts[cell, row] == ((right @ [1, 2, 4] == row) & (classes == cell)).sum()


def test_the_other_tiers_are_counted_beside_a_tier_that_always_fails() -> None:
    right = np.column_stack([np.zeros(50, int), np.arange(50) < 40])
    failed = np.column_stack([np.ones(50, bool), np.zeros(50, bool)])
    np.testing.assert_allclose(
        prior.count_states(right, failed, np.zeros(50, int), 1), [[5.0, 5.0, 20.0, 20.0]]
    )


def test_classes_alike_are_drawn_together_and_classes_apart_are_not() -> None:
    alike = np.array([[10.0, 10.0, 10.0, 70.0]] * 3)
    apart = np.array([[70.0, 10.0, 10.0, 10.0], [10.0, 10.0, 10.0, 70.0], [10.0, 70.0, 10.0, 10.0]])
    assert prior.choose_kappa(alike, 1.0) > 20 * prior.choose_kappa(apart, 1.0)


def cells_of(states: np.ndarray, groups: np.ndarray, classes: np.ndarray) -> prior.GroupedCounts:
    return prior.GroupedCounts(np.eye(4)[states], groups, classes)


def test_where_each_group_is_a_row_leaving_groups_out_is_leaving_rows_out() -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 4, 300)  # of which the last is no class
    states = (rng.random(300) < 0.3 + 0.1 * classes) + 2 * (rng.random(300) < 0.7)
    counts = np.zeros((4, 4))
    np.add.at(counts, (classes, states), 1)
    by_row = prior.choose_kappa(counts[:3], 5.0, counts.sum(axis=0))
    assert prior.choose_kappa_by_group(cells_of(states, np.arange(300), classes), 3, 5.0) == by_row


def test_copies_of_a_question_do_not_make_its_class_look_told_apart() -> None:
    """Classes drawn at random: eight copies of each question foretell one another, and nothing else."""
    rng = np.random.default_rng(4)
    states, classes = rng.integers(0, 4, 60), rng.integers(0, 20, 60)
    counts, cells = np.zeros((20, 4)), cells_of(states, np.arange(60), classes)
    np.add.at(counts, (classes, states), 8)
    own = prior.choose_kappa_by_group(cells._replace(counts=8 * cells.counts), 20, 5.0)
    assert own > 20 * prior.choose_kappa(counts, 5.0)
