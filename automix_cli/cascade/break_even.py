"""Whether verification can pay at all, by prices, lengths and votes alone; nothing is sent.

A tier's answer and the votes on it cost something before anything is saved. Where they cost as much as the
answer of the last tier, asking that at once is cheaper, however often the answer would have been kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from automix_cli.backends.server_record import Lengths
from automix_cli.cascade.call_costs import LEAST_PROMPT, MOST_PROMPT, VisitRequests, at_best
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import Sharing, prompts_billed
from automix_cli.cascade.requests import sample_counts
from automix_cli.cascade.uncalibrated import EXPECTED_OUTPUT
from automix_cli.profile.model import Profile
from automix_cli.records import Question

ANSWER_TOKENS = 128
"""The length of a first tier's answer where nothing is known; the last goes by the ratio of max_tokens."""

THIRD = 1 / 3
"""The share of questions that go on to the last tier, where nothing is known of it."""


class BreakEven(NamedTuple):
    """Mean USD per question of the first tier's evidence, beside an answer of the last tier.

    Attributes:
        tier, baseline: the names of the two.
        answers: how many answers of the tier are sampled.
        votes: the most that are bought on one answer.
        evidence_usd: of the answers and all votes.
        one_vote_usd: of the answers and one vote, or none where none is bought.
        baseline_usd: of one answer of the last tier.
        fewer_votes: the most votes that, with the answers, cost less than that; 0 where none do.
        prompt_tokens: of a prompt for an answer.
        answer_tokens, baseline_tokens: of an answer of the tier and of the last tier.
        least_times, most_times: how many times the last tier's answer the evidence costs at the lengths, and
            the bill of prompts, that favour either most; None where nothing is unknown.
        least_vote_times: the least of the answers and one vote.
        unknown_lengths: what the cache does not tell the length of, with the tokens it may have.
        unknown_prompts: how many completions the tier's server may bill with one prompt or with one each,
            where nobody knows which; 0 where that is known.
        pays_one_prompt: whether votes that are bought at once, as a plan may buy all of them, pay one prompt.
    """

    tier: str
    baseline: str
    answers: int
    votes: int
    evidence_usd: float
    one_vote_usd: float
    baseline_usd: float
    fewer_votes: int
    prompt_tokens: float
    answer_tokens: float
    baseline_tokens: float
    least_times: float | None = None
    most_times: float | None = None
    least_vote_times: float | None = None
    unknown_lengths: tuple[str, ...] = ()
    unknown_prompts: int = 0
    pays_one_prompt: bool = False

    @property
    def times(self) -> float:
        """How many times the last tier's answer the evidence costs."""
        return self.evidence_usd / self.baseline_usd

    @property
    def can_pay(self) -> bool:
        """Whether anything is left to save, or may be where that hangs on what nobody knows."""
        return (self.times if self.least_times is None else self.least_times) < 1

    def payback(self, usd: float, escalated: float = THIRD) -> int | None:
        """Questions after which `usd` are saved, if a share of them goes on to the last tier; None for never.

        Example:
            >>> one = BreakEven("small", "large", 1, 8, 0.25, 0.1, 1.0, 8, 100.0, 64.0, 64.0)
            >>> one.payback(10.0, 0.25), one.payback(10.0, 0.8)
            (20, None)
        """
        saving = (1 - escalated) * self.baseline_usd - self.evidence_usd
        return math.ceil(usd / saving) if saving > 0 else None

    def earliest_payback(self, usd: float) -> int | None:
        """The same if every answer is kept after one vote."""
        saving = self.baseline_usd - self.one_vote_usd
        return math.ceil(usd / saving) if saving > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self._asdict(), "times": self.times, "can_pay": self.can_pay}


def break_even(
    profile: Profile,
    questions: Sequence[Question],
    lengths: Mapping[str, TierLengths] = MappingProxyType({}),
) -> BreakEven | None:
    """Weigh the first tier's evidence against the last tier's answer.

    Args:
        profile: its prices, prompts and votes.
        questions: whose mean is taken.
        lengths: how long the completions of a tier have been.

    Returns:
        None where there is one tier, nothing is verified, or a price is unknown or 0.
    """
    first, last = profile.tiers[0], profile.tiers[-1]
    counts = sample_counts(profile, 0)
    if len(profile.tiers) < 2 or not questions or (counts.answers == 1 and not counts.votes):
        return None
    if not last.list_price() or not first.list_price():
        return None
    own, other = (lengths.get(tier.name) for tier in (first, last))
    scale = _Scale(profile, questions, lengths)
    typical = scale.visits[0].typical(own, other)
    evidence_usd, baseline_usd = scale.costs(typical, counts.votes)
    if baseline_usd <= 0:
        return None
    cheap = [votes for votes in range(1, counts.votes + 1) if scale.costs(typical, votes)[0] < baseline_usd]
    times = scale.times(own, other, counts.votes)
    of_one_vote = scale.times(own, other, min(1, counts.votes))
    return BreakEven(
        tier=first.name,
        baseline=last.name,
        answers=counts.answers,
        votes=counts.votes,
        evidence_usd=evidence_usd,
        one_vote_usd=scale.costs(typical, min(1, counts.votes))[0],
        baseline_usd=baseline_usd,
        fewer_votes=max(cheap, default=0),
        prompt_tokens=scale.prompt_tokens,
        answer_tokens=typical.answer,
        baseline_tokens=typical.baseline,
        least_times=min(times) if times else None,
        most_times=max(times) if times else None,
        least_vote_times=min(of_one_vote) if of_one_vote else None,
        unknown_lengths=_range_names(scale.visits[0].ranges(own, other), first.name, last.name),
        unknown_prompts=scale.most_at_once if scale.sharing == "unknown" else 0,
        pays_one_prompt=counts.votes > 1 and scale.sharing == "one",
    )


def _range_names(ranges: Sequence[tuple[float, float]], first: str, last: str) -> tuple[str, ...]:
    """What has no known length, with its range.

    Example:
        >>> _range_names([(3.0, 3.0), (1.0, 512.0), (1.0, 128.0)], "small", "large")
        ('answers of large (1 to 512 tokens)', 'votes (1 to 128 tokens)')
        >>> _range_names([(1.0, 64.0), (3.0, 3.0), (1.0, 64.0)], "small", "large")
        ('answers of small, votes (1 to 64 tokens)',)
    """
    names: dict[tuple[float, float], list[str]] = {}
    for name, own in zip((f"answers of {first}", f"answers of {last}", "votes"), ranges, strict=True):
        if own[0] < own[1]:
            names.setdefault(own, []).append(name)
    every = ((", ".join(own), low, high) for (low, high), own in names.items())
    return tuple(f"{name} ({low:,.0f} to {high:,.0f} tokens)" for name, low, high in every)


def longest_context(profile: Profile) -> float | None:
    """The tokens of context beyond which the evidence costs more than the last tier's answer.

    Both grow with the length of the context at a steady rate; each vote counts with a prompt of its own where
    nobody knows. None where the evidence is cheaper at any length, dearer with a context of one word, or
    cannot be weighed.
    """
    # Both with a context: the fence around one has a length of its own.
    short = break_even(profile, [Question(text="?", context="x")])
    longer = break_even(profile, [Question(text="?", context="x" * 3000)])
    if short is None or longer is None or short.times >= 1:
        return None
    tokens = longer.prompt_tokens - short.prompt_tokens
    growth = (longer.evidence_usd - short.evidence_usd) - (longer.baseline_usd - short.baseline_usd)
    return tokens * (short.baseline_usd - short.evidence_usd) / growth if growth > 0 else None


class _MeanTokens(NamedTuple):
    """Tokens of an answer of the first tier, of one of the last, and of a vote."""

    answer: float
    baseline: float
    vote: float


class _Scale:
    """What the evidence costs beside the last tier's answer, at any lengths; USD are a question's mean."""

    def __init__(
        self, profile: Profile, questions: Sequence[Question], lengths: Mapping[str, TierLengths]
    ) -> None:
        self.counts = sample_counts(profile, 0)
        self.visits = [_Visits(profile, question, lengths) for question in questions]

    @property
    def sharing(self) -> Sharing:
        """How many prompts a call for several votes is billed with."""
        return self.visits[0].first.sharing

    @property
    def prompt_tokens(self) -> float:
        """Of a prompt for an answer."""
        return math.fsum(visit.first.prompt_tokens(0.0)[0] for visit in self.visits) / len(self.visits)

    @property
    def most_at_once(self) -> int:
        """The most completions that one call asks for; 0 where each is asked for alone."""
        most = max(self.counts)
        return most if most > 1 else 0

    def costs(
        self, tokens: _MeanTokens, votes: int, read: float = 1.0, sharing: Sharing | None = None
    ) -> tuple[float, float]:
        """USD of the evidence and of the last tier's answer, at a share of the prompts' tokens."""
        answers, how = self.counts.answers, sharing or self.sharing
        prompts = prompts_billed(answers, how), prompts_billed(votes, how)
        pairs = [visit.costs(answers, votes, prompts, tokens, read) for visit in self.visits]
        evidence, baseline = (math.fsum(usd) / len(pairs) for usd in zip(*pairs, strict=True))
        return evidence, baseline

    def times(self, own: TierLengths | None, other: TierLengths | None, votes: int) -> list[float]:
        """How many times the answer the evidence costs at the ends of what is not known; empty: all is."""
        ranges = self.visits[0].ranges(own, other)
        corners = {_MeanTokens(*corner) for corner in product(*ranges)}
        hows = {self.sharing, at_best(self.sharing)} if self.most_at_once else {self.sharing}
        if len(corners) == len(hows) == 1:
            return []
        is_counted = own is not None and own.answers.prompt_tokens > 0
        reads = (1.0,) if is_counted else (LEAST_PROMPT, MOST_PROMPT)
        pairs = (self.costs(corner, votes, read, how) for corner, read, how in product(corners, reads, hows))
        return [evidence / usd for evidence, usd in pairs if usd > 0]


class _Visits:
    """One question at the first tier and at the last."""

    def __init__(self, profile: Profile, question: Question, lengths: Mapping[str, TierLengths]) -> None:
        self.first = VisitRequests(profile, 0, question, lengths)
        self.last = VisitRequests(profile, len(profile.tiers) - 1, question, lengths)
        self.most = self.first.ask.max_tokens, self.last.ask.max_tokens, self.first.check.max_tokens

    def costs(
        self, answers: int, votes: int, prompts: tuple[float, float], tokens: _MeanTokens, read: float
    ) -> tuple[float, float]:
        """USD of the evidence, with the prompts of answers and of votes, and of the last tier's answer."""
        evidence = self.first.usd(answers, votes, prompts, tokens.answer, tokens.vote, read)
        return evidence, self.last.usd(1, 0, (1, 0), tokens.baseline, 0.0, read)

    def typical(self, own: TierLengths | None, other: TierLengths | None) -> _MeanTokens:
        """The lengths as before, else as they are assumed."""
        short = min(ANSWER_TOKENS, self.most[0])
        means = _means(own, other)
        guesses = short, short * self.most[1] / self.most[0], EXPECTED_OUTPUT * self.most[2]
        return _MeanTokens(*(a if k is None else k for k, a in zip(means, guesses, strict=True)))

    def ranges(self, own: TierLengths | None, other: TierLengths | None) -> list[tuple[float, float]]:
        """The least and the most of each length: the same twice where it is known, or of no account."""
        replies = self.first.answers, self.last.answers, self.first.checks
        ends = [(reply.short, reply.long) for reply in replies]
        if not self.first.most_votes:
            ends[2] = (0.0, 0.0)
        return [end if k is None else (k, k) for k, end in zip(_means(own, other), ends, strict=True)]


def _means(
    own: TierLengths | None, other: TierLengths | None
) -> tuple[float | None, float | None, float | None]:
    """The mean lengths that the cache tells of."""
    return _mean(own and own.answers), _mean(other and other.answers), _mean(own and own.votes)


def _mean(lengths: Lengths | None) -> float | None:
    return None if lengths is None else lengths.mean
