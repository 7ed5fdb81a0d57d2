"""Which histories a plan tells apart, and how likely the evidence in each is.

A history enters a plan only through the counts seen at each tier asked, because votes on
one answer are exchangeable. A path is the tiers asked since the root of the plan; its
histories are the product of the count tables of these tiers, flattened with the last tier's
counts running fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from automix_cli.pomdp.arrays import Bools, Floats
from automix_cli.pomdp.model import Model
from automix_cli.pomdp.observations import Counts, CountTable, Level, ObservationModel, lost_votes, one_row
from automix_cli.pomdp.problem import Action, Visit

TierPath: TypeAlias = tuple[int, ...]
FAILED = Counts(-1)
"""The row of a count table that stands for a tier which gave no answer."""


class Root(NamedTuple):
    """The history at which a plan begins.

    A plan begins before any call (no visits), or at a history that an earlier plan does not
    hold: after a tier failed that was not expected to, or after a round brought fewer parsed
    votes than planned.
    """

    question_class: int = 0
    visits: tuple[Visit, ...] = ()

    @property
    def hand(self) -> Visit | None:
        """The answer in hand."""
        return self.visits[-1] if self.visits and not self.visits[-1].failed else None

    @property
    def earlier_tiers(self) -> tuple[int, ...]:
        """Tiers whose answers can be reported, the one in hand excepted."""
        tiers = [v.tier for v in self.visits if not v.failed]
        return tuple(tiers[:-1] if self.hand else tiers)


@lru_cache(maxsize=256)
def tabulate(
    observation: ObservationModel,
    max_votes: int,
    batch: tuple[int, ...],
    start: Counts | None,
    failure: float = 0.0,
) -> CountTable:
    """A tier's table from asking it on or, given `start`, from these counts on.

    Args:
        observation: what its signal shows.
        max_votes: the most votes.
        batch: how many votes one action may buy.
        start: the counts in hand; None before the tier was asked.
        failure: the chance that the tier gives no answer, whatever the state.
    """
    if start is None:
        return _with_failure(observation.table(max_votes, batch), failure)
    if max_votes <= start.bought:
        return one_row(observation, start)
    return observation.table(max_votes, batch, start)


def _with_failure(table: CountTable, failure: float) -> CountTable:
    """Add the row `FAILED`, from which no votes can be bought."""
    if not failure:
        return table
    end = len(table.counts)
    failed = np.full((1, table.likelihood.shape[1]), failure)
    return CountTable(
        counts=(*table.counts, FAILED),
        row={**table.row, FAILED: end},
        likelihood=np.concatenate([table.likelihood * (1 - failure), failed]),
        entry=np.append(table.entry, 1.0),
        levels=(*table.levels, Level(slice(end, end + 1), ())),
    )


@dataclass(frozen=True, slots=True)
class Histories:
    """The histories of a model from a root on.

    Attributes:
        model: small enough, see `simplify`.
        root: where they begin.
    """

    model: Model
    root: Root

    @property
    def start(self) -> TierPath:
        """The path of the root itself: the answer in hand, or no tier."""
        return (self.root.hand.tier,) if self.root.hand else ()

    def weight_before(self) -> Floats:
        """b₀·Πℓ of what was seen before the path begins, shape (2^N,)."""
        visits = self.root.visits[:-1] if self.root.hand else self.root.visits
        return self.model.weigh(self.root.question_class, visits)

    def table(self, tier: int) -> CountTable:
        """The counts that are told apart at a tier."""
        own = self.model.tiers[tier]
        observation, max_votes, hand = self.model.observation(tier), own.max_votes, self.root.hand
        if hand and hand.tier == tier:
            max_votes -= lost_votes(observation, hand)
            return tabulate(observation, max_votes, self.model.batch, observation.counts(hand))
        return tabulate(observation, max_votes, self.model.batch, None, own.failure)

    def next_tiers(self, path: TierPath) -> range:
        """Tiers that may still be asked."""
        last = path[-1] if path else self.root.visits[-1].tier if self.root.visits else -1
        return range(last + 1, len(self.model.tiers))

    def levels(self, path: TierPath) -> tuple[Level, ...]:
        """The levels of the last tier's counts."""
        return self.table(path[-1]).levels if path else (Level(slice(0, 1), ()),)

    def likelihood(self, path: TierPath) -> Floats:
        """ℓ of the last tier's counts, shape (counts, 2^N)."""
        if not path:
            return np.ones((1, 2 ** len(self.model.tiers)))
        return self.model.spread(path[-1], self.table(path[-1]).likelihood)

    def shape(self, path: TierPath) -> tuple[int, ...]:
        """How many counts each tier of a path has."""
        return tuple(len(self.table(tier).counts) for tier in path)

    def counts(self, path: TierPath, at: int) -> tuple[Counts, ...]:
        """The counts of each tier of a path at a flattened history."""
        places = np.unravel_index(at, self.shape(path)) if path else ()
        return tuple(self.table(t).counts[int(k)] for t, k in zip(path, places, strict=True))

    def answered(self, path: TierPath, tier: int) -> Bools:
        """Where a tier of a path gave an answer, shape (earlier counts, counts of the last tier)."""
        shape = self.shape(path)
        fine = np.ones(shape, dtype=bool)
        row = self.table(tier).row.get(FAILED)
        if row is not None:
            np.moveaxis(fine, path.index(tier), 0)[row] = False
        return fine.reshape(-1, shape[-1])

    def charge(self, action: Action, tokens: float) -> float:
        """What an action costs in dollars, the price of waiting included."""
        return self.model.charge(action).at(tokens)

    def is_later(self, path: TierPath) -> bool:
        """Whether some tier has been asked."""
        return bool(path or self.root.visits)
