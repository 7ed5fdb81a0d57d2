"""What became of a connection: never made, so that nothing was sent, or broken after it was.

Exceptions are known by the names of their classes, since httpx and aiohttp are not both imported.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

from automix_cli.errors import BackendError, BadResponse, TimedOut, Unreachable

_NEVER_SENT = {
    *("ClientConnectorError", "ClientHttpProxyError", "ConnectionTimeoutError"),  # of aiohttp
    *("ConnectTimeout", "UnsupportedProtocol", "InvalidURL", "ValueError"),
}
_NO_ADDRESS = {"ValueError", "InvalidURL", "UnsupportedProtocol"}


def connection_error(exc: Exception, scheme: str, where: str) -> BackendError:
    """The error of a connection to the host `where` that could not be made, or broke."""
    causes = list(causes_of(exc))
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    never = bool(names & _NEVER_SENT)
    # Under httpx a broken connection is aiohttp's ClientOSError, one never made its ClientConnectorError.
    if _names(exc) & {"ConnectError", "ProxyError"} and "ClientOSError" not in names:
        never = True
    if never:
        what, hint = connect_problem(causes), f"is {scheme}://{where} the right address, and up?"
        return Unreachable(f"cannot reach {where}: {what}", hint=hint)
    if _names(exc) & {"TimeoutException", "TimeoutError"}:
        return TimedOut(f"{where} fell silent", maybe_billed=True)
    return BadResponse(f"the connection to {where} broke before the answer was complete", maybe_billed=True)


def connect_problem(causes: list[BaseException]) -> str:
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
        if _names(cause) & _NO_ADDRESS:
            return "this is no address"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if _names(cause) & {"TimeoutError", "TimeoutException"}:
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


def _names(exc: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(exc).__mro__}
