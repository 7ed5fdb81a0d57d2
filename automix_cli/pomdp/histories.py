"""Which histories a plan tells apart, and how likely the evidence in each is.

A history enters a plan only through the counts seen at each tier asked, because votes on
one answer are exchangeable, and through which answers are equal. A path is the steps since the
root of the plan: each a tier, and the earlier answers that its own is equal to. The histories of
a path are the product of the count tables of its tiers, flattened with the first tier's
counts running fastest.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from automix_cli.pomdp.agreement import AnswerClass
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.model import Model, answer_classes, first_equal
from automix_cli.pomdp.observations import (
    Counts,
    CountTable,
    Level,
    ObservationModel,
    lost_votes,
    one_row,
)
from automix_cli.pomdp.problem import Action, Visit
from automix_cli.pomdp.tilt import Logits

NO_CLASS = -1
"""The place of a tier that gave no answer among the classes of equal answers."""


class PlanStep(NamedTuple):
    """A tier that was asked, and the first tier whose answer is equal.

    That is the tier itself where its answer is new, or not compared; `NO_CLASS` where it failed.
    """

    tier: int
    joins: int

    @property
    def failed(self) -> bool:
        """Whether the tier gave no answer."""
        return self.joins == NO_CLASS


TierPath: TypeAlias = tuple[PlanStep, ...]
_FAILED_TABLE = CountTable((Counts(),), {Counts(): 0}, np.ones((1, 2)), np.ones(1), (Level(slice(0, 1), ()),))


class Root(NamedTuple):
    """The history at which a plan begins.

    A plan begins before any call (no visits), or at a history that an earlier plan does not
    hold: after a tier failed that was not expected to, or after a round brought fewer parsed
    votes than planned. `logits` are those of the marginals to which the prior is tilted; () for the
    prior of the class as it is.
    """

    question_class: int = 0
    visits: tuple[Visit, ...] = ()
    logits: Logits = ()

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
    observation: ObservationModel, max_votes: int, batch: tuple[int, ...], start: Counts | None
) -> CountTable:
    """A tier's table from asking it on or, given `start`, from these counts on.

    Args:
        observation: what its signal shows.
        max_votes: the most votes.
        batch: how many votes one action may buy.
        start: the counts in hand; None before the tier was asked.
    """
    if start is None:
        return observation.table(max_votes, batch)
    if max_votes <= start.n_votes:
        return one_row(observation, start)
    return observation.table(max_votes, batch, start)


class Histories(Struct, frozen=True):
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
        hand = self.root.hand
        return (self.step_of(hand),) if hand else ()

    @property
    def outline(self) -> Hashable:
        """What decides which histories there are; those with the same differ in numbers only."""
        model = self.model
        tiers = tuple(self._outline_of(tier) for tier in range(len(model.tiers)))
        abstains, compares = model.abstain_value is not None, model.agreement is not None
        return tiers, model.batch, abstains, compares, self.root.visits

    def _outline_of(self, tier: int) -> Hashable:
        """The part of a tier."""
        table, own = self.table(PlanStep(tier, tier)), self.model.tiers[tier]
        return (
            own.max_votes,
            own.failure > 0,
            type(self.model.observation(tier)),
            table.counts[-1],
            len(table.counts),
        )

    @property
    def visits_before(self) -> tuple[Visit, ...]:
        """What was done before the path begins."""
        return self.root.visits[:-1] if self.root.hand else self.root.visits

    def step_of(self, visit: Visit) -> PlanStep:
        """The step of a visit; an answer that was not compared counts as new."""
        if visit.failed:
            return PlanStep(visit.tier, NO_CLASS)
        return PlanStep(visit.tier, first_equal(visit) if self.model.agreement else visit.tier)

    def weight_before(self) -> Floats:
        """b₀·Πℓ of what was seen before the path begins, shape (2^N,)."""
        return self.model.weigh(self.root.question_class, self.visits_before, self.root.logits)

    def table(self, step: PlanStep) -> CountTable:
        """The counts that are told apart at a step."""
        if step.failed:
            return _FAILED_TABLE
        own, hand = self.model.tiers[step.tier], self.root.hand
        observation, max_votes = self.model.observation(step.tier), own.max_votes
        if hand and hand.tier == step.tier:
            max_votes -= lost_votes(observation, hand)
            return tabulate(observation, max_votes, self.model.batch, observation.counts(hand))
        return tabulate(observation, max_votes, self.model.batch, None)

    def next_tiers(self, path: TierPath) -> range:
        """Tiers that may still be asked."""
        last = path[-1].tier if path else self.root.visits[-1].tier if self.root.visits else -1
        return range(last + 1, len(self.model.tiers))

    def next_steps(self, path: TierPath, tier: int) -> list[PlanStep]:
        """The steps that asking a tier may turn out to be."""
        steps = [PlanStep(tier, tier)]
        if self.model.agreement:
            steps += [PlanStep(tier, members[0]) for members in self.classes(path)]
        return [*steps, PlanStep(tier, NO_CLASS)] if self.model.tiers[tier].failure else steps

    def classes(self, path: TierPath) -> list[AnswerClass]:
        """The classes of equal answers, from the first visit to the end of a path."""
        before = [self.step_of(visit) for visit in self.visits_before]
        return answer_classes(step for step in (*before, *path) if not step.failed)

    def is_end(self, path: TierPath) -> bool:
        """Whether nothing is left but to report or to abstain."""
        return not (self.next_tiers(path) or any(level.rounds for level in self.levels(path)))

    def levels(self, path: TierPath) -> tuple[Level, ...]:
        """The levels of the last tier's counts."""
        return self.table(path[-1]).levels if path else (Level(slice(0, 1), ()),)

    def likelihood(self, path: TierPath) -> Floats:
        """ℓ of the last tier's counts, shape (counts, 2^N)."""
        if not path:
            return np.ones((1, 2 ** len(self.model.tiers)))
        step = path[-1]
        return self.model.spread(step.tier, self.table(step).likelihood)

    def chances_before(self, path: TierPath) -> Floats:
        """Chance of one order of what a path from no call on has shown before its last counts, per state.

        A line for each of the flattened earlier counts; (histories, 2^N).
        """
        chances = np.ones((1, 2 ** len(self.model.tiers)))
        for end in range(1, len(path) + 1):
            chances = (self.likelihood(path[: end - 1])[:, None] * chances).reshape(-1, chances.shape[1])
            chances = chances * self.step_chance(path[:end])
        return chances

    def step_chance(self, path: TierPath) -> Floats:
        """P(last step | s, what came before), shape (1, 2^N)."""
        model, states = self.model, 2 ** len(self.model.tiers)
        if not path or path == self.start:
            return self._start_chance(path)
        *earlier, step = path
        failure = model.tiers[step.tier].failure
        if step.failed:
            return np.full((1, states), failure)
        classes = self.classes(tuple(earlier))
        if model.agreement is None or not classes:
            return np.full((1, states), 1 - failure)
        leaders = [members[0] for members in classes]
        place = leaders.index(step.joins) if step.joins in leaders else len(leaders)
        return np.asarray((1 - failure) * model.agreement.chances(step.tier, classes)[[place]])

    def _start_chance(self, path: TierPath) -> Floats:
        """The chance of the class of the answer in hand; that it came is certain."""
        if not path or self.root.hand is None:
            return np.ones((1, 2 ** len(self.model.tiers)))
        return self.model.joins(self.visits_before, self.root.hand)[None]

    def shape(self, path: TierPath) -> tuple[int, ...]:
        """How many counts each step of a path has."""
        return tuple(len(self.table(step).counts) for step in path)

    def counts(self, path: TierPath, at: int) -> tuple[Counts, ...]:
        """The counts of each step of a path at a flattened history."""
        places = np.unravel_index(at, self.shape(path)[::-1])[::-1] if path else ()
        return tuple(self.table(s).counts[int(k)] for s, k in zip(path, places, strict=True))

    def answers(self, path: TierPath) -> tuple[int, ...]:
        """The tiers that gave an answer: they can be reported."""
        return (*self.root.earlier_tiers, *(step.tier for step in path if not step.failed))

    def charge(self, action: Action, tokens: float) -> float:
        """What an action costs in dollars, the price of waiting included."""
        return self.model.charge(action).at(tokens)

    def is_later(self, path: TierPath) -> bool:
        """Whether some tier has been asked."""
        return bool(path or self.root.visits)
