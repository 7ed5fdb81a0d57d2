"""From a server's reply to completions, alike for every client: texts, shares of the usage, flags.

Each client reads its own form of a reply into a `Reply`; what counts as an answer, and how a
doubtful count is treated, is decided here once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.budget import most_prompt_tokens
from automix_cli.backends.embedding import flaw, pack_vector
from automix_cli.errors import BackendError, BadResponse, ContentFiltered, NoText, without_secrets
from automix_cli.records import Completion, TokenLogprob, Usage
from automix_cli.texts import is_blank

MANY_TOKENS = 10_000_000
"""More than any request can use: counts beyond it are a mistake."""

_TOKEN_BYTES = 4


class TokenCounts(NamedTuple):
    """The token counts of a reply; None for one that is missing or impossible."""

    prompt: int | None = None
    output: int | None = None
    total: int | None = None
    cached_tokens: int | None = None
    reasoning: int | None = None


class Choice(NamedTuple):
    """One of the completions of a reply; `text` is None where there is none."""

    text: str | None
    finish_reason: str = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()


class Reply(NamedTuple):
    """A server's reply: the choices of a completion, or the vector of an embedding."""

    choices: tuple[Choice, ...]
    counts: TokenCounts
    vector: Any = None


def completions_of(reply: Reply, request: Request, latency_s: float) -> tuple[Completion, ...]:
    """The completions of a reply, each with its share of the usage.

    Blank and filtered choices are left out; their cost is shared by the others.

    Raises:
        ContentFiltered: nothing but refusals by the provider's filter.
        NoText: no choice with any text.
    """
    choices = reply.choices[: request.n]
    usable = [c for c in choices if has_text(c)]
    if not usable:
        error = empty_reply_error(choices, request)
        error.reply = unusable_reply(reply, request, latency_s)
        raise error
    texts = [str(c.text) for c in usable]
    usage, suspect = usage_of(reply.counts, request, texts)
    return tuple(
        Completion(
            text=without_secrets(sendable(text)),  # a server may repeat what it was sent
            usage=share,
            finish_reason=choice.finish_reason,
            latency_s=latency_s,
            logprobs=choice.logprobs,
            flags=flags_of(choice, suspect),
        )
        for choice, text, share in zip(usable, texts, split_usage(usage, len(usable)), strict=True)
    )


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
    return NoText(f"{model} returned no text", maybe_billed=True)


def unusable_reply(reply: Reply, request: Request, latency_s: float) -> Completion:
    """A completion without text, for what a reply without a usable choice costs."""
    usage, suspect = usage_of(reply.counts, request, [])
    return Completion(text="", usage=usage, latency_s=latency_s, flags=("usage_suspect",) if suspect else ())


def flags_of(choice: Choice, suspect: bool) -> tuple[str, ...]:
    """The flags of a completion: cut off, or with doubtful usage."""
    flags = {"truncated": choice.finish_reason == "length", "usage_suspect": suspect}
    return tuple(name for name, applies in flags.items() if applies)


def usage_of(counts: TokenCounts, request: Request, texts: list[str]) -> tuple[Usage, bool]:
    """The usage of a request, and whether its counts are doubtful.

    Missing and impossible counts are replaced by an estimate. If the total exceeds the other
    counts by exactly the reasoning tokens, these are added to the output, as they are billed.
    Counts beyond what was sent and allowed are doubtful, and stand: they may be on the bill.
    """
    prompt, output, total = counts.prompt, counts.output, counts.total
    cached_tokens, reasoning = counts.cached_tokens or 0, counts.reasoning or 0
    if (
        prompt is not None
        and output is not None
        and total
        and reasoning
        and total == prompt + output + reasoning
    ):
        output += reasoning
    suspect = (
        not prompt
        or output is None
        or cached_tokens > prompt
        or reasoning > output
        or total not in (prompt + output, 0)
    )
    if not prompt or output is None:
        prompt, output = prompt or estimate(prompt_text(request)), output or estimate("\n".join(texts))
    if not output:
        output, suspect = estimate("\n".join(texts)), True
    suspect = suspect or prompt > request.n * most_prompt_tokens(request)
    if "max_tokens" in request.param:
        suspect = suspect or output > request.n * request.max_tokens
    usage = Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_input_tokens=min(cached_tokens, prompt),
        reasoning_tokens=min(reasoning, output),
        calls=1,
    )
    return usage, suspect


def split_usage(usage: Usage, k: int) -> Iterator[Usage]:
    """`usage` in k parts that add up to it: whole numbers, the remainder to the first, the call too.

    Example:
        >>> [u.output_tokens for u in split_usage(Usage(output_tokens=8, calls=1), 3)]
        [3, 3, 2]
    """
    for i in range(k):
        yield Usage(**{name: n // k + (i < n % k) for name, n in usage.to_dict().items()})


def count(value: Any) -> int | None:
    """A token count, None when it is missing or impossible.

    Example:
        >>> count(3), count(-1), count(True), count("3")
        (3, None, None, None)
    """
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MANY_TOKENS
    return value if sound else None


def prompt_text(request: Request) -> str:
    """All that was sent, as one text."""
    return "\n".join(m.content for m in request.messages)


def estimate(text: str) -> int:
    """About how many tokens a text has, where nobody counted them: one per four bytes, at least one.

    Example:
        >>> estimate("What is 17 * 23?")
        4
    """
    return max(1, math.ceil(len(text.encode("utf-8", "replace")) / _TOKEN_BYTES))


def sendable(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs, which JSON lets in, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
