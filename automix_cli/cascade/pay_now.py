"""What of a collection the cache holds already, so that only the rest is paid for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.cache import fingerprint
from automix_cli.backends.store import Store
from automix_cli.cascade.call_costs import CallCost, CallForecast, VisitRequests
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.reply_range import REPLY_ENDS
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.errors import StorageError
from automix_cli.profile.model import Profile
from automix_cli.records import Question

MOST_LOOK_UPS = 5_000
"""That are looked up; of those after them nothing is taken to be in the cache."""


class Covered(NamedTuple):
    """The calls that need not be made, with their expected price, and how many questions were looked up.

    `short` and `long` are that price at the ends of what nobody knows.
    """

    bill: CallCost = CallCost()
    questions: int = 0
    short: CallCost = CallCost()
    long: CallCost = CallCost()


def plan_with_cache(
    plan: Mapping[str, Any],
    profile: Profile,
    questions: Sequence[Question],
    lengths: Mapping[str, TierLengths],
    folder: Path,
) -> dict[str, Any]:
    """The plan of a collection, with what is to be paid now where the cache in a folder holds some of it.

    Embeddings count in full: the plan has them, and they are not looked up.
    """
    own, expected = find_in_cache(profile, questions, lengths, folder), plan["expected"]
    if not own.bill.calls:
        return dict(plan)
    calls = round(expected["calls"] - own.bill.calls)

    def rest(usd: float, bill: CallCost) -> float:
        return max(0.0, round(usd - bill.usd, 12)) if calls else 0.0

    row = {"calls": calls, "usd": None if expected["usd"] is None else rest(expected["usd"], own.bill)}
    if calls and "usd_range" in expected:
        pairs = zip(expected["usd_range"], (own.short, own.long), strict=True)
        row["usd_range"] = [rest(usd, bill) for usd, bill in pairs]
    row |= {"cached_calls": round(own.bill.calls), "looked_up": own.questions}
    return {**plan, "to_pay": row}


def find_in_cache(
    profile: Profile, questions: Sequence[Question], lengths: Mapping[str, TierLengths], folder: Path
) -> Covered:
    """Look up the very requests that would be sent; a folder without a cache is left alone.

    A refusal, and a reply without text, that the cache remembers is not asked for again, and no vote on it.
    """
    if not (folder / "cache.db").is_file():
        return Covered()
    some, total = questions[:MOST_LOOK_UPS], CallForecast()
    with suppress(StorageError):  # a run would say what is wrong with it
        store = Store(folder)
        try:
            for question in some:
                for index in range(len(profile.tiers)):
                    total = total.plus(_covered_visit(store, profile, index, question, lengths))
        finally:
            store.close()
        return Covered(total.expected, len(some), total.short, total.long)
    return Covered()


def _covered_visit(
    store: Store, profile: Profile, index: int, question: Question, lengths: Mapping[str, TierLengths]
) -> CallForecast:
    """What is stored of one visit, worth the bill of all of it less that of the rest.

    The rest is bought at once: where a server shares prompts, its votes have one together, however
    the stored ones were paid for.
    """
    builder, tier, counts = RequestBuilder(profile), profile.tiers[index], sample_counts(profile, index)
    ask = builder.for_answer(question, tier, n=counts.answers).request
    answers = _look_up(store, ask)
    if not answers:
        return CallForecast()
    votes = counts.votes
    if answers.texts and counts.votes:
        check = builder.for_votes(question, answers.texts[0], tier, first=0, n=counts.votes).request
        votes = _look_up(store, check).calls
    calls = answers.calls if answers.texts else counts.answers
    visit = VisitRequests(profile, index, question, lengths)
    rest = counts.answers - calls, counts.votes - votes
    short, expected, long = (
        CallCost(calls + votes, visit.collected_bill(*counts, end).usd - visit.collected_bill(*rest, end).usd)
        for end in REPLY_ENDS
    )
    return CallForecast(expected=expected, short=short, long=long)


class _LookUp(NamedTuple):
    """How many samples of a request need not be bought, and the texts of those that are there."""

    calls: int
    texts: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.calls > 0


def _look_up(store: Store, request: Request) -> _LookUp:
    """Look up a request; after a refusal that is remembered, no further sample is asked for."""
    prompt = fingerprint(request)
    samples = store.get_samples(prompt, range(request.n))
    texts = tuple(samples[i].text.strip() for i in sorted(samples))
    if len(texts) < request.n:
        first = next(i for i in range(request.n) if i not in samples)
        if store.get_failure(prompt, first) is not None:
            return _LookUp(request.n, texts)
    return _LookUp(len(texts), texts)
