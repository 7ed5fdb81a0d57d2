"""What SQLite says went wrong."""

from __future__ import annotations


def sqlite_codes(exc: BaseException | None) -> set[int]:
    """The primary result codes of an error and of those it hides.

    diskcache raises Timeout for every failed BEGIN, and a failed ROLLBACK hides the reason for it.
    """
    codes = set()
    while exc is not None:
        codes.add(getattr(exc, "sqlite_errorcode", 0) & 0xFF)
        exc = exc.__context__
    return codes
