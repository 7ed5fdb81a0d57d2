"""The choice of a setting among cross-fitted points, by what the user asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from typing import Literal, NamedTuple

import numpy as np

from automix_cli.errors import GateError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import NO_CURVE, Curve, Singles
from automix_cli.evaluation.curves import Ends, gain_above_mix, gain_area, ibc_lift
from automix_cli.evaluation.families import SettingRows
from automix_cli.evaluation.frontier import ROUNDING_ERROR, Point, edge
from automix_cli.evaluation.settings import Always, CostWeight, Setting, is_rule, narrow
from automix_cli.fitting.query_router_kinds import ClassSource
from automix_cli.pomdp.arrays import Floats, Ints

_COLUMNS_AT_ONCE = 10  # of scores that are resampled in one pass


class Objective(NamedTuple):
    """What the user wants of a setting.

    `keep`: the cheapest setting that keeps at least `value` times the quality of the best single tier
    with probability `sure`; where there is none, that tier.
    `budget`: the best quality for at most `value` USD per question.
    `cost_weight`: this cost_weight, whatever comes of it; of threshold rules, the one that it makes the best.
    `ibc`: the best incremental benefit per cost (AutoMix).
    """

    kind: Literal["keep", "budget", "cost_weight", "ibc"] = "keep"
    value: float = 0.98
    sure: float = 0.8

    def without_weight(self) -> Objective:
        """Return the objective for single tiers: the default where this one needs a cost_weight."""
        return self if self.kind in ("keep", "budget") else Objective()


class SettingChoice(NamedTuple):
    """A setting and its point in training; `is_met`: whether the objective was, there."""

    setting: Setting
    point: Point
    is_met: bool = True


def choose(
    curve: Curve,
    tiers: Sequence[str],
    alone: Singles,
    objective: Objective,
    resamples: Resamples | None = None,
) -> SettingChoice:
    """Return the setting that the objective asks for, among those that no other one beats.

    Args:
        curve: the settings on training rows.
        tiers: their names.
        alone: the single tiers on the same table.
        objective: what is wanted.
        resamples: of the table's questions, for `keep`; without them, means decide.

    Raises:
        GateError: ΔIBC is undefined for every setting.
    """
    return Candidates(curve, tuple(tiers), alone, resamples).choose(objective)


class Candidates:
    """The settings of a curve and the single tiers, among which several objectives may choose.

    Places count the single tiers first, then the settings of the curve.
    """

    def __init__(
        self, curve: Curve, tiers: tuple[str, ...], alone: Singles, resamples: Resamples | None
    ) -> None:
        self.curve, self.tiers, self.alone, self.resamples = curve, tiers, alone, resamples
        self._draws: dict[int, Floats] = {}

    @cached_property
    def _tier_points(self) -> tuple[Point, ...]:
        """The points of the single tiers."""
        return self.alone.points()

    @cached_property
    def _curve_points(self) -> tuple[Point, ...]:
        """The points of the curve's settings."""
        return self.curve.points

    def choose(self, objective: Objective) -> SettingChoice:
        """Choose for an objective; see `choose`."""
        if objective.kind == "cost_weight":
            return self._at_weight(objective.value)
        if objective.kind == "ibc":
            return _best_ibc(self.curve, self._tier_points)
        choices = [self.choice(place) for place in self.places]
        if objective.kind == "budget":
            most = objective.value * (1 + ROUNDING_ERROR)
            affordable = [c for c in choices if c.point.cost <= most]
            return affordable[-1] if affordable else choices[0]._replace(is_met=False)
        sure = (
            choice
            for choice, place in zip(choices, self.places, strict=True)
            if self.chance_to_keep(place, objective.value) >= objective.sure
        )
        return next(sure, self.choice(best_tier(self._tier_points)))

    def _at_weight(self, weight: float) -> SettingChoice:
        """The plan of a cost_weight; of rules, which have none, what it makes the best."""
        plan = CostWeight(weight)
        if plan in self.curve.settings:
            at = self.curve.settings.index(plan)
            return SettingChoice(plan, self._curve_points[at])
        choices = map(self.choice, self.places)
        return max(choices, key=lambda own: own.point.quality - weight * own.point.cost)

    def choice(self, place: int) -> SettingChoice:
        """The setting at a place, with its point."""
        own = place - len(self.tiers)
        if own < 0:
            return SettingChoice(Always(self.tiers[place]), self._tier_points[place])
        return SettingChoice(self.curve.settings[own], self._curve_points[own])

    @cached_property
    def places(self) -> list[int]:
        """What no cheaper one equals, cheapest first.

        Settings on or below the best random mix of single tiers are left out, so that no policy is
        ever set below it. Where a query-side router's own rule stands beside plans, all settings are of
        the one that gains more: of points of both, the lucky ones would be taken.
        """
        rules = [k for k, setting in enumerate(self.curve.settings) if is_rule(setting)]
        plans = [k for k, setting in enumerate(self.curve.settings) if not is_rule(setting)]
        if not rules:
            return self._worth_having(plans)
        return max((self._worth_having(own) for own in (plans, rules)), key=self._gain)

    def _worth_having(self, own: Sequence[int]) -> list[int]:
        """The places, of some settings and the single tiers, that no cheaper one equals."""
        single_points, tiers = self._tier_points, len(self.tiers)
        points = self._curve_points
        candidates = list(zip(single_points, range(tiers), strict=True))
        candidates += [(points[k], tiers + k) for k in own if edge(points[k], single_points) > ROUNDING_ERROR]
        best, places = -np.inf, []
        for point, place in sorted(candidates, key=lambda item: (item[0].cost, -item[0].quality, item[1])):
            if point.quality > best + ROUNDING_ERROR:
                best = point.quality
                places.append(place)
        return places

    def _gain(self, places: Sequence[int]) -> float:
        """The gain area of what stands at some places, above the mixes of single tiers."""
        single_points = self._tier_points
        costs, qualities = np.array(single_points).T[:, None]
        measure = gain_area if len(self.tiers) == 2 else gain_above_mix(costs, qualities)
        points = [self.choice(place).point for place in places]
        return measure(points, ends_of(single_points)).value or 0.0

    def chance_to_keep(self, place: int, keep: float) -> float:
        """The bootstrap chance of a place worth having to keep a share of the best tier's quality.

        The best tier is chosen again in every draw. A policy that is not a single tier is given half
        a lost row more: among few rows, losses that were not seen are not taken for none.
        """
        tiers = len(self.tiers)
        best = reduce(np.maximum, map(self._draws_of, range(tiers)))
        column = place if place < tiers else tiers + self._settings_worth_having.index(place)
        loss = 0.0 if place < tiers else self._resampling.half_a_row
        return float((self._draws_of(column) - loss >= keep * best - ROUNDING_ERROR).mean())

    @cached_property
    def _settings_worth_having(self) -> list[int]:
        """The places that are no single tier."""
        return [place for place in self.places if place >= len(self.tiers)]

    def _draws_of(self, column: int) -> Floats:
        """Mean scores in every draw of a column; those behind the choice are never drawn."""
        part = column // _COLUMNS_AT_ONCE
        if part not in self._draws:
            columns, resamples, _ = self._resampling
            own = columns[part * _COLUMNS_AT_ONCE : (part + 1) * _COLUMNS_AT_ONCE]
            self._draws[part] = own.mean(axis=1)[None] if resamples is None else resamples.means(own.T)
        return self._draws[part][:, column % _COLUMNS_AT_ONCE]

    @cached_property
    def _resampling(self) -> _Resampling:
        """The scores of tiers, then of settings worth having, and the resamples of their rows."""
        resamples = self.resamples
        if self.curve.settings:
            resamples = resamples and resamples.on_rows(self.curve.rows)
        if resamples is None:
            return _Resampling(self.rows.score, None, 0.0)
        half_a_row = 0.5 / np.count_nonzero(np.bincount(resamples.groups))
        return _Resampling(self.rows.score, resamples, half_a_row)

    # ------------------------------------------------------------ what other training rows might choose

    @cached_property
    def every(self) -> tuple[SettingChoice, ...]:
        """The single tiers, then the settings worth having: C."""
        return tuple(map(self.choice, [*range(len(self.tiers)), *self._settings_worth_having]))

    @cached_property
    def order(self) -> Ints:
        """Which of `every` no cheaper one equals, cheapest first."""
        tiers = len(self.tiers)
        place = {own: tiers + k for k, own in enumerate(self._settings_worth_having)}
        return np.array([own if own < tiers else place[own] for own in self.places], dtype=np.intp)

    @property
    def row_places(self) -> Ints:
        """The places of `rows` in the table."""
        return self.curve.rows if self.curve.settings else np.arange(len(self.alone.score))

    @cached_property
    def rows(self) -> SettingRows:
        """What each of `every` scores and costs on each training row."""
        curve, alone = self.curve, self.alone
        if not curve.settings:
            return SettingRows(alone.score.T, alone.cost.T)
        settings = np.array(self._settings_worth_having, dtype=np.intp) - len(self.tiers)
        alone = alone.on_rows(curve.rows)
        scores, costs = (own[settings] for own in curve.columns)
        return SettingRows(np.vstack([alone.score.T, scores]), np.vstack([alone.cost.T, costs]))

    @property
    def draws(self) -> tuple[Floats, float]:
        """Mean scores of each of `every` in every draw; what half a lost row costs."""
        columns = [self._draws_of(column) for column in range(len(self.rows.score))]
        return np.stack(columns, axis=1), self._resampling.half_a_row

    @cached_property
    def cost_draws(self) -> Floats:
        """Mean costs of each of `every` in every draw."""
        columns, resamples = self.rows.cost, self._resampling.resamples
        return columns.mean(axis=1)[None] if resamples is None else resamples.means(columns.T)


class _Resampling(NamedTuple):
    """Scores (K×n), resamples of their rows (None where there are too few), what half a lost row costs."""

    columns: Floats
    resamples: Resamples | None
    half_a_row: float


def best_tier(points: Sequence[Point]) -> int:
    """Return the place of the best single tier, of equals the cheapest."""
    best = max(point.quality for point in points)
    equals = [j for j, point in enumerate(points) if point.quality >= best - ROUNDING_ERROR]
    return min(equals, key=lambda j: points[j].cost)


def best_single(
    tiers: Sequence[str], alone: Singles, objective: Objective, resamples: Resamples | None = None
) -> str:
    """Return the single tier that an objective takes."""
    if objective.kind == "cost_weight":
        points = dict(zip(tiers, alone.points(), strict=True))
        return max(tiers, key=lambda name: points[name].quality - objective.value * points[name].cost)
    choice = choose(_no_curve(alone), tiers, alone, objective.without_weight(), resamples)
    return narrow(choice.setting, Always).tier


def _no_curve(alone: Singles) -> Curve:
    return NO_CURVE._replace(rows=np.arange(len(alone.score)))


def unmeasured_curve(objective: Objective, rows: int) -> Curve:
    """Return the curve of too few rows: empty, or the one cost_weight that was asked for."""
    if objective.kind != "cost_weight":
        return NO_CURVE
    unknown = np.full((1, rows), math.nan)
    return Curve((CostWeight(objective.value),), SettingRows(unknown, unknown), np.arange(rows))


def settings_worth_having(curve: Curve, tiers: Sequence[str], alone: Singles) -> list[SettingChoice]:
    """Return the settings that no other one beats, cheapest first."""
    candidates = Candidates(curve, tuple(tiers), alone, None)
    return [candidates.choice(place) for place in candidates.places]


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


# ------------------------------------------------------------------ sources of classes


def choose_each(
    curves: Mapping[ClassSource, Curve],
    tiers: Sequence[str],
    alone: Singles,
    objective: Objective,
    resamples: Resamples | None = None,
) -> dict[ClassSource, SettingChoice]:
    """Choose a setting per source of classes; sources for which the objective is undefined are left out.

    Raises:
        GateError: ΔIBC is undefined for every setting of every source.
    """
    candidates = {s: Candidates(curve, tuple(tiers), alone, resamples) for s, curve in curves.items()}
    return choose_of_each(candidates, objective)


def choose_of_each(
    candidates: Mapping[ClassSource, Candidates], objective: Objective
) -> dict[ClassSource, SettingChoice]:
    """Choose among the candidates of each source of classes; see `choose_each`."""
    choices: dict[ClassSource, SettingChoice] = {}
    errors: list[GateError] = []
    for source, own in candidates.items():
        try:
            choices[source] = own.choose(objective)
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
