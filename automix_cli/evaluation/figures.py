"""How each measure that is not a plain mean over rows is computed, with a value per resample.

Every function here takes a `SplitResult` and gives a `BootstrapFigure`. `measures.py` lists
which measure uses which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.evaluation.bootstrap import Average, BootstrapFigure, ColumnMeans
from automix_cli.evaluation.curves import (
    CurveMeasure,
    Ends,
    Measure,
    gain_above_mix,
    gain_area,
    ibc_lift,
    ibc_lifts,
    savings,
)
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.play import PolicyRun, SingleTiers
from automix_cli.evaluation.settings import Always
from automix_cli.evaluation.verdict import above_mix
from automix_cli.pomdp.arrays import Floats
from automix_cli.texts import TOO_FEW_LABELS

_WITHOUT_CURVE = ("single tier", "majority")
_WITHOUT_PARITY = ("single tier", "majority", "bound")

Figure = Callable[["SplitResult"], BootstrapFigure]


class CurveMeans(NamedTuple):
    """Mean quality and mean cost of each of K settings, and whether labels give the quality no interval."""

    quality: ColumnMeans
    cost: ColumnMeans
    lacks_labels: tuple[bool, ...] = ()

    def quality_at(self, place: int, questions: int) -> Measure:
        """The quality of a setting; without an interval where too few labels stand behind it."""
        own = self.quality.column(place)
        if self.lacks_labels[place]:
            return Measure(own.value, TOO_FEW_LABELS)
        return own.figure()._replace(questions=questions).measure()


class SplitResult(Struct, frozen=True, kw_only=True, eq=False):
    """One policy on one split, as measures read it.

    Attributes:
        single: the single tiers on the same rows.
        run: what the policy did.
        averages: means over the rows at the chosen setting, by the key of the measure.
        curve: means over the rows at every setting of the policy's curve.
        pomdp_curve: the same for the policy `pomdp`; None where it does not take part.
        lacks_labels: whether too few labels stand behind its score at the chosen setting for an interval.
    """

    single: SingleTiers
    run: PolicyRun
    averages: Mapping[str, Average]
    curve: CurveMeans
    pomdp_curve: CurveMeans | None
    lacks_labels: bool = False

    def lacks_labels_of(self, what: Literal["no", "own", "tiers", "curve"]) -> bool:
        """Whether that is so of it, of a single tier, too, or of a setting of its curve as well."""
        more = {"no": (), "own": (), "tiers": self.single.lacks_labels}
        every = (*self.curve.lacks_labels, *self.single.lacks_labels)
        return what != "no" and any((self.lacks_labels, *more.get(what, every)))

    @property
    def questions(self) -> int:
        """How many were held out; 0 where labels set the interval, or the baseline's score beside itself."""
        table, resamples, own = self.single.split.test, self.single.resamples, self.run.choice.setting
        is_known = isinstance(own, Always) and own.tier == table.beside
        return 0 if resamples is None or table.has_some_labels or is_known else resamples.questions

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


def by_every_label(key: str) -> Figure:
    """A mean that only rows with a label tell: undefined where some rows have one."""

    def figure(result: SplitResult) -> BootstrapFigure:
        if result.single.split.test.has_some_labels:
            return BootstrapFigure.without_value("it takes a label of every row")
        return result.averages[key].figure()

    return figure


def edge(result: SplitResult) -> BootstrapFigure:
    """Quality points above the best random mix of single tiers at the same cost."""
    return edge_figure(result.quality, result.cost, result.single.means)


def edge_figure(quality: Average, cost: Average, tiers: ColumnMeans) -> BootstrapFigure:
    """The same of means: of a policy, and of the single tiers (scores, then costs)."""
    value = above_mix(np.array([quality.value, cost.value, *tiers.mean]), len(tiers.mean) // 2)
    draws = np.column_stack([quality.draws, cost.draws, tiers.draws])
    return BootstrapFigure.bias_corrected(100 * float(value), 100 * above_mix(draws, len(tiers.mean) // 2))


def lead(result: SplitResult) -> BootstrapFigure:
    """Quality points above the curve of `pomdp` at the policy's own cost."""
    if result.pomdp_curve is None:
        return BootstrapFigure.without_value("pomdp did not take part")
    single, curve, quality, cost = result.single.means, result.pomdp_curve, result.quality, result.cost
    value = _above_curve(
        (np.array([cost.value]), np.array([quality.value])),
        (curve.cost.mean[None], curve.quality.mean[None]),
        single.mean[None],
    )
    draws = _above_curve((cost.draws, quality.draws), (curve.cost.draws, curve.quality.draws), single.draws)
    return BootstrapFigure(float(value[0]), "", draws)


def _above_curve(own: tuple[Floats, Floats], curve: tuple[Floats, Floats], tiers: Floats) -> Floats:
    """Quality points of D points (costs, qualities) above D rising curves, each with its single tiers."""
    n = tiers.shape[1] // 2
    costs, qualities = np.hstack([curve[0], tiers[:, n:]]), np.hstack([curve[1], tiers[:, :n]])
    order = np.argsort(costs, axis=1, kind="stable")
    costs = np.take_along_axis(costs, order, axis=1)
    best = np.maximum.accumulate(np.take_along_axis(qualities, order, axis=1), axis=1)
    cost = np.clip(own[0], costs[:, 0], costs[:, -1])
    every, left = np.arange(len(cost)), (costs <= cost[:, None]).sum(axis=1) - 1
    right = np.minimum(left + 1, costs.shape[1] - 1)
    span = costs[every, right] - costs[every, left]
    share = np.divide(cost - costs[every, left], span, out=np.zeros(len(cost)), where=span > 0)
    height = best[every, left] + share * (best[every, right] - best[every, left])
    return np.asarray(100 * (own[1] - height))


def lift(result: SplitResult) -> BootstrapFigure:
    """ΔIBC of the chosen setting."""
    single, quality, cost = result.single, result.quality, result.cost
    value = ibc_lift(Point(cost.value, quality.value), _pair(single.ends(single.means.mean)))
    draws = ibc_lifts(cost.draws, quality.draws, single.ends(single.means.draws))
    return BootstrapFigure.of(value, draws)


def _pair(ends: Floats) -> Ends:
    """The two ends of a curve, of four means."""
    small_cost, small_quality, large_cost, large_quality = ends.tolist()
    return Ends(Point(small_cost, small_quality), Point(large_cost, large_quality))


# ------------------------------------------------------------------ the curve


def on_curve(measure: CurveMeasure) -> Figure:
    """A measure of a policy's curve."""
    return lambda result: _curve_figure(result, measure, measure)


def _curve_figure(result: SplitResult, measure: CurveMeasure, of_draws: CurveMeasure) -> BootstrapFigure:
    """A measure of the curve of means, and the same in every draw."""
    if result.run.entry.group in _WITHOUT_CURVE:
        return BootstrapFigure.without_value("a single tier draws no curve")
    (quality, cost, _), single = result.curve, result.single
    value = measure(np.column_stack([cost.mean, quality.mean]), _pair(single.ends(single.means.mean)))
    return BootstrapFigure.of(
        value, of_draws.draws(cost.draws, quality.draws, single.ends(single.means.draws))
    )


def gain(result: SplitResult) -> BootstrapFigure:
    """Gain area: above the line from small to large; of three or more tiers above their best random mix.

    That mix is a hull of noisy means, so the figure is then corrected as the edge is.
    """
    n, means = len(result.single.names), result.single.means
    if n < 3:
        return _curve_figure(result, gain_area, gain_area)
    measure, of_draws = (gain_above_mix(m[:, n:], m[:, :n]) for m in (means.mean[None], means.draws))
    figure = _curve_figure(result, measure, of_draws)
    return figure if figure.value is None else BootstrapFigure.bias_corrected(figure.value, figure.draws)


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
