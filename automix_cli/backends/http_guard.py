"""HTTP underneath LiteLLM: one request, no redirect, a bounded answer, and plain errors.

LiteLLM's client follows redirects with the key, repeats a request when the connection breaks, reads
bodies of any length, and reports a refused connection, a cut body and a broken server all as status
500. `Guard` stands between LiteLLM and its transport, where status, headers and body are still the
true ones, and raises our errors; `litellm_errors.map_error` finds them among the causes of LiteLLM's.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx

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
    Unreachable,
    redact,
)

MAX_BODY = 16 * 2**20
"""Bytes of an answer, unpacked, beyond which it is not read on."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
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


class Guard(httpx.AsyncBaseTransport):
    """A transport around LiteLLM's that checks each response; see the module."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        # A proxy from the environment cannot reach this machine's own servers, and must not see the requests.
        cache = getattr(inner, "proxy_cache", None)
        if isinstance(cache, dict):
            cache.update(dict.fromkeys(_LOOPBACK))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request once, read the whole response and check it.

        Raises:
            BackendError: for anything but a 200 with a JSON object.
        """
        request.headers["accept-encoding"] = "identity"
        try:
            response = await self._inner.handle_async_request(request)
            try:
                body = await read_body(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise connection_error(exc, request.url) from exc
        where = request.url.netloc.decode("ascii")
        if response.status_code >= 300:
            raise status_error(response.status_code, response.headers, body, where)
        return httpx.Response(
            response.status_code,
            headers={"content-type": "application/json"},
            content=checked_body(body, request.url.path, where),
            request=request,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def read_body(response: httpx.Response) -> bytes:
    """The body, decompressed, if it is not too large.

    Decompression is bounded, so that a small body cannot fill the memory.

    Raises:
        BadResponse: too large, or with an encoding that was not requested.
    """
    packing = response.headers.get("content-encoding", "identity").lower()
    if packing not in ("identity", "gzip", "deflate", ""):
        raise BadResponse(f"an answer packed as {packing}, which was not asked for", maybe_billed=True)
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing in ("gzip", "deflate") else None
    body = bytearray()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for piece in response.stream:
        try:
            body += unpack.decompress(piece, MAX_BODY + 1) if unpack else piece
        except zlib.error as exc:
            raise BadResponse("an answer whose packing is broken", maybe_billed=True) from exc
        if len(body) > MAX_BODY:
            error = BadResponse(f"an answer of more than {MAX_BODY >> 20} MiB", maybe_billed=True)
            error.retries = 0
            raise error
    return bytes(body)


def connection_error(exc: Exception, url: httpx.URL) -> BackendError:
    """The error of a connection that could not be made, or broke."""
    where, causes = url.netloc.decode("ascii"), list(causes_of(exc))
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    # aiohttp's ClientOSError is a broken connection, its subclass ClientConnectorError one never made.
    never = names & {"ClientConnectorError", "ClientHttpProxyError", "ValueError", "InvalidURL"}
    if isinstance(exc, httpx.ConnectError | httpx.ProxyError) and "ClientOSError" not in names:
        never.add("ConnectError")
    if never or isinstance(exc, httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        what, hint = connect_problem(causes, exc), f"is {url.scheme}://{where} the right address, and up?"
        return Unreachable(f"cannot reach {where}: {what}", hint=hint)
    if isinstance(exc, httpx.TimeoutException):
        return TimedOut(f"{where} fell silent", maybe_billed=True)
    return BadResponse(f"the connection to {where} broke before the answer was complete", maybe_billed=True)


def connect_problem(causes: list[BaseException], exc: Exception) -> str:
    """Why a connection could not be made, in a few words."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS"
        if isinstance(cause, socket.gaierror):
            return "no such host"
        if "Proxy" in type(cause).__name__:
            return "the proxy does not let it through"
        if isinstance(cause, ValueError | httpx.InvalidURL | httpx.UnsupportedProtocol):
            return "this is no address"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            return "no answer in time"
    number = next((c.errno for c in reversed(causes) if isinstance(c, OSError) and c.errno), None)
    return os.strerror(number).lower() if number else "it hung up"


def causes_of(exc: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or during, outermost first."""
    seen_ids: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen_ids:
        seen_ids.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def status_error(status: int, headers: Mapping[str, str], body: bytes, where: str) -> BackendError:
    """The error that an answer with this status means.

    The body decides before the status: providers report a full context window, a filtered prompt
    and an empty account with various statuses.
    """
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
    return error


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


def checked_body(body: bytes, path: str, where: str) -> bytes:
    """A body that LiteLLM can read; byte for byte the same unless something in it is malformed.

    Raises:
        BadResponse: not a JSON object, or an error that came with status 200.
    """
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as exc:
        message = message_in(body)
        raise BadResponse(
            redact(f"{where} sent something that is not JSON: {message}"), maybe_billed=True
        ) from exc
    if not isinstance(reply, dict):
        raise BadResponse(f"{where} sent JSON that is no object", maybe_billed=True)
    if reply.get("error") and "choices" not in reply:
        code = reply["error"].get("code") if isinstance(reply["error"], dict) else None
        raise status_error(code if isinstance(code, int) and code >= 400 else 500, {}, body, where)
    if not path.endswith("/chat/completions"):
        return body
    choices, usage = sound_choices(reply.get("choices")), reply.get("usage")
    if choices == reply.get("choices") and (usage is None or sound_usage(usage)):
        return body
    reply["choices"] = choices
    if not sound_usage(usage):
        reply.pop("usage", None)
    return json.dumps(reply).encode()


def sound_choices(choices: Any) -> list[Any]:
    """The choices that have a message; a missing list is an empty one."""
    if not isinstance(choices, list):
        return []
    return [c for c in choices if isinstance(c, dict) and isinstance(c.get("message"), dict)]


def sound_usage(usage: Any) -> bool:
    """Whether the counts are whole numbers, which LiteLLM takes for granted."""
    if not isinstance(usage, dict):
        return False
    counts = (usage.get(k, 0) for k in ("prompt_tokens", "completion_tokens", "total_tokens"))
    return all(isinstance(c, int) and not isinstance(c, bool) for c in counts)
