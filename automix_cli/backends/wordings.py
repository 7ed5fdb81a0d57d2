"""What providers say when they refuse, and what each wording means: the one table.

Providers word one and the same refusal in many ways, and send it with various statuses, so the words
decide before the status does. A new wording is one more row. The rows are read from the top, and the
first that fits decides: what ends the run before what passes, and that before what one prompt did.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NamedTuple

from automix_cli.errors import (
    BackendError,
    ContentFiltered,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    Unauthorised,
    UnknownModel,
)

# ---------------------------------------------------------------- the table


class Wording(NamedTuple):
    """A wording and its meaning; one that is not `certain` counts only with a 4xx other than 429.

    A server that is overloaded or broken may use the words of an uncertain one for its own troubles.
    """

    kind: type[BackendError]
    pattern: re.Pattern[str]
    certain: bool = True


def _says(kind: type[BackendError], pattern: str, *, certain: bool = True) -> Wording:
    return Wording(kind, re.compile(pattern, re.IGNORECASE), certain)


WORDINGS: tuple[Wording, ...] = (
    # A quota of a day, or of nothing at all, is final; a quota of a minute is a rate.
    _says(QuotaExhausted, r"quota_?id\W.{0,80}per_?day|\blimit: 0(?!\.?\d)"),  # Gemini
    _says(QuotaExhausted, r"free-models-per-day"),  # OpenRouter
    _says(QuotaExhausted, r"limited to \d+ api calls ?/ ?month"),  # Cohere's trial keys
    _says(
        RateLimited,
        r"exceeded your current quota(?s:.){0,4000}"
        r"(per_?minute|per_?second|retry_?delay|retry in \d)",  # Gemini
    ),
    _says(QuotaExhausted, r"insufficient_quota|exceeded your current quota|billing_(hard_limit|not_active)"),
    _says(QuotaExhausted, r"budget_exceeded|budget has been exceeded|ExceededBudget"),  # LiteLLM's proxy
    _says(QuotaExhausted, r"credit balance is too low"),  # Anthropic
    _says(QuotaExhausted, r"insufficient[ _](credits?|balance|funds)|payment required"),
    _says(QuotaExhausted, r"(requires more|out of|used all (available|your)) credits"),  # OpenRouter, xAI
    _says(QuotaExhausted, r"exceeded your monthly included credits"),  # Hugging Face
    _says(QuotaExhausted, r"(monthly|your) spending limit|credit limit exceeded"),  # xAI, Fireworks, Together
    # A prompt that exceeds what a minute allows is refused as a rate, and never fits.
    _says(ContextTooLong, r"request too large for (model|\w+[-.\w]* in organization)"),  # OpenAI, Groq
    _says(RateLimited, r"too many tokens, please wait|throttl(ing|ed)|too many requests"),  # Bedrock
    _says(RateLimited, r"rate[ _-]?limit(s|ed)?[ _](exceeded|reached|error)"),
    # The prompt does not fit.
    _says(ContextTooLong, r"context_(length|window)_exceeded|exceed_context_size_error"),  # OpenAI, llama.cpp
    _says(ContextTooLong, r"ContextWindowExceeded"),  # LiteLLM's proxy
    _says(ContextTooLong, r"maximum context( length|$)|exceeds? (the )?context (limit|length|window|size)"),
    _says(ContextTooLong, r"exceeds the available context size"),  # llama.cpp
    _says(ContextTooLong, r"(prompt|input) is too long|(input|prompt) too long"),  # Anthropic, Bedrock, AI21
    _says(ContextTooLong, r"maximum (prompt|input) length|maximum model length"),  # xAI, vLLM
    _says(ContextTooLong, r"longer than (the|this) (maximum|model)('s)? (model |context )?length"),  # SGLang
    _says(
        ContextTooLong, r"`?inputs`? (tokens \+ `?max_new_tokens`? must|must have less than)"
    ),  # TGI, Together
    _says(ContextTooLong, r"current length is \S+ while limit is"),  # Cerebras
    _says(ContextTooLong, r"total tokens? limit"),  # watsonx
    _says(ContextTooLong, r"maximum number of (input )?tokens allowed|input tokens exceed"),  # Gemini
    _says(ContextTooLong, r"too many tokens: |tokens_limit_reached"),  # Cohere, GitHub
    _says(ContextTooLong, r"tokens to keep from the initial prompt|context the overflows"),  # LM Studio
    _says(ContextTooLong, r"reduce the length of the (messages|prompt|input)"),  # Groq, OpenAI
    _says(ContextTooLong, r"context (length|window)|too many tokens", certain=False),
    _says(ContextTooLong, r"exceeds? the (model|maximum).{0,20}(tokens|length)", certain=False),
    # A filter withheld prompt or answer.
    _says(
        ContentFiltered, r"content_policy_violation|ResponsibleAIPolicyViolation|content management policy"
    ),
    _says(
        ContentFiltered, r"data_inspection_failed|content exists risk|PROHIBITED_CONTENT"
    ),  # Qwen, DeepSeek
    _says(
        ContentFiltered, r"violates (our )?usage (guidelines|polic)|violating our usage polic"
    ),  # xAI, OpenAI
    _says(ContentFiltered, r"blocked by (our )?content filter|content filtering policy"),  # Anthropic
    _says(ContentFiltered, r"content_policy|content_filter|safety system|responsible ?ai", certain=False),
    _says(ContentFiltered, r"moderation|was flagged|guardrail", certain=False),
    # The key is refused, also where the status says something else.
    _says(Unauthorised, r"API_KEY_INVALID|api key (not valid|not found|expired)|invalid_api_key"),  # Gemini
    _says(Unauthorised, r"(incorrect|invalid|missing) api[ _-]key|api[ _-]key is (invalid|missing)"),  # xAI
    _says(Unauthorised, r"authentication_error|AuthenticationError|token_not_found_in_db"),  # LiteLLM's proxy
    _says(Unauthorised, r"no_db_connection", certain=False),  # LiteLLM's proxy where it keeps no keys
    # There is no such model.
    _says(UnknownModel, r"model_not_found|invalid model name passed in|DeploymentNotFound"),  # LiteLLM, Azure
    _says(UnknownModel, r"model\b.{0,120} not found, try pulling it"),  # Ollama
    _says(UnknownModel, r"model\b.{0,120}(does not|not) exist|is not a valid model", certain=False),
    _says(UnknownModel, r"(unknown|invalid) model\b|model identifier is invalid", certain=False),
    _says(UnknownModel, r"not have access to (the )?model|unable to access model", certain=False),
)


def meaning_of(text: str, status: int) -> type[BackendError] | None:
    """The class of error that the words of a refusal mean; None where they say nothing known.

    Example:
        >>> meaning_of("prompt is too long: 200001 tokens > 200000 maximum", 400).__name__
        'ContextTooLong'
        >>> meaning_of("moderation service is down", 503) is None
        True
    """
    doubtful = status >= 500 or status == 429 or status < 400
    for wording in WORDINGS:
        if (wording.certain or not doubtful) and wording.pattern.search(text):
            return wording.kind
    return ContextTooLong if _litellm_says_context(text) else None


def _litellm_says_context(text: str) -> bool:
    """A second opinion, from LiteLLM's own list of wordings where LiteLLM is loaded anyway."""
    mapping = sys.modules.get("litellm.litellm_core_utils.exception_mapping_utils")
    check = getattr(getattr(mapping, "ExceptionCheckers", None), "is_error_str_context_window_exceeded", None)
    return callable(check) and bool(check(text))


# ---------------------------------------------------------------- the words of an error body

_ECHOES = frozenset({"input", "failed_generation", "prompt", "messages", "request", "query", "headers"})
"""Fields in which servers send back what they were sent: the words of a prompt mean nothing."""

_ECHO_IN_TEXT = re.compile(r"""['"](?:input|prompt|messages)['"]: ?['"\[{].*""", re.DOTALL)
_MOST = 20_000
_DEEP = 8


def words_of(body: bytes | str) -> str:
    r"""All that an error body says, one field a line, without what it repeats of the request.

    A page of HTML says nothing: it comes from a proxy on the way, not from the provider.

    Example:
        >>> words_of('[{"error": {"code": 429, "details": [{"retryDelay": "26s"}], "input": "hi"}}]')
        'code: 429\nretryDelay: 26s'
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = "" if text.lstrip().startswith("<") else text
    lines: list[str] = []
    _collect(value, "", lines, _DEEP)
    return "\n".join(lines)[:_MOST]


def _collect(value: Any, name: str, lines: list[str], depth: int) -> None:
    """Add the fields of a value to `lines`; what lies deeper than any server nests is left out."""
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            if key not in _ECHOES:
                _collect(inner, str(key), lines, depth - 1)
    elif isinstance(value, list) and depth:
        for inner in value:
            _collect(inner, name, lines, depth - 1)
    elif isinstance(value, str | int | float):
        text = _ECHO_IN_TEXT.sub("", str(value)[:_MOST])
        lines.append(f"{name}: {text}" if name else text)
