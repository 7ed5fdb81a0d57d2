"""Laws of the exact planner, each against arithmetic that shares no code with it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from exact import brute_force, expectation
from models import LAWS, random_model, tiers_of

from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import ConfidenceObservations, VoteObservations
from automix_cli.pomdp.plan import PlanNode, solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.pomdp.rules import AlwaysPolicy, Rule, ThresholdPolicy


@pytest.mark.parametrize("seed", LAWS)
def test_the_promised_value_equals_the_exact_expectation_of_rollout(seed: int) -> None:
    model = random_model(seed, tiers=tiers_of(seed))
    policy = PomdpPolicy(model)
    facts = Facts(prompt_tokens=float(seed * 7))
    score, cost = expectation(policy, model, facts)
    forecast = policy.forecast(facts)
    assert forecast.value == pytest.approx(score - model.cost_weight * cost, abs=1e-10)
    assert forecast.quality == pytest.approx(score, abs=1e-10)
    assert forecast.cost == pytest.approx(cost, abs=1e-9)


def rivals(model: Model) -> list[Policy[Any]]:
    """Every single tier, and every threshold policy with legal rounds whose cuts are bin edges."""
    tiers, found = len(model.tiers), []
    found += [AlwaysPolicy(tiers, j) for j in range(tiers)]
    for votes in range(1, max(t.max_votes for t in model.tiers) + 1):
        rounds = [
            votes if votes in (*model.batch, t.max_votes) and votes <= t.max_votes else 0 for t in model.tiers
        ]
        for c in range(votes + 1):
            found.append(
                ThresholdPolicy(tuple(cut_rule(model, i, m, c / votes) for i, m in enumerate(rounds[:-1])))
            )
    for j in range(3):
        found.append(ThresholdPolicy(tuple(edge_rule(model, i, j) for i in range(tiers - 1))))
    return found


def cut_rule(model: Model, tier: int, votes: int, cut: float) -> Rule:
    signal = model.tiers[tier].observation
    return Rule(votes if isinstance(signal, VoteObservations) else 0, (cut,), (True, False))


def edge_rule(model: Model, tier: int, edge: int) -> Rule:
    signal = model.tiers[tier].observation
    if not isinstance(signal, ConfidenceObservations):
        return Rule(0, (0.5,), (True, False))
    cut = signal.cuts[min(edge, len(signal.cuts) - 1)]
    votes = 0 if signal.with_answer else min(model.tiers[tier].max_votes, 1)
    return Rule(votes, (cut,), (edge != 2, edge == 2))


@pytest.mark.parametrize("seed", LAWS)
def test_the_plan_is_never_below_any_single_tier_or_threshold_policy_under_the_same_model(seed: int) -> None:
    model = random_model(seed, tiers=tiers_of(seed))
    best = PomdpPolicy(model).forecast().value
    for rival in rivals(model):
        score, cost = expectation(rival, model)
        assert best >= score - model.cost_weight * cost - 1e-10, rival


@pytest.mark.parametrize("seed", LAWS)
def test_the_plan_is_never_below_reporting_at_once_at_any_history(seed: int) -> None:
    model = random_model(seed, tiers=tiers_of(seed))
    plan = solve(model, 1.0)
    for path, block in plan.blocks.items():
        for at in range(block.weight.size) if path else ():
            weight = plan._posterior(path, at)
            reports = [float(weight @ model.reward(j) / weight.sum()) for j in path]
            assert plan.value(PlanNode(path, at)) >= max(reports) - 1e-10


@pytest.mark.parametrize("seed", range(200))
def test_a_brute_force_over_policy_trees_gives_the_same_value(seed: int) -> None:
    model = random_model(1000 + seed, tiers=1 + seed % 2 + (seed % 10 == 0), max_votes=3 if seed % 10 else 2)
    assert PomdpPolicy(model).forecast(Facts(1.0)).value == pytest.approx(brute_force(model), abs=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_the_posterior_sums_to_one_and_ignores_the_order_of_parsed_votes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = replace(random_model(seed, tiers=3, votes_only=True), batch=(1,))
    model = replace(model, tiers=tuple(replace(t, max_votes=6) for t in model.tiers))
    policy = PomdpPolicy(model)
    verdicts = [1, 1, 0, 0, 1]
    found = []
    for _ in range(4):
        rng.shuffle(verdicts)
        belief = policy.update(policy.begin(Facts()), Action("start", 0), Observation())
        for v in verdicts:
            belief = policy.update(belief, Action("vote", 0, 1), Observation(v, 1, 1))
        belief = policy.update(belief, Action("escalate", 2), Observation())
        found.append(policy.posterior(belief))
    assert found[0].sum() == pytest.approx(1, abs=1e-12)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-13)


@pytest.mark.parametrize("seed", LAWS)
def test_expected_cost_never_rises_with_cost_weight(seed: int) -> None:
    model = random_model(seed, tiers=tiers_of(seed))
    weights = [0.0, 1e-4, 1e-3, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 10.0]
    costs = [PomdpPolicy(replace(model, cost_weight=w)).forecast().cost for w in weights]
    for (w1, c1), (w2, c2) in itertools.combinations(zip(weights, costs, strict=True), 2):
        assert c2 <= c1 + 1e-9 / (w2 - w1)


@pytest.mark.parametrize("seed", range(30))
def test_two_tiers_and_one_round_escalate_iff_the_gain_by_hand_exceeds_the_weighted_cost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, weight, c2 = 4, 0.05, float(6 * rng.random())
    (a0, b0), (a1, b1) = np.exp(rng.normal(0, 0.7, (2, 2)))
    prior = rng.dirichlet(np.ones(4))
    seen = VoteObservations(shapes=((float(a0), float(b0)), (float(a1), float(b1))))
    small, large = TierModel(observation=seen, max_votes=k), TierModel(answer=Cost(c2), right=0.9, wrong=0.1)
    model = Model(tiers=(small, large), priors=(tuple(prior),), cost_weight=weight, batch=(k,))
    policy = PomdpPolicy(model)
    for c in range(k + 1):
        wrong = math.gamma(a0 + c) * math.gamma(b0 + k - c) / math.gamma(a0 + b0 + k)
        wrong *= math.gamma(a0 + b0) / math.gamma(a0) / math.gamma(b0)
        right = math.gamma(a1 + c) * math.gamma(b1 + k - c) / math.gamma(a1 + b1 + k)
        right *= math.gamma(a1 + b1) / math.gamma(a1) / math.gamma(b1)
        p00, p10, p01, p11 = prior * np.array([wrong, right, wrong, right])
        first = (p10 + p11) / (p00 + p10 + p01 + p11)
        second = 0.1 + 0.8 * (p01 + p11) / (p00 + p10 + p01 + p11)
        belief = policy.update(policy.begin(Facts()), Action("start", 0), Observation())
        belief = policy.update(belief, Action("vote", 0, k), Observation(c, k, k))
        escalates = second - first > weight * c2
        assert policy.action(belief) == (Action("escalate", 1) if escalates else Action("report", 0))


@pytest.mark.parametrize("seed", range(20))
def test_the_costs_of_tiers_not_visited_change_no_decision_once_they_are_out_of_reach(seed: int) -> None:
    """Decisions after the last tier was reached depend on nothing that could have been paid elsewhere."""
    model = replace(random_model(seed, tiers=3, votes_only=True), last_tier=True)
    dear = replace(model, tiers=(replace(model.tiers[0], answer=Cost(100.0)), *model.tiers[1:]))
    found = []
    for m in (model, dear):
        policy = PomdpPolicy(m)
        belief = policy.update(policy.begin(Facts()), Action("start", 2), Observation())
        found.append((policy.action(belief), policy.value(belief)))
    assert found[0] == found[1]
