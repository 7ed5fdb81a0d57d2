"""The best tier of every row, known in hindsight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats


class Choice(NamedTuple):
    """One tier chosen per row, and what that scores and costs."""

    tier: NDArray[np.intp]
    score: Floats
    cost: Floats


def oracle(scores: Floats, costs: Floats, cost_weight: float = 0.0) -> Choice:
    """The choice of one who knows every score (n×N): the best tier of each row, ties to the cheaper.

    It pays for the tier chosen alone. With a cost_weight it maximises score - cost_weight·cost,
    which draws the oracle's curve.
    """
    worth = scores - cost_weight * costs
    best = worth >= worth.max(axis=1, keepdims=True) - 1e-12
    tier = np.where(best, costs, np.inf).argmin(axis=1)
    rows = np.arange(len(scores))
    return Choice(tier, scores[rows, tier], costs[rows, tier])
