"""Shares that moved since the router was fitted."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from known import draw_table, two_tiers

from automix_cli.fitting.drift import Drift, _chance_of_move, drifts


@pytest.mark.parametrize(
    ("observed", "warns"),
    [
        ((610, 1000), True),
        ((61, 100), True),
        ((6, 10), False),  # chance
        ((330, 1000), False),  # neither
        ((34_500, 100_000), False),  # beyond chance, but not by five points
        ((0, 0), False),
    ],
)
def test_drift_needs_both_a_share_that_moved_and_more_than_chance(
    observed: tuple[int, int], warns: bool
) -> None:
    assert bool(drifts({"escalated": (31_000, 100_000)}, {"escalated": observed})) == warns


@pytest.mark.parametrize("new", [(1, 2), (3, 5), (0, 40), (9, 30)])
def test_the_chance_of_a_move_is_that_of_drawing_so_many_hits_from_all_cases(new: tuple[int, int]) -> None:
    old = (6, 60)
    hits, cases = old[0] + new[0], old[1] + new[1]
    chances = [
        comb(hits, k) * comb(cases - hits, new[1] - k) / comb(cases, new[1]) for k in range(new[1] + 1)
    ]
    is_above = new[0] * cases >= hits * new[1]
    tail = sum(chances[new[0] :] if is_above else chances[: new[0] + 1])
    assert _chance_of_move(old, new) == pytest.approx(min(1, 2 * tail))


def test_one_hit_among_two_cases_is_no_drift() -> None:
    assert drifts({"escalated": (20, 1000)}, {"escalated": (1, 2)}) == ()


def test_drift_is_looked_for_in_what_both_know_and_says_what_moved() -> None:
    fitted = {"escalated": (310, 1000), "small": (700, 1000)}
    moved = drifts(fitted, {"small": (200, 1000), "other": (1, 1000)})
    assert [d.text() for d in moved] == ["small: first vote correct 20 %, 70 % when fitted: recalibrate"]
    assert drifts({"escalated": (0, 100)}, {"escalated": (0, 100)}) == ()


def test_batches_like_the_fitted_rows_hardly_ever_drift() -> None:
    rng, rates = np.random.default_rng(0), []
    for seed in range(60):
        votes = draw_table(two_tiers(), 300, seed).votes[:, 0]
        rates.append((int((rng.random(300) < votes[:, 0] / votes.sum(axis=1)).sum()), 300))
    warned = [bool(drifts({"small": rates[0]}, {"small": r})) for r in rates[1:]]
    assert sum(warned) <= 1


def test_the_text_of_a_drift_names_shares() -> None:
    assert Drift("escalated", 0.5, 0.25, 0.0).text() == "escalated 50 %, 25 % when fitted: recalibrate"
