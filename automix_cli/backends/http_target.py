"""Where an HTTP request goes, worked out once: whom to connect to, and what stands before its body."""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_SAFE = "/?%:@!$&'()*+,;=~"  # stand in an address as they are
_COMMON = (
    "User-Agent: automix",
    "Content-Type: application/json",
    "Accept: */*",
    "Accept-Encoding: identity",
)


class Peer(NamedTuple):
    """A server, or a proxy, to connect to."""

    host: str
    port: int
    speaks_tls: bool

    @classmethod
    def of(cls, url: str) -> Peer:
        """Whom an address names.

        Raises:
            ValueError: it is no address.

        Example:
            >>> Peer.of("https://api.example.com/v1")
            Peer(host='api.example.com', port=443, speaks_tls=True)
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"no address: {url}")
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")

    @property
    def name(self) -> str:
        """Host and port, as CONNECT has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Target(NamedTuple):
    """Where requests go, and how each of them begins.

    `where` names the server in messages. `head` is all that stands before the body but its length. `proxy` is
    whom to connect to in the place of `server`, and `tunnel` what to send there first; it is empty where the
    proxy passes requests on itself.
    """

    server: Peer
    where: str
    head: bytes
    proxy: Peer | None = None
    tunnel: bytes = b""

    @classmethod
    def of(cls, url: str, key: str | None, proxy: str | None) -> Target:
        """The target of POST to an address, with a key or without, through a proxy or not.

        Raises:
            ValueError: an address is none, or the key cannot stand in a header.

        Example:
            >>> Target.of("http://127.0.0.1:8000/v1/chat/completions", "sk-1", None).head.splitlines()[:2]
            [b'POST /v1/chat/completions HTTP/1.1', b'Host: 127.0.0.1:8000']
        """
        server, parts = Peer.of(url), urlsplit(url)
        host = (
            server.name if parts.port not in (None, _PORTS[parts.scheme]) else server.name.rpartition(":")[0]
        )
        path = quote(
            parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl(), _SAFE
        )
        permit = [f"Authorization: Bearer {key}"] if key else _login_of(url, "Authorization")
        lines = [f"Host: {host}", *_COMMON, *permit]
        if proxy is None:
            return cls(server, host, _head(f"POST {path}", lines))
        login = _login_of(proxy, "Proxy-Authorization")
        if server.speaks_tls:
            tunnel = _head(f"CONNECT {server.name}", [f"Host: {server.name}", *login]) + b"\r\n"
            return cls(server, host, _head(f"POST {path}", lines), Peer.of(proxy), tunnel)
        return cls(server, host, _head(f"POST http://{host}{path}", [*lines, *login]), Peer.of(proxy))


def _login_of(url: str, header: str) -> list[str]:
    """The header with the name and password that an address holds, if it does."""
    parts = urlsplit(url)
    if parts.username is None:
        return []
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [f"{header}: Basic {base64.b64encode(login.encode()).decode()}"]


def _head(request: str, headers: list[str]) -> bytes:
    """The lines of a head, without the one that ends it.

    Raises:
        ValueError: a line break inside one of them.
    """
    lines = [f"{request} HTTP/1.1", *headers]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise ValueError("a line break in a header")
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")
