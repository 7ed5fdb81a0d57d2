"""Reading LiteLLM's replies: texts, usage, log-probabilities and embeddings, each checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automix_cli.backends.base import Request
from automix_cli.backends.litellm_library import load_litellm
from automix_cli.errors import BackendError, ContentFiltered, NoText, without_secrets
from automix_cli.records import Completion, TokenLogprob, Usage

MANY_TOKENS = 10_000_000
"""More than any request can use: counts beyond it are a mistake."""


def read_response(response: Any, request: Request, latency_s: float) -> tuple[Completion, ...]:
    """The completions of a reply, each with its share of the usage.

    Blank and filtered choices are left out; their cost is shared by the others.

    Raises:
        ContentFiltered: nothing but refusals by the provider's filter.
        NoText: no choice with any text.
    """
    choices = list(response.choices)[: request.n]
    usable = [c for c in choices if has_text(c)]
    if not usable:
        error = empty_reply_error(choices, request)
        error.reply = unusable_reply(response, request, latency_s)
        raise error
    usage, suspect = read_usage(response, request, [str(c.message.content) for c in usable])
    return tuple(
        Completion(
            text=without_secrets(sendable(choice.message.content)),  # a server may repeat what it was sent
            usage=share,
            finish_reason=str(choice.finish_reason or "stop"),
            latency_s=latency_s,
            logprobs=read_logprobs(choice),
            flags=flags_of(choice, suspect),
        )
        for choice, share in zip(usable, split_usage(usage, len(usable)), strict=True)
    )


def has_text(choice: Any) -> bool:
    """Whether a choice has text that the provider did not filter."""
    content = choice.message.content
    return isinstance(content, str) and bool(content.strip()) and choice.finish_reason != "content_filter"


def empty_reply_error(choices: list[Any], request: Request) -> BackendError:
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


def unusable_reply(response: Any, request: Request, latency_s: float) -> Completion:
    """A completion without text, for what a reply without a usable choice costs."""
    usage, suspect = read_usage(response, request, [])
    return Completion(text="", usage=usage, latency_s=latency_s, flags=("usage_suspect",) if suspect else ())


def flags_of(choice: Any, suspect: bool) -> tuple[str, ...]:
    """The flags of a completion: cut off, or with doubtful usage."""
    flags = {"truncated": choice.finish_reason == "length", "usage_suspect": suspect}
    return tuple(name for name, applies in flags.items() if applies)


def read_usage(response: Any, request: Request, texts: list[str]) -> tuple[Usage, bool]:
    """The usage of a request, and whether its counts are doubtful.

    Missing and impossible counts are replaced by an estimate. If the total exceeds the other
    counts by exactly the reasoning tokens, these are added to the output, as they are billed.
    """
    counts = getattr(response, "usage", None)
    prompt, output, total = (
        count(counts, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    cached_tokens = count(getattr(counts, "prompt_tokens_details", None), "cached_tokens") or 0
    reasoning = count(getattr(counts, "completion_tokens_details", None), "reasoning_tokens") or 0
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
    usage = Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_input_tokens=min(cached_tokens, prompt),
        reasoning_tokens=min(reasoning, output),
        calls=1,
    )
    return usage, suspect


def read_embedding_usage(response: Any, request: Request) -> tuple[Usage, bool]:
    """The usage of an embedding, and whether it had to be estimated; nothing is written for it."""
    counts = getattr(response, "usage", None)
    prompt = count(counts, "prompt_tokens") or count(counts, "total_tokens")
    return Usage(input_tokens=prompt or estimate(prompt_text(request)), calls=1), not prompt


def count(holder: Any, name: str) -> int | None:
    """A token count, None when it is missing or impossible."""
    value = getattr(holder, name, None)
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MANY_TOKENS
    return value if sound else None


def prompt_text(request: Request) -> str:
    """All that was sent, as one text."""
    return "\n".join(m.content for m in request.messages)


def estimate(text: str) -> int:
    """About how many tokens a text has, by LiteLLM's counter; at least one."""
    return max(1, int(load_litellm().token_counter(model="gpt-4o", text=sendable(text))))


def split_usage(usage: Usage, k: int) -> Iterator[Usage]:
    """`usage` in k parts that add up to it: whole numbers, the remainder to the first, the call too.

    Example:
        >>> [u.output_tokens for u in split_usage(Usage(output_tokens=8, calls=1), 3)]
        [3, 3, 2]
    """
    for i in range(k):
        yield Usage(**{name: n // k + (i < n % k) for name, n in usage.to_dict().items()})


def read_logprobs(choice: Any) -> tuple[TokenLogprob, ...]:
    """Log-probabilities of a choice's tokens; none when the server sent none, or nonsense."""
    content = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    try:
        return tuple(TokenLogprob(t.token, float(t.logprob), alternatives(t)) for t in content)
    except (AttributeError, TypeError, ValueError):
        return ()


def alternatives(token: Any) -> tuple[tuple[str, float], ...]:
    """The likeliest tokens in a token's place."""
    return tuple((other.token, float(other.logprob)) for other in token.top_logprobs or ())


def sendable(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs, which JSON lets in, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
