"""What a run would cost: calls and dollars to expect before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from automix_cli.cascade.call_costs import CallCost, CallForecast, VisitRequests, cost_of, least_cost_of
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import Sharing, prompt_sharing
from automix_cli.cascade.question_facts import FactsReader
from automix_cli.cascade.requests import embedding_request, sample_counts
from automix_cli.cascade.shadow import ShadowPlan
from automix_cli.cascade.uncalibrated import default_policy
from automix_cli.pomdp.prior_policy import PriorPolicy
from automix_cli.pomdp.problem import Facts, Observation, Policy
from automix_cli.pomdp.rules import AlwaysPolicy, QuestionPolicy, ThresholdPolicy
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router import (
    embedder_of,
    is_calibrated,
    router_policy,
)
from automix_cli.records import Question
from automix_cli.texts import count_of
from automix_cli.usage import add_money

_EXPECTED_ESCALATED = 1 / 3

NO_CALLS = {
    **{name: {"calls": 0, "usd": 0.0} for name in ("low", "expected", "worst")},
    "assumes": "tiers are not asked: the rows are traces",
}
"""The plan for rows that hold traces."""


def plan_calls(
    profile: Profile,
    questions: Iterable[Question],
    lengths: Mapping[str, TierLengths] = MappingProxyType({}),
    shadow: ShadowPlan | None = None,
) -> dict[str, Any]:
    """Calls and dollars to expect for `questions`, without sending anything.

    `low`: every answer of the tier that is asked first is reported after one round of votes.
    `worst`: every tier is asked and gets all the votes that the policy may buy, and every call costs
    as much as it can (`budget.worst_cost`). `expected` assumes what stands under `assumes`; `lengths`
    says how long the completions of a tier have been; `shadow` draws questions that the baseline is
    asked, too. An unknown price makes the dollars None.

    Raises:
        DataError: the profile's router cannot be read, or is of a kind that does not run.
    """
    policy, reading = policy_of(profile), FactsReader.of(profile)
    embedder = embedder_of(profile)
    models = profile.tiers if embedder is None else (*profile.tiers, embedder)
    count, escalated, total, draws, extra = 0, 0.0, CallForecast(), 0, CallForecast()
    ways: dict[Facts, _Way] = {}
    for question in questions:
        facts = reading.facts(profile, question)
        same = policy.relevant(facts)
        if same not in ways:
            ways[same] = _way(policy, profile, facts, is_read=reading.is_complete)
        way = ways[same]
        count, escalated = count + 1, escalated + way.escalated
        total = total.plus(_forecast(profile, question, way, lengths))
        if embedder is not None:
            total = total.plus(_embedding_forecast(embedder, question))
        if shadow is not None and shadow.draws(question.id):
            draws += 1
            extra = extra.plus(_shadow_forecast(profile, question, shadow.baseline, way, lengths))
    total, is_priced = total.plus(extra), all(tier.list_price() is not None for tier in models)
    return {
        "questions": count,
        "profile": profile.name,
        "policy": _policy_name(profile),
        **total.rows(is_priced=is_priced),
        **(_shadow_row(shadow, draws, extra.expected, is_priced) if shadow and shadow.share else {}),
        "assumes": f"expected: {escalated / max(1, count):.0%} of answers escalated, "
        f"{_length_assumption(lengths)}{_prompt_assumption(profile, lengths)}",
    }


def _policy_name(profile: Profile) -> str:
    """The kind of router, or that there is none."""
    kind = (profile.router or {}).get("kind")
    if is_calibrated(profile):
        return str(kind or "calibrated")
    return "uncalibrated" if kind is None else f"uncalibrated, {kind}"


def plan_embeddings(plan: dict[str, Any], tier: Tier, questions: Iterable[Question]) -> dict[str, Any]:
    """A plan with the embeddings of the questions besides; equal ones are embedded once."""
    texts = {q.text: q for q in questions}
    forecasts = [_embedding_forecast(tier, question) for question in texts.values()]
    is_priced = tier.list_price() is not None
    rows = {}
    for i, name in enumerate(CallForecast._fields):
        more = math.fsum(forecast[i].usd for forecast in forecasts) if is_priced else None
        rows[name] = {
            "calls": plan[name]["calls"] + len(texts),
            "usd": add_money(plan[name]["usd"], more),
        }
    assumes = f"{plan['assumes']}; {len(texts):,} embeddings"
    return {**plan, **rows, "embeddings": len(texts), "assumes": assumes}


def plan_collection(
    profile: Profile, questions: Sequence[Question], lengths: Mapping[str, TierLengths] = MappingProxyType({})
) -> dict[str, Any]:
    """The plan for asking every tier every question and buying all votes; `low` assumes short replies."""
    plan = plan_calls(replace(profile, router={"kind": "majority"}), questions)
    total, votes, if_shared = CallForecast(), CallCost(), CallCost()
    for question in questions:
        for index in range(len(profile.tiers)):
            visit, counts = VisitRequests(profile, index, question, lengths), sample_counts(profile, index)
            total = total.plus(_visit_forecast(visit, *counts))
            votes = votes.plus(visit.collected_bill(0, counts.votes))
            if_shared = if_shared.plus(visit.collected_bill(*counts, if_shared=True))
    calls, is_priced = plan["worst"]["calls"], plan["worst"]["usd"] is not None
    usd = if_shared.usd if is_priced and if_shared.usd < total.expected.usd else None
    return {
        **plan,
        "policy": "every tier, all votes",
        "votes": _votes_row(votes, total.expected) if is_priced else None,
        **CallForecast(*(bill._replace(calls=calls) for bill in total)).rows(is_priced=is_priced),
        **({} if usd is None else {"usd_if_shared": usd}),
        "assumes": f"expected: {_length_assumption(lengths)}{_prompt_assumption(profile, lengths)}",
    }


def _prompt_assumption(profile: Profile, lengths: Mapping[str, TierLengths]) -> str:
    """How many prompts votes are billed with; "" where there are none."""
    sharing = {
        tier.name: prompt_sharing(tier, lengths.get(tier.name, TierLengths()).shares_prompt)
        for index, tier in enumerate(profile.tiers)
        if sample_counts(profile, index).votes
    }
    return f"; {prompt_words(sharing)}" if sharing else ""


def prompt_words(sharing: Mapping[str, Sharing], vote: str = "vote") -> str:
    """With how many prompts the votes of tiers are billed, as a dry run says it.

    Example:
        >>> prompt_words({"small": "one"})
        'votes that are bought together are billed with one prompt'
        >>> prompt_words({"small": "unknown", "mid": "each"})
        "each vote is billed with a prompt of its own (small's server has not shown otherwise)"
    """
    joint = [name for name, own in sharing.items() if own == "one"]
    unknown = [name for name, own in sharing.items() if own == "unknown"]
    if len(joint) == len(sharing):
        return f"{vote}s that are bought together are billed with one prompt"
    words = f"each {vote} is billed with a prompt of its own"
    if joint:
        words = f"{words}, but for {' and '.join(joint)}, where those bought together are billed with one"
    servers = " and ".join(f"{name}'s" for name in unknown)
    return f"{words} ({servers} server has not shown otherwise)" if unknown else words


def _length_assumption(lengths: Mapping[str, TierLengths]) -> str:
    """What is assumed of the lengths of completions."""
    count = sum(own.answers.completions + own.votes.completions for own in lengths.values())
    if not count:
        return "1/8 of max_tokens written"
    return f"completions as long as {count_of(count, 'completion')} in the cache (others: 1/8 of max_tokens)"


def samples_of(profile: Profile) -> tuple[int, ...]:
    """How many answers are sampled of each tier, 0 where only one is."""
    counts = [sample_counts(profile, tier).answers for tier in range(len(profile.tiers))]
    return tuple(n if n > 1 else 0 for n in counts)


# ---------------------------------------------------------------- one question


class _Way(NamedTuple):
    """How a policy goes through the tiers, as far as it is known before any call.

    Attributes:
        first: the tier that is asked first; where a call tells more before, the lowest that can be.
        fewest: the votes of the first round at the tier `first`.
        most: per tier, the most votes that one answer may get.
        reach: per tier, how often it is expected to be asked.
        votes: per tier, the votes that an answer of it is expected to get.
    """

    first: int
    fewest: int
    most: tuple[int, ...]
    reach: tuple[float, ...]
    votes: tuple[float, ...]

    @property
    def escalated(self) -> float:
        """How often more than the first tier is expected to be asked."""
        return max(self.reach[self.first + 1 :], default=0.0)


def policy_of(profile: Profile) -> Policy[Any]:
    """The policy that the profile runs."""
    return router_policy(profile) or default_policy(profile)


def _way(policy: Policy[Any], profile: Profile, facts: Facts, *, is_read: bool = True) -> _Way:
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
    share = 0.0 if is_settled and is_read else _EXPECTED_ESCALATED
    reach = tuple(share ** (i - first) if i >= first else 0.0 for i in tiers)
    votes = tuple(0.0 if is_settled and is_read else (min(fewest, own) + own) / 2 for own in most)
    if isinstance(policy, PriorPolicy) and first < tiers[-1]:
        forecast = policy.forecast(facts)
        reach = (1.0, *(0.0 for _ in tiers[1:-1]), forecast.escalated)
        votes = (forecast.votes, *votes[1:])
    return _Way(first, fewest, most, reach, votes)


def _most_votes(policy: Policy[Any], profile: Profile, tier: int) -> int:
    """The most votes that the policy buys on one answer of a tier."""
    limit = sample_counts(profile, tier).votes
    if isinstance(policy, AlwaysPolicy | QuestionPolicy):
        return 0
    if isinstance(policy, ThresholdPolicy):
        return min(limit, policy.rules[tier].votes) if tier < len(policy.rules) else 0
    return limit


def _forecast(
    profile: Profile, question: Question, way: _Way, lengths: Mapping[str, TierLengths]
) -> CallForecast:
    """What one question costs on its way through the tiers."""
    total = CallForecast()
    for index in range(way.first, len(profile.tiers)):
        answers, most = sample_counts(profile, index).answers, way.most[index]
        fewest = min(way.fewest, most)
        price = VisitRequests(profile, index, question, lengths)
        total = total.plus(
            CallForecast(
                price.low_bill(float(index == way.first), answers, fewest),
                price.expected_bill(way.reach[index], answers, way.votes[index]),
                price.worst_bill(answers, most),
            )
        )
    return total


def _shadow_forecast(
    profile: Profile, question: Question, baseline: Tier, way: _Way, lengths: Mapping[str, TierLengths]
) -> CallForecast:
    """What the shadow call of one question costs: nothing where the baseline is asked anyway, as at worst."""
    index = profile.tiers.index(baseline)
    price = VisitRequests(profile, index, question, lengths)
    rest = 1 - way.reach[index]
    return CallForecast(price.low_bill(float(index != way.first), 1, 0), price.expected_bill(rest, 1, 0))


def _shadow_row(shadow: ShadowPlan, draws: int, bill: CallCost, is_priced: bool) -> dict[str, Any]:
    """The part of a plan that tells what shadow calls are expected to cost."""
    usd = bill.usd if is_priced else None
    row = {"tier": shadow.baseline.name, "rows": draws, "calls": round(bill.calls), "usd": usd}
    return {"shadow": row}


def _visit_forecast(visit: VisitRequests, answers: int, votes: int) -> CallForecast:
    """What asking one tier and buying all votes costs."""
    expected, low = visit.collected_bill(answers, votes), visit.low_bill(1.0, answers, votes)
    return CallForecast(low, expected, visit.worst_bill(answers, votes))


def _votes_row(votes: CallCost, whole: CallCost) -> dict[str, Any]:
    """The expected cost of votes, and how many times that of the answers it is; null where these are free."""
    answers = whole.usd - votes.usd
    times = votes.usd / answers if answers > 0 else None
    return {"calls": round(votes.calls), "usd": votes.usd, "times_answers": times}


def _embedding_forecast(tier: Tier, question: Question) -> CallForecast:
    """What one embedding costs."""
    request = embedding_request(question.text, tier, 1.0)
    low, expected = least_cost_of(tier, request, 1.0), cost_of(tier, request, 1.0)
    worst = worst_list_cost(tier, request) or 0.0
    return CallForecast(CallCost(1.0, low), CallCost(1.0, expected), CallCost(1.0, worst))
