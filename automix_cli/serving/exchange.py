"""One request of a client and its reply: the id, what the log says of it, and replies in OpenAI's shape."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from msgspec import Struct, field

from automix_cli.records import Json
from automix_cli.serving.chat_reply import ErrorReply, plain_error, to_bytes

MOST_BODY = 8 * 1024 * 1024
"""Bytes of a request's body."""

GONE = 499
"""The status in log and counters of a request whose client went away before its reply."""

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def request_id(headers: Mapping[str, str]) -> str:
    """The client's own id of a request where it is a plain word, else a new one.

    Example:
        >>> request_id({"X-Request-Id": "job-7"}), len(request_id({"X-Request-Id": "two words"}))
        ('job-7', 32)
    """
    own = headers.get("X-Request-Id", "")
    return own if _CLIENT_ID.fullmatch(own) else uuid.uuid4().hex


class Exchange(Struct):
    """A request on its way to a reply; `entry` is what the log will say of it."""

    request: web.Request
    ident: str = ""
    entry: dict[str, Json] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.ident = request_id(self.request.headers)
        resource = self.request.match_info.route.resource
        path = "other" if resource is None else resource.canonical  # what a client makes up is no label
        self.entry = {"id": self.ident, "method": self.request.method, "path": path}

    @property
    def path(self) -> str:
        """The address as the router has it."""
        return str(self.entry["path"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every reply."""
        return {
            "x-request-id": self.ident,
            "Server": "automix",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }

    def json(self, value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        """A reply of JSON."""
        return web.Response(
            body=to_bytes(value),
            status=status,
            content_type="application/json",
            headers=self.headers | dict(headers or {}),
        )

    def error(self, error: ErrorReply) -> web.Response:
        """An error; a client must not try again what was tried already."""
        response = self.json(error.body, error.status)
        response.headers["x-should-retry"] = "true" if error.is_worth_retrying else "false"
        if error.is_worth_retrying:
            response.headers["Retry-After"] = "1"
        if error.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        if error.status in (401, 403, 408, 413, 503):
            response.force_close()  # what is left of the body is not worth reading
        self.entry.setdefault("code", error.body["error"]["code"])
        return response


_SENTENCES = {
    404: "there is no such address: base URLs end in /v1, and chats are posted to /v1/chat/completions",
    408: "the body came too slowly",
    413: f"the body is larger than {MOST_BODY // 1024**2} MB",
}


def http_error(exc: web.HTTPException) -> ErrorReply:
    """What the library refuses, in OpenAI's shape."""
    status = HTTPStatus(exc.status)
    return plain_error(exc.status, _SENTENCES.get(exc.status, status.phrase), code=status.name.lower())
