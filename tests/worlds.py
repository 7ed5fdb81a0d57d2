"""Worlds of which it is known whether routing pays: models to draw rows from, with texts and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from known import draw_rows, votes

from automix_cli.pomdp.model import Cost, Model, TierModel

WORDS = ("amber", "birch", "cedar", "delta", "ember", "frost", "grove", "heron", "iris", "jade")
MAX_VOTES = 6


def common_difficulty(rates: Sequence[float], slope: float = 1.5) -> tuple[float, ...]:
    """The chances of the 2^N states: tiers of these rates that find the same questions hard."""
    level = np.linspace(-3.5, 3.5, 57)
    weight = np.exp(-(level**2) / 2)
    weight /= weight.sum()
    right = np.stack([_right(rate, slope * level, weight) for rate in rates])
    states = (np.arange(2 ** len(rates))[:, None] >> np.arange(len(rates))) & 1
    each = np.where(states[:, :, None] == 1, right, 1 - right).prod(axis=1)
    return tuple(float(p) for p in each @ weight)


def _right(rate: float, ease: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A tier's chance to be right at each difficulty: logistic, with this mean."""
    low, high = -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        below = weight @ (1 / (1 + np.exp(-middle - ease))) < rate
        low, high = (middle, high) if below else (low, middle)
    return 1 / (1 + np.exp(-low - ease))


def _world(rates: Sequence[float], costs: Sequence[float], strength: float) -> Model:
    """Tiers with six votes each but for the last; at strength 1 votes say nothing of the answer."""
    signal = votes(1.0, strength, strength, 1.0)
    verified = [
        TierModel(observation=signal, max_votes=MAX_VOTES, answer=Cost(c), vote=Cost(0.1 * c))
        for c in costs[:-1]
    ]
    last = TierModel(answer=Cost(costs[-1]))
    return Model(tiers=(*verified, last), priors=(common_difficulty(rates),))


def null_world(tiers: int) -> Model:
    """Votes that say nothing: every policy is a random mix of tiers, or worse.

    The tiers are so near to each other that luck makes some policy seem to pay; the middle one of
    three lies on the line between the others, so that many mixes are equal.
    """
    rates, costs = {2: ((0.78, 0.82), (1.0, 20.0)), 3: ((0.74, 0.78, 0.82), (1.0, 10.5, 20.0))}[tiers]
    return _world(rates, costs, 1.0)


def paying_world(tiers: int) -> Model:
    """Votes with which the cheapest plan that keeps 98 % of the best tier lies 3 points above the mixes."""
    rates, costs = {2: ((0.6, 0.85), (1.0, 20.0)), 3: ((0.6, 0.75, 0.85), (1.0, 5.0, 20.0))}[tiers]
    return _world(rates, costs, {2: 1.66, 3: 1.71}[tiers])


def draw_world(
    model: Model, questions: int, seed: int, copies: int = 1, *, is_near: bool = False
) -> list[dict[str, Any]]:
    """Rows of different questions, whose words say nothing, each `copies` times under other ids.

    Near-copies have another number in each copy, and all else copied along.
    """
    rng = np.random.default_rng((seed, 1))
    rows = draw_rows(model, questions, seed)
    words = [a + b for a in WORDS for b in WORDS] if is_near else WORDS
    for i, row in enumerate(rows):
        row["question"] = f"{' '.join(rng.choice(words, 10))} {i}?"
    each = [{**row, "id": f"{row['id']}-{copy}"} for copy in range(copies) for row in rows]
    if is_near:
        for k, row in enumerate(each):
            row["question"] = f"{row['question'].rsplit(' ', 1)[0]} {k}?"
    return each
