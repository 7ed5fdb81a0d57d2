"""What providers say when they refuse, and what each wording means: the one table.

Providers word one and the same refusal in many ways, and send it with various statuses, so the words
decide before the status does. A new wording is one more row. The rows are read from the top, and the
first that fits decides: what ends the run before what passes, and that before what one prompt did.
What ends the run needs more than a sentence where the server itself is in trouble (5xx): a field for
codes, or the name of an exception at the head of the message, must say it.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from automix_cli.backends.echoes import is_echo, is_echo_field, is_excerpt, without_quotations
from automix_cli.errors import (
    BackendError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    Unauthorised,
    UnknownModel,
)
from automix_cli.texts import lazy_pattern

# ---------------------------------------------------------------- the table


class Wording(NamedTuple):
    """A wording and its meaning; one that is not `certain` counts only with a 4xx other than 429.

    A server that is overloaded or broken may use the words of an uncertain one for its own troubles.
    `advice` says how to mend what the class alone does not explain.
    """

    kind: type[BackendError]
    pattern: re.Pattern[str]
    certain: bool = True
    advice: str = ""

    def fits(self, words: Words, status: int) -> bool:
        """Whether a refusal with this status says it."""
        if self.pattern.search(words.codes) and (self.certain or not _doubtful(status)):
            return True
        if _doubtful(status) and (not self.certain or (self.kind in _FINAL and status != 429)):
            return False
        return any(not is_echo(match, words.texts) for match in self.pattern.finditer(words.prose))


class Words(NamedTuple):
    """What an error body says: its codes and its sentences; `texts` are those of the request."""

    codes: str = ""
    prose: str = ""
    texts: Sequence[str] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.codes}\n{self.prose}".strip()


_FINAL = (QuotaExhausted, Unauthorised, UnknownModel)
"""What ends the run."""


def _doubtful(status: int) -> bool:
    return status >= 500 or status == 429 or status < 400


def _says(kind: type[BackendError], pattern: str, *, certain: bool = True, advice: str = "") -> Wording:
    return Wording(kind, lazy_pattern(pattern, re.IGNORECASE), certain, advice)


WORDINGS: tuple[Wording, ...] = (
    # A setting of the profile, which no other prompt would mend.
    _says(
        BadRequest,
        r"(unknown|unrecogni[sz]ed|unsupported) (request )?(parameter|argument|field)",
        certain=False,
    ),
    _says(
        BadRequest,
        r"max_(completion_|output_|new_)?tokens\b[^.\n]{0,40}\bexceeds? the "
        r"((maximum|model|model's|allowed|number of) )*(completion|output|generat)"
        r"|max_(completion_|output_)?tokens['`]? is too large(?!(?s:.)*context)"
        r"|max_(completion_|output_)?tokens\W{0,3} (must|should) be (at most|less than or equal|no more than)"
        r"|valid range of max_tokens"  # DeepSeek
        r"|maximum allowed number of output tokens",
        certain=False,
        advice="lower params: {max_tokens: …} of this tier",
    ),
    # A quota of a day, or of nothing at all, is final; a quota of a minute is a rate.
    _says(QuotaExhausted, r"quota_?id\W.{0,80}per_?day|\blimit: 0(?=\s*([,;\n]|\.(?!\d)|$))"),  # Gemini
    _says(QuotaExhausted, r"free-models-per-day"),  # OpenRouter
    _says(QuotaExhausted, r"limited to \d+ api calls ?/ ?month"),  # Cohere's trial keys
    _says(
        RateLimited,
        r"exceeded your current quota(?s:.){0,4000}"
        r"(per_?minute|per_?second|retry_?delay|retry in \d)",  # Gemini
    ),
    _says(QuotaExhausted, r"insufficient_quota|exceeded your current quota|billing_(hard_limit|not_active)"),
    _says(
        QuotaExhausted, r"budget_?exceeded|budget has been exceeded|ExceededBudget|crossed budget"
    ),  # LiteLLM's proxy
    _says(
        QuotaExhausted,
        r"\bkey limit exceeded",  # OpenRouter
        advice="raise the limit of this key in the provider's settings, and run the same command again",
    ),
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
    _says(
        ContextTooLong, r"context[-_]?(length|window)[-_]?exceeded|exceed_context_size_error"
    ),  # OpenAI, LiteLLM's proxy, llama.cpp
    _says(ContextTooLong, r"maximum context( length|$)|exceeds? (the )?context (limit|length|window|size)"),
    _says(ContextTooLong, r"exceeds the available context size"),  # llama.cpp
    _says(ContextTooLong, r"(prompt|input) is too long|(input|prompt) too long"),  # Anthropic, Bedrock, AI21
    _says(
        ContextTooLong, r"maximum (prompt|input) length|maximum model length|exceeds? max_model_len"
    ),  # xAI, vLLM
    _says(ContextTooLong, r"longer than (the|this) (maximum|model)('s)? (model |context )?length"),  # SGLang
    _says(
        ContextTooLong, r"`?inputs`? (tokens \+ `?max_new_tokens`? must|must have less than)"
    ),  # TGI, Together
    _says(ContextTooLong, r"current length is \S+ while limit is"),  # Cerebras
    _says(ContextTooLong, r"total tokens? limit"),  # watsonx
    _says(ContextTooLong, r"maximum number of (input )?tokens allowed|input tokens exceed"),  # Gemini
    _says(ContextTooLong, r"(prompt|input) tokens \(\d+\) exceeds? (the )?limit|at most \d+ input tokens"),
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
    _says(ContentFiltered, r"blocked by (our )?content[-_ ]?filter|content filtering policy"),  # Anthropic
    _says(ContentFiltered, r"blocked (due to|because of|for) (\w+ )?safety"),  # Gemini
    _says(ContentFiltered, r"content_policy|content_filter|safety system|responsible ?ai", certain=False),
    _says(
        ContentFiltered,
        r"was flagged|(block|flag|violat|reject|interven|trigger)\w*\b.{0,60}\b(moderation|guardrail)"
        r"|(moderation|guardrail).{0,60}\b(block|flag|violat|reject|interven|trigger)"
        r"|(moderation|guardrail)_(block|flag|violat|reject|interven|trigger)",
        certain=False,
    ),
    # The key may not use the model, though both are good.
    _says(
        UnknownModel,
        r"(key|team|user|org|project)_model_access_denied|key not allowed to access model",  # LiteLLM's proxy
        advice="this key may not use this model: have its owner allow it, or name another model",
    ),
    # The key is refused, also where the status says something else.
    _says(Unauthorised, r"API_KEY_INVALID|api key (not valid|not found|expired)|invalid_api_key"),  # Gemini
    _says(Unauthorised, r"(incorrect|invalid|missing) api[ _-]key|api[ _-]key is (invalid|missing)"),  # xAI
    _says(Unauthorised, r"authentication_?error|\bauth_error|token_not_found_in_db"),  # LiteLLM's proxy
    _says(
        Unauthorised, r"did(n.t| not) provide an api[ _-]key|invalid proxy server token"
    ),  # OpenAI, LiteLLM
    _says(Unauthorised, r"no_db_connection", certain=False),  # LiteLLM's proxy where it keeps no keys
    # There is no such model.
    _says(
        UnknownModel, r"model_(not_found|decommissioned)|invalid model name passed in|DeploymentNotFound"
    ),  # LiteLLM, Azure
    _says(UnknownModel, r"model\b.{0,120} not found, try pulling it"),  # Ollama
    _says(
        UnknownModel, r"\bmodel\b:? ?(\S{1,120} )?(does not|not) exist|is not a valid model", certain=False
    ),
    _says(
        UnknownModel, r"\bmodel\b:? ?(\S{1,120} )?(has been|was|is) (decommissioned|retired)", certain=False
    ),
    _says(
        UnknownModel,
        r"(unknown|invalid) model\b(?! (output|response|reply|answer|input|param|setting|config))"
        r"|model identifier is invalid",
        certain=False,
    ),
    _says(UnknownModel, r"not have access to (the )?model|unable to access model", certain=False),
)


def meaning_of(words: Words | str, status: int) -> Wording | None:
    """The wording that a refusal uses; None where it says nothing known.

    Example:
        >>> meaning_of("prompt is too long: 200001 tokens > 200000 maximum", 400).kind.__name__
        'ContextTooLong'
        >>> meaning_of("moderation service is down", 503) is None
        True
    """
    words = Words(prose=words) if isinstance(words, str) else words
    for wording in WORDINGS:
        if wording.fits(words, status):
            return wording
    return _LITELLM_CONTEXT if _litellm_says_context(words.text) else None


_LITELLM_CONTEXT = _says(ContextTooLong, "")


def _litellm_says_context(text: str) -> bool:
    """A second opinion, from LiteLLM's own list of wordings where LiteLLM is loaded anyway."""
    mapping = sys.modules.get("litellm.litellm_core_utils.exception_mapping_utils")
    check = getattr(getattr(mapping, "ExceptionCheckers", None), "is_error_str_context_window_exceeded", None)
    return callable(check) and bool(check(text))


# ---------------------------------------------------------------- the words of an error body

_CODES = frozenset({"code", "type", "status", "reason", "error", "error_type", "error_code", "errorType"})
"""Fields for codes: what stands there comes from the server's own program."""

_CODE = lazy_pattern(r"[\w.-]{1,100}", re.ASCII)
_EXCEPTIONS = lazy_pattern(r"(?:[\w.]*(?:Error|Exception)\s*[:-]\s*)+", re.ASCII)
_OBJECT = lazy_pattern(r"""\{\s*['"](?:error|message|detail|code|type|status|object)['"]\s*:""")
_MOST = 20_000
_DEEP = 16


def words_of(body: bytes | str, texts: Sequence[str] = ()) -> Words:
    r"""All that an error body says, one field a line, without what it repeats of the request.

    A page of HTML says nothing: it comes from a proxy on the way, not from the provider.

    Args:
        body: the answer.
        texts: the texts of the request, which the answer may repeat.

    Example:
        >>> words_of('[{"error": {"code": 429, "details": [{"retryDelay": "26s"}], "input": "hi"}}]')
        Words(codes='code: 429', prose='retryDelay: 26s', texts=())
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = text.lstrip("\ufeff \t\r\n")
    lines = _ErrorLines([], [], texts)
    if not text.startswith("<"):
        lines.add(_json(text, text), "", _DEEP)
    return Words("\n".join(lines.codes)[:_MOST], "\n".join(lines.prose)[:_MOST], texts)


def _json(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


class _ErrorLines(NamedTuple):
    """The lines of an error body as they are collected."""

    codes: list[str]
    prose: list[str]
    texts: Sequence[str]

    def add(self, value: Any, name: str, depth: int) -> None:
        """Add the fields of a value; what lies deeper than any server nests is left out."""
        if isinstance(value, dict) and depth:
            for key, inner in value.items():
                if not is_echo_field(str(key)):
                    self.add(inner, str(key), depth - 1)
        elif isinstance(value, list) and depth:
            for inner in value:
                self.add(inner, name, depth - 1)
        elif isinstance(value, str | int | float):
            self._add_text(str(value)[:_MOST], name, depth)

    def _add_text(self, text: str, name: str, depth: int) -> None:
        label = f"{name}: " if name else ""
        if name not in _CODES and is_excerpt(text.strip(), self.texts):
            return
        if name in _CODES and _CODE.fullmatch(text):
            self.codes.append(label + text)
            return
        if depth and text[:1] in ("{", "[") and isinstance(value := _json(text, None), dict | list):
            self.add(value, name, depth - 1)  # OpenRouter passes on a body as text
            return
        if (names := _EXCEPTIONS.match(text)) and not is_echo(names, self.texts):
            self.codes.append(names[0])
        self.prose.append(label + without_quotations(self._without_object(text, depth)))

    def _without_object(self, text: str, depth: int) -> str:
        """A text without the error body that stands in it, whose sentences are added by themselves."""
        match = _OBJECT.search(text)
        end = text.rfind("}") + 1
        if not (match and depth and match.start() < end):
            return text
        inner = text[match.start() : end]
        if not is_excerpt(inner, self.texts):
            # Its codes are no more than words: whoever made this text may have put the object there.
            lines = _ErrorLines(self.prose, self.prose, self.texts)
            lines.add(_literal(inner), "", depth - 1)
        return text[: match.start()] + text[end:]


def _literal(text: str) -> Any:
    """The value of a text in JSON or as Python prints it; None where it is neither."""
    try:
        return _json(text, None) or ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
