"""What it cost to ask every tier and to buy every vote of a table of traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automix_cli.pomdp.arrays import Floats

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable


def collection_cost(table: TraceTable) -> float | None:
    """Add up the USD of all answers, votes and embeddings; None where the cost of one is not recorded.

    Rows that were set aside were paid for, too.
    """
    total = float(row_costs(table).sum()) + table.set_aside_usd
    return None if np.isnan(total) else total


def row_costs(table: TraceTable) -> Floats:
    """Return the USD of each row's answers, votes and embedding, n; NaN where no row has that cost.

    A row without a cost counts as the mean of its tier, unless the tier was not asked: then it has
    no score either.
    """
    counts = table.votes.sum(axis=2, dtype=float)
    for j, signal in enumerate(table.signals):
        if signal == "verdict":  # its confidence was bought as one vote
            counts[:, j] = ~np.isnan(table.confidence[:, j])
    rounds = (counts > 0) * np.nan_to_num(table.round_cost)  # most providers charge none
    votes = np.where(counts > 0, counts * _with_means(table.vote_cost), 0.0)
    is_unasked = np.isnan(table.score) & np.isnan(table.cost)
    answers = np.where(is_unasked, 0.0, _with_means(table.cost))
    costs: Floats = (answers + votes + rounds).sum(axis=1)
    return costs if table.embeddings is None else costs + table.embeddings.cost


def _with_means(costs: Floats) -> Floats:
    """Costs with the mean of the column where a row has none; NaN where no row has one."""
    absent = np.isnan(costs)
    counts = (~absent).sum(axis=0)
    means = np.divide(
        np.where(absent, 0.0, costs).sum(axis=0), counts, out=np.full(len(counts), np.nan), where=counts > 0
    )
    complete: Floats = np.where(absent, means, costs)
    return complete
