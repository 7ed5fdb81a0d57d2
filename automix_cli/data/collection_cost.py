"""What it cost to ask every tier and to buy every vote of a table of traces."""

from __future__ import annotations

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.pomdp.arrays import Floats


def collection_cost(table: TraceTable) -> float | None:
    """Add up the USD of all answers, votes and embeddings; None where the cost of one is not recorded.

    A row without a cost counts as the mean of its tier.
    """
    bought = table.votes.sum(axis=2, dtype=float)
    for j, signal in enumerate(table.signals):
        if signal == "verdict":  # its confidence was bought as one vote
            bought[:, j] = ~np.isnan(table.confidence[:, j])
    rounds = (bought > 0) * np.nan_to_num(table.round_cost)  # most providers charge none
    votes = np.where(bought > 0, bought * _with_means(table.vote_cost), 0.0)
    total = float((_with_means(table.cost) + votes + rounds).sum())
    if table.embeddings is not None:
        total += float(table.embeddings.cost.sum())
    return None if np.isnan(total) else total


def _with_means(costs: Floats) -> Floats:
    """Costs with the mean of the column where a row has none; NaN where no row has one."""
    absent = np.isnan(costs)
    counts = (~absent).sum(axis=0)
    means = np.divide(
        np.where(absent, 0.0, costs).sum(axis=0), counts, out=np.full(len(counts), np.nan), where=counts > 0
    )
    complete: Floats = np.where(absent, means, costs)
    return complete
