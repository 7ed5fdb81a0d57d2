"""From a server's reply to completions, alike for every client: texts, shares of the usage, flags.

Each client reads its own form of a reply into a `Reply`; what counts as an answer, and how a
doubtful count is treated, is decided here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from automix_cli.backends.base import Request
from automix_cli.backends.embedding import flaw, pack_vector
from automix_cli.backends.usage import (
    TokenCounts,
    count_all_choices,
    estimate,
    is_prompt_cut,
    prompt_text,
    split_usage,
    usage_of,
)
from automix_cli.errors import BackendError, BadResponse, ContentFiltered, NoText, without_secrets
from automix_cli.records import Completion, ServiceTier, TokenLogprob
from automix_cli.texts import is_blank
from automix_cli.usage import Usage

MANY_TOKENS = 10_000_000
"""More than any request can use: counts beyond it are a mistake."""
_SERVICE_TIERS: Mapping[str, ServiceTier] = {
    "flex": "flex",
    "priority": "priority",
    **dict.fromkeys(("default", "standard", "on_demand"), "standard"),
}


class Choice(Struct, frozen=True):
    """One of the completions of a reply; `text` is None where there is none."""

    text: str | None
    finish_reason: str = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()


class Reply(Struct, frozen=True):
    """A server's reply: the choices of a completion, or the vector of an embedding.

    `service_tier` is what the server calls the service that it gave.
    """

    choices: tuple[Choice, ...]
    counts: TokenCounts
    vector: Any = None
    service_tier: Any = None


_LASTING_ENDS = ("length", "content_filter")
"""Reasons to end that a model without text would have again."""


def completions_of(
    reply: Reply, request: Request, latency_s: float, *, shares_prompt: bool = False
) -> tuple[Completion, ...]:
    """The completions of a reply, each with its share of the usage.

    Blank and filtered choices are left out; their cost is shared by the others. `shares_prompt` tells
    whether the server gives several completions for one prompt.

    Raises:
        ContentFiltered: nothing but refusals by the provider's filter.
        NoText: no choice with any text.
    """
    choices = reply.choices[: request.n]
    usable = [c for c in choices if has_text(c)]
    if not usable:
        error = empty_reply_error(choices, request)
        error.reply = unusable_reply(reply, request, latency_s)
        # A reply that is broken and not even charged says nothing of the next one.
        is_counted = bool(reply.counts.prompt) and reply.counts.output is not None
        error.lasts = is_counted or any(
            c.text is not None or c.finish_reason in _LASTING_ENDS for c in choices
        )
        raise error
    texts = [str(c.text) for c in usable]
    correction = count_all_choices(reply.counts, texts, [len(c.logprobs) for c in usable])
    usage, suspect = usage_of(correction or reply.counts, request, texts)
    flags = {
        "usage_suspect": suspect,
        "usage_corrected": correction is not None,
        "context_cut_by_server": is_prompt_cut(reply.counts, request),
    }
    prompt = usage.of_prompt() if shares_prompt else None
    service_tier = service_tier_of(reply.service_tier, request)
    return tuple(
        Completion(
            text=without_secrets(sendable(text)),  # a server may repeat what it was sent
            usage=share,
            finish_reason=choice.finish_reason,
            latency_s=latency_s,
            logprobs=choice.logprobs,
            prompt=prompt,
            service_tier=service_tier,
            flags=flags_of({"truncated": choice.finish_reason == "length", **flags}),
        )
        for choice, text, share in zip(usable, texts, split_usage(usage, len(usable), texts), strict=True)
    )


def service_tier_of(name: Any, request: Request) -> ServiceTier:
    """The service that a reply was given by: as the server says, else as it was asked for.

    Example:
        >>> flex = Request(model="m", messages=(), service_tier="flex")
        >>> service_tier_of("default", flex), service_tier_of("flex", flex), service_tier_of(None, flex)
        ('standard', 'flex', 'flex')
    """
    wish = request.service_tier or "standard"
    return _SERVICE_TIERS.get(name.lower(), wish) if isinstance(name, str) else wish


def embedding_of(reply: Reply, request: Request, width: int | None, latency_s: float) -> Completion:
    """The vector of a reply as a completion; `width` is how long it must be, None for any length.

    Raises:
        BadResponse: no vector, or a wrong one.
    """
    problem = flaw(reply.vector)
    if problem:
        raise BadResponse(f"{request.model}: the embedding {problem}", maybe_billed=True)
    if width is not None and len(reply.vector) != width:
        message = f"{request.model}: an embedding of {len(reply.vector)} numbers instead of {width}"
        raise BadResponse(message, maybe_billed=True)
    prompt = reply.counts.prompt or reply.counts.total
    return Completion(
        text=pack_vector(reply.vector),
        usage=Usage(input_tokens=prompt or estimate(prompt_text(request)), calls=1),
        latency_s=latency_s,
        flags=() if prompt else ("usage_suspect",),
    )


def has_text(choice: Choice) -> bool:
    """Whether a choice has text that the provider did not filter."""
    is_filtered = choice.finish_reason == "content_filter"
    return choice.text is not None and not is_blank(choice.text) and not is_filtered


def empty_reply_error(choices: tuple[Choice, ...], request: Request) -> BackendError:
    """The error of a reply without a usable choice; it is billed all the same."""
    reasons, model = {choice.finish_reason for choice in choices}, request.model
    if "content_filter" in reasons:
        return ContentFiltered(f"{model}: the provider's filter withheld the answer", maybe_billed=True)
    if "length" in reasons:  # a reasoning model that spent all tokens on reasoning would do so again
        advice = "raise params: {max_tokens: …} of this tier"
        error = NoText(f"{model} used up max_tokens before it said anything", hint=advice, maybe_billed=True)
        error.retries = 0
        return error
    error = NoText(f"{model} returned no text", maybe_billed=True)
    if choices and all(c.finish_reason == "stop" and c.text is not None for c in choices):
        error.retries = 0  # it ended of itself: blank is what the model says, and it is paid for
    return error


def unusable_reply(reply: Reply, request: Request, latency_s: float) -> Completion:
    """A completion without text, for what a reply without a usable choice costs."""
    usage, suspect = usage_of(reply.counts, request, [])
    return Completion(
        text="",
        usage=usage,
        latency_s=latency_s,
        service_tier=service_tier_of(reply.service_tier, request),
        flags=flags_of({"usage_suspect": suspect}),
    )


def flags_of(flags: Mapping[str, bool]) -> tuple[str, ...]:
    """The names of the flags that apply.

    Example:
        >>> flags_of({"truncated": False, "usage_suspect": True})
        ('usage_suspect',)
    """
    return tuple(name for name, applies in flags.items() if applies)


def count(value: Any) -> int | None:
    """A token count, None when it is missing or impossible.

    Example:
        >>> count(3), count(-1), count(True), count("3")
        (3, None, None, None)
    """
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MANY_TOKENS
    return value if sound else None


def read_one_choice(timings: Any) -> int | None:
    """How many tokens llama.cpp generated for one choice, from the `timings` of its reply; None of others.

    Example:
        >>> read_one_choice({"prompt_n": 14, "predicted_n": 12, "predicted_ms": 4.4}), read_one_choice(None)
        (12, None)
    """
    return count(timings.get("predicted_n")) if isinstance(timings, dict) else None


def sendable(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs, which JSON lets in, become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
