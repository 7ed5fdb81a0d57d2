"""A tier while it is being asked: its completions and votes so far, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.errors import BackendError
from automix_cli.profile.model import Tier
from automix_cli.records import Completion, ServiceTier, Step, Vote
from automix_cli.usage import NO_USAGE, Usage, total_usage


class LiveVisit(Struct):
    """A tier while it is being asked: grows with every call, ends as a `Step`.

    `agrees_with` is the first tier asked with an equal answer, if any is; `reports` the tier whose earlier
    answer was reported after this visit, if that is another one. `failed` is the kind of error
    of a tier that gave no answer; `unusable` holds the reply without text that was charged all the same.
    `rounds` holds where in `checks` each round of votes begins; a vote without text is one of them.
    `verifiable` turns false with the first vote that could not be asked.
    """

    tier: Tier
    answers: list[Completion] = field(default_factory=list)
    unusable: list[Completion] = field(default_factory=list)
    checks: list[Completion] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    answer: str | None = None
    agrees_with: str | None = None
    signal: float | None = None
    confidence: float | None = None
    action: str = ""
    reports: str | None = None
    failed: str | None = None
    verifiable: bool = True
    score: float | None = None
    seconds: float = 0.0
    flags: dict[str, None] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)

    def advise(self, error: BackendError) -> None:
        """Keep what mends an error that the question survives."""
        if error.hint:
            self.hints.setdefault(error.kind, error.hint)

    def note(self, completions: Sequence[Completion], cut: bool) -> None:
        """Keep the flags of completions, each once, in the order of their coming."""
        for completion in completions:
            self.flags |= dict.fromkeys(completion.flags)
        if cut:
            self.flags["context_cut"] = None

    def fail(self, error: BackendError) -> None:
        """Note that the tier has no answer, and what the attempt cost."""
        self.failed, self.answer, self.signal, self.score = error.kind, None, None, 0.0
        self.agrees_with = None
        self._keep_reply(error)

    def lack(self, error: BackendError) -> None:
        """Note that some of several sampled answers have no text, and what they cost."""
        self.flags[error.kind] = None
        self._keep_reply(error)

    def _keep_reply(self, error: BackendError) -> None:
        self.advise(error)
        if error.reply is not None:
            reply = replace(error.reply, cached=not error.maybe_billed)
            self.unusable.append(reply)
            self.note([reply], cut=False)

    def fail_votes(self, error: BackendError, count: int) -> None:
        """Note that `count` votes have no text, and what they cost; or that they could not be asked."""
        self.flags[error.kind] = None
        self.advise(error)
        if error.reply is None:
            self.verifiable = False
            return
        reply = replace(error.reply, cached=not error.maybe_billed)
        self.checks += [reply, *[Completion(text="", cached=True)] * (count - 1)]

    def _rounds(self) -> list[list[Completion]]:
        """The votes, round by round."""
        if not self.checks:
            return []
        return [self.checks[start:end] for start, end in pairwise([*self.rounds, len(self.checks)])]

    def step(self) -> Step:
        """The visit as a record."""
        answers = usage_if_bought([*self.answers, *self.unusable])
        checks = [usage for votes in self._rounds() for usage in usage_if_bought(votes)]
        purchases = [
            ServedUsage(c.usage, c.service_tier)
            for c in (*self.answers, *self.unusable, *self.checks)
            if not c.cached
        ]
        samples = self.answers if len(self.answers) > 1 and not self.failed else []
        votes = split_cost(self.tier, checks, len(self.checks))
        answer_usage, answer_cost = total_of(answers), cost_of(self.tier, answers)
        usage = total_of([*answers, *checks]) if checks else answer_usage
        return Step(
            tier=self.tier.name,
            model=self.tier.model,
            answer=self.answer,
            agrees_with=self.agrees_with,
            failed=self.failed,
            votes=tuple(v.verdict for v in self.votes),
            samples=tuple(c.text for c in samples),
            confidence=self.signal if self.confidence is None else round(self.confidence, 6),
            score=self.score,
            action=self.action,
            reports=self.reports,
            calls=usage.calls,
            usage=usage,
            answer_usage=answer_usage,
            cost_usd=cost_of(self.tier, [*answers, *checks]) if checks else answer_cost,
            spent_usd=cost_of(self.tier, purchases),
            answer_cost=answer_cost,
            vote_cost=votes.each,
            round_cost=votes.once,
            sample_cost=split_cost(self.tier, answers, len(samples)).each,
            latency_s=round(self.seconds, 4),
            flags=tuple(self.flags),
            hints=tuple(self.hints.items()),
        )


class ServedUsage(Struct, frozen=True, gc=False):
    """Tokens, and the service that they were bought from."""

    usage: Usage
    service_tier: ServiceTier


def usage_if_bought(completions: Sequence[Completion]) -> list[ServedUsage]:
    """What completions of one round use if all are bought now: a prompt that they share counts once.

    Which of them came from the cache, and in how many requests the others were bought, makes no difference.
    A text that came without a prompt to share tells that the server gives one completion a request, which
    those that were bought one by one before could not tell: then each has a prompt of its own.

    Example:
        >>> prompt, half = Usage(input_tokens=100, calls=1), Usage(input_tokens=50, output_tokens=7)
        >>> votes = [Completion(text="yes", usage=half, prompt=prompt)] * 2
        >>> total_of(usage_if_bought(votes)).to_dict()["input_tokens"]
        100
        >>> single = Completion(text="yes", usage=Usage(input_tokens=100, output_tokens=7, calls=1))
        >>> total_of(usage_if_bought([*votes, single])).to_dict()["input_tokens"]
        300
    """
    parts: list[ServedUsage] = []
    prompts: list[ServedUsage] = []
    if len(completions) == 1 or any(c.text and c.prompt is None for c in completions):
        return [
            ServedUsage(c.usage if c.prompt is None else _with_prompt(c.usage, c.prompt), c.service_tier)
            for c in completions
        ]
    for c in completions:
        if c.prompt is None:
            parts.append(ServedUsage(c.usage, c.service_tier))
            continue
        own = Usage(output_tokens=c.usage.output_tokens, reasoning_tokens=c.usage.reasoning_tokens)
        parts.append(ServedUsage(own, c.service_tier))
        prompts = prompts or [ServedUsage(c.prompt, c.service_tier)]
    return prompts + parts if prompts else parts


def _with_prompt(usage: Usage, prompt: Usage) -> Usage:
    """What a completion uses that has its prompt for itself."""
    return Usage(
        input_tokens=prompt.input_tokens,
        output_tokens=prompt.output_tokens + usage.output_tokens,
        cached_input_tokens=prompt.cached_input_tokens,
        reasoning_tokens=prompt.reasoning_tokens + usage.reasoning_tokens,
        calls=prompt.calls,
        cache_write_tokens=prompt.cache_write_tokens,
    )


def total_of(parts: Iterable[ServedUsage]) -> Usage:
    """All tokens and calls together."""
    return total_usage([part.usage for part in parts])


def cost_of(tier: Tier, parts: Sequence[ServedUsage]) -> float | None:
    """Dollars at the list prices of the services; None when one is unknown and anything was bought.

    Example:
        >>> tier = Tier(name="x", model="openai/unheard-of")
        >>> cost_of(tier, []), cost_of(tier, [ServedUsage(Usage(calls=1), "standard")])
        (0.0, None)
    """
    if len(parts) == 1:
        return _cost_at(tier, parts[0].service_tier, parts[0].usage)
    costs = [
        _cost_at(tier, service, total_of([p for p in parts if p.service_tier == service]))
        for service in dict.fromkeys([part.service_tier for part in parts])
    ]
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def _cost_at(tier: Tier, service: ServiceTier, usage: Usage) -> float | None:
    """Dollars at the list price of one service; None when it is unknown and anything was bought."""
    if not usage.calls and usage == NO_USAGE:
        return 0.0
    price = tier.price_of(service)
    return None if price is None else price.of(usage)


def list_cost(tier: Tier, completion: Completion) -> float | None:
    """List price of a completion in dollars; None when it is unknown."""
    return cost_of(tier, usage_if_bought([completion]))


class SplitCost(Struct, frozen=True):
    """What a round of votes costs: once, for its prompt, and for each vote."""

    once: float | None
    each: float | None


def split_cost(tier: Tier, parts: Sequence[ServedUsage], count: int) -> SplitCost:
    """The cost of a round of `count` votes, or of `count` sampled answers, split into prompt and each.

    Where each of them was a call of its own, the prompt is part of what each costs.

    Example:
        >>> from automix_cli.usage import Price
        >>> tier = Tier(name="x", model="openai/x", price=Price(input=1e6, output=1e6))  # a dollar a token
        >>> one_call = [ServedUsage(Usage(input_tokens=4, output_tokens=6, calls=1), "standard")]
        >>> split_cost(tier, one_call, 2)
        SplitCost(once=4.0, each=3.0)
        >>> two_calls = [ServedUsage(Usage(input_tokens=8, output_tokens=6, calls=2), "standard")]
        >>> split_cost(tier, two_calls, 2)
        SplitCost(once=None, each=7.0)
    """
    whole = cost_of(tier, parts) if count else None
    if whole is None:
        return SplitCost(None, None)
    calls = total_of(parts).calls
    if calls >= count:
        return SplitCost(None, whole / count)
    prompts = [replace(part, usage=part.usage.of_prompt()) for part in parts]
    prompt = cost_of(tier, prompts) or 0.0
    return SplitCost(prompt / max(1, calls), (whole - prompt) / count)
