"""What a policy is worth: cost and quality measured, compared and bounded.

Costs are mean dollars per question, qualities mean scores (0..1). A curve is a list of
(cost, quality) points, one per setting of a policy; *small* and *large* are the cheapest and
the dearest tier by training-mean cost, and `Ends` their two points on the rows measured.

Every measure that can be undefined is a `Measure`: a value, or None with the reason. No
input that holds numbers gives NaN, an infinity or an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from automix_cli.pomdp.arrays import Floats

LEVEL = 0.95


class Point(NamedTuple):
    """Mean cost (USD per question) and mean score."""

    cost: float
    quality: float


class Ends(NamedTuple):
    """The two single tiers between which a curve is measured."""

    small: Point
    large: Point


class Measure(NamedTuple):
    """A figure, or None with the reason why there is none; `low` and `high` bound it where known."""

    value: float | None
    reason: str = ""
    low: float | None = None
    high: float | None = None


def _measured(value: float) -> Measure:
    """The last guard: overflow of extreme inputs is "undefined", never inf or NaN."""
    return Measure(float(value)) if math.isfinite(value) else Measure(None, "out of the range of numbers")


# ---------------------------------------------------------------- mixes of single tiers


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
    mixed = qualities[..., :, None] + share * (qualities[..., None, :] - qualities[..., :, None])
    paired = np.where(useful, mixed, -np.inf).max(axis=(-2, -1))
    cheapest = np.where(costs == costs.min(axis=-1, keepdims=True), qualities, -np.inf).max(axis=-1)
    best: Floats = np.where(fits.any(axis=-1), np.maximum(alone, paired), cheapest)
    return best


def frontier(points: Sequence[Point]) -> list[int]:
    """Places of the points that none other beats, cheapest first.

    Example:
        >>> frontier([Point(2, 0.6), Point(1, 0.5), Point(3, 0.6), Point(1, 0.4)])
        [1, 0]
    """
    kept: list[int] = []
    for k in sorted(range(len(points)), key=lambda k: (points[k].cost, -points[k].quality)):
        if not kept or points[k].quality > points[kept[-1]].quality:
            kept.append(k)
    return kept


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
    return _measured(100 * (own / base - 1) if base > 0 else math.nan)


def _slope(left: Point, right: Point) -> float:
    """Quality per dollar; Python's floats, which overflow to inf in silence."""
    return float(right.quality - left.quality) / float(right.cost - left.cost)


def edge(point: Point, tiers: Sequence[Point]) -> float:
    """d: quality above the best random mix of single tiers that costs no more.

    Example:
        >>> round(edge(Point(2, 0.75), [Point(1, 0.5), Point(3, 0.9)]), 12)
        0.05
    """
    return point.quality - best_mix(tiers, point.cost).quality


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
    trained: Sequence[Point],
    held_out: Sequence[Point],
    trained_tiers: Sequence[Point],
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
    best = min(range(len(trained_tiers)), key=lambda j: (-trained_tiers[j].quality, trained_tiers[j].cost))
    if trained_tiers[best].cost <= min(tier.cost for tier in trained_tiers):
        return Savings(0.0, "the best tier is the cheapest")
    target = share * trained_tiers[best].quality
    reaching = [k for k, point in enumerate(trained) if point.quality >= target]
    if not reaching:
        return Savings(None, f"no setting reached {share:.0%} of the best tier in training")
    setting = min(reaching, key=lambda k: (trained[k].cost, -trained[k].quality))
    whole, point = held_out_tiers[best], held_out[setting]
    parity = _measured(float(point.quality) / float(whole.quality)).value if whole.quality > 0 else None
    if whole.cost <= 0:
        return Savings(None, "the best tier is free", setting, parity)
    saved = _measured(1 - float(point.cost) / float(whole.cost))
    return Savings(saved.value, saved.reason, setting, parity)


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
    return _measured(_mean_height(CostCurve(costs, qualities)))


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
    return _measured((_mean_height(line) - ends.small.quality) / gap)


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
    reached = int(np.argmax(line.qualities >= min(target, ends.large.quality)))
    if reached == 0:
        return Measure(0.0)
    (left, right), (low, high) = (
        _shares(line)[reached - 1 : reached + 1],
        line.qualities[reached - 1 : reached + 1],
    )
    return _measured(left + min((target - low) / (high - low), 1.0) * (right - left))


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
    return _measured(100 * (_mean_height(line) - (ends.small.quality + ends.large.quality) / 2))


# ---------------------------------------------------------------- the verifier's health


def auroc(signal: ArrayLike, right: ArrayLike) -> Measure:
    """Chance that a right answer has a higher signal than a wrong one, ties counted half.

    Rows without a signal (NaN) are left out.

    Example:
        >>> auroc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]).value
        0.875
    """
    values, hits = _paired(signal, np.asarray(right, dtype=bool))
    n, k = len(hits), int(hits.sum())
    if k in (0, n):
        return Measure(None, "there are no wrong answers" if k and n else "there are no right answers")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # the mean rank of equals, from 1
    return _measured((ranks[hits].sum() - k * (k + 1) / 2) / (k * (n - k)))


def _paired(signal: ArrayLike, right: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    """Both columns of the rows that have a signal."""
    values = np.asarray(signal, dtype=float)
    known = ~np.isnan(values)
    return values[known], np.asarray(right)[known]


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
    values, hits = _paired(confidence, np.asarray(right, dtype=float))
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
    return _measured(math.fsum(row.rows * abs(row.right - row.confidence) for row in rows) / total)


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


# ---------------------------------------------------------------- paired bootstrap

MANY_ROWS = 20_000
_BLOCK = 1 << 20  # weights turned into floats at a time: 8 MB


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """The same resamples of n rows for every policy, so that their differences are paired.

    `counts[d, i]` is how often row i is in draw d. Up to 20,000 rows these are exact
    bootstrap resamples (multinomial counts); above, 200 draws of independent Poisson(1)
    weights, which come to the same for many rows.
    """

    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, rows: int, seed: int, draws: int = 1000) -> Resamples:
        """Draw resamples; a row's place decides its weights, so all policies must keep row order.

        Raises:
            ValueError: without rows there is nothing to resample.
        """
        if rows < 1:
            raise ValueError("no rows to resample")
        rng = np.random.default_rng(seed)
        if rows > MANY_ROWS:
            return cls(np.concatenate(list(_poisson(rng, min(draws, 200), rows))))
        return cls(np.concatenate(list(_multinomial(rng, draws, rows))))

    def means(self, columns: ArrayLike) -> Floats:
        """Mean of each column in each draw: n×K (or n) to draws×K (or draws).

        One matrix product for all columns, in blocks, so that a policy's every setting can
        be passed at once.
        """
        values = np.asarray(columns, dtype=float)
        draws, rows = self.counts.shape
        step = max(1, _BLOCK // rows)
        blocks = (self.counts[d : d + step].astype(float) for d in range(0, draws, step))
        means: Floats = np.concatenate([(w @ values).T / w.sum(axis=1) for w in blocks], axis=-1).T
        return means


def _multinomial(rng: np.random.Generator, draws: int, rows: int) -> Iterator[NDArray[np.uint8]]:
    step = max(1, _BLOCK // rows)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        picked = rng.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(picked.ravel(), minlength=size * rows)
        yield counts.reshape(size, rows).astype(np.uint8)


def _poisson(rng: np.random.Generator, draws: int, rows: int) -> Iterator[NDArray[np.uint8]]:
    for _ in range(draws):
        yield rng.poisson(1.0, size=(1, rows)).astype(np.uint8)


class Interval(NamedTuple):
    """Bounds of a percentile interval."""

    low: float
    high: float


def interval(draws: ArrayLike, level: float = LEVEL) -> Interval:
    """The percentile interval of bootstrap draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(draws, dtype=float), (tail, 1 - tail))
    return Interval(float(low), float(high))


def bounded(measure: Measure, draws: Sequence[Measure], level: float = LEVEL) -> Measure:
    """A measure with the interval of its bootstrap draws.

    Draws in which it is undefined are left out; where that is more than one in twenty, the
    interval would say too little of too few, and stays None with that reason.
    """
    known = [draw.value for draw in draws if draw.value is not None]
    if measure.value is None:
        return measure
    if len(known) < 0.95 * len(draws) or not known:
        reason = f"undefined in {len(draws) - len(known)} of {len(draws)} resamples"
        return measure._replace(reason=reason)
    low, high = interval(known, level)
    return measure._replace(low=low, high=high)


def curve_draws(
    measure: Callable[..., Measure], costs: Floats, qualities: Floats, ends: Floats, *rest: Any
) -> list[Measure]:
    """A curve measure in every draw.

    Args:
        measure: `aiq`, `apgr`, `cpt` or `gain_area`.
        costs: draws×K, of a policy's K settings.
        qualities: draws×K.
        ends: draws×4, cost and quality of small, cost and quality of large.
        *rest: what `measure` takes besides (`cpt`: the share).
    """
    points = np.stack([costs, qualities], axis=-1)
    drawn = zip(points, ends.tolist(), strict=True)
    return [measure(p, Ends(Point(*e[:2]), Point(*e[2:])), *rest) for p, e in drawn]


# ---------------------------------------------------------------- the verdict


class RoutingVerdict(NamedTuple):
    """Whether routing pays, from d and its interval; `more_rows` is None unless more could tell."""

    kind: Literal["route", "do not route", "not enough rows"]
    edge: float
    low: float
    high: float
    more_rows: int | None = None


_ROUNDING = 1e-12


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
    low, high = (0.0 if abs(bound) < _ROUNDING else bound for bound in bounds)
    if low > 0:
        return RoutingVerdict("route", value, low, high)
    if high < margin:
        return RoutingVerdict("do not route", value, low, high)
    ratios = [(value - low) / value] if value > 0 else []
    ratios += [(high - value) / (margin - value)] if value < margin else []
    needed = rows * min(r * r for r in ratios)
    return RoutingVerdict("not enough rows", value, low, high, max(1, math.ceil(round(needed - rows, 6))))
