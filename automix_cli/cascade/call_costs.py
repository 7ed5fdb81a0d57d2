"""What calls of one tier cost: tokens of prompts and completions, times their price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.budget import worst_cost
from automix_cli.backends.server_record import Lengths, prompt_tokens
from automix_cli.cascade.lengths import TierLengths
from automix_cli.cascade.prompt_sharing import Sharing, prompt_sharing, prompts_billed
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.cascade.uncalibrated import EXPECTED_OUTPUT
from automix_cli.profile.model import Profile, Tier
from automix_cli.records import Question
from automix_cli.usage import Usage

_LEAST_OUTPUT = 8  # tokens
LEAST_PROMPT, MOST_PROMPT = 4 / 5, 5 / 4
"""Of the tokens that a prompt is expected to have, how few and how many it may have by a server's count."""


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


class VisitRequests:
    """One question at one tier: the request for an answer and that for a vote, not yet sent.

    Attributes:
        sharing: how many prompts a call for several completions is billed with.
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
        self._estimates = tuple(prompt_tokens(r) for r in (self.ask, self.check))

    def low_bill(self, share: float, answers: int, votes: float) -> CallCost:
        """The bill for a share of such visits, if next to nothing is written, and prompts are shared."""
        ask, check = self._shares
        least = (
            min(_LEAST_OUTPUT, ask * self.ask.max_tokens),
            min(_LEAST_OUTPUT, check * self.check.max_tokens),
        )
        count = prompts_billed(votes, at_best(self.sharing))
        usd = self.usd(answers, votes, count, *least, prompt_share=LEAST_PROMPT)
        return CallCost(share * (answers + votes), share * usd)

    def expected_bill(
        self, share: float, answers: int, votes: float, rounds: float | None = None
    ) -> CallCost:
        """The bill for a share of such visits, if completions are as long as those before.

        Args:
            share: of all visits.
            answers: that are sampled.
            votes: that are bought.
            rounds: calls that they are bought in; None where that is not known, and each has a prompt.
        """
        ask, check = self._shares
        count = votes if rounds is None or self.sharing != "one" else min(rounds, votes)
        usd = self.usd(answers, votes, count, ask * self.ask.max_tokens, check * self.check.max_tokens)
        return CallCost(share * (answers + votes), share * usd)

    def collected_bill(self, answers: int, votes: int, *, if_shared: bool = False) -> CallCost:
        """The bill where all that is not bought yet is bought at once.

        Args:
            answers: that are sampled.
            votes: on one answer.
            if_shared: whether a server of which nobody knows it is taken to bill one prompt for all.
        """
        ask, check = self._shares
        count = prompts_billed(votes, at_best(self.sharing) if if_shared else self.sharing)
        usd = self.usd(answers, votes, count, ask * self.ask.max_tokens, check * self.check.max_tokens)
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
        ask, check = self.prompt_tokens(answer_tokens)
        read = prompts_billed(answers, self.sharing) * ask + prompt_count * check
        return _usd(self.tier, prompt_share * read, answers * answer_tokens + votes * vote_tokens)

    def prompt_tokens(self, answer_tokens: float) -> tuple[float, float]:
        """The tokens of a prompt for an answer, and of one for a vote on an answer of this length.

        They are estimated, and brought to the server's own count where the cache holds that.
        """
        ask, check = self._estimates
        own = self.lengths
        scale = own.votes.scale if own.votes.estimated_tokens else own.answers.scale
        return ask * own.answers.scale, check * scale + answer_tokens

    @property
    def _shares(self) -> tuple[float, float]:
        """How much of max_tokens answers and votes are expected to take."""
        return _share(self.ask, self.lengths.answers), _share(self.check, self.lengths.votes)

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


def _share(request: Request, lengths: Lengths) -> float:
    """The share of max_tokens that completions have been long, or `EXPECTED_OUTPUT`."""
    return EXPECTED_OUTPUT if lengths.mean is None else lengths.mean / request.max_tokens


def cost_of(tier: Tier, request: Request, output: float, *, prompt_share: float = 1.0) -> float:
    """Dollars of one completion whose length is a share of max_tokens, and of its share of a prompt."""
    prompt, completion = _tokens(request, output)
    return _usd(tier, prompt_share * prompt, completion)


def least_cost_of(tier: Tier, request: Request, output: float, *, prompt_share: float = 1.0) -> float:
    """The same if next to nothing is written, and the prompt is as short as it may be."""
    prompt, completion = _tokens(request, output)
    return _usd(tier, prompt_share * LEAST_PROMPT * prompt, min(completion, _LEAST_OUTPUT))


def _usd(tier: Tier, input_tokens: float, output_tokens: float) -> float:
    """Dollars of tokens; 0 where the price is unknown."""
    price = tier.list_price()
    return 0.0 if price is None else (input_tokens * price.input + output_tokens * price.output) / 1e6


def _tokens(request: Request, output: float) -> tuple[int, int]:
    """The tokens of a prompt, and of a completion whose length is a share of max_tokens."""
    return prompt_tokens(request), math.ceil(request.max_tokens * output)
