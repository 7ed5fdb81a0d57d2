"""Policies that follow a fixed rule: nothing is planned, and NumPy is not needed."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from automix_cli.pomdp.problem import Action, Facts, History, Observation, Visit
from automix_cli.texts import share_text


class _RuleOfThumb:
    """What the fixed rules share: their belief is the history itself, and no fact changes the rule."""

    __slots__ = ()

    def relevant(self, facts: Facts) -> Facts:
        """No fact changes the rule."""
        return Facts()

    def begin(self, facts: Facts) -> History:
        """The empty history."""
        return History()

    def update(self, belief: History, action: Action, observation: Observation) -> History:
        """The history with the observation appended."""
        return belief.after(action, observation)

    def confidence(self, belief: History, tier: int) -> float | None:
        """The signal itself: the share of parsed votes, or the continuous confidence; None without."""
        return share_of(belief, tier)

    @property
    def compares(self) -> bool:
        """No answers are compared."""
        return False


@dataclass(frozen=True, slots=True)
class MajorityPolicy(_RuleOfThumb):
    """The rule of half: escalate one tier at a time while most parsed votes say no.

    Buys at most `max_votes` votes on every answer but the last tier's, in rounds whose
    sizes stand in `batch`, and stops as soon as the decision can no longer change.
    Reports when at least half of the parsed votes say CORRECT; no parsed vote at all is
    no evidence, and escalates.

    Example:
        >>> policy = MajorityPolicy(tiers=2, max_votes=8, batch=(1, 2, 4))
        >>> belief = History().after(Action("start", 0), Observation())
        >>> policy.action(belief)
        Action(kind='vote', tier=0, votes=4)
        >>> policy.action(belief.after(Action("vote", 0, 4), Observation(4, 4, 4)))
        Action(kind='report', tier=0, votes=0)
    """

    tiers: int
    max_votes: int
    batch: tuple[int, ...] = (1, 2, 4)
    cut: float = 0.5
    first: int = 0

    def action(self, belief: History) -> Action:
        """Buy, report or escalate; see the class."""
        if not belief.visits:
            return Action("start", self.first)
        visit = belief.visits[-1]
        if visit.failed:
            return self._give_up(belief)
        if visit.tier == self.tiers - 1:
            return Action("report", visit.tier)
        if visit.signal is not None:
            return self._settle(visit, visit.signal >= self.cut)
        remaining_votes = self.max_votes - visit.n_votes
        to_settle = self._votes_to_settle(visit, remaining_votes)
        if to_settle > 0:
            return Action("vote", visit.tier, self._round(to_settle, remaining_votes))
        return self._settle(visit, self._accepts(visit.correct, visit.parsed))

    def reason(self, belief: History) -> str:
        """The votes and the rule in words."""
        if not belief.visits:
            return "start at the cheapest tier"
        visit = belief.visits[-1]
        if visit.failed:
            return "no usable answer from this tier"
        if visit.tier == self.tiers - 1:
            return "last tier: reported without verification"
        if visit.signal is not None:
            sign = "≥" if visit.signal >= self.cut else "<"
            return f"confidence {share_text(visit.signal, '.2f')} {sign} {share_text(self.cut, '.2f')}"
        if visit.parsed == 0 and visit.n_votes:
            return f"none of {visit.n_votes} votes could be read: no evidence"
        word = "at least" if self._accepts(visit.correct, visit.parsed) else "under"
        return f"{visit.correct} of {visit.parsed} votes correct: {word} {self.cut:.0%}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The one cut of the rule."""
        return (self.cut,)

    def _accepts(self, correct: int, parsed: int) -> bool:
        return parsed > 0 and correct >= self.cut * parsed

    def _votes_to_settle(self, visit: Visit, remaining_votes: int) -> int:
        """The fewest further votes after which no later vote could change the decision."""
        for m in range(remaining_votes + 1):
            all_yes = self._is_settled(visit.correct + m, visit.parsed + m, remaining_votes - m)
            all_no = self._is_settled(visit.correct, visit.parsed + m, remaining_votes - m)
            if all_yes or all_no:
                return m
        return remaining_votes

    def _is_settled(self, correct: int, parsed: int, remaining_votes: int) -> bool:
        """Whether the decision is the same whatever the remaining votes say."""
        total = parsed + remaining_votes
        worst, best = self._accepts(correct, total), self._accepts(correct + remaining_votes, total)
        return worst == best and (parsed > 0 or remaining_votes == 0)

    def _round(self, to_settle: int, remaining_votes: int) -> int:
        """The largest legal round in which every vote may be needed."""
        legal = [m for m in (*self.batch, remaining_votes) if m <= remaining_votes]
        return max((m for m in legal if m <= to_settle), default=min(legal))

    def _settle(self, visit: Visit, accepts: bool) -> Action:
        if accepts:
            return Action("report", visit.tier)
        return Action("escalate", visit.tier + 1)

    def _give_up(self, belief: History) -> Action:
        return after_failure(belief, self.tiers)


@dataclass(frozen=True, slots=True)
class AlwaysPolicy(_RuleOfThumb):
    """Ask one tier and report its answer; escalate where it fails.

    Example:
        >>> AlwaysPolicy(tiers=2, tier=1).action(History())
        Action(kind='start', tier=1, votes=0)
    """

    tiers: int
    tier: int

    def action(self, belief: History) -> Action:
        """Start, then report."""
        if not belief.visits:
            return Action("start", self.tier)
        return after_failure(belief, self.tiers) if belief.last.failed else Action("report", belief.last.tier)

    def reason(self, belief: History) -> str:
        """The rule in words."""
        if belief.visits and belief.last.failed:
            return "no usable answer from this tier"
        return "this tier always answers"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """None: no confidence changes anything."""
        return ()


class Rule(NamedTuple):
    """What a threshold policy does at one tier.

    It buys `votes` votes at once and looks into which bin between the `edges` the share of
    parsed votes (or the continuous confidence) falls; `escalates` says for each bin,
    lowest first, whether to escalate. Without evidence it escalates.
    """

    votes: int
    edges: tuple[float, ...]
    escalates: tuple[bool, ...]

    def escalates_at(self, share: float | None) -> bool:
        """Whether to escalate at this share; an edge belongs to the bin above it.

        Example:
            >>> rule = Rule(votes=4, edges=(0.5,), escalates=(True, False))
            >>> rule.escalates_at(0.25), rule.escalates_at(0.5), rule.escalates_at(None)
            (True, False, True)
        """
        return share is None or self.escalates[bisect_right(self.edges, share)]


@dataclass(frozen=True, slots=True)
class ThresholdPolicy(_RuleOfThumb):
    """A fixed number of votes on each tier but the last, then a cut, as most cascades have it.

    `rules[i]` belongs to tier i; the last tier has none and is always reported.

    Example:
        >>> policy = ThresholdPolicy.single(tiers=2, votes=8, cut=0.5)
        >>> belief = History().after(Action("start", 0), Observation())
        >>> policy.action(belief)
        Action(kind='vote', tier=0, votes=8)
        >>> policy.action(belief.after(Action("vote", 0, 8), Observation(3, 8, 8)))
        Action(kind='escalate', tier=1, votes=0)
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        for rule in self.rules:
            if len(rule.escalates) != len(rule.edges) + 1 or list(rule.edges) != sorted(rule.edges):
                raise ValueError(f"a rule needs rising edges and one decision per bin, got {rule}")

    @classmethod
    def single(cls, *, tiers: int, votes: int, cut: float) -> ThresholdPolicy:
        """Report at shares of at least `cut`; `cut=0.5` is AutoMix's self-consistency rule."""
        return cls((Rule(votes, (cut,), (True, False)),) * (tiers - 1))

    @classmethod
    def double(cls, *, tiers: int, votes: int, low: float, high: float) -> ThresholdPolicy:
        """Escalate between two cuts; below `low` the question is taken for hopeless, and reported."""
        return cls((Rule(votes, (low, high), (False, True, False)),) * (tiers - 1))

    def action(self, belief: History) -> Action:
        """Start at the cheapest tier, buy the votes, look at the bin."""
        if not belief.visits:
            return Action("start", 0)
        visit = belief.visits[-1]
        if visit.failed:
            return after_failure(belief, len(self.rules) + 1)
        if visit.tier == len(self.rules):
            return Action("report", visit.tier)
        rule = self.rules[visit.tier]
        if visit.signal is None and visit.n_votes < rule.votes:
            return Action("vote", visit.tier, rule.votes - visit.n_votes)
        escalates = rule.escalates_at(share_of(belief, visit.tier))
        return Action("escalate", visit.tier + 1) if escalates else Action("report", visit.tier)

    def reason(self, belief: History) -> str:
        """The share and the edges of the rule."""
        if not belief.visits:
            return "start at the cheapest tier"
        visit = belief.visits[-1]
        if visit.failed:
            return "no usable answer from this tier"
        if visit.tier == len(self.rules):
            return "last tier: reported without verification"
        share = share_of(belief, visit.tier)
        edges = " and ".join(share_text(e, ".2f") for e in self.rules[visit.tier].edges)
        evidence = "no evidence" if share is None else f"confidence {share_text(share, '.2f')}"
        return f"{evidence}, cut at {edges}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The edges of the tier's rule."""
        return self.rules[tier].edges if tier < len(self.rules) else ()


def after_failure(belief: History, tiers: int) -> Action:
    """Escalate after a tier failed; at the last tier report an earlier answer, or abstain without one."""
    if belief.last.tier < tiers - 1:
        return Action("escalate", belief.last.tier + 1)
    tiers_with_answer = [v.tier for v in belief.visits if not v.failed]
    return Action("report", tiers_with_answer[-1]) if tiers_with_answer else Action("abstain")


def share_of(belief: History, tier: int) -> float | None:
    """The signal itself at a visited tier: the share of parsed votes, or the continuous confidence."""
    for visit in belief.visits:
        if visit.tier == tier:
            return visit.correct / visit.parsed if visit.parsed else visit.signal
    return None


@dataclass(frozen=True, slots=True)
class AgreementPolicy(_RuleOfThumb):
    """Report where two tiers agree, else ask the last tier and report its answer.

    Example:
        >>> policy = AgreementPolicy(tiers=3, first=0, second=1)
        >>> history = History().after(Action("start", 0), Observation())
        >>> policy.action(history.after(Action("escalate", 1), Observation(joins=0)))
        Action(kind='report', tier=0, votes=0)
        >>> policy.action(history.after(Action("escalate", 1), Observation(joins=1)))
        Action(kind='escalate', tier=2, votes=0)
    """

    tiers: int
    first: int
    second: int

    def action(self, belief: History) -> Action:
        """Ask both tiers, then report or escalate; see the class."""
        if not belief.visits:
            return Action("start", self.first)
        last, visit = self.tiers - 1, belief.last
        if visit.tier == self.first:
            return Action("escalate", self.second)
        if visit.tier == self.second:
            return Action("report", self.first) if visit.joins == self.first else Action("escalate", last)
        if not visit.failed:
            return Action("report", last)
        answered = [v.tier for v in belief.visits if not v.failed]
        return Action("report", answered[-1]) if answered else Action("abstain")

    def reason(self, belief: History) -> str:
        """The rule in words."""
        if len(belief.visits) < 2:
            return "two tiers are asked and compared"
        agree = belief.visits[1].joins == self.first
        return "both tiers agree" if agree else "the two tiers differ"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """None: no confidence changes anything."""
        return ()

    @property
    def compares(self) -> bool:
        """The answers of the two tiers are compared."""
        return True


class Picked(NamedTuple):
    """The belief of `QuestionPolicy`: the tier picked, P(right) of each, and the visits without evidence."""

    tier: int
    right: tuple[float, ...]
    history: History = History()


class QuestionPolicy(Struct, frozen=True, kw_only=True):
    """Ask the tier that a query-side router names for the question, and report its answer.

    That is the tier of highest expected score less weighted cost, of equals the cheaper. A tier that
    fails leaves the question to the next. Where the router says nothing, the last tier is asked.

    Attributes:
        rewards: per tier, the expected score of a wrong and of a right answer.
        costs: per tier, planned cost of an answer.
        cost_weight: quality given up per dollar.
        names: of the tiers, for the reasons.

    Example:
        >>> policy = QuestionPolicy(rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.01)
        >>> [policy.begin(Facts(logits=own)).tier for own in [(0.0, 2.0), (2.0, 2.0), ()]]
        [1, 0, 1]
    """

    rewards: tuple[tuple[float, float], ...]
    costs: tuple[float, ...]
    cost_weight: float
    names: tuple[str, ...] = ()

    def relevant(self, facts: Facts) -> Facts:
        """The tier, which takes the place of the class."""
        return Facts(question_class=self.begin(facts).tier)

    def begin(self, facts: Facts) -> Picked:
        """The tier of the question."""
        tiers = range(len(self.costs))
        if not facts.logits:
            return Picked(tiers[-1], ())
        right = tuple(_sigmoid(logit) for logit in facts.logits)
        worth = [self._worth(tier, right[tier]) for tier in tiers]
        equals = [tier for tier in tiers if worth[tier] >= max(worth) - 1e-12]
        return Picked(min(equals, key=lambda tier: self.costs[tier]), right)

    def _worth(self, tier: int, right: float) -> float:
        wrong_score, right_score = self.rewards[tier]
        return wrong_score + (right_score - wrong_score) * right - self.cost_weight * self.costs[tier]

    def update(self, belief: Picked, action: Action, observation: Observation) -> Picked:
        """Note that a tier was asked, and whether it failed; nothing else changes anything."""
        outcome = Observation(failed=observation.failed)
        return belief._replace(history=belief.history.after(action, outcome))

    def action(self, belief: Picked) -> Action:
        """As the single tier would: start, then report."""
        return AlwaysPolicy(len(self.costs), belief.tier).action(belief.history)

    def confidence(self, belief: Picked, tier: int) -> float | None:
        """What the router read in the question; nothing is verified."""
        has_answer = any(v.tier == tier and not v.failed for v in belief.history.visits)
        return belief.right[tier] if belief.right and has_answer else None

    def reason(self, belief: Picked) -> str:
        """What the router read in the question."""
        if belief.history.visits and belief.history.last.failed:
            return "no usable answer from this tier"
        if not belief.right:
            return "nothing was read in the question: the last tier"
        names = self.names or tuple(f"tier {tier + 1}" for tier in range(len(self.costs)))
        chances = ", ".join(
            f"{name} {share_text(p, '.2f')}" for name, p in zip(names, belief.right, strict=True)
        )
        return f"by the question alone, chance to be right: {chances}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """None: no confidence changes anything."""
        return ()

    @property
    def compares(self) -> bool:
        """No answers are compared."""
        return False


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
