"""What calls of one tier cost: tokens of prompts and completions, times their price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.budget import worst_cost
from automix_cli.backends.server_record import prompt_tokens
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import Sharing, prompt_sharing, prompts_billed
from automix_cli.cascade.reply_range import ReplyEnd, ReplyRange, reply_range
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.profile.model import Profile, Tier
from automix_cli.records import Question
from automix_cli.usage import Usage

LEAST_PROMPT, MOST_PROMPT = 2 / 3, 3 / 2
"""Of the tokens that a prompt is expected to have, how few and how many it may have by a server's count."""

_PROMPT_SHARES: Mapping[ReplyEnd, float] = {"short": LEAST_PROMPT, "guess": 1.0, "long": MOST_PROMPT}
_SAME = 1.02  # times a bill that is told as one figure with it


class CallCost(NamedTuple):
    """Calls and list price in dollars."""

    calls: float = 0.0
    usd: float = 0.0

    def plus(self, other: CallCost) -> CallCost:
        """Both together."""
        return CallCost(self.calls + other.calls, self.usd + other.usd)


def sum_of(bills: Iterable[CallCost]) -> CallCost:
    """All together."""
    every = list(bills)
    return CallCost(math.fsum(bill.calls for bill in every), math.fsum(bill.usd for bill in every))


class CallForecast(NamedTuple):
    """A bill at best, as expected, and at worst; `short` and `long` are the ends of what is expected.

    They are apart where nobody knows how long replies are, how many prompts they are billed with, or
    which tiers a rule will ask.
    """

    low: CallCost = CallCost()
    expected: CallCost = CallCost()
    worst: CallCost = CallCost()
    short: CallCost = CallCost()
    long: CallCost = CallCost()

    @classmethod
    def without_ends(cls, low: CallCost, expected: CallCost, worst: CallCost) -> CallForecast:
        """One whose expected bill has no ends."""
        return cls(low, expected, worst, expected, expected)

    def plus(self, other: CallForecast) -> CallForecast:
        """Both together."""
        return CallForecast(*(a.plus(b) for a, b in zip(self, other, strict=True)))

    def rows(self, *, is_priced: bool) -> dict[str, Any]:
        """The JSON form; dollars are null unless every price is known."""
        bills = {"low": self.low, "expected": self.expected, "worst": self.worst}
        rows: dict[str, Any] = {
            name: {"calls": round(bill.calls), "usd": bill.usd if is_priced else None}
            for name, bill in bills.items()
        }
        if is_priced and self.has_ends:
            rows["expected"]["usd_range"] = [self.short.usd, self.long.usd]
        return rows

    @property
    def has_ends(self) -> bool:
        """Whether the ends are so far apart that a figure between them would be a guess."""
        return self.long.usd > _SAME * self.short.usd


class VisitRequests:
    """One question at one tier: the request for an answer and that for a vote, not yet sent.

    Attributes:
        sharing: how many prompts a call for several completions is billed with.
        answers, checks: the length of an answer, and of a vote.
    """

    def __init__(
        self, profile: Profile, index: int, question: Question, lengths: Mapping[str, TierLengths]
    ) -> None:
        builder, self.tier = RequestBuilder(profile), profile.tiers[index]
        self.ask = builder.for_answer(question, self.tier, n=sample_counts(profile, index).answers).request
        self.check = builder.for_votes(question, "", self.tier, first=0, n=1).request
        self.lengths = lengths.get(self.tier.name, TierLengths())
        self.most_votes = sample_counts(profile, index).votes
        self.sharing = prompt_sharing(self.tier, self.lengths.shares_prompt)
        own = self.lengths
        self.answers = reply_range(own.answers, self.ask, own.label_tokens, own.questions)
        self.checks = reply_range(own.votes, self.check, questions=own.questions)
        self._estimates = tuple(prompt_tokens(r) for r in (self.ask, self.check))

    def low_bill(self, share: float, answers: int, votes: float) -> CallCost:
        """The bill for a share of such visits, if next to nothing is written, and prompts are shared."""
        tokens = min(1.0, self.answers.short), min(1.0, self.checks.short)
        usd = self.usd(answers, votes, self._prompts(answers, votes, "short"), *tokens, LEAST_PROMPT)
        return CallCost(share * (answers + votes), share * usd)

    def expected_bill(
        self, share: float, answers: int, votes: float, rounds: float | None = None, end: ReplyEnd = "guess"
    ) -> CallCost:
        """The bill for a share of such visits, if completions are as long as those before.

        Args:
            share: of all visits.
            answers: that are sampled.
            votes: that are bought.
            rounds: calls that they are bought in; None where that is not known, and each has a prompt.
            end: which length replies have of which nobody knows it.
        """
        of_answers, of_votes = self._prompts(answers, votes, end)
        if rounds is not None and self._sharing_at(end) == "one":
            of_votes = min(rounds, votes)
        elif end != "short":
            of_votes = votes
        return CallCost(
            share * (answers + votes), share * self._usd_at(end, answers, votes, (of_answers, of_votes))
        )

    def collected_bill(self, answers: int, votes: int, end: ReplyEnd = "guess") -> CallCost:
        """The bill where all that is not bought yet is bought at once; `end` as in `expected_bill`."""
        usd = self._usd_at(end, answers, votes, self._prompts(answers, votes, end))
        return CallCost(answers + votes, usd)

    def shared_bill(self, answers: int, votes: int) -> CallCost:
        """The same if a server of which nobody knows it bills one prompt for all that one call gives."""
        usd = self._usd_at("guess", answers, votes, self._prompts(answers, votes, "short"))
        return CallCost(answers + votes, usd)

    def _prompts(self, answers: float, votes: float, end: ReplyEnd) -> tuple[float, float]:
        """The prompts of answers and of votes that are bought in one call each."""
        sharing = self._sharing_at(end)
        return prompts_billed(answers, sharing), prompts_billed(votes, sharing)

    def _sharing_at(self, end: ReplyEnd) -> Sharing:
        return at_best(self.sharing) if end == "short" else self.sharing

    def _usd_at(self, end: ReplyEnd, answers: int, votes: float, count: tuple[float, float]) -> float:
        share = 1.0 if self.lengths.answers.prompt_tokens else _PROMPT_SHARES[end]
        return self.usd(answers, votes, count, self.answers.at(end), self.checks.at(end), share)

    def usd(
        self,
        answers: int,
        votes: float,
        prompt_counts: tuple[float, float],
        answer_tokens: float,
        vote_tokens: float,
        prompt_share: float = 1.0,
    ) -> float:
        """Dollars of answers and votes of these lengths, and of so many prompts of either."""
        pairs = zip(prompt_counts, self.prompt_tokens(answer_tokens), strict=True)
        read = math.fsum(count * tokens for count, tokens in pairs)
        return _usd(self.tier, prompt_share * read, answers * answer_tokens + votes * vote_tokens)

    def unknown_replies(self, votes: float) -> dict[str, ReplyRange]:
        """The replies whose length nobody knows, by name, where so many votes are bought."""
        own = {f"answers of {self.tier.name}": self.answers}
        if votes:
            own[f"votes of {self.tier.name}"] = self.checks
        return {name: length for name, length in own.items() if not length.is_known}

    def prompt_tokens(self, answer_tokens: float) -> tuple[float, float]:
        """The tokens of a prompt for an answer, and of one for a vote on an answer of this length.

        They are estimated, and brought to the server's own count where the cache holds that.
        """
        ask, check = self._estimates
        own = self.lengths
        scale = own.votes.scale if own.votes.estimated_tokens else own.answers.scale
        return ask * own.answers.scale, check * scale + answer_tokens

    def worst_bill(self, answers: int, votes: int) -> CallCost:
        """The bill if every call costs as much as it can; each vote's prompt holds the longest answer."""
        price = self.tier.most_price()
        if price is None:
            return CallCost(answers + votes)
        answer = price.of(Usage(input_tokens=self.ask.max_tokens))
        usd = worst_cost(self.ask, price) + votes * (worst_cost(self.check, price) + answer)
        return CallCost(answers + votes, usd)


def at_best(sharing: Sharing) -> Sharing:
    """The same, where a server of which nobody knows it shares prompts."""
    return "one" if sharing == "unknown" else sharing


def completion_usd(tier: Tier, request: Request, tokens: float, *, prompt_share: float = 1.0) -> float:
    """Dollars of one completion of this length, and of its share of a prompt."""
    return _usd(tier, prompt_share * prompt_tokens(request), tokens)


def _usd(tier: Tier, input_tokens: float, output_tokens: float) -> float:
    """Dollars of tokens; 0 where the price is unknown."""
    price = tier.list_price()
    return 0.0 if price is None else (input_tokens * price.input + output_tokens * price.output) / 1e6
