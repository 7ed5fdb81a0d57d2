"""The router as a partially observable Markov decision process.

States.        s ∈ {0,1}^N: which of the N tiers would answer this question right. It does not move.
Actions.       start at a tier, buy votes on the answer in hand, escalate to a later tier, report the
               answer of a tier already asked, abstain.
Observations.  what a signal shows of an answer: votes that say CORRECT among those parsed, or a
               continuous confidence.
Rewards.       the expected score of the answer reported, less `cost_weight` times the dollars spent.

Source: AutoMix (arXiv 2310.12963), section 3.3. A policy may define its belief as it
likes, a distribution or any other summary of the history, so every policy runs in the
one loop of `rollout`. Here stand the problem, the protocol and the policies that are
rules of thumb; the policy that is computed, and needs NumPy for it, is in `planner`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

ActionKind = Literal["start", "vote", "escalate", "report", "abstain"]


class Action(NamedTuple):
    """What to do next; `tier` is an index from 0 (cheapest), `votes` only goes with `vote`."""

    kind: ActionKind
    tier: int = -1
    votes: int = 0

    @property
    def final(self) -> bool:
        """Whether the question is closed by this action."""
        return self.kind in ("report", "abstain")


class Observation(NamedTuple):
    """What one action showed.

    After `vote`: how many of the `bought` votes were parsed, and how many of those say
    CORRECT. After `start` or `escalate`: nothing, unless the signal comes with the answer
    (`consistency`: the plurality's count among the samples; `logprob` of the answer:
    `signal`). `failed`: the tier gave no answer at all and can never be reported.
    """

    correct: int = 0
    parsed: int = 0
    bought: int = 0
    signal: float | None = None
    failed: bool = False


class Visit(NamedTuple):
    """A tier that was asked, with all that has been seen of its answer."""

    tier: int
    correct: int = 0
    parsed: int = 0
    bought: int = 0
    signal: float | None = None
    failed: bool = False

    def seen(self, o: Observation) -> Visit:
        """This visit after one more observation.

        Example:
            >>> Visit(0, 1, 2, 2).seen(Observation(1, 1, 2))
            Visit(tier=0, correct=2, parsed=3, bought=4, signal=None, failed=False)
        """
        return Visit(
            self.tier,
            self.correct + o.correct,
            self.parsed + o.parsed,
            self.bought + o.bought,
            self.signal if o.signal is None else o.signal,
            self.failed or o.failed,
        )


class History(NamedTuple):
    """The visits of one question, in order: a belief that suffices for threshold policies."""

    visits: tuple[Visit, ...] = ()

    @property
    def last(self) -> Visit:
        """The tier in hand."""
        return self.visits[-1]

    def after(self, action: Action, o: Observation) -> History:
        """The history once `action` has shown `o`."""
        if action.kind == "vote":
            return History((*self.visits[:-1], self.last.seen(o)))
        return History((*self.visits, Visit(action.tier).seen(o)))


class Facts(NamedTuple):
    """All that is known of a question before any call, for planned costs and class priors.

    `prompt_tokens` is None when nobody counted; `question_class` is the query-side router's class.
    """

    prompt_tokens: float | None = None
    question_class: int = 0


B = TypeVar("B")


class Policy(Protocol[B]):
    """What to do after each observation. A policy defines its own belief `B`.

    A policy must decide alike for any two values of a continuous confidence that no cut
    of `cuts` separates: `replay` then runs it once for all rows that fall into one bin.
    """

    def begin(self, facts: Facts) -> B:
        """The belief before any action."""
        ...

    def update(self, belief: B, action: Action, observation: Observation) -> B:
        """The belief once `action` has shown `observation`."""
        ...

    def action(self, belief: B) -> Action:
        """The best action at a belief; the first one is `start`."""
        ...

    def confidence(self, belief: B, tier: int) -> float | None:
        """Belief that the answer of a visited tier is right; None without evidence."""
        ...

    def reason(self, belief: B) -> str:
        """Why `action(belief)` was chosen, in one line for people."""
        ...

    def cuts(self, tier: int) -> tuple[float, ...]:
        """Edges between the bins of a tier's continuous confidence; a cut belongs to the bin above it."""
        ...


@dataclass(frozen=True, slots=True)
class MajorityPolicy:
    """The uncalibrated default: climb one tier at a time while most parsed votes say no.

    Buys at most `max_votes` votes on every answer but the last tier's, in rounds whose
    sizes stand in `batch`, and stops as soon as the decision can no longer change.
    Reports when at least half of the parsed votes say CORRECT; no parsed vote at all is
    no evidence, and escalates.

    Example:
        >>> policy = MajorityPolicy(tiers=2, max_votes=8, batch=(1, 2, 4))
        >>> asked = History().after(Action("start", 0), Observation())
        >>> policy.action(asked)
        Action(kind='vote', tier=0, votes=4)
        >>> policy.action(asked.after(Action("vote", 0, 4), Observation(4, 4, 4)))
        Action(kind='report', tier=0, votes=0)
    """

    tiers: int
    max_votes: int
    batch: tuple[int, ...] = (1, 2, 4)
    cut: float = 0.5
    first: int = 0

    def group(self, facts: Facts) -> None:
        """Nothing about the question changes the rule."""

    def begin(self, facts: Facts) -> History:
        """Nothing has been seen."""
        return History()

    def update(self, belief: History, action: Action, observation: Observation) -> History:
        """Append the observation."""
        return belief.after(action, observation)

    def action(self, belief: History) -> Action:
        """Buy, report or escalate; see the class."""
        if not belief.visits:
            return Action("start", self.first)
        visit = belief.last
        if visit.failed:
            return self._give_up(belief)
        if visit.tier == self.tiers - 1:
            return Action("report", visit.tier)
        if visit.signal is not None:
            return self._settle(visit, visit.signal >= self.cut)
        left = self.max_votes - visit.bought
        to_settle = self._votes_to_settle(visit, left)
        if to_settle > 0:
            return Action("vote", visit.tier, self._round(to_settle, left))
        return self._settle(visit, self._accepts(visit.correct, visit.parsed))

    def confidence(self, belief: History, tier: int) -> float | None:
        """The signal itself: the share of parsed votes, or the continuous confidence."""
        return share_of(belief, tier)

    def reason(self, belief: History) -> str:
        """The votes and the rule in words."""
        if not belief.visits:
            return "start at the cheapest tier"
        visit = belief.last
        if visit.failed:
            return "no usable answer from this tier"
        if visit.tier == self.tiers - 1:
            return "last tier: reported without verification"
        if visit.signal is not None:
            sign = "≥" if visit.signal >= self.cut else "<"
            return f"confidence {visit.signal:.2f} {sign} {self.cut:.2f}"
        if visit.parsed == 0 and visit.bought:
            return f"none of {visit.bought} votes could be read: no evidence"
        word = "at least" if self._accepts(visit.correct, visit.parsed) else "under"
        return f"{visit.correct} of {visit.parsed} votes correct: {word} {self.cut:.0%}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The one cut of the rule."""
        return (self.cut,)

    def _accepts(self, correct: int, parsed: int) -> bool:
        return parsed > 0 and correct >= self.cut * parsed

    def _votes_to_settle(self, visit: Visit, left: int) -> int:
        """The fewest further votes after which no later vote could change the decision."""
        for m in range(left + 1):
            all_yes = self._is_settled(visit.correct + m, visit.parsed + m, left - m)
            all_no = self._is_settled(visit.correct, visit.parsed + m, left - m)
            if all_yes or all_no:
                return m
        return left

    def _is_settled(self, correct: int, parsed: int, left: int) -> bool:
        """Whether the decision is the same however the votes that are left come out."""
        worst, best = self._accepts(correct, parsed + left), self._accepts(correct + left, parsed + left)
        return worst == best and (parsed > 0 or left == 0)

    def _round(self, to_settle: int, left: int) -> int:
        """The largest legal round that buys no vote that may turn out needless."""
        legal = [m for m in (*self.batch, left) if m <= left]
        return max((m for m in legal if m <= to_settle), default=min(legal))

    def _settle(self, visit: Visit, accepted: bool) -> Action:
        if accepted:
            return Action("report", visit.tier)
        return Action("escalate", visit.tier + 1)

    def _give_up(self, belief: History) -> Action:
        return after_failure(belief, self.tiers)


def after_failure(belief: History, tiers: int) -> Action:
    """What a rule of thumb does after a tier that failed: the next one, or an answer in hand, or nothing."""
    if belief.last.tier < tiers - 1:
        return Action("escalate", belief.last.tier + 1)
    answered = [v.tier for v in belief.visits if not v.failed]
    return Action("report", answered[-1]) if answered else Action("abstain")


def share_of(belief: History, tier: int) -> float | None:
    """What the signal itself says of a visited tier: share of parsed votes, or the continuous confidence."""
    for visit in belief.visits:
        if visit.tier == tier:
            return visit.correct / visit.parsed if visit.parsed else visit.signal
    return None


@dataclass(frozen=True, slots=True)
class AlwaysPolicy:
    """Ask one tier and report what it says; on failure, climb.

    Example:
        >>> AlwaysPolicy(tiers=2, tier=1).action(History())
        Action(kind='start', tier=1, votes=0)
    """

    tiers: int
    tier: int

    def group(self, facts: Facts) -> None:
        """Nothing about the question changes the rule."""

    def begin(self, facts: Facts) -> History:
        """Nothing has been seen."""
        return History()

    def update(self, belief: History, action: Action, observation: Observation) -> History:
        """Append the observation."""
        return belief.after(action, observation)

    def action(self, belief: History) -> Action:
        """Start, then report."""
        if not belief.visits:
            return Action("start", self.tier)
        return after_failure(belief, self.tiers) if belief.last.failed else Action("report", belief.last.tier)

    def confidence(self, belief: History, tier: int) -> float | None:
        """None: nothing is verified, unless a signal came with the answer."""
        return share_of(belief, tier)

    def reason(self, belief: History) -> str:
        """The rule in words."""
        return "this tier always answers"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """None: no confidence changes anything."""
        return ()


class Rule(NamedTuple):
    """What a threshold policy does at one tier.

    It buys `votes` votes at once and looks into which bin between the `edges` the share of
    parsed votes (or the continuous confidence) falls; `escalates` says for each bin,
    lowest first, whether to go on. No evidence goes on.
    """

    votes: int
    edges: tuple[float, ...]
    escalates: tuple[bool, ...]

    def goes_on(self, share: float | None) -> bool:
        """Whether this share means escalate; an edge belongs to the bin above it.

        Example:
            >>> rule = Rule(votes=4, edges=(0.5,), escalates=(True, False))
            >>> rule.goes_on(0.25), rule.goes_on(0.5), rule.goes_on(None)
            (True, False, True)
        """
        return share is None or self.escalates[bisect_right(self.edges, share)]


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """A fixed number of votes on each tier but the last, then a cut: the rules most cascades use.

    `rules[i]` belongs to tier i; the last tier has none and is always reported.

    Example:
        >>> policy = ThresholdPolicy.single(tiers=2, votes=8, cut=0.5)
        >>> seen = History().after(Action("start", 0), Observation())
        >>> policy.action(seen)
        Action(kind='vote', tier=0, votes=8)
        >>> policy.action(seen.after(Action("vote", 0, 8), Observation(3, 8, 8)))
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
        """Escalate between two cuts: below `low` the question is taken for hopeless, and reported."""
        return cls((Rule(votes, (low, high), (False, True, False)),) * (tiers - 1))

    def group(self, facts: Facts) -> None:
        """Nothing about the question changes the rule."""

    def begin(self, facts: Facts) -> History:
        """Nothing has been seen."""
        return History()

    def update(self, belief: History, action: Action, observation: Observation) -> History:
        """Append the observation."""
        return belief.after(action, observation)

    def action(self, belief: History) -> Action:
        """Start at the cheapest tier, buy the votes, look at the bin."""
        if not belief.visits:
            return Action("start", 0)
        visit = belief.last
        if visit.failed:
            return after_failure(belief, len(self.rules) + 1)
        if visit.tier == len(self.rules):
            return Action("report", visit.tier)
        rule = self.rules[visit.tier]
        if visit.signal is None and visit.bought < rule.votes:
            return Action("vote", visit.tier, rule.votes - visit.bought)
        goes_on = rule.goes_on(share_of(belief, visit.tier))
        return Action("escalate", visit.tier + 1) if goes_on else Action("report", visit.tier)

    def confidence(self, belief: History, tier: int) -> float | None:
        """The signal itself."""
        return share_of(belief, tier)

    def reason(self, belief: History) -> str:
        """The share and the edges of the rule."""
        if not belief.visits:
            return "start at the cheapest tier"
        visit = belief.last
        if visit.failed:
            return "no usable answer from this tier"
        if visit.tier == len(self.rules):
            return "last tier: reported without verification"
        share = share_of(belief, visit.tier)
        edges = " and ".join(f"{e:.2f}" for e in self.rules[visit.tier].edges)
        return f"no evidence, cut at {edges}" if share is None else f"confidence {share:.2f}, cut at {edges}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The edges of the tier's rule."""
        return self.rules[tier].edges if tier < len(self.rules) else ()
