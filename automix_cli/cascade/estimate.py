"""What a run would cost: calls and dollars to expect before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from automix_cli.cascade.call_costs import (
    LEAST_PROMPT,
    MOST_PROMPT,
    CallCost,
    CallForecast,
    VisitRequests,
    completion_usd,
    sum_of,
)
from automix_cli.cascade.failed_attempts import worst_list_cost
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.past_runs import PastBills, PastRun
from automix_cli.cascade.prompt_sharing import Sharing, prompt_sharing
from automix_cli.cascade.question_facts import FactsReader
from automix_cli.cascade.question_ways import Way, measured_costs, way_of
from automix_cli.cascade.reply_range import REPLY_ENDS, ReplyEnd, ReplyRange
from automix_cli.cascade.requests import embedding_request, sample_counts
from automix_cli.cascade.shadow import ShadowPlan
from automix_cli.cascade.uncalibrated import default_policy
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.router import (
    embedder_of,
    is_calibrated,
    router_policy,
)
from automix_cli.records import Question
from automix_cli.texts import count_of
from automix_cli.usage import add_money

_OTHER_END: Mapping[ReplyEnd, ReplyEnd] = {"short": "long", "guess": "guess", "long": "short"}
_FIRST_ROWS = "a file of 20 of the rows"
_CALL_SPREAD = 0.5  # by how much of their mean the costs of calls of one tier are taken to differ

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
    past: Mapping[int, PastRun] = MappingProxyType({}),
) -> dict[str, Any]:
    """Calls and dollars to expect for `questions`, without sending anything.

    `low`: every answer of the tier that is asked first is reported after one round of votes.
    `worst`: every tier is asked and gets all the votes that the policy may buy, and every call costs
    as much as it can (`budget.worst_cost`). `expected` assumes what stands under `assumes`: a calibrated
    plan is followed at what calibration measured, and `likely_usd` is the range of that; else `lengths`
    says how long the completions of a tier have been. What no call has shown gives it a `usd_range`, and
    its `usd` is a guess within that. `past` tells what the same rule did with some of the questions, by
    their places. `shadow` draws questions that the baseline is asked, too. An unknown price makes the
    dollars None.

    Raises:
        DataError: the profile's router cannot be read, or is of a kind that does not run.
    """
    embedder, sums = embedder_of(profile), _QuestionSums(profile, lengths, past)
    draws, shadow_bill, extra = 0, CallForecast(), CallForecast()
    for question in questions:
        way = sums.add(question)
        if embedder is not None:
            extra = extra.plus(_embedding_forecast(embedder, question))
        if shadow is not None and shadow.draws(question.id):
            draws += 1
            own = _shadow_forecast(profile, question, shadow.baseline, way, lengths)
            shadow_bill = shadow_bill.plus(own)
    total = sums.whole().plus(extra).plus(shadow_bill)
    models = profile.tiers if embedder is None else (*profile.tiers, embedder)
    is_priced = all(tier.list_price() is not None for tier in models)
    half = sums.half_width()
    return {
        "questions": sums.questions,
        "profile": profile.name,
        "policy": _policy_name(profile),
        **total.rows(is_priced=is_priced),
        **({} if half is None or not is_priced else _likely_row(total, half)),
        **(_shadow_row(shadow, draws, shadow_bill.expected, is_priced) if shadow and shadow.share else {}),
        "assumes": sums.assumption(),
    }


def _likely_row(total: CallForecast, half: float) -> dict[str, Any]:
    """The part of a plan that tells between which sums the bill is likely to lie."""
    low, usd, worst = (bill.usd for bill in (total.low, total.expected, total.worst))
    return {"likely_usd": [max(low, usd - half), min(worst, usd + half)]}


class _QuestionSums:
    """The sums of a plan over its questions.

    Attributes:
        questions: how many.
        escalated, votes: as expected of all of them.
        total: of the policy's own calls.
        guesses: how many questions no plan tells the way of.
        is_guess: whether answers may send any of them another way, and nobody knows how many.
        may_vote: whether votes may be bought on any answer.
        variance: of the dollars, as questions go on to later tiers or not, and calls are longer or shorter.
        bills: of questions that answers may send on, with what the same rule did with some of them.
        per_share: dollars, by which the sum moves where the share that goes on is off by one deviation.
        unknown: replies that may be asked for and whose length nobody knows.
    """

    def __init__(
        self, profile: Profile, lengths: Mapping[str, TierLengths], past: Mapping[int, PastRun]
    ) -> None:
        self.profile, self.lengths = profile, lengths
        self.past, self.bills = past, PastBills()
        self.policy, self.reading = policy_of(profile), FactsReader.of(profile)
        self.costs = measured_costs(profile, self.policy)
        self.ways: dict[Facts, Way] = {}
        self.questions, self.escalated, self.votes, self.total = 0, 0.0, 0.0, CallForecast()
        self.guesses, self.variance, self.per_share = 0, 0.0, 0.0
        self.is_guess = self.may_vote = False
        self.unknown: dict[str, ReplyRange] = {}

    def add(self, question: Question) -> Way:
        """Add one question; returns its way through the tiers."""
        facts = self.reading.facts(self.profile, question)
        same = self.policy.relevant(facts)
        if same not in self.ways:
            is_read = self.reading.is_complete
            self.ways[same] = way_of(self.policy, self.profile, facts, is_read=is_read)
        way = self.ways[same]
        self.questions, self.escalated = self.questions + 1, self.escalated + way.escalated
        self.votes += sum(n * votes for n, votes in zip(way.reach, way.votes, strict=True))
        self.guesses += not way.is_planned
        self.is_guess |= way.hangs_on_answers
        self.may_vote |= any(
            reach and most for reach, most in zip(way.at("long").reach, way.most, strict=True)
        )
        tiers = [self._tier_forecast(question, way, facts, i) for i in range(way.first, len(way.reach))]
        whole = CallForecast(*map(sum_of, zip(*tiers, strict=True)))
        low, expected, short = whole.low, whole.expected, whole.short
        low = CallCost(min(low.calls, expected.calls), min(low.usd, expected.usd, short.usd))
        self.total = self.total.plus(whole._replace(low=low))
        further = sum_of(bill.expected for bill in tiers[1:]).usd / (way.escalated or 1.0)
        if way.hangs_on_answers:
            self.bills.note(self.past.get(self.questions - 1), expected, further)
        self.variance += (_CALL_SPREAD * expected.usd) ** 2
        if 0 < way.escalated < 1:
            variance = way.escalated * (1 - way.escalated)
            self.variance += variance * further**2
            self.per_share += math.sqrt(variance) * further
        return way

    def _tier_forecast(self, question: Question, way: Way, facts: Facts, index: int) -> CallForecast:
        """What one tier costs on the way of a question; where calibration did not measure it, by lengths."""
        answers, most = sample_counts(self.profile, index).answers, way.most[index]
        price = VisitRequests(self.profile, index, question, self.lengths)
        low = price.low_bill(float(index == way.first), answers, min(way.fewest, most))
        worst = price.worst_bill(answers, most)
        own = None if self.costs is None else self.costs.visit_bill(price, index, way, facts)
        if own is not None:
            return CallForecast.without_ends(low, own, worst)
        self.costs = None
        bills = {end: price.expected_bill(*way.at(end).visits(index, answers), end) for end in REPLY_ENDS}
        if bills["long"].usd:
            self.unknown |= price.unknown_replies(way.at("long").votes[index])
        return CallForecast(low, bills["guess"], worst, bills["short"], bills["long"])

    def whole(self) -> CallForecast:
        """The sums, as runs of the same rule on some of the questions let expect them."""
        if not self.bills.tell_all:
            return self.total
        own = self.total.expected.plus(self.bills.excess())
        low = CallCost(min(self.total.low.calls, own.calls), min(self.total.low.usd, own.usd))
        return CallForecast.without_ends(low, own, self.total.worst)

    def half_width(self) -> float | None:
        """Half of the 95 % interval of the dollars; None where neither calibration nor runs measured them.

        Questions differ by chance, and so did the rows that shares and costs were learned from.
        """
        if self.bills.tell_all:
            return self.bills.half_width()
        if self.costs is None or not self.costs.rows or not self.questions:
            return None
        of_means = self.per_share**2 + (_CALL_SPREAD * self.total.expected.usd) ** 2
        return 2 * math.sqrt(self.variance + of_means / self.costs.rows)

    def assumption(self) -> str:
        """What the expected figures rest on."""
        count, is_planned = max(1, self.questions), is_calibrated(self.profile) and not self.guesses
        by = " by the calibrated plan" if is_planned else ""
        escalated = f"{self.escalated / count:.0%}"
        if self.bills.tell_all:
            unseen = {name: own for name, own in self.unknown.items() if not own.prompts}
            lengths = f"; {length_words(self.lengths, unseen, 'a call')}" if unseen else ""
            return f"expected: {self.bills.words()}{lengths}"
        if self.is_guess:
            escalated = f"0% to 100% ({escalated} is a guess)"
        words = f"expected: {escalated} of answers escalated{by}"
        if self.votes and is_planned:
            words = f"{words}, {self.votes / count:.1f} votes a question"
        if self.costs is not None:
            return f"{words}, each call as dear as on the {self.costs.rows:,} rows of calibration"
        first = "--limit 20" if self.questions > 20 else "a call"
        prompts = _prompt_assumption(self.profile, self.lengths) if self.may_vote else ""
        return f"{words}; {length_words(self.lengths, self.unknown, first)}{prompts}"


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
    more = CallForecast(*map(sum_of, zip(*forecasts, strict=True))).rows(is_priced=is_priced)
    rows = {name: _sum_of_rows(plan[name], row) for name, row in more.items()}
    assumes = f"{plan['assumes']}; {len(texts):,} embeddings"
    return {**plan, **rows, "embeddings": len(texts), "assumes": assumes}


def _sum_of_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The calls and dollars of both; a range of dollars where either has one."""
    usd = add_money(first["usd"], second["usd"])
    result = {"calls": first["calls"] + second["calls"], "usd": usd}
    if usd is not None and ("usd_range" in first or "usd_range" in second):
        ranges = [row.get("usd_range", [row["usd"], row["usd"]]) for row in (first, second)]
        result["usd_range"] = [math.fsum(ends) for ends in zip(*ranges, strict=True)]
    return result


def plan_collection(
    profile: Profile, questions: Sequence[Question], lengths: Mapping[str, TierLengths] = MappingProxyType({})
) -> dict[str, Any]:
    """The plan for asking every tier every question and buying all votes; `low` assumes short replies."""
    plan = plan_calls(replace(profile, router={"kind": "majority"}), questions)
    total, votes, if_shared, unknown = CallForecast(), CallCost(), CallCost(), dict[str, ReplyRange]()
    for question in questions:
        for index in range(len(profile.tiers)):
            visit, counts = VisitRequests(profile, index, question, lengths), sample_counts(profile, index)
            total = total.plus(_visit_forecast(visit, *counts))
            votes = votes.plus(visit.collected_bill(0, counts.votes))
            if_shared = if_shared.plus(visit.shared_bill(*counts))
            unknown |= visit.unknown_replies(counts.votes)
    length = length_words(lengths, unknown, _FIRST_ROWS)
    calls, is_priced = plan["worst"]["calls"], plan["worst"]["usd"] is not None
    usd = if_shared.usd if is_priced and if_shared.usd < total.expected.usd else None
    return {
        **plan,
        "policy": "every tier, all votes",
        "votes": _votes_row(votes, total.expected, profile) if is_priced else None,
        **CallForecast(*(bill._replace(calls=calls) for bill in total)).rows(is_priced=is_priced),
        **({} if usd is None else {"usd_if_shared": usd}),
        "assumes": f"expected: {length}{_prompt_assumption(profile, lengths)}",
    }


def _prompt_assumption(profile: Profile, lengths: Mapping[str, TierLengths]) -> str:
    """How many prompts votes are billed with; "" where there are none."""
    sharing = {
        tier.name: sharing_of(tier, lengths)
        for index, tier in enumerate(profile.tiers)
        if sample_counts(profile, index).votes
    }
    return f"; {prompt_words(sharing)}" if sharing else ""


def sharing_of(tier: Tier, lengths: Mapping[str, TierLengths]) -> Sharing:
    """How many prompts a call for several completions of a tier is billed with, as far as lengths tell."""
    return prompt_sharing(tier, lengths.get(tier.name, TierLengths()).shares_prompt)


def prompt_words(sharing: Mapping[str, Sharing], vote: str = "vote") -> str:
    """With how many prompts the votes of tiers are billed, as a dry run says it.

    Example:
        >>> prompt_words({"small": "one"})
        'votes that are bought together are billed with one prompt'
        >>> prompt_words({"small": "unknown", "mid": "each"})
        "each vote is billed with a prompt, or all of a call with one (small's server has not shown which)"
    """
    joint = [name for name, own in sharing.items() if own == "one"]
    unknown = [name for name, own in sharing.items() if own == "unknown"]
    if len(joint) == len(sharing):
        return f"{vote}s that are bought together are billed with one prompt"
    words = f"each {vote} is billed with a prompt"
    if unknown:
        servers = " and ".join(f"{name}'s" for name in unknown)
        words = f"{words}, or all of a call with one ({servers} server has not shown which)"
    if joint:
        words = f"{words}, but for {' and '.join(joint)}, where those bought together are billed with one"
    return words


def length_words(lengths: Mapping[str, TierLengths], unknown: Mapping[str, ReplyRange], first: str) -> str:
    """What is known of the lengths of completions, and which of them are a guess; `first` shows these.

    Example:
        >>> length_words({}, {"votes of b": ReplyRange(1.0, 4.0, 16.0)}, "a call").split("; ")[0]
        'no call was made yet: votes of b 1 to 16 tokens (4 is a guess)'
    """
    count = sum(own.answers.completions + own.votes.completions for own in lengths.values())
    record = f"completions as long as {count_of(count, 'completion')} in the cache"
    if not unknown:
        return record if count else "completions as long as they may be"
    few = {name: own for name, own in unknown.items() if own.prompts}
    unseen = {name: own for name, own in unknown.items() if not own.prompts}
    parts = [
        f"{head}: {_names_with_ranges(own)}"
        for head, own in (
            ("not known yet" if count else "no call was made yet", unseen),
            ("by those seen", few),
        )
        if own
    ]
    shows = f"{first} first shows it, and is" if unseen else "more calls narrow it, and are"
    return "; ".join([*([record] if count else []), *parts, f"{shows} paid for once"])


def _names_with_ranges(unknown: Mapping[str, ReplyRange]) -> str:
    names: dict[ReplyRange, list[str]] = {}
    for name, own in unknown.items():
        names.setdefault(own, []).append(name)
    return ", ".join(f"{', '.join(every)} {_range_words(own)}" for own, every in names.items())


def _range_words(own: ReplyRange) -> str:
    guess = f"{own.guess:,.0f} on average" if own.prompts else f"{own.guess:,.0f} is a guess"
    return f"{own.short:,.0f} to {own.long:,.0f} tokens ({guess})"


def samples_of(profile: Profile) -> tuple[int, ...]:
    """How many answers are sampled of each tier, 0 where only one is."""
    counts = [sample_counts(profile, tier).answers for tier in range(len(profile.tiers))]
    return tuple(n if n > 1 else 0 for n in counts)


# ---------------------------------------------------------------- one question


def policy_of(profile: Profile) -> Policy[Any]:
    """The policy that the profile runs."""
    return router_policy(profile) or default_policy(profile)


def _shadow_forecast(
    profile: Profile, question: Question, baseline: Tier, way: Way, lengths: Mapping[str, TierLengths]
) -> CallForecast:
    """What the shadow call of one question costs: nothing where the baseline is asked anyway, as at worst."""
    index = profile.tiers.index(baseline)
    price = VisitRequests(profile, index, question, lengths)
    rests = {end: 1 - way.at(_OTHER_END[end]).reach[index] for end in REPLY_ENDS}
    bills = {end: price.expected_bill(rest, 1, 0, end=end) for end, rest in rests.items()}
    low = price.low_bill(float(index != way.first), 1, 0)
    return CallForecast(low, bills["guess"], CallCost(), bills["short"], bills["long"])


def _shadow_row(shadow: ShadowPlan, draws: int, bill: CallCost, is_priced: bool) -> dict[str, Any]:
    """The part of a plan that tells what shadow calls are expected to cost."""
    usd = bill.usd if is_priced else None
    row = {"tier": shadow.baseline.name, "rows": draws, "calls": round(bill.calls), "usd": usd}
    return {"shadow": row}


def _visit_forecast(visit: VisitRequests, answers: int, votes: int) -> CallForecast:
    """What asking one tier and buying all votes costs."""
    short, expected, long = (visit.collected_bill(answers, votes, end) for end in REPLY_ENDS)
    low, worst = visit.low_bill(1.0, answers, votes), visit.worst_bill(answers, votes)
    return CallForecast(low, expected, worst, short, long)


def _votes_row(votes: CallCost, whole: CallCost, profile: Profile) -> dict[str, Any]:
    """The expected cost of votes and whose they are; `times_answers` is null where answers are free."""
    answers = whole.usd - votes.usd
    times = votes.usd / answers if answers > 0 else None
    names = [tier.name for k, tier in enumerate(profile.tiers) if sample_counts(profile, k).votes]
    return {"calls": round(votes.calls), "usd": votes.usd, "times_answers": times, "tiers": names}


def _embedding_forecast(tier: Tier, question: Question) -> CallForecast:
    """What one embedding costs."""
    request = embedding_request(question.text, tier, 1.0)
    low, expected, long = (
        completion_usd(tier, request, 0.0, prompt_share=share) for share in (LEAST_PROMPT, 1.0, MOST_PROMPT)
    )
    bills = low, expected, worst_list_cost(tier, request) or 0.0, low, long
    return CallForecast(*(CallCost(1.0, usd) for usd in bills))
