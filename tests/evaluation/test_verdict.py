"""The verdict of an interval."""

import math
import random

import pytest

from automix_cli.evaluation.bootstrap import Interval
from automix_cli.evaluation.verdict import verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "kind", "more"),
    [
        (0.03, 0.01, 0.05, "route", None),
        (0.001, 0.0001, 0.005, "route", None),  # surely better, if by little
        (0.0, -0.02, 0.009, "do not route", None),
        (-0.2, -0.3, -0.1, "do not route", None),
        (0.0, 0.0, 0.0, "do not route", None),
        (1e-16, 1e-16, 1e-16, "do not route", None),  # sums of the same numbers, added otherwise
        (-1e-16, -1e-16, 2e-13, "do not route", None),
        (2e-9, 1e-9, 3e-9, "route", None),
        (0.02, -0.02, 0.06, "not enough rows", 300),  # half the width needs four times the rows
        (-0.01, -0.05, 0.03, "not enough rows", 300),  # for the upper bound to come to 0.01
        (0.005, -0.005, 0.015, "not enough rows", 300),  # either bound
        (0.02, 0.0, 0.04, "not enough rows", 1),  # as good as there
    ],
)
def test_the_verdict_follows_from_the_interval(
    value: float, low: float, high: float, kind: str, more: int | None
) -> None:
    found = verdict(value, Interval(low, high), rows=100)
    assert (found.kind, found.more_rows) == (kind, more)
    assert (found.edge, found.low, found.high) == pytest.approx((value, low, high), abs=1e-12)


def test_the_rows_asked_for_would_have_told() -> None:
    rng = random.Random(0)
    for _ in range(300):
        value, below, above = rng.uniform(-0.05, 0.05), rng.uniform(0.001, 0.1), rng.uniform(0.001, 0.1)
        found = verdict(value, Interval(value - below, value + above), rows=100)
        if found.more_rows is not None:
            shrunk = math.sqrt(100 / (100 + found.more_rows)) * (1 - 1e-9)
            again = verdict(value, Interval(value - below * shrunk, value + above * shrunk), rows=100)
            assert again.kind != "not enough rows"
