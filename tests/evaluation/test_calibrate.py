"""Choosing a setting, and proving it on rows it was not chosen on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.calibrate import Calibration, PairedColumns, calibrate
from automix_cli.evaluation.crossfit import Crossfit, singles
from automix_cli.evaluation.held_out import held_out
from automix_cli.evaluation.held_out_trial import HeldOutTrial
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.rates import rates_of
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always, CostWeight
from automix_cli.evaluation.verdict import edge_of
from automix_cli.fitting.router_block import Settings, policy_from_router
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.rules import AlwaysPolicy, ThresholdPolicy

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(folds=3, repeats=1)  # what repeats do has a test of its own
TIERS = ("small", "large")


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 300, 0)


@pytest.fixture(scope="module")
def found(table: TraceTable) -> Calibration:
    return calibrate(table, SETTINGS, Objective("budget", 12.0), options=ONCE)


@pytest.mark.parametrize(("weight", "tier"), [(1e3, 0), (0.0, None)], ids=["dear", "for nothing"])
def test_threshold_rules_are_chosen_by_the_cost_weight_that_is_asked_for(
    table: TraceTable, weight: float, tier: int | None
) -> None:
    alone = singles(table)
    trial = HeldOutTrial(
        table=table,
        settings=SETTINGS,
        objective=Objective("cost_weight", weight),
        options=ONCE,
        seed=0,
        resamples=Resamples.of_table(table, 0),
        signals=None,
    )
    run = trial.run_thresholds()
    if tier is None:
        assert run.score.mean() >= alone.score[:, 1].mean() - 0.01
    else:
        np.testing.assert_allclose(run.cost, alone.cost[:, tier])


# ------------------------------------------------------------------ held-out figures


def test_calibration_finds_that_routing_pays_and_says_by_how_much(
    found: Calibration, table: TraceTable
) -> None:
    assert found.verdict is not None
    assert found.verdict.kind == "route"
    assert not found.unproven
    names = {f.name: f for f in found.figures}
    assert set(names) == {"pomdp", "threshold", "oracle", "always:small", "always:medium", "random-mix"}
    assert names["always:medium"].quality.value == pytest.approx(table.score[:, 1].mean())
    assert found.chance_met is not None
    assert found.chance_met > 0.5
    assert all(
        f.quality.low is not None and f.quality.low <= f.quality.value <= f.quality.high
        for f in found.figures
    )
    assert names["oracle"].quality.value == pytest.approx(table.score.max(axis=1).mean())
    assert found.single_folds == (0, 3)
    assert found.alternative is None


def test_figures_and_verdict_are_those_of_the_held_out_run(found: Calibration, table: TraceTable) -> None:
    resamples = Resamples.of_table(table, 0)
    (run,) = held_out(
        table,
        PlanFamily(settings=SETTINGS),
        [Objective("budget", 12.0)],
        seed=0,
        resamples=resamples,
        options=ONCE,
    ).runs
    router, verdict = found.figures[0], found.verdict
    assert (router.cost.value, router.quality.value) == pytest.approx((run.cost.mean(), run.score.mean()))
    assert (router.escalated, router.abstained, router.votes) == run.shares
    assert verdict is not None
    own = edge_of(run.score, run.cost, *singles(table), resamples)
    assert (verdict.edge, verdict.low, verdict.high) == pytest.approx(own[:3], abs=1e-12)
    draws = resamples.means(run.cost)
    assert found.chance_met == (draws <= 12.0).mean()


def test_the_router_block_gives_the_policy_that_was_chosen(found: Calibration) -> None:
    block = json.loads(json.dumps(found.router()))
    assert block["kind"] == "pomdp"
    policy = policy_from_router(block, SETTINGS, ("small", "medium"))
    assert isinstance(policy, PomdpPolicy)
    assert policy.model == found.policy().model  # type: ignore[attr-defined]
    assert block["fitted"]["rows"] == 300
    assert block["fitted"]["held_out"]["pomdp"][1] == found.figures[0].quality.value
    assert block["fitted"]["written"] == list(found.written_point)
    assert "unproven" not in block["fitted"]


def test_the_same_rows_and_seed_give_the_same_calibration(table: TraceTable) -> None:
    few, objective = table.subset(np.arange(40)), Objective("cost_weight", 0.01)
    first, again, other = (calibrate(few, SETTINGS, objective, options=ONCE, seed=s) for s in (0, 0, 1))
    assert numbers_of(first) == numbers_of(again)
    assert first.router() == again.router()
    assert numbers_of(first) != numbers_of(other)


def test_rates_are_what_later_batches_can_be_compared_with(found: Calibration, table: TraceTable) -> None:
    rates = {name: (hits, cases) for name, hits, cases in found.rates}
    assert rates["escalated"][1] == 300
    assert rates["escalated"][0] == round(replay(found.policy(), table).escalated.sum())
    correct = table.votes[:, 0, 0] / table.votes[:, 0].sum(axis=1)  # the chance that the first one says so
    assert rates["small"] == (round(correct.sum()), 300)
    often = table.subset(np.repeat(np.arange(300), 4))
    assert rates_of(often, replay(found.policy(), often)) == found.rates, "copies tell no more"


# ------------------------------------------------------------------ nothing but the content counts


def test_renaming_tiers_and_reordering_rows_and_votes_change_no_figure() -> None:
    """The names of the two tiers change places, so that none can have come from a name."""
    rows, rng = draw_rows(two_tiers(), 100, 3), np.random.default_rng(0)
    changed = []
    for place in rng.permutation(100):
        small, medium = (dict(rows[place]["tiers"][name]) for name in ("small", "medium"))
        small["votes"] = rng.permutation(small["votes"]).tolist()
        changed.append({**rows[place], "tiers": {"medium": small, "small": medium}})
    tables = table_of(rows), table_of(changed, tiers=("medium", "small"))
    plain, again = (calibrate(t, SETTINGS, Objective("keep", 0.95), options=ONCE) for t in tables)
    assert kinds_of(again) == kinds_of(plain)
    np.testing.assert_allclose(numbers_of(again), numbers_of(plain), rtol=0, atol=1e-9)


def kinds_of(calibration: Calibration) -> list[Any]:
    """What is said, without names of tiers."""
    assert calibration.verdict is not None
    return [
        calibration.verdict.kind,
        calibration.verdict.more_rows,
        calibration.single_folds,
        calibration.alternative is None,
        calibration.tiers.index(calibration.single),
        [f.name for f in calibration.figures if not f.name.startswith("always")],
        [(hits, cases) for _, hits, cases in calibration.rates],
    ]


def numbers_of(calibration: Calibration) -> list[float]:
    """All that is computed."""
    verdict, setting = calibration.verdict, calibration.choice.setting
    assert verdict is not None
    found = [
        verdict.edge,
        verdict.low,
        verdict.high,
        calibration.chance_met or 0.0,
        *calibration.choice.point,
    ]
    found.append(setting.value if isinstance(setting, CostWeight) else -1.0)
    for figure in calibration.figures:
        for measure in (figure.cost, figure.quality):
            found += [float(x) for x in (measure.value, measure.low, measure.high) if x is not None]
        found += [figure.escalated, figure.abstained, figure.votes]
    found += [number for point in calibration.path.points for number in point]
    return found


# ------------------------------------------------------------------ verdicts


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
def test_where_every_fold_chose_a_single_tier_no_more_is_said_and_that_tier_is_written(bad: Any) -> None:
    """d is 0 by construction then, with an interval of no width: no evidence, and no "do not route"."""
    result = calibrate(bad(300), SETTINGS, options=ONCE)
    assert result.verdict is not None
    assert result.verdict.kind == "single tier"
    assert result.single_folds == (3, 3)
    assert result.verdict[1:4] == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert result.verdict.more_rows == 100
    assert result.alternative is None
    assert result.unproven
    block = result.router()
    assert block["kind"] == "always"
    assert block["tier"] == ("medium" if bad is shuffled_votes else "small")
    assert block["fitted"]["unproven"] is True
    assert policy_from_router(block, SETTINGS, ("small", "medium")) == result.policy()


def test_a_single_tier_comes_with_the_strictest_lower_share_at_which_routing_pays() -> None:
    """Nothing keeps all of the large tier's quality but the tier itself; at 95 % routing pays."""
    table = draw_table(two_tiers(), 300, 0)
    strict = calibrate(table, SETTINGS, Objective("keep", 1.0, 0.99), options=ONCE)
    assert strict.verdict is not None
    assert strict.verdict.kind == "single tier"
    assert isinstance(strict.choice.setting, Always)
    other = strict.alternative
    assert other is not None
    assert other.keep in (0.95, 0.9)
    (run,) = held_out(
        table,
        PlanFamily(settings=SETTINGS),
        [Objective("keep", other.keep, 0.99)],
        seed=0,
        resamples=Resamples.of_table(table, 0),
        options=ONCE,
    ).runs
    assert run.single_folds < 2
    assert other.saving == pytest.approx(1 - run.cost.mean() / table.cost[:, 1].mean())
    assert other.edge.value == pytest.approx(
        edge_of(run.score, run.cost, *singles(table), Resamples.of_table(table, 0)).value
    )
    assert other.edge.low > 0
    loose = calibrate(table, SETTINGS, Objective("keep", other.keep), options=ONCE)
    assert loose.verdict is not None
    assert loose.verdict.kind == "route"


def test_a_cost_weight_whose_plan_asks_one_tier_only_is_no_evidence_either() -> None:
    result = calibrate(shuffled_votes(200), SETTINGS, Objective("cost_weight", 0.003), options=ONCE)
    router = result.figures[0]
    assert (router.escalated, router.votes) == (0, 0)
    assert result.single_folds == (3, 3)
    assert result.verdict is not None
    assert result.verdict.kind == "single tier"
    assert result.unproven
    assert isinstance(result.choice.setting, Always)
    assert result.router()["kind"] == "always"


def test_where_policies_ran_and_surely_gained_nothing_one_tier_is_written_and_that_is_a_success() -> None:
    """The large tier is right on one row in fifty more, and at cost_weight 0 most rows go there."""
    rows = draw_rows(two_tiers(), 400, 1)
    for row in rows:
        row["tiers"]["medium"]["score"] = row["tiers"]["small"]["score"] if row["id"] % 50 else 1
    result = calibrate(table_of(rows), SETTINGS, Objective("cost_weight", 0.0), options=ONCE)
    assert result.verdict is not None
    assert result.single_folds[0] == 0
    assert 0.5 < result.figures[0].escalated < 0.9
    assert result.verdict.kind == "do not route"
    assert result.router()["kind"] == "always"
    assert not result.unproven


def test_copies_of_few_questions_or_one_question_that_outweighs_the_rest_give_no_verdict() -> None:
    rows = draw_rows(two_tiers(), 29, 0)
    copies = [
        {**r, "id": f"{r['id']}/{c}", "question": f"question {r['id']}"} for r in rows for c in range(8)
    ]
    few = calibrate(table_of(copies), SETTINGS, Objective("budget", 12.0), options=ONCE)
    assert few.verdict is None
    assert few.figures
    many = draw_rows(two_tiers(), 60, 0)
    heavy = [*many, *({**many[0], "id": f"copy {c}"} for c in range(9))]
    for row in heavy:
        row["question"] = f"question {row['id'] if str(row['id']).isdigit() else 0}"
    result = calibrate(table_of(heavy), SETTINGS, Objective("budget", 12.0), options=ONCE)
    assert result.verdict is None
    assert result.unproven


@pytest.mark.parametrize("rows", [1, 5, 19])
def test_too_few_rows_to_hold_any_out_give_an_unproven_router(rows: int) -> None:
    result = calibrate(draw_table(two_tiers(), rows, 0), SETTINGS)
    assert result.verdict is None
    assert result.unproven
    assert result.figures == ()
    assert result.router()["fitted"]["unproven"] is True
    assert result.router()["tier"] == result.tiers[-1]
    given = calibrate(draw_table(two_tiers(), rows, 0), SETTINGS, Objective("cost_weight", 0.01))
    assert given.router()["kind"] == "pomdp"
    json.dumps(given.router(), allow_nan=False)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_few_rows_that_come_out_alike_hand_nothing_to_a_cheaper_tier(right: float) -> None:
    rows = draw_rows(two_tiers(), 12, 0)
    for row in rows:
        for tier in row["tiers"].values():
            tier["score"] = right
    result = calibrate(table_of(rows), SETTINGS)
    assert result.router()["tier"] == result.tiers[-1]
    assert result.unproven


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
