"""Contexts for TLS that read no certificates while a library that makes them is imported.

aiohttp makes two when it is imported, each with all certificates of the system, which takes a tenth of the
time of a whole call. The direct client brings a context of its own where TLS is spoken (see `DirectBackend`),
so that these two are for nobody, unless LiteLLM is loaded, too.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from automix_cli import process

_bare: list[ssl.SSLContext] = []


@contextlib.contextmanager
def bare_contexts() -> Iterator[None]:
    """Let no context read the system's certificates meanwhile: such a one trusts nobody.

    In somebody else's program contexts are not ours to leave empty.
    """
    if not process.is_ours():
        yield
        return
    kind = ssl.SSLContext

    def leave_empty(self: ssl.SSLContext) -> None:
        _bare.append(self)

    kind.set_default_verify_paths = leave_empty  # type: ignore[method-assign]
    try:
        yield
    finally:
        del kind.set_default_verify_paths  # the one of the class above is there again


def fill_contexts() -> None:
    """Read the certificates now, for whoever may use these contexts."""
    while _bare:
        _bare.pop().set_default_verify_paths()
