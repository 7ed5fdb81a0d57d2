"""The decision problem of one question: tiers, prior, rewards and planned costs.

States are numbered 0 … 2^N - 1; bit i of s (its weight is 2^i) is set where tier i is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from msgspec import Struct, structs
from msgspec.structs import replace

from automix_cli.errors import AutomixError
from automix_cli.pomdp.agreement import AgreementModel, AnswerClass
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.cost import FREE as FREE
from automix_cli.pomdp.cost import Cost as Cost
from automix_cli.pomdp.observations import (
    MAX_PLANNED_VOTES,
    NO_OBSERVATIONS,
    ObservationModel,
    VoteObservations,
    check_distribution,
    reachable_levels,
)
from automix_cli.pomdp.problem import Action, ActionKind, Facts, Visit
from automix_cli.pomdp.tilt import MOST_TRUST, Logits, shrink_logits, tilted_prior

CHARGED_KINDS: tuple[ActionKind, ...] = ("start", "vote")
"""The kinds of action that cost something; `escalate` costs the same as `start`."""


class TierModel(Struct, frozen=True, kw_only=True):
    """What is known of one tier.

    Attributes:
        right, wrong: mean score of its right and of its wrong answers.
        observation: what its signal shows.
        max_votes: the most votes one answer may get.
        failure: chance that it gives no answer when it is asked, whatever the state.
        answer, vote, round: planned costs of asking it, of one vote, of the prompt of a round of votes.
        answer_s, round_s: mean latency of these round trips, in seconds.
    """

    right: float = 1.0
    wrong: float = 0.0
    observation: ObservationModel = NO_OBSERVATIONS
    max_votes: int = 0
    failure: float = 0.0
    answer: Cost = FREE
    vote: Cost = FREE
    round: Cost = FREE
    answer_s: float = 0.0
    round_s: float = 0.0


class Model(Struct, frozen=True, kw_only=True):
    """The decision problem of one question.

    Attributes:
        tiers: cheapest first.
        priors: for each class of questions, the chances of the 2^N states (see the module).
            With one class, every question belongs to it.
        cost_weight: quality given up per dollar.
        batch: how many votes one action may buy; all that remain is always legal.
        abstain_value: score of "no answer"; None = always answer.
        last_tier: verify the last tier's answers too, as is also done where abstaining is possible.
        value_of_time: USD per hour of waiting.
        mean_tokens: prompt tokens of a question whose tokens were not counted.
        agreement: how likely answers are to be equal; None where they are not compared.
        trust: how far a question's prior follows the query-side router, from 0 (not at all) on.
    """

    tiers: tuple[TierModel, ...]
    priors: tuple[tuple[float, ...], ...]
    cost_weight: float = 0.0
    batch: tuple[int, ...] = (1, 2, 4)
    abstain_value: float | None = None
    last_tier: bool = False
    value_of_time: float = 0.0
    mean_tokens: float = 0.0
    agreement: AgreementModel | None = None
    trust: float = 1.0

    def __post_init__(self) -> None:
        if not self.tiers or not self.priors:
            raise ValueError("a model needs a tier and a prior")
        for prior in self.priors:
            check_distribution("prior", prior)
            if len(prior) != 2 ** len(self.tiers):
                raise ValueError(
                    f"{len(self.tiers)} tiers have {2 ** len(self.tiers)} states, got {len(prior)}"
                )
        for tier in self.tiers:
            if not 0 <= tier.max_votes <= MAX_PLANNED_VOTES:
                raise ValueError(f"max_votes must lie in 0..{MAX_PLANNED_VOTES}, got {tier.max_votes}")
            if not 0 <= tier.failure <= 1:
                raise ValueError(f"the chance of a failure must lie in 0..1, got {tier.failure}")
        if self.agreement and len(self.agreement.groups) != len(self.tiers):
            raise ValueError(f"agreement of {len(self.agreement.groups)} tiers, got {len(self.tiers)}")
        if not 0 <= self.trust <= MOST_TRUST:
            raise ValueError(f"trust must lie in 0..{MOST_TRUST}, got {self.trust}")
        charges = [self.charge(Action(k, i, 1)) for i in range(len(self.tiers)) for k in CHARGED_KINDS]
        if not all(math.isfinite(x) and x >= 0 for x in (self.cost_weight, *(y for c in charges for y in c))):
            raise ValueError(
                f"costs and cost_weight must be known and not negative, got {self.cost_weight}, {charges}"
            )

    def observation(self, tier: int) -> ObservationModel:
        """What is observed of a tier: nothing at the last one, where it would change no decision."""
        if tier < len(self.tiers) - 1 or self.last_tier or self.abstain_value is not None:
            return self.tiers[tier].observation
        return NO_OBSERVATIONS

    def charge(self, action: Action) -> Cost:
        """Planned cost of an action, the price of waiting included."""
        if action.kind in ("start", "escalate"):
            tier = self.tiers[action.tier]
            return tier.answer + self.value_of_time * tier.answer_s / 3600
        if action.kind == "vote":
            tier = self.tiers[action.tier]
            return tier.round + tier.vote * action.votes + self.value_of_time * tier.round_s / 3600
        return Cost()

    @property
    def counts_tokens(self) -> bool:
        """Whether any planned cost grows with the prompt, so that questions get plans of their own."""
        return any(
            self.charge(Action(kind, i, 1)).per_token
            for i in range(len(self.tiers))
            for kind in CHARGED_KINDS
        )

    def class_prior(self, question_class: int) -> tuple[float, ...]:
        """Chances of the states for a class of questions."""
        return self.priors[question_class if len(self.priors) > 1 else 0]

    def prior(self, question_class: int, logits: Logits = ()) -> Floats:
        """Chances of the states for a class of questions, tilted to these marginals; shape (2^N,)."""
        return np.array(tilted_prior(self.class_prior(question_class), logits))

    def target_logits(self, facts: Facts) -> Logits:
        """The logits of the marginals that a question's prior has; () where no router says anything."""
        if not facts.logits or not self.trust:
            return ()
        prior = np.array(self.class_prior(facts.question_class))
        return tuple(shrink_logits(prior, np.array(facts.logits), self.trust).tolist())

    def right(self, tier: int) -> Floats:
        """1 in the states where the tier is right, shape (2^N,)."""
        return np.array((np.arange(2 ** len(self.tiers)) >> tier) & 1, dtype=float)

    def reward(self, tier: int) -> Floats:
        """Expected score of reporting the tier, per state, shape (2^N,)."""
        own = self.tiers[tier]
        return own.wrong + (own.right - own.wrong) * self.right(tier)

    def payoff(self, action: Action) -> Floats:
        """Expected score that an action closes a question with, per state; zeros where it goes on."""
        if action.kind == "report":
            return self.reward(action.tier)
        score = (self.abstain_value or 0.0) if action.kind == "abstain" else 0.0
        return np.full(2 ** len(self.tiers), score)

    def spread(self, tier: int, likelihood: Floats) -> Floats:
        """From cells to states: shape (…, cells) → (…, 2^N)."""
        own, last = self.right(tier).astype(int), self.right(len(self.tiers) - 1).astype(int)
        cells = own if likelihood.shape[-1] == 2 else 2 * own + last
        return np.asarray(likelihood[..., cells])

    def weigh(self, question_class: int, visits: tuple[Visit, ...], logits: Logits = ()) -> Floats:
        """b₀(s)·Π_i ℓ_i(counts at i | s), shape (2^N,): the posterior before normalisation.

        Raises:
            AutomixError: the evidence is impossible under the model.
        """
        weight = self.prior(question_class, logits)
        for k, visit in enumerate(visits):
            if not visit.failed:
                observation = self.observation(visit.tier)
                likelihood = observation.likelihood(observation.counts(visit))
                weight = weight * self.spread(visit.tier, likelihood) * self.joins(visits[:k], visit)
        if not (np.isfinite(weight).all() and weight.sum() > 0):
            raise AutomixError(
                f"no belief: prior {self.prior(question_class, logits).tolist()} and {visits} "
                f"give {weight.tolist()}"
            )
        return weight

    def joins(self, earlier: tuple[Visit, ...], visit: Visit) -> Floats:
        """P(class that a tier's answer joins | s), shape (2^N,); ones where answers are not compared."""
        classes = answer_classes((v.tier, first_equal(v)) for v in earlier if not v.failed)
        if self.agreement is None or not classes:
            return np.ones(2 ** len(self.tiers))
        leaders = [members[0] for members in classes]
        joins = first_equal(visit)
        place = leaders.index(joins) if joins in leaders else len(leaders)
        return np.asarray(self.agreement.chances(visit.tier, classes)[place])


def first_equal(visit: Visit) -> int:
    """The first tier with an equal answer, the tier itself where its answer is new or not compared."""
    return visit.tier if visit.joins is None else visit.joins


def answer_classes(joins: Iterable[tuple[int, int]]) -> list[AnswerClass]:
    """Return the classes of equal answers, from each tier and the first tier with its answer.

    Example:
        >>> answer_classes([(0, 0), (1, 1), (2, 0)])
        [(0, 2), (1,)]
    """
    classes: dict[int, AnswerClass] = {}
    for tier, first in joins:
        classes[first] = (*classes.get(first, ()), tier)
    return list(classes.values())


# ------------------------------------------------------------------ how large a plan may be

MAX_HISTORIES = 2_000_000  # of a plan, see `simplify`
MAX_COUNTS = 9_000  # at one tier, because the orders between them fill matrices


def simplify(model: Model, max_histories: int = MAX_HISTORIES) -> tuple[Model, str]:
    """Return the richest model that can be planned exactly, and in words what it leaves out.

    Args:
        model: the decision problem.
        max_histories: the most histories a plan may hold.
    """
    if _is_small(model, max_histories):
        return model, ""
    what = "too many histories to plan exactly: one round of"
    at_once = replace(model, batch=())
    if _is_small(at_once, max_histories):
        return at_once, f"{what} votes a tier"
    no_unparsed = replace(at_once, tiers=tuple(_all_parsed(t) for t in at_once.tiers))
    if _is_small(no_unparsed, max_histories):
        return no_unparsed, f"{what} votes a tier, unparsed votes not foreseen"
    if model.agreement:
        fewer, note = simplify(replace(model, agreement=None), max_histories)
        return fewer, "; ".join(filter(None, ("too many histories to compare answers", note)))
    votes, fewer = max(t.max_votes for t in model.tiers), no_unparsed
    while not _is_small(fewer, max_histories) and votes > 1:
        votes -= 1
        fewer = replace(
            no_unparsed, tiers=tuple(replace(t, max_votes=min(t.max_votes, votes)) for t in no_unparsed.tiers)
        )
    return fewer, f"{what} at most {votes} votes a tier"


def _is_small(model: Model, max_histories: int) -> bool:
    return max(_table_sizes(model)) <= MAX_COUNTS and count_histories(model) <= max_histories


def _all_parsed(tier: TierModel) -> TierModel:
    if not isinstance(tier.observation, VoteObservations):
        return tier
    return replace(tier, observation=structs.replace(tier.observation, unparsed=0.0))


def count_histories(model: Model) -> int:
    """How many histories a plan of the model tells apart, the root excepted.

    Without agreement these are Π_i (1 + counts at tier i) - 1. With it, each subset of tiers counts
    once for each partition of their answers; 1, 1, 2, 5, 15, … of 0, 1, 2, 3, 4, … answers.
    """
    sizes, failing = _table_sizes(model), [t.failure > 0 for t in model.tiers]
    if model.agreement is None:
        return math.prod(1 + size + fails for size, fails in zip(sizes, failing, strict=True)) - 1
    tiers = range(len(sizes))
    idle = [1 + fails for fails in failing]  # not asked, or asked in vain: nothing to compare
    return (
        sum(
            _partitions(n) * math.prod(sizes[i] if i in subset else idle[i] for i in tiers)
            for n in range(len(sizes) + 1)
            for subset in combinations(tiers, n)
        )
        - 1
    )


def _partitions(n: int) -> int:
    """Bell's number: into how many partitions n answers can fall."""
    return 1 if n == 0 else sum(math.comb(n - 1, k) * _partitions(k) for k in range(n))


def _table_sizes(model: Model) -> list[int]:
    return [_table_size(model.observation(i), t.max_votes, model.batch) for i, t in enumerate(model.tiers)]


def _table_size(observation: ObservationModel, max_votes: int, batch: tuple[int, ...]) -> int:
    if not isinstance(observation, VoteObservations):
        return len(observation.table(max_votes, batch).counts)
    levels = reachable_levels(0, max_votes, batch)
    return sum((b + 1) * (b + 2) // 2 if observation.unparsed else b + 1 for b in levels)
