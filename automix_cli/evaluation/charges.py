"""What the outcomes of a policy are worth on recorded rows: scores and costs enter row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Floats, Ints


class Outcomes(NamedTuple):
    """What is done on each of S signatures, with N tiers, in expectation over the order of votes.

    Each array may have an axis of policies before the others.

    Attributes:
        reports: S×N, chance that a tier's answer is reported.
        asks: S×N, chance that a tier is asked.
        votes: S×N, expected number of votes bought.
        rounds: S×N, expected number of rounds.
        abstained: S, chance that nothing is reported.
    """

    reports: Floats
    asks: Floats
    votes: Floats
    rounds: Floats
    abstained: Floats


class RowOutcomes(NamedTuple):
    """What one policy does on n rows, with N tiers, and what that is worth; see `Outcomes`.

    Attributes:
        rows: n, their places in the table.
        score, cost, latency: n, expected.
        reports, asks, votes: n×N.
    """

    rows: Ints
    score: Floats
    cost: Floats
    latency: Floats
    reports: Floats
    asks: Floats
    votes: Floats


def outcomes_by_row(
    table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> Iterator[RowOutcomes]:
    """Yield what each of W policies does on each row; the outcomes have an axis of policies (W×S×N)."""
    for arrays in zip(*outcomes, strict=True):
        own = Outcomes(*arrays)
        yield RowOutcomes(
            rows=rows,
            score=expected_score(table, rows, signature, own, abstain_value),
            cost=expected_cost(table, rows, signature, own),
            latency=expected_latency(table, rows, signature, own),
            reports=own.reports[signature],
            asks=own.asks[signature],
            votes=own.votes[signature],
        )


def expected_score(
    table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> Floats:
    """Return the expected score of each row; NaN where an answer without a score may be reported."""
    total = outcomes.abstained[..., signature] * abstain_value
    for j in range(len(table.tiers)):
        chance = outcomes.reports[..., j][..., signature]
        if chance.any():
            total = total + np.where(chance > 0, chance * table.score[rows, j], 0.0)
    return np.asarray(total)


def expected_cost(table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes) -> Floats:
    """Return dollars per row: answers, votes, prompts of rounds, as recorded or at the tier's mean.

    Raises:
        DataError: when what may be asked or bought has no recorded cost on any row.
    """
    total = np.zeros((*outcomes.abstained.shape[:-1], len(rows))) + _fee(table, rows, 0)
    for j, name in enumerate(table.tiers):
        asks, votes = outcomes.asks[..., j], outcomes.votes[..., j]
        if asks.any():
            answer = _with_mean(table.cost[:, j], f"an answer of tier {name!r}", f"--costs {name}=1")[rows]
            total += asks[..., signature] * answer
        if votes.any():
            vote_cost = table.vote_cost[:, j]
            vote = _with_mean(vote_cost, f"a vote of tier {name!r}", f"--vote-costs {name}=1")[rows]
            total += votes[..., signature] * vote
            prompt = table.round_cost[:, j]
            if not np.isnan(prompt).all():  # most providers charge none
                total += outcomes.rounds[..., j][..., signature] * _with_mean(prompt, "", "")[rows]
    return total


def expected_latency(table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes) -> Floats:
    """Return seconds per row of the answers asked and of the fee; NaN where one is not recorded."""
    asks = outcomes.asks[signature]
    seconds = np.where(asks > 0, asks * table.latency[rows], 0.0).sum(axis=1)
    return np.asarray(seconds + _fee(table, rows, 1))


def _fee(table: TraceTable, rows: Ints, column: int) -> Floats | float:
    """Return what the rows take before any tier is asked: USD (column 0) or seconds."""
    return 0.0 if table.fee is None else table.fee[rows, column]


def _with_mean(costs: Floats, what: str, hint: str) -> Floats:
    """Return costs, with their mean where a row has none.

    Raises:
        DataError: when no row has one; unknown is never 0.
    """
    absent = np.isnan(costs)
    if absent.all() and len(costs):
        raise DataError(f"no row records what {what} costs", hint=hint)
    return np.where(absent, costs[~absent].mean(), costs) if absent.any() else costs
