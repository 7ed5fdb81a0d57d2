"""Shards: the rows of one input, divided among processes by a hash of their ids.

A row belongs to the shard that the first eight bytes of the SHA-256 of its id name, modulo the number of
shards; a row without an id has its place in the input as its id, as everywhere. The numbers 7 and "7" are
one id, and belong to one shard. Every row that a shard writes carries a stamp, which `merge` reads and
takes off.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from automix_cli.errors import UsageError
from automix_cli.records import Json

if TYPE_CHECKING:
    from automix_cli.data.jsonl import Row

MOST_SHARDS = 100_000


class Shard(Struct, frozen=True):
    """Shard number `index`, from 0, of `count`."""

    index: int
    count: int

    def holds(self, ident: str | int) -> bool:
        """Whether the row of an id belongs to this shard.

        Example:
            >>> [Shard(index, 2).holds("q7") for index in range(2)]
            [False, True]
            >>> Shard(0, 5).holds(7) == Shard(0, 5).holds("7")
            True
        """
        return shard_of(ident, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(ident: str | int, count: int) -> int:
    """The number of the shard that an id belongs to, of `count`."""
    return id_hash(ident) % count


def id_hash(ident: str | int) -> int:
    """The first eight bytes of the SHA-256 of an id, as a number.

    Example:
        >>> f"{id_hash('q7'):016x}" == hashlib.sha256(b"q7").hexdigest()[:16]
        True
    """
    digest = hashlib.sha256(str(ident).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def parse_shard(text: str) -> Shard:
    """Read the value of `--shard`.

    Raises:
        UsageError: it is not I/N with I from 0 to N - 1.

    Example:
        >>> parse_shard("2/16")
        Shard(index=2, count=16)
    """
    index, slash, count = (part.strip() for part in text.partition("/"))
    whole = re.compile("[0-9]{1,9}")
    if not slash or not whole.fullmatch(index or "0") or not whole.fullmatch(count or "0"):
        raise UsageError(f"--shard: expected I/N, got {text!r}", hint="0/4, 1/4, 2/4 and 3/4 are all rows")
    if not index or not count:
        side = "before" if not index else "after"
        raise UsageError(f"--shard: {text!r} has nothing {side} the slash", hint="is a variable empty?")
    shard = Shard(int(index), int(count))
    if not 1 <= shard.count <= MOST_SHARDS:
        raise UsageError(f"--shard: expected 1 to {MOST_SHARDS:,} shards, got {shard.count:,}")
    if shard.index >= shard.count:
        raise UsageError(
            f"--shard: there is no shard {shard}: the numbers of {shard.count} start at 0",
            hint=f"0/{shard.count} to {shard.count - 1}/{shard.count}",
        )
    return shard


class Stamp(NamedTuple):
    """What every row of a shard says of its run.

    Attributes:
        shard: which one.
        rows: how many rows it has; None where the input was a pipe.
        input_rows: how many rows all shards have together.
        input: a short hash of all these rows as they were read.
    """

    shard: Shard
    rows: int | None = None
    input_rows: int | None = None
    input: str | None = None

    def to_dict(self) -> dict[str, Json]:
        """The `shard` object of a row.

        Example:
            >>> Stamp(Shard(2, 4)).to_dict()
            {'index': 2, 'of': 4, 'rows': None, 'input_rows': None, 'input': None}
        """
        own = {"index": self.shard.index, "of": self.shard.count}
        return {**own, "rows": self.rows, "input_rows": self.input_rows, "input": self.input}

    @classmethod
    def from_row(cls, row: Json) -> Stamp | None:
        """The stamp of a row; None where it has none.

        Raises:
            ValueError: it is none that a shard writes.
        """
        stamp = row.get("shard")
        if stamp is None:
            return None
        index, count, rows, total = (stamp[key] for key in ("index", "of", "rows", "input_rows"))
        counts = [n for n in (rows, total) if n is not None]
        if not all(type(n) is int for n in (index, count, *counts)):
            raise ValueError(stamp)
        return cls(parse_shard(f"{index}/{count}"), rows, total, stamp["input"])


def shard_name(row: Json) -> str:
    """The shard that a row was written by, as text; empty for a row of no shard.

    Example:
        >>> shard_name({"shard": {"index": 2, "of": 4}}), shard_name({})
        ('2/4', '')
    """
    stamp = row.get("shard")
    return f"{stamp.get('index')}/{stamp.get('of')}" if isinstance(stamp, dict) else ""


class ShardSurvey(Struct):
    """Counts all rows of an input by shard, hashes what they hold, and finds ids that stand twice.

    It keeps eight bytes a row, so that every process of many can look at all rows.
    """

    count: int
    rows: Counter[int] = field(default_factory=Counter)
    _hashes: array[int] = field(default_factory=lambda: array("Q"))
    _digest: Any = field(default_factory=hashlib.sha256)

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, looked at on their way."""
        for row in rows:
            number = id_hash(row.key)
            self.rows[number % self.count] += 1
            if row.id is not None:
                self._hashes.append(number)
            content = row.fault if row.raw is None else row.raw
            self._digest.update(json.dumps(content, default=str).encode() + b"\n")
            yield row

    def recount(self, rows: Iterable[Row]) -> None:
        """Count these rows instead."""
        self.rows = Counter(shard_of(row.key, self.count) for row in rows)

    def repeats(self) -> set[int]:
        """The hashes that more than one id has; nearly always because the ids are the same."""
        import numpy as np

        hashes = np.sort(np.frombuffer(self._hashes, np.uint64))
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

    def stamp(self, index: int, *picks: Json) -> Stamp:
        """The stamp of a shard, once all rows went by; `picks` say which of them are wanted."""
        digest = self._digest.copy()
        digest.update(json.dumps(picks).encode())
        shard = Shard(index, self.count)
        return Stamp(shard, self.rows[index], self.rows.total(), digest.hexdigest()[:12])
