"""The sentence of a plan says what `rollout` does at every count of the first answer's votes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from models import random_model

from automix_cli.pomdp.first_moves import FirstMoves, first_moves
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, rollout
from automix_cli.pomdp.rules import (
    AgreementPolicy,
    AlwaysPolicy,
    MajorityPolicy,
    QuestionPolicy,
    Rule,
    ThresholdPolicy,
)
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.views.first_moves_words import moves_sentence, plan_sentence

NAMES = ("small", "middle", "large")

POLICIES: dict[str, Policy[Any]] = {
    "always": AlwaysPolicy(2, 1),
    "majority": MajorityPolicy(2, 8),
    "majority at once": MajorityPolicy(2, 3, batch=(3,)),
    "agreement": AgreementPolicy(3, 0, 1),
    **{
        f"threshold {votes} {cut}": ThresholdPolicy.single(tiers=2, votes=votes, cut=cut)
        for votes, cut in product((1, 4, 8), (0.0, 0.3, 0.5, 1.0, 1.5))
    },
    "double": ThresholdPolicy.double(tiers=2, votes=8, low=0.2, high=0.6),
    "islands": ThresholdPolicy((Rule(5, (0.2, 0.4, 0.8), (True, False, True, False)),)),
    **{
        f"pomdp {k}": PomdpPolicy(random_model(k, tiers=2 + k % 2, max_votes=4, votes_only=True))
        for k in range(40)
    },
}


def leaving(policy: Policy[Any], yes: tuple[int, ...]) -> tuple[Action, int, int]:
    """What `rollout` does once it leaves the first answer, whose votes say this in turn; counts and votes."""
    run = rollout(policy, Facts())
    try:
        turn = next(run)
        turn = run.send(Observation())
        seen = 0
        while turn.action.kind == "vote":
            own = yes[seen : seen + turn.action.votes]
            seen += len(own)
            turn = run.send(Observation(sum(own), len(own), len(own)))
    except StopIteration as stop:
        turn, seen = stop.value, locals().get("seen", 0)
    return turn.action, sum(yes[:seen]), seen


def action_of(moves: FirstMoves, count: int, of: int) -> Action | None:
    """The action that the moves tell at a count."""
    return next((look.actions.get(count) for look in moves.looks if look.of == of), None)


@pytest.mark.parametrize("name", POLICIES)
def test_the_moves_are_those_of_rollout(name: str) -> None:
    policy = POLICIES[name]
    if policy.action(policy.begin(Facts())).kind != "start":
        assert moves_sentence(first_moves(policy), NAMES) == "abstains"
        return
    moves = first_moves(policy)
    most = 8
    for votes in range(most + 1):
        yes = (1,) * votes + (0,) * (most - votes)
        for order in (yes, yes[::-1], tuple(np.random.default_rng(votes).permutation(yes).tolist())):
            action, count, of = leaving(policy, order)
            told = action_of(moves, count, of)
            assert told == action or (told is None and moves.is_open)


CLAUSE = re.compile(r"asks \w+ when (.*?)(?:,? else|$)")
WHOLE = {
    "it agrees": "1 of 1 agree",
    "it does not agree": "0 of 1 agree",
    "both agree": "2 of 2 agree",
    "neither agrees": "0 of 2 agree",
}


def counts_of(words: str, of: int) -> Iterator[int]:
    """The counts that a condition names, such as `at most 3 of 8 agree`."""
    words = WHOLE.get(words, words)
    if words == f"not all {of} agree":
        yield from range(of)
        return
    if words in (f"all {of} agree", f"none of {of} agree"):
        yield of if words.startswith("all") else 0
        return
    listed, _, rest = words.partition(" of ")
    assert rest == f"{of} agree"
    for part in re.split(" or |, ", listed):
        kind, _, number = part.rpartition(" ")
        if kind.endswith(" to"):
            yield from range(int(kind.split()[0]), int(number) + 1)
        elif kind == "at most":
            yield from range(int(number) + 1)
        elif kind == "at least":
            yield from range(int(number), of + 1)
        else:
            yield int(number)


@pytest.mark.parametrize("name", [n for n in POLICIES if n.startswith(("threshold", "double", "islands"))])
def test_the_sentence_names_the_counts_at_which_rollout_asks_the_next_tier(name: str) -> None:
    policy, sentence = POLICIES[name], plan_sentence(POLICIES[name], NAMES)
    of = int(re.search(r"buys (\d+)", sentence)[1])
    climbs = {v for v in range(of + 1) if leaving(policy, (1,) * v + (0,) * (of - v))[0].kind == "escalate"}
    clause = CLAUSE.search(sentence)
    if clause is None:
        whole = f"{'asks middle' if climbs else 'reports small'}"
        assert climbs in (set(), set(range(of + 1)))
        assert whole in sentence
        return
    assert set(counts_of(clause[1], of)) == climbs


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "majority"])
def test_the_votes_that_the_sentence_names_first_are_bought_whatever_they_say(name: str) -> None:
    policy = POLICIES[name]
    first = re.match(r"asks \w+, buys (\d+) votes?(;|$| \()", plan_sentence(policy, NAMES))
    bought = [leaving(policy, yes)[2] for yes in product((0, 1), repeat=8)]
    assert min(bought) == (int(first[1]) if first else 0)


def test_rounds_that_decide_nothing_are_one_purchase_and_the_most_votes_are_said_where_much_follows() -> None:
    one_by_one = MajorityPolicy(2, 8, batch=(1,), cut=0.6)
    moves = first_moves(one_by_one)
    most = max(leaving(one_by_one, yes)[2] for yes in product((0, 1), repeat=8))
    assert moves.is_open
    assert moves.most_votes == most
    sentence = moves_sentence(moves, NAMES)
    assert sentence.startswith("asks small, buys 4 votes; ")
    assert sentence.endswith(f"; then buys more where these do not settle it, up to {most} in all")
    assert "whatever" not in sentence


@pytest.mark.parametrize(
    ("policy", "signal", "sentence"),
    [
        (POLICIES["always"], "votes", "asks middle and reports its answer"),
        (
            POLICIES["threshold 8 0.5"],
            "votes",
            "asks small, buys 8 votes; asks middle when at most 3 of 8 agree, else reports small's answer",
        ),
        (
            POLICIES["double"],
            "votes",
            "asks small, buys 8 votes; asks middle when 2 to 4 of 8 agree, else reports small's answer",
        ),
        (
            ThresholdPolicy.single(tiers=2, votes=1, cut=0.7),
            "logprob",
            "asks small; asks middle when its confidence is below 0.7, else reports small's answer",
        ),
        (
            ThresholdPolicy.single(tiers=2, votes=1, cut=0.7),
            "verdict",
            "asks small, buys 1 vote; asks middle when its confidence is below 0.7, "
            "else reports small's answer",
        ),
        (
            POLICIES["agreement"],
            "votes",
            "asks small, then asks middle; how it goes on is decided when middle has answered",
        ),
        (
            QuestionPolicy(rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.01),
            "votes",
            "asks the tier that the query router names for the question, and reports its answer",
        ),
    ],
)
def test_plans_in_words(policy: Policy[Any], signal: RecordedSignal, sentence: str) -> None:
    assert plan_sentence(policy, NAMES, signal) == sentence
