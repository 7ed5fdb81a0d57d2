"""Who may ask a server: whoever has the key, or without one programs of this machine and no web page.

A page in a browser can send requests to 127.0.0.1, and by DNS rebinding read the replies. What such a
request cannot do is leave out the header `Origin`, or carry a `Host` that names this machine.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from automix_cli.backends.catalog import is_loopback_host
from automix_cli.serving.chat_reply import ErrorReply, plain_error


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of a server: its key, or "" where none is asked for."""

    key: str = field(default="", repr=False)

    def refusal(self, headers: Mapping[str, str]) -> ErrorReply | None:
        """The reply to a request that may not ask; None for one that may.

        Example:
            >>> Access().refusal({"Host": "127.0.0.1:8765"}) is None
            True
            >>> Access().refusal({"Host": "evil.example"}).status
            403
            >>> Access("secret").refusal({"Authorization": "Bearer secret"}) is None
            True
        """
        if self.key:
            return None if self._has_key(headers.get("Authorization", "")) else _KEY_REFUSED
        if not is_loopback_host(host_name(headers.get("Host", ""))):
            return _FOREIGN_HOST
        if "Origin" in headers or headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return _WEB_PAGE
        return None

    def _has_key(self, authorization: str) -> bool:
        """Compare in a time that says nothing of where, or how long, the right key is."""
        scheme, _, key = authorization.partition(" ")
        is_equal = hmac.compare_digest(_digest(key.strip()), _digest(self.key))
        return is_equal and scheme.lower() == "bearer"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def host_name(host: str) -> str:
    """The name in a `Host` header, without the port.

    Example:
        >>> host_name("localhost:8765"), host_name("[::1]:8765"), host_name("::1")
        ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


_KEY_REFUSED = plain_error(
    401,
    "the key is missing or wrong: send the header Authorization: Bearer KEY",
    type="authentication_error",
    code="invalid_api_key",
)
_FOREIGN_HOST = plain_error(
    403,
    "the header Host names another machine: without a key only this machine may ask "
    "(automix serve --api-key-env NAME asks for one)",
    type="permission_error",
    code="foreign_host",
)
_WEB_PAGE = plain_error(
    403,
    "requests of web pages are refused without a key (automix serve --api-key-env NAME asks for one)",
    type="permission_error",
    code="web_page",
)
