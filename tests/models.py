"""Models to plan with: random ones, and a small one that can be worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from automix_cli.pomdp.agreement import AgreementModel, Pair
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import (
    ConfidenceObservations,
    ConsistencyObservations,
    ObservationModel,
    VoteObservations,
)
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts, Observation


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


def with_failures(model: Model, seed: int) -> Model:
    """The model with tiers that give no answer now and then; one in four never fails."""
    rng = np.random.default_rng(seed)
    chances = [float(rng.choice([0.0, 0.05, 0.3, 0.6])) for _ in model.tiers]
    return replace(
        model, tiers=tuple(replace(t, failure=c) for t, c in zip(model.tiers, chances, strict=True))
    )


def with_agreement(model: Model, seed: int) -> Model:
    """The model with answers that are compared."""
    rng = np.random.default_rng(seed + 7)

    def pair() -> Pair:
        return Pair(float(0.5 + 0.49 * rng.random()), float(0.6 * rng.random()))

    pairs = tuple(tuple(pair() for _ in range(j)) for j in range(len(model.tiers)))
    groups = tuple(map(float, 0.8 * rng.random(len(model.tiers))))
    return replace(
        model, agreement=AgreementModel(pairs=pairs, groups=groups, one_right=float(0.1 * rng.random()))
    )


LAWS = range(40)


def tiers_of(seed: int) -> int:
    return 1 + seed % 3


START = (Action("start", 0), Observation())


def two_tiers(**changes: Any) -> Model:
    votes = VoteObservations(shapes=((1.0, 3.0), (3.0, 1.0)))
    small = TierModel(observation=votes, max_votes=4, answer=Cost(0.001), vote=Cost(0.0001))
    large = TierModel(answer=Cost(0.02))
    model = Model(tiers=(small, large), priors=((0.05, 0.05, 0.35, 0.55),), cost_weight=10)
    return replace(model, **changes)


def vote(correct: int, parsed: int, n_votes: int | None = None) -> tuple[Action, Observation]:
    n = parsed if n_votes is None else n_votes
    return Action("vote", 0, n), Observation(correct, parsed, n)


def run(policy: PomdpPolicy, *steps: tuple[Action, Observation]) -> Any:
    belief = policy.begin(Facts())
    for action, seen in steps:
        belief = policy.update(belief, action, seen)
    return belief
