"""What a cap keeps from being asked at all, whatever the question: said before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.budget import most_words, worst_cost
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.profile.model import Profile, Tier
from automix_cli.records import Question
from automix_cli.texts import count_of

_SHORTEST = Question(text="?")
_SKIPS = "rows that need it are skipped, and those after them"
_STOPS = "the run ends there, and the cache keeps what was paid for"


class _NotedCall(NamedTuple):
    """A call on the shortest question: what it asks for in words, and what makes it cheaper."""

    words: str
    request: Request
    cure: str


def cap_notes(profile: Profile) -> Iterator[str]:
    """Name each tier of which one answer, or one vote, may cost more than the whole cap of a run of rows."""
    for index, tier in enumerate(profile.tiers):
        counts = sample_counts(profile, index)
        calls = [_answers(profile, tier, counts.answers), *_votes(profile, tier, min(1, counts.votes))]
        yield from _notes(profile, tier, calls, _SKIPS)


def collection_notes(profile: Profile) -> Iterator[str]:
    """The same of a run that asks every tier and buys all votes on an answer at once."""
    for index, tier in enumerate(profile.tiers):
        counts = sample_counts(profile, index)
        calls = [_answers(profile, tier, counts.answers), *_votes(profile, tier, counts.votes)]
        yield from _notes(profile, tier, calls, _STOPS)


def check_notes(profile: Profile, tiers: Sequence[Tier], votes: int) -> Iterator[str]:
    """The same of a run in which these tiers check answers that exist, with so many votes or samples."""
    for tier in tiers:
        if profile.verification.signal == "consistency":
            calls = [_answers(profile, tier, votes)]
        else:
            calls = list(_votes(profile, tier, 1 if profile.verification.signal == "logprob" else votes))
        yield from _notes(profile, tier, calls, _SKIPS)


def _answers(profile: Profile, tier: Tier, count: int) -> _NotedCall:
    request = RequestBuilder(profile).for_answer(_SHORTEST, tier, n=count).request
    words = "one call" if count == 1 else f"one call for {count_of(count, 'answer')}"
    return _NotedCall(words, request, f"a lower max_tokens of {tier.name}")


def _votes(profile: Profile, tier: Tier, count: int) -> Iterator[_NotedCall]:
    if count:
        request = RequestBuilder(profile).for_votes(_SHORTEST, "", tier, first=0, n=count).request
        is_own = request.max_tokens > profile.verification.max_tokens
        cure = f"a lower max_tokens of {tier.name if is_own else 'verification'}"
        cure += ", or fewer votes," if count > 1 else ""
        yield _NotedCall("one vote" if count == 1 else f"one call for {count} votes", request, cure)


def _notes(profile: Profile, tier: Tier, calls: Sequence[_NotedCall], outcome: str) -> Iterator[str]:
    """The calls of a tier that may cost more than the cap, in the order in which they are made.

    What stops a run is the first of them: its price is the one that the run then names, but for the
    length of the question.
    """
    cap, price = profile.limits.max_cost, profile.budget_price(tier)
    if cap is None or price is None:
        return
    beyond = [(call, most) for call in calls if (most := worst_cost(call.request, price)) > cap]
    if not beyond:
        return
    (first, _), *_ = beyond
    parts = [
        f"{call.words}{f' of {tier.name}' if call is first else ''} may cost, "
        f"{most_words(most, call.request.max_tokens)}"
        for call, most in beyond
    ]
    cures = " or ".join(dict.fromkeys(call.cure for call, _ in beyond))
    yield (
        f"the cap of ${cap:g} is below what {', and what '.join(parts)}, however short the question: "
        f"{outcome}; a higher --max-cost or {cures} mends it"
    )
