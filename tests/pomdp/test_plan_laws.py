"""Laws of the exact planner, each against arithmetic that shares no code with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from exact import brute_force, expectation
from models import LAWS, random_model, tiers_of, with_agreement, with_failures
from msgspec.structs import replace

from automix_cli.pomdp.action_table import ActionTable
from automix_cli.pomdp.histories import NO_CLASS, Histories, Root
from automix_cli.pomdp.induction import Columns, Induction, PlanTask, solve_tasks
from automix_cli.pomdp.model import Cost, Model, TierModel, count_histories
from automix_cli.pomdp.observations import ConfidenceObservations, VoteObservations
from automix_cli.pomdp.outlook import chances, spending
from automix_cli.pomdp.plan import PlanNode, solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.pomdp.reach import choose, reach
from automix_cli.pomdp.rules import AlwaysPolicy, Rule, ThresholdPolicy

WEIGHTS = (0.0, 1e-4, 1e-3, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 10.0)


def model_of(seed: int, kind: str) -> Model:
    """The random model of a seed; tiers fail now and then, or their answers are compared."""
    model = random_model(seed, tiers=tiers_of(seed))
    if "failures" in kind:
        model = with_failures(model, seed)
    return with_agreement(model, seed) if "agreement" in kind else model


def plans_of(model: Model, weights: Sequence[float], tokens: float) -> Induction:
    """The plans of a model for several cost_weights at once."""
    histories = Histories(model, Root())
    return solve_tasks([PlanTask(histories, ActionTable.of(histories), tokens, np.array(weights))])


KINDS = ("plain", "failures", "agreement", "failures and agreement")
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_the_promised_value_equals_the_exact_expectation_of_rollout(seed: int, kind: str) -> None:
    model = model_of(seed, kind)
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


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_the_plan_is_never_below_any_single_tier_or_threshold_policy_under_the_same_model(
    seed: int, kind: str
) -> None:
    model = model_of(seed, kind)
    best = PomdpPolicy(model).forecast().value
    for rival in rivals(model):
        score, cost = expectation(rival, model)
        assert best >= score - model.cost_weight * cost - 1e-10, rival


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_the_plan_is_never_below_reporting_at_once_at_any_history(seed: int, kind: str) -> None:
    model = model_of(seed, kind)
    plan = solve(model, 1.0)
    for path, block in plan.blocks.items():
        for at in range(block.weight.size) if path else ():
            weight = plan._posterior(path, at)
            if not weight.sum():
                continue
            answered = [step.tier for step in path if not step.failed]
            reports = [float(weight @ model.reward(j) / weight.sum()) for j in answered]
            assert plan.value(PlanNode(path, at)) >= max(reports, default=-math.inf) - 1e-10


@pytest.mark.parametrize("compares", [False, True], ids=["plain", "agreement"])
@pytest.mark.parametrize("seed", range(300))
def test_a_brute_force_over_policy_trees_gives_the_same_value(seed: int, compares: bool) -> None:
    """In a third of the models tiers fail now and then."""
    three = seed % 10 == 0
    model = random_model(1000 + seed, tiers=1 + seed % 2 + three, max_votes=2 if three else 3)
    if seed % 3 == 2:
        model = with_failures(model, seed)
    if compares:
        model = with_agreement(model, seed)
    assert PomdpPolicy(model).forecast(Facts(1.0)).value == pytest.approx(brute_force(model), abs=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_the_posterior_sums_to_one_and_ignores_the_order_of_parsed_votes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = replace(random_model(seed, tiers=3, votes_only=True), batch=(1,))
    model = replace(model, tiers=tuple(replace(t, max_votes=5) for t in model.tiers))
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


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_expected_cost_never_rises_with_cost_weight(seed: int, kind: str) -> None:
    plans = plans_of(model_of(seed, kind), WEIGHTS, 1.0)
    costs = spending(plans, reach(plans)).dollars
    for (w1, c1), (w2, c2) in itertools.combinations(zip(WEIGHTS, costs, strict=True), 2):
        assert c2 <= c1 + 1e-9 / (w2 - w1)


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_plans_for_many_cost_weights_at_once_are_those_for_each_alone(seed: int, kind: str) -> None:
    model = model_of(seed, kind)
    weights = WEIGHTS[::2]
    plans = plans_of(model, weights, 2.0)
    costs = spending(plans, reach(plans)).dollars
    for place, weight in enumerate(weights):
        alone = solve(replace(model, cost_weight=weight), 2.0)
        assert alone.blocks.keys() == plans.values.keys()
        for path, block in alone.blocks.items():
            before = np.arange(block.weight.shape[1])
            columns = Columns(np.full(len(before), place), before)
            np.testing.assert_array_equal(
                plans.of_groups(plans.finals.tables[path].weight, columns), block.weight
            )
            together = plans.of_plans(plans.worth(path), columns)
            np.testing.assert_allclose(together, block.value, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(choose(plans, path, columns), alone.choice(path))
        assert costs[place] == pytest.approx(alone.forecast().cost, abs=1e-12)


@each_kind
@pytest.mark.parametrize("seed", LAWS)
def test_every_plan_ends_in_one_report_or_abstention(seed: int, kind: str) -> None:
    """Orders times the chance of one order, summed over the histories where a plan ends, is 1."""
    plans = plans_of(model_of(seed, kind), WEIGHTS, 1.0)
    ended = np.zeros(len(WEIGHTS))
    final = np.array([*(action.final for action in plans.actions.actions), False])
    for path, own in reach(plans).items():
        ends = np.where(final[own.choice], chances(plans, path, own), 0.0).sum(axis=0)
        ended += np.bincount(own.columns.plan, ends, len(WEIGHTS))
    np.testing.assert_allclose(ended, 1.0, atol=1e-12)


# ------------------------------------------------------------------ tiers that fail


@pytest.mark.parametrize("seed", LAWS[:20])
def test_tiers_that_never_fail_are_planned_as_if_nothing_could(seed: int) -> None:
    """No history is added, and a failure that hardly ever happens changes no value."""
    model = random_model(seed, tiers=tiers_of(seed))
    plan = solve(model, 1.0)
    assert not any(step.joins == NO_CLASS for path in plan.blocks for step in path)
    rare = replace(model, tiers=tuple(replace(t, failure=1e-12) for t in model.tiers))
    assert solve(rare, 1.0).forecast().value == pytest.approx(plan.forecast().value, abs=1e-9)


@pytest.mark.parametrize("seed", LAWS[:20])
def test_histories_with_failures_are_counted_as_they_are_planned(seed: int) -> None:
    model = with_failures(random_model(seed, tiers=tiers_of(seed)), seed)
    for own in (model, with_agreement(model, seed)):
        assert solve(own, 1.0).size - 1 == count_histories(own)  # the plan also holds the root


def test_a_plan_with_a_failure_worked_by_hand() -> None:
    """The small tier fails in a quarter, the large one in a fifth: ask small, and large where it is mute.

    Reported: small 3/4·0.6, large 1/4·4/5·0.9; else nothing. Cost 1 + 1/4·3.
    """
    small = TierModel(failure=0.25, answer=Cost(1.0))
    large = TierModel(failure=0.2, answer=Cost(3.0))
    # The tiers are right in 0.6 and 0.9, independently.
    model = Model(tiers=(small, large), priors=((0.04, 0.06, 0.36, 0.54),), cost_weight=0.15)
    forecast = PomdpPolicy(model).forecast()
    assert forecast.quality == pytest.approx(0.75 * 0.6 + 0.25 * 0.8 * 0.9)
    assert forecast.cost == pytest.approx(1.75)
    assert forecast.escalated == pytest.approx(0.25)
    assert forecast.abstained == pytest.approx(0.25 * 0.2)


@pytest.mark.parametrize("seed", LAWS[:20])
def test_what_follows_a_failure_does_not_depend_on_how_likely_it_was(seed: int) -> None:
    """A failure that was foreseen is planned for as one that was not, and says nothing of the state."""
    model = random_model(seed, tiers=2 + seed % 2)
    failing = replace(
        model, tiers=tuple(replace(t, failure=0.4 * (i == 0)) for i, t in enumerate(model.tiers))
    )
    failed = (Action("start", 0), Observation(failed=True))
    unforeseen, foreseen = PomdpPolicy(model), PomdpPolicy(failing)
    after = unforeseen.update(unforeseen.begin(Facts()), *failed)
    then = foreseen.update(foreseen.begin(Facts()), *failed)
    assert after.plan.root == Root(visits=after.visits)
    assert then.plan.root == Root()
    assert foreseen.action(then) == unforeseen.action(after)
    assert foreseen.value(then) == pytest.approx(unforeseen.value(after), abs=1e-12)
    np.testing.assert_allclose(foreseen.posterior(then), model.priors[0], atol=1e-12)
    assert foreseen.confidence(then, 0) is None


@pytest.mark.parametrize("seed", LAWS[:20])
def test_lines_for_people_leave_out_the_ends_at_which_no_tier_answered_last(seed: int) -> None:
    plan = PomdpPolicy(with_failures(random_model(seed, tiers=tiers_of(seed)), seed)).plan()
    ends = failed = 0.0
    for path, chance in plan.reach().items():
        for at in np.flatnonzero(chance > 0) if path else ():
            if plan.action(PlanNode(path, int(at))).final:
                ends += chance.flat[at]
                failed += chance.flat[at] * path[-1].failed
    assert ends == pytest.approx(1)
    assert sum(r.probability for r in plan.rows() if r.action.final) == pytest.approx(1 - failed)


# ------------------------------------------------------------------ by hand


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
