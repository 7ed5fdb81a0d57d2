"""Whose process this is: the command line's, or that of a program that automix is called from.

A process has one environment, one garbage collector, one list of warning filters and one handler for each
signal. The command line sets them as it needs them; in somebody else's program they stay as they are.
Whatever changes one of them asks `is_ours` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_commands = 0


def is_ours() -> bool:
    """Whether a command of the command line is at work in this process."""
    return _commands > 0


@contextmanager
def own_process() -> Iterator[None]:
    """Take the process while a command runs.

    Example:
        >>> with own_process():
        ...     is_ours()
        True
    """
    global _commands
    _commands += 1
    try:
        yield
    finally:
        _commands -= 1
