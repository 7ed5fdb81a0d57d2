"""`replay` is held to `rollout`, row for row, and to the recorded costs."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import ConfidenceObservations, ConsistencyObservations, VoteObservations
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, History, Observation, Visit, rollout
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy, ThresholdPolicy

TIERS = ("small", "middle", "large")
VOTES = 6


# ---------------------------------------------------------------- rows, policies, the row by row form


def cell(rng: random.Random, *, votes: int, cost: float, confidence: float | None) -> dict[str, Any]:
    kinds = [1, 1, 1, 0, 0, None] if rng.random() < 0.7 else [1, 0]
    return {
        "score": rng.choice([0, 1, 0.25]),
        "votes": [rng.choice(kinds) for _ in range(votes)],
        "confidence": confidence,
        "cost": cost * rng.uniform(0.5, 1.5),
        "vote_cost": cost / 7,
        "round_cost": cost / 50,
        "input_tokens": rng.choice([20, 300, 5000]),
        "latency": rng.random(),
    }


def make_rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Random rows: votes of which some are unparsed, more of them on some rows than on others."""
    rng = random.Random(seed)
    return [
        {
            "id": f"q{i}",
            "tiers": {
                name: cell(
                    rng,
                    votes=VOTES + rng.choice([0, 0, 3]),
                    cost=10.0**k,
                    confidence=rng.choice([None, 0.3, 0.5, rng.random(), rng.random()]),
                )
                for k, name in enumerate(TIERS)
            },
        }
        for i in range(n)
    ]


def make_table(rows: list[dict[str, Any]], **options: Any) -> TraceTable:
    return read_table(enumerate(rows, start=1), **options)


@dataclass(frozen=True)
class Whimsical:
    """Decides anything legal by a hash of all it knows: no policy can depend on more, or on less of it."""

    salt: int
    tiers: int = len(TIERS)
    max_votes: int = VOTES
    edges: tuple[float, ...] = (0.3, 0.5, 0.8)

    def relevant(self, facts: Facts) -> Facts:
        return facts

    def begin(self, facts: Facts) -> tuple[Facts, History]:
        return facts, History()

    def update(
        self, belief: tuple[Facts, History], action: Action, seen: Observation
    ) -> tuple[Facts, History]:
        return belief[0], belief[1].after(action, seen)

    def action(self, belief: tuple[Facts, History]) -> Action:
        facts, history = belief
        known = [(v.tier, v.correct, v.parsed, v.bought, self.bin(v.signal)) for v in history.visits]
        rng = random.Random(f"{self.salt}{facts}{known}")
        if not history.visits:
            return Action("start", rng.randrange(self.tiers))
        asked = [v.tier for v in history.visits]
        last = history.last
        left = self.max_votes - last.bought
        votes = [Action("vote", last.tier, m) for m in (1, 2, 3) if m <= left]
        later = [Action("escalate", j) for j in range(last.tier + 1, self.tiers)]
        ends = [Action("report", j) for j in asked] + [Action("abstain")]
        return rng.choice([*votes, *votes, *later, *ends])

    def bin(self, signal: float | None) -> int | None:
        return None if signal is None else sum(signal >= edge for edge in self.edges)

    def confidence(self, belief: tuple[Facts, History], tier: int) -> float | None:
        return None

    def reason(self, belief: tuple[Facts, History]) -> str:
        return "a whim"

    def cuts(self, tier: int) -> tuple[float, ...]:
        return self.edges


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


def one_by_one(policy: Any, table: TraceTable, i: int, cell_of: int = 0) -> tuple[Action, list[Visit], dict]:
    """`rollout` driven by one row: its votes in the order drawn, its confidence, its prompt tokens."""
    tokens = float(table.prompt_tokens[i])
    run = rollout(policy, Facts(None if math.isnan(tokens) else tokens, cell_of))
    history, rounds, seen = History(), Counter[int](), None
    while True:
        try:
            action = (next(run) if seen is None else run.send(seen)).action
        except StopIteration as stop:
            return stop.value.action, list(history.visits), rounds
        j = action.tier
        signal = None if np.isnan(table.confidence[i, j]) else float(table.confidence[i, j])
        if action.kind == "vote" and table.signals[j] == "verdict":
            seen = Observation(bought=action.votes, signal=signal)
            rounds[j] += 1
        elif action.kind == "vote":
            first = history.last.bought
            drawn = table.recorded_votes[j].sequence[i, first : first + action.votes].tolist()
            assert -2 not in drawn, "more votes than the row holds"
            seen = Observation(drawn.count(1), len(drawn) - drawn.count(-1), len(drawn))
            rounds[j] += 1
        elif table.signals[j] == "consistency":
            k = int(table.sample_counts[i, j])
            seen = Observation(round((signal or 0) * k), k, k)
        else:
            seen = Observation(signal=signal if table.signals[j] == "logprob" else None)
        history = history.after(action, seen)


def assert_equal_to_rollout(policy: Any, table: TraceTable, result: Replayed, cells: Any = None) -> None:
    for place, i in enumerate(result.rows):
        action, visits, rounds = one_by_one(policy, table, i, 0 if cells is None else int(cells[i]))
        votes, asked = dict.fromkeys(range(len(table.tiers)), 0), {v.tier for v in visits}
        free = {j for j, signal in enumerate(table.signals) if signal == "consistency"}
        votes |= {v.tier: v.bought for v in visits if v.tier not in free}
        assert result.tier[place] == (action.tier if action.kind == "report" else -1)
        assert result.asked_tiers[place].tolist() == [j in asked for j in votes]
        assert result.votes[place].tolist() == list(votes.values())
        assert result.rounds[place].tolist() == [rounds[j] for j in votes]
        assert result.escalated[place] == (len(visits) > 1)
        assert result.score[place] == (table.score[i, action.tier] if action.kind == "report" else 0.0)
        charged = sum(
            table.cost[i, j] + votes[j] * table.vote_cost[i, j] + rounds[j] * table.round_cost[i, j]
            for j in asked
        )
        assert result.cost[place] == pytest.approx(charged, rel=1e-12)
        assert result.latency[place] == pytest.approx(sum(table.latency[i, j] for j in asked), rel=1e-12)


POLICIES: dict[str, Callable[[], Any]] = {
    "majority in rounds": lambda: MajorityPolicy(tiers=3, max_votes=VOTES),
    "majority one by one": lambda: MajorityPolicy(tiers=3, max_votes=VOTES, batch=(1,)),
    "majority without votes": lambda: MajorityPolicy(tiers=3, max_votes=0),
    "threshold": lambda: ThresholdPolicy.single(tiers=3, votes=5, cut=0.4),
    "double threshold": lambda: ThresholdPolicy.double(tiers=3, votes=4, low=0.3, high=0.8),
    "always": lambda: AlwaysPolicy(tiers=3, tier=1),
    **{f"whim {salt}": lambda salt=salt: Whimsical(salt) for salt in range(6)},
}


# ---------------------------------------------------------------- replay equals rollout


@pytest.mark.parametrize("seed", [0, 1, 17])
@pytest.mark.parametrize("name", POLICIES)
def test_replay_equals_rollout_row_for_row(name: str, seed: int) -> None:
    table = make_table(make_rows(150, seed=seed), signal="votes", seed=seed)
    policy = POLICIES[name]()
    assert_equal_to_rollout(policy, table, replay(policy, table))


SIGNALLED: dict[str, dict[str, Any]] = {
    "logprob": {"votes": VOTES},
    "verdict": {"votes": 1},
    "consistency": {"votes": 0, "k": 4},
}


@pytest.mark.parametrize("salt", range(5))
@pytest.mark.parametrize("signal", SIGNALLED)
def test_replay_equals_rollout_for_every_signal(signal: str, salt: int) -> None:
    k, votes = SIGNALLED[signal].get("k", 0), SIGNALLED[signal]["votes"]
    rows = make_rows(150)
    for row in rows:
        for tier in row["tiers"].values():
            tier["samples"] = ["a"] * k
            tier["confidence"] = tier["score"] if k else tier["confidence"]  # 0, 1 or 0.25 of four
    table = make_table(rows, signal=signal)
    for policy in (Whimsical(salt, max_votes=votes), MajorityPolicy(tiers=3, max_votes=votes or k)):
        assert_equal_to_rollout(policy, table, replay(policy, table))


def test_no_votes_can_be_bought_beside_samples() -> None:
    rows = make_rows(3)
    for row in rows:
        row["tiers"]["small"] |= {"samples": ["a", "a"], "confidence": 1}
    table = make_table(rows)
    with pytest.raises(DataError, match="row 'q0' holds 0"):
        replay(MajorityPolicy(tiers=3, max_votes=6), table)


@pytest.mark.parametrize("cost_weight", [0.5, 8.0, 60.0])
def test_replay_equals_rollout_for_exact_plans_with_token_counts_and_classes(cost_weight: float) -> None:
    table = make_table(make_rows(200), signal="votes", tiers=("small", "large"))
    policy = pomdp(cost_weight=cost_weight, priors=((0.1, 0.05, 0.3, 0.55), (0.4, 0.1, 0.2, 0.3)))
    cells = np.arange(len(table)) % 2
    result = replay(policy, table, question_classes=cells)
    assert_equal_to_rollout(policy, table, result, cells)


def test_replay_equals_rollout_for_a_plan_on_bins_of_confidence() -> None:
    table = make_table(make_rows(200), signal="logprob", tiers=("small", "large"))
    seen = ConfidenceObservations(
        cuts=(0.3, 0.5, 0.7),
        probabilities=((0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)),
        missing=(0.2, 0.2),
    )
    policy = pomdp(tiers=(TierModel(observation=seen, answer=Cost(0.001)), TierModel(answer=Cost(0.01))))
    result = replay(policy, table)
    assert 0 < result.escalated.mean() < 1
    assert_equal_to_rollout(policy, table, result)


def test_replay_equals_rollout_for_a_plan_on_agreeing_samples() -> None:
    rows = make_rows(100)
    for i, row in enumerate(rows):
        row["tiers"]["small"] |= {"samples": list("abcde"), "confidence": (1 + i % 5) / 5}
    table = make_table(rows, tiers=("small", "large"))
    assert table.signals == ("consistency", "votes")
    seen = ConsistencyObservations(probabilities=((0.4, 0.3, 0.1, 0.1, 0.1), (0.05, 0.05, 0.1, 0.2, 0.6)))
    policy = pomdp(tiers=(TierModel(observation=seen, answer=Cost(0.001)), TierModel(answer=Cost(0.01))))
    result = replay(policy, table)
    assert 0 < result.escalated.mean() < 1
    assert_equal_to_rollout(policy, table, result)


def test_any_rows_in_any_order_replay_as_they_do_among_all() -> None:
    table = make_table(make_rows(120), signal="votes")
    policy = Whimsical(3)
    whole = replay(policy, table)
    rows = np.array([7, 100, 3, 3, 55])
    part = replay(policy, table, rows)
    assert part.rows.tolist() == rows.tolist()
    for name in ("tier", "score", "cost", "asked_tiers", "votes", "rounds"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[rows])
    alone = replay(policy, table.subset(rows))
    assert np.array_equal(alone.tier, part.tier)
    assert np.array_equal(alone.votes, part.votes)
    masked = replay(policy, table, np.arange(120) < 10)
    assert np.array_equal(masked.tier, whole.tier[:10])


def test_no_rows_replay_to_nothing() -> None:
    table = make_table(make_rows(3))
    result = replay(POLICIES["threshold"](), table, np.array([], dtype=int))
    assert len(result.tier) == 0
    assert result.asked_tiers.shape == (0, 3)


def test_a_seed_given_to_replay_is_that_of_a_table_drawn_anew() -> None:
    table = make_table(make_rows(120), signal="votes", seed=0)
    policy = Whimsical(1)
    assert np.array_equal(replay(policy, table, seed=9).tier, replay(policy, table.reseed(9)).tier)
    assert not np.array_equal(replay(policy, table, seed=9).tier, replay(policy, table).tier)


# ---------------------------------------------------------------- grouping


@dataclass
class Counting:
    """Counts how often a policy is asked, begun and updated."""

    inner: Any
    calls: Counter[str]

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if name not in ("begin", "update", "action"):
            return attribute

        def counted(*args: Any) -> Any:
            self.calls[name] += 1
            return attribute(*args)

        return counted


def test_a_policy_is_asked_once_per_group_and_not_once_per_row() -> None:
    table = make_table(make_rows(2000), signal="votes")
    policy = Counting(MajorityPolicy(tiers=3, max_votes=VOTES, batch=(1,)), Counter())
    replay(policy, table)
    # the counts (correct, incorrect, unparsed) of at most six votes on each of two verified tiers
    states = math.comb(VOTES + 3, 3)
    assert policy.calls["action"] <= 1 + 2 * states * 30
    fixed = Counting(ThresholdPolicy.single(tiers=3, votes=5, cut=0.4), Counter())
    replay(fixed, table)
    assert fixed.calls["update"] < 2 * math.comb(5 + 2, 2) * math.comb(5 + 2, 2)


def test_orders_of_votes_are_forgotten_where_the_belief_forgets_them() -> None:
    rows = [
        {"id": i, "tiers": {"s": {"votes": [1] * 6 + [0] * 6, "score": 1, "cost": 1, "vote_cost": 0}}}
        for i in range(3000)
    ]

    @dataclass(frozen=True)
    class BuyAll(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            if not belief[1].visits:
                return Action("start", 0)
            done = belief[1].last.bought == 12
            return Action("report", 0) if done else Action("vote", 0, 1)

    policy = Counting(BuyAll(0), Counter())
    replay(policy, make_table(rows))
    assert policy.calls["action"] == 2 + sum(min(k, 6) - max(0, k - 6) + 1 for k in range(1, 13))


def test_facts_are_told_apart_where_they_are_relevant_to_the_policy() -> None:
    table = make_table(make_rows(300), signal="votes")

    class Rough(Whimsical):
        def begin(self, facts: Facts) -> tuple[Facts, History]:
            return self.relevant(facts), History()

        def relevant(self, facts: Facts) -> Facts:
            return Facts(0.0 if (facts.prompt_tokens or 0) < 1000 else 1.0)

    policy = Counting(Rough(5), Counter())
    result = replay(policy, table)
    assert policy.calls["begin"] == 2
    assert_equal_to_rollout(Rough(5), table, result)
    ungrouped = Counting(Whimsical(5), Counter())
    replay(ungrouped, table)
    assert ungrouped.calls["begin"] == 3


def test_of_a_confidence_a_policy_sees_one_value_per_bin_and_an_edge_belongs_above() -> None:
    signals = [0.1, 0.2, 0.5, 0.5, 0.7, None, 0.9]
    rows = [
        {"id": i, "tiers": {"s": {"confidence": c, "score": 1, "cost": 1}, "l": {"score": 1, "cost": 2}}}
        for i, c in enumerate(signals)
    ]
    policy = Counting(ThresholdPolicy.double(tiers=2, votes=1, low=0.5, high=0.9), Counter())
    table = make_table(rows, tiers=("s", "l"))
    result = replay(policy, table, np.array([0, 1, 2, 3, 4, 6]))
    assert result.tier.tolist() == [0, 0, 1, 1, 1, 0]
    assert policy.calls["update"] == 3 + 1  # one per bin, then the large tier


def test_an_unhashable_belief_costs_time_only() -> None:
    class Listed(Whimsical):
        def begin(self, facts: Facts) -> Any:
            return [facts, History()]

        def update(self, belief: Any, action: Action, seen: Observation) -> Any:
            return [belief[0], belief[1].after(action, seen)]

    table = make_table(make_rows(150), signal="votes")
    assert np.array_equal(replay(Listed(2), table).tier, replay(Whimsical(2), table).tier)


# ---------------------------------------------------------------- recorded_votes


@pytest.mark.parametrize("name", ["whim 0", "whim 4", "majority one by one", "threshold"])
def test_the_order_of_votes_in_the_file_does_not_matter(name: str) -> None:
    rows = make_rows(200)
    ordered = make_rows(200)
    for row in ordered:
        for tier in row["tiers"].values():
            tier["votes"].sort(key=lambda v: (v is None, -(v or 0)))
    assert rows != ordered
    policy = POLICIES[name]()
    first, second = (replay(policy, make_table(r, signal="votes")) for r in (rows, ordered))
    for field in Replayed._fields:
        assert np.array_equal(getattr(first, field), getattr(second, field))


def test_sorted_votes_do_not_leak_each_vote_of_a_bag_is_as_likely_to_be_drawn_first() -> None:
    n = 4000
    rows = [{"id": i, "tiers": {"s": {"votes": [1, 1, 0, 0, 0, 0, 0, None]}}} for i in range(n)]
    drawn = make_table(rows, seed=3).recorded_votes[0].sequence
    for place in range(8):
        share = (drawn[:, place] == 1).mean()
        assert share == pytest.approx(2 / 8, abs=4 * math.sqrt(0.25 * 0.75 / n))
    pairs = ((drawn[:, 0] == 1) & (drawn[:, 1] == 1)).mean()
    assert pairs == pytest.approx(2 / 8 * 1 / 7, abs=4 * math.sqrt(0.036 / n))


def test_the_tiers_of_one_row_are_drawn_independently() -> None:
    n = 4000
    bag = {"votes": [1, 1, 1, 0, 0, 0]}
    drawn = [
        b.sequence
        for b in make_table([{"id": i, "tiers": {"a": bag, "b": bag}} for i in range(n)]).recorded_votes
    ]
    both = ((drawn[0][:, 0] == 1) & (drawn[1][:, 0] == 1)).mean()
    assert both == pytest.approx(1 / 4, abs=4 * math.sqrt(3 / 16 / n))


def test_the_order_drawn_depends_on_seed_and_id_and_not_on_the_row_s_company() -> None:
    rows = make_rows(60)
    table = make_table(rows, seed=5)
    backwards = make_table(rows[::-1], seed=5)
    alone = make_table(rows[10:11], seed=5)
    fewer_tiers = make_table(rows, seed=5, tiers=("large", "small"))
    for j, bag in enumerate(table.recorded_votes):
        assert np.array_equal(bag.sequence, backwards.recorded_votes[j].sequence[::-1])
        width = alone.recorded_votes[j].sequence.shape[1]
        assert np.array_equal(bag.sequence[10, :width], alone.recorded_votes[j].sequence[0])
    assert np.array_equal(table.recorded_votes[0].sequence, fewer_tiers.recorded_votes[1].sequence)
    assert np.array_equal(
        table.reseed(6).reseed(5).recorded_votes[0].sequence, table.recorded_votes[0].sequence
    )
    assert not np.array_equal(table.reseed(6).recorded_votes[0].sequence, table.recorded_votes[0].sequence)


def test_what_is_drawn_is_the_bag() -> None:
    rows = make_rows(80)
    table = make_table(rows, seed=2)
    for i, row in enumerate(rows):
        for j, name in enumerate(TIERS):
            drawn = [v for v in table.recorded_votes[j].sequence[i].tolist() if v != -2]
            recorded = [-1 if v is None else v for v in row["tiers"][name]["votes"]]
            assert sorted(drawn) == sorted(recorded)
            assert table.recorded_votes[j].counts[i] == len(recorded)


def test_a_row_never_yields_more_votes_than_it_holds() -> None:
    rows = make_rows(40)
    rows[23]["tiers"]["small"]["votes"] = [1, None]
    table = make_table(rows, signal="votes")
    assert table.max_votes == (2, VOTES, VOTES)
    with pytest.raises(DataError, match="buys 5 votes of tier 'small', and row 'q23' holds 2") as caught:
        replay(ThresholdPolicy.single(tiers=3, votes=5, cut=0.5), table)
    assert caught.value.hint == "at most 2 votes can be planned for these rows"
    result = replay(MajorityPolicy(tiers=3, max_votes=table.max_votes[0]), table)
    assert (result.votes <= np.stack([b.counts for b in table.recorded_votes], axis=1)).all()
    without = replay(POLICIES["threshold"](), table, np.arange(40) != 23)
    assert len(without.tier) == 39


def test_one_verdict_is_bought_once() -> None:
    table = make_table(make_rows(5), signal="verdict")
    with pytest.raises(DataError, match="buys 5 votes"):
        replay(POLICIES["threshold"](), table)


# ---------------------------------------------------------------- money


@pytest.mark.parametrize("salt", range(4))
def test_multiplying_the_recorded_cost_of_unvisited_tiers_by_100_changes_no_decision(salt: int) -> None:
    table = make_table(make_rows(150), signal="votes")
    policy = Whimsical(salt)
    before = replay(policy, table)
    inflated = replace(
        table,
        cost=np.where(before.asked_tiers, table.cost, 100 * table.cost),
        vote_cost=np.where(before.votes > 0, table.vote_cost, 100 * table.vote_cost),
        round_cost=np.where(before.rounds > 0, table.round_cost, 100 * table.round_cost),
    )
    after = replay(policy, inflated)
    for field in Replayed._fields:
        assert np.array_equal(getattr(before, field), getattr(after, field))
    tenfold = replay(policy, replace(table, cost=10 * table.cost))
    assert np.array_equal(tenfold.tier, before.tier)
    assert np.array_equal(tenfold.votes, before.votes)


def test_a_round_pays_its_prompt_once_and_each_vote_its_own_price() -> None:
    row = {"tiers": {"s": {"score": 0, "cost": 5, "votes": [0] * 4, "vote_cost": 0.25, "round_cost": 2}}}
    row["tiers"]["l"] = {"score": 1, "cost": 100}
    for batch, rounds in (((4,), 1), ((1,), 4)):
        policy = MajorityPolicy(tiers=2, max_votes=4, batch=batch, cut=0.01)
        result = replay(policy, make_table([row]))
        assert result.rounds.tolist() == [[rounds, 0]]
        assert result.cost.tolist() == [5 + 4 * 0.25 + rounds * 2 + 100]


def test_a_row_without_a_cost_is_charged_its_tier_s_mean() -> None:
    rows = [{"id": i, "tiers": {"s": {"score": 1, "cost": c}}} for i, c in enumerate([2, None, 4])]
    assert replay(AlwaysPolicy(1, 0), make_table(rows)).cost.tolist() == [2, 3, 4]


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


def test_an_abstention_scores_what_it_is_worth_and_costs_what_was_asked() -> None:
    @dataclass(frozen=True)
    class Quitter(Whimsical):
        def action(self, belief: tuple[Facts, History]) -> Action:
            return Action("abstain") if belief[1].visits else Action("start", 1)

    table = make_table(make_rows(4))
    result = replay(Quitter(0), table, abstain_value=0.2)
    assert result.tier.tolist() == [-1] * 4
    assert result.score.tolist() == [0.2] * 4
    assert np.array_equal(result.cost, table.cost[:, 1])


def test_a_score_that_is_not_recorded_stays_unknown() -> None:
    rows = make_rows(2)
    rows[1]["tiers"]["small"]["score"] = None
    assert np.isnan(replay(AlwaysPolicy(3, 0), make_table(rows)).score).tolist() == [False, True]


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
