"""`replay` is the exact expectation of `rollout` over every order of each row's recorded votes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from orders import (
    TIERS,
    VOTES,
    Whimsical,
    assert_equals_every_order,
    expectation_on_row,
    facts_of_row,
    make_rows,
    make_table,
)

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import ConfidenceObservations, ConsistencyObservations, VoteObservations
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, History, Observation, rollout
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy, QuestionPolicy, ThresholdPolicy


def pomdp(**changes: Any) -> PomdpPolicy:
    seen = VoteObservations(shapes=((1.0, 2.0), (3.0, 1.0)), unparsed=0.15)
    tier = TierModel(observation=seen, max_votes=VOTES, answer=Cost(0.001, 1e-6), vote=Cost(0.0002))
    model = Model(
        tiers=(tier, TierModel(answer=Cost(0.01, 1e-5))),
        priors=((0.1, 0.05, 0.3, 0.55),),
        cost_weight=8.0,
        batch=(1, 2),
        mean_tokens=400,
    )
    return PomdpPolicy(replace(model, **changes))


POLICIES: dict[str, Callable[[], Any]] = {
    "majority in rounds": lambda: MajorityPolicy(tiers=3, max_votes=VOTES),
    "majority one by one": lambda: MajorityPolicy(tiers=3, max_votes=VOTES, batch=(1,)),
    "majority without votes": lambda: MajorityPolicy(tiers=3, max_votes=0),
    "threshold": lambda: ThresholdPolicy.single(tiers=3, votes=3, cut=0.4),
    "double threshold": lambda: ThresholdPolicy.double(tiers=3, votes=4, low=0.3, high=0.8),
    "always": lambda: AlwaysPolicy(tiers=3, tier=1),
    **{f"whim {salt}": lambda salt=salt: Whimsical(salt) for salt in range(6)},
}


# ------------------------------------------------------------------ replay equals every order


@pytest.mark.parametrize("gaps", [0.0, 0.2], ids=["complete", "failures and gaps"])
@pytest.mark.parametrize("name", POLICIES)
def test_replay_is_the_expectation_over_every_order(name: str, gaps: float) -> None:
    table = make_table(make_rows(12, seed=len(name), failures=gaps, gaps=gaps), signal="votes")
    assert table.failed.any() == (gaps > 0)
    policy = POLICIES[name]()
    result = replay(policy, table, abstain_value=0.3)
    assert_equals_every_order(policy, table, result, abstain_value=0.3)
    np.testing.assert_allclose(result.reports.sum(axis=1) + result.abstained, 1.0, atol=1e-12)
    np.testing.assert_allclose(result.pairs.sum(axis=1), result.reports, atol=1e-12)


@pytest.mark.parametrize("salt", range(6))
def test_replay_tells_policies_that_compare_answers_which_earlier_ones_are_equal(salt: int) -> None:
    rows = make_rows(40, seed=salt, failures=0.1, answers=("7", "7.0", "8", "nine"))
    rows[0]["tiers"]["middle"].pop("answer", None)
    table = make_table(rows, signal="votes", compare="numeric")
    policy = Whimsical(salt, compares=True)
    result = replay(policy, table)
    assert_equals_every_order(policy, table, result)
    assert not np.allclose(result.reports, replay(Whimsical(salt), table).reports)


@pytest.mark.parametrize("salt", [0, 3])
def test_drawing_votes_one_by_one_comes_to_what_all_their_permutations_come_to(salt: int) -> None:
    """The second opinion itself, held to every permutation of the recorded votes of two tiers."""
    rows = make_rows(4, seed=salt, tiers=2)
    for row in rows:
        for cell in row["tiers"].values():
            cell["votes"] = cell["votes"][:VOTES]
    table, policy = make_table(rows, signal="votes"), Whimsical(salt, tiers=2)
    for i, row in enumerate(rows):
        orders = [list(permutations(cell["votes"])) for cell in row["tiers"].values()]
        scores = [
            score_in_order(policy, table, i, [first, second]) for first in orders[0] for second in orders[1]
        ]
        assert expectation_on_row(policy, table, i)["score"] == pytest.approx(np.mean(scores), abs=1e-12)


def score_in_order(policy: Any, table: TraceTable, i: int, orders: Any) -> float:
    """The score where the votes of each tier come in this order."""
    n_votes = [0] * len(table.tiers)
    run = rollout(policy, facts_of_row(table, i))
    seen = None
    while True:
        try:
            action = (next(run) if seen is None else run.send(seen)).action
        except StopIteration as stop:
            end = stop.value.action
            return float(table.score[i, end.tier]) if end.kind == "report" else 0.0
        seen = Observation()
        if action.kind == "vote":
            first = n_votes[action.tier]
            n_votes[action.tier] += action.votes
            drawn = orders[action.tier][first : n_votes[action.tier]]
            seen = Observation(drawn.count(1), len(drawn) - drawn.count(None), len(drawn))


@pytest.mark.parametrize("salt", range(4))
@pytest.mark.parametrize("signal", ["logprob", "verdict", "consistency"])
def test_replay_is_the_expectation_for_every_signal(signal: Any, salt: int) -> None:
    k, votes = 4 * (signal == "consistency"), int(signal == "verdict")
    rows = make_rows(40, seed=salt, failures=0.1)
    for tier in (tier for row in rows for tier in row["tiers"].values() if "failed" not in tier and k):
        tier |= {"samples": ["a"] * k, "confidence": tier["score"]}  # 0, 1 or 0.25 of four
    table = make_table(rows, signal=signal)
    for policy in (Whimsical(salt, max_votes=votes), MajorityPolicy(tiers=3, max_votes=votes or k)):
        assert_equals_every_order(policy, table, replay(policy, table))


def test_tiers_may_show_different_signals() -> None:
    rows = make_rows(20)
    for i, row in enumerate(rows):
        row["tiers"]["small"] |= {"samples": list("abcd"), "confidence": (1 + i % 4) / 4}
        row["tiers"]["middle"]["votes"] = []
    table = make_table(rows)
    assert table.signals == ("consistency", "logprob", "votes")
    for salt in range(3):
        policy = Choosy(salt)
        assert_equals_every_order(policy, table, replay(policy, table))


class Choosy(Whimsical):
    """Buys votes of the last tier only."""

    def action(self, belief: tuple[Facts, History]) -> Action:
        action = super().action(belief)
        if action.kind == "vote" and action.tier < self.tiers - 1:
            return Action("escalate", action.tier + 1)
        return action


@pytest.mark.parametrize("cost_weight", [0.0, 8.0, 60.0])
def test_replay_is_the_expectation_of_plans_for_lengths_and_classes(cost_weight: float) -> None:
    table = make_table(make_rows(20, tiers=2), signal="votes")
    policy = pomdp(cost_weight=cost_weight, priors=((0.1, 0.05, 0.3, 0.55), (0.4, 0.1, 0.2, 0.3)))
    classes = np.arange(len(table)) % 2
    result = replay(policy, table, question_classes=classes)
    assert_equals_every_order(policy, table, result, classes=classes)
    with_classes = replace(table, question_classes=classes, n_classes=2)
    np.testing.assert_array_equal(replay(policy, with_classes).score, result.score)


def test_replay_is_the_expectation_of_plans_that_meet_failures_they_did_and_did_not_foresee() -> None:
    table = make_table(make_rows(20, tiers=2, failures=0.3), signal="votes")
    model = pomdp().model
    for chance in (0.0, 0.3):
        policy = pomdp(tiers=tuple(replace(t, failure=chance) for t in model.tiers))
        assert_equals_every_order(policy, table, replay(policy, table))


def test_replay_is_the_expectation_of_a_plan_on_bins_of_confidence() -> None:
    table = make_table(make_rows(120, tiers=2), signal="logprob")
    seen = ConfidenceObservations(
        cuts=(0.3, 0.5, 0.7),
        probabilities=((0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)),
        missing=(0.2, 0.2),
    )
    policy = pomdp(tiers=(TierModel(observation=seen, answer=Cost(0.001)), TierModel(answer=Cost(0.01))))
    result = replay(policy, table)
    assert 0 < result.escalated.mean() < 1
    assert set(result.escalated) == {0, 1}, "nothing is left to the order of votes"
    assert_equals_every_order(policy, table, result)


def test_replay_is_the_expectation_of_a_plan_on_agreeing_samples() -> None:
    rows = make_rows(60, tiers=2)
    for i, row in enumerate(rows):
        row["tiers"]["small"] |= {"samples": list("abcde"), "confidence": (1 + i % 5) / 5}
    table = make_table(rows)
    assert table.signals == ("consistency", "votes")
    seen = ConsistencyObservations(probabilities=((0.4, 0.3, 0.1, 0.1, 0.1), (0.05, 0.05, 0.1, 0.2, 0.6)))
    policy = pomdp(tiers=(TierModel(observation=seen, answer=Cost(0.001)), TierModel(answer=Cost(0.01))))
    result = replay(policy, table)
    assert 0 < result.escalated.mean() < 1
    assert_equals_every_order(policy, table, result)


def test_what_is_read_in_a_question_may_name_its_tier() -> None:
    best = np.arange(30) % 3
    table = make_table(make_rows(30, failures=0.2))
    table = replace(table, question_logits=np.where(np.arange(3) == best[:, None], 2.0, -1.0))
    policy = QuestionPolicy(rewards=((0, 1),) * 3, costs=(1, 2, 3), cost_weight=0.01)
    result = replay(policy, table)
    assert_equals_every_order(policy, table, result)
    answered = ~table.failed[np.arange(30), best]
    assert 0 < answered.sum() < 30
    assert np.array_equal(result.reports[answered].argmax(axis=1), best[answered])


@pytest.mark.parametrize("trust", [0.0, 0.7, 1.0])
def test_plans_of_tilted_priors_are_replayed_as_they_run(trust: float) -> None:
    settings = Settings(max_votes=2)
    table = make_table(make_rows(12, failures=0.2))
    logits = np.random.default_rng(0).normal(0, 1.5, (12, len(table.tiers))).round(1)
    table = replace(table, question_logits=logits)
    policy = replace(fit(table, settings), trust=trust).policy(0.05, settings)
    beliefs = [policy.begin(Facts(logits=tuple(line))) for line in logits.tolist()]
    assert (len({belief.plan.root.logits for belief in beliefs}) > 1) == (trust > 0)
    assert_equals_every_order(policy, table, replay(policy, table))


# ------------------------------------------------------------------ many votes


class Remembering:
    """A policy whose decisions are looked up once they were made."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.actions, self.beliefs = inner, dict[Any, Action](), dict[Any, Any]()

    def begin(self, facts: Facts) -> Any:
        return self.inner.begin(facts)

    def action(self, belief: Any) -> Action:
        if belief not in self.actions:
            self.actions[belief] = self.inner.action(belief)
        return self.actions[belief]

    def update(self, belief: Any, action: Action, seen: Observation) -> Any:
        key = belief, action, seen
        if key not in self.beliefs:
            self.beliefs[key] = self.inner.update(belief, action, seen)
        return self.beliefs[key]


LONG: dict[str, Callable[[], Any]] = {
    "majority": lambda: MajorityPolicy(tiers=2, max_votes=15),
    "threshold": lambda: ThresholdPolicy.single(tiers=2, votes=15, cut=0.5),
    "whim": lambda: Whimsical(7, tiers=2, max_votes=6),
}


@pytest.mark.parametrize("name", LONG)
def test_with_many_votes_replay_is_within_the_sampling_error_of_ten_thousand_orders(name: str) -> None:
    rng, orders = random.Random(0), 10_000
    bags = [[1] * 17 + [0] * 16 + [None] * 7, [1] * 20 + [0] * 20]
    rows = make_rows(1, tiers=2)
    for cell, bag in zip(rows[0]["tiers"].values(), bags, strict=True):
        cell["votes"] = bag
    table, policy = make_table(rows, signal="votes"), Remembering(LONG[name]())
    drawn = ([rng.sample(bag, 15) for bag in bags] for _ in range(orders))
    runs = np.array([run_in_order(policy, table, 0, first) for first in drawn], dtype=float)
    exact = replay(LONG[name](), table)
    figures = [*exact.reports[0], *exact.votes[0], exact.abstained[0], exact.rounds[0].sum()]
    error = runs.std(axis=0) / math.sqrt(orders)
    assert 0 < error.max() < 0.05
    assert (np.abs(runs.mean(axis=0) - figures) <= 4 * error + 1e-9).all()


def run_in_order(policy: Any, table: TraceTable, i: int, orders: Any) -> list[float]:
    """Reports and votes of each of two tiers, abstention and rounds, with the votes in this order."""
    n_votes, rounds = [0, 0], 0
    run = rollout(policy, facts_of_row(table, i))
    seen = None
    while True:
        try:
            action = (next(run) if seen is None else run.send(seen)).action
        except StopIteration as stop:
            end = stop.value.action
            return [*(end == ("report", j, 0) for j in (0, 1)), *n_votes, end.kind == "abstain", rounds]
        seen = Observation()
        if action.kind == "vote":
            first, rounds = n_votes[action.tier], rounds + 1
            n_votes[action.tier] += action.votes
            drawn = orders[action.tier][first : n_votes[action.tier]]
            seen = Observation(drawn.count(1), len(drawn) - drawn.count(None), len(drawn))


@pytest.mark.parametrize("held", [1_000, 1_100, 20_000])
def test_thousands_of_votes_are_counted_without_overflow(held: int) -> None:
    cell = {"score": 1, "votes": [1, 0] * (held // 2), "cost": 1, "vote_cost": 0}
    table = make_table([{"tiers": {"s": cell, "l": {"score": 0, "cost": 2}}}])
    # Of an odd number at least half say CORRECT in half of the orders.
    half = replay(ThresholdPolicy.single(tiers=2, votes=63, cut=0.5), table)
    assert half.reports[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-9)
    family = ThresholdFamily(settings=Settings(), max_votes=9)
    played = family.fit(table).play(table, np.array([0]), np.arange(11))
    assert played.score[:2, 0].tolist() == pytest.approx([1.0, 0.5])
    plans = PlanFamily(settings=Settings(), grid=CostGrid(fixed=(0.0, 1.0))).fit(table)
    assert np.isfinite(plans.play(table, np.array([0]), np.array([0, 1])).score).all()


# ------------------------------------------------------------------ nothing but the content counts


@pytest.mark.parametrize("name", ["whim 0", "whim 4", "majority one by one", "threshold"])
def test_names_of_tiers_and_orders_of_rows_and_votes_change_no_figure(name: str) -> None:
    rng = random.Random(1)
    rows = make_rows(40, seed=2, failures=0.1, gaps=0.1)
    policy = POLICIES[name]()
    whole = replay(policy, make_table(rows, signal="votes"))
    names = dict(zip(TIERS, ("zebra", "ant", "mole"), strict=False))
    places = rng.sample(range(40), 40)
    changed = []
    for place in places:
        tiers = {names[name]: dict(cell) for name, cell in rows[place]["tiers"].items()}
        for cell in tiers.values():
            cell |= {"votes": rng.sample(cell["votes"], len(cell["votes"]))} if "votes" in cell else {}
        changed.append({"id": place, "tiers": tiers})
    table = make_table(changed, signal="votes", tiers=("zebra", "ant", "mole"))
    again = replay(policy, table)
    for field in Replayed._fields[1:]:
        np.testing.assert_allclose(
            getattr(again, field), getattr(whole, field)[places], rtol=1e-12, atol=1e-12, err_msg=field
        )


def test_any_rows_in_any_order_replay_as_they_do_among_all() -> None:
    table = make_table(make_rows(120), signal="votes")
    policy = Whimsical(3)
    whole = replay(policy, table)
    rows = np.array([7, 100, 3, 3, 55])
    part = replay(policy, table, rows)
    assert part.rows.tolist() == rows.tolist()
    alone = replay(policy, table.subset(rows))
    masked = replay(policy, table, np.arange(120) < 10)
    for name in Replayed._fields[1:]:
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name)[rows], rtol=1e-12)
        np.testing.assert_allclose(getattr(alone, name), getattr(part, name), rtol=1e-12)
        np.testing.assert_allclose(getattr(masked, name), getattr(whole, name)[:10], rtol=1e-12)


def test_no_rows_replay_to_nothing() -> None:
    table = make_table(make_rows(3))
    result = replay(POLICIES["threshold"](), table, np.array([], dtype=int))
    assert len(result.score) == 0
    assert result.reports.shape == (0, 3)


# ------------------------------------------------------------------ grouping


class Watched:
    """Notes what a policy is asked."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.calls = inner, dict[str, list[Any]](begin=[], update=[], action=[])

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if name not in self.calls:
            return attribute

        def noted(*args: Any) -> Any:
            self.calls[name].append(args)
            return attribute(*args)

        return noted


def test_a_policy_is_asked_once_per_group_and_not_once_per_row() -> None:
    table = make_table(make_rows(1500), signal="votes")
    policy = Watched(MajorityPolicy(tiers=3, max_votes=VOTES, batch=(1,)))
    replay(policy, table)
    # the counts (correct, incorrect, unparsed) of at most four votes on each of two verified tiers
    states = math.comb(VOTES + 3, 3)
    assert len(policy.calls["action"]) <= 1 + states + states**2
    fixed = Watched(ThresholdPolicy.single(tiers=3, votes=3, cut=0.4))
    replay(fixed, table)
    assert len(fixed.calls["update"]) < 2 * math.comb(3 + 2, 2) * math.comb(3 + 2, 2)


def test_orders_of_votes_are_forgotten_where_the_belief_forgets_them() -> None:
    rows = [
        {"id": i, "tiers": {"s": {"votes": [1] * 6 + [0] * 6, "score": 1, "cost": 1, "vote_cost": 0}}}
        for i in range(300)
    ]

    @dataclass(frozen=True)
    class BuyAll(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            if not belief[1].visits:
                return Action("start", 0)
            done = belief[1].last.n_votes == 12
            return Action("report", 0) if done else Action("vote", 0, 1)

    policy = Watched(BuyAll(0))
    replay(policy, make_table(rows))
    # One more look where the votes have to be told apart; then one per count of CORRECT ones.
    assert len(policy.calls["action"]) <= 4 + sum(min(k, 6) - max(0, k - 6) + 1 for k in range(1, 13))


def test_facts_are_told_apart_where_they_are_relevant_to_the_policy() -> None:
    table = make_table(make_rows(25), signal="votes")

    class Rough(Whimsical):
        def begin(self, facts: Facts) -> tuple[Facts, History]:
            return self.relevant(facts), History()

        def relevant(self, facts: Facts) -> Facts:
            return Facts(0.0 if (facts.prompt_tokens or 0) < 1000 else 1.0)

    for policy, different in ((Rough(5), 2), (Whimsical(5), 3)):
        watched = Watched(policy)
        assert_equals_every_order(policy, table, replay(watched, table))
        assert len(set(watched.calls["begin"])) == different


def test_of_a_confidence_a_policy_sees_one_value_per_bin_and_an_edge_belongs_above() -> None:
    signals = [0.1, 0.2, 0.5, 0.5, 0.7, None, 0.9]
    rows = [
        {"id": i, "tiers": {"s": {"confidence": c, "score": 1, "cost": 1}, "l": {"score": 1, "cost": 2}}}
        for i, c in enumerate(signals)
    ]
    policy = Watched(ThresholdPolicy.double(tiers=2, votes=1, low=0.5, high=0.9))
    table = make_table(rows, tiers=("s", "l"))
    result = replay(policy, table, np.array([0, 1, 2, 3, 4, 6]))
    assert result.reports.argmax(axis=1).tolist() == [0, 0, 1, 1, 1, 0]
    seen = {seen.signal for _, action, seen in policy.calls["update"] if action.tier == 0}
    assert len(seen) == 3


def test_an_unhashable_belief_costs_time_only() -> None:
    class Listed(Whimsical):
        def begin(self, facts: Facts) -> Any:
            return [facts, History()]

        def update(self, belief: Any, action: Action, seen: Observation) -> Any:
            return [belief[0], belief[1].after(action, seen)]

    table = make_table(make_rows(60), signal="votes")
    listed, plain = replay(Listed(2), table), replay(Whimsical(2), table)
    for name in Replayed._fields:
        np.testing.assert_allclose(getattr(listed, name), getattr(plain, name), rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------ what a row holds


def test_a_row_never_yields_more_votes_than_it_holds() -> None:
    rows = make_rows(40)
    rows[23]["tiers"]["small"]["votes"] = [1, None]
    table = make_table(rows, signal="votes")
    assert table.max_votes == (2, VOTES, VOTES)
    with pytest.raises(DataError, match="buys 3 votes of tier 'small', and row 'q23' holds 2") as caught:
        replay(ThresholdPolicy.single(tiers=3, votes=3, cut=0.5), table)
    assert caught.value.hint == "at most 2 votes can be planned for these rows"
    result = replay(MajorityPolicy(tiers=3, max_votes=table.max_votes[0]), table)
    assert (result.votes <= table.votes.sum(axis=2)).all()
    without = replay(POLICIES["threshold"](), table, np.arange(40) != 23)
    assert len(without.score) == 39


def test_no_votes_can_be_bought_beside_samples() -> None:
    rows = make_rows(3)
    for row in rows:
        row["tiers"]["small"] |= {"samples": ["a", "a"], "confidence": 1}
    table = make_table(rows)

    class Buyer(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            return Action("vote", 0, 2) if belief[1].visits else Action("start", 0)

    with pytest.raises(DataError, match="row 'q0' holds 0"):
        replay(Buyer(0), table)


def test_one_verdict_is_bought_once() -> None:
    table = make_table(make_rows(5), signal="verdict")
    with pytest.raises(DataError, match="buys 3 votes"):
        replay(POLICIES["threshold"](), table)


# ------------------------------------------------------------------ money


@pytest.mark.parametrize("salt", range(4))
def test_multiplying_the_recorded_cost_of_unvisited_tiers_by_100_changes_no_figure(salt: int) -> None:
    table = make_table(make_rows(100), signal="votes")
    policy = Whimsical(salt)
    before = replay(policy, table)
    inflated = replace(
        table,
        cost=np.where(before.asks > 0, table.cost, 100 * table.cost),
        vote_cost=np.where(before.votes > 0, table.vote_cost, 100 * table.vote_cost),
        round_cost=np.where(before.rounds > 0, table.round_cost, 100 * table.round_cost),
    )
    after = replay(policy, inflated)
    for field in Replayed._fields:
        assert np.array_equal(getattr(before, field), getattr(after, field))
    tenfold = replay(policy, replace(table, cost=10 * table.cost))
    assert np.array_equal(tenfold.reports, before.reports)
    assert np.array_equal(tenfold.votes, before.votes)


def test_a_round_pays_its_prompt_once_and_each_vote_its_own_price() -> None:
    row = {"tiers": {"s": {"score": 0, "cost": 5, "votes": [0] * 4, "vote_cost": 0.25, "round_cost": 2}}}
    row["tiers"]["l"] = {"score": 1, "cost": 100}
    for batch, rounds in (((4,), 1), ((1,), 4)):
        policy = MajorityPolicy(tiers=2, max_votes=4, batch=batch, cut=0.01)
        result = replay(policy, make_table([row]))
        assert result.rounds.tolist() == [[rounds, 0]]
        assert result.cost.tolist() == [5 + 4 * 0.25 + rounds * 2 + 100]


def test_a_row_without_a_cost_is_charged_the_mean_of_its_tier_in_the_whole_table() -> None:
    rows = [{"id": i, "tiers": {"s": {"score": 1, "cost": c}}} for i, c in enumerate([2, None, 4])]
    assert replay(AlwaysPolicy(1, 0), make_table(rows)).cost.tolist() == [2, 3, 4]
    assert replay(AlwaysPolicy(1, 0), make_table(rows), np.array([1])).cost.tolist() == [3]


def test_an_unknown_cost_is_an_error_with_the_option_that_gives_it_never_zero() -> None:
    rows = make_rows(5)
    for row in rows:
        del row["tiers"]["middle"]["cost"]
        del row["tiers"]["small"]["vote_cost"]
    table = make_table(rows, signal="votes")
    with pytest.raises(DataError, match="an answer of tier 'middle' costs") as caught:
        replay(AlwaysPolicy(3, 1), table)
    assert caught.value.hint == "--costs middle=1"
    with pytest.raises(DataError, match="a vote of tier 'small' costs") as caught:
        replay(ThresholdPolicy.single(tiers=3, votes=2, cut=0.0), table)
    assert caught.value.hint == "--vote-costs small=1"
    assert replay(AlwaysPolicy(3, 2), table).cost.min() > 0


def test_a_fee_is_charged_before_the_first_tier() -> None:
    table = make_table(make_rows(9), signal="votes")
    fee = np.random.default_rng(0).random((9, 2))
    for policy in (Whimsical(1), AlwaysPolicy(3, 0)):
        paid = replay(policy, replace(table, fee=fee))
        assert_equals_every_order(policy, replace(table, fee=fee), paid)
        np.testing.assert_allclose(paid.cost - replay(policy, table).cost, fee[:, 0])


def test_an_abstention_scores_what_it_is_worth_and_costs_what_was_asked() -> None:
    @dataclass(frozen=True)
    class Quitter(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            return Action("abstain") if belief[1].visits else Action("start", 1)

    table = make_table(make_rows(4))
    result = replay(Quitter(0), table, abstain_value=0.2)
    assert result.abstained.tolist() == [1] * 4
    assert result.reports.sum() == 0
    assert result.score.tolist() == [0.2] * 4
    assert np.array_equal(result.cost, table.cost[:, 1])


def test_a_score_or_latency_that_is_not_recorded_stays_unknown_where_it_counts() -> None:
    rows = make_rows(3)
    rows[1]["tiers"]["small"]["score"] = None
    rows[2]["tiers"]["small"]["latency"] = None
    table = make_table(rows)
    run = replay(AlwaysPolicy(3, 0), table)
    assert np.isnan(run.score).tolist() == [False, True, False]
    assert np.isnan(run.latency).tolist() == [False, False, True]
    other = replay(AlwaysPolicy(3, 1), table)
    assert not np.isnan([*other.score, *other.latency]).any()


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (Action("report", 2), "was not asked"),
        (Action("vote", 0, 0), "no round of votes"),
        (Action("vote", 1, 1), "no round of votes"),
    ],
)
def test_a_policy_that_does_what_cannot_be_done_is_stopped(then: Action, said: str) -> None:
    @dataclass(frozen=True)
    class Broken(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            return then if belief[1].visits else Action("start", 0)

    with pytest.raises(ValueError, match=said):
        replay(Broken(0), make_table(make_rows(3), signal="votes"))
