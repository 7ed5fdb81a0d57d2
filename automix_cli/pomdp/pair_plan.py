"""The plan for two tiers of which only a prior is known: exact, and without NumPy.

The prior is a mixture of kinds of question sets. Which kind a question belongs to is not known, so
the state is the kind together with which of the two tiers are right, and votes move the belief over
both. The small tier may be asked and its answer checked with votes; the large tier is not checked.
Values are multiplied by the weight of their history, as in `induction`, so no belief is divided. A
plan has some hundred histories and takes about a millisecond.

Money is counted in prices of one answer of the large tier. The plan maximises

    E[score reported] - give_up·E[cost]

so that it promises, under its prior, at least the large tier's score less `give_up`, and costs no
more than the large tier unless its score is higher.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import NamedTuple, TypeAlias

from automix_cli.pomdp.problem import Action

SMALL, LARGE = 0, 1  # the tiers of a pair, as actions number them
EQUAL_WITHIN = 1e-12  # values nearer than this count as equal


class SetKind(NamedTuple):
    """One kind of question sets: how often two tiers are right, and what votes on the small one show.

    Attributes:
        family: sets of the same questions or of the same verifier share one.
        states: chances of 0 neither right, 1 the small tier only, 2 the large tier only, 3 both.
        shapes: (a, b) of the votes on wrong and on right answers, or four pairs; as `VoteObservations`.
        small, large: mean scores of a tier's wrong and of its right answers.
    """

    family: str
    states: tuple[float, ...]
    shapes: tuple[tuple[float, float], ...]
    small: tuple[float, float] = (0.0, 1.0)
    large: tuple[float, float] = (0.0, 1.0)


class Hypothesis(NamedTuple):
    """One state of one kind: its chance, the votes it leads to, and the scores of both tiers."""

    chance: float
    shape: tuple[float, float]
    small: float
    large: float


Prior: TypeAlias = tuple[Hypothesis, ...]
"""Every state of every kind."""

_Votes: TypeAlias = tuple[int, int, int]
"""A history: votes that say CORRECT, votes that could be read, votes bought."""


def mixture(kinds: Sequence[SetKind], spread: float) -> Prior:
    """Mix kinds, each family alike and its members alike, with a broad part.

    The broad part stands for sets unlike those that are known: right as often as all together, and
    with votes that show nothing.

    Args:
        kinds: of the public sets.
        spread: the weight of the broad part.

    Example:
        >>> kind = SetKind("a", (0.1, 0.1, 0.3, 0.5), ((1, 3), (3, 1)))
        >>> [round(h.chance, 2) for h in mixture([kind], 0.5)]
        [0.05, 0.05, 0.15, 0.25, 0.05, 0.05, 0.15, 0.25]
    """
    families = [kind.family for kind in kinds]
    weights = [1 / len(set(families)) / families.count(kind.family) for kind in kinds]
    states = [h for kind, weight in zip(kinds, weights, strict=True) for h in _hypotheses(kind, weight)]
    broad = [h._replace(shape=(1.0, 1.0)) for h in states]
    return (
        *(h._replace(chance=(1 - spread) * h.chance) for h in states),
        *(h._replace(chance=spread * h.chance) for h in broad if spread),
    )


def _hypotheses(kind: SetKind, weight: float) -> Iterator[Hypothesis]:
    total = sum(kind.states)  # figures in print are rounded
    for state, chance in enumerate(kind.states):
        small, large = state & 1, state >> 1
        shape = kind.shapes[small if len(kind.shapes) == 2 else 2 * small + large]
        yield Hypothesis(weight * chance / total, shape, kind.small[small], kind.large[large])


class Sums(NamedTuple):
    """Over all hypotheses after some votes: the chances, and both tiers' scores weighted by them."""

    weight: float
    small: float
    large: float


class VoteEvidence:
    """What votes make of a prior. Costs have no part in it, so that plans for many costs share it.

    Example:
        >>> kind = SetKind("a", (0.0, 0.0, 0.5, 0.5), ((1, 3), (3, 1)))
        >>> [round(x, 3) for x in VoteEvidence(mixture([kind], 0.0)).after(1, 1)]
        [0.5, 0.375, 0.5]
    """

    def __init__(self, prior: Prior) -> None:
        self._by_shape: dict[tuple[float, float], Sums] = {}
        for h in prior:  # votes tell hypotheses of one shape not apart
            sums = self._by_shape.get(h.shape, Sums(0.0, 0.0, 0.0))
            own = Sums(h.chance, h.chance * h.small, h.chance * h.large)
            self._by_shape[h.shape] = Sums(*map(sum, zip(sums, own, strict=True)))
        self._sums: dict[tuple[int, int], Sums] = {}

    def after(self, correct: int, parsed: int) -> Sums:
        """The sums after one order of these votes."""
        at = (correct, parsed)
        if at not in self._sums:
            chances = [_order_chance(shape, correct, parsed) for shape in self._by_shape]
            columns = zip(*self._by_shape.values(), strict=True)
            self._sums[at] = Sums(*(sum(map(mul, chances, column)) for column in columns))
        return self._sums[at]


class PairCharges(NamedTuple):
    """What the small tier's answer, one vote on it and the prompt of a round cost.

    All in prices of one answer of the large tier.
    """

    small: float
    vote: float = 0.0
    round: float = 0.0


class PairForecast(NamedTuple):
    """What a plan is expected to do on one question, under its prior.

    `cost` is in prices of one answer of the large tier; `escalated` is a chance, `votes` and `rounds` of
    votes are means.
    """

    quality: float
    cost: float
    escalated: float
    votes: float
    rounds: float = 0.0


class _BestAction(NamedTuple):
    """The best action at a history, and its value times the history's weight."""

    value: float
    action: Action


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Best action at every history of votes on the small tier's answer; solved where it is asked for.

    Attributes:
        evidence: what votes make of the prior.
        charges: what calls cost.
        give_up: how much score the price of one answer of the large tier is worth.
        max_votes: the most votes on one answer.
        batch: how many votes one round may buy; all that remain is always legal.
        samples: how many answers are sampled at once, whose agreement is the evidence; 0 for votes.

    Example:
        >>> kind = SetKind("a", (0.05, 0.05, 0.35, 0.55), ((1, 9), (9, 1)))
        >>> evidence = VoteEvidence(mixture([kind], 0.0))
        >>> plan = PairPlan(evidence, PairCharges(0.05, 0.005), give_up=0.2, max_votes=4)
        >>> plan.first(), plan.action(4, 4, 4), plan.action(0, 4, 4)[:2]
        (Action(kind='start', tier=0, votes=0), Action(kind='report', tier=0, votes=0), ('escalate', 1))
    """

    evidence: VoteEvidence
    charges: PairCharges
    give_up: float
    max_votes: int
    batch: tuple[int, ...] = (1, 2, 4)
    samples: int = 0
    _nodes: dict[_Votes, _BestAction] = field(init=False, repr=False, default_factory=dict)

    def first(self) -> Action:
        """The tier that is asked first; of equal values the large one."""
        large = self.evidence.after(0, 0).large - self.give_up
        return Action("start", SMALL if self._value_of_small() > large + EQUAL_WITHIN else LARGE)

    def action(self, correct: int, parsed: int, n_votes: int) -> Action:
        """What to do about an answer of the small tier with these votes; of equal values the cheaper."""
        return self._node(correct, parsed, n_votes).action

    def gain(self, correct: int, parsed: int) -> float:
        """By how much the large tier's score is expected to be higher after these votes."""
        sums = self.evidence.after(correct, parsed)
        return (sums.large - sums.small) / sums.weight

    def value(self) -> float:
        """Expected score less what the expected cost is worth."""
        large = self.evidence.after(0, 0).large - self.give_up
        return max(self._value_of_small(), large)

    def forecast(self) -> PairForecast:
        """Follow the plan from its start, under the prior."""
        if self.first().tier == LARGE:
            return PairForecast(self.evidence.after(0, 0).large, 1.0, 0.0, 0.0)
        cost, escalated, votes, rounds = self.charges.small, 0.0, 0.0, 0.0
        level: dict[_Votes, float] = dict(self._begin())
        while level:
            following: dict[_Votes, float] = {}
            for at, orders in level.items():
                action, chance = self.action(*at), orders * self.evidence.after(*at[:2]).weight
                escalated += chance * (action.kind == "escalate")
                cost += chance * self._price(action)
                votes += chance * action.votes
                rounds += chance * (action.votes > 0)
                for key, ways in self._after(at, action.votes):
                    following[key] = following.get(key, 0.0) + orders * ways
            level = following
        return PairForecast(self.value() + self.give_up * cost, cost, escalated, votes, rounds)

    # -------------------------------------------------------------- induction

    def _value_of_small(self) -> float:
        return sum(ways * self._node(*at).value for at, ways in self._begin()) - self.give_up * (
            self.charges.small
        )

    def _begin(self) -> Iterator[tuple[_Votes, int]]:
        """The histories that asking the small tier leads to, each with its number of orders."""
        for count in range(self.samples + 1):
            yield (count, self.samples, self.samples), math.comb(self.samples, count)

    def _after(self, at: _Votes, votes: int) -> Iterator[tuple[_Votes, int]]:
        """The histories that a round of votes leads to; none where no vote is bought."""
        correct, parsed, n_votes = at
        for more in range(votes + 1 if votes else 0):
            yield (correct + more, parsed + votes, n_votes + votes), math.comb(votes, more)

    def _node(self, correct: int, parsed: int, n_votes: int) -> _BestAction:
        at = (correct, parsed, n_votes)
        if at not in self._nodes:
            self._nodes[at] = self._best(at)
        return self._nodes[at]

    def _best(self, at: _Votes) -> _BestAction:
        """The best of reporting, escalating and each legal round."""
        sums = self.evidence.after(*at[:2])
        best = _BestAction(sums.small, Action("report", SMALL))
        rest = 0 if self.samples else self.max_votes - at[2]
        rounds = (Action("vote", SMALL, m) for m in sorted({*self.batch, rest}) if 0 < m <= rest)
        for action in (Action("escalate", LARGE), *rounds):
            ahead = sum(ways * self._node(*key).value for key, ways in self._after(at, action.votes))
            gross = sums.large if action.kind == "escalate" else ahead
            value = gross - self.give_up * self._price(action) * sums.weight
            if value > best.value + EQUAL_WITHIN * sums.weight:
                best = _BestAction(value, action)
        return best

    def _price(self, action: Action) -> float:
        """What an action costs."""
        if action.kind == "vote":
            return self.charges.round + self.charges.vote * action.votes
        return 1.0 if action.kind == "escalate" else 0.0


def _order_chance(shape: tuple[float, float], correct: int, parsed: int) -> float:
    """Chance of one order of votes: B(a + c, b + t - c)/B(a, b)."""
    a, b = shape
    return math.exp(_log_rise(a, correct) + _log_rise(b, parsed - correct) - _log_rise(a + b, parsed))


def _log_rise(x: float, n: int) -> float:
    """Logarithm of x·(x + 1)···(x + n - 1)."""
    return math.lgamma(x + n) - math.lgamma(x)
