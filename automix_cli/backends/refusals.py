"""What a server's refusal means: one reading of status, body and headers for every client.

    status_error(status, headers, body, where, request_body)   the error of a whole HTTP answer
    error_in(reply, body, where, request_body)                 the error in an answer with a good status
    error_class(status, words)                                 its class alone, for whoever has only a message

`request_body` is the body of the request: a server may repeat it, and those words mean nothing.

The words decide before the status; the table of wordings is in `wordings`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from automix_cli.backends.echoes import texts_of
from automix_cli.backends.waits import retry_after, wait_in
from automix_cli.backends.wordings import Words, meaning_of, words_of
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    redact,
)
from automix_cli.texts import lazy_pattern


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, where: str, request_body: bytes = b""
) -> BackendError:
    """The error that an answer with this status means; `where` is the host that sent it."""
    if 300 <= status < 400:
        target = re.match(r"https?://([^/?#]+)", headers.get("location", ""))
        host = target[1] if target else "elsewhere"
        redirect = BadRequest(redact(f"{where} redirects to {host}; redirects are not followed"))
        redirect.fatal, redirect.hint = True, "put the final address into api_base"
        return redirect
    refusal, words = refusal_in(body), words_of(body, texts_of(request_body))
    message = refusal.added_to(message_in(body))
    kind = error_class(status, words)
    error = kind(
        redact(f"{where} answered {status}{': ' if message else ''}{message}"),
        retry_after=asked_wait(kind, headers, words),
        hint=advice_in(status, words),
    )
    if isinstance(error, BadRequest):
        error.param, error.code = refusal
    if isinstance(error, RateLimited):
        error.lacks_room = says_no_room(words.text)
    return error


def says_no_room(text: str) -> bool:
    """Whether a 429 says that a service such as flex has no room, rather than that we ask too often.

    Example:
        >>> says_no_room('{"code": "resource_unavailable"}'), says_no_room("Rate limit reached")
        (True, False)
    """
    return re.search(r"resource[ _]?unavailable|capacity_exceeded", text, re.IGNORECASE) is not None


def asked_wait(kind: type[BackendError], headers: Mapping[str, str], words: Words) -> float | None:
    """Seconds to wait before another try; None where the provider names none, or none would help.

    Example:
        >>> words = words_of("Please retry in 26s")
        >>> asked_wait(RateLimited, {}, words), asked_wait(QuotaExhausted, {}, words)
        (26.0, None)
    """
    if not kind.retryable:
        return None
    seconds = retry_after(headers, time.time())
    return wait_in(words.prose, words.texts) if seconds is None else seconds


def error_class(status: int, words: Words | str) -> type[BackendError]:
    """The class of our error for a status and the words with it.

    Example:
        >>> error_class(429, "slow down").__name__, error_class(429, "insufficient_quota").__name__
        ('RateLimited', 'QuotaExhausted')
    """
    wording = meaning_of(words, status)
    if wording is not None:
        return wording.kind
    return _BY_STATUS.get(status) or (BadResponse if status >= 500 else BadRequest)


def advice_in(status: int, words: Words) -> str:
    """How to mend what the words of a refusal mean; "" where its class says enough.

    Example:
        >>> advice_in(400, words_of("max_tokens exceeds the maximum output length"))
        'lower params: {max_tokens: …} of this tier'
    """
    wording = meaning_of(words, status)
    return "" if wording is None else wording.advice


_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: Unauthorised,
    402: QuotaExhausted,
    403: Unauthorised,
    404: UnknownModel,
    408: TimedOut,
    409: BadResponse,
    413: ContextTooLong,
    425: BadResponse,
    429: RateLimited,
}


def error_in(
    reply: Mapping[str, Any], body: bytes, where: str, request_body: bytes = b""
) -> BackendError | None:
    """The error that a reply with a good status holds instead of an answer; None where it holds none.

    An answer is one, whatever its text says: only an error in the place of the choices counts, or one
    in each of them. What was counted until a provider failed may be on the bill.
    """
    choices = reply.get("choices")
    if isinstance(choices, list) and choices and all(map(is_failed_choice, choices)):
        failure = choices[0].get("error") or {"message": "the provider failed in the middle of its answer"}
        within = error_in({"error": failure}, json.dumps({"error": failure}).encode(), where, request_body)
        if within is not None:
            within.maybe_billed = bool(reply.get("usage"))
        return within
    error = reply.get("error")
    if reply.get("choices") or reply.get("data") or not (error or reply.get("object") == "error"):
        return None
    fields = error if isinstance(error, dict) else reply
    codes = [str(fields.get(name, "")) for name in ("code", "status", "status_code")]
    status = next((int(code) for code in codes if re.fullmatch("[45][0-9][0-9]", code)), 500)
    return status_error(status, {}, body, where, request_body)


def is_failed_choice(choice: Any) -> bool:
    """Whether a choice says that its provider failed; its text, if any, is a part of an answer.

    Example:
        >>> is_failed_choice({"message": {"content": "The ans"}, "finish_reason": "error"})
        True
    """
    return isinstance(choice, dict) and bool(choice.get("finish_reason") == "error" or choice.get("error"))


def message_in(body: bytes) -> str:
    """The message of an error body, in one line.

    Example:
        >>> message_in(b'{"error": {"message": "no such model"}}'), message_in(b"<html>Bad Gateway</html>")
        ('no such model', 'Bad Gateway')
    """
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8-sig", "replace"))
    if isinstance(value, list) and value:  # Gemini puts its error into a list
        value = value[0]
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(key):
            value = _raw_message(value) or value[key]
    text = value if isinstance(value, str) else json.dumps(value) if value else ""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def _raw_message(error: Mapping[str, Any]) -> str:
    """The message of the provider behind OpenRouter, which itself says no more than that there is one."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return message_in(raw.encode("utf-8", "replace")) if isinstance(raw, str) else ""


def with_hint(error: BackendError, model: str, key_env: str) -> BackendError:
    """The error, with the way to mend it; `key_env` is the variable that holds the key."""
    if not error.hint:
        error.hint = _hint(error, model, key_env)
    return error


def _hint(error: BackendError, model: str, key_env: str) -> str:
    """How to mend a refusal; "" where a user can do nothing about it."""
    provider, _, name = model.partition("/")
    if isinstance(error, Unauthorised):
        return f"check the key: export {key_env}=…" if key_env else "name the key's variable: api_key_env"
    if isinstance(error, QuotaExhausted):
        return f"add credit at {provider}, or raise the limit of its key, and run the same command again"
    if isinstance(error, UnknownModel):
        if provider.startswith("ollama"):
            return f"ollama pull {name}"
        return f"correct {model} or its api_base: automix profile show --origin says where they stand"
    return ""


# ---------------------------------------------------------------- parameters that a refusal names

_SAMPLING = lazy_pattern(r"\bsampling (param|setting|option|control)", re.IGNORECASE)


class Refusal(NamedTuple):
    """The parameter that an error body names in a field, and what the body calls the problem."""

    param: str = ""
    code: str = ""

    def added_to(self, message: str) -> str:
        """A message that names the parameter.

        Example:
            >>> Refusal("top_p", "unsupported_parameter").added_to("not possible")
            'not possible (unsupported_parameter: top_p)'
        """
        if not self.param or re.search(rf"\b{re.escape(self.param)}\b", message):
            return message
        return f"{message} ({self.code or 'parameter'}: {self.param})".lstrip()


def refusal_in(body: Any) -> Refusal:
    """The refusal that an error body holds: JSON, or what it was read to.

    Example:
        >>> refusal_in(b'{"error": {"message": "no", "param": "top_p", "code": "unsupported_parameter"}}')
        Refusal(param='top_p', code='unsupported_parameter')
    """
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return Refusal()
    fields = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(fields, dict) or not _is_name(fields.get("param")):
        return Refusal()
    return Refusal(fields["param"], fields["code"] if _is_name(fields.get("code")) else "")


def _is_name(value: Any) -> bool:
    """Whether a value is short enough, and plain enough, to be the name of something."""
    return isinstance(value, str) and re.fullmatch(r"[\w.\[\]-]{1,80}", value, re.ASCII) is not None


def names_parameter(message: str, name: str) -> bool:
    """Whether a refusal speaks of a parameter, in whatever spelling.

    Example:
        >>> [names_parameter(m, "top_p") for m in ("`top_p` is gone", "topP: not here", "stop_pin")]
        [True, True, False]
    """
    loose = name.replace("_", "[-_ ]?")
    return re.search(rf"(?<![a-z_]){loose}(?![a-z_])", message, re.IGNORECASE) is not None


def refuses_sampling(message: str, name: str) -> bool:
    """Whether a refusal speaks of a sampling parameter, by its name or of all of them.

    Example:
        >>> refuses_sampling("Sampling parameters are fixed for reasoning models", "temperature")
        True
    """
    return names_parameter(message, name) or _SAMPLING.search(message) is not None


def refuses_n(message: str) -> bool:
    r"""Whether a refusal speaks of `n`, the number of completions.

    Example:
        >>> refuses_n("'n' : number must be at most 1"), refuses_n("bad input\\n")
        (True, False)
    """
    return re.search(r"(?<!\\)\bn\b", message) is not None
