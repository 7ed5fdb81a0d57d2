"""The policy without calibration: a prior from public sets, and the question's own planned costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from automix_cli.pomdp.cost import FREE, Cost
from automix_cli.pomdp.pair_plan import LARGE, PairCharges, PairForecast, PairPlan, VoteEvidence
from automix_cli.pomdp.problem import Action, Facts, History, Observation, Visit
from automix_cli.pomdp.rules import after_failure, share_of

GRID = 1.1  # plans are made for prompt lengths that grow by this factor
UNKNOWN_LENGTH = 200.0  # prompt tokens of a question whose tokens were not counted


class TierCosts(NamedTuple):
    """Planned dollars of asking a tier, of one vote on its answer, and of the prompt of a round of votes.

    `answer` is for all answers that are sampled at once.
    """

    answer: Cost
    vote: Cost = FREE
    round: Cost = FREE


class PriorBelief(NamedTuple):
    """The prompt length that is planned for, and the history."""

    tokens: float
    history: History = History()


@dataclass(frozen=True, slots=True)
class PriorPolicy:
    """Ask the first tier and check its answer where that pays under a prior, else ask the last tier.

    The prior knows pairs of tiers: tiers between the first and the last are asked only where those
    before gave no answer, and each then takes the first one's place.

    Attributes:
        evidence: what votes make of the prior.
        costs: of the tiers, cheapest first.
        give_up, max_votes, batch, samples: as in `PairPlan`.
        names: of the tiers, for the reasons.

    Example:
        >>> from automix_cli.pomdp.pair_plan import SetKind, mixture
        >>> kind = SetKind("a", (0.05, 0.05, 0.35, 0.55), ((1, 9), (9, 1)))
        >>> costs = (TierCosts(Cost(1), Cost(0.1)), TierCosts(Cost(20)))
        >>> policy = PriorPolicy(VoteEvidence(mixture([kind], 0.0)), costs, give_up=0.2, max_votes=4)
        >>> policy.action(policy.begin(Facts()))
        Action(kind='start', tier=0, votes=0)
    """

    evidence: VoteEvidence = field(repr=False)
    costs: tuple[TierCosts, ...]
    give_up: float
    max_votes: int
    batch: tuple[int, ...] = (1, 2, 4)
    samples: int = 0
    names: tuple[str, ...] = ()
    _plans: dict[tuple[int, float], PairPlan] = field(init=False, repr=False, default_factory=dict)

    def relevant(self, facts: Facts) -> Facts:
        """The prompt length that is planned for."""
        return Facts(_near_length(facts.prompt_tokens))

    def begin(self, facts: Facts) -> PriorBelief:
        """The empty history."""
        return PriorBelief(_near_length(facts.prompt_tokens))

    def update(self, belief: PriorBelief, action: Action, observation: Observation) -> PriorBelief:
        """The history with the observation appended; votes that never came count as bought."""
        if action.kind == "vote" and observation.n_votes < 1:
            observation = observation._replace(n_votes=action.votes)
        return belief._replace(history=belief.history.after(action, observation))

    def action(self, belief: PriorBelief) -> Action:
        """What the plan of the pair says."""
        last = len(self.costs) - 1
        if not belief.history.visits:
            first = self.plan(belief.tokens).first() if last else Action("start", LARGE)
            return Action("start", last if first.tier == LARGE else 0)
        visit = belief.history.last
        if visit.failed:
            return after_failure(belief.history, len(self.costs))
        if visit.tier == last:
            return Action("report", last)
        choice = self.plan(belief.tokens, visit.tier).action(visit.correct, visit.parsed, visit.n_votes)
        return choice._replace(tier=last if choice.kind == "escalate" else visit.tier)

    def plan(self, tokens: float, tier: int = 0) -> PairPlan:
        """The plan for a tier and the last one, at a number of prompt tokens."""
        key = (tier, tokens)
        if key not in self._plans:
            self._plans[key] = PairPlan(
                self.evidence,
                self._charges(tokens, tier),
                self.give_up,
                self.max_votes,
                self.batch,
                self.samples,
            )
        return self._plans[key]

    def forecast(self, facts: Facts = Facts()) -> PairForecast:  # noqa: B008
        """What is expected on a question, under the prior."""
        return self.plan(_near_length(facts.prompt_tokens)).forecast()

    def _charges(self, tokens: float, tier: int) -> PairCharges:
        own, large = self.costs[tier], self.costs[-1].answer.at(tokens)
        if large <= 0:  # nothing can be saved, and whatever costs something is too dear
            return PairCharges(math.inf)
        return PairCharges(
            own.answer.at(tokens) / large,
            own.vote.at(tokens) / large,
            own.round.at(tokens) / large,
        )

    def confidence(self, belief: PriorBelief, tier: int) -> float | None:
        """The signal itself, since nothing was calibrated: the share of parsed votes; None without."""
        return share_of(belief.history, tier)

    def reason(self, belief: PriorBelief) -> str:
        """The evidence, and by how much the last tier is expected to be better."""
        if not belief.history.visits:
            return "before any call"
        visit, last = belief.history.last, len(self.costs) - 1
        if visit.failed:
            return "no usable answer from this tier"
        if visit.tier == last:
            asks_first = len(belief.history.visits) == 1 and last
            return self._reason_at_once() if asks_first else "last tier: reported unverified"
        evidence = f"{visit.correct} of {visit.parsed} votes" if visit.n_votes else "not verified"
        return f"{evidence}: {self._expected_loss(belief.tokens, visit)}"

    def _reason_at_once(self) -> str:
        """Why no tier before the last one was asked."""
        return f"asked at once: {self._name(0)} and votes on its answer are not expected to pay"

    def _expected_loss(self, tokens: float, visit: Visit) -> str:
        """What is given up by reporting, beside what may be."""
        gain = 100 * self.plan(tokens, visit.tier).gain(visit.correct, visit.parsed)
        better = f"{self._name(len(self.costs) - 1)} is expected to be {gain:.0f} points better"
        return f"{better}, {100 * self.give_up:g} may be given up"

    def _name(self, tier: int) -> str:
        return self.names[tier] if self.names else f"tier {tier + 1}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """None: a continuous confidence is not looked at."""
        return ()

    @property
    def compares(self) -> bool:
        """No answers are compared."""
        return False


def _near_length(tokens: float | None) -> float:
    """The length on the grid that is nearest.

    Example:
        >>> round(_near_length(1000.0)), _near_length(None) == _near_length(200.0)
        (956, True)
    """
    length = max(UNKNOWN_LENGTH if tokens is None else tokens, 1.0)
    return float(GRID ** round(math.log(length, GRID)))
