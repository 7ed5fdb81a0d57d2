"""What a server's refusal means: one reading of status, body and headers for every client.

    status_error(status, headers, body, where)   the error of a whole HTTP answer
    error_class(status, text)                    its class alone, for whoever has only a message

Providers word one and the same refusal in many ways, and send it with various statuses: the body
decides before the status. A new wording is one more alternative in a pattern here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from automix_cli.backends.retry import retry_after
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    redact,
)

_CONTEXT = re.compile(
    r"context_length_exceeded|context (length|window)|maximum context|prompt is too long|too many tokens"
    r"|input is too long|exceeds? the (model|maximum).{0,20}(tokens|length)",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content_policy|content_filter|content management policy|safety system|responsible ?ai|moderation"
    r"|was flagged",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|billing_(hard_limit|not_active)"
    r"|credit balance is too low|insufficient (credits|balance|funds)",
    re.IGNORECASE,
)
_SAMPLING = re.compile(r"\bsampling (param|setting|option|control)", re.IGNORECASE)


def status_error(status: int, headers: Mapping[str, str], body: bytes, where: str) -> BackendError:
    """The error that an answer with this status means; `where` is the host that sent it."""
    if 300 <= status < 400:
        target = re.match(r"https?://([^/?#]+)", headers.get("location", ""))
        host = target[1] if target else "elsewhere"
        redirect = BadRequest(redact(f"{where} redirects to {host}; redirects are not followed"))
        redirect.fatal, redirect.hint = True, "put the final address into api_base"
        return redirect
    refusal = refusal_in(body)
    message = refusal.added_to(message_in(body))
    error = error_class(status, body.decode("utf-8", "replace"))(
        redact(f"{where} answered {status}{': ' if message else ''}{message}"),
        retry_after=retry_after(headers, time.time()),
    )
    if isinstance(error, BadRequest):
        error.param, error.code = refusal
    if isinstance(error, RateLimited):
        error.lacks_room = says_no_room(body.decode("utf-8", "replace"))
    return error


def says_no_room(text: str) -> bool:
    """Whether a 429 says that a service such as flex has no room, rather than that we ask too often.

    Example:
        >>> says_no_room('{"code": "resource_unavailable"}'), says_no_room("Rate limit reached")
        (True, False)
    """
    return re.search(r"resource[ _]?unavailable|capacity_exceeded", text, re.IGNORECASE) is not None


def error_class(status: int, text: str) -> type[BackendError]:
    """The class of our error for a status and the message with it.

    Example:
        >>> error_class(429, "slow down").__name__, error_class(429, "insufficient_quota").__name__
        ('RateLimited', 'Unauthorised')
    """
    if status in (401, 402) or (status < 500 and _QUOTA.search(text)):
        return Unauthorised
    if status < 500 and status != 429 and _CONTEXT.search(text):
        return ContextTooLong
    if status < 500 and status != 429 and _POLICY.search(text):
        return ContentFiltered
    if status == 403:
        return Unauthorised
    if status == 404:
        return UnknownModel
    if status == 408:
        return TimedOut
    if status == 429:
        return RateLimited
    return BadResponse if status >= 500 or status in (409, 425) else BadRequest


def message_in(body: bytes) -> str:
    """The message of an error body, in one line.

    Example:
        >>> message_in(b'{"error": {"message": "no such model"}}'), message_in(b"<html>Bad Gateway</html>")
        ('no such model', 'Bad Gateway')
    """
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    text = value if isinstance(value, str) else json.dumps(value) if value else ""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def with_key_hint(error: BackendError, key_env: str) -> BackendError:
    """The error, with the way to mend a key that was refused; `key_env` is the variable that holds it."""
    if isinstance(error, Unauthorised) and not error.hint:
        error.hint = f"check the key in {key_env}" if key_env else "name the key's variable: api_key_env"
    return error


# ---------------------------------------------------------------- parameters that a refusal names


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
