"""Grids of cost_weights, the plans on them, and threshold rules."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from known import draw_table, table_of, two_tiers

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.families import (
    COST_GRID,
    CostPath,
    PomdpFamily,
    ThresholdFamily,
    cost_weights,
)
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight, DoubleThreshold, Threshold
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.policy import PomdpPolicy

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


def test_a_grid_is_spaced_in_even_steps_of_planned_cost(table: TraceTable) -> None:
    """Every twentieth of the range has a setting, unless no plan spends about so much."""
    spaced = PomdpFamily(settings=SETTINGS).with_cost_grid(table)
    assert len(spaced.weights) <= COST_GRID.spending_steps + 1
    assert list(spaced.weights) == sorted(spaced.weights)
    assert list(spaced.spending) == sorted(spaced.spending, reverse=True)
    every = [fit(table, SETTINGS).policy(w, SETTINGS) for w in cost_weights(table)]
    costs = np.array([policy.forecast().cost for policy in every])
    assert (spaced.spending[0], spaced.spending[-1]) == pytest.approx((costs.max(), costs.min()))
    for target in np.linspace(costs.min(), costs.max(), COST_GRID.spending_steps + 1):
        assert np.abs(np.array(spaced.spending) - target).min() == pytest.approx(np.abs(costs - target).min())


def test_spending_is_known_along_the_whole_path_though_few_plans_are_made(table: TraceTable) -> None:
    fitted, weights, made = fit(table, SETTINGS), cost_weights(table), list[float]()

    def plan(weight: float) -> PomdpPolicy:
        made.append(weight)
        return fitted.policy(weight, SETTINGS)

    path = CostPath(plan, weights, table)
    assert len(made) == len(set(made)) < len(weights)
    costs = [fitted.policy(weight, SETTINGS).forecast().cost for weight in weights]
    np.testing.assert_allclose(path.spending, costs, rtol=1e-6)
    assert (np.diff(path.spending) <= 1e-9).all()


def test_a_fold_takes_the_plans_that_spend_what_the_setting_spends_on_all_rows(table: TraceTable) -> None:
    """So that a setting means the same in every fold; what is fitted on all rows is planned as it says."""
    good = np.flatnonzero(table.score[:, 1] > table.score[:, 0])
    fold = table.subset(np.concatenate([good, np.arange(len(table))]))  # a fold that escalation pays more in
    spaced = PomdpFamily(settings=SETTINGS).with_cost_grid(table)
    as_they_are = PomdpFamily(settings=SETTINGS, weights=spaced.weights)

    def misses(family: PomdpFamily) -> float:
        spent = [found.policy.forecast().cost for found in family.candidates(fold)]
        return float(np.abs(np.array(spent) - spaced.spending).mean())

    assert misses(spaced) < 0.2 * misses(as_they_are)
    for found, weight in zip(as_they_are.candidates(fold), spaced.weights, strict=True):
        assert found.policy.model.cost_weight == weight
        assert found.setting == CostWeight(weight)
    assert spaced.policy(fold, CostWeight(0.01)).model.cost_weight == 0.01


def test_tiers_that_score_or_cost_the_same_have_a_path_all_the_same(table: TraceTable) -> None:
    alike = replace(table, score=np.repeat(table.score[:, :1], 2, axis=1))
    free = table.with_costs({"small": 0.0, "medium": 0.0})
    for rows in (alike, free, table.subset(np.arange(0)), table.subset(np.arange(1))):
        spaced = PomdpFamily(settings=SETTINGS).with_cost_grid(rows)
        assert spaced.weights
        assert all(math.isfinite(x) for x in (*spaced.weights, *spaced.spending))
    assert PomdpFamily(settings=SETTINGS).with_cost_grid(free).weights == (0.0,)


# ------------------------------------------------------------------ threshold rules


def test_thresholds_are_every_number_of_votes_and_every_cut(table: TraceTable) -> None:
    family = ThresholdFamily(settings=SETTINGS, max_votes=6)
    candidates = family.candidates(table)
    assert len(candidates) == sum(n + 2 for n in range(1, 7))
    assert Threshold(4, 0.75) in [c.setting for c in candidates]
    runs = [replay(c.policy, table) for c in candidates[-8:]]  # six votes, cuts from 0 to beyond 1
    assert [r.escalated.mean() for r in runs] == sorted(r.escalated.mean() for r in runs)
    assert runs[0].escalated.sum() == 0
    assert runs[-1].escalated.all()
    assert {r.votes.sum() for r in runs} == {6 * len(table)}


def test_double_thresholds_escalate_between_two_cuts(table: TraceTable) -> None:
    family = ThresholdFamily(settings=SETTINGS, max_votes=2, double=True)
    policy = family.policy(table, DoubleThreshold(2, 0.5, 1.0))
    run = replay(policy, table)
    correct = table.recorded_votes[0].correct[2]
    assert (run.escalated == (correct == 1)).all()
    assert all(c.setting.low < c.setting.high for c in family.candidates(table))


def test_thresholds_on_a_confidence_are_quantiles_of_the_rows_they_are_fitted_on() -> None:
    rows = [
        {
            "id": i,
            "tiers": {"s": {"score": i % 2, "cost": 1, "confidence": i / 40}, "l": {"score": 1, "cost": 2}},
        }
        for i in range(40)
    ]
    confident = table_of(rows)
    family = ThresholdFamily(settings=SETTINGS, max_votes=0)
    shares = [replay(c.policy, confident).escalated.mean() for c in family.candidates(confident)]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares[10] == pytest.approx(0.5, abs=0.03)
