"""Files of rows: an appender that never tears a line, and the rows that an earlier run left."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import IO

from automix_cli.data.jsonl import dumps, parse_json
from automix_cli.errors import DataError, StorageError, UsageError
from automix_cli.records import Json


class RowWriter:
    """Writes rows to a stream, each whole and flushed before the next.

    A reader that went away raises BrokenPipeError; a disk that is full a StorageError.
    """

    def __init__(self, stream: IO[bytes], name: str = "stdout") -> None:
        self.stream = stream
        self.name = name

    def write(self, row: Mapping[str, Json]) -> None:
        """Write one row."""
        self.put(f"{dumps(row)}\n".encode())

    def put(self, line: bytes) -> None:
        """Write bytes as they are, and flush them."""
        try:
            self.stream.write(line)
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise StorageError(f"{self.name}: {exc.strerror or exc}") from exc


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
        raise UsageError(f"{path}: another process is writing it") from exc
    return os.fdopen(fd, "r+b" if flags & os.O_RDWR else "wb")


# ---------------------------------------------------------------- resuming


@contextlib.contextmanager
def _stored(path: Path) -> Iterator[None]:
    """Name the file that could not be written."""
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc


class Earlier:
    """What an earlier run left in FILE and FILE.part, and where the rows of this one go.

    Rows already there are found by id; only their places are held in memory. New and kept
    rows are written to FILE.part, in the order of the input, and FILE.part takes the place
    of FILE at the end. A run that is killed leaves both; the next one first joins them. The
    files are locked for as long as this is open.

    Raises:
        UsageError: another process writes the file, or it is no regular file.
        DataError: a line that is no row of `ask`, other than a torn last one, or rows of
            another profile.
        StorageError: there is no room to join the two files.
    """

    def __init__(self, path: Path, profile_sha: str) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        self.profile_sha = profile_sha
        self.kept = self.changed = self.failed = self.torn = self.dropped = 0
        self._places: dict[str, int] = {}
        self._out = _open_locked(self.part, os.O_RDWR | os.O_CREAT)
        self._old = _open_locked(path, os.O_RDWR) if path.exists() else None
        if self._old is not None:
            self._index(self._old, path)
        if os.fstat(self._out.fileno()).st_size:
            with _stored(path):
                self._join()
        self._out.seek(0)
        self._out.truncate()

    def _index(self, file: IO[bytes], name: Path) -> None:
        """Note the place of every whole row; a last line without an end may be torn."""
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
            ident, sha = str(row["id"]), row["profile_sha"]
        except (DataError, TypeError, KeyError) as exc:
            if whole:
                raise DataError(f"{where}: is no row of automix ask", hint="--force starts it anew") from exc
            self.torn += 1
            return
        if sha not in ("", self.profile_sha):
            raise DataError(
                f"{where}: was written with another profile or other settings",
                hint="use that profile, another -o, or --force",
            )
        self._places[ident] = place

    def _join(self) -> None:
        """Make FILE hold its own rows and those of FILE.part, which go before them."""
        merged = self.path.with_name(f"{self.path.name}.merge")
        file = _open_locked(merged, os.O_RDWR | os.O_CREAT)
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
        os.replace(merged, self.path)
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
        """The ids of the rows that are there."""
        return self._places.keys()

    def take(self, ident: str | int, input_sha: str) -> dict[str, Json] | None:
        """The finished row of an id, if its input is what it was; else None, and the reason is counted."""
        if str(ident) not in self._places:
            return None
        row: dict[str, Json] = parse_json(self._line(str(ident)))
        if row.get("status") not in ("ok", "abstained"):
            self.failed += 1
        elif row.get("input_sha") != input_sha:
            self.changed += 1
        else:
            self.kept += 1
            return row
        return None

    @property
    def stream(self) -> IO[bytes]:
        """Where rows are written."""
        return self._out

    def finish(self) -> None:
        """Every row of the input is written: FILE.part becomes FILE, without rows no longer asked for.

        Raises:
            StorageError: the disk is full; both files stay.
        """
        with _stored(self.path):
            self._out.flush()
            os.fsync(self._out.fileno())
            os.replace(self.part, self.path)
        self.dropped = len(self._places) - self.kept - self.changed - self.failed

    def close(self) -> None:
        """Release the files and their locks."""
        for file in (self._out, self._old):
            if file is not None:
                with contextlib.suppress(OSError):  # the rest of a row that could not be written: it was told
                    file.close()
