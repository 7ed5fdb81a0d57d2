"""Settings are measured on rows that their policies were not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from known import draw_table, two_tiers
from msgspec.structs import replace

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import Crossfit, crossfit, measured_folds, measured_rows, singles
from automix_cli.evaluation.families import CostGrid, Family, FittedFamily, SettingRows
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.evaluation.settings import CostWeight, Setting
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.rules import AlwaysPolicy

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(repeats=1)  # what repeats do has a test of its own


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


# ------------------------------------------------------------------ a family that tells what it is asked


@dataclass
class Telling:
    """One setting, the cheapest tier. Tells which rows it was fitted on and which it is played on."""

    fits: list[frozenset[Any]] = field(default_factory=list)
    plays: list[tuple[frozenset[Any], tuple[Any, ...]]] = field(default_factory=list)
    levels_asked: list[list[float]] = field(default_factory=list)

    def fit(self, table: TraceTable) -> FittedFamily:
        self.fits.append(frozenset(table.ids))
        return FittedTelling(self, self.fits[-1])

    def policy(self, table: TraceTable, setting: Setting) -> AlwaysPolicy:
        return AlwaysPolicy(2, 0)


@dataclass
class FittedTelling:
    family: Telling
    fitted: frozenset[Any]
    settings: tuple[Setting, ...] = (CostWeight(0.0),)

    def levels(self) -> Floats:
        return np.array([float(len(self.fitted))])

    def places(self, levels: Floats) -> Ints:
        self.family.levels_asked.append(levels.tolist())
        return np.zeros(len(levels), dtype=np.intp)

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        self.family.plays.append((self.fitted, tuple(table.ids[rows])))
        return SettingRows(table.score[None, rows, 0], table.cost[None, rows, 0])

    def policy(self, place: int) -> AlwaysPolicy:
        return AlwaysPolicy(2, 0)


def test_cross_fitted_points_never_come_from_rows_the_policy_was_fitted_on(table: TraceTable) -> None:
    family = Telling()
    curve = crossfit(table, family, options=ONCE, seed=0)
    assert len(family.plays) == 5
    for fitted, played in family.plays:
        assert fitted.isdisjoint(played)
        assert len(fitted) + len(played) == 400
    assert sorted(i for _, played in family.plays for i in played) == sorted(table.ids)
    assert curve.points[0].quality == pytest.approx(table.score[:, 0].mean())


def test_folds_take_the_levels_of_the_rows_whose_setting_is_chosen(table: TraceTable) -> None:
    family = Telling()
    crossfit(table, family, options=Crossfit(folds=2, repeats=1), seed=0)
    assert family.levels_asked == [[400.0]] * 3, "two folds, and the settings themselves"


# ------------------------------------------------------------------ computed plans and rules

FAMILIES: dict[str, Callable[[], Family]] = {
    "plans": lambda: PlanFamily(settings=SETTINGS, grid=CostGrid(fixed=(0.0, 0.003, 0.01, 0.05))),
    "plans on a grid": lambda: PlanFamily(settings=SETTINGS),
    "rules": lambda: ThresholdFamily(settings=SETTINGS, max_votes=2),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_row_is_measured_by_the_fit_on_the_other_folds(name: str, table: TraceTable) -> None:
    rows, family = table.subset(np.arange(150)), FAMILIES[name]()
    curve = crossfit(rows, family, options=ONCE, seed=3)
    fold, whole = folds_of(rows, 5, 3), family.fit(rows)
    levels = whole.levels()
    assert curve.settings == tuple(whole.settings[k] for k in whole.places(levels))
    assert curve.rows.tolist() == list(range(150))
    for k in range(5):
        own = np.flatnonzero(fold == k)
        fitted = family.fit(rows.subset(fold != k))
        played = fitted.play(rows, own, fitted.places(levels))
        np.testing.assert_array_equal(curve.columns.score[:, own], played.score)
        np.testing.assert_array_equal(curve.columns.cost[:, own], played.cost)
    for k, point in enumerate(curve.points):
        assert point == pytest.approx((curve.columns.cost[k].mean(), curve.columns.score[k].mean()))


@pytest.mark.parametrize("name", ["plans", "rules"])
def test_a_row_s_own_label_changes_its_score_and_not_what_is_done_on_it(name: str, table: TraceTable) -> None:
    rows, family = table.subset(np.arange(150)), FAMILIES[name]()
    fold = folds_of(rows, 5, 0)
    fooled = replace(rows, score=np.where((fold == 2)[:, None], 1 - rows.score, rows.score))
    before, after = (crossfit(t, family, options=ONCE, seed=0) for t in (rows, fooled))
    own = fold == 2
    np.testing.assert_array_equal(before.columns.cost[:, own], after.columns.cost[:, own])
    changed = (before.columns.cost[:, ~own] != after.columns.cost[:, ~own]).any()
    assert changed == (name == "plans"), "rules are the same whatever the labels"


def test_with_few_rows_other_folds_are_averaged_row_by_row(table: TraceTable) -> None:
    rows, family = table.subset(np.arange(150)), FAMILIES["plans"]()
    once = [crossfit(rows, family, options=ONCE, seed=1000 * r) for r in range(3)]
    thrice = crossfit(rows, family, options=Crossfit(repeats=3), seed=0)
    assert not np.array_equal(once[0].columns.cost, once[1].columns.cost)
    for name in ("score", "cost"):
        mean = np.mean([getattr(curve.columns, name) for curve in once], axis=0)
        np.testing.assert_allclose(getattr(thrice.columns, name), mean, rtol=1e-12, atol=1e-12)
    enough = crossfit(rows, family, options=Crossfit(repeats=3, few_questions=150), seed=0)
    assert enough.points == once[0].points


def test_with_many_rows_one_fold_is_measured_and_not_all_of_it(table: TraceTable) -> None:
    family = Telling()
    curve = crossfit(table, family, options=Crossfit(many_questions=300, few_questions=300), seed=0)
    (played,) = (rows for _, rows in family.plays)
    assert len(family.fits) == 2
    assert len(family.fits[1]) == 320
    assert len(played) == 60 == len(curve.rows)
    assert curve.points[0].quality == pytest.approx(table.score[curve.rows, 0].mean())
    family.plays.clear()
    order = np.random.default_rng(0).permutation(400)
    crossfit(table.subset(order), family, options=Crossfit(many_questions=300, few_questions=300), seed=0)
    assert set(family.plays[0][1]) == set(played), "whatever the order of the file"


def test_many_questions_are_what_limits_a_measurement_and_their_rows_stay_together(table: TraceTable) -> None:
    copies = table.subset(np.arange(400) // 4)
    options = Crossfit(many_questions=300, few_questions=0)
    assert measured_folds(copies.n_groups, options) == range(5), "400 rows, but 100 questions"
    some = Crossfit(many_questions=50)
    fold = folds_of(copies, 5, 0)
    rows = measured_rows(copies, fold == 2, some)
    assert np.isin(np.flatnonzero(np.isin(copies.groups, copies.groups[rows])), rows).all()
    assert len(np.unique(copies.groups[rows])) == 10
    order = np.random.default_rng(0).permutation(400)
    again = measured_rows(copies.subset(order), (fold == 2)[order], some)
    assert sorted(order[again]) == sorted(rows), "whatever the order of the file"


def test_rows_with_few_votes_are_planned_for_though_no_row_of_the_fit_is_one(table: TraceTable) -> None:
    rows = table.subset(np.arange(60))
    votes = rows.votes.copy()
    votes[7, 0] = (1, 1, 0)
    recorded = rows.recorded_votes[0].of(votes[:, 0])
    short = replace(rows, votes=votes, recorded_votes=(recorded, *rows.recorded_votes[1:]))
    for name in FAMILIES:
        curve = crossfit(short, FAMILIES[name](), options=ONCE, seed=0)
        assert np.isfinite(curve.columns.score).all()


# ------------------------------------------------------------------ single tiers


def test_single_tiers_score_what_is_recorded_and_nothing_where_they_fail(table: TraceTable) -> None:
    alone = singles(table)
    np.testing.assert_array_equal(alone.score, table.score)
    np.testing.assert_array_equal(alone.cost, table.cost)
    failed = np.zeros_like(table.failed)
    failed[::4, 0] = True
    mute = replace(table, failed=failed, score=np.where(failed, 0.0, table.score))
    np.testing.assert_array_equal(singles(mute).score[::4, 0], 0.0)
    np.testing.assert_array_equal(singles(mute).cost, table.cost)
    gaps = table.cost.copy()
    gaps[3, 1] = np.nan
    others = np.arange(400) != 3
    assert singles(replace(table, cost=gaps)).cost[3, 1] == pytest.approx(table.cost[others, 1].mean())
    part = alone.on_rows(np.array([5, 2]))
    np.testing.assert_array_equal(part.score, table.score[[5, 2]])
    assert [p.quality for p in alone.points()] == pytest.approx(table.score.mean(axis=0).tolist())
