"""Choosing a setting, and proving it on rows it was not chosen on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, GateError
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.crossfit import NO_CURVE, Crossfit, Curve, CurveSums, crossfit, folds_of
from automix_cli.evaluation.families import (
    COST_GRID,
    Candidate,
    CostPath,
    PomdpFamily,
    ThresholdFamily,
    cost_weights,
)
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.held_out import held_out
from automix_cli.evaluation.objective import Objective, choose
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always, CostWeight, DoubleThreshold, Setting, Threshold
from automix_cli.fitting.fit import fit
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


# ------------------------------------------------------------------ the path


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
    assert cost_weights(table.priced({"small": 2.0, "medium": 2.0}))[-1] == pytest.approx(2.0)
    assert cost_weights(table.priced({"small": 0.0, "medium": 0.0})) == (0.0,)


# ------------------------------------------------------------------ folds


def test_every_row_is_in_one_fold_of_equal_size_whatever_the_order_of_the_file() -> None:
    fold = folds_of(103, 5, 0)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    assert (folds_of(103, 5, 0) == fold).all()
    assert (folds_of(103, 5, 1) != fold).any()


def test_cross_fitted_points_never_come_from_rows_the_policy_was_fitted_on(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[Any]] = []

    def candidates(self: PomdpFamily, part: TraceTable) -> list[Candidate]:
        fitted.append(set(part.ids))
        return [Candidate(CostWeight(0.0), AlwaysPolicy(2, 0))]

    def seen(policy: Any, whole: TraceTable, rows: Any = None, **kw: Any) -> Any:
        assert not fitted[-1] & set(whole.ids[rows])
        measured.update(whole.ids[rows])
        return replay(policy, whole, rows, **kw)

    measured: set[Any] = set()
    monkeypatch.setattr(PomdpFamily, "candidates", candidates)
    monkeypatch.setattr("automix_cli.evaluation.crossfit.replay", seen)
    curve = crossfit(table, PomdpFamily(settings=SETTINGS, weights=(0.0,)), options=ONCE, seed=0)
    assert len(fitted) == 5
    assert measured == set(table.ids)
    assert curve.points[0].quality == pytest.approx(table.score[:, 0].mean())


def test_with_few_rows_other_folds_and_other_orders_of_votes_are_averaged(
    table: TraceTable,
) -> None:
    family = ThresholdFamily(settings=SETTINGS, max_votes=2)
    once = [crossfit(table.reseed(r), family, options=ONCE, seed=1000 * r) for r in range(3)]
    thrice = crossfit(table, family, options=Crossfit(repeats=3), seed=0)
    for k, point in enumerate(thrice.points):
        assert point.quality == pytest.approx(np.mean([curve.points[k].quality for curve in once]))
    assert crossfit(table, family, options=Crossfit(repeats=3, few_rows=100), seed=0) == once[0]


def test_a_path_is_laid_in_even_steps_of_planned_cost(table: TraceTable) -> None:
    """Every twentieth of the range has a setting, unless no plan spends about so much."""
    laid = PomdpFamily(settings=SETTINGS).with_cost_grid(table)
    assert len(laid.weights) <= COST_GRID.spending_steps + 1
    assert list(laid.weights) == sorted(laid.weights)
    assert list(laid.spending) == sorted(laid.spending, reverse=True)
    every = [fit(table, SETTINGS).policy(w, SETTINGS) for w in cost_weights(table)]
    costs = np.array([policy.forecast().cost for policy in every])
    assert (laid.spending[0], laid.spending[-1]) == pytest.approx((costs.max(), costs.min()))
    for target in np.linspace(costs.min(), costs.max(), COST_GRID.spending_steps + 1):
        assert np.abs(np.array(laid.spending) - target).min() == pytest.approx(np.abs(costs - target).min())


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
    laid = PomdpFamily(settings=SETTINGS).with_cost_grid(table)
    as_they_are = PomdpFamily(settings=SETTINGS, weights=laid.weights)

    def misses(family: PomdpFamily) -> float:
        spent = [found.policy.forecast().cost for found in family.candidates(fold)]
        return float(np.abs(np.array(spent) - laid.spending).mean())

    assert misses(laid) < 0.2 * misses(as_they_are)
    for found, weight in zip(as_they_are.candidates(fold), laid.weights, strict=True):
        assert found.policy.model.cost_weight == weight
        assert found.setting == CostWeight(weight)
    assert laid.policy(fold, CostWeight(0.01)).model.cost_weight == 0.01


def test_folds_are_laid_along_the_rows_whose_setting_is_chosen(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PomdpFamily] = []

    def candidates(self: PomdpFamily, part: TraceTable) -> list[Candidate]:
        seen.append(self)
        return [Candidate(CostWeight(0.0), AlwaysPolicy(2, 0))]

    monkeypatch.setattr(PomdpFamily, "candidates", candidates)
    crossfit(table, PomdpFamily(settings=SETTINGS), options=Crossfit(folds=2, repeats=1), seed=0)
    assert set(seen) == {PomdpFamily(settings=SETTINGS).with_cost_grid(table)}
    seen.clear()
    given = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    crossfit(table, given, options=Crossfit(folds=2, repeats=1), seed=0)
    assert set(seen) == {given}  # one cost_weight that the user gave


def test_tiers_that_score_or_cost_the_same_have_a_path_all_the_same(table: TraceTable) -> None:
    alike = replace(table, score=np.repeat(table.score[:, :1], 2, axis=1))
    free = table.priced({"small": 0.0, "medium": 0.0})
    for rows in (alike, free, table.subset(np.arange(0)), table.subset(np.arange(1))):
        laid = PomdpFamily(settings=SETTINGS).with_cost_grid(rows)
        assert laid.weights
        assert all(math.isfinite(x) for x in (*laid.weights, *laid.spending))
    assert PomdpFamily(settings=SETTINGS).with_cost_grid(free).weights == (0.0,)


def test_equal_plans_are_replayed_once_and_give_what_each_would_give(table: TraceTable) -> None:
    family = PomdpFamily(settings=SETTINGS, weights=cost_weights(table))
    train, rows = table.subset(np.arange(200)), np.arange(200, 400)
    candidates = family.candidates(train)
    assert len({c.key for c in candidates}) < 50
    sums = CurveSums()
    sums.add(candidates, table, rows, 0.0)
    for point, candidate in zip(sums.curve().points, candidates, strict=True):
        run = replay(candidate.policy, table, rows)
        assert point == pytest.approx((run.cost.mean(), run.score.mean()))


def test_with_many_rows_one_turn_is_enough_to_choose(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []
    original = PomdpFamily.candidates
    monkeypatch.setattr(
        PomdpFamily, "candidates", lambda self, part: turns.append(len(part)) or original(self, part)
    )
    family = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    crossfit(table, family, options=Crossfit(many_rows=300, few_rows=300), seed=0)
    assert turns == [320]


# ------------------------------------------------------------------ objectives

SINGLES = (Point(1.0, 0.6), Point(11.0, 0.9))
CURVE = Curve(
    tuple(CostWeight(w) for w in (0.0, 0.1, 0.2, 0.3)),
    (Point(12.0, 0.92), Point(6.0, 0.88), Point(5.0, 0.70), Point(3.0, 0.75)),
)


@pytest.mark.parametrize(
    ("objective", "setting", "met"),
    [
        (Objective("keep", 0.97), CostWeight(0.1), True),
        (Objective("keep", 0.8), CostWeight(0.3), True),
        (Objective("keep", 0.5), Always("small"), True),
        (Objective("keep", 1.0), CostWeight(0.0), True),
        (Objective("budget", 7.0), CostWeight(0.1), True),
        (Objective("budget", 2.0), Always("small"), True),
        (Objective("budget", 0.5), Always("small"), False),
        (Objective("cost_weight", 0.2), CostWeight(0.2), True),
        (Objective("ibc", 0.0), CostWeight(0.3), True),
    ],
    ids=str,
)
def test_each_objective_takes_the_corner_of_the_hull_it_asks_for(
    objective: Objective, setting: Setting, met: bool
) -> None:
    chosen = choose(CURVE, TIERS, SINGLES, objective)
    assert chosen.setting == setting
    assert chosen.met == met


def test_a_single_tier_is_preferred_to_a_policy_that_comes_to_the_same() -> None:
    same = Curve((CostWeight(9.0),), (SINGLES[0],))
    assert choose(same, TIERS, SINGLES, Objective("keep", 0.5)).setting == Always("small")


def test_an_undefined_ibc_is_a_gate_that_is_not_met() -> None:
    with pytest.raises(GateError, match="the large tier is not better"):
        choose(CURVE, TIERS, (Point(1.0, 0.9), Point(11.0, 0.6)), Objective("ibc"))
    below = Curve((CostWeight(1.0),), (Point(6.0, 0.6),))
    with pytest.raises(GateError, match="no setting is above"):
        choose(below, TIERS, SINGLES, Objective("ibc"))


def test_no_setting_below_a_mix_of_single_tiers_is_ever_chosen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = tuple(
            Point(float(c), float(q)) for c, q in zip(rng.uniform(1, 11, 8), rng.random(8), strict=True)
        )
        curve = Curve(tuple(CostWeight(float(k)) for k in range(8)), points)
        for objective in (
            Objective("keep", float(rng.uniform(0.5, 1))),
            Objective("budget", float(rng.uniform(1, 11))),
        ):
            point = choose(curve, TIERS, SINGLES, objective).point
            mix = 0.6 + 0.3 * (min(point.cost, 11.0) - 1) / 10
            assert point.quality >= mix - 1e-12


# ------------------------------------------------------------------ families


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


# ------------------------------------------------------------------ held out


def test_held_out_rows_are_each_seen_once_in_the_order_of_the_table(table: TraceTable) -> None:
    family = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    held = held_out(table, family, Objective("cost_weight", 0.01), options=ONCE, seed=3, abstain_value=0.0)
    fold = folds_of(len(table), 5, 3)
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
    first = table.recorded_votes[0].drawn[:, 0]
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
    dear = table.priced({"medium": 1000.0})
    result = calibrate(dear, settings, Objective("budget", 3.0), options=ONCE)
    router = result.figures[0]
    assert router.abstained > 0.2
    assert router.quality.value is not None
    assert router.quality.value > table.score[:, 0].mean()


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


def test_without_a_curve_only_single_tiers_are_chosen() -> None:
    assert choose(NO_CURVE, TIERS, SINGLES, Objective("keep", 0.9)).setting == Always("large")
