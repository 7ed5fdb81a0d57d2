"""The prior of one question: laws of the tilt, and what planning on a grid of marginals loses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from exact import expectation
from models import random_model, with_agreement, with_failures
from msgspec.structs import replace

from automix_cli.pomdp.model import Model, TierModel
from automix_cli.pomdp.plan import solve
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts
from automix_cli.pomdp.tilt import grid_corners, logit, marginals, shrink_logits, sigmoid, tilt


def some_priors(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tiers = int(rng.integers(1, 6))
    prior = rng.dirichlet(np.full(2**tiers, rng.choice([0.05, 0.3, 2.0]))) + 1e-9
    return prior / prior.sum(), rng.uniform(-6.9, 6.9, (7, tiers))


@pytest.mark.parametrize("seed", range(40))
def test_the_marginals_are_the_targets(seed: int) -> None:
    prior, logits = some_priors(seed)
    tilted = tilt(prior, sigmoid(logits))
    for line, target in zip(tilted, sigmoid(logits), strict=True):
        for tier in range(logits.shape[1]):
            own = math.fsum(p for p, s in zip(line, range(len(line)), strict=True) if s >> tier & 1)
            assert own == pytest.approx(target[tier], abs=1e-9)
        assert math.fsum(line) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_odds_ratios_of_two_tiers_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior, (tilted,) = (own := rng.dirichlet(np.ones(4))), tilt(own, rng.uniform(0.01, 0.99, (1, 2)))
    ratios = [p[0] * p[3] / (p[1] * p[2]) for p in (prior, tilted)]
    assert ratios[1] == pytest.approx(ratios[0], rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_trust_0_gives_the_prior_and_trust_1_the_router(seed: int) -> None:
    prior, logits = some_priors(seed)
    none, whole = (shrink_logits(prior, logits, trust) for trust in (0.0, 1.0))
    np.testing.assert_allclose(tilt(prior, sigmoid(none)), np.tile(prior, (len(logits), 1)), atol=1e-9)
    np.testing.assert_allclose(whole, logits, atol=1e-12)


def test_one_tier_that_is_trusted_has_the_probability_of_the_router() -> None:
    model = Model(tiers=(TierModel(),), priors=((0.3, 0.7),), trust=1.0)
    logits = model.target_logits(Facts(logits=(float(logit(np.array(0.2))),)))
    assert model.prior(0, logits) == pytest.approx([0.8, 0.2], abs=1e-12)
    assert replace(model, trust=0.0).target_logits(Facts(logits=(1.0,))) == ()


def test_a_prior_that_no_tilt_moves_is_named() -> None:
    with pytest.raises((ValueError, np.linalg.LinAlgError, RuntimeWarning)):
        tilt(np.array([0.5, 0.0, 0.0, 0.5]), np.array([[0.2, 0.7]]))


@pytest.mark.parametrize("seed", range(5))
def test_a_question_lies_between_the_corners_of_its_simplex(seed: int) -> None:
    logits = np.random.default_rng(seed).uniform(-5, 5, (20, 3))
    corners = grid_corners(logits)
    between = np.einsum("nk,nkt->nt", corners.shares, corners.logits)
    np.testing.assert_allclose(between, np.clip(logits, -4, 4), atol=1e-12)
    assert (corners.shares >= -1e-12).all()
    assert set(np.unique(corners.logits[corners.shares > 0] % 0.25)) == {0.0}


# ---------------------------------------------------------------- plans on the grid


def model_of(seed: int) -> Model:
    """A random model that trusts its router."""
    model = random_model(seed, tiers=2 + seed % 2, max_votes=2)
    model = with_failures(model, seed) if seed % 3 == 1 else model
    return replace(with_agreement(model, seed) if seed % 4 == 2 else model, trust=1.0)


def of_question(model: Model, facts: Facts) -> Model:
    """The model whose prior is the question's own: what is planned without a grid."""
    prior = model.prior(facts.question_class, model.target_logits(facts))
    return replace(model, priors=(tuple(prior.tolist()),))


def questions(model: Model, seed: int, count: int) -> list[Facts]:
    rng = np.random.default_rng(1000 + seed)
    lines = rng.normal(0.5, 1.5, (count, len(model.tiers)))
    return [Facts(float(rng.integers(50, 2_000)), 0, tuple(line)) for line in lines.tolist()]


@pytest.mark.parametrize("seed", range(30))
def test_the_grid_loses_less_than_a_thousandth_of_the_score(seed: int) -> None:
    model = model_of(seed)
    policy = PomdpPolicy(model)
    for facts in questions(model, seed, 4):
        own = of_question(policy.plan_model, facts)
        tokens = max(facts.prompt_tokens or 0.0, 1.0)
        plan = policy.plan(facts)
        reached = plan.worth_to(own.prior(0), tokens)
        best = solve(own, tokens)
        assert -1e-9 < best.value(best.start) - reached < 1e-3


@pytest.mark.parametrize("seed", range(8))
def test_the_worth_of_a_plan_is_what_following_it_brings(seed: int) -> None:
    model = replace(model_of(seed), trust=0.9)
    policy = PomdpPolicy(model)
    (facts,) = questions(model, seed, 1)
    own = of_question(policy.plan_model, facts)
    tokens = max(facts.prompt_tokens or 0.0, 1.0)
    score, cost = expectation(policy, own, facts)
    worth = policy.plan(facts).worth_to(own.prior(0), tokens)
    assert worth == pytest.approx(score - model.cost_weight * cost, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_no_single_tier_is_worth_more_than_the_plan(seed: int) -> None:
    """To ask the tier that the router names is one of the plans."""
    model = model_of(seed)
    policy = PomdpPolicy(model)
    for facts in questions(model, seed, 4):
        own = of_question(policy.plan_model, facts)
        tokens = max(facts.prompt_tokens or 0.0, 1.0)
        right = marginals(own.prior(0))
        for tier, chance in zip(own.tiers, right, strict=True):
            if not tier.failure:
                alone = tier.wrong + (tier.right - tier.wrong) * chance
                waiting = model.value_of_time * tier.answer_s / 3600
                alone -= model.cost_weight * (tier.answer + waiting).at(tokens)
                assert policy.plan(facts).worth_to(own.prior(0), tokens) > alone - 1e-3
