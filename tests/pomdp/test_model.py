"""The decision problem: what is refused, and how it is made small enough to plan."""

from __future__ import annotations

import math
from typing import Any

import pytest
from exact import expectation
from models import random_model, two_tiers
from msgspec.structs import replace

from automix_cli.pomdp.model import MAX_HISTORIES, Cost, Model, TierModel, count_histories, simplify
from automix_cli.pomdp.observations import VoteObservations
from automix_cli.pomdp.plan import solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action


def test_waiting_is_priced_per_round_trip_and_votes_per_round_and_piece() -> None:
    tier = TierModel(answer=Cost(1.0, 0.5), vote=Cost(0.25), round=Cost(2.0), answer_s=36.0, round_s=72.0)
    model = Model(tiers=(tier,), priors=((0.5, 0.5),), value_of_time=50.0)
    assert model.charge(Action("start", 0)) == model.charge(Action("escalate", 0)) == Cost(1.5, 0.5)
    assert model.charge(Action("vote", 0, 4)) == Cost(4.0, 0.0)
    assert model.charge(Action("report", 0)) == model.charge(Action("abstain")) == Cost()


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
        {"tiers": (TierModel(failure=1.5), TierModel())},
        {"tiers": (TierModel(failure=math.nan), TierModel())},
    ],
    ids=str,
)
def test_models_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        two_tiers(**changes)


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
