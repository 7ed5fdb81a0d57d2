"""The rows that a process is at work on, in a file that is still there when the process has died.

The file has a fixed size and is written in place: a slot for how many rows are done, one for what was
spent, and one for every row that can be at work at once, with its position in the input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_SLOT = 32  # bytes, a line each
_FIRST_SLOT = 2  # slots before those of rows


class ShardProgress(NamedTuple):
    """What the file of a process says: rows done, dollars spent, and positions of rows at work."""

    rows: int = 0
    spent_usd: float = 0.0
    at_work: frozenset[int] = frozenset()


class FlightFile:
    """Writes what one process is at work on, at most `most` rows at once."""

    def __init__(self, path: Path, most: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._free = list(range(_FIRST_SLOT, _FIRST_SLOT + most))
        os.pwrite(self._fd, _slot("") * (_FIRST_SLOT + most), 0)
        self.rows = 0

    @contextmanager
    def row(self, position: int) -> Iterator[None]:
        """A row is at work in the body."""
        slot = self._free.pop()
        self._write(slot, str(position))
        try:
            yield
        finally:
            self._write(slot, "")
            self._free.append(slot)

    def finish_row(self, spent_usd: float | None) -> None:
        """Count one more row that is written, and what all of them and those at work cost so far."""
        self.rows += 1
        self._write(0, str(self.rows))
        self._write(1, repr(spent_usd or 0.0))

    def _write(self, slot: int, text: str) -> None:
        with suppress(OSError):  # a full disk is noticed where rows are written
            os.pwrite(self._fd, _slot(text), slot * _SLOT)

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)


def _slot(text: str) -> bytes:
    return text.ljust(_SLOT - 1).encode() + b"\n"


def read_progress(path: Path) -> ShardProgress:
    """What the file of a process says; nothing where it has none.

    Example:
        >>> read_progress(Path("/no/such/file"))
        ShardProgress(rows=0, spent_usd=0.0, at_work=frozenset())
    """
    try:
        rows, dollars, *slots = (line.strip() for line in path.read_bytes().split(b"\n")[:-1])
        return ShardProgress(
            int(rows or 0), float(dollars or 0), frozenset(int(slot) for slot in slots if slot)
        )
    except (OSError, ValueError):
        return ShardProgress()
