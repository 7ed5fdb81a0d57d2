"""Plans: answers worked by hand, ties, and the plan for people."""

from __future__ import annotations

import numpy as np
import pytest
from models import START, random_model, run, tiers_of, two_tiers, vote
from msgspec.structs import replace

from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import VoteObservations
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts

# ------------------------------------------------------------------ known answers


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
