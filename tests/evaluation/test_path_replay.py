"""A family's settings, played all at once, come to what `replay` says of each policy alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from orders import make_rows, make_table

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.families import CostGrid, FittedFamily
from automix_cli.evaluation.plan_family import FittedPlans, PlanFamily
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts

SETTINGS = Settings(max_votes=4, batch=(1, 2))
GRID = CostGrid(weights=12)


# ------------------------------------------------------------------ tables


def drawn(
    n: int,
    *,
    tiers: int = 2,
    signal: Any = "votes",
    unparsed: bool = False,
    failures: float = 0.0,
    missing: float = 0.0,
    lengths: tuple[int, ...] = (100, 150, 200),
    wrong: int = 0,
    seed: int = 0,
) -> TraceTable:
    """Rows on which votes and confidences say something of the answers.

    Wrong answers are one of `wrong` different ones; with 0 the rows hold no answers.
    """
    rng, names = random.Random(seed), ("small", "middle", "large", "huge")[:tiers]
    rows = []
    for i in range(n):
        row: dict[str, Any] = {"id": i, "tiers": {}}
        for k, name in enumerate(names):
            tokens, cost = rng.choice(lengths), 10.0**k * rng.uniform(0.5, 1.5)
            row["tiers"][name] = {"cost": cost * tokens / 100, "input_tokens": tokens}
            if rng.random() < failures:
                row["tiers"][name]["failed"] = "filtered"
                continue
            right = rng.random() < 0.5 + 0.15 * k
            chance = rng.betavariate(3, 1.5) if right else rng.betavariate(1.5, 3)
            votes = [
                None if unparsed and rng.random() < 0.2 else int(rng.random() < chance)
                for _ in range(4 + rng.choice([0, 0, 2]))
            ]
            row["tiers"][name] |= {
                "score": (1, 0.75)[rng.random() < 0.3] if right else (0, 0.25)[rng.random() < 0.3],
                "votes": votes,
                "vote_cost": cost / 8,
                "round_cost": cost / 50,
                "confidence": None if rng.random() < missing else chance,
            }
            if wrong:
                row["tiers"][name]["answer"] = "right" if right else f"wrong {rng.randrange(wrong)}"
            if signal == "consistency":
                agreeing = sum(rng.random() < chance for _ in range(3)) + 1
                row["tiers"][name] |= {"samples": ["a"] * 4, "confidence": agreeing / 4}
        rows.append(row)
    return make_table(rows, signal=signal, tiers=names, compare="exact")


def parts(table: TraceTable) -> tuple[TraceTable, np.ndarray]:
    """The first half, to fit, and the places of all rows, to play."""
    return table.subset(np.arange(len(table) // 2)), np.arange(len(table))


# ------------------------------------------------------------------ computed plans


def assert_plays_as_each_policy(
    fitted: FittedFamily, policies: dict[int, Any], table: TraceTable, rows: np.ndarray, **options: Any
) -> None:
    places = np.array(list(policies))
    played = fitted.play(table, rows, places)
    assert played.score.shape == played.cost.shape == (len(places), len(rows))
    for k, policy in enumerate(policies.values()):
        run = replay(policy, table, rows, **options)
        np.testing.assert_allclose(played.score[k], run.score, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(played.cost[k], run.cost, rtol=1e-10, atol=1e-12)


def some(fitted: FittedPlans, step: int = 3) -> list[int]:
    return [*range(0, len(fitted.weights), step)]


def policies_of(fitted: FittedPlans) -> dict[int, PomdpPolicy]:
    """The policy of some settings, each of which plans for a question's own length."""
    return {k: fitted.policy(k) for k in some(fitted)}


CASES: dict[str, dict[str, Any]] = {
    "votes": {},
    "votes that may not be read": {"unparsed": True},
    "three tiers": {"tiers": 3},
    "three tiers, votes that may not be read": {"tiers": 3, "unparsed": True},
    "confidence": {"signal": "logprob"},
    "confidence, some missing": {"signal": "logprob", "missing": 0.2},
    "verdict": {"signal": "verdict"},
    "verdict, some missing": {"signal": "verdict", "missing": 0.2, "tiers": 3},
    "samples": {"signal": "consistency", "tiers": 3},
    "failures": {"failures": 0.2, "tiers": 3},
    "failures and confidence": {"failures": 0.2, "signal": "logprob", "missing": 0.2},
    "no lengths": {"lengths": (100,)},
    "answers": {"wrong": 3, "tiers": 3},
    "answers and failures": {"wrong": 4, "tiers": 3, "failures": 0.2, "unparsed": True},
}


ABSTAINING = ("votes", "three tiers", "confidence, some missing", "verdict, some missing", "failures")


@pytest.mark.parametrize(
    ("case", "abstain_value"), [*((case, None) for case in CASES), *((case, 0.4) for case in ABSTAINING)]
)
def test_all_plans_of_a_path_played_at_once_are_each_replayed_alone(
    case: str, abstain_value: float | None
) -> None:
    table = drawn(120, **CASES[case])
    settings = replace(SETTINGS, abstain_value=abstain_value)
    fitted = PlanFamily(settings=settings, grid=GRID).fit(table)
    assert (fitted.parameters.agreement is not None) == ("wrong" in CASES[case])
    assert_plays_as_each_policy(
        fitted, policies_of(fitted), table, np.arange(120), abstain_value=abstain_value or 0.0
    )


def test_votes_of_the_last_tier_and_all_votes_in_one_round_are_played_too() -> None:
    table = drawn(120, unparsed=True)
    for family in (
        PlanFamily(settings=replace(SETTINGS, last_tier=True), grid=GRID),
        PlanFamily(settings=SETTINGS, grid=GRID, at_once=True),
    ):
        fitted = family.fit(table)
        assert_plays_as_each_policy(fitted, policies_of(fitted), table, np.arange(120))
    assert {a.votes for p in policies_of(fitted).values() for a in p.plan().actions} == {0, 4}


UNFORESEEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "votes that cannot be read": ({}, {"unparsed": True}),
    "failures": ({}, {"failures": 0.3}),
    "failures of three tiers": ({"tiers": 3}, {"failures": 0.3, "tiers": 3}),
    "answers that are not recorded": ({"wrong": 3, "tiers": 3}, {"tiers": 3}),
    "missing confidence": ({"signal": "logprob"}, {"signal": "logprob", "missing": 0.3}),
    "missing verdict": ({"signal": "verdict"}, {"signal": "verdict", "missing": 0.3, "failures": 0.2}),
    "failures beside samples": ({"signal": "consistency"}, {"signal": "consistency", "failures": 0.3}),
}


@pytest.mark.parametrize("case", UNFORESEEN)
def test_evidence_of_a_kind_that_no_row_of_the_fit_had_is_planned_anew(case: str) -> None:
    seen, new = ({"lengths": (100,)} | options for options in UNFORESEEN[case])
    fitted = PlanFamily(settings=SETTINGS, grid=GRID).fit(drawn(100, **seen))
    table = drawn(60, seed=5, **new)
    policies = {k: fitted.policy(k) for k in some(fitted)}
    assert_plays_as_each_policy(fitted, policies, table, np.arange(60))


def test_rows_with_fewer_votes_are_played_where_no_more_are_bought_and_else_refused() -> None:
    table = drawn(100)
    few = table.votes.copy()
    few[3, 0], few[:10, 1] = (1, 0, 0), 0  # no rule looks at the last tier
    short, train = table_with_votes(table, few), table.subset(np.arange(10, 100))
    rules = ThresholdFamily(settings=SETTINGS, max_votes=4).fit(train)
    places = rules.places(rules.levels())
    with pytest.raises(DataError, match=r"buys 2 votes of tier 'small', and row 3 holds 1"):
        rules.play(short, np.arange(10), places)
    chosen = {int(k): rules.policy(int(k)) for k in places[:3]}
    assert [own.rules[0].votes for own in chosen.values()] == [1, 1, 1]
    assert_plays_as_each_policy(rules, chosen, short, np.arange(10))
    assert_plays_as_each_policy(rules, {8: rules.policy(8)}, short, np.arange(4, 10))
    plans = PlanFamily(settings=SETTINGS, grid=CostGrid(fixed=(0.0, 10.0))).fit(train)
    with pytest.raises(DataError, match=r"buys . votes of tier 'small', and row 0 holds 0"):
        plans.play(table_with_votes(table, 0 * few), np.arange(10), np.array([0]))
    assert_plays_as_each_policy(plans, {1: plans.policy(1)}, short, np.arange(10))


def table_with_votes(table: TraceTable, votes: np.ndarray) -> TraceTable:
    recorded = tuple(own.of(votes[:, j]) for j, own in enumerate(table.recorded_votes))
    return replace(table, votes=votes, recorded_votes=recorded)


# ------------------------------------------------------------------ lengths and classes


@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.parametrize("octaves", [0.2, 2.0, 6.0])
def test_prompts_of_different_lengths_have_the_plans_that_their_policies_follow(
    octaves: float, tiers: int
) -> None:
    """What calibration chooses by is what is written, to the cent."""
    lengths = tuple(int(50 * 2 ** (octaves * k / 7)) for k in range(8))
    table = drawn(120, tiers=tiers, lengths=lengths)
    fitted = PlanFamily(settings=SETTINGS, grid=GRID).fit(table)
    policies = policies_of(fitted)
    assert_plays_as_each_policy(fitted, policies, table, np.arange(120))
    for k, run in zip(policies, fitted.runs(table, np.arange(120), np.array([*policies])), strict=True):
        alone = replay(policies[k], table)
        for name in RowOutcomes._fields:
            np.testing.assert_allclose(getattr(run, name), getattr(alone, name), rtol=1e-10, atol=1e-12)


def test_long_prompts_are_asked_of_other_tiers_than_short_ones() -> None:
    table = drawn(120, tiers=3, lengths=(50, 300, 4000))
    fitted = PlanFamily(settings=SETTINGS, grid=GRID).fit(table)
    middle = replay(fitted.policy(some(fitted)[2]), table).asks
    assert len({tuple(row) for row in middle.round(6)}) > 1


def test_each_class_of_questions_has_plans_of_its_own() -> None:
    table = drawn(160)
    easy = (table.score[:, 0] >= 0.5).astype(np.intp)
    classed = replace(table, question_classes=np.where(np.arange(160) % 5 == 0, 1 - easy, easy), n_classes=2)
    fitted = PlanFamily(settings=SETTINGS, grid=GRID).fit(classed)
    assert_plays_as_each_policy(fitted, policies_of(fitted), classed, np.arange(160))
    priors = fitted.parameters.priors()
    assert priors[0][3] < priors[1][3]


def test_the_planned_cost_of_each_place_is_that_of_its_policy() -> None:
    for options in ({}, {"lengths": (50, 300, 4000)}, {"failures": 0.2, "tiers": 3}):
        fitted = PlanFamily(settings=SETTINGS, grid=GRID).fit(drawn(120, **options))
        tokens = fitted.parameters.mean_tokens
        for k, policy in policies_of(fitted).items():
            cost = policy.forecast(Facts(tokens)).cost
            assert fitted.spending[k] == pytest.approx(cost, rel=2e-2)


# ------------------------------------------------------------------ fixed rules

RULES: dict[str, dict[str, Any]] = {
    "votes": {},
    "votes that may not be read": {"unparsed": True},
    "three tiers": {"tiers": 3, "unparsed": True},
    "four tiers": {"tiers": 4},
    "confidence": {"signal": "logprob", "missing": 0.2},
    "confidence of three tiers": {"signal": "logprob", "tiers": 3},
    "verdict": {"signal": "verdict", "missing": 0.2},
    "samples": {"signal": "consistency", "tiers": 3},
    "failures": {"failures": 0.3},
    "failures of three tiers": {"failures": 0.4, "tiers": 3, "unparsed": True},
    "failures and confidence": {"failures": 0.3, "signal": "logprob"},
    "failures and verdict": {"failures": 0.3, "signal": "verdict", "missing": 0.2},
}


@pytest.mark.parametrize("double", [False, True], ids=["one cut", "two cuts"])
@pytest.mark.parametrize("case", RULES)
def test_all_rules_of_a_family_played_at_once_are_each_replayed_alone(case: str, double: bool) -> None:
    table = drawn(90, **RULES[case])
    train, rows = parts(table)
    settings = replace(SETTINGS, abstain_value=0.25)
    family = ThresholdFamily(settings=settings, max_votes=3 * (table.signals[0] == "votes"), double=double)
    if table.signals[0] == "verdict":
        family = replace(family, max_votes=1)
    fitted = family.fit(train)
    places = fitted.places(fitted.levels())
    chosen = {int(k): fitted.policy(int(k)) for k in places[:: max(1, len(places) // 8)]}
    assert_plays_as_each_policy(fitted, chosen, table, rows, abstain_value=0.25)
    for k in list(chosen)[:3]:
        assert family.policy(train, fitted.settings[k]) == fitted.policy(k)


def test_all_tiers_may_fail_and_then_nothing_is_reported() -> None:
    rows = make_rows(30, failures=0.6)
    table = make_table(rows, signal="votes")
    mute = table.failed.all(axis=1)
    assert mute.any()
    family = ThresholdFamily(settings=replace(SETTINGS, abstain_value=0.5), max_votes=2)
    fitted = family.fit(table)
    played = fitted.play(table, np.arange(30), fitted.places(fitted.levels()))
    assert (played.score[:, mute] == 0.5).all()
    np.testing.assert_allclose(
        played.cost[:, mute], np.tile(table.cost.sum(axis=1)[mute], (len(played.cost), 1))
    )
