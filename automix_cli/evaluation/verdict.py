"""The verdict of a comparison: route, do not route, or why nothing can be said."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from automix_cli.evaluation.bootstrap import NORMAL, Resamples
from automix_cli.evaluation.frontier import ROUNDING_ERROR, mix_quality
from automix_cli.pomdp.arrays import Floats


class Edge(NamedTuple):
    """d: the quality above the best equally dear random mix of single tiers, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def deviation(self) -> float:
        """The standard deviation behind the interval."""
        return (self.high - self.low) / (2 * NORMAL)


class RoutingVerdict(NamedTuple):
    """Whether routing pays, from d and its interval.

    Attributes:
        kind: what the evidence says; `single tier` where no policy was chosen, so that there is none.
        edge, low, high: d and its interval.
        more_rows: the order of magnitude of the rows that may tell more (10, 100, …); None where
            more would not help.
    """

    kind: Literal["route", "do not route", "not enough rows", "single tier"]
    edge: float
    low: float
    high: float
    more_rows: int | None = None


class Alternative(NamedTuple):
    """Another share of the best tier's quality to keep, measured on the same held-out rows.

    Attributes:
        keep: the share.
        saving: the share of the best tier's cost that is saved.
        edge: quality above the best equally dear mix.
    """

    keep: float
    saving: float
    edge: Edge


# Shares of the best tier's quality that are tried where a single tier is chosen. The strictest at which
# routing surely pays is reported: because there are several looks, by more than the usual interval.
OTHER_SHARES = (0.95, 0.9, 0.8, 0.7)
_SURELY = 2.5  # standard deviations


def surely_pays(edge: Edge) -> bool:
    """Tell whether d is above 0 beyond doubt, at the strictest of several looks."""
    return edge.value > _SURELY * edge.deviation


def edge_of(
    score: Floats, cost: Floats, tier_scores: Floats, tier_costs: Floats, resamples: Resamples
) -> Edge:
    """Compute d, with a part of the hull's bias taken back, and its interval.

    The hull of the single tiers is the maximum of several mixes. Computed from noisy means it is too
    high wherever two of them are nearly equal, and d too low. The draws of the bootstrap show the same:
    b = mean of the draws - d. So d - b is taken, with d - b ± 1.96 standard deviations of the draws.
    In simulation that takes back about a third to a half of the bias where mixes are tied; where the
    hull is clear, b is nearly 0.

    Args:
        score: n, of the policy.
        cost: n, of the policy.
        tier_scores: n×N, of the single tiers.
        tier_costs: n×N, of the single tiers.
        resamples: of the questions.
    """
    matrix = np.column_stack([score, cost, tier_scores, tier_costs])
    n = tier_scores.shape[1]
    means, draws = matrix.mean(axis=0), resamples.means(matrix)
    value = float(above_mix(means, n))
    return correct_bias(value, above_mix(draws, n))


def above_mix(means: Floats, tiers: int) -> Floats:
    """Compute d of means (score, cost, N tier scores, N tier costs), along the last axis."""
    mix = mix_quality(means[..., 2 + tiers :], means[..., 2 : 2 + tiers], means[..., 1])
    return np.asarray(means[..., 0] - mix)


def correct_bias(value: float, draws: Floats) -> Edge:
    """Correct a figure for the bias that its draws show, with a normal interval.

    Example:
        >>> correct_bias(0.5, np.array([0.4, 0.5])).value
        0.55
    """
    centre, width = 2 * value - float(draws.mean()), NORMAL * float(draws.std())
    return Edge(centre, centre - width, centre + width)


def verdict(edge: Edge, rows: int, margin: float = 0.01) -> RoutingVerdict:
    """Judge d.

    Its lower bound above 0: route. Its upper bound below one quality point: do not. Else the
    width of the interval, which falls with the square root of the rows, says how many more
    may tell; that swings with the estimate, so only its order of magnitude is kept. A bound that
    differs from 0 by the rounding of sums alone is 0: who ties with the mix does not beat it.

    Example:
        >>> verdict(Edge(0.02, -0.02, 0.06), rows=100)
        RoutingVerdict(kind='not enough rows', edge=0.02, low=-0.02, high=0.06, more_rows=100)
    """
    value, low, high = edge.value, *(0.0 if abs(b) < ROUNDING_ERROR else b for b in edge[1:])
    if low > 0:
        return RoutingVerdict("route", value, low, high)
    if high < margin:
        return RoutingVerdict("do not route", value, low, high)
    return RoutingVerdict("not enough rows", value, low, high, _more_rows(value, low, high, rows, margin))


def _more_rows(value: float, low: float, high: float, rows: int, margin: float) -> int:
    """Return the order of magnitude of the rows that would bring one of the two bounds across."""
    ratios = [(value - low) / value] if value > 0 else []
    ratios += [(high - value) / (margin - value)] if value < margin else []
    more = rows * min(r * r for r in ratios) - rows
    return int(10 ** max(1, math.floor(math.log10(max(more, 1.0)))))


def weigh_choices(
    own: RoutingVerdict, alone: int, choices: int, questions: int, *, is_single: bool
) -> RoutingVerdict:
    """Take back "do not route" where there is next to no evidence about any policy.

    Where a single tier was chosen in most of the choices, d is 0 by construction and its interval has
    next to no width: that routing does not pay cannot be said then.

    Args:
        own: the verdict by d.
        alone: in how many of the choices a single tier was chosen.
        choices: how many there were.
        questions: how many were measured.
        is_single: whether a single tier is the outcome.
    """
    if 2 * alone < choices or own.kind == "route":
        return own
    as_many = int(10 ** max(1, math.floor(math.log10(max(questions, 1)))))
    kind: Literal["single tier", "not enough rows"] = "single tier" if is_single else "not enough rows"
    return own._replace(kind=kind, more_rows=own.more_rows or as_many)
