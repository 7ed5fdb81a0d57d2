"""Whose process this is: the command line's, or that of a program that automix is called from.

A process has one environment, one garbage collector, one list of warning filters and one handler for each
signal. The command line sets them as it needs them; in somebody else's program they stay as they are.
Whatever changes one of them asks `is_ours` first.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""How many threads work on one sum. The libraries behind NumPy and scikit-learn read them when they load."""

_IMPORTED_OBJECTS = 100_000
"""Objects made since, and still there, before Python looks for cycles among them: imports make that many."""

_USUAL = gc.get_threshold()
_commands = 0


def is_ours() -> bool:
    """Whether a command of the command line is at work in this process."""
    return _commands > 0


@contextmanager
def own_process() -> Iterator[None]:
    """Take the process while a command runs.

    Sums are small here, so that a second thread mostly waits, at full load, and what a sum comes to in its
    last digits depends on how many threads there are: one adds, unless the environment says otherwise.

    Example:
        >>> with own_process():
        ...     is_ours()
        True
    """
    global _commands
    _commands += 1
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        _commands -= 1


def collect_rarely() -> None:
    """Look for cycles of objects more rarely: most commands end before they have made many."""
    gc.set_threshold(_IMPORTED_OBJECTS, *_USUAL[1:])


def collect_as_usual() -> None:
    """Look for cycles as often as Python does by itself, in a process of ours that goes on for long."""
    if is_ours():
        gc.set_threshold(*_USUAL)
