"""The oracle baseline: the best tier of every row, chosen with the scores in view."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats


class TierChoice(NamedTuple):
    """The tier chosen for each row, with its score and cost."""

    tier: NDArray[np.intp]
    score: Floats
    cost: Floats


def oracle(scores: Floats, costs: Floats, cost_weight: float = 0.0) -> TierChoice:
    """Choose the best tier of each row from all scores (n×N); ties go to the cheaper tier.

    Only the chosen tier is paid for. With a cost_weight the choice maximises
    score - cost_weight·cost; varying the weight draws the oracle's curve.
    """
    worth = scores - cost_weight * costs
    best = worth >= worth.max(axis=1, keepdims=True) - 1e-12
    tier = np.where(best, costs, np.inf).argmin(axis=1)
    rows = np.arange(len(scores))
    return TierChoice(tier, scores[rows, tier], costs[rows, tier])
