"""Grids of cost_weights, the plans on them, and threshold rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from known import draw_table, table_of, two_tiers
from msgspec.structs import replace
from orders import make_rows, make_table

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.families import COST_GRID, CostGrid, cost_weights
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.evaluation.settings import CostWeight, DoubleThreshold, Threshold
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.problem import Facts

SETTINGS = Settings(max_votes=6)


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


# ------------------------------------------------------------------ computed plans


def test_the_path_is_zero_and_eighty_geometric_steps_in_units_of_the_span_of_costs(table: TraceTable) -> None:
    weights = np.array(cost_weights(table))
    assert len(weights) == 81
    assert weights[0] == 0
    assert weights[1] * 19 == pytest.approx(0.002)
    assert weights[-1] * 19 == pytest.approx(4)
    np.testing.assert_allclose(np.diff(np.log(weights[1:])), math.log(2000) / 79)


def test_the_path_of_tiers_that_cost_the_same_weighs_votes_and_of_free_ones_nothing(
    table: TraceTable,
) -> None:
    assert cost_weights(table.with_costs({"small": 2.0, "medium": 2.0}))[-1] == pytest.approx(2.0)
    assert cost_weights(table.with_costs({"small": 0.0, "medium": 0.0})) == (0.0,)


def test_spending_is_that_of_each_plan_and_never_rises_along_the_path(table: TraceTable) -> None:
    fitted = PlanFamily(settings=SETTINGS).fit(table)
    assert fitted.weights == cost_weights(table)
    parameters = fit(table, SETTINGS)
    costs = [parameters.policy(weight, SETTINGS).forecast().cost for weight in fitted.weights[::9]]
    np.testing.assert_allclose(fitted.spending[::9], costs, rtol=1e-9)
    assert (np.diff(fitted.spending) <= 0).all()


def test_classes_of_questions_spend_as_often_as_they_occur(table: TraceTable) -> None:
    classes = (np.arange(400) % 4 == 0).astype(np.intp)
    both = PlanFamily(settings=SETTINGS).fit(replace(table, question_classes=classes, n_classes=2))
    for k in range(0, len(both.weights), 20):
        costs = [both.policy(k).forecast(Facts(question_class=c)).cost for c in (0, 1)]
        assert both.spending[k] == pytest.approx(0.75 * costs[0] + 0.25 * costs[1])


def test_levels_are_even_steps_of_planned_cost(table: TraceTable) -> None:
    """Every twentieth of the range has a level, unless no plan spends about so much."""
    fitted = PlanFamily(settings=SETTINGS).fit(table)
    levels, costs = fitted.levels(), fitted.spending
    assert len(levels) <= COST_GRID.spending_steps + 1
    assert (levels[0], levels[-1]) == pytest.approx((costs.max(), costs.min()))
    assert list(levels) == sorted(set(levels), reverse=True)
    for target in np.linspace(costs.min(), costs.max(), COST_GRID.spending_steps + 1):
        assert np.abs(levels - target).min() == pytest.approx(np.abs(costs - target).min())
    np.testing.assert_array_equal(costs[fitted.places(levels)], levels)
    finer = PlanFamily(settings=SETTINGS, grid=CostGrid(many_questions=400)).fit(table)
    assert len(levels) < len(finer.levels()) <= 2 * COST_GRID.spending_steps + 1


def test_a_fold_takes_the_plans_that_spend_what_the_setting_spends_on_all_rows(table: TraceTable) -> None:
    """So that a setting means the same in every fold; what is fitted on all rows is planned as it says."""
    good = np.flatnonzero(table.score[:, 1] > table.score[:, 0])
    fold = table.subset(np.concatenate([good, np.arange(len(table))]))  # a fold that escalation pays more in
    family = PlanFamily(settings=SETTINGS)
    whole, part = family.fit(table), family.fit(fold)
    levels = whole.levels()
    spent = np.abs(part.spending[part.places(levels)] - levels).mean()
    at_the_same_weights = np.abs(part.spending[whole.places(levels)] - levels).mean()
    assert spent < 0.2 * at_the_same_weights
    assert family.policy(fold, CostWeight(0.01)).model.cost_weight == 0.01  # type: ignore[attr-defined]


def test_of_plans_that_spend_the_same_the_one_in_the_middle_is_taken(table: TraceTable) -> None:
    fitted = PlanFamily(settings=SETTINGS).fit(table)
    equals = np.flatnonzero(np.abs(fitted.spending - fitted.spending.min()) < 1e-9)
    assert len(equals) > 2
    assert fitted.places(np.array([0.0])).tolist() == [equals[len(equals) // 2]]


def test_cost_weights_that_are_given_are_levels_of_their_own(table: TraceTable) -> None:
    fitted = PlanFamily(settings=SETTINGS, grid=CostGrid(fixed=(0.03, 0.01))).fit(table)
    assert fitted.settings == (CostWeight(0.03), CostWeight(0.01))
    assert fitted.places(fitted.levels()).tolist() == [0, 1]
    assert [fitted.policy(k).model.cost_weight for k in (0, 1)] == [0.03, 0.01]


def test_a_path_too_long_for_its_plans_keeps_both_ends_and_steps_evenly(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PlanFamily(settings=SETTINGS).fit(table)
    plan = whole.policy(0).plan()
    monkeypatch.setattr("automix_cli.evaluation.plan_family._LARGEST_PASS", 9 * (plan.size - 1))
    few = PlanFamily(settings=SETTINGS).fit(table)
    assert list(few.weights) == [whole.weights[k] for k in range(0, 81, 10)]
    monkeypatch.setattr("automix_cli.evaluation.plan_family._LARGEST_PASS", 1)
    assert PlanFamily(settings=SETTINGS).fit(table).weights == (whole.weights[0], whole.weights[-1])


def test_tiers_that_score_or_cost_the_same_have_a_path_all_the_same(table: TraceTable) -> None:
    alike = replace(table, score=np.repeat(table.score[:, :1], 2, axis=1))
    free = table.with_costs({"small": 0.0, "medium": 0.0})
    for rows in (alike, free, table.subset(np.arange(1)), table.pick(["small"])):
        fitted = PlanFamily(settings=SETTINGS).fit(rows)
        levels = fitted.levels()
        assert len(levels)
        assert np.isfinite(levels).all()
        played = fitted.play(rows, np.arange(len(rows)), fitted.places(levels))
        assert np.isfinite([played.score, played.cost]).all()
    assert PlanFamily(settings=SETTINGS).fit(free).weights == (0.0,)


# ------------------------------------------------------------------ threshold rules


def test_thresholds_are_every_number_of_votes_and_every_cut(table: TraceTable) -> None:
    fitted = ThresholdFamily(settings=SETTINGS, max_votes=6).fit(table)
    assert len(fitted.settings) == sum(n + 2 for n in range(1, 7)) == len(fitted.levels())
    assert Threshold((4,), (0.75,)) in fitted.settings
    last = range(len(fitted.settings) - 8, len(fitted.settings))  # six votes, cuts from 0 to beyond 1
    runs = [replay(fitted.policy(k), table) for k in last]
    assert [r.escalated.mean() for r in runs] == sorted(r.escalated.mean() for r in runs)
    assert runs[0].escalated.sum() == 0
    assert runs[-1].escalated.all()
    assert {r.votes.sum() for r in runs} == {6 * len(table)}


def test_each_tier_has_a_number_of_votes_and_a_cut_of_its_own() -> None:
    table = make_table(make_rows(60), signal="votes")
    family = ThresholdFamily(settings=SETTINGS, max_votes=4)
    fitted = family.fit(table)
    pairs = sum(n + 2 for n in range(1, 5))
    assert len(fitted.settings) == pairs**2
    assert len(set(fitted.settings)) == pairs**2
    place = fitted.settings.index(Threshold((2, 3), (0.5, 1.0)))
    small, middle = fitted.policy(place).rules
    assert (small.votes, small.edges, middle.votes, middle.edges) == (2, (0.5,), 3, (1.0,))
    assert family.policy(table, fitted.settings[place]) == fitted.policy(place)


def test_of_many_combinations_the_best_in_each_step_of_cost_are_tried() -> None:
    table = make_table(make_rows(60), signal="votes")
    fitted = ThresholdFamily(settings=SETTINGS, max_votes=3).fit(table)
    every = np.arange(len(fitted.settings))
    tried = fitted.places(fitted.levels())
    played = fitted.play(table, np.arange(60), every)
    costs, scores = played.cost.mean(axis=1), played.score.mean(axis=1)
    assert 10 < len(tried) <= 60 < len(every)
    step = np.floor((costs - costs.min()) / (costs.max() - costs.min()) * 59 + 1e-9)
    for own in np.unique(step):
        (best,) = [k for k in tried if step[k] == own]
        assert scores[best] == pytest.approx(scores[step == own].max())


@pytest.mark.parametrize("tiers", [2, 3, 4])
@pytest.mark.parametrize("votes", [0, 1, 8, 40])
def test_combinations_stay_few_enough_to_play(tiers: int, votes: int) -> None:
    rows = [{"id": i, "tiers": {n: {"score": 1, "cost": 1} for n in "abcd"[:tiers]}} for i in range(3)]
    fitted = ThresholdFamily(settings=SETTINGS, max_votes=votes).fit(table_of(rows))
    assert 1 < len(fitted.settings) <= 5_000
    last = [setting.cut[0] for setting in fitted.settings if isinstance(setting, Threshold)]
    assert min(last) == 0


def test_double_thresholds_escalate_between_two_cuts(table: TraceTable) -> None:
    family = ThresholdFamily(settings=SETTINGS, max_votes=2, double=True)
    policy = family.policy(table, DoubleThreshold(2, 0.5, 1.0))
    run = replay(policy, table)
    correct, incorrect, _ = table.votes[:, 0].T.astype(float)
    one_of_two = correct * incorrect / 15  # of six votes
    np.testing.assert_allclose(run.escalated, one_of_two, atol=1e-12)
    settings = family.fit(table).settings
    assert all(isinstance(s, DoubleThreshold) and s.low < s.high for s in settings)


def test_thresholds_on_a_confidence_are_quantiles_of_the_rows_they_are_fitted_on() -> None:
    rows = [
        {
            "id": i,
            "tiers": {"s": {"score": i % 2, "cost": 1, "confidence": i / 40}, "l": {"score": 1, "cost": 2}},
        }
        for i in range(40)
    ]
    confident = table_of(rows)
    fitted = ThresholdFamily(settings=SETTINGS, max_votes=0).fit(confident)
    shares = [replay(fitted.policy(k), confident).escalated.mean() for k in range(len(fitted.settings))]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares[10] == pytest.approx(0.5, abs=0.03)
