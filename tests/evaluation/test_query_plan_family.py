"""Plans and their query-side router's own rule as one family: nothing that the rule does is out of reach."""

from __future__ import annotations

import numpy as np
import pytest
from known import draw_table, two_tiers
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import Crossfit, crossfit
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.frontier import Point, hull
from automix_cli.evaluation.plan_family import FittedPlans, PlanFamily
from automix_cli.evaluation.query_plan_family import FittedQueryPlans, QueryPlanFamily
from automix_cli.evaluation.question_family import QuestionFamily
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.rules import QuestionPolicy

SETTINGS = Settings(max_votes=2)
GRID = CostGrid(weights=12, spending_steps=5)
FAMILY = QueryPlanFamily(settings=SETTINGS, grid=GRID)


@pytest.fixture(scope="module")
def table() -> TraceTable:
    """What a router read is right more often than not."""
    plain = draw_table(two_tiers(), 160, 4)
    right = plain.score >= 0.5
    noise = np.random.default_rng(1).normal(0, 1.5, right.shape)
    return replace(plain, question_logits=np.where(right, 1.0, -1.0) + noise)


@pytest.fixture(scope="module")
def fitted(table: TraceTable) -> FittedQueryPlans:
    family = FAMILY.fit(table)
    assert isinstance(family, FittedQueryPlans)
    return family


def test_each_setting_is_played_as_its_policy_is_replayed(
    table: TraceTable, fitted: FittedQueryPlans
) -> None:
    count, rows = len(fitted.settings), np.arange(0, 160, 2)
    places = np.array([count - 1, 0, count // 2 + 3, 4])  # rules and plans in turn
    played = fitted.play(table, rows, places)
    for k, (place, run) in enumerate(zip(places, fitted.runs(table, rows, places), strict=True)):
        policy, setting = fitted.policy(place), fitted.settings[place]
        assert isinstance(setting, CostWeight)
        assert isinstance(policy, QuestionPolicy if setting.rule else PomdpPolicy)
        assert FAMILY.policy(table, setting) == policy
        expected = replay(policy, table, rows)
        for scores, costs in ((played.score[k], played.cost[k]), (run.score, run.cost)):
            np.testing.assert_allclose(scores, expected.score, atol=1e-12)
            np.testing.assert_allclose(costs, expected.cost, atol=1e-12)


def test_the_curve_has_every_point_of_the_rule_and_of_the_plans(table: TraceTable) -> None:
    options = Crossfit(folds=3, repeats=1)
    both, plans, rule = (
        crossfit(table, family, seed=0, options=options).points
        for family in (
            FAMILY,
            PlanFamily(settings=SETTINGS, grid=GRID),
            QuestionFamily(settings=SETTINGS, grid=GRID),
        )
    )
    assert both == (*plans, *rule)
    for own in (plans, rule):
        assert hull([*both, *own]) == hull([Point(*point) for point in both])


def test_a_level_means_the_same_setting_in_its_own_fit(fitted: FittedQueryPlans) -> None:
    levels = fitted.levels()
    places = fitted.places(levels)
    rules = [setting for k in places if (setting := fitted.settings[k]).rule]  # type: ignore[union-attr]
    assert len(set(rules)) == len(rules) == len(fitted.rule.weights)
    np.testing.assert_array_equal(fitted.places(levels[::-1]), places[::-1])


def test_where_the_router_says_nothing_its_rule_is_not_tried(table: TraceTable) -> None:
    noise = np.random.default_rng(2).normal(0, 2, table.score.shape)
    fitted = FAMILY.fit(replace(table, question_logits=noise))
    assert isinstance(fitted, FittedQueryPlans)
    assert not fitted.tries_rule
    assert fitted.levels().min() >= 0
    assert isinstance(FAMILY.fit(replace(table, question_logits=None)), FittedPlans)
