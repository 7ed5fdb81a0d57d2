"""The verdict of a comparison: route, do not route, or not enough rows to tell."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from automix_cli.evaluation.bootstrap import Interval


class RoutingVerdict(NamedTuple):
    """Whether routing pays, from d and its interval; `more_rows` is None unless more could tell."""

    kind: Literal["route", "do not route", "not enough rows"]
    edge: float
    low: float
    high: float
    more_rows: int | None = None


_ROUNDING_ERROR = 1e-12


def verdict(value: float, bounds: Interval, rows: int, margin: float = 0.01) -> RoutingVerdict:
    """Judge d, the quality above the best equally dear mix of single tiers.

    Its lower bound above 0: route. Its upper bound below one quality point: do not. Else
    as many more rows are asked for as would shrink the interval, whose width falls with the
    square root of the rows, until one of the two holds at this d. A bound that differs from 0
    by the rounding of sums alone is 0: who ties with the mix does not beat it.

    Example:
        >>> verdict(0.02, Interval(-0.02, 0.06), rows=100)
        RoutingVerdict(kind='not enough rows', edge=0.02, low=-0.02, high=0.06, more_rows=300)
    """
    low, high = (0.0 if abs(bound) < _ROUNDING_ERROR else bound for bound in bounds)
    if low > 0:
        return RoutingVerdict("route", value, low, high)
    if high < margin:
        return RoutingVerdict("do not route", value, low, high)
    ratios = [(value - low) / value] if value > 0 else []
    ratios += [(high - value) / (margin - value)] if value < margin else []
    rows_needed = rows * min(r * r for r in ratios)
    return RoutingVerdict(
        "not enough rows", value, low, high, max(1, math.ceil(round(rows_needed - rows, 6)))
    )
