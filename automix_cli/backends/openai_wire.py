"""The OpenAI protocol: a request as a JSON body, and a JSON body as a reply."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from automix_cli.backends.answers import sound_choices
from automix_cli.backends.base import Request
from automix_cli.backends.replies import Choice, Reply, count, read_one_choice, sendable
from automix_cli.backends.usage import TokenCounts
from automix_cli.records import TokenLogprob

_THOUGHTS = re.compile(
    r"<(?:think|thinking|budget:thinking)>.*?</(?:think|thinking|budget:thinking)>", re.DOTALL
)
"""Reasoning that a server left at the head of its text."""

_REASONS: Mapping[str, str] = {
    **{reason: reason for reason in ("stop", "length", "content_filter", "tool_calls", "function_call")},
    **dict.fromkeys(("max_tokens", "model_context_window_exceeded", "model_length", "max_length"), "length"),
    **dict.fromkeys(("refusal", "safety", "recitation", "prohibited_content", "sensitive"), "content_filter"),
    **dict.fromkeys(("blocklist", "spii", "content_filtered", "guardrail_intervened"), "content_filter"),
}
"""Reasons to finish in the words of the protocol: servers in front of other providers pass on theirs."""


def chat_body(request: Request, name: str, params: Mapping[str, Any]) -> bytes:
    """The body of a request for completions."""
    messages = [{"role": m.role, "content": sendable(m.content)} for m in request.messages]
    several = {"n": request.n} if request.n > 1 else {}
    return _encode({"model": name, "messages": messages, **several, **_with_extra(params)})


def embedding_body(request: Request, name: str, params: Mapping[str, Any]) -> bytes:
    """The body of a request for embeddings."""
    return _encode(
        {"model": name, "input": [sendable(m.content) for m in request.messages], **_with_extra(params)}
    )


def _with_extra(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with those of `extra_body` beside them."""
    extra = params.get("extra_body") or {}
    return {k: v for k, v in params.items() if k != "extra_body" and v is not None} | dict(extra)


def _encode(body: Mapping[str, Any]) -> bytes:
    """A body as JSON; what msgspec does not write (half a surrogate pair in a parameter) is replaced."""
    try:
        return _encode_body(body)
    except (TypeError, ValueError):
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


_encode_body = msgspec.json.Encoder().encode


def read_chat(body: Mapping[str, Any]) -> Reply:
    """The reply to a request for completions; what is malformed in it counts as missing."""
    choices = tuple(read_choice(choice) for choice in sound_choices(body.get("choices")))
    counts = read_counts(body.get("usage"))
    if (timings := body.get("timings")) is not None:
        counts = replace(counts, one_choice=read_one_choice(timings))
    return Reply(choices, counts, service_tier=body.get("service_tier"))


def read_choice(choice: Mapping[str, Any]) -> Choice:
    """One choice, without the reasoning that stands before its text.

    Example:
        >>> read_choice({"message": {"content": "<think>2 + 2</think>4"}, "finish_reason": "stop"}).text
        '4'
    """
    message = choice["message"]
    text = message_text(message.get("content"))
    if text and not {"reasoning_content", "reasoning"} & message.keys():
        text = text[match.end() :] if (match := _THOUGHTS.match(text)) else text
    return Choice(text, finish_reason(choice.get("finish_reason")), read_logprobs(choice.get("logprobs")))


def message_text(content: Any) -> str | None:
    """The text of a message, whether it came whole or in parts; None where there is none.

    Example:
        >>> message_text([{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}])
        '4'
    """
    if isinstance(content, list):
        parts = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        return "".join(part for part in parts if isinstance(part, str)) or None
    return content if isinstance(content, str) else None


def finish_reason(reason: Any) -> str:
    """Why a completion ended, in the words of the protocol.

    Example:
        >>> finish_reason("MAX_TOKENS"), finish_reason("eos"), finish_reason(None)
        ('length', 'stop', 'stop')
    """
    return _REASONS.get(str(reason).lower(), "stop")


_MAIN_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def read_counts(usage: Any) -> TokenCounts:
    """The token counts; of a usage whose main counts are no whole numbers none is believed."""
    if not isinstance(usage, dict) or not usage:
        return TokenCounts()
    # A count that is left out is 0 rather than unknown: some servers leave out the zeros.
    prompt, output = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    total = usage.get("total_tokens", 0)
    if not (_whole(prompt) and _whole(output) and _whole(total)):
        return TokenCounts()
    if usage.keys() <= _MAIN_COUNTS:
        return TokenCounts(count(prompt), count(output), count(total))
    inputs = _mapping(usage.get("prompt_tokens_details"))
    outputs = _mapping(usage.get("completion_tokens_details"))
    hits = count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek's name
    cached_tokens = count(inputs.get("cached_tokens")) if hits is None else hits
    reasoning = outputs.get("reasoning_tokens") or usage.get("reasoning_tokens")
    return TokenCounts(
        count(prompt),
        count(output),
        count(total),
        cached_tokens=cached_tokens,
        reasoning=count(reasoning),
        written_tokens=count(inputs.get("cache_write_tokens")),
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_logprobs(block: Any) -> tuple[TokenLogprob, ...]:
    """Log-probabilities of a choice's tokens; none when the server sent none, or nonsense."""
    content = block.get("content") if isinstance(block, dict) else None
    try:
        return tuple(
            TokenLogprob(
                str(t["token"]),
                float(t["logprob"]),
                tuple((str(o["token"]), float(o["logprob"])) for o in t.get("top_logprobs") or ()),
            )
            for t in content or ()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def read_embedding(body: Mapping[str, Any]) -> Reply:
    """The reply to a request for an embedding."""
    rows = body.get("data")
    row = rows[0] if isinstance(rows, list) and rows else None
    return Reply((), read_counts(body.get("usage")), _mapping(row).get("embedding"))
