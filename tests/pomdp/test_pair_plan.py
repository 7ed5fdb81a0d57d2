"""The plan for two tiers under a prior: equal to the planner, and never dearer than what it can save."""

import itertools
import random

import pytest

from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import VoteObservations
from automix_cli.pomdp.pair_plan import LARGE, SMALL, PairCharges, PairPlan, SetKind, VoteEvidence, mixture
from automix_cli.pomdp.plan import solve
from automix_cli.pomdp.prior_policy import PriorPolicy, TierCosts
from automix_cli.pomdp.problem import Action, Facts, Observation, rollout

SEEDS = range(12)


def a_kind(draw: random.Random, family: str = "a", *, harm: bool = True) -> SetKind:
    """A kind at random; without `harm` the large tier is never wrong where the small one is right."""
    shares = [draw.random() + 0.05 for _ in range(4)]
    if not harm:
        shares[1] = 0.0
    states = tuple(share / sum(shares) for share in shares)
    cells = draw.choice((2, 4))
    shapes = tuple((draw.uniform(0.1, 5), draw.uniform(0.1, 5)) for _ in range(cells))
    return SetKind(family, states, shapes, (draw.uniform(0, 0.2), 1.0), (draw.uniform(0, 0.2), 1.0))


def a_plan(seed: int, kinds: int = 3, *, harm: bool = True, **changes: object) -> PairPlan:
    draw = random.Random(seed)
    prior = mixture([a_kind(draw, str(i), harm=harm) for i in range(kinds)], 0.2)
    charges = PairCharges(draw.uniform(0.01, 0.3), draw.uniform(0.0, 0.05), draw.uniform(0.0, 0.05))
    settings = {"charges": charges, "give_up": draw.uniform(0.05, 0.6), "max_votes": draw.choice((0, 3, 8))}
    return PairPlan(VoteEvidence(prior), **{**settings, **changes})  # type: ignore[arg-type]


def histories(plan: PairPlan) -> list[tuple[int, int, int]]:
    """Every history that the plan can meet when it is followed."""
    reached, waiting = [], [(0, 0, 0)]
    while waiting:
        at = waiting.pop()
        reached.append(at)
        votes = plan.action(*at).votes
        following = (
            [(at[0] + more, at[1] + votes, at[2] + votes) for more in range(votes + 1)] if votes else []
        )
        waiting += [key for key in following if key not in reached and key not in waiting]
    return reached


@pytest.mark.parametrize("seed", SEEDS)
def test_under_one_kind_it_is_the_plan_of_the_exact_planner(seed: int) -> None:
    draw = random.Random(seed)
    kind, charges, give_up = a_kind(draw), PairCharges(0.1, 0.01, 0.02), draw.uniform(0.05, 0.6)
    plan = PairPlan(VoteEvidence(mixture([kind], 0.0)), charges, give_up, max_votes=6)
    small = TierModel(
        right=kind.small[1],
        wrong=kind.small[0],
        observation=VoteObservations(shapes=kind.shapes),
        max_votes=6,
        answer=Cost(charges.small),
        vote=Cost(charges.vote),
        round=Cost(charges.round),
    )
    large = TierModel(right=kind.large[1], wrong=kind.large[0], answer=Cost(1.0))
    exact = solve(Model(tiers=(small, large), priors=(kind.states,), cost_weight=give_up), 0.0)
    assert plan.value() == pytest.approx(exact.value(exact.start), abs=1e-10)
    mine, theirs = plan.forecast(), exact.forecast()
    assert mine[:3] == pytest.approx((theirs.quality, theirs.cost, theirs.escalated), abs=1e-9)
    assert mine.votes == pytest.approx(theirs.votes, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mixture_promises_what_each_kind_gets_from_its_plan_on_average(seed: int) -> None:
    """E[score] - give_up·E[cost] is linear in the prior when the plan stands."""
    draw = random.Random(seed)
    kinds = [a_kind(draw, name) for name in "ab"]
    charges = PairCharges(0.05, 0.01)
    mixed = PairPlan(VoteEvidence(mixture(kinds, 0.0)), charges, 0.3, max_votes=4)
    alone = [PairPlan(VoteEvidence(mixture([kind], 0.0)), charges, 0.3, max_votes=4) for kind in kinds]
    assert mixed.value() <= sum(plan.value() for plan in alone) / 2 + 1e-12, "to know the kind cannot hurt"


@pytest.mark.parametrize("seed", SEEDS)
def test_it_promises_the_quality_of_the_large_tier_less_what_may_be_given_up(seed: int) -> None:
    plan = a_plan(seed)
    forecast = plan.forecast()
    large = plan.evidence.after(0, 0).large
    assert forecast.quality >= large - plan.give_up * (1 - forecast.cost) - 1e-9
    assert forecast.cost <= 1 + max(0.0, forecast.quality - large) / plan.give_up + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_no_vote_is_bought_that_costs_more_than_any_outcome_could_save(seed: int) -> None:
    """A round can save no more than the price of the large answer, where this one is never the worse."""
    plan = a_plan(seed, harm=False)
    for at in histories(plan):
        action = plan.action(*at)
        if action.kind != "vote":
            continue
        price = plan.give_up * (plan.charges.round + action.votes * plan.charges.vote)
        outcomes = [(at[0] + more, at[1] + action.votes) for more in range(action.votes + 1)]
        saved = max(plan.give_up - plan.gain(*key) for key in outcomes)
        lost = max(plan.gain(*key) - plan.give_up for key in outcomes)
        assert price <= max(saved, lost) + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("vote", "once"), [(1.0, 0.0), (0.0, 1.0), (0.6, 0.5)])
def test_a_vote_as_dear_as_the_large_answer_is_never_bought(seed: int, vote: float, once: float) -> None:
    plan = a_plan(seed, harm=False, charges=PairCharges(0.001, vote, once), max_votes=8)
    assert all(plan.action(*at).kind != "vote" for at in histories(plan))


@pytest.mark.parametrize("seed", SEEDS)
def test_dearer_votes_are_bought_less_and_a_dearer_small_tier_is_asked_less(seed: int) -> None:
    votes = [a_plan(seed, charges=PairCharges(0.0, v)).forecast().votes for v in (0.0, 0.01, 0.05, 0.2)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(votes))
    starts = [a_plan(seed, charges=PairCharges(c, 0.01)).first().tier for c in (0.0, 0.1, 0.3, 0.9, 50.0)]
    assert starts == sorted(starts)
    assert starts[-1] == LARGE


@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_costs_more_than_all_votes_and_both_answers(seed: int) -> None:
    plan = a_plan(seed, max_votes=8)
    levels = {at[2] for at in histories(plan)}
    assert max(levels) <= 8
    assert plan.forecast().cost <= plan.charges.small + 8 * (plan.charges.vote + plan.charges.round) + 1


def test_samples_come_with_the_answer_and_no_vote_follows() -> None:
    kind = SetKind("a", (0.1, 0.0, 0.3, 0.6), ((1, 9), (9, 1)))
    plan = PairPlan(
        VoteEvidence(mixture([kind], 0.0)), PairCharges(0.05), give_up=0.2, max_votes=0, samples=5
    )
    assert plan.action(5, 5, 5) == Action("report", SMALL)
    assert plan.action(1, 5, 5) == Action("escalate", LARGE)
    assert plan.forecast().votes == 0


# ---------------------------------------------------------------- the policy


def a_policy(tiers: int = 2, **changes: object) -> PriorPolicy:
    kind = SetKind("a", (0.05, 0.02, 0.33, 0.6), ((1, 9), (9, 1)))
    costs = (*[TierCosts(Cost(0.01, 1e-5), Cost(0.001))] * (tiers - 1), TierCosts(Cost(1.0, 1e-3)))
    settings = {"costs": costs, "give_up": 0.2, "max_votes": 4, **changes}
    return PriorPolicy(VoteEvidence(mixture([kind], 0.0)), **settings)  # type: ignore[arg-type]


def outcome(policy: PriorPolicy, *observations: Observation) -> list[Action]:
    """The actions of a run that sees these observations, the final one last."""
    run, actions = rollout(policy, Facts(100.0)), []
    try:
        actions.append(next(run).action)
        for observation in observations:
            actions.append(run.send(observation).action)
    except StopIteration as stop:
        actions.append(stop.value.action)
    return actions


def test_a_middle_tier_is_asked_only_where_the_first_gave_no_answer() -> None:
    policy = a_policy(tiers=3, batch=(4,))
    [start, vote, *_] = outcome(policy, Observation())
    assert (start.tier, vote.kind) == (0, "vote")
    no = Observation(0, vote.votes, vote.votes)
    assert outcome(policy, Observation(), no, Observation())[-1] == Action("report", 2)
    mute = Observation(failed=True)
    assert outcome(policy, mute, Observation(), no, Observation())[1:] == [
        Action("escalate", 1),
        vote._replace(tier=1),
        Action("escalate", 2),
        Action("report", 2),
    ]
    assert outcome(policy, mute, mute, mute)[-1].kind == "abstain"


def test_votes_that_cannot_be_read_are_no_evidence_and_come_to_an_end() -> None:
    blank = [Observation(0, 0, 1)] * 4
    actions = outcome(a_policy(batch=(1,)), Observation(), *blank)
    assert actions[-1].kind in ("escalate", "report")
    assert sum(a.votes for a in actions) <= 4


@pytest.mark.parametrize(
    ("costs", "tier"),
    [
        ((TierCosts(Cost(0.0)), TierCosts(Cost(0.0))), 1),
        ((TierCosts(Cost(1.0)), TierCosts(Cost(0.0))), 1),
        ((TierCosts(Cost(0.0)), TierCosts(Cost(1.0))), 0),
        ((TierCosts(Cost(1.0)),), 0),
    ],
    ids=["free", "free large tier", "free small tier", "one tier"],
)
def test_where_nothing_can_be_saved_the_last_tier_answers(costs: tuple[TierCosts, ...], tier: int) -> None:
    assert outcome(a_policy(costs=costs))[0] == Action("start", tier)


def test_a_long_prompt_gets_a_plan_of_its_own() -> None:
    costs = (TierCosts(Cost(0.0, 9e-4)), TierCosts(Cost(1.0, 1e-3)))  # of long prompts nearly all is input
    policy = a_policy(costs=costs)
    first = [policy.action(policy.begin(Facts(tokens))).tier for tokens in (10.0, 100_000.0)]
    assert first == [0, 1]
