"""The best that random mixes of single tiers reach at each cost, and the height of a policy above it.

A random mix asks tier j for a share p_j of the questions, whatever they are. Its mean cost and
quality lie on straight lines between the tiers' points, so the best mixes form the upper
concave hull of those points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from automix_cli.pomdp.arrays import Floats

ROUNDING_ERROR = 1e-12  # of sums: what differs by less is equal


class Point(NamedTuple):
    """Mean cost (USD per question) and mean score."""

    cost: float
    quality: float


class Mix(NamedTuple):
    """A random mix of single tiers: the share of questions each gets, and its mean cost and quality."""

    shares: tuple[float, ...]
    cost: float
    quality: float


def hull(points: Sequence[Point]) -> tuple[Point, ...]:
    """Vertices of the upper concave, rising hull of points, cheapest first.

    The straight lines between them, and the level line beyond the last, are the best
    quality that a random mix of the points reaches at each cost.

    Example:
        >>> hull([Point(1, 0.5), Point(2, 0.5), Point(3, 0.9), Point(4, 0.8)])
        (Point(cost=1, quality=0.5), Point(cost=3, quality=0.9))
    """
    corners: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.quality)):
        if corners and point.quality <= corners[-1].quality:
            continue
        while len(corners) > 1 and _is_below(corners[-1], corners[-2], point):
            corners.pop()
        corners.append(point)
    return tuple(corners)


def _is_below(middle: Point, left: Point, right: Point) -> bool:
    """Whether `middle` lies on or under the line from `left` to `right`."""
    rise = (middle.quality - left.quality) * (right.cost - left.cost)
    return rise <= (right.quality - left.quality) * (middle.cost - left.cost)


def best_mix(points: Sequence[Point], cost: float) -> Mix:
    """The best random mix of single tiers that costs at most `cost`.

    Below the cheapest tier there is none; the cheapest itself then stands for it, which
    is to a policy's disadvantage.

    Example:
        >>> best_mix([Point(1, 0.5), Point(3, 0.9)], 2)
        Mix(shares=(0.5, 0.5), cost=2.0, quality=0.7)
    """
    corners = hull(points)
    at = [points.index(corner) for corner in corners]
    shares = [0.0] * len(points)
    left = max((k for k, corner in enumerate(corners) if corner.cost <= cost), default=0)
    step = 0.0
    if left + 1 < len(corners) and cost > corners[left].cost:
        step = (cost - corners[left].cost) / (corners[left + 1].cost - corners[left].cost)
        shares[at[left + 1]] = step
    shares[at[left]] = 1 - step
    return Mix(
        tuple(shares),
        float(math.fsum(s * p.cost for s, p in zip(shares, points, strict=True))),
        float(math.fsum(s * p.quality for s, p in zip(shares, points, strict=True))),
    )


def mix_quality(tier_costs: ArrayLike, tier_qualities: ArrayLike, cost: ArrayLike) -> Floats:
    """H(c): quality of the best random mix of single tiers that costs at most c, many at once.

    A mix of two tiers always suffices, so the maximum is over pairs; that equals the
    hull and needs none built for each bootstrap draw. Of draws of a policy's point,
    `qualities - mix_quality(tier_costs, tier_qualities, costs)` are the draws of `edge`.

    Args:
        tier_costs: …×N, mean cost of each single tier.
        tier_qualities: …×N, its mean score.
        cost: …, the cost not to be exceeded.
    """
    costs, qualities = np.asarray(tier_costs, dtype=float), np.asarray(tier_qualities, dtype=float)
    limit = np.asarray(cost, dtype=float)[..., None]
    fits = costs <= limit
    alone = np.where(fits, qualities, -np.inf).max(axis=-1)
    span = costs[..., None, :] - costs[..., :, None]
    useful = fits[..., :, None] & ~fits[..., None, :] & (span > 0)
    share = np.divide(limit[..., None] - costs[..., :, None], span, out=np.zeros(useful.shape), where=useful)
    mixes = qualities[..., :, None] + share * (qualities[..., None, :] - qualities[..., :, None])
    best_pair = np.where(useful, mixes, -np.inf).max(axis=(-2, -1))
    cheapest = np.where(costs == costs.min(axis=-1, keepdims=True), qualities, -np.inf).max(axis=-1)
    best: Floats = np.where(fits.any(axis=-1), np.maximum(alone, best_pair), cheapest)
    return best


def edge(point: Point, tiers: Sequence[Point]) -> float:
    """d: quality above the best random mix of single tiers that costs no more.

    Example:
        >>> round(edge(Point(2, 0.75), [Point(1, 0.5), Point(3, 0.9)]), 12)
        0.05
    """
    return point.quality - best_mix(tiers, point.cost).quality
