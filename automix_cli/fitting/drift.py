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
    """Shares that moved by over 5 points and beyond chance (p < 0.001, two-sided, pooled).

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
    rates = (router or {}).get("fitted", {}).get("rates") or {}
    return drifts({name: (int(hits), int(cases)) for name, (hits, cases) in rates.items()}, observed)


def _compare(name: str, old: tuple[int, int], new: tuple[int, int]) -> Drift:
    if not (old[1] and new[1]):
        return Drift(name, 0.0, 0.0, 1.0)
    rate = (old[0] + new[0]) / (old[1] + new[1])
    error = math.sqrt(rate * (1 - rate) * (1 / old[1] + 1 / new[1]))
    shares = new[0] / new[1], old[0] / old[1]
    p = math.erfc(abs(shares[0] - shares[1]) / error / math.sqrt(2)) if error else 1.0
    return Drift(name, *shares, p)
