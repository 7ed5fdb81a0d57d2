"""How each measure that is not a plain mean over rows is computed, with a value per resample.

Every function here takes a `SplitResult` and gives a `BootstrapFigure`. `measures.py` lists
which measure uses which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.bootstrap import Average, BootstrapFigure, ColumnMeans, curve_draws
from automix_cli.evaluation.curves import Ends, Measure, gain_above_mix, gain_area, ibc_lift, savings
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.play import PolicyRun, SingleTiers
from automix_cli.evaluation.verdict import above_mix
from automix_cli.pomdp.arrays import Floats

_WITHOUT_CURVE = ("single tier", "majority")
_WITHOUT_PARITY = ("single tier", "majority", "bound")

Figure = Callable[["SplitResult"], BootstrapFigure]


class CurveMeans(NamedTuple):
    """Mean quality and mean cost of each of K settings."""

    quality: ColumnMeans
    cost: ColumnMeans


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitResult:
    """One policy on one split, as measures read it.

    Attributes:
        single: the single tiers on the same rows.
        run: what the policy did.
        averages: means over the rows at the chosen setting, by the key of the measure.
        curve: means over the rows at every setting of the policy's curve.
        pomdp_curve: the same for the policy `pomdp`; None where it does not take part.
    """

    single: SingleTiers
    run: PolicyRun
    averages: Mapping[str, Average]
    curve: CurveMeans
    pomdp_curve: CurveMeans | None

    @property
    def quality(self) -> Average:
        """Mean score."""
        return self.averages["quality"]

    @property
    def cost(self) -> Average:
        """Mean cost."""
        return self.averages["cost"]


# ------------------------------------------------------------------ the point


def latency(result: SplitResult) -> BootstrapFigure:
    """Mean latency, where every row records it."""
    if np.isnan(result.run.outcome.latency).any():
        return BootstrapFigure.without_value("no latency is recorded")
    return result.averages["latency"].figure()


def router_latency(result: SplitResult) -> BootstrapFigure:
    """The policy's own time, embedding included, as a share of the small tier's mean latency."""
    with_gaps = result.single.split.test.latency[:, result.single.small]
    latencies = with_gaps[~np.isnan(with_gaps)]
    if not len(latencies) or latencies.mean() <= 0:
        return BootstrapFigure.without_value("no latency is recorded")
    return BootstrapFigure(result.run.seconds / float(latencies.mean()), "", np.empty(0))


def edge(result: SplitResult) -> BootstrapFigure:
    """Quality points above the best random mix of single tiers at the same cost."""
    return edge_figure(result.quality, result.cost, result.single.means)


def edge_figure(quality: Average, cost: Average, tiers: ColumnMeans) -> BootstrapFigure:
    """The same of means: of a policy, and of the single tiers (scores, then costs)."""
    value = above_mix(np.array([quality.value, cost.value, *tiers.mean]), len(tiers.mean) // 2)
    draws = np.column_stack([quality.draws, cost.draws, tiers.draws])
    return BootstrapFigure.corrected(100 * float(value), 100 * above_mix(draws, len(tiers.mean) // 2))


def lead(result: SplitResult) -> BootstrapFigure:
    """Quality points above the curve of `pomdp` at the policy's own cost."""
    if result.pomdp_curve is None:
        return BootstrapFigure.without_value("pomdp did not take part")
    n = len(result.single.names)
    single, curve, quality, cost = result.single.means, result.pomdp_curve, result.quality, result.cost

    def points(tiers: Floats, curve_quality: Floats, curve_cost: Floats, own: Point) -> float:
        costs = np.concatenate([curve_cost, tiers[n:]])
        qualities = np.concatenate([curve_quality, tiers[:n]])
        order = np.argsort(costs, kind="stable")
        best = np.maximum.accumulate(qualities[order])
        return float(100 * (own.quality - np.interp(own.cost, costs[order], best)))

    value = points(single.mean, curve.quality.mean, curve.cost.mean, Point(cost.value, quality.value))
    own_points = map(Point, cost.draws, quality.draws)
    draws = map(points, single.draws, curve.quality.draws, curve.cost.draws, own_points)
    return BootstrapFigure(value, "", np.fromiter(draws, dtype=float))


def lift(result: SplitResult) -> BootstrapFigure:
    """ΔIBC of the chosen setting."""
    single, quality, cost = result.single, result.quality, result.cost

    def measure(ends: Floats, own_cost: float, own_quality: float) -> Measure:
        return ibc_lift(Point(float(own_cost), float(own_quality)), _pair(ends))

    draws = map(measure, single.ends(single.means.draws), cost.draws, quality.draws)
    return BootstrapFigure.of(measure(single.ends(single.means.mean), cost.value, quality.value), [*draws])


def _pair(ends: Floats) -> Ends:
    """The two ends of a curve, of four means."""
    small_cost, small_quality, large_cost, large_quality = ends.tolist()
    return Ends(Point(small_cost, small_quality), Point(large_cost, large_quality))


# ------------------------------------------------------------------ the curve


def on_curve(measure: Callable[..., Measure], *rest: float) -> Figure:
    """A measure of a policy's curve.

    Args:
        measure: of points and the two ends.
        *rest: what it takes besides.
    """

    def figure(result: SplitResult) -> BootstrapFigure:
        if result.run.entry.group in _WITHOUT_CURVE:
            return BootstrapFigure.without_value("a single tier draws no curve")
        quality, cost = result.curve
        single = result.single
        draws = curve_draws(measure, cost.draws, quality.draws, single.ends(single.means.draws), *rest)
        points = np.column_stack([cost.mean, quality.mean])
        return BootstrapFigure.of(measure(points, _pair(single.ends(single.means.mean)), *rest), draws)

    return figure


def gain(result: SplitResult) -> BootstrapFigure:
    """Gain area: above the line from small to large; of three or more tiers above their best random mix.

    That mix is a hull of noisy means, so the figure is then corrected as the edge is.
    """
    n = len(result.single.names)
    if n < 3 or result.run.entry.group in _WITHOUT_CURVE:
        return on_curve(gain_area)(result)
    (quality, cost), single = result.curve, result.single

    def measure(costs: Floats, qualities: Floats, tiers: Floats, ends: Floats) -> Measure:
        points = np.column_stack([tiers[n:], tiers[:n]])
        return gain_above_mix(np.column_stack([costs, qualities]), _pair(ends), points)

    figure = BootstrapFigure.of(
        measure(cost.mean, quality.mean, single.means.mean, single.ends(single.means.mean)),
        [*map(measure, cost.draws, quality.draws, single.means.draws, single.ends(single.means.draws))],
    )
    return figure if figure.value is None else BootstrapFigure.corrected(figure.value, figure.draws)


# ------------------------------------------------------------------ savings at parity


def savings_at(parity: int) -> Figure:
    """Cost saved by the setting that reached `parity` per cent of the best tier in training."""
    return lambda result: _at_parity(result, parity).savings


def parity_at(parity: int) -> Figure:
    """The share of the best tier's quality that the setting of `savings_at` reaches."""
    return lambda result: _at_parity(result, parity).quality_share


class _Parity(NamedTuple):
    """Both figures of one setting."""

    savings: BootstrapFigure
    quality_share: BootstrapFigure


def _at_parity(result: SplitResult, parity: int) -> _Parity:
    """What the setting chosen in training saves against the tier that was the best there."""
    if result.run.entry.group in _WITHOUT_PARITY:
        nothing = BootstrapFigure.without_value("no setting of it is chosen by parity")
        return _Parity(nothing, nothing)
    single, tiers = result.single, result.single.means
    n = len(single.names)
    outcome = savings(
        parity / 100,
        [c.point for c in result.run.curve],
        _points(result.curve.cost.mean, result.curve.quality.mean),
        single.training_points,
        _points(tiers.mean[n:], tiers.mean[:n]),
    )
    if outcome.setting is None:  # the same in every resample: nothing was chosen, or nothing can be saved
        level = np.full(len(tiers.draws), np.nan if outcome.value is None else outcome.value)
        same = BootstrapFigure(outcome.value, outcome.reason, level)
        return _Parity(same, BootstrapFigure.without_value(outcome.reason))
    best = max(range(n), key=lambda j: (single.training_points[j].quality, -single.training_points[j].cost))
    own, alone = result.curve, tiers.draws
    cost_share = _ratio(own.cost.draws[:, outcome.setting], alone[:, n + best])
    quality_share = _ratio(own.quality.draws[:, outcome.setting], alone[:, best])
    return _Parity(
        BootstrapFigure(outcome.value, outcome.reason, 1 - cost_share),
        BootstrapFigure(outcome.parity, "the best tier scores nothing", quality_share),
    )


def _points(costs: Floats, qualities: Floats) -> list[Point]:
    return [Point(float(c), float(q)) for c, q in zip(costs, qualities, strict=True)]


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    ratio: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio
