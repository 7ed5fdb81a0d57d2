"""What a run would cost: calls and dollars to expect before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.budget import worst_cost
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.cascade.lengths import Lengths, TierLengths
from automix_cli.cascade.question_facts import FactsReader
from automix_cli.cascade.requests import RequestBuilder, embedding_request, sample_counts
from automix_cli.cascade.shadow import ShadowPlan
from automix_cli.cascade.uncalibrated import EXPECTED_OUTPUT, default_policy, shares_prompt
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
from automix_cli.usage import Usage, add_money

if TYPE_CHECKING:
    pass

_EXPECTED_ESCALATED = 1 / 3
_LEAST_OUTPUT = 8  # tokens
LEAST_PROMPT = 3 / 5
"""Of an estimate, how few tokens a prompt may have: a token is worth five bytes of it, not three."""

NO_CALLS = {
    **{name: {"calls": 0, "usd": 0.0} for name in ("low", "expected", "worst")},
    "assumes": "tiers are not asked: the rows are traces",
}
"""The plan for rows that hold traces."""


class CallCost(NamedTuple):
    """Calls and list price in dollars."""

    calls: float = 0.0
    usd: float = 0.0

    def plus(self, other: CallCost) -> CallCost:
        """Both together."""
        return CallCost(self.calls + other.calls, self.usd + other.usd)


class CallForecast(NamedTuple):
    """A bill at best, as expected, and at worst."""

    low: CallCost = CallCost()
    expected: CallCost = CallCost()
    worst: CallCost = CallCost()

    def plus(self, other: CallForecast) -> CallForecast:
        """Both together."""
        return CallForecast(*(a.plus(b) for a, b in zip(self, other, strict=True)))

    def rows(self, *, is_priced: bool) -> dict[str, Any]:
        """The JSON form; dollars are null unless every price is known."""
        return {
            name: {"calls": round(bill.calls), "usd": bill.usd if is_priced else None}
            for name, bill in self._asdict().items()
        }


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
        f"{_length_assumption(lengths)}; each vote counted as a call of its own",
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
    total, votes = CallForecast(), CallCost()
    for question in questions:
        for index in range(len(profile.tiers)):
            total = total.plus(_visit_forecast(profile, index, question, lengths))
            votes = votes.plus(_vote_cost(profile, index, question, lengths))
    calls, is_priced = plan["worst"]["calls"], plan["worst"]["usd"] is not None
    return {
        **plan,
        "policy": "every tier, all votes",
        "votes": _votes_row(votes, total.expected) if is_priced else None,
        **CallForecast(*(bill._replace(calls=calls) for bill in total)).rows(is_priced=is_priced),
        "assumes": f"expected: {_length_assumption(lengths)}; each vote counted as a call of its own"
        f"{_prompt_assumption(profile, lengths)}",
    }


def _prompt_assumption(profile: Profile, lengths: Mapping[str, TierLengths]) -> str:
    """What is assumed of the prompts of votes; "" where there are none."""
    tiers = [tier for index, tier in enumerate(profile.tiers) if sample_counts(profile, index).votes]
    joint = [prompt_is_shared(tier, lengths.get(tier.name)) for tier in tiers]
    if not tiers or not any(joint):
        return " with a prompt of its own" if tiers else ""
    of = "" if all(joint) else f" of {', '.join(t.name for t, own in zip(tiers, joint, strict=True) if own)}"
    return f", one prompt paid for all votes{of} on an answer"


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


def _visit_forecast(
    profile: Profile, index: int, question: Question, lengths: Mapping[str, TierLengths]
) -> CallForecast:
    """What asking one tier and buying all votes costs."""
    answers, votes = sample_counts(profile, index)
    visit = VisitRequests(profile, index, question, lengths)
    expected = visit.collected_bill(answers, votes)
    low = visit.low_bill(1.0, answers, votes)
    low = low._replace(usd=min(low.usd, expected.usd))  # where votes share a prompt
    return CallForecast(low, expected, visit.worst_bill(answers, votes))


def _votes_row(votes: CallCost, whole: CallCost) -> dict[str, Any]:
    """The expected cost of votes, and how many times that of the answers it is; null where these are free."""
    answers = whole.usd - votes.usd
    times = votes.usd / answers if answers > 0 else None
    return {"calls": round(votes.calls), "usd": votes.usd, "times_answers": times}


def _vote_cost(
    profile: Profile, index: int, question: Question, lengths: Mapping[str, TierLengths]
) -> CallCost:
    """What one tier's votes on its own answer are expected to cost: a part of `_visit_forecast`."""
    votes = sample_counts(profile, index).votes
    return VisitRequests(profile, index, question, lengths).collected_bill(0, votes)


def _embedding_forecast(tier: Tier, question: Question) -> CallForecast:
    """What one embedding costs."""
    request = embedding_request(question.text, tier, 1.0)
    low, expected = least_cost_of(tier, request, 1.0), cost_of(tier, request, 1.0)
    worst = worst_list_cost(tier, request) or 0.0
    return CallForecast(CallCost(1.0, low), CallCost(1.0, expected), CallCost(1.0, worst))


def prompt_is_shared(tier: Tier, lengths: TierLengths | None) -> bool:
    """Whether votes of one call pay one prompt: as the cache shows, else where the provider is known to."""
    tells = None if lengths is None else lengths.votes.shares_prompt
    return bool(shares_prompt(tier)) if tells is None else tells


class VisitRequests:
    """One question at one tier: the request for an answer and that for a vote, not yet sent."""

    def __init__(
        self, profile: Profile, index: int, question: Question, lengths: Mapping[str, TierLengths]
    ) -> None:
        builder, self.tier = RequestBuilder(profile), profile.tiers[index]
        self.ask = builder.for_answer(question, self.tier, n=sample_counts(profile, index).answers).request
        self.check = builder.for_votes(question, "", self.tier, first=0, n=1).request
        self.lengths = lengths.get(self.tier.name)
        self.most_votes = sample_counts(profile, index).votes
        self._estimates = tuple(prompts.estimate_tokens(r.messages) for r in (self.ask, self.check))

    def low_bill(self, share: float, answers: int, votes: float) -> CallCost:
        """The bill for a share of such visits, if next to nothing is written."""
        ask, check = self._shares
        least = (
            min(_LEAST_OUTPUT, ask * self.ask.max_tokens),
            min(_LEAST_OUTPUT, check * self.check.max_tokens),
        )
        usd = self.usd(answers, votes, votes, *least, prompt_share=LEAST_PROMPT)
        return CallCost(share * (answers + votes), share * usd)

    def expected_bill(self, share: float, answers: int, votes: float) -> CallCost:
        """The bill for a share of such visits, if completions are as long as those before."""
        ask, check = self._shares
        usd = self.usd(answers, votes, votes, ask * self.ask.max_tokens, check * self.check.max_tokens)
        return CallCost(share * (answers + votes), share * usd)

    def collected_bill(self, answers: int, votes: int) -> CallCost:
        """The same where all votes are bought at once, for one prompt where the server shares it."""
        ask, check = self._shares
        is_shared = bool(votes) and prompt_is_shared(self.tier, self.lengths)
        prompt_count = votes / self.most_votes if is_shared else votes
        usd = self.usd(answers, votes, prompt_count, ask * self.ask.max_tokens, check * self.check.max_tokens)
        return CallCost(answers + votes, usd)

    def usd(
        self,
        answers: int,
        votes: float,
        prompt_count: float,
        answer_tokens: float,
        vote_tokens: float,
        prompt_share: float = 1.0,
    ) -> float:
        """Dollars of answers and votes of these lengths, and of so many prompts of votes."""
        price = self.tier.list_price()
        if price is None:
            return 0.0
        ask, check = self.prompt_tokens(answer_tokens)
        output = answers * answer_tokens + votes * vote_tokens
        read = prompt_share * (answers * ask + prompt_count * check)
        return (read * price.input + output * price.output) / 1e6

    def prompt_tokens(self, answer_tokens: float) -> tuple[float, float]:
        """The tokens of a prompt for an answer, and of one for a vote on an answer of this length.

        They are estimated, and brought to the server's own count where the cache holds that.
        """
        ask, check = self._estimates
        own = self.lengths or TierLengths(Lengths(), Lengths())
        scale = own.votes.scale if own.votes.estimated_tokens else own.answers.scale
        return ask * own.answers.scale, check * scale + answer_tokens

    @property
    def _shares(self) -> tuple[float, float]:
        """How much of max_tokens answers and votes are expected to take."""
        answers, votes = (self.lengths.answers, self.lengths.votes) if self.lengths else (None, None)
        return _share(self.ask, answers), _share(self.check, votes)

    def worst_bill(self, answers: int, votes: int) -> CallCost:
        """The bill if every call costs as much as it can; each vote's prompt holds the longest answer."""
        price = self.tier.most_price()
        if price is None:
            return CallCost(answers + votes)
        answer = price.of(Usage(input_tokens=self.ask.max_tokens))
        usd = worst_cost(self.ask, price) + votes * (worst_cost(self.check, price) + answer)
        return CallCost(answers + votes, usd)


def _share(request: Request, lengths: Lengths | None) -> float:
    """The share of max_tokens that completions have been long, or `EXPECTED_OUTPUT`."""
    mean = None if lengths is None else lengths.mean
    return EXPECTED_OUTPUT if mean is None else mean / request.max_tokens


def cost_of(tier: Tier, request: Request, output: float) -> float:
    """Dollars of one completion whose length is a share of max_tokens."""
    price = tier.list_price()
    if price is None:
        return 0.0
    prompt, completion = _tokens(request, output)
    return price.of(Usage(input_tokens=prompt, output_tokens=completion))


def least_cost_of(tier: Tier, request: Request, output: float) -> float:
    """The same if next to nothing is written, and a token is worth five bytes of the prompt, not three."""
    price = tier.list_price()
    if price is None:
        return 0.0
    prompt, completion = _tokens(request, output)
    return price.of(Usage(input_tokens=prompt * 3 // 5, output_tokens=min(completion, _LEAST_OUTPUT)))


def _tokens(request: Request, output: float) -> tuple[int, int]:
    """The tokens of a prompt, and of a completion whose length is a share of max_tokens."""
    return prompts.estimate_tokens(request.messages), math.ceil(request.max_tokens * output)
