"""A tier while it is being asked: its completions and votes so far, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from automix_cli.errors import BackendError
from automix_cli.profile.model import Tier
from automix_cli.records import Completion, Price, Step, Usage, Vote, total_usage


@dataclass(slots=True)
class LiveVisit:
    """A tier while it is being asked: grows with every call, ends as a `Step`.

    `failed` is the kind of error of a tier that gave no answer; `unusable` holds the reply without text
    that was charged all the same.
    """

    tier: Tier
    answers: list[Completion] = field(default_factory=list)
    unusable: list[Completion] = field(default_factory=list)
    checks: list[Completion] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    answer: str | None = None
    signal: float | None = None
    confidence: float | None = None
    action: str = ""
    failed: str | None = None
    score: float | None = None
    seconds: float = 0.0
    flags: dict[str, None] = field(default_factory=dict)

    def note(self, completions: Sequence[Completion], cut: bool) -> None:
        """Keep the flags of completions, each once, in the order of their coming."""
        self.flags |= dict.fromkeys(flag for c in completions for flag in c.flags)
        if cut:
            self.flags["context_cut"] = None

    def fail(self, error: BackendError) -> None:
        """Note that the tier has no answer, and what the attempt cost."""
        self.failed, self.answer, self.signal, self.score = error.kind, None, None, 0.0
        if error.reply is not None:
            reply = replace(error.reply, cached=not error.maybe_billed)
            self.unusable.append(reply)
            self.note([reply], cut=False)

    def step(self) -> Step:
        """The visit as a record."""
        price = self.tier.list_price()
        replies = (*self.answers, *self.unusable)
        answers, checks = usage_of(replies), usage_of(self.checks)
        usage = answers + checks
        fresh = usage_of([c for c in (*replies, *self.checks) if not c.cached])
        samples = self.answers if len(self.answers) > 1 and not self.failed else []
        votes = split_cost(price, checks, len(self.checks))
        return Step(
            tier=self.tier.name,
            model=self.tier.model,
            answer=self.answer,
            failed=self.failed,
            votes=tuple(v.verdict for v in self.votes),
            samples=tuple(c.text for c in samples),
            confidence=self.signal if self.confidence is None else round(self.confidence, 6),
            score=self.score,
            action=self.action,
            calls=usage.calls,
            usage=usage,
            answer_usage=answers,
            cost_usd=cost_of(price, usage),
            spent_usd=cost_of(price, fresh),
            answer_cost=cost_of(price, answers),
            vote_cost=votes.each,
            round_cost=votes.once,
            sample_cost=split_cost(price, answers, len(samples)).each,
            latency_s=round(self.seconds, 4),
            flags=tuple(self.flags),
        )


def usage_of(completions: Sequence[Completion]) -> Usage:
    """The tokens and calls of completions together."""
    return total_usage([c.usage for c in completions])


def cost_of(price: Price | None, usage: Usage) -> float | None:
    """Dollars at a list price; None when the price is unknown and anything was bought.

    Example:
        >>> cost_of(None, Usage()), cost_of(None, Usage(calls=1))
        (0.0, None)
    """
    if usage == Usage():
        return 0.0
    return None if price is None else price.of(usage)


def list_cost(tier: Tier, completions: Sequence[Completion]) -> float | None:
    """List price of completions in dollars; None when the tier's price is unknown and there are any."""
    return cost_of(tier.list_price(), usage_of(completions))


class SplitCost(NamedTuple):
    """What a round of votes costs: once, for its prompt, and for each vote."""

    once: float | None
    each: float | None


def split_cost(price: Price | None, usage: Usage, count: int) -> SplitCost:
    """The cost of a round of `count` votes, or of `count` sampled answers, split into prompt and each.

    Where each of them was a call of its own, the prompt is part of what each costs.

    Example:
        >>> price = Price(input=1e6, output=1e6)  # a dollar a token
        >>> split_cost(price, Usage(input_tokens=4, output_tokens=6, calls=1), 2)
        SplitCost(once=4.0, each=3.0)
        >>> split_cost(price, Usage(input_tokens=8, output_tokens=6, calls=2), 2)
        SplitCost(once=None, each=7.0)
    """
    if price is None or not count:
        return SplitCost(None, None)
    whole = price.of(usage)
    if usage.calls >= count:
        return SplitCost(None, whole / count)
    prompt = price.of(replace(usage, output_tokens=0, reasoning_tokens=0))
    return SplitCost(prompt / max(1, usage.calls), (whole - prompt) / count)
