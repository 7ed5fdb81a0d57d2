"""Drift: shares of live rows that are no longer as they were when the router was fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

DRIFT_P = 0.001
DRIFT_SHARE = 0.05


class Drift(NamedTuple):
    """A share that moved: `name` is `escalated`, or the tier whose first votes said CORRECT."""

    name: str
    observed: float
    fitted: float
    p: float

    def text(self) -> str:
        """For people.

        Example:
            >>> Drift("escalated", 0.61, 0.31, 1e-9).text()
            'escalated 61 %, 31 % when fitted: recalibrate'
        """
        what = "escalated" if self.name == "escalated" else f"{self.name}: first vote correct"
        return f"{what} {self.observed:.0%}, {self.fitted:.0%} when fitted: recalibrate".replace("%", " %")


def drifts(
    fitted: Mapping[str, tuple[int, int]], observed: Mapping[str, tuple[int, int]]
) -> tuple[Drift, ...]:
    """Shares that moved by over 5 points and beyond chance (p < 0.001, two-sided, exact).

    This is for one look at a batch; `evaluation.audit` looks again and again.

    Args:
        fitted: (hits, cases) by name, of the held-out rows at fitting.
        observed: the same of a batch.

    Example:
        >>> drifts({"escalated": (310, 1000)}, {"escalated": (61, 100)})[0].name
        'escalated'
        >>> drifts({"escalated": (310, 1000)}, {"escalated": (6, 10)})
        ()
    """
    comparisons = [_compare(name, fitted[name], observed[name]) for name in fitted if name in observed]
    return tuple(d for d in comparisons if d.p < DRIFT_P and abs(d.observed - d.fitted) > DRIFT_SHARE)


def drifts_from_fit(
    router: Mapping[str, Any] | None, observed: Mapping[str, tuple[int, int]]
) -> tuple[Drift, ...]:
    """The drifts of a batch from the rates in a profile's `router:` block; none without such rates.

    Example:
        >>> router = {"fitted": {"rates": {"escalated": [310, 1000]}}}
        >>> [drift.name for drift in drifts_from_fit(router, {"escalated": (61, 100)})]
        ['escalated']
        >>> drifts_from_fit(None, {"escalated": (61, 100)})
        ()
    """
    return drifts(fitted_rates(router), observed)


def fitted_rates(router: Mapping[str, Any] | None) -> dict[str, tuple[int, int]]:
    """The rates in a profile's `router:` block as (hits, cases), by name; none without such rates."""
    rates = (router or {}).get("fitted", {}).get("rates") or {}
    return {name: (int(hits), int(cases)) for name, (hits, cases) in rates.items()}


def _compare(name: str, old: tuple[int, int], new: tuple[int, int]) -> Drift:
    if not (old[1] and new[1]):
        return Drift(name, 0.0, 0.0, 1.0)
    shares = new[0] / new[1], old[0] / old[1]
    return Drift(name, *shares, _chance_of_move(old, new))


def _chance_of_move(old: tuple[int, int], new: tuple[int, int]) -> float:
    """Fisher's exact test: twice the chance of so many hits or more extreme ones among the new cases.

    A normal approximation takes one hit of two cases, where there were 2 %, for one chance in thousands.
    """
    n, cases = new[1], new[1] + old[1]
    hits = new[0] + old[0]
    step = 1 if new[0] * cases >= hits * n else -1
    end = min(n, hits) + 1 if step > 0 else max(0, hits - old[1]) - 1
    logs = -_log_choices(cases, n)
    total = 0.0
    for k in range(new[0], end, step):
        term = math.exp(logs + _log_choices(hits, k) + _log_choices(cases - hits, n - k))
        total += term
        if term < 1e-12 * total:
            break
    return min(1.0, 2 * total)


def _log_choices(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
