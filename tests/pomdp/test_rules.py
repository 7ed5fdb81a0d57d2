"""Rules of thumb as policies, driven by the loop."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, rollout
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy, QuestionPolicy, Rule, ThresholdPolicy

GONE = Observation(failed=True)
ASKED = Observation()


def drive(policy: Policy[Any], *observations: Observation) -> list[tuple[str, int, int]]:
    """The actions taken while the world shows these observations, the final one included."""
    run, taken = rollout(policy, Facts()), []
    try:
        turn = next(run)
        for o in observations:
            taken.append(tuple(turn.action))
            turn = run.send(o)
    except StopIteration as stop:
        turn = stop.value
    return [*taken, tuple(turn.action)]


def votes(correct: int, parsed: int, n_votes: int | None = None) -> Observation:
    return Observation(correct, parsed, parsed if n_votes is None else n_votes)


SINGLE = ThresholdPolicy.single(tiers=2, votes=4, cut=0.5)
DOUBLE = ThresholdPolicy.double(tiers=2, votes=4, low=0.25, high=0.75)
BY_QUESTION = QuestionPolicy(rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.01)
NO_VOTES = ThresholdPolicy.single(tiers=2, votes=0, cut=0.5)
START, BUY, UP = ("start", 0, 0), ("vote", 0, 4), ("escalate", 1, 0)
FIRST, LAST, NOTHING = ("report", 0, 0), ("report", 1, 0), ("abstain", -1, 0)


@pytest.mark.parametrize(
    ("policy", "seen", "taken"),
    [
        pytest.param(AlwaysPolicy(2, 0), [ASKED], [START, FIRST], id="always the first"),
        pytest.param(AlwaysPolicy(2, 1), [ASKED], [("start", 1, 0), LAST], id="always the last"),
        pytest.param(AlwaysPolicy(2, 0), [GONE, ASKED], [START, UP, LAST], id="always climbs on failure"),
        pytest.param(AlwaysPolicy(2, 0), [GONE, GONE], [START, UP, NOTHING], id="always with nothing left"),
        pytest.param(BY_QUESTION, [ASKED], [("start", 1, 0), LAST], id="nothing read in the question"),
        pytest.param(BY_QUESTION, [GONE], [("start", 1, 0), NOTHING], id="nothing read, nothing left"),
        pytest.param(SINGLE, [ASKED, votes(2, 4)], [START, BUY, FIRST], id="a share on the cut reports"),
        pytest.param(SINGLE, [ASKED, votes(1, 4), ASKED], [START, BUY, UP, LAST], id="under it escalates"),
        pytest.param(SINGLE, [ASKED, votes(1, 2, 4)], [START, BUY, FIRST], id="the share is of parsed votes"),
        pytest.param(
            SINGLE, [ASKED, votes(0, 0, 4), ASKED], [START, BUY, UP, LAST], id="no evidence goes on"
        ),
        pytest.param(
            SINGLE,
            [ASKED, votes(2, 3), votes(1, 1)],
            [START, BUY, ("vote", 0, 1), FIRST],
            id="votes that did not come are asked for again",
        ),
        pytest.param(SINGLE, [GONE, ASKED], [START, UP, LAST], id="a failed tier is climbed over"),
        pytest.param(
            SINGLE, [ASKED, votes(0, 4), GONE], [START, BUY, UP, FIRST], id="the answer in hand is reported"
        ),
        pytest.param(DOUBLE, [ASKED, votes(0, 4)], [START, BUY, FIRST], id="hopeless is reported"),
        pytest.param(DOUBLE, [ASKED, votes(1, 4), ASKED], [START, BUY, UP, LAST], id="between escalates"),
        pytest.param(DOUBLE, [ASKED, votes(3, 4)], [START, BUY, FIRST], id="sure is reported"),
        pytest.param(
            NO_VOTES, [Observation(signal=0.5)], [START, FIRST], id="a confidence on the cut reports"
        ),
        pytest.param(
            NO_VOTES, [Observation(signal=0.4), ASKED], [START, UP, LAST], id="one under it escalates"
        ),
        pytest.param(NO_VOTES, [Observation(3, 4)], [START, FIRST], id="counts that came with the answer"),
    ],
)
def test_what_rules_of_thumb_do(
    policy: Policy[Any], seen: list[Observation], taken: list[tuple[str, int, int]]
) -> None:
    assert drive(policy, *seen) == taken


POLICIES: list[Policy[Any]] = [MajorityPolicy(tiers=2, max_votes=4), AlwaysPolicy(2, 0), SINGLE, DOUBLE]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{type(p).__name__}")
def test_every_policy_gives_a_reason_and_the_confidence_it_saw(policy: Policy[Any]) -> None:
    belief = policy.begin(Facts())
    assert policy.confidence(belief, 0) is None
    assert policy.reason(belief)
    belief = policy.update(belief, Action("start", 0), ASKED)
    belief = policy.update(belief, Action("vote", 0, 4), votes(3, 4))
    assert policy.confidence(belief, 0) == 0.75
    assert policy.reason(belief)
    assert policy.confidence(belief, 1) is None


@pytest.mark.parametrize("policy", [SINGLE, DOUBLE, MajorityPolicy(tiers=2, max_votes=0)], ids=repr)
def test_no_two_confidences_that_no_cut_separates_are_decided_differently(policy: Policy[Any]) -> None:
    edges = [-1.0, *policy.cuts(0), 2.0]
    for low, high in pairwise(edges):
        inside = [low if low >= 0 else 0.0, (max(low, 0) + min(high, 1)) / 2, high - 1e-12]
        decisions = {tuple(drive(policy, Observation(signal=x))) for x in inside}
        assert len(decisions) == 1


def test_reasons_of_a_threshold_are_in_words() -> None:
    belief = SINGLE.begin(Facts())
    assert SINGLE.reason(belief) == "start at the cheapest tier"
    belief = SINGLE.update(belief, Action("start", 0), ASKED)
    assert SINGLE.reason(belief) == "no evidence, cut at 0.50"
    seen = SINGLE.update(belief, Action("vote", 0, 4), votes(1, 4))
    assert SINGLE.reason(seen) == "confidence 0.25, cut at 0.50"
    assert (
        SINGLE.reason(SINGLE.update(seen, Action("escalate", 1), ASKED))
        == "last tier: reported without verification"
    )
    assert (
        SINGLE.reason(SINGLE.update(seen, Action("escalate", 1), GONE)) == "no usable answer from this tier"
    )
    assert SINGLE.cuts(1) == ()


@pytest.mark.parametrize(
    "rule", [Rule(1, (0.5,), (True,)), Rule(1, (0.6, 0.5), (True, False, True))], ids=["bins", "edges"]
)
def test_a_rule_needs_rising_edges_and_a_decision_per_bin(rule: Rule) -> None:
    with pytest.raises(ValueError, match="rising edges"):
        ThresholdPolicy((rule,))


def test_the_tier_that_the_router_names_is_asked_and_reported_and_its_failure_leaves_it_to_the_next() -> None:
    policy = QuestionPolicy(
        rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.01, names=("small", "large")
    )
    easy, hard = Facts(logits=(2.0, 2.2)), Facts(logits=(-2.0, 2.2))
    assert [policy.begin(facts).tier for facts in (easy, hard)] == [0, 1]
    run = rollout(policy, easy)
    assert next(run).action == START
    with pytest.raises(StopIteration) as end:
        run.send(ASKED)
    turn = end.value.value
    assert turn.action == FIRST
    assert policy.confidence(turn.belief, 0) == pytest.approx(1 / (1 + math.exp(-2)))
    assert policy.confidence(turn.belief, 1) is None
    assert policy.reason(turn.belief) == ("by the question alone, chance to be right: small 0.88, large 0.90")
    failing = rollout(policy, easy)
    next(failing)
    assert failing.send(GONE).action == UP
