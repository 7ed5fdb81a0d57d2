"""Whether a tier's signal tells right answers from wrong ones, and whether it is calibrated."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from automix_cli.evaluation.curves import LEVEL, Measure, finite_measure
from automix_cli.pomdp.arrays import Floats


def auroc(signal: ArrayLike, right: ArrayLike) -> Measure:
    """Chance that a right answer has a higher signal than a wrong one, ties counted half.

    Rows without a signal (NaN) are left out.

    Example:
        >>> auroc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]).value
        0.875
    """
    values, hits = _with_signal(signal, np.asarray(right, dtype=bool))
    n, k = len(hits), int(hits.sum())
    if k in (0, n):
        return Measure(None, "there are no wrong answers" if k and n else "there are no right answers")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # the mean rank of equals, from 1
    return finite_measure((ranks[hits].sum() - k * (k + 1) / 2) / (k * (n - k)))


def _with_signal(signal: ArrayLike, right: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    """Both columns of the rows that have a signal."""
    values = np.asarray(signal, dtype=float)
    present = ~np.isnan(values)
    return values[present], np.asarray(right)[present]


class ReliabilityRow(NamedTuple):
    """One bin of a reliability table; `low` and `high` bound the share right (Wilson)."""

    start: float
    end: float
    rows: int
    confidence: float
    right: float
    low: float
    high: float


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> list[ReliabilityRow]:
    """Mean confidence against the share right, in bins of equal width; empty bins are left out.

    `right` may be scores. A confidence on an edge belongs to the bin above it, 1 to the
    last; rows without a confidence (NaN) are left out.

    Example:
        >>> [row[:5] for row in reliability([0.75, 0.75, 0.25], [1, 0, 0], bins=2)]
        [(0.0, 0.5, 1, 0.25, 0.0), (0.5, 1.0, 2, 0.75, 0.5)]
    """
    values, hits = _with_signal(confidence, np.asarray(right, dtype=float))
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    means = [np.bincount(place, column, minlength=bins) / np.maximum(counts, 1) for column in (values, hits)]
    return [
        ReliabilityRow(
            float(edges[b]),
            float(edges[b + 1]),
            int(counts[b]),
            float(means[0][b]),
            float(means[1][b]),
            *wilson(float(means[1][b]) * int(counts[b]), int(counts[b])),
        )
        for b in np.flatnonzero(counts)
    ]


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> Measure:
    """Expected calibration error: mean distance of confidence and share right over the bins' rows.

    Example:
        >>> ece([0.75, 0.75, 0.25], [1, 0, 0], bins=2).value
        0.25
    """
    rows = reliability(confidence, right, bins)
    total = sum(row.rows for row in rows)
    if not total:
        return Measure(None, "there are no rows")
    return finite_measure(math.fsum(row.rows * abs(row.right - row.confidence) for row in rows) / total)


def wilson(hits: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval for a proportion; (0, 1) when nothing was seen.

    Source: E. B. Wilson, JASA 22 (1927), 209-212.

    Example:
        >>> tuple(round(bound, 4) for bound in wilson(8, 10))
        (0.4902, 0.9433)
    """
    if n == 0:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
