"""What a policy is worth: cost and quality measured, compared and bounded.

Costs are mean dollars per question, qualities mean scores (0..1). A curve is a list of
(cost, quality) points, one per setting of a policy; *small* and *large* are the cheapest and
the dearest tier by training-mean cost, and `Ends` their two points on the rows measured.

Every measure that can be undefined is a `Measure`: a value, or None with the reason. No
input that holds numbers gives NaN, an infinity or an exception.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.frontier import Point, hull
from automix_cli.pomdp.arrays import Floats

LEVEL = 0.95


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


class CostCurve(NamedTuple):
    """Points between the ends, by rising cost: straight lines join them."""

    costs: Floats
    qualities: Floats


def curve(points: Points, ends: Ends) -> CostCurve | str:
    """A policy's curve on [C_small, C_large], or why there is none.

    Points of equal cost are averaged, the two single tiers are the ends, and what does not
    lie between them is clipped away.
    """
    small, large = ends
    if large.cost <= small.cost:
        return "the large tier does not cost more than the small one"
    table = np.asarray(points, dtype=float).reshape(-1, 2)
    inside = table[(small.cost < table[:, 0]) & (table[:, 0] < large.cost)]
    costs, qualities = np.vstack([small, inside[inside[:, 0].argsort(kind="stable")], large]).T
    if (costs[1:] > costs[:-1]).all():
        return CostCurve(costs, qualities)
    distinct, place = np.unique(costs, return_inverse=True)
    return CostCurve(distinct, np.bincount(place, qualities) / np.bincount(place))


def _shares(line: CostCurve) -> Floats:
    """The costs as shares of their range, 0 to 1."""
    shares: Floats = (line.costs - line.costs[0]) / (line.costs[-1] - line.costs[0])
    return shares


def _mean_height(line: CostCurve) -> float:
    """Area under the straight lines, divided by the range of costs."""
    return float(np.trapezoid(line.qualities, _shares(line)))


def aiq(points: Points, ends: Ends) -> Measure:
    """AIQ: mean height of the rising concave hull of the points over the cost range.

    Source: RouterBench (arXiv 2403.12031), "average improvement in quality": the area under
    the non-decreasing convex hull divided by the range of costs. The hull of held-out points
    is optimistic.

    Example:
        >>> aiq([], Ends(Point(0, 0.5), Point(1, 0.9))).value
        0.7
    """
    line = curve(points, ends)
    if isinstance(line, str):
        return Measure(None, line)
    pairs = zip(line.costs.tolist(), line.qualities.tolist(), strict=True)
    corners = hull([Point(*pair) for pair in pairs])
    level = Point(float(line.costs[-1]), corners[-1].quality)
    costs, qualities = np.array([*corners, level], dtype=float).T
    return finite_measure(_mean_height(CostCurve(costs, qualities)))


def apgr(points: Points, ends: Ends) -> Measure:
    """APGR: the share of the quality gap between small and large recovered, averaged over cost.

    Source: RouteLLM (arXiv 2406.18665), "average performance gap recovered", with the cost
    between the two tiers in the place of the share of calls to the strong one. A random
    mix of the two has 0.5.
    """
    line, gap = curve(points, ends), ends.large.quality - ends.small.quality
    if isinstance(line, str):
        return Measure(None, line)
    if gap <= 0:
        return Measure(None, "the large tier is not better than the small one")
    return finite_measure((_mean_height(line) - ends.small.quality) / gap)


def cpt(points: Points, ends: Ends, share: float) -> Measure:
    """CPT(share): the least cost, as a share of the range, at which the curve recovers `share` of the gap.

    Source: RouteLLM (arXiv 2406.18665), "call-performance threshold", with cost in the place
    of the share of calls to the strong tier. A random mix of the two has `share`.

    Example:
        >>> cpt([Point(1, 0.75)], Ends(Point(0, 0.5), Point(4, 1.0)), 0.75).value
        0.625
    """
    line, gap = curve(points, ends), ends.large.quality - ends.small.quality
    if isinstance(line, str):
        return Measure(None, line)
    if gap <= 0:
        return Measure(None, "the large tier is not better than the small one")
    target = ends.small.quality + share * gap
    place = int(np.argmax(line.qualities >= min(target, ends.large.quality)))
    if place == 0:
        return Measure(0.0)
    (left, right), (low, high) = (
        _shares(line)[place - 1 : place + 1],
        line.qualities[place - 1 : place + 1],
    )
    return finite_measure(left + min((target - low) / (high - low), 1.0) * (right - left))


def gain_area(points: Points, ends: Ends) -> Measure:
    """Gain area: mean height of the curve above the line from small to large, in quality points.

    No hull is taken of held-out points: a setting that does badly counts against the policy.

    Example:
        >>> gain_area([Point(1, 0.75)], Ends(Point(0, 0.5), Point(4, 1.0))).value
        6.25
    """
    line = curve(points, ends)
    if isinstance(line, str):
        return Measure(None, line)
    return finite_measure(100 * (_mean_height(line) - (ends.small.quality + ends.large.quality) / 2))


def gain_above_mix(points: Points, ends: Ends, tiers: Points) -> Measure:
    """Gain area where there are three or more tiers: above the best random mix of them.

    The line from small to large would credit a policy with what a plain mix through a middle tier
    gains. The mix is level beyond the best tier, and so is the end of the curve, because no policy has
    to ask a dear tier that is worse.

    Args:
        points: of the policy's curve.
        ends: the cheapest and the dearest tier.
        tiers: a line (cost, quality) per single tier.

    Example:
        >>> tiers = [Point(0, 0.5), Point(1, 0.8), Point(4, 1.0)]
        >>> round(gain_above_mix(tiers, Ends(tiers[0], tiers[2]), tiers).value, 9)
        0.0
    """
    corners = np.array(hull([Point(float(c), float(q)) for c, q in np.asarray(tiers, dtype=float)]))
    right = float(np.interp(ends.large.cost, *corners.T))
    line = curve(points, ends._replace(large=Point(ends.large.cost, right)))
    if isinstance(line, str):
        return Measure(None, line)
    inside = corners[(ends.small.cost < corners[:, 0]) & (corners[:, 0] < ends.large.cost), 0]
    costs = np.array([ends.small.cost, *inside, ends.large.cost])
    mix = CostCurve(costs, np.interp(costs, *corners.T))
    return finite_measure(100 * (_mean_height(line) - _mean_height(mix)))
