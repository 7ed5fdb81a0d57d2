"""The files that shards wrote, read a row at a time and checked against what their rows say of themselves."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from automix_cli.data.jsonl import parse_json
from automix_cli.data.shards import Shard, Stamp, shard_of
from automix_cli.errors import DataError, UsageError
from automix_cli.records import ASK_SCHEMA, Json
from automix_cli.usage import add_money


class PartRow(NamedTuple):
    """A row of a part, without its stamp: its position in the input, its file and line."""

    position: int
    place: str
    row: dict[str, Json]


@dataclass(slots=True)
class ShardFile:
    """A file that a shard wrote. It is open from the start, so that nobody begins to write it meanwhile.

    After its rows were read, `stamp` is what they say of their run (None without rows), and `cut_line` the
    number of a last line that is not whole.

    Raises:
        UsageError: it cannot be opened, is being written, or has a run that was not finished beside it.
    """

    path: Path
    stamp: Stamp | None = None
    profile_sha: str = ""
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    cut_line: int = 0
    file: IO[bytes] = field(init=False)

    def __post_init__(self) -> None:
        if self.path.name.endswith(".part"):
            raise UsageError(f"{self.path}: is the file of a run that was not finished", hint=_FINISH)
        if self.path.with_name(f"{self.path.name}.part").exists():
            raise UsageError(f"{self.path}: its run was not finished: {self.path}.part", hint=_FINISH)
        try:
            self.file = self.path.open("rb")
        except OSError as exc:
            raise UsageError(f"{self.path}: {exc.strerror or exc}") from exc
        try:
            fcntl.flock(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self.file.close()
            raise UsageError(
                f"{self.path}: another process is writing it", hint="merge when it is done"
            ) from exc
        except OSError:  # a file system without locks: what its rows say has to do
            pass

    def close(self) -> None:
        """Let others write it."""
        with suppress(OSError):
            self.file.close()

    @property
    def missing(self) -> int:
        """How many of its shard's rows it lacks; 0 where the rows do not say how many there are."""
        return 0 if self.stamp is None or self.stamp.rows is None else self.stamp.rows - self.rows

    def read(self) -> Iterator[PartRow]:
        """The rows, from the first.

        Raises:
            DataError: a line is no row of a shard, or of another shard, or out of order.
        """
        self.rows, self.cut_line, last = 0, 0, -1
        self.statuses.clear()
        self.file.seek(0)
        for number, line in enumerate(self.file, 1):
            place = f"{self.path}:{number}"
            row = self._row(line, number, place)
            if row is None:
                continue
            if row.position <= last:
                raise DataError(f"{place}: its row {row.position} comes after row {last}", hint=_ONE_FILE)
            last = row.position
            self.rows += 1
            self.statuses[row.row["status"]] += 1
            yield row

    def _row(self, line: bytes, number: int, place: str) -> PartRow | None:
        """A line as a row; None for a blank one, and for the beginning of a line at the end."""
        if not line.strip():
            return None
        try:
            row = parse_json(line)
        except DataError as exc:
            if not line.endswith(b"\n"):
                self.cut_line = number
                return None
            raise DataError(f"{place}: {exc.message}", hint=_WRITTEN_BY) from exc
        try:
            stamp, index = self._stamp(row, place), row["index"]
            status, ident, sha = row["status"], row["id"], row["profile_sha"]
            add_money(row["cost_usd"], row["spent_usd"])
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as exc:
            raise DataError(f"{place}: is no row of automix ask --shard", hint=_WRITTEN_BY) from exc
        if not isinstance(index, int) or not isinstance(status, str) or not isinstance(sha, str):
            raise DataError(f"{place}: is no row of automix ask --shard", hint=_WRITTEN_BY)
        self._check(stamp, ident, sha, place)
        del row["shard"]
        return PartRow(index, place, row)

    def _stamp(self, row: Json, place: str) -> Stamp:
        """The stamp of a row."""
        stamp = Stamp.from_row(row)
        if stamp is None or row["schema"] != ASK_SCHEMA:
            raise DataError(f"{place}: its row was not written with --shard", hint=_WRITTEN_BY)
        return stamp

    def _check(self, stamp: Stamp, ident: Json, profile_sha: str, place: str) -> None:
        """Refuse a row that cannot stand beside those before it."""
        self.stamp = self.stamp or stamp
        if stamp.shard != self.stamp.shard:
            problem = f"{place}: is of shard {stamp.shard}, and the rows before it of {self.stamp.shard}"
            raise DataError(problem, hint=_ONE_FILE)
        if stamp != self.stamp:
            raise DataError(f"{place}: its row was made of another input than those before it", hint=_FINISH)
        if (own := shard_of(ident, stamp.shard.count)) != stamp.shard.index:
            other = Shard(own, stamp.shard.count)
            raise DataError(f"{place}: id {ident!r} belongs to shard {other}, not to {stamp.shard}")
        if profile_sha and self.profile_sha and profile_sha != self.profile_sha:
            raise DataError(
                f"{place}: was written with another profile than the rows before it", hint=_FINISH
            )
        self.profile_sha = self.profile_sha or profile_sha


_FINISH = "run the command of that shard again, with --resume"
_WRITTEN_BY = "it puts together what this writes: automix ask -i questions.jsonl -o part-0.jsonl --shard 0/4"
_ONE_FILE = "a file for each shard, as automix ask -o FILE --shard writes it"


def same_file(one: Path, other: Path) -> bool:
    """Whether two names are of one file."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
