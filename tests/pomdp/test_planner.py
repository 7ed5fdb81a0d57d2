"""Laws of the exact planner, each against arithmetic that shares no code with it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from exact import expectation, shown, states, step, worth

from automix_cli.errors import AutomixError, DataError
from automix_cli.pomdp.model import MAX_HISTORIES, Cost, Model, TierModel, count_histories, simplify
from automix_cli.pomdp.observations import (
    ConfidenceObservations,
    ConsistencyObservations,
    Counts,
    NoObservations,
    ObservationModel,
    VoteObservations,
    observations_from_dict,
)
from automix_cli.pomdp.plan import Plan, PlanNode, Root, solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, Visit
from automix_cli.pomdp.rules import AlwaysPolicy, Rule, ThresholdPolicy

# ------------------------------------------------------------------ a second opinion, in plain Python


def run(policy: PomdpPolicy, *steps: tuple[Action, Observation]) -> Any:
    belief = policy.begin(Facts())
    for action, seen in steps:
        belief = policy.update(belief, action, seen)
    return belief


def brute_force(model: Model) -> float:
    """The best value over all policy trees: expectimax over ordered histories, nothing shared."""
    chances = list(zip(model.priors[0], states(model), strict=True))
    return max(
        tree_value(model, Action("start", j), [p for p, _ in chances], []) for j in range(len(model.tiers))
    )


def tree_value(model: Model, action: Action, weights: list[float], visits: list[Visit]) -> float:
    """Value, times the chance of the history, of taking an action and then the best tree."""
    if action.final:
        return sum(w * worth(model, action, s) for w, s in zip(weights, states(model), strict=True))
    before = visits[-1] if action.kind == "vote" else Visit(action.tier)
    ahead: dict[Observation, list[float]] = {}
    for k, (w, state) in enumerate(zip(weights, states(model), strict=True)):
        for p, o in shown(model, action, state, before):
            ahead.setdefault(o, [0.0] * len(weights))[k] += w * p
    value = -model.cost_weight * model.charge(action).at(1.0) * sum(weights)
    for o, ws in ahead.items():
        seen = step(visits, action, o)
        value += max(tree_value(model, next_action, ws, seen) for next_action in legal(model, seen))
    return value


def legal(model: Model, visits: list[Visit]) -> list[Action]:
    last = visits[-1]
    found = [Action("report", v.tier) for v in visits]
    found += [Action("escalate", j) for j in range(last.tier + 1, len(model.tiers))]
    if model.abstain_value is not None:
        found.append(Action("abstain"))
    signal, left = model.observation(last.tier), model.tiers[last.tier].max_votes - last.bought
    if isinstance(signal, VoteObservations):
        found += [Action("vote", last.tier, m) for m in {*model.batch, left} if 0 < m <= left]
    if isinstance(signal, ConfidenceObservations) and not signal.with_answer and left > 0 and not last.bought:
        found.append(Action("vote", last.tier, 1))
    return found


# ------------------------------------------------------------------ random models


def random_observation(rng: np.random.Generator, signal: str, unparsed: bool) -> ObservationModel:
    cells = int(rng.choice([2, 4]))
    if signal == "votes":
        shapes = tuple((float(a), float(b)) for a, b in np.exp(rng.normal(0, 1, (cells, 2))))
        return VoteObservations(shapes=shapes, unparsed=0.2 if unparsed else 0.0)
    bins = int(rng.integers(2, 4))
    table = tuple(tuple(map(float, row)) for row in rng.dirichlet(np.ones(bins), cells))
    if signal == "consistency":
        return ConsistencyObservations(probabilities=table)
    cuts = tuple(sorted(map(float, rng.random(bins - 1))))
    missing = tuple(map(float, 0.3 * rng.random(cells))) if rng.random() < 0.5 else ()
    return ConfidenceObservations(
        cuts=cuts, probabilities=table, missing=missing, with_answer=signal == "with answer"
    )


SIGNALS = ("votes", "votes", "votes", "consistency", "with answer", "bought")


def random_model(seed: int, *, tiers: int = 2, max_votes: int = 3, votes_only: bool = False) -> Model:
    """A small model: any signals, batches, rewards, abstention, waiting and tokens."""
    rng = np.random.default_rng(seed)
    signals = ["votes"] * tiers if votes_only else list(rng.choice(SIGNALS, tiers))
    known = tuple(
        TierModel(
            right=float(1 - 0.2 * rng.random()),
            wrong=float(0.2 * rng.random()),
            observation=random_observation(rng, signals[i], rng.random() < 0.3),
            max_votes=int(rng.integers(0, max_votes + 1)),
            answer=Cost(float(rng.random() * 4**i), float(rng.random() * 4**i * 1e-3)),
            vote=Cost(float(0.3 * rng.random() * 4**i), float(rng.random() * 4**i * 1e-4)),
            round=Cost(float(0.1 * rng.random())),
            answer_s=float(rng.random()),
            round_s=float(rng.random()),
        )
        for i in range(tiers)
    )
    return Model(
        tiers=known,
        priors=(tuple(map(float, rng.dirichlet(np.ones(2**tiers)))),),
        cost_weight=float(rng.choice([0.0, 0.01, 0.05, 0.2])),
        batch=tuple(sorted({int(m) for m in rng.integers(1, max_votes + 1, 2)}))
        if rng.random() < 0.7
        else (),
        abstain_value=float(0.6 * rng.random()) if rng.random() < 0.4 else None,
        last_tier=bool(rng.random() < 0.3),
        value_of_time=float(rng.choice([0.0, 200.0])),
    )


LAWS = range(40)


def tiers_of(seed: int) -> int:
    return 1 + seed % 3


# ------------------------------------------------------------------ the laws


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


# ------------------------------------------------------------------ known answers


def two_tiers(**changes: Any) -> Model:
    votes = VoteObservations(shapes=((1.0, 3.0), (3.0, 1.0)))
    small = TierModel(observation=votes, max_votes=4, answer=Cost(0.001), vote=Cost(0.0001))
    large = TierModel(answer=Cost(0.02))
    model = Model(tiers=(small, large), priors=((0.05, 0.05, 0.35, 0.55),), cost_weight=10)
    return replace(model, **changes)


START = (Action("start", 0), Observation())


def vote(correct: int, parsed: int, bought: int | None = None) -> tuple[Action, Observation]:
    n = parsed if bought is None else bought
    return Action("vote", 0, n), Observation(correct, parsed, n)


def test_a_belief_worked_by_hand() -> None:
    # ℓ(0 of 2 | wrong) = 3/4·4/5 = 0.6 and ℓ(0 of 2 | right) = 1/4·2/5 = 0.1
    # right: (0.05 + 0.55)·0.1 = 0.06 of 0.06 + 0.4·0.6 = 0.30
    policy = PomdpPolicy(replace(two_tiers(), priors=((0.3, 0.05, 0.1, 0.55),)))
    belief = run(policy, START, vote(0, 2))
    assert policy.confidence(belief, 0) == pytest.approx(0.2)
    np.testing.assert_allclose(policy.posterior(belief), np.array([0.18, 0.005, 0.06, 0.055]) / 0.30)
    assert policy.confidence(belief, 1) is None


def test_the_value_of_a_round_worked_by_hand() -> None:
    # One vote at 0.0001·10 = 0.001. P(yes) = 0.6·3/4 + 0.4·1/4 = 0.55; reported then: 0.45 of 0.55.
    # After a no (0.45, of which 0.15 right): large is right in 0.35·3/4 + 0.55·1/4 = 0.4, less 0.2·0.45.
    model = replace(two_tiers(), batch=())
    model = replace(model, tiers=(replace(model.tiers[0], max_votes=1), model.tiers[1]))
    forecast = PomdpPolicy(model).forecast()
    assert forecast.value == pytest.approx(0.45 + 0.4 - 0.45 * 0.2 - 0.001 - 0.01)
    assert forecast.escalated == pytest.approx(0.45)
    assert forecast.votes == pytest.approx(1)
    assert forecast.cost == pytest.approx(0.001 + 0.0001 + 0.45 * 0.02)


def test_the_tiger_without_a_door_is_one_tier_that_is_simply_reported() -> None:
    votes = VoteObservations(shapes=((1.0, 3.0), (3.0, 1.0)))
    model = Model(tiers=(TierModel(observation=votes, max_votes=8),), priors=((0.5, 0.5),), cost_weight=1.0)
    policy = PomdpPolicy(model)
    assert policy.action(run(policy, START)) == Action("report", 0)
    assert policy.forecast().value == pytest.approx(0.5)


def test_waiting_is_priced_per_round_trip_and_votes_per_round_and_piece() -> None:
    tier = TierModel(answer=Cost(1.0, 0.5), vote=Cost(0.25), round=Cost(2.0), answer_s=36.0, round_s=72.0)
    model = Model(tiers=(tier,), priors=((0.5, 0.5),), value_of_time=50.0)
    assert model.charge(Action("start", 0)) == model.charge(Action("escalate", 0)) == Cost(1.5, 0.5)
    assert model.charge(Action("vote", 0, 4)) == Cost(4.0, 0.0)
    assert model.charge(Action("report", 0)) == model.charge(Action("abstain")) == Cost()


def test_reasons_name_the_evidence_and_end_with_what_is_chosen() -> None:
    policy = PomdpPolicy(two_tiers())
    assert policy.reason(policy.begin(Facts())).startswith("before any call: start 0.")
    assert (
        policy.reason(run(policy, START, vote(0, 2)))
        == "0 of 2 votes: report 0.20 < vote 0.68 = escalate 0.68"
    )
    settled = run(policy, START, vote(4, 4))
    assert policy.action(settled) == Action("report", 0)
    assert policy.reason(settled).startswith("4 of 4 votes: escalate 0.")
    assert " < report 0." in policy.reason(settled)


# ------------------------------------------------------------------ ties


def test_equal_worth_goes_to_the_cheaper_action_then_report_escalate_vote() -> None:
    free = TierModel(observation=VoteObservations(shapes=((1.0, 1.0), (1.0, 1.0))), max_votes=2)
    equal = Model(
        tiers=(free, TierModel()), priors=((0.5, 0.0, 0.0, 0.5),), cost_weight=1.0, abstain_value=0.5
    )
    policy = PomdpPolicy(equal)
    assert policy.action(policy.begin(Facts())) == Action("start", 0)
    assert policy.action(run(policy, START)) == Action("report", 0)
    better = replace(equal, tiers=(replace(free, right=0.4), TierModel()), abstain_value=None)
    policy = PomdpPolicy(better)
    asked = run(policy, START)
    assert dict(asked.plan.options(asked.node, policy.posterior(asked)))[Action("vote", 0, 1)] == 0.5
    assert policy.action(asked) == Action("escalate", 1)


def test_a_tie_within_a_trillionth_goes_to_the_cheaper_action() -> None:
    small, large = TierModel(), TierModel(answer=Cost(0.2 - 1e-14))
    model = Model(tiers=(small, large), priors=((0.2, 0.2, 0.4, 0.2),), cost_weight=1.0)
    # report is worth 0.4, escalating 0.6 - 0.2 + 1e-14
    assert PomdpPolicy(model).action(run(PomdpPolicy(model), START)) == Action("report", 0)
    cheap = replace(model, tiers=(small, TierModel(answer=Cost(0.2 - 1e-9))))
    assert PomdpPolicy(cheap).action(run(PomdpPolicy(cheap), START)) == Action("escalate", 1)


# ------------------------------------------------------------------ what the world does to plans


def test_votes_nobody_foresaw_as_unparsed_are_lost_and_the_rest_is_planned_anew() -> None:
    policy = PomdpPolicy(replace(two_tiers(), cost_weight=0.1))
    belief = run(policy, START, vote(1, 2, bought=3))
    assert belief.plan.root.visits == (Visit(0, 1, 2, 3),)
    left = replace(policy.model, tiers=(replace(policy.model.tiers[0], max_votes=3), policy.model.tiers[1]))
    fresh = PomdpPolicy(left)
    same = run(fresh, START, vote(1, 2))
    assert policy.value(belief) == pytest.approx(fresh.value(same), abs=1e-12)
    np.testing.assert_allclose(policy.posterior(belief), fresh.posterior(same))
    spent = run(policy, START, vote(1, 1, bought=4))
    assert policy.action(spent).kind in ("report", "escalate")


def test_a_round_that_brings_no_vote_at_all_does_not_go_on_for_ever() -> None:
    policy = PomdpPolicy(replace(two_tiers(), cost_weight=0.0))
    belief, rounds = run(policy, START), 0
    while policy.action(belief).kind == "vote":
        belief = policy.update(belief, policy.action(belief), Observation())
        rounds += 1
    assert 0 < rounds <= 4
    assert policy.reason(belief).startswith(f"none of {belief.visits[0].bought} votes could be read: ")


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
    assert policy.reason(failed).startswith("no usable answer from this tier: escalate ")
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
            belief = policy.update(belief, Action("vote", 0, 1), Observation(bought=1))
        np.testing.assert_allclose(policy.posterior(belief), model.priors[0])
        assert policy.action(belief).kind != "vote"
        known = replace(seen, missing=(0.5, 0.0))
        policy = PomdpPolicy(
            replace(model, tiers=(replace(model.tiers[0], observation=known), model.tiers[1]))
        )
        belief = run(policy, START)
        if not with_answer:
            belief = policy.update(belief, Action("vote", 0, 1), Observation(bought=1))
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


# ------------------------------------------------------------------ size


def test_the_number_of_histories_is_counted_without_laying_them_out() -> None:
    model = replace(
        random_model(3, tiers=3, votes_only=True), abstain_value=None, last_tier=False, batch=(1, 2, 4)
    )
    seen = VoteObservations(shapes=((1.0, 2.0), (2.0, 1.0)))
    model = replace(model, tiers=tuple(replace(t, observation=seen, max_votes=8) for t in model.tiers))
    plan = solve(model, 1.0)
    assert count_histories(model) == 46 * 46 * 2 - 1
    assert plan.size - 1 == count_histories(model)  # the plan also holds the root


@pytest.mark.parametrize(
    ("tiers", "max_votes", "unparsed", "said"),
    [
        (4, 8, 0.0, ""),
        (3, 8, 0.01, ""),
        (5, 8, 0.0, "one round of votes a tier"),
        (4, 8, 0.01, "one round of votes a tier"),
        (6, 8, 0.01, "one round of votes a tier, unparsed votes not foreseen"),
        (6, 40, 0.01, "one round of at most 12 votes a tier"),
        (1, 128, 0.01, "one round of votes a tier"),
    ],
)
def test_a_plan_that_would_be_too_large_is_simplified_and_says_how(
    tiers: int, max_votes: int, unparsed: float, said: str
) -> None:
    seen = VoteObservations(shapes=((1.0, 2.0), (2.0, 1.0)), unparsed=unparsed)
    known = tuple(TierModel(observation=seen, max_votes=max_votes) for _ in range(tiers))
    model = Model(tiers=known, priors=((1 / 2**tiers,) * 2**tiers,), last_tier=tiers == 1)
    smaller, words = simplify(model)
    assert words.endswith(said)
    assert bool(words) == bool(said)
    assert count_histories(smaller) <= MAX_HISTORIES


def test_a_simplified_plan_still_keeps_its_promise() -> None:
    model = replace(random_model(5, tiers=3, votes_only=True), batch=(1, 2), abstain_value=None)
    seen = VoteObservations(shapes=((1.0, 2.0), (2.0, 1.0)))
    model = replace(model, tiers=tuple(replace(t, observation=seen, max_votes=3) for t in model.tiers))
    policy = PomdpPolicy(model, max_histories=100)
    assert policy.limitation
    assert policy.plan_model.batch == ()
    score, cost = expectation(policy, policy.plan_model)
    assert policy.forecast().value == pytest.approx(score - model.cost_weight * cost, abs=1e-10)


# ------------------------------------------------------------------ the plan for people


@pytest.mark.parametrize("seed", range(15))
def test_plan_rows_hold_every_stop_once_and_their_chances_add_up(seed: int) -> None:
    model = random_model(seed, tiers=tiers_of(seed))
    rows = PomdpPolicy(model).plan().rows()
    assert sum(r.probability for r in rows if r.action.final) == pytest.approx(1)
    assert all(0 <= r.confidence <= 1 and 0 < r.probability <= 1 + 1e-12 for r in rows)
    assert len({(r.tier, r.counts, r.action) for r in rows}) == len(rows)


def test_plan_rows_name_counts_a_person_can_follow() -> None:
    model = replace(two_tiers(), batch=())
    rows = (
        PomdpPolicy(replace(model, tiers=(replace(model.tiers[0], max_votes=1), model.tiers[1])))
        .plan()
        .rows()
    )
    assert [
        (r.tier, r.counts[:2], r.action.kind, round(r.probability, 3), round(r.confidence, 3)) for r in rows
    ] == [
        (0, (0, 0), "vote", 1.0, 0.6),
        (0, (0, 1), "escalate", 0.45, 0.333),
        (0, (1, 1), "report", 0.55, 0.818),
        (1, (0, 0), "report", 0.45, 0.889),
    ]


# ------------------------------------------------------------------ doors


@pytest.mark.parametrize(
    "model",
    [
        VoteObservations(shapes=((0.5, 2.0), (2.0, 0.25)), unparsed=0.125),
        VoteObservations(shapes=((0.5, 2.0), (0.5, 1.0), (2.0, 0.25), (3.0, 0.25))),
        ConsistencyObservations(probabilities=((0.5, 0.5), (0.25, 0.75))),
        ConfidenceObservations(cuts=(0.5,), probabilities=((0.5, 0.5), (0.25, 0.75)), missing=(0.1, 0.0)),
        NoObservations(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_observation_models_survive_the_round_trip_through_json(model: ObservationModel) -> None:
    assert observations_from_dict(model.to_dict()) == model


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"signal": "mood"},
        {"signal": "votes", "shapes": [[1, 2]], "unparsed": 0},
        {"signal": "votes", "shapes": [[1, 2], [0, 1]], "unparsed": 0},
        {"signal": "votes", "shapes": [[1, 2], [2, 1]], "unparsed": 1.0},
        {"signal": "votes", "shapes": [[1, 2], [2, 1]]},
        {"signal": "consistency", "probabilities": [[0.5, 0.4], [0.5, 0.5]]},
        {
            "signal": "logprob",
            "cuts": [0.5, 0.4],
            "probabilities": [[1], [1]],
            "missing": [],
            "with_answer": True,
        },
        {"signal": "logprob", "cuts": [0.5], "probabilities": [[1], [1]], "missing": [], "with_answer": True},
        {
            "signal": "logprob",
            "cuts": [],
            "probabilities": [[1], [1]],
            "missing": [1, 0],
            "with_answer": True,
        },
    ],
    ids=str,
)
def test_parameters_that_are_no_distribution_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        observations_from_dict(row)


@pytest.mark.parametrize(
    "changes",
    [
        {"priors": ((0.5, 0.4, 0.0, 0.0),)},
        {"priors": ((0.5, 0.5),)},
        {"priors": ((math.nan, 0.5, 0.5, 0.0),)},
        {"priors": ()},
        {"tiers": ()},
        {"cost_weight": -1.0},
        {"cost_weight": math.inf},
        {"tiers": (TierModel(answer=Cost(math.nan)), TierModel())},
        {"tiers": (TierModel(max_votes=200), TierModel())},
    ],
    ids=str,
)
def test_models_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        two_tiers(**changes)


def test_the_likelihood_of_counts_does_not_depend_on_how_they_came() -> None:
    seen = VoteObservations(shapes=((0.3, 1.7), (2.2, 0.4)), unparsed=0.1)
    table = seen.table(5, (1, 2))
    for counts, row in table.row.items():
        np.testing.assert_allclose(table.likelihood[row], seen.likelihood(counts), rtol=1e-12)
    top = table.levels[-1].rows
    whole = seen.table(5, ()).levels[0].rounds[0].orders[0]
    np.testing.assert_allclose(whole @ table.likelihood[top], [1.0, 1.0], rtol=1e-12)


def test_counts_speak_of_what_each_signal_shows() -> None:
    assert VoteObservations(shapes=((1, 1), (1, 1))).counts(Visit(0, 2, 3, 5)) == Counts(2, 3, 3)
    assert VoteObservations(shapes=((1, 1), (1, 1)), unparsed=0.1).counts(Visit(0, 2, 3, 5)) == Counts(
        2, 3, 5
    )


def test_a_plan_is_kept_and_forgotten_by_its_size() -> None:
    policy = PomdpPolicy(replace(two_tiers(), priors=((0.25,) * 4,) * 5), cached_histories=30)
    plans: list[Plan] = [policy.begin(Facts(question_class=cell)).plan for cell in range(5)]
    assert policy.begin(Facts(question_class=4)).plan is plans[4]
    again = policy.begin(Facts(question_class=0)).plan
    assert again is not plans[0]
    assert again.value(again.start) == plans[0].value(plans[0].start)
