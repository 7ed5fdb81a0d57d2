"""The streams of the command line: results on stdout, our own words on stderr, and libraries on neither.

Libraries print, and their log records end on whatever `sys.stderr` is at that moment. While a command
runs, `sys.stdout` and `sys.stderr` therefore lead elsewhere, and what a person is to read names its
stream: `stdout()`, `stderr()`. Inside somebody else's program nothing is replaced, and the two are
`sys.stdout` and `sys.stderr`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TextIO


class Streams(NamedTuple):
    """The streams that a process was started with; one that the caller closed is None."""

    out: TextIO | None
    err: TextIO | None


_own: Streams | None = None
_others: TextIO | None = None


def stdout() -> TextIO | None:
    """The stream of results."""
    return sys.stdout if _own is None else _own.out


def stderr() -> TextIO | None:
    """The stream of messages."""
    return sys.stderr if _own is None else _own.err


@contextmanager
def own_streams(others: TextIO) -> Iterator[None]:
    """Keep stdout and stderr for ourselves; everybody else writes to `others`."""
    global _own, _others
    _own, _others = Streams(sys.stdout, sys.stderr), others
    sys.stdout = sys.stderr = others
    try:
        yield
    finally:
        sys.stdout, sys.stderr = _own
        _own = None


@contextmanager
def messages_through(stream: TextIO) -> Iterator[None]:
    """Write messages to `stream`, which shows them above what moves at the bottom of a terminal."""
    global _own
    before = _own
    _own = Streams(stdout(), stream)
    try:
        yield
    finally:
        _own = before


def leave_to_others() -> None:
    """Give libraries their stream again, after a command that kept its own: at the exit they speak, too."""
    global _own
    if _others is not None:
        _own = Streams(sys.stdout, sys.stderr)
        sys.stdout = sys.stderr = _others
