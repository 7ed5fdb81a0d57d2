"""Choosing a setting, and proving it on rows it was not chosen on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.calibrate import Calibration, PairedColumns, calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.families import (
    PomdpFamily,
)
from automix_cli.evaluation.held_out import held_out
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight
from automix_cli.fitting.router_block import Settings, policy_from_router
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.rules import AlwaysPolicy, ThresholdPolicy

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(repeats=1)  # what repeats do has a test of its own
TIERS = ("small", "large")


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


@pytest.fixture(scope="module")
def found(table: TraceTable) -> Calibration:
    return calibrate(table, SETTINGS, Objective("budget", 12.0), options=ONCE)


# ------------------------------------------------------------------ held out


def test_held_out_rows_are_each_seen_once_in_the_order_of_the_table(table: TraceTable) -> None:
    family = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    held = held_out(table, family, Objective("cost_weight", 0.01), options=ONCE, seed=3, abstain_value=0.0)
    fold = folds_of(table, 5, 3)
    for k in range(5):
        policy = family.policy(table.subset(fold != k), CostWeight(0.01))
        run = replay(policy, table, np.flatnonzero(fold == k))
        np.testing.assert_array_equal(held.score[fold == k], run.score)
        np.testing.assert_array_equal(held.cost[fold == k], run.cost)
        np.testing.assert_array_equal(held.escalated[fold == k], run.escalated)
    np.testing.assert_array_equal(held.best_score, table.score[:, 1])


def test_calibration_finds_that_routing_pays_and_says_by_how_much(
    found: Calibration, table: TraceTable
) -> None:
    assert found.verdict is not None
    assert found.verdict.kind == "route"
    assert not found.unproven
    names = {f.name: f for f in found.figures}
    assert set(names) == {"pomdp", "threshold", "oracle", "always:small", "always:medium", "random-mix"}
    assert names["always:medium"].quality.value == pytest.approx(table.score[:, 1].mean())
    assert names["pomdp"].quality.value is not None
    assert names["random-mix"].quality.value is not None
    assert found.verdict.edge == pytest.approx(
        names["pomdp"].quality.value - names["random-mix"].quality.value
    )
    assert found.chance_met is not None
    assert found.chance_met > 0.5
    assert all(
        f.quality.low is not None and f.quality.low <= f.quality.value <= f.quality.high
        for f in found.figures
    )


def test_the_router_block_gives_the_policy_that_was_chosen(found: Calibration) -> None:
    block = json.loads(json.dumps(found.router()))
    assert block["kind"] == "pomdp"
    policy = policy_from_router(block, SETTINGS, ("small", "medium"))
    assert isinstance(policy, PomdpPolicy)
    assert policy.model == found.policy().model  # type: ignore[attr-defined]
    assert block["fitted"]["rows"] == 400
    assert block["fitted"]["held_out"]["pomdp"][1] == found.figures[0].quality.value
    assert "unproven" not in block["fitted"]


def test_the_same_rows_and_seed_give_the_same_calibration(table: TraceTable) -> None:
    few, objective = table.subset(np.arange(60)), Objective("cost_weight", 0.01)
    assert calibrate(few, SETTINGS, objective, options=ONCE) == calibrate(
        few, SETTINGS, objective, options=ONCE
    )


def test_rates_are_what_later_batches_can_be_compared_with(found: Calibration, table: TraceTable) -> None:
    rates = {name: (hits, cases) for name, hits, cases in found.rates}
    assert rates["escalated"][1] == 400
    assert rates["escalated"][0] == int(replay(found.policy(), table).escalated.sum())
    first = table.recorded_votes[0].sequence[:, 0]
    assert rates["small"] == (int((first == 1).sum()), 400)


def shuffled_votes(rows: int) -> TraceTable:
    drawn = draw_rows(two_tiers(), rows, 1)
    recorded_votes = [row["tiers"]["small"]["votes"] for row in drawn]
    order = np.random.default_rng(0).permutation(rows)
    for row, place in zip(drawn, order, strict=True):
        row["tiers"]["small"]["votes"] = recorded_votes[place]
    return table_of(drawn)


def dearer_is_worse(rows: int) -> TraceTable:
    drawn = draw_rows(two_tiers(), rows, 1)
    for row in drawn:
        small, large = row["tiers"]["small"], row["tiers"]["medium"]
        small["score"], large["score"] = large["score"], small["score"]
    return table_of(drawn)


@pytest.mark.parametrize("bad", [shuffled_votes, dearer_is_worse], ids=lambda f: f.__name__)
def test_where_routing_does_not_pay_one_tier_is_written_and_that_is_a_success(bad: Any) -> None:
    result = calibrate(bad(700), SETTINGS, options=ONCE)
    assert result.verdict is not None
    assert result.verdict.kind == "do not route"
    block = result.router()
    assert block["kind"] == "always"
    assert block["tier"] == ("medium" if bad is shuffled_votes else "small")
    assert policy_from_router(block, SETTINGS, ("small", "medium")) == result.policy()


@pytest.mark.parametrize("rows", [1, 5, 19])
def test_too_few_rows_to_hold_any_out_give_an_unproven_router(rows: int) -> None:
    result = calibrate(draw_table(two_tiers(), rows, 0), SETTINGS)
    assert result.verdict is None
    assert result.unproven
    assert result.figures == ()
    assert result.router()["fitted"]["unproven"] is True
    given = calibrate(draw_table(two_tiers(), rows, 0), SETTINGS, Objective("cost_weight", 0.01))
    assert given.router()["kind"] == "pomdp"
    json.dumps(given.router(), allow_nan=False)


def test_no_rows_and_unknown_costs_are_refused(table: TraceTable) -> None:
    with pytest.raises(DataError, match="no rows"):
        calibrate(table.subset(np.arange(0)), SETTINGS)
    with pytest.raises(DataError, match="no cost is recorded"):
        calibrate(table_of([{"tiers": {"a": {"score": 1}, "b": {"score": 0}}}]), SETTINGS)


def test_one_tier_is_legal_and_has_nothing_to_route() -> None:
    one = draw_table(two_tiers(), 100, 0).pick(["small"])
    result = calibrate(one, SETTINGS, options=ONCE)
    assert result.router()["kind"] == "always"
    assert result.router()["tier"] == "small"


def test_a_question_nobody_will_get_right_is_declined_where_that_is_worth_something(
    table: TraceTable,
) -> None:
    settings = replace(SETTINGS, abstain_value=0.5)
    dear = table.with_costs({"medium": 1000.0})
    result = calibrate(dear, settings, Objective("budget", 3.0), options=ONCE)
    router = result.figures[0]
    assert router.abstained > 0.2
    assert router.quality.value is not None
    assert router.quality.value > table.score[:, 0].mean()


def test_columns_keep_their_names_in_the_matrix_that_is_resampled() -> None:
    rng = np.random.default_rng(0)
    columns = PairedColumns(*rng.random((7, 5)), rng.random((5, 3)), rng.random((5, 3)))
    again = PairedColumns.of_matrix(columns.matrix())
    means = PairedColumns.of_matrix(columns.matrix().mean(axis=0))
    for name in PairedColumns._fields:
        np.testing.assert_array_equal(getattr(again, name), getattr(columns, name))
        np.testing.assert_allclose(getattr(means, name), getattr(columns, name).mean(axis=0))


# ------------------------------------------------------------------ reading routers


@pytest.mark.parametrize(
    ("block", "policy"),
    [
        ({"kind": "always", "tier": "large"}, AlwaysPolicy(2, 1)),
        ({"kind": "self-consistency"}, ThresholdPolicy.single(tiers=2, votes=6, cut=0.5)),
        ({"kind": "threshold", "votes": 4, "cut": 0.75}, ThresholdPolicy.single(tiers=2, votes=4, cut=0.75)),
        (
            {"kind": "double-threshold", "low": 0.2, "cut": 0.75},
            ThresholdPolicy.double(tiers=2, votes=6, low=0.2, high=0.75),
        ),
    ],
    ids=lambda x: x.get("kind") if isinstance(x, dict) else "",
)
def test_rules_can_be_written_by_hand(block: dict[str, Any], policy: Any) -> None:
    assert policy_from_router(block, SETTINGS, TIERS) == policy


@pytest.mark.parametrize(
    "block",
    [
        {"kind": "always", "tier": "huge"},
        {"kind": "always"},
        {"kind": "threshold"},
        {"kind": "threshold", "cut": "high"},
        {"kind": "double-threshold", "low": 0.9, "cut": 0.1},
        {"kind": "pomdp"},
        {"kind": "pomdp", "cost_weight": 1.0},
    ],
    ids=str,
)
def test_routers_that_cannot_be_read_say_how_to_write_them_anew(block: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        policy_from_router(block, SETTINGS, TIERS)
    assert "automix calibrate" in caught.value.hint


def test_a_router_fitted_on_other_tiers_is_refused(found: Calibration) -> None:
    with pytest.raises(DataError, match="fitted on small, medium"):
        policy_from_router(found.router(), SETTINGS, TIERS)
