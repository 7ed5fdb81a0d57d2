"""How a policy is expected to go through the tiers, and what calibration measured of the cost of that."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from automix_cli.cascade.call_costs import CallCost, VisitRequests
from automix_cli.cascade.reply_range import ReplyEnd
from automix_cli.cascade.requests import sample_counts
from automix_cli.fitting.router_block import fitted_answer_cost
from automix_cli.pomdp.model import TierModel
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.prior_policy import PriorPolicy
from automix_cli.pomdp.problem import Facts, Observation, Policy
from automix_cli.pomdp.rules import AlwaysPolicy, QuestionPolicy, ThresholdPolicy
from automix_cli.profile.model import Profile
from automix_cli.profile.router import differences

_EXPECTED_ESCALATED = 1 / 3


class Way(NamedTuple):
    """How a policy goes through the tiers, as far as it is known before any call.

    Attributes:
        first: the tier that is asked first; where a call tells more before, the lowest that can be.
        fewest: the votes of the first round at the tier `first`.
        most: per tier, the most votes that one answer may get.
        reach: per tier, how often it is expected to be asked.
        votes: per tier, the votes that an answer of it is expected to get.
        rounds: per tier, the calls that they are bought in; None where that is not known.
        is_planned: whether a plan says so, rather than a guess.
        is_certain: whether no answer can change it, or calibration measured how often it does.
    """

    first: int
    fewest: int
    most: tuple[int, ...]
    reach: tuple[float, ...]
    votes: tuple[float, ...]
    rounds: tuple[float | None, ...]
    is_planned: bool = False
    is_certain: bool = False

    def at(self, end: ReplyEnd) -> Way:
        """The way with the fewest votes and no further tier, or with all votes and every tier."""
        if end == "guess" or self.is_certain:
            return self
        tiers = range(len(self.most))
        if end == "long":
            reach = tuple(float(i >= self.first) for i in tiers)
            most = tuple(map(float, self.most))
            return self._replace(reach=reach, votes=most, rounds=tuple(None for _ in tiers))
        reach = tuple(float(i == self.first) for i in tiers)
        fewest = tuple(float(min(self.fewest, own)) for own in self.most)
        return self._replace(reach=reach, votes=fewest, rounds=tuple(1.0 for _ in tiers))

    @property
    def hangs_on_answers(self) -> bool:
        """Whether some answers send a question on, and nobody knows how many."""
        return not self.is_certain and self.first < len(self.reach) - 1

    def visits(self, index: int, answers: int) -> tuple[float, int, float, float | None]:
        """How often a tier is asked, with how many answers, votes on them, and calls for votes."""
        return self.reach[index], answers, self.votes[index], self.rounds[index]

    @property
    def escalated(self) -> float:
        """How often more than the first tier is expected to be asked."""
        return max(self.reach[self.first + 1 :], default=0.0)


def way_of(policy: Policy[Any], profile: Profile, facts: Facts, *, is_read: bool = True) -> Way:
    """The way of a policy, for questions of these facts; `is_read`: no call tells more before the first."""
    tiers = range(len(profile.tiers))
    most = tuple(_most_votes(policy, profile, tier) for tier in tiers)
    belief = policy.begin(facts)
    start = policy.action(belief)
    first = start.tier if is_read else 0
    fewest, is_settled = 0, isinstance(policy, AlwaysPolicy | QuestionPolicy)
    if most[start.tier] and start.tier == first:
        following = policy.action(policy.update(belief, start, Observation()))
        fewest, is_settled = following.votes, following.kind == "report"
    if isinstance(policy, PomdpPolicy):
        return _planned_way(policy, facts, Way(first, fewest, most, (), (), ()))
    share = 0.0 if is_settled and is_read else _EXPECTED_ESCALATED
    reach = tuple(share ** (i - first) if i >= first else 0.0 for i in tiers)
    votes = tuple(0.0 if is_settled and is_read else (min(fewest, own) + own) / 2 for own in most)
    rounds = tuple(1.0 if fewest >= own else None for own in most)
    if isinstance(policy, PriorPolicy) and first < tiers[-1]:
        forecast = policy.forecast(facts)
        reach = (1.0, *(0.0 for _ in tiers[1:-1]), forecast.escalated)
        votes, rounds = (forecast.votes, *votes[1:]), (forecast.rounds, *rounds[1:])
        return Way(first, fewest, most, reach, votes, rounds, is_planned=True)
    is_known = is_settled and is_read
    return Way(first, fewest, most, reach, votes, rounds, is_planned=is_known, is_certain=is_known)


def _planned_way(policy: PomdpPolicy, facts: Facts, way: Way) -> Way:
    """The way that the plan of a calibrated profile is expected to take."""
    times = policy.plan(facts).times()
    reach, votes, rounds = list[float](), list[float](), list[float]()
    for tier in range(len(way.most)):
        own = [(action, n) for action, n in times if action.tier == tier]
        reach.append(sum(n for action, n in own if action.kind in ("start", "escalate")))
        batches = [(action.votes, n) for action, n in own if action.kind == "vote"]
        per_visit = 1 / reach[-1] if reach[-1] else 0.0
        votes.append(per_visit * sum(count * n for count, n in batches))
        rounds.append(per_visit * sum(n for _, n in batches))
    return way._replace(
        reach=tuple(reach), votes=tuple(votes), rounds=tuple(rounds), is_planned=True, is_certain=True
    )


def _most_votes(policy: Policy[Any], profile: Profile, tier: int) -> int:
    """The most votes that the policy buys on one answer of a tier."""
    limit = sample_counts(profile, tier).votes
    if isinstance(policy, AlwaysPolicy | QuestionPolicy):
        return 0
    if isinstance(policy, ThresholdPolicy):
        return min(limit, policy.rules[tier].votes) if tier < len(policy.rules) else 0
    return limit


# ---------------------------------------------------------------- what calibration measured


class MeasuredCosts(NamedTuple):
    """What calls of the tiers cost on the rows that a router was fitted on.

    Attributes:
        router: the block.
        tiers: the planner's view of them; () for a router that plans no votes.
        mean_tokens: of a prompt, where those of a question are not counted.
    """

    router: dict[str, Any]
    tiers: tuple[TierModel, ...] = ()
    mean_tokens: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return int((self.router.get("fitted") or {}).get("rows") or 0)

    def visit_bill(self, visit: VisitRequests, index: int, way: Way, facts: Facts) -> CallCost | None:
        """The expected bill of a tier; None where nothing was measured that this profile's prices allow.

        Rows of recorded runs may count in units of their own: a cost that no answer can have is none.
        """
        tokens = self.mean_tokens if facts.prompt_tokens is None else facts.prompt_tokens
        usd = fitted_answer_cost(self.router, visit.tier.name, tokens)
        bounds = visit.low_bill(1.0, visit.ask.n, 0).usd, visit.worst_bill(visit.ask.n, 0).usd
        if usd is None or not math.isfinite(usd) or not bounds[0] / 2 <= usd <= bounds[1]:
            return None
        votes, rounds = way.votes[index], way.rounds[index] or 0.0
        if votes:
            if not self.tiers:
                return None
            own = self.tiers[index]
            usd += rounds * own.round.at(tokens) + votes * own.vote.at(tokens)
        reach = way.reach[index]
        return CallCost(reach * (visit.ask.n + votes), reach * usd)


def measured_costs(profile: Profile, policy: Policy[Any]) -> MeasuredCosts | None:
    """What the profile's calibration measured; None where there was none, or it no longer applies."""
    router = profile.router or {}
    if "prices" not in (router.get("fitted") or {}) or differences(profile):
        return None
    if isinstance(policy, PomdpPolicy):
        return MeasuredCosts(dict(router), policy.model.tiers, policy.model.mean_tokens)
    return MeasuredCosts(dict(router))
