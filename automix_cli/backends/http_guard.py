"""HTTP underneath LiteLLM: one request, no redirect, a bounded answer, and plain errors.

LiteLLM's client follows redirects with the key, repeats a request when the connection breaks, reads
bodies of any length, and reports a refused connection, a cut body and a broken server all as status
500. `Guard` stands between LiteLLM and its transport, where status, headers and body are still the
true ones, and raises our errors; `litellm_errors.map_error` finds them among the causes of LiteLLM's.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from automix_cli.backends.answers import json_object, read_pieces, sound_choices
from automix_cli.backends.connections import connection_error
from automix_cli.backends.endpoints import is_openai
from automix_cli.backends.refusals import status_error

_SITE = ("http-referer", "x-title")
"""Headers in which LiteLLM tells OpenRouter what OR_SITE_URL and OR_APP_NAME hold, or its own name."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
        for name in _SITE:
            request.headers.pop(name, None)
        if not is_openai(str(request.url)):  # LiteLLM sends them to whoever speaks the protocol
            for name in ("openai-organization", "openai-project"):
                request.headers.pop(name, None)
        where = request.url.netloc.decode("ascii")
        try:
            response = await self._inner.handle_async_request(request)
            try:
                body = await read_body(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise connection_error(exc, request.url.scheme, where) from exc
        if response.status_code >= 300:
            raise status_error(response.status_code, response.headers, body, where, sent_body(request))
        return httpx.Response(
            response.status_code,
            headers={"content-type": "application/json"},
            content=checked_body(body, request.url.path, where, sent_body(request)),
            request=request,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def sent_body(request: httpx.Request) -> bytes:
    """The body of a request; nothing where it was not kept."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return b""


async def read_body(response: httpx.Response) -> bytes:
    """The body, decompressed; see `answers.read_pieces`."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return await read_pieces(response.stream, response.headers.get("content-encoding", "identity"))


def checked_body(body: bytes, path: str, where: str, request_body: bytes = b"") -> bytes:
    """A body that LiteLLM can read; the same unless something in it is missing or malformed.

    Raises:
        BackendError: see `answers.json_object`.
    """
    reply = json_object(body, where, request_body)
    if not path.endswith("/chat/completions"):
        return body
    choices, usage = sound_choices(reply.get("choices")), reply.get("usage")
    is_sound = choices == reply.get("choices") and (usage is None or sound_usage(usage))
    if is_sound and "service_tier" in reply:
        return body
    reply["choices"] = choices
    reply.setdefault("service_tier", None)  # LiteLLM reads it of every reply of Groq's
    if not sound_usage(usage):
        reply.pop("usage", None)
    return json.dumps(reply).encode()


def sound_usage(usage: Any) -> bool:
    """Whether the counts are whole numbers, which LiteLLM takes for granted."""
    if not isinstance(usage, dict):
        return False
    counts = (usage.get(k, 0) for k in ("prompt_tokens", "completion_tokens", "total_tokens"))
    return all(isinstance(c, int) and not isinstance(c, bool) for c in counts)
