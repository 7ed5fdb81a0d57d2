"""The requests that a profile sends: for answers, for votes on them, for embeddings of questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.embedding import MOST_BYTES
from automix_cli.pomdp.signals import signal_facts
from automix_cli.profile.model import Profile, Tier, VerificationSettings
from automix_cli.records import Json, Message, Question
from automix_cli.texts import json_encoder

_encode = json_encoder(json.JSONEncoder())

TOP_LOGPROBS = 5  # what every server that gives log-probabilities is willing to give
MAX_TOKENS = 1024  # of a tier whose profile sets none: every call needs a bound that a budget can count on


def input_sha(question: Question, *others: Json, question_class: Json = None) -> str:
    """A short hash of everything in a row that its result depends on: the question, its class and `others`.

    Example:
        >>> input_sha(Question(text="2 + 2?", id=1)) == input_sha(Question(text="2 + 2?", id=2))
        True
    """
    parts = [question.text, question.context, question.choices, question.history, *others]
    if question_class is not None:
        parts.append({"class": question_class})
    return hashlib.sha256(_encode(parts).encode()).hexdigest()[:12]


class SampleCounts(NamedTuple):
    """How many answers are sampled of a tier that is asked, and how many votes one answer may get."""

    answers: int
    votes: int


def sample_counts(profile: Profile, tier: int) -> SampleCounts:
    """What one visit of a tier buys at most; answers of the last tier are rarely verified.

    Example:
        >>> from automix_cli.profile.search import profile_of_models
        >>> profile = profile_of_models(["demo/small", "demo/large"])
        >>> sample_counts(profile, 1)
        SampleCounts(answers=1, votes=0)
    """
    v = profile.verification
    if not is_verified(profile, tier):
        return SampleCounts(1, 0)
    facts = signal_facts(v.signal, v.logprob_of)
    return SampleCounts(v.max_votes if facts.of_samples else 1, facts.max_votes(v.max_votes))


def is_verified(profile: Profile, tier: int) -> bool:
    """Whether answers of this tier get a signal: all but the last one's do."""
    return tier < len(profile.tiers) - 1 or profile.verification.last_tier


class BuiltRequest(NamedTuple):
    """A request, and whether its context had to be cut to fit the tier's window."""

    request: Request
    cut: bool


def sampling(verification: VerificationSettings) -> dict[str, Any]:
    """The parameters that make samples of one prompt differ, which nothing but votes need.

    More and more hosted models refuse a temperature: `temperature: null` leaves it to the provider.

    Example:
        >>> sampling(VerificationSettings())
        {'temperature': 1.0}
    """
    return {} if verification.temperature is None else {"temperature": verification.temperature}


THINKING_TOKENS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""Tokens to think with that LiteLLM makes of `reasoning_effort` for Claude."""


def with_room_to_think(params: dict[str, Any], tier: Tier) -> dict[str, Any]:
    """The parameters, with `max_tokens` for the answer on top of what Claude may think with.

    Claude counts its thoughts as output, and refuses a budget for them that is not below `max_tokens`.

    Example:
        >>> tier = Tier(name="a", model="anthropic/claude-haiku-4-5")
        >>> with_room_to_think({"max_tokens": 1024, "reasoning_effort": "low"}, tier)["max_tokens"]
        2048
    """
    thinking = params.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if budget is None and "claude" in tier.model:
        budget = THINKING_TOKENS.get(str(params.get("reasoning_effort")))
    if not isinstance(budget, int) or params["max_tokens"] > budget:
        return params
    return {**params, "max_tokens": params["max_tokens"] + budget}


class RequestBuilder(Struct, frozen=True):
    """Builds the requests that one profile sends: for answers, and for votes on them."""

    profile: Profile

    def for_answer(self, question: Question, tier: Tier, *, n: int = 1) -> BuiltRequest:
        """The request for `n` answers."""
        verification = self.profile.verification
        params = with_room_to_think({"max_tokens": MAX_TOKENS, **dict(tier.params)}, tier)
        if verification.signal == "consistency" and n > 1:
            params |= sampling(verification)
        if verification.signal == "logprob" and verification.logprob_of == "answer":
            params["logprobs"] = True
        instruction = self.profile.task.instruction
        return self._fit(lambda q: prompts.answer_messages(q, instruction), question, tier, params, n, 0)

    def for_votes(self, question: Question, answer: str, tier: Tier, *, first: int, n: int) -> BuiltRequest:
        """The request for votes number `first` … `first + n - 1`."""
        verification = self.profile.verification
        own = with_room_to_think({"max_tokens": MAX_TOKENS, **dict(tier.params)}, tier)
        # A tier that needs room to reason before it answers needs it to verify as well.
        params = {**own, "max_tokens": max(int(own["max_tokens"]), verification.max_tokens)}
        if verification.signal == "logprob":
            params |= {"temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        else:
            params |= sampling(verification)
        return self._fit(
            lambda q: prompts.verification_messages(q, answer, verification.examples),
            *(question, tier, params, n, first),
        )

    def _fit(
        self,
        build: Callable[[Question], tuple[Message, ...]],
        question: Question,
        tier: Tier,
        params: dict[str, Any],
        n: int,
        first: int,
    ) -> BuiltRequest:
        """The request with as much of the context as the tier's window holds."""
        window = tier.context_window()
        room = None if window is None else max(1, window - int(params["max_tokens"]))
        messages, cut = prompts.fit_window(build, question, room)
        request = Request(
            model=tier.model,
            messages=messages,
            params=tuple(sorted(params.items())),
            n=n,
            first=first,
            api_base=tier.api_base,
            api_key_env=tier.api_key_env,
            timeout=self.profile.limits.timeout,
            backend=tier.backend,
            service_tier=tier.service_tier,
        )
        return BuiltRequest(request, cut)


def embedding_request(text: str, tier: Tier, timeout: float) -> Request:
    """The request for the embedding of a question; of a very long one its beginning counts."""
    head = text.encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")
    return Request(
        model=tier.model,
        messages=(Message("user", head),),
        params=tier.params,
        api_base=tier.api_base,
        api_key_env=tier.api_key_env,
        timeout=timeout,
        embeds=True,
        backend=tier.backend,
    )


def estimated_tokens(profile: Profile, question: Question) -> float:
    """Prompt tokens of a question, before any call."""
    return float(prompts.estimate_tokens(prompts.answer_messages(question, profile.task.instruction)))
