"""From a profile that is open to a server that listens, and to its end.

bind ─▶ warm up ─▶ listen ─▶ a signal ─▶ finish what is under way ─▶ exit code
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from aiohttp import web
from msgspec import Struct, field

from automix_cli.backends.catalog import is_loopback_host
from automix_cli.cascade.batch import interruptible
from automix_cli.errors import UsageError
from automix_cli.serving.app import ChatServer
from automix_cli.serving.warm import warm_up

_BACKLOG = 1024
_KEEP_ALIVE = 60.0
"""Seconds within which the head of a connection's first, and of each further request must have come."""


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which does not listen yet; port 0 takes one that is free.

    Raises:
        UsageError: the address is taken, or none of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise UsageError(f"--host {host}: {exc.strerror}", hint="--host 127.0.0.1") from exc
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(address)
    except OSError as exc:
        server.close()
        raise _bind_error(host, port, exc) from exc
    return server


def _bind_error(host: str, port: int, exc: OSError) -> UsageError:
    if exc.errno == errno.EADDRINUSE:
        hint = f"automix serve --port {port + 1 if port < 65535 else 0}, or end what listens there"
        return UsageError(f"port {port} of {host} is in use", hint=hint)
    if exc.errno == errno.EACCES:
        return UsageError(f"port {port} is for the system alone", hint="automix serve --port 8765")
    reason = os.strerror(exc.errno) if exc.errno else str(exc)
    return UsageError(f"--host {host}: {reason}", hint="--host 127.0.0.1")


def url_of(server: socket.socket) -> str:
    """The base URL for clients of a socket."""
    host, port = server.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def check_reach(host: str, key: str) -> None:
    """Refuse to serve other machines without a key.

    Raises:
        UsageError: the host is not this machine alone, and no key is asked for.
    """
    if not key and not is_loopback_host(host):
        raise UsageError(
            f"--host {host} lets other machines ask at your cost: that needs a key",
            hint="export AUTOMIX_SERVER_KEY=…; automix serve --host … --api-key-env AUTOMIX_SERVER_KEY",
        )


class _Stop(Struct):
    """What a signal stops: the questions of a server, and the wait for the signal itself."""

    server: ChatServer
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, *, drop: bool = False) -> None:
        """Take no further question; `drop` gives up those under way."""
        self.server.desk.stop(drop=drop)
        self.event.set()


def runner_of(server: ChatServer, *, keep_alive: float = _KEEP_ALIVE) -> web.AppRunner:
    """What runs a server; a handler is cancelled when its client goes away."""
    return web.AppRunner(
        server.app(),
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=keep_alive,
        lingering_time=2.0,  # a client that still sends its body must be able to read why it is refused
        shutdown_timeout=2.0,
    )


async def serve(server: ChatServer, listener: socket.socket) -> int:
    """Serve until a signal comes, and finish what is under way; returns the exit code.

    The listener is closed at once then, and a request that comes over an open connection is refused.
    """
    log = server.log
    stop = _Stop(server)
    with interruptible(stop, lambda line: log.write("stopping", message=line), "questions") as signals:
        await warm_up(server.models.whole)
        runner = runner_of(server)
        await runner.setup()
        try:
            if not stop.event.is_set():
                await _listen_until(stop, runner, listener)
            await server.desk.wait_until_idle()
        finally:
            await runner.cleanup()
    log.write("stopped", signal=signals[0] if signals else None)
    return 128 + signals[0] if signals else 0


async def _listen_until(stop: _Stop, runner: web.AppRunner, listener: socket.socket) -> None:
    """Take connections until the server is to stop."""
    site = web.SockSite(runner, listener, backlog=_BACKLOG)
    await site.start()
    models = list(stop.server.models.names)
    stop.server.log.write("listening", url=url_of(listener), models=models)
    try:
        await stop.event.wait()
    finally:
        await site.stop()
