"""What the user wants of a setting, and the setting that serves it best.

A setting is chosen among the corners of the upper hull of a curve's points and the
always-one-tier points, so no policy is ever set below a random mix of single tiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from automix_cli.errors import GateError
from automix_cli.evaluation.crossfit import NO_CURVE, Curve
from automix_cli.evaluation.curves import Ends, ibc_lift
from automix_cli.evaluation.frontier import Point, edge, hull
from automix_cli.evaluation.settings import Always, CostWeight, Setting, narrow
from automix_cli.fitting.query_router_kinds import ClassSource


class Objective(NamedTuple):
    """What the user wants of a setting.

    `keep`: the cheapest setting with at least `value` times the quality of the best single tier.
    `budget`: the best quality for at most `value` USD per question.
    `cost_weight`: this cost_weight, whatever comes of it.
    `ibc`: the best incremental benefit per cost (AutoMix).
    """

    kind: Literal["keep", "budget", "cost_weight", "ibc"] = "keep"
    value: float = 0.98

    def without_weight(self) -> Objective:
        """Return the objective for single tiers: the default where this one needs a cost_weight."""
        return self if self.kind in ("keep", "budget") else Objective()


class SettingChoice(NamedTuple):
    """A setting and its point in training; `met`: whether the objective was, there."""

    setting: Setting
    point: Point
    is_met: bool = True


def choose(
    curve: Curve, tiers: Sequence[str], tier_points: Sequence[Point], objective: Objective
) -> SettingChoice:
    """Return the setting that the objective asks for, among the corners of the hull.

    Raises:
        GateError: ΔIBC is undefined for every setting.
    """
    if objective.kind == "cost_weight":
        return _at_weight(curve, objective.value)
    if objective.kind == "ibc":
        return _best_ibc(curve, tier_points)
    choices = corners(curve, tiers, tier_points)
    if objective.kind == "budget":
        affordable = [c for c in choices if c.point.cost <= objective.value]
        return affordable[-1] if affordable else choices[0]._replace(is_met=False)
    target = objective.value * max(point.quality for point in tier_points)
    return next((c for c in choices if c.point.quality >= target), choices[-1]._replace(is_met=False))


def best_single(tiers: Sequence[str], tier_points: Sequence[Point], objective: Objective) -> str:
    """Return the single tier that an objective takes."""
    choice = choose(NO_CURVE, tiers, tier_points, objective.without_weight())
    return narrow(choice.setting, Always).tier


def corners(curve: Curve, tiers: Sequence[str], tier_points: Sequence[Point]) -> list[SettingChoice]:
    """Return the settings worth having, cheapest first: corners of the hull of curve and single tiers."""
    settings = [*map(Always, tiers), *curve.settings]
    points = [*tier_points, *curve.points]
    first: dict[Point, Setting] = {}
    for setting, point in zip(settings, points, strict=True):
        first.setdefault(point, setting)  # a single tier before a policy that comes to the same
    return [SettingChoice(first[point], point) for point in hull(points)]


def _at_weight(curve: Curve, weight: float) -> SettingChoice:
    at = curve.settings.index(CostWeight(weight))
    return SettingChoice(curve.settings[at], curve.points[at])


def _best_ibc(curve: Curve, tier_points: Sequence[Point]) -> SettingChoice:
    """Choose among settings above the mix that cost at least 5 % of the range more than the small tier."""
    ends = ends_of(tier_points)
    least = ends.small.cost + 0.05 * (ends.large.cost - ends.small.cost)
    lifts = [
        (lift, setting, point)
        for setting, point in zip(curve.settings, curve.points, strict=True)
        if point.cost >= least and edge(point, tier_points) > 0
        if (lift := ibc_lift(point, ends).value) is not None
    ]
    if not lifts:
        reason = ibc_lift(ends.large, ends).reason or "no setting is above a random mix of single tiers"
        raise GateError(f"ΔIBC cannot choose a setting: {reason}", hint="--keep 0.98 or --budget USD")
    _, setting, point = max(lifts, key=lambda item: item[0])
    return SettingChoice(setting, point)


def choose_each(
    curves: Mapping[ClassSource, Curve],
    tiers: Sequence[str],
    tier_points: Sequence[Point],
    objective: Objective,
) -> dict[ClassSource, SettingChoice]:
    """Choose a setting per source of classes; sources for which the objective is undefined are left out.

    Raises:
        GateError: ΔIBC is undefined for every setting of every source.
    """
    choices: dict[ClassSource, SettingChoice] = {}
    errors: list[GateError] = []
    for source, curve in curves.items():
        try:
            choices[source] = choose(curve, tiers, tier_points, objective)
        except GateError as exc:
            errors.append(exc)
    if not choices:
        raise errors[0]
    return choices


def best_source(
    choices: Mapping[ClassSource, SettingChoice], tier_points: Sequence[Point], objective: Objective
) -> ClassSource:
    """Return the source of classes whose setting serves the objective best; of equals the first."""
    return max(choices, key=lambda source: _worth(choices[source], tier_points, objective))


def _worth(choice: SettingChoice, tier_points: Sequence[Point], objective: Objective) -> tuple[float, ...]:
    """Return how well a setting serves an objective, more being better."""
    cost, quality = choice.point
    if objective.kind == "cost_weight":
        return (quality - objective.value * cost,)
    if objective.kind == "ibc":
        return (ibc_lift(choice.point, ends_of(tier_points)).value or 0.0,)
    if objective.kind == "keep":
        return (1.0, -cost, quality) if choice.is_met else (0.0, quality, -cost)
    return (1.0, quality, -cost) if choice.is_met else (0.0, -cost, quality)


def ends_of(tier_points: Sequence[Point]) -> Ends:
    """Return the points of the cheapest and of the dearest tier."""
    return Ends(min(tier_points, key=lambda p: p.cost), max(tier_points, key=lambda p: p.cost))
