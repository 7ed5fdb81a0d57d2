"""What a policy is worth: cost and quality measured, compared and bounded.

Costs are mean dollars per question, qualities mean scores (0..1). A curve is a list of
(cost, quality) points, one per setting of a policy; *small* and *large* are the cheapest and
the dearest tier by training-mean cost, and `Ends` their two points on the rows measured.

Every measure that can be undefined is a `Measure`: a value, or None with the reason. No
input that holds numbers gives NaN, an infinity or an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.frontier import Point, mix_quality
from automix_cli.pomdp.arrays import Bools, Floats, Ints

LEVEL = 0.95
_EQUAL_COST = 1e-12  # of the range of costs: points that differ by less cost the same


class Ends(NamedTuple):
    """The two single tiers between which a curve is measured."""

    small: Point
    large: Point


class Measure(NamedTuple):
    """The value of a measure, or None with the reason.

    `low` and `high` are its 95 % interval, where there is one. What a measure means is in `MeasureSpec`.
    """

    value: float | None
    reason: str = ""
    low: float | None = None
    high: float | None = None


def finite_measure(value: float) -> Measure:
    """Give a value as a measure; one that overflowed is undefined."""
    return Measure(float(value)) if math.isfinite(value) else Measure(None, "out of the range of numbers")


# ---------------------------------------------------------------- one point


def ibc_lift(point: Point, ends: Ends) -> Measure:
    """ΔIBC in per cent: how much more quality per dollar than the step from small to large.

    Source: AutoMix (arXiv 2310.12963), equations 1 and 2; the cost includes the small tier
    and verification.

    Example:
        >>> ibc_lift(Point(2, 0.75), Ends(Point(1, 0.5), Point(5, 1.0)))
        Measure(value=100.0, reason='', low=None, high=None)
    """
    small, large = ends
    if large.cost <= small.cost:
        return Measure(None, "the large tier does not cost more than the small one")
    if large.quality <= small.quality:
        return Measure(None, "the large tier is not better than the small one")
    if point.cost <= small.cost:
        return Measure(None, "the policy does not cost more than the small tier")
    base, own = _slope(small, large), _slope(small, point)
    return finite_measure(100 * (own / base - 1) if base > 0 else math.nan)


def _slope(left: Point, right: Point) -> float:
    """Quality per dollar; Python's floats, which overflow to inf in silence."""
    return float(right.quality - left.quality) / float(right.cost - left.cost)


def ibc_lifts(costs: Floats, qualities: Floats, ends: Floats) -> Floats:
    """ΔIBC of D points, with an `ends` each (D×4, see `lines`); NaN where it is undefined."""
    small, low, large, high = ends.T
    with np.errstate(all="ignore"):
        base, own = (high - low) / (large - small), (qualities - low) / (costs - small)
        lifts = 100 * (own / base - 1)
    is_defined = (large > small) & (high > low) & (costs > small) & np.isfinite(lifts)
    return np.where(is_defined, lifts, np.nan)


class Savings(NamedTuple):
    """What parity with the best single tier saves, on held-out rows.

    `value` is 1 - cost/cost_best; `setting` is the place of the setting chosen, `parity`
    the share of the best tier's quality that it reaches.
    """

    value: float | None
    reason: str = ""
    setting: int | None = None
    parity: float | None = None


def savings(
    share: float,
    training: Sequence[Point],
    held_out: Sequence[Point],
    training_tiers: Sequence[Point],
    held_out_tiers: Sequence[Point],
) -> Savings:
    """Savings at parity: the cheapest setting that reached `share` of the best tier, in training.

    Chosen on training points (cross-fitted), reported on held-out ones. The best tier is the
    best in training, the cheaper of equals; if it is the cheapest there is nothing to save.

    Example:
        >>> tiers = [Point(1, 0.5), Point(10, 0.9)]
        >>> savings(0.95, [Point(4, 0.88)], [Point(5, 0.81)], tiers, tiers)
        Savings(value=0.5, reason='', setting=0, parity=0.9)
    """
    best = min(range(len(training_tiers)), key=lambda j: (-training_tiers[j].quality, training_tiers[j].cost))
    if training_tiers[best].cost <= min(tier.cost for tier in training_tiers):
        return Savings(0.0, "the best tier is the cheapest")
    target = share * training_tiers[best].quality
    reaching = [k for k, point in enumerate(training) if point.quality >= target]
    if not reaching:
        return Savings(None, f"no setting reached {share:.0%} of the best tier in training")
    setting = min(reaching, key=lambda k: (training[k].cost, -training[k].quality))
    whole, point = held_out_tiers[best], held_out[setting]
    parity = finite_measure(float(point.quality) / float(whole.quality)).value if whole.quality > 0 else None
    if whole.cost <= 0:
        return Savings(None, "the best tier is free", setting, parity)
    share_saved = finite_measure(1 - float(point.cost) / float(whole.cost))
    return Savings(share_saved.value, share_saved.reason, setting, parity)


# ---------------------------------------------------------------- curves


Points = Sequence[Point] | Floats  # the array has a line (cost, quality) per point


class Lines(NamedTuple):
    """D curves between their ends, by rising cost: straight lines join M points.

    Attributes:
        costs, qualities: D×M; points of equal cost have one quality.
        ends: D×4, cost and quality of small, cost and quality of large.
    """

    costs: Floats
    qualities: Floats
    ends: Floats

    @property
    def shares(self) -> Floats:
        """The costs as shares of their range, 0 to 1."""
        small, large = self.ends[:, [0]], self.ends[:, [2]]
        shares: Floats = (self.costs - small) / (large - small)
        return shares


def lines(costs: Floats, qualities: Floats, ends: Floats) -> Lines:
    """Join the points of D curves on [C_small, C_large].

    Points of equal cost are averaged, the two single tiers are the ends, and what does not lie
    between them is clipped away: it comes to stand on the small end, where it changes nothing.

    Args:
        costs: D×K, of a policy's settings.
        qualities: D×K.
        ends: D×4, cost and quality of small, cost and quality of large.
    """
    small, low, large, high = ends.T[:, :, None]
    is_inside = (small < costs) & (costs < large)
    costs = np.hstack([small, np.where(is_inside, costs, small), large])
    qualities = np.hstack([low, np.where(is_inside, qualities, low), high])
    order = np.argsort(costs, axis=1, kind="stable")
    costs, qualities = (np.take_along_axis(values, order, axis=1) for values in (costs, qualities))
    means = _average(costs, qualities, _EQUAL_COST * np.abs(large - small))
    return Lines(costs, np.where(costs == small, low, means), ends)


def _average(costs: Floats, qualities: Floats, tolerance: Floats) -> Floats:
    """Give points of equal cost (sorted) their mean quality; costs differ by more than rounding."""
    rows, width = costs.shape
    rises = np.diff(costs, prepend=costs[:, :1]) > tolerance
    place = np.cumsum(rises, axis=1) + width * np.arange(rows)[:, None]
    counts = np.bincount(place.ravel(), minlength=rows * width)
    sums = np.bincount(place.ravel(), qualities.ravel(), minlength=rows * width)
    means: Floats = (sums / np.maximum(counts, 1))[place]
    return means


class CurveMeasure(NamedTuple):
    """A measure of a policy's curve, for one curve or for many at once.

    Attributes:
        of: the measure of D curves.
        needs_gap: whether it is undefined where the large tier is not better than the small one.
    """

    of: Callable[[Lines], Floats]
    needs_gap: bool = False

    def draws(self, costs: Floats, qualities: Floats, ends: Floats) -> Floats:
        """Compute D curves, see `lines`; NaN where it is undefined."""
        is_defined = ends[:, 0] < ends[:, 2]
        if self.needs_gap:
            is_defined = is_defined & (ends[:, 1] < ends[:, 3])
        with np.errstate(all="ignore"):
            values = self.of(lines(costs, qualities, ends))
        return np.where(is_defined & np.isfinite(values), values, np.nan)

    def __call__(self, points: Points, ends: Ends) -> Measure:
        """Compute one curve; without a value there is a reason."""
        if ends.large.cost <= ends.small.cost:
            return Measure(None, "the large tier does not cost more than the small one")
        if self.needs_gap and ends.large.quality <= ends.small.quality:
            return Measure(None, "the large tier is not better than the small one")
        costs, qualities = np.asarray(points, dtype=float).reshape(-1, 2).T
        row = np.array([[*ends.small, *ends.large]], dtype=float)
        return finite_measure(float(self.draws(costs[None], qualities[None], row)[0]))


def _mean_height(line: Lines) -> Floats:
    """Area under the straight lines, divided by the range of costs."""
    return np.asarray(np.trapezoid(line.qualities, line.shares, axis=1))


def _share_of_gap(line: Lines) -> Floats:
    low, high = line.ends[:, 1], line.ends[:, 3]
    share: Floats = (_mean_height(line) - low) / (high - low)
    return share


def _cost_share(line: Lines, share: float) -> Floats:
    """The least cost, as a share of the range, at which each curve reaches a share of the gap."""
    low, high = line.ends[:, 1], line.ends[:, 3]
    target = low + share * (high - low)
    place = (line.qualities >= np.minimum(target, high)[:, None]).argmax(axis=1)
    rows, before = np.arange(len(place)), np.maximum(place - 1, 0)
    left, right = line.shares[rows, before], line.shares[rows, place]
    below, above = line.qualities[rows, before], line.qualities[rows, place]
    step = np.minimum((target - below) / (above - below), 1.0)
    return np.where(place == 0, 0.0, left + step * (right - left))


def _gain(line: Lines) -> Floats:
    gain: Floats = 100 * (_mean_height(line) - (line.ends[:, 1] + line.ends[:, 3]) / 2)
    return gain


aiq = CurveMeasure(lambda line: _mean_height(_hulls(line)))
"""AIQ: mean height of the rising concave hull of the points over the cost range.

Source: RouterBench (arXiv 2403.12031), "average improvement in quality": the area under the
non-decreasing convex hull divided by the range of costs. The hull of held-out points is optimistic.
"""

apgr = CurveMeasure(_share_of_gap, needs_gap=True)
"""APGR: the share of the quality gap between small and large recovered, averaged over cost.

Source: RouteLLM (arXiv 2406.18665), "average performance gap recovered", with the cost between the two
tiers in the place of the share of calls to the strong one. A random mix of the two has 0.5.
"""

gain_area = CurveMeasure(_gain)
"""Gain area: mean height of the curve above the line from small to large, in quality points.

No hull is taken of held-out points: a setting that does badly counts against the policy.
"""


def cpt(share: float) -> CurveMeasure:
    """CPT(share): the least cost, as a share of the range, at which the curve recovers `share` of the gap.

    Source: RouteLLM (arXiv 2406.18665), "call-performance threshold", with cost in the place
    of the share of calls to the strong tier. A random mix of the two has `share`.

    Example:
        >>> cpt(0.75)([Point(1, 0.75)], Ends(Point(0, 0.5), Point(4, 1.0))).value
        0.625
    """
    return CurveMeasure(partial(_cost_share, share=share), needs_gap=True)


def gain_above_mix(tier_costs: Floats, tier_qualities: Floats) -> CurveMeasure:
    """Gain area where there are three or more tiers: above the best random mix of them.

    The line from small to large would credit a policy with what a plain mix through a middle tier
    gains. The mix is level beyond the best tier, and so is the end of the curve, because no policy has
    to ask a dear tier that is worse.

    Args:
        tier_costs: D×N, for D curves.
        tier_qualities: D×N.

    Example:
        >>> tiers = [Point(0, 0.5), Point(1, 0.8), Point(4, 1.0)]
        >>> measure = gain_above_mix(np.array([[0, 1, 4]]), np.array([[0.5, 0.8, 1.0]]))
        >>> round(measure(tiers, Ends(tiers[0], tiers[2])).value, 9)
        0.0
    """

    def gain(line: Lines) -> Floats:
        small, large = line.ends[:, [0]], line.ends[:, [2]]
        costs = np.sort(np.hstack([small, np.clip(tier_costs, small, large), large]), axis=1)
        heights = mix_quality(tier_costs[:, None], tier_qualities[:, None], costs)
        qualities = np.where(line.costs == large, heights[:, [-1]], line.qualities)
        above = _mean_height(line._replace(qualities=qualities))
        return np.asarray(100 * (above - _mean_height(Lines(costs, heights, line.ends))))

    return CurveMeasure(gain)


# ---------------------------------------------------------------- hulls of many curves


def _hulls(line: Lines) -> Lines:
    """The rising concave hulls of D curves, level beyond the best point; corners are repeated to M + 1.

    As `frontier.hull`, point by point for all curves at once.
    """
    rows, width = line.costs.shape
    costs, qualities = np.zeros((2, rows, width))
    size, every = np.zeros(rows, dtype=np.intp), np.arange(rows)
    for cost, quality in zip(line.costs.T, line.qualities.T, strict=True):
        is_higher = (size == 0) | (quality > qualities[every, size - 1])
        falls = is_higher
        while (falls := falls & (size > 1) & _is_below(costs, qualities, size, cost, quality)).any():
            size = size - falls
        own = every[is_higher], size[is_higher]
        costs[own], qualities[own] = cost[is_higher], quality[is_higher]
        size = size + is_higher
    place = np.minimum(np.arange(width), size[:, None] - 1)
    costs, qualities = (np.take_along_axis(values, place, axis=1) for values in (costs, qualities))
    return Lines(np.hstack([costs, line.ends[:, [2]]]), np.hstack([qualities, qualities[:, [-1]]]), line.ends)


def _is_below(costs: Floats, qualities: Floats, size: Ints, cost: Floats, quality: Floats) -> Bools:
    """Tell whether the last corner lies on or under the line from the one before it to a new point."""
    every, last = np.arange(len(size)), size - 1
    before = np.maximum(last - 1, 0)
    left, low = costs[every, before], qualities[every, before]
    rise = (qualities[every, last] - low) * (cost - left)
    return np.asarray(rise <= (quality - low) * (costs[every, last] - left))
