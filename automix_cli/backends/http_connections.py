"""Connections to model servers: made when needed, kept for the next request, closed at the end.

    post ─▶ one that waits, or a new one ─▶ request out, reply in (http_reply.py) ─▶ kept, or closed

A request is sent once: whether it may be sent again is for `retry.py` to say. A connection whose request was
given up, or whose reply was not read to its end, serves no other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from automix_cli.backends.http_reply import BrokenReply, HttpReply
from automix_cli.backends.http_target import Peer, Target
from automix_cli.errors import BackendError

CONNECT_SECONDS = 30.0
"""Within which a connection must be made; until then nothing was sent, and nothing is billed."""
_NEXT_ADDRESS = 3.0  # seconds after which the next address of a host is tried, where it has several
_IDLE_SECONDS = 15.0  # that a connection waits for a request: servers close those that wait for long
_ADDRESSES_SECONDS = 10.0  # that addresses of a host are taken for known


class NotConnected(ConnectionError):
    """No connection could be made: nothing was sent."""


class ProxyRefused(NotConnected):
    """A proxy could not be reached, or does not let a connection through."""


class Connection(asyncio.Protocol):
    """A connection to a server, which serves one request after the other."""

    __slots__ = ("_end", "_reply", "idle_since", "is_lost", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.is_lost = False
        self.idle_since = 0.0
        self._reply: HttpReply | None = None
        self._end: asyncio.Future[None] | None = None

    async def exchange(self, request: bytes, *, opens_tunnel: bool = False) -> HttpReply:
        """Send a request and read the reply.

        Raises:
            OSError: the connection broke, or what came is no HTTP.
            BackendError: a body that is not read, by its size or packing.
        """
        reply = self._reply = HttpReply(opens_tunnel=opens_tunnel)
        self._end = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._end
        return reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; what comes although nothing was asked ends the connection."""
        reply = self._reply
        if reply is None:
            self.transport.abort()
            return
        try:
            reply.feed(data)
        except (BrokenReply, BackendError) as exc:
            self._finish(exc)
        else:
            if reply.is_complete:
                self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the reply, well or not."""
        self.is_lost = True
        if self._reply is None:
            return
        try:
            if exc is not None:
                raise BrokenReply("the connection broke") from exc
            self._reply.end()
        except BrokenReply as failure:
            self._finish(failure)
        else:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        """Wake up who waits for the reply."""
        self._reply, end = None, self._end
        if end is None or end.done():
            return
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)


class Connections:
    """The connections of a run.

    `trust` gives the certificates that are trusted, when TLS is first spoken.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext]) -> None:
        self.is_closed = False
        self._trust = trust
        self._idle: dict[tuple[Peer, Peer | None], deque[Connection]] = {}
        self._addresses: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def post(self, target: Target, body: bytes) -> HttpReply:
        """Post a body and return the reply, whatever it says.

        Raises:
            NotConnected: nothing was sent.
            OSError: the connection broke, or what came is no HTTP.
            BackendError: a body that is not read, by its size or packing.
        """
        connection = self._take(target) or await self._open(target)
        is_kept = False
        try:
            reply = await connection.exchange(
                b"%bContent-Length: %d\r\n\r\n%b" % (target.head, len(body), body)
            )
            is_kept = reply.stays_open and self._keep(target, connection)
            return reply
        finally:
            if not is_kept:
                connection.transport.abort()

    async def aclose(self) -> None:
        """Close those that wait; the others are closed by those who use them."""
        self.is_closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.transport.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # in which they close

    # ------------------------------------------------------------ waiting

    def _take(self, target: Target) -> Connection | None:
        """The connection that has waited for the shortest time."""
        idle = self._idle.get((target.server, target.proxy))
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_lost or connection.transport.is_closing():
                continue
            if connection.idle_since > oldest:
                return connection
            connection.transport.abort()
        return None

    def _keep(self, target: Target, connection: Connection) -> bool:
        """Let a connection wait for the next request; returns whether it may."""
        if (
            self.is_closed
            or connection.transport.is_closing()
            or connection.transport.get_write_buffer_size()
        ):
            return False
        now = connection.idle_since = asyncio.get_running_loop().time()
        idle = self._idle.setdefault((target.server, target.proxy), deque())
        while idle and idle[0].idle_since <= now - _IDLE_SECONDS:
            idle.popleft().transport.abort()
        idle.append(connection)
        return True

    # ------------------------------------------------------------ connecting

    async def _open(self, target: Target) -> Connection:
        """A new connection.

        Raises:
            NotConnected: nothing was sent.
        """
        failure = NotConnected if target.proxy is None else ProxyRefused
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._connect(target.proxy or target.server)
                if target.tunnel:
                    await self._open_tunnel(connection, target)
                return connection
        except NotConnected:
            raise
        except (OSError, ValueError, TimeoutError, BackendError) as exc:
            raise failure("no connection") from exc

    async def _connect(self, peer: Peer) -> Connection:
        """A connection to the first address of a host that takes one; it is tried first the next time."""
        addresses = await self._addresses_of(peer)
        for address in addresses:
            is_last = address == addresses[-1]
            try:
                async with asyncio.timeout(None if is_last else _NEXT_ADDRESS):
                    connection = await self._connect_to(address, peer)
            except OSError:  # TimeoutError is one
                if is_last:
                    raise
            else:
                self._prefer(address, peer)
                return connection
        raise OSError(f"{peer.host} has no address")

    async def _connect_to(self, address: str, peer: Peer) -> Connection:
        loop = asyncio.get_running_loop()
        context = self._trust() if peer.speaks_tls else None
        name = peer.host if peer.speaks_tls else None
        _, connection = await loop.create_connection(
            Connection, address, peer.port, ssl=context, server_hostname=name
        )
        return connection

    def _prefer(self, address: str, peer: Peer) -> None:
        """Try an address first from now on."""
        until, addresses = self._addresses[peer.host, peer.port]
        self._addresses[peer.host, peer.port] = until, sorted(addresses, key=lambda other: other != address)

    async def _addresses_of(self, peer: Peer) -> list[str]:
        """The addresses of a host."""
        loop = asyncio.get_running_loop()
        until, before = self._addresses.get((peer.host, peer.port), (0.0, []))
        if loop.time() < until:
            return before
        infos = await loop.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in infos))
        addresses.sort(key=lambda address: address not in before[:1])  # the one that answered stays the first
        self._addresses[peer.host, peer.port] = loop.time() + _ADDRESSES_SECONDS, addresses
        return addresses

    async def _open_tunnel(self, connection: Connection, target: Target) -> None:
        """Have a proxy connect to the server, and speak TLS with that."""
        is_open = False
        try:
            reply = await connection.exchange(target.tunnel, opens_tunnel=True)
            if reply.status >= 300:
                raise ProxyRefused(f"the proxy says {reply.status}")
            transport = await asyncio.get_running_loop().start_tls(
                connection.transport, connection, self._trust(), server_hostname=target.server.host
            )
            assert transport is not None
            connection.transport, is_open = transport, True
        finally:
            if not is_open:
                connection.transport.abort()
