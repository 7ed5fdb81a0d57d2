"""Output files of rows: a writer of whole lines, and the rows of an earlier, interrupted run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import IO

from automix_cli.data.jsonl import dumps, parse_json
from automix_cli.data.shards import shard_name
from automix_cli.errors import DataError, StorageError, UsageError
from automix_cli.records import Json


class RowWriter:
    """Writes rows to a stream, each whole and flushed before the next.

    A closed pipe raises BrokenPipeError; any other write error, such as a full disk, a StorageError.
    """

    def __init__(self, stream: IO[bytes], name: str = "stdout") -> None:
        self.stream = stream
        self.name = name

    def write(self, row: Mapping[str, Json]) -> None:
        """Write one row."""
        self.write_line(f"{dumps(row)}\n".encode())

    def write_line(self, line: bytes) -> None:
        """Write a line of bytes unchanged, and flush it."""
        try:
            self.stream.write(line)
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise StorageError(f"{self.name}: {exc.strerror or exc}") from exc


class LockedError(UsageError):
    """Another process writes the file."""


def open_output(path: Path, *, force: bool = False) -> IO[bytes]:
    """Open an output file for writing, empty, locked until it is closed.

    Raises:
        UsageError: when it exists (without `force`), is no regular file, or another
            process writes it.
    """
    file = _open_locked(path, os.O_WRONLY | os.O_CREAT | (0 if force else os.O_EXCL))
    os.ftruncate(file.fileno(), 0)
    return file


def _open_locked(path: Path, flags: int) -> IO[bytes]:
    """Open a regular file and lock it; the lock dies with the process."""
    import fcntl

    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError as exc:
        raise UsageError(f"{path}: exists", hint="--force overwrites it, --resume continues it") from exc
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written: {exc.strerror}") from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path}: is not a regular file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise LockedError(f"{path}: another process is writing it") from exc
    return os.fdopen(fd, "r+b" if flags & os.O_RDWR else "wb")


# ---------------------------------------------------------------- resuming


@contextlib.contextmanager
def _name_failing_file(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file."""
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc


class EarlierRows:
    """The rows of an earlier run in FILE and FILE.part, and the output of this run.

    Earlier rows are looked up by id; only their positions are held in memory. New and kept
    rows are written to FILE.part, in the order of the input, and FILE.part replaces FILE at
    the end. A run that is killed leaves both; the next one first joins them. Both files stay
    locked until `close`.

    Raises:
        UsageError: another process writes the file, or it is no regular file.
        DataError: a line other than the last is no row of `schema`, or the rows belong to
            another profile.
        StorageError: there is no room to join the two files.
    """

    def __init__(self, path: Path, profile_sha: str, schema: str) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        self.profile_sha, self.schema = profile_sha, schema
        self.kept_rows = self.changed_rows = self.failed_rows = self.torn_rows = self.dropped_rows = 0
        self.partial_rows = 0
        self.shards: set[str] = set()
        self._places: dict[str, int] = {}
        self._out = _open_locked(self.part, os.O_RDWR | os.O_CREAT)
        self._old = _open_locked(path, os.O_RDWR) if path.exists() else None
        if self._old is not None:
            self._index(self._old, path)
        if os.fstat(self._out.fileno()).st_size:
            with _name_failing_file(path):
                self._join()
        self._out.seek(0)
        self._out.truncate()

    def _index(self, file: IO[bytes], name: Path) -> None:
        """Record the position of every whole row; a last line without a line feed may be torn."""
        file.seek(0)
        place = 0
        for number, line in enumerate(file, 1):
            whole = line.endswith(b"\n")
            if line.strip():
                self._note(line, place, f"{name}:{number}", whole)
            place += len(line)

    def _note(self, line: bytes, place: int, where: str, whole: bool) -> None:
        try:
            row = parse_json(line)
            ident, sha, schema = str(row["id"]), row["profile_sha"], row["schema"]
        except (DataError, TypeError, KeyError) as exc:
            if whole:
                raise self._other_row(where) from exc
            self.torn_rows += 1
            return
        if schema != self.schema:
            raise self._other_row(where)
        if sha not in ("", self.profile_sha):
            raise DataError(
                f"{where}: was written with another profile or other settings",
                hint="use that profile, another -o, or --force",
            )
        self.shards.add(shard_name(row))
        self._places[ident] = place

    def _other_row(self, where: str) -> DataError:
        command = self.schema.partition("/")[0].replace(".", " ")
        return DataError(f"{where}: is no row of {command}", hint="--force starts it anew")

    def _join(self) -> None:
        """Merge FILE.part into FILE; where both have a row of one id, that of FILE.part counts."""
        merge_path = self.path.with_name(f"{self.path.name}.merge")
        file = _open_locked(merge_path, os.O_RDWR | os.O_CREAT)
        file.truncate(0)
        for ident in self._places:
            file.write(self._line(ident))
        old, self._old, self._places = self._old, file, {}
        self._out.seek(0)
        for line in self._out:
            if line.endswith(b"\n"):
                file.write(line)
        file.flush()
        os.fsync(file.fileno())
        os.replace(merge_path, self.path)
        if old is not None:
            old.close()
        self._index(file, self.path)

    def _line(self, ident: str) -> bytes:
        if self._old is None:
            raise KeyError(ident)
        self._old.seek(self._places[ident])
        line = self._old.readline()
        return line if line.endswith(b"\n") else line + b"\n"

    @property
    def ids(self) -> Set[str]:
        """The ids of the earlier rows."""
        return self._places.keys()

    def take(
        self,
        ident: str | int,
        input_sha: str,
        misses: Callable[[dict[str, Json]], bool] = lambda row: False,
    ) -> dict[str, Json] | None:
        """The finished row of an id whose input has not changed; else None, and the reason is counted.

        `misses` tells whether a finished row misses something that this run adds.
        """
        if str(ident) not in self._places:
            return None
        row: dict[str, Json] = parse_json(self._line(str(ident)))
        if row.get("status") not in ("ok", "abstained"):
            self.failed_rows += 1
        elif row.get("input_sha") != input_sha:
            self.changed_rows += 1
        elif misses(row):
            self.partial_rows += 1
        else:
            self.kept_rows += 1
            return row
        return None

    @property
    def stream(self) -> IO[bytes]:
        """The file that the rows of this run are written to."""
        return self._out

    def finish(self) -> None:
        """Replace FILE by FILE.part, which now holds every row of the input and no others.

        Raises:
            StorageError: the disk is full; both files stay.
        """
        with _name_failing_file(self.path):
            self._out.flush()
            os.fsync(self._out.fileno())
            os.replace(self.part, self.path)
        repeats = self.changed_rows + self.failed_rows + self.partial_rows
        self.dropped_rows = len(self._places) - self.kept_rows - repeats

    def close(self) -> None:
        """Release the files and their locks."""
        for file in (self._out, self._old):
            if file is not None:
                with contextlib.suppress(OSError):  # the write that failed has raised its error already
                    file.close()
