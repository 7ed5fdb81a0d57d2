"""Our error for whatever LiteLLM raises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from automix_cli.backends.connections import causes_of
from automix_cli.backends.endpoints import Endpoint
from automix_cli.backends.refusals import (
    Refusal,
    advice_in,
    asked_wait,
    error_class,
    refusal_in,
    says_no_room,
    with_hint,
)
from automix_cli.backends.wordings import words_of
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    redact,
)

ERROR_CLASSES: Mapping[str, type[BackendError]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "GuardrailRaisedException": ContentFiltered,
    "GuardrailInterventionNormalStringError": ContentFiltered,  # gone from later releases
    "BlockedPiiEntityError": ContentFiltered,
    "SensitiveDataRouteException": ContentFiltered,
    "RejectedRequestError": ContentFiltered,
    "AuthenticationError": Unauthorised,
    "PermissionDeniedError": Unauthorised,
    "PaymentRequiredError": QuotaExhausted,
    "BudgetExceededError": QuotaExhausted,
    "RateLimitError": RateLimited,
    "Timeout": TimedOut,
    "APITimeoutError": TimedOut,
    "NotFoundError": UnknownModel,
    "ModelNotMappedError": BadRequest,
    "UnsupportedParamsError": BadRequest,
    "LiteLLMUnknownProvider": BadRequest,
    "BadRequestError": BadRequest,
    "InvalidRequestError": BadRequest,
    "UnprocessableEntityError": BadRequest,
    "OpenAIError": BadResponse,
}
"""By name: LiteLLM and the SDK share the names, and neither need be imported."""


def map_error(exc: Exception, texts: Sequence[str] = ()) -> BackendError:
    """Our error for whatever LiteLLM raised.

    An error that the transport raised (`http_guard.Guard`) is returned as it is. Otherwise the
    most specific class with a meaning decides, then status and message, then the general class.
    `texts` are those of the request, which a message may repeat.
    """
    own = next((link for link in causes_of(exc) if isinstance(link, BackendError)), None)
    if own is not None:
        return own
    text, status = refusal_of(exc).added_to(short_message(exc)), status_of(exc)
    if re.search(r"missing credentials|api_key client option must be set", text, re.IGNORECASE):
        return Unauthorised(text)
    kind = next(
        (ERROR_CLASSES[k.__name__] for k in type(exc).__mro__ if k.__name__ in ERROR_CLASSES), BadResponse
    )
    words, advice = words_of(message_of(exc), texts), ""
    if kind in (BadRequest, BadResponse, RateLimited) and status is not None:
        kind, advice = error_class(status, words), advice_in(status, words)
    headers = attribute(exc, "litellm_response_headers")
    headers = headers if isinstance(headers, Mapping) else {}
    wait = asked_wait(kind, headers, words)
    # The transport let this response pass, so the provider counts it as a good one and bills it.
    error = kind(text, hint=advice, retry_after=wait, maybe_billed=kind is BadResponse)
    if isinstance(error, RateLimited):
        error.lacks_room = any(
            says_no_room(f"{message_of(e)} {attribute(e, 'body')}") for e in causes_of(exc)
        )
    return error


def status_of(exc: BaseException) -> int | None:
    """The HTTP status of a refusal, wherever the exception keeps it; None for none.

    Example:
        >>> exc = ValueError()
        >>> exc.status_code = "429"
        >>> status_of(exc)
        429
    """
    for holder in (exc, attribute(exc, "response")):
        for name in ("status_code", "http_status", "status", "code"):
            value = attribute(holder, name)
            if isinstance(value, int | str) and re.fullmatch("[45][0-9][0-9]", str(value)):
                return int(value)
    return None


def refusal_of(exc: BaseException) -> Refusal:
    """The parameter that a refusal names outside its message, wherever the exception keeps it.

    Example:
        >>> exc = ValueError("not supported")
        >>> exc.body = {"param": "top_p"}
        >>> refusal_of(exc).param
        'top_p'
    """
    for link in causes_of(exc):
        fields = {"param": attribute(link, "param"), "code": attribute(link, "code")}
        for source in (fields, attribute(link, "body"), attribute(attribute(link, "response"), "text")):
            refusal = refusal_in(source)
            if refusal.param:
                return refusal
    return Refusal()


def attribute(holder: object, name: str) -> Any:
    """An attribute of somebody else's object; None where it has none, or where reading it raises."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def message_of(exc: BaseException) -> str:
    """An exception's message; some of LiteLLM's cannot be printed unless all their fields are set."""
    try:
        return str(exc)
    except Exception:
        message = attribute(exc, "message")
        return message if isinstance(message, str) else " ".join(p for p in exc.args if isinstance(p, str))


def short_message(exc: BaseException) -> str:
    """The message of one of LiteLLM's exceptions, without names, advice, traceback and keys.

    Example:
        >>> text = "litellm.BadRequestError: OpenAIException - no such thing. To drop it, do x"
        >>> short_message(ValueError(text))
        'no such thing'
    """
    text = message_of(exc).partition("Traceback (most recent call last)")[0]
    text = re.split(r"\.?\s*(?:To drop |Handle with `|LiteLLM Retried|Pass in the LLM)", text)[0]
    text = re.sub(r"^(?:[\w.]*(?:Error|Exception|Timeout)\b[\s:-]*)+", "", text.strip())
    line = " ".join(redact(text).split())
    return line[:300] or type(exc).__name__


def raise_mapped(exc: Exception, endpoint: Endpoint, model: str, texts: Sequence[str] = ()) -> NoReturn:
    """Raise our error for LiteLLM's.

    Raises:
        BackendError: always.
    """
    try:
        error = map_error(exc, texts)
    except Exception:  # an exception whose own attributes raise
        error = BadResponse(f"{endpoint.provider} failed with {type(exc).__name__}, which cannot be read")
    with_hint(error, model, endpoint.key_env)
    # An error of the transport has its own cause; LiteLLM's wrapping of it adds nothing.
    raise error from (exc if error.__traceback__ is None else error.__cause__)
