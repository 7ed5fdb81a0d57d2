"""Scores and costs of all that a calibration compares, row by row or draw by draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.frontier import mix_quality
from automix_cli.pomdp.arrays import Floats


class PairedColumns(NamedTuple):
    """Scores and costs of everything that is compared, tier by tier last.

    An array has a value per row, or per resample; `tier_scores` and `tier_costs` have N of them.
    """

    router_score: Floats
    router_cost: Floats
    best_score: Floats
    threshold_score: Floats
    threshold_cost: Floats
    oracle_score: Floats
    oracle_cost: Floats
    tier_scores: Floats
    tier_costs: Floats

    @classmethod
    def of_matrix(cls, matrix: Floats) -> PairedColumns:
        """Name the columns of a matrix made by `matrix`, or of what was computed from one."""
        alone = len(cls._fields) - 2
        n = (matrix.shape[-1] - alone) // 2
        single = [matrix[..., k] for k in range(alone)]
        return cls._make([*single, matrix[..., alone : alone + n], matrix[..., alone + n :]])

    def matrix(self) -> Floats:
        """Return the columns side by side."""
        return np.column_stack(self)

    def mix(self) -> Floats:
        """Return the quality of the best random mix of single tiers at the router's cost."""
        return mix_quality(self.tier_costs, self.tier_scores, self.router_cost)

    def policies(self, tiers: Sequence[str]) -> Iterator[tuple[str, Floats, Floats]]:
        """Yield the name, cost and score of each policy, in the order in which they are shown."""
        yield "pomdp", self.router_cost, self.router_score
        yield "threshold", self.threshold_cost, self.threshold_score
        yield "oracle", self.oracle_cost, self.oracle_score
        for j, name in enumerate(tiers):
            yield f"always:{name}", self.tier_costs[..., j], self.tier_scores[..., j]
