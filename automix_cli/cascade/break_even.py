"""Whether verification can pay at all, by prices, lengths and votes alone; nothing is sent.

A tier's answer and the votes on it cost something before anything is saved. Where they cost as much as the
answer of the last tier, asking that at once is cheaper, however often the answer would have been kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from automix_cli import prompts
from automix_cli.cascade.estimate import cost_of
from automix_cli.cascade.lengths import Lengths, TierLengths
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.cascade.uncalibrated import EXPECTED_OUTPUT, takes_n
from automix_cli.profile.model import Profile, Tier
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

    @property
    def times(self) -> float:
        """How many times the last tier's answer the evidence costs."""
        return self.evidence_usd / self.baseline_usd

    @property
    def can_pay(self) -> bool:
        """Whether anything is left to save."""
        return self.times < 1

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
    costs = [_costs(profile, question, lengths) for question in questions]
    mean = _QuestionCosts(*(math.fsum(values) / len(costs) for values in zip(*costs, strict=True)))
    if mean.baseline <= 0:
        return None

    def evidence(votes: int) -> float:
        prompts_usd = _prompts(profile, first, votes) * mean.prompt
        return counts.answers * mean.answer + prompts_usd + votes * mean.verdict

    cheap = [votes for votes in range(1, counts.votes + 1) if evidence(votes) < mean.baseline]
    return BreakEven(
        tier=first.name,
        baseline=last.name,
        answers=counts.answers,
        votes=counts.votes,
        evidence_usd=evidence(counts.votes),
        one_vote_usd=evidence(min(1, counts.votes)),
        baseline_usd=mean.baseline,
        fewer_votes=max(cheap, default=0),
        prompt_tokens=mean.prompt_tokens,
        answer_tokens=mean.answer_tokens,
        baseline_tokens=mean.baseline_tokens,
    )


def longest_context(profile: Profile) -> float | None:
    """The tokens of context beyond which the evidence costs more than the last tier's answer.

    Both grow with the length of the context at a steady rate. None where the evidence is cheaper at any
    length, dearer with a context of one word, or cannot be weighed.
    """
    # Both with a context: the fence around one has a length of its own.
    short = break_even(profile, [Question(text="?", context="x")])
    longer = break_even(profile, [Question(text="?", context="x" * 3000)])
    if short is None or longer is None or not short.can_pay:
        return None
    tokens = longer.prompt_tokens - short.prompt_tokens
    growth = (longer.evidence_usd - short.evidence_usd) - (longer.baseline_usd - short.baseline_usd)
    return tokens * (short.baseline_usd - short.evidence_usd) / growth if growth > 0 else None


def _prompts(profile: Profile, tier: Tier, votes: int) -> int:
    """How many prompts are paid for so many votes, bought in the largest rounds that there are."""
    return math.ceil(votes / max(profile.verification.batch)) if takes_n(tier) else votes


class _QuestionCosts(NamedTuple):
    """USD of an answer, a vote's prompt, a verdict and the last tier's answer; tokens as in `BreakEven`."""

    answer: float
    prompt: float
    verdict: float
    baseline: float
    prompt_tokens: float
    answer_tokens: float
    baseline_tokens: float


def _costs(profile: Profile, question: Question, lengths: Mapping[str, TierLengths]) -> _QuestionCosts:
    """What one question costs."""
    builder, first, last = RequestBuilder(profile), profile.tiers[0], profile.tiers[-1]
    ask = builder.for_answer(question, first).request
    check = builder.for_votes(question, "", first, first=0, n=1).request
    ask_last = builder.for_answer(question, last).request
    own, other = lengths.get(first.name), lengths.get(last.name)
    short = min(ANSWER_TOKENS, ask.max_tokens)
    answer_tokens = _answer_tokens(own and own.answers, short)
    baseline_tokens = _answer_tokens(other and other.answers, short * ask_last.max_tokens / ask.max_tokens)
    vote = cost_of(first, check, _share(own and own.votes, check.max_tokens))
    prompt = cost_of(first, check, 0.0)
    return _QuestionCosts(
        answer=cost_of(first, ask, answer_tokens / ask.max_tokens),
        prompt=prompt,
        verdict=vote - prompt,
        baseline=cost_of(last, ask_last, baseline_tokens / ask_last.max_tokens),
        prompt_tokens=float(prompts.estimate_tokens(ask.messages)),
        answer_tokens=answer_tokens,
        baseline_tokens=baseline_tokens,
    )


def _answer_tokens(lengths: Lengths | None, otherwise: float) -> float:
    """The length of an answer: as before, else what is assumed."""
    mean = None if lengths is None else lengths.mean
    return otherwise if mean is None else mean


def _share(lengths: Lengths | None, longest: int) -> float:
    """The share of max_tokens that is written: as before, else as `EXPECTED_OUTPUT` says."""
    mean = None if lengths is None else lengths.mean
    return EXPECTED_OUTPUT if mean is None else mean / longest
