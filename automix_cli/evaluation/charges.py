"""What the outcomes of a policy are worth on recorded rows: scores and costs enter row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

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
        escalated: S, chance that more than one tier is asked.
    """

    reports: Floats
    asks: Floats
    votes: Floats
    rounds: Floats
    abstained: Floats
    escalated: Floats

    @classmethod
    def nothing(cls, shape: tuple[int, ...], tiers: int) -> Outcomes:
        """Nothing done as yet, on signatures (and by policies) of this shape."""
        # What belongs to one tier lies side by side in memory: it is filled and read tier by tier.
        reports, asks, votes, rounds = np.moveaxis(np.zeros((4, tiers, *shape)), 1, -1)
        abstained, escalated = np.zeros((2, *shape))
        return cls(reports, asks, votes, rounds, abstained, escalated)

    def flat(self) -> Outcomes:
        """The same with the signatures of one policy after those of the other, on one axis."""
        tiers = self.reports.shape[-1]
        reports, asks, votes, rounds = (own.reshape(-1, tiers) for own in self[:4])
        return Outcomes(reports, asks, votes, rounds, self.abstained.ravel(), self.escalated.ravel())


class RowOutcomes(NamedTuple):
    """What one policy does on n rows, with N tiers, and what that is worth; see `Outcomes`.

    Attributes:
        rows: n, their places in the table.
        score, cost, latency: n, expected.
        reports, asks, votes, rounds: n×N.
        abstained, escalated: n.
    """

    rows: Ints
    score: Floats
    cost: Floats
    latency: Floats
    reports: Floats
    asks: Floats
    votes: Floats
    rounds: Floats
    abstained: Floats
    escalated: Floats


def outcomes_by_row(
    table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> Iterator[RowOutcomes]:
    """Yield what each of W policies does on each row; the outcomes have an axis of policies (W×S×N)."""
    for arrays in zip(*outcomes, strict=True):
        yield row_outcomes(table, rows, signature, Outcomes(*arrays), abstain_value)


def row_outcomes(
    table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> RowOutcomes:
    """Return what one policy does on each row, and what that is worth."""
    return RowOutcomes(
        rows=rows,
        score=expected_score(table, rows, signature, outcomes, abstain_value),
        cost=expected_cost(table, rows, signature, outcomes),
        latency=expected_latency(table, rows, signature, outcomes),
        reports=outcomes.reports[signature],
        asks=outcomes.asks[signature],
        votes=outcomes.votes[signature],
        rounds=outcomes.rounds[signature],
        abstained=outcomes.abstained[signature],
        escalated=outcomes.escalated[signature],
    )


class ManyOutcomes(Protocol):
    """What one policy does on n rows, as far as a single tier is told from a route by it."""

    @property
    def asks(self) -> Floats:
        """n×N, chance that a tier is asked."""
        ...

    @property
    def votes(self) -> Floats:
        """n×N, expected number of votes bought."""
        ...

    @property
    def abstained(self) -> Floats:
        """n, chance that nothing is reported."""
        ...


def single_tier(run: ManyOutcomes) -> int | None:
    """Return the tier that a policy asks on every row, and does no more; None where it does otherwise.

    Such a policy is a single tier, however it is set, and tells nothing of routing.
    """
    if run.votes.any() or run.abstained.any() or (run.asks != run.asks[:1]).any():
        return None
    tiers = np.flatnonzero(run.asks[0])
    return int(tiers[0]) if len(tiers) == 1 and run.asks[0, tiers[0]] == 1 else None


def expected_score(
    table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> Floats:
    """Return the expected score of each row; NaN where an answer without a score may be reported.

    Args:
        table: the rows.
        rows: n of them.
        signature: of each row; with an axis of policies before where they do not share it.
        outcomes: of one policy, or of several; on one axis where policies do not share signatures.
        abstain_value: the score of an abstention.
    """
    total = _on_rows(outcomes.abstained, signature) * abstain_value
    for j in range(len(table.tiers)):
        if outcomes.reports[..., j].any():
            chance = _on_rows(outcomes.reports[..., j], signature)
            total = total + np.where(chance > 0, chance * table.worth[rows, j], 0.0)
    return np.asarray(total)


def expected_cost(table: TraceTable, rows: Ints, signature: Ints, outcomes: Outcomes) -> Floats:
    """Return dollars per row: answers, votes, prompts of rounds, as recorded or at the tier's mean.

    Arguments are those of `expected_score`.

    Raises:
        DataError: when what may be asked or bought has no recorded cost on any row.
    """
    shape = *outcomes.abstained.shape[:-1], *signature.shape
    total = np.zeros(shape) + _fee(table, rows, 0)
    for times, dollars in _charges(table, outcomes):
        total += _on_rows(times, signature) * dollars[rows]
    return total


def mean_points(
    table: TraceTable, signature: Ints, outcomes: Outcomes, abstain_value: float
) -> tuple[Floats, Floats]:
    """Return the mean cost and score of each of W policies over all rows, from sums per signature.

    So many policies are compared quickly; see `expected_score`.
    """
    size, count = outcomes.abstained.shape[-1], len(table)
    score = outcomes.abstained @ np.bincount(signature, minlength=size) * abstain_value
    for j in range(len(table.tiers)):
        chance, worth = outcomes.reports[..., j], np.bincount(signature, table.worth[:, j], size)
        score = score + np.where(chance > 0, chance * worth, 0.0).sum(axis=-1)
    cost = np.zeros(len(score)) + np.sum(_fee(table, np.arange(count), 0))
    for times, dollars in _charges(table, outcomes):
        cost += times @ np.bincount(signature, dollars, size)
    return cost / count, score / count


def _charges(table: TraceTable, outcomes: Outcomes) -> Iterator[tuple[Floats, Floats]]:
    """Yield how often something is paid for on each signature, and what it costs on each row of the table."""
    for j, name in enumerate(table.tiers):
        asks, votes = outcomes.asks[..., j], outcomes.votes[..., j]
        if asks.any():
            yield asks, _with_mean(table.cost[:, j], f"an answer of tier {name!r}", f"--costs {name}=1")
        if votes.any():
            vote_cost = table.vote_cost[:, j]
            yield votes, _with_mean(vote_cost, f"a vote of tier {name!r}", f"--vote-costs {name}=1")
            prompt = table.round_cost[:, j]
            if not np.isnan(prompt).all():  # most providers charge none
                yield outcomes.rounds[..., j], _with_mean(prompt, "", "")


def _on_rows(values: Floats, signature: Ints) -> Floats:
    """Return the value of each row's signature."""
    return values.take(signature, axis=-1)


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
