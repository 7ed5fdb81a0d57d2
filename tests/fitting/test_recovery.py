"""What is lost by learning the model from rows instead of knowing it."""

from __future__ import annotations

import numpy as np
import pytest
from exact import expectation
from known import draw_table, two_tiers, votes
from msgspec.structs import replace

from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.policy import PomdpPolicy


def shows_the_last_tier() -> Model:
    """Votes that also tell whether the large tier would be right; where no tier is, they say yes."""
    shapes = ((3.0, 1.5), (1.0, 2.5), (3.0, 1.0), (4.0, 1.0))
    seen = replace(votes(1, 1, 1, 1), shapes=shapes)
    small = TierModel(observation=seen, max_votes=5, answer=Cost(1.0), vote=Cost(0.125))
    return Model(tiers=(small, TierModel(answer=Cost(10.0))), priors=((0.20, 0.05, 0.40, 0.35),))


def three_tiers() -> Model:
    """Two tiers that are verified, and a third."""
    small = TierModel(observation=votes(1.0, 2.0, 3.0, 0.8), max_votes=4, answer=Cost(1.0), vote=Cost(0.2))
    medium = TierModel(observation=votes(1.0, 1.5, 3.0, 1.0), max_votes=2, answer=Cost(4.0), vote=Cost(1.0))
    prior = (0.04, 0.01, 0.04, 0.04, 0.13, 0.06, 0.20, 0.48)
    return Model(tiers=(small, medium, TierModel(answer=Cost(20.0))), priors=(prior,))


TRUTHS = {
    "votes of the own tier": two_tiers,
    "votes that show the last tier": shows_the_last_tier,
    "three tiers": three_tiers,
}


def weighed(truth: Model) -> Model:
    """The model at a cost_weight where the optimum escalates about 40 % of questions."""
    span = truth.tiers[-1].answer.fixed - truth.tiers[0].answer.fixed
    models = [replace(truth, cost_weight=float(w) / span) for w in np.geomspace(0.02, 1, 200)]
    return min(models, key=lambda m: abs(PomdpPolicy(m).forecast().escalated - 0.4))


def regret(truth: Model, rows: int, seed: int) -> float:
    """100·(V* - V^π) of the policy fitted to rows drawn from the truth, V exact under the truth."""
    settings = Settings(max_votes=max(tier.max_votes for tier in truth.tiers))
    policy = fit(draw_table(truth, rows, seed), settings).policy(truth.cost_weight, settings)
    score, cost = expectation(policy, truth)
    return 100 * (PomdpPolicy(truth).forecast().value - (score - truth.cost_weight * cost))


@pytest.mark.parametrize("name", TRUTHS)
def test_regret_falls_with_rows_and_is_below_a_tenth_of_a_point_at_a_thousand(name: str) -> None:
    truth = weighed(TRUTHS[name]())
    assert 0.3 <= PomdpPolicy(truth).forecast().escalated <= 0.5
    few, some, many = ([regret(truth, rows, seed) for seed in range(6)] for rows in (50, 200, 1000))
    assert min(few + some + many) > -1e-9
    assert np.mean(some) <= np.mean(few) + 0.05
    assert np.mean(many) <= np.mean(some) + 0.05
    assert np.mean(many) < 0.1
