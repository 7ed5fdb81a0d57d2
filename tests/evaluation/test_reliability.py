"""A signal's AUROC and calibration, by hand and by law."""

import math
import random
from fractions import Fraction
from statistics import NormalDist

import pytest

from automix_cli.evaluation.curves import (
    Measure,
)
from automix_cli.evaluation.reliability import auroc, ece, reliability, wilson


def test_auroc_is_worked_by_hand_with_ties() -> None:
    # right 0.9, 0.5, 0.5; wrong 0.5, 0.1: pairs won 1+1, ½+1, ½+1 of six
    assert auroc([0.9, 0.5, 0.5, 0.5, 0.1], [1, 1, 1, 0, 0]).value == pytest.approx(5 / 6)
    assert auroc([0.5] * 4, [1, 0, 1, 0]).value == 0.5
    assert auroc([1, 2, 3, 4], [0, 0, 1, 1]).value == 1
    assert auroc([4, 3, 2, 1], [0, 0, 1, 1]).value == 0
    assert auroc([0.9, math.nan, 0.1], [True, True, False]).value == 1


@pytest.mark.parametrize("seed", range(5))
def test_auroc_counts_the_pairs_won(seed: int) -> None:
    rng = random.Random(seed)
    signal = [rng.randrange(6) / 5 for _ in range(60)]
    right = [rng.random() < 0.4 for _ in range(60)]
    pairs = [
        (a, b)
        for a, r in zip(signal, right, strict=True)
        if r
        for b, w in zip(signal, right, strict=True)
        if not w
    ]
    won = sum(Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0) for a, b in pairs)
    assert auroc(signal, right).value == pytest.approx(float(won / len(pairs)))
    assert auroc([-s for s in signal], right).value == pytest.approx(1 - float(won / len(pairs)))


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        ([True, True], "there are no wrong answers"),
        ([False, False], "there are no right answers"),
        ([], "there are no right answers"),
    ],
)
def test_auroc_of_one_class_is_none_with_the_reason(right: list[bool], reason: str) -> None:
    assert auroc([0.5] * len(right), right) == Measure(None, reason)


def test_reliability_and_ece_are_worked_by_hand() -> None:
    confidence = [0.0, 0.05, 0.1, 0.95, 1.0, 1.0, math.nan]
    right = [0, 1, 1, 1, 1, 0.5, 1]
    table = reliability(confidence, right, bins=10)
    assert [row.start for row in table] == pytest.approx([0, 0.1, 0.9])
    assert [row.end for row in table] == pytest.approx([0.1, 0.2, 1])
    assert [row.rows for row in table] == [2, 1, 3]
    assert [row.confidence for row in table] == pytest.approx([0.025, 0.1, 2.95 / 3])
    assert [row.right for row in table] == pytest.approx([0.5, 1, 2.5 / 3])
    assert all(row.low <= row.right <= row.high for row in table)
    assert ece(confidence, right).value == pytest.approx((2 * 0.475 + 0.9 + 3 * 0.15) / 6)
    assert ece([], []) == Measure(None, "there are no rows")
    assert reliability([], []) == []


def test_a_perfectly_calibrated_confidence_has_no_error() -> None:
    assert ece([0.25] * 4 + [0.75] * 4, [1, 0, 0, 0, 1, 1, 1, 0]).value == 0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (8, 10, 0.4902, 0.9433),
        (50, 100, 0.4038, 0.5962),
        (0, 0, 0, 1),
    ],
)
def test_wilson_s_interval_has_the_textbook_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_s_bounds_are_where_the_score_test_just_rejects() -> None:
    z = NormalDist().inv_cdf(0.975)
    for hits, n in ((1, 7), (30, 31), (400, 1000)):
        for bound in wilson(hits, n):
            assert abs(hits / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n))
