"""Reading LiteLLM's replies, whose fields are attributes of its own objects."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from automix_cli.backends.replies import Choice, Reply, count, read_one_choice
from automix_cli.backends.usage import TokenCounts
from automix_cli.records import TokenLogprob


def read_completions(response: Any) -> Reply:
    """What LiteLLM returned for a completion; an attribute that it always has may not be missing."""
    choices = tuple(read_choice(choice) for choice in response.choices)
    one_choice = read_one_choice(getattr(response, "timings", None))
    counts = replace(read_counts(response), one_choice=one_choice)
    return Reply(choices, counts, service_tier=getattr(response, "service_tier", None))


def read_embedding(response: Any) -> Reply:
    """What LiteLLM returned for an embedding."""
    rows = getattr(response, "data", None) or [{}]
    vector = rows[0].get("embedding") if isinstance(rows[0], dict) else None
    return Reply((), read_counts(response), vector)


def read_choice(choice: Any) -> Choice:
    """One choice."""
    content = choice.message.content
    text = content if isinstance(content, str) else None
    return Choice(text, str(choice.finish_reason or "stop"), read_logprobs(choice))


def read_counts(response: Any) -> TokenCounts:
    """The token counts."""
    usage = getattr(response, "usage", None)
    prompt, output, total = (
        count(getattr(usage, name, None)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    inputs = getattr(usage, "prompt_tokens_details", None)
    outputs = getattr(usage, "completion_tokens_details", None)
    return TokenCounts(
        prompt,
        output,
        total,
        cached_tokens=count(getattr(inputs, "cached_tokens", None)),
        reasoning=count(getattr(outputs, "reasoning_tokens", None)),
        written_tokens=count(
            getattr(inputs, "cache_write_tokens", None) or getattr(usage, "cache_creation_input_tokens", None)
        ),
    )


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
