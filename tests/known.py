"""Recorded rows drawn from a known model, for tests of what is learned from rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import VoteObservations

NAMES = ("small", "medium", "large")


def votes(a: float, b: float, c: float, d: float, unparsed: float = 0.0) -> VoteObservations:
    return VoteObservations(shapes=((a, b), (c, d)), unparsed=unparsed)


def two_tiers(cost_weight: float = 0.0) -> Model:
    """A small tier right in 60 %, a large one in 85 %, six useful votes."""
    small = TierModel(observation=votes(1.2, 2.5, 4.0, 1.0), max_votes=6, answer=Cost(1.0), vote=Cost(0.2))
    large = TierModel(answer=Cost(20.0))
    return Model(tiers=(small, large), priors=((0.10, 0.05, 0.30, 0.55),), cost_weight=cost_weight)


def draw_rows(model: Model, rows: int, seed: int) -> list[dict[str, Any]]:
    """Trace rows whose states, votes and costs come from the model."""
    rng = np.random.default_rng(seed)
    states = rng.choice(len(model.priors[0]), size=rows, p=model.priors[0])
    found: list[dict[str, Any]] = [{"id": i, "tiers": {}} for i in range(rows)]
    for i, tier in enumerate(model.tiers):
        right = (states >> i) & 1
        drawn = _drawn(tier, right, states >> (len(model.tiers) - 1), rng)
        for row, own, bag in zip(found, right, drawn, strict=True):
            row["tiers"][NAMES[i]] = {
                "score": int(own),
                "cost": tier.answer.at(0),
                "vote_cost": tier.vote.at(0),
                **({"votes": bag} if bag else {}),
            }
    return found


def _drawn(
    tier: TierModel, right: np.ndarray, last: np.ndarray, rng: np.random.Generator
) -> list[list[int | None]]:
    if not isinstance(tier.observation, VoteObservations) or not tier.max_votes:
        return [[] for _ in right]
    cells = tier.observation.shapes
    shapes = np.array(cells)[right if len(cells) == 2 else 2 * right + last]
    chance = rng.beta(shapes[:, 0], shapes[:, 1])
    yes = rng.random((len(right), tier.max_votes)) < chance[:, None]
    lost = rng.random(yes.shape) < tier.observation.unparsed
    return [
        [None if gone else int(v) for v, gone in zip(*row, strict=True)]
        for row in zip(yes, lost, strict=True)
    ]


def table_of(rows: list[dict[str, Any]], **options: Any) -> TraceTable:
    return read_table(enumerate(rows, 1), **options)


def draw_table(model: Model, rows: int, seed: int) -> TraceTable:
    return table_of(draw_rows(model, rows, seed), tiers=NAMES[: len(model.tiers)])


def easy_and_hard(rows: int, seed: int, *, shows: bool) -> TraceTable:
    """Wrong answers get more CORRECT votes where the large tier is right, or do not."""
    four = ((1.0, 6.0), (5.0, 2.0) if shows else (1.0, 6.0), (3.0, 1.0), (3.0, 1.0))
    small = TierModel(
        observation=VoteObservations(shapes=four), max_votes=6, answer=Cost(1.0), vote=Cost(0.1)
    )
    model = Model(tiers=(small, TierModel(answer=Cost(9.0))), priors=((0.3, 0.1, 0.3, 0.3),))
    drawn = draw_rows(model, rows, seed)
    rng = np.random.default_rng(seed)
    for row in drawn:  # `draw_rows` knows cells of the tier alone: draw these votes anew
        own, last = row["tiers"]["small"]["score"], row["tiers"]["medium"]["score"]
        chance = rng.beta(*four[2 * own + last])
        row["tiers"]["small"]["votes"] = [int(v) for v in rng.random(6) < chance]
    return table_of(drawn)


def confidence_rows(rows: int, seed: int, **extra: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(rows):
        small, large = rng.random() < 0.6, rng.random() < 0.9
        value = float(rng.beta(4, 2) if small else rng.beta(2, 4))
        own = {"score": int(small), "cost": 1, "confidence": value, "vote_cost": 0.5, **extra}
        found.append({"id": i, "tiers": {"small": own, "large": {"score": int(large), "cost": 20}}})
    return found
