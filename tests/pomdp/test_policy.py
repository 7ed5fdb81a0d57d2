"""The policy of plans: beliefs, replanning, and plans for lengths and classes of questions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from models import START, random_model, run, two_tiers, vote
from msgspec.structs import replace

from automix_cli.errors import AutomixError
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import ConfidenceObservations, ConsistencyObservations
from automix_cli.pomdp.plan import Plan, solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Visit

WORTH = "expected score less cost ($0.1 counts as 1)"


def test_reasons_name_the_evidence_and_end_with_what_is_chosen() -> None:
    policy = PomdpPolicy(two_tiers())
    assert policy.reason(policy.begin(Facts())).startswith("before any call; expected score less cost ($0.1")
    assert (
        policy.reason(run(policy, START, vote(0, 2)))
        == f"0 of 2 votes; {WORTH}: report 0.20 < vote 0.68 = escalate 0.68"
    )
    settled = run(policy, START, vote(4, 4))
    assert policy.action(settled) == Action("report", 0)
    assert policy.reason(settled).startswith(f"4 of 4 votes; {WORTH}: escalate 0.")
    assert " < report 0." in policy.reason(settled)


# ------------------------------------------------------------------ what the world does to plans


def test_votes_nobody_foresaw_as_unparsed_are_lost_and_the_rest_is_planned_anew() -> None:
    policy = PomdpPolicy(replace(two_tiers(), cost_weight=0.1))
    belief = run(policy, START, vote(1, 2, n_votes=3))
    assert belief.plan.root.visits == (Visit(0, 1, 2, 3),)
    left = replace(policy.model, tiers=(replace(policy.model.tiers[0], max_votes=3), policy.model.tiers[1]))
    fresh = PomdpPolicy(left)
    same = run(fresh, START, vote(1, 2))
    assert policy.value(belief) == pytest.approx(fresh.value(same), abs=1e-12)
    np.testing.assert_allclose(policy.posterior(belief), fresh.posterior(same))
    spent = run(policy, START, vote(1, 1, n_votes=4))
    assert policy.action(spent).kind in ("report", "escalate")


def test_a_round_that_brings_no_vote_at_all_does_not_go_on_for_ever() -> None:
    policy = PomdpPolicy(replace(two_tiers(), cost_weight=0.0))
    belief, rounds = run(policy, START), 0
    while policy.action(belief).kind == "vote":
        belief = policy.update(belief, policy.action(belief), Observation())
        rounds += 1
    assert 0 < rounds <= 4
    assert policy.reason(belief).startswith(
        f"none of {belief.visits[0].n_votes} votes could be read; expected score: "
    )


def test_fewer_votes_than_asked_for_lead_to_a_plan_from_there() -> None:
    policy = PomdpPolicy(replace(two_tiers(), batch=()))
    belief = policy.update(run(policy, START), Action("vote", 0, 4), Observation(3, 3, 3))
    assert policy.posterior(belief).sum() == pytest.approx(1)
    assert policy.action(belief).kind in ("report", "escalate", "vote")
    assert policy.update(belief, Action("vote", 0, 1), Observation(1, 1, 1)).visits == (Visit(0, 4, 4, 4),)


def test_a_failed_tier_is_never_reported_and_leaves_no_evidence() -> None:
    policy = PomdpPolicy(two_tiers())
    failed = run(policy, (Action("start", 0), Observation(failed=True)))
    assert policy.action(failed) == Action("escalate", 1)
    assert policy.confidence(failed, 0) is None
    np.testing.assert_allclose(policy.posterior(failed), policy.model.priors[0])
    assert policy.reason(failed).startswith("no usable answer from this tier; expected score less cost ")
    both = policy.update(failed, Action("escalate", 1), Observation(failed=True))
    assert policy.action(both) == Action("abstain")


def test_after_a_dear_tier_failed_the_answer_in_hand_is_weighed_again() -> None:
    model = replace(two_tiers(), cost_weight=0.1)
    three = Model(
        tiers=(*model.tiers, TierModel(answer=Cost(5.0))),
        priors=(tuple(float(p) for p in np.outer([0.5, 0.5], model.priors[0]).ravel()),),
        cost_weight=0.1,
    )
    policy = PomdpPolicy(three)
    belief = run(policy, START, vote(0, 4), (Action("escalate", 1), Observation(failed=True)))
    assert policy.action(belief) == Action("report", 0)
    assert policy.confidence(belief, 0) == pytest.approx(policy.confidence(run(policy, START, vote(0, 4)), 0))


def test_a_missing_confidence_is_no_evidence_unless_it_was_met_in_fitting() -> None:
    table = ((0.8, 0.2), (0.2, 0.8))
    for with_answer in (True, False):
        seen = ConfidenceObservations(cuts=(0.5,), probabilities=table, with_answer=with_answer)
        model = two_tiers(tiers=(TierModel(observation=seen, max_votes=1), TierModel(answer=Cost(0.02))))
        policy = PomdpPolicy(model)
        belief = run(policy, START)
        if not with_answer:
            belief = policy.update(belief, Action("vote", 0, 1), Observation(n_votes=1))
        np.testing.assert_allclose(policy.posterior(belief), model.priors[0])
        assert policy.action(belief).kind != "vote"
        known = replace(seen, missing=(0.5, 0.0))
        policy = PomdpPolicy(
            replace(model, tiers=(replace(model.tiers[0], observation=known), model.tiers[1]))
        )
        belief = run(policy, START)
        if not with_answer:
            belief = policy.update(belief, Action("vote", 0, 1), Observation(n_votes=1))
        assert policy.confidence(belief, 0) == 0.0


def test_the_bins_of_a_confidence_hold_their_left_edge() -> None:
    seen = ConfidenceObservations(cuts=(0.3, 0.6), probabilities=((0.5, 0.3, 0.2), (0.1, 0.3, 0.6)))
    found = [seen.counts(Visit(0, signal=x)).value for x in (0.0, 0.29, 0.3, 0.6, 1.0)]
    assert found == [0, 0, 1, 2, 2]
    policy = PomdpPolicy(two_tiers(tiers=(TierModel(observation=seen), TierModel(observation=seen))))
    assert policy.cuts(0) == (0.3, 0.6)
    assert policy.cuts(1) == ()


def test_fewer_answers_than_k_are_read_as_the_same_share() -> None:
    seen = ConsistencyObservations(probabilities=((0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)))
    assert [seen.counts(Visit(0, c, t, t)).value for c, t in [(1, 4), (4, 4), (1, 2), (1, 1)]] == [1, 4, 2, 4]


def test_evidence_that_the_model_rules_out_is_an_error_that_prints_its_inputs() -> None:
    seen = ConsistencyObservations(probabilities=((1.0, 0.0), (1.0, 0.0)))
    policy = PomdpPolicy(two_tiers(tiers=(TierModel(observation=seen), TierModel())))
    with pytest.raises(AutomixError, match=r"no belief: prior \[0.05, .*correct=2, parsed=2.*\[0.0, 0.0"):
        policy.update(policy.begin(Facts()), Action("start", 0), Observation(2, 2, 2))


# ------------------------------------------------------------------ lengths and classes of questions


@pytest.mark.parametrize("seed", range(12))
def test_planning_on_the_token_grid_loses_less_than_a_thousandth(seed: int) -> None:
    model = random_model(seed, tiers=2 + seed % 2)
    scale = 3e-3 if seed % 2 else 3e-4
    tiers = tuple(replace(t, answer=Cost(0.0, 4**i * scale)) for i, t in enumerate(model.tiers))
    policy = PomdpPolicy(replace(model, tiers=tiers, cost_weight=0.1))
    for tokens in np.exp(np.random.default_rng(seed).uniform(0, 12, 40)):
        own = solve(policy.model, float(tokens))
        assert policy.forecast(Facts(float(tokens))).value >= own.value(own.start) - 1e-3


def test_the_grid_is_refined_where_several_plans_are_best_in_turn_at_nearby_lengths() -> None:
    """Tiers right in 10, 50 and 90 %: the best tier changes at 4,000 and again at 3,636 tokens."""
    right = (0.1, 0.5, 0.9)
    prior = [math.prod(p if (s >> i) & 1 else 1 - p for i, p in enumerate(right)) for s in range(8)]
    tiers = tuple(TierModel(answer=Cost(0.0, rate)) for rate in (0.0, 1e-4, 2.1e-4))
    policy = PomdpPolicy(Model(tiers=tiers, priors=(tuple(prior),), cost_weight=1.0))
    worst, qualities = 0.0, set()
    for tokens in np.geomspace(3000, 5000, 200):
        own = solve(policy.model, float(tokens))
        qualities.add(round(own.forecast().quality, 6))
        worst = max(worst, own.value(own.start) - policy.forecast(Facts(float(tokens))).value)
    assert qualities == {0.1, 0.5, 0.9}
    assert worst < 1e-3


def test_few_plans_serve_questions_of_every_length() -> None:
    model = two_tiers()
    tiers = (replace(model.tiers[0], answer=Cost(0.0, 1e-7)), replace(model.tiers[1], answer=Cost(0.0, 4e-6)))
    policy = PomdpPolicy(replace(model, tiers=tiers))
    plans = {id(policy.begin(Facts(float(tokens))).plan) for tokens in range(100, 20_000, 7)}
    assert len(plans) < 100


def test_a_question_nobody_counted_is_planned_at_the_mean_length() -> None:
    tiers = (TierModel(answer=Cost(0.0, 1e-6)), TierModel(answer=Cost(0.0, 1e-4)))
    policy = PomdpPolicy(
        Model(tiers=tiers, priors=((0.2, 0.2, 0.2, 0.4),), cost_weight=1.0, mean_tokens=700.0)
    )
    assert policy.forecast() == policy.forecast(Facts(700.0))
    assert policy.forecast().cost == pytest.approx(700e-6, rel=0.01)


def test_each_class_of_questions_has_its_own_prior() -> None:
    model = replace(two_tiers(), priors=((0.05, 0.05, 0.35, 0.55), (0.1, 0.8, 0.05, 0.05)))
    policy = PomdpPolicy(model)
    for cell, right in enumerate((0.6, 0.85)):
        belief = policy.update(policy.begin(Facts(question_class=cell)), *START)
        assert policy.confidence(belief, 0) == pytest.approx(right)
    assert PomdpPolicy(two_tiers()).begin(Facts(question_class=7)).plan.root == Root(0)


def test_a_plan_is_kept_and_forgotten_by_its_size() -> None:
    policy = PomdpPolicy(replace(two_tiers(), priors=((0.25,) * 4,) * 5), cached_histories=30)
    plans: list[Plan] = [policy.begin(Facts(question_class=cell)).plan for cell in range(5)]
    assert policy.begin(Facts(question_class=4)).plan is plans[4]
    again = policy.begin(Facts(question_class=0)).plan
    assert again is not plans[0]
    assert again.value(again.start) == plans[0].value(plans[0].start)
