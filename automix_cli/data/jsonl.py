"""JSONL: a strict line reader, the question rows in its lines, and text that is safe to print.

Lines end at a line feed (a carriage return before it is dropped) and at nothing else,
so U+2028 inside a text does not cut a row in two. JSON is read strictly: no NaN, no
duplicate keys, no excessive nesting. Every message names its line.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain
from json.scanner import make_scanner
from math import isinf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from automix_cli.data.id_lines import IdLines
from automix_cli.data.rows import question_from_dict, value_of
from automix_cli.errors import DataError
from automix_cli.records import Json, Question
from automix_cli.texts import json_encoder, lazy_pattern

if TYPE_CHECKING:
    from automix_cli.data.shards import Shard

MAX_LINE = 16 * 1024 * 1024
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"


class Line(Struct, frozen=True, gc=False):
    """One line of input that is not blank: its 1-based number and its bytes (None: over the limit)."""

    number: int
    data: bytes | None


class Row(Struct, frozen=True, gc=False):
    """One input row: a question, or in `fault` what is wrong with its line, and in `hint` what mends it."""

    index: int
    line: int
    question: Question | None
    fault: str = ""
    id: str | int | None = None
    raw: Json = None
    hint: str = ""

    @property
    def key(self) -> str:
        """What the row is known by: its id as text, else its place in the input."""
        return str(self.index if self.id is None else self.id)


# ---------------------------------------------------------------- bytes to lines


class LineSplitter:
    r"""Cuts chunks of bytes into numbered lines, holding at most one line in memory.

    Example:
        >>> splitter = LineSplitter()
        >>> [line.number for chunk in (b"a\r\n\nb", b"c") for line in splitter.feed(chunk)]
        [1]
        >>> list(splitter.close())
        [Line(number=3, data=b'bc')]
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self.limit = limit
        self._parts: list[bytes] = []
        self._length = 0
        self._number = 1

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that `chunk` completes."""
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            # A line that lies in one chunk is the usual one; the first may begin with a mark.
            if self._length or self._number == 1 or len(part) > self.limit:
                self._keep(part)
                line = self._flush()
            else:
                line = _line_of(self._number, part)
            if line:
                yield line
            self._number += 1
        self._keep(rest)

    def close(self) -> Iterator[Line]:
        """Yield the last line when it has no line feed."""
        if line := self._flush():
            yield line

    def _keep(self, part: bytes) -> None:
        self._length += len(part)
        if self._length <= self.limit:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _flush(self) -> Line | None:
        """The line that is whole now; None for a blank one."""
        data = b"".join(self._parts)
        too_long = self._length > self.limit
        self._parts, self._length = [], 0
        if self._number == 1:
            data = data.removeprefix(_BOM)
        return Line(self._number, None) if too_long else _line_of(self._number, data)


def _line_of(number: int, data: bytes) -> Line | None:
    """The line without the carriage return at its end; None for a blank one."""
    data = data.removesuffix(b"\r")
    return None if data.isspace() or not data else Line(number, data)


def read_chunks(fd: int) -> Iterator[bytes]:
    """Read a file descriptor to its end, without Python's buffer in between."""
    while chunk := os.read(fd, _CHUNK):
        yield chunk


def split_lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    """All lines of a byte stream that are not blank."""
    splitter = LineSplitter()
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.close()


async def stream_lines(first: bytes, fd: int) -> AsyncIterator[Line]:
    """Yield the lines of a pipe as they arrive; `first` are bytes already read from it.

    A daemon thread does the blocking reads, so a silent pipe blocks neither the calls in
    flight nor the end of the process.
    """
    import asyncio  # imported here because only pipes need it, and it is slow to import

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)

    def pump() -> None:
        with contextlib.suppress(RuntimeError, OSError):
            for chunk in chain(read_chunks_or_end(fd), (b"",)):
                asyncio.run_coroutine_threadsafe(queue.put(chunk), loop).result()

    threading.Thread(target=pump, daemon=True).start()
    splitter = LineSplitter()
    chunk = first
    while True:
        for line in splitter.feed(chunk):
            yield line
        chunk = await queue.get()
        if not chunk:
            break
    for line in splitter.close():
        yield line


def read_chunks_or_end(fd: int) -> Iterator[bytes]:
    """Like `read_chunks`, but treat a read error as the end."""
    with contextlib.suppress(OSError):
        yield from read_chunks(fd)


# ---------------------------------------------------------------- lines to rows


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [key for key, _ in pairs]
        raise DataError(f"key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return row


def _no_constant(name: str) -> Json:
    raise DataError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise DataError(f"{text} is out of range")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
_scan = make_scanner(_STRICT)  # type: ignore[arg-type]  # a decoder is what it takes


_read, _write = Decoder().decode, Encoder().encode


def _read_plainly(data: bytes) -> Json:
    r"""Decode JSON by the faster reader, where it can be told that no key stands twice; else None.

    It is strict, but of two equal keys it takes the last. Each key has a colon behind it, and colons within
    texts stay what they are, unless they are written as \u003a: so a key that was lost leaves fewer colons.
    """
    if b"\\" in data and b"\\u" in data:
        return None
    try:
        value = _read(data)
        return value if _write(value).count(b":") == data.count(b":") else None
    except (ValueError, RecursionError):  # the other reader finds the words for it
        return None


def _decode(text: str) -> Json:
    """Decode strict JSON; a text that is one value, with nothing around it, in one step."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else _STRICT.decode(text)


def parse_json(data: bytes | str) -> Json:
    """Parse strict JSON.

    Raises:
        DataError: for anything that is not JSON, and for NaN, Infinity, duplicate keys,
            invalid UTF-8 and nesting too deep for the parser.

    Example:
        >>> parse_json(b'{"a": 1}')
        {'a': 1}
    """
    try:
        if not isinstance(data, bytes):
            return _decode(data)
        value = _read_plainly(data)
        return _decode(data.decode("utf-8")) if value is None else value
    except UnicodeDecodeError as exc:
        raise DataError(f"invalid UTF-8 at byte {exc.start + 1}") from exc
    except json.JSONDecodeError as exc:
        raise DataError(f"not JSON: {exc.msg.removesuffix(' at')} at column {exc.colno}") from exc
    except RecursionError as exc:
        raise DataError("nested too deeply") from exc
    except ValueError as exc:
        raise DataError(f"not JSON: {str(exc).split(';')[0]}") from exc


def parse_line(line: Line) -> Json:
    """Parse one line; see `parse_json`."""
    if line.data is None:
        raise DataError(f"the line is longer than {MAX_LINE // (1024 * 1024)} MB")
    return parse_json(line.data)


def row_of(line: Line, index: int) -> Row:
    """Read a line as a question row; an error is returned in `fault`, not raised."""
    try:
        raw = parse_line(line)
    except DataError as exc:
        return Row(index, line.number, None, exc.message)
    return row_of_value(raw, index, line.number)


def row_of_value(raw: Json, index: int, number: int) -> Row:
    """Read a value as a question row; an error is returned in `fault`, not raised."""
    try:
        question = question_from_dict(raw, index)
        return Row(index, number, question, id=question.id, raw=raw)
    except DataError as exc:
        return Row(index, number, None, exc.message, id=valid_id(raw), raw=raw, hint=exc.hint)


def valid_id(raw: Json) -> str | int | None:
    """The id of a value that may be no row; None where it has none that counts."""
    ident = value_of(raw, "id") if isinstance(raw, dict) else None
    return ident if isinstance(ident, str | int) and not isinstance(ident, bool) else None


def rows_of(lines: Iterable[Line]) -> Iterator[Row]:
    """Number the lines from 0 and read each as a question row."""
    return (row_of(line, index) for index, line in enumerate(lines))


class RowCount(NamedTuple):
    """How many rows an input has, how many of them cannot be read, and the fault of the first of those."""

    rows: int
    bad: int
    first_fault: str


class IdCheck:
    """Finds duplicate ids; `1` and `"1"` count as the same id, because joins by id treat them so.

    Attributes:
        ids: those of all rows checked so far.
    """

    def __init__(self) -> None:
        self.ids = IdLines()

    def check(self, row: Row) -> Row:
        """Return the row, or a row with a fault when an earlier one had its id."""
        if row.id is None:
            return row
        first = self.ids.first(str(row.id), row.line)
        if first == row.line:
            return row
        return replace(row, question=None, fault=f"id {row.id!r} stands twice (first in line {first})")


class OwnIdCheck(IdCheck):
    """Finds duplicate ids among the rows of one shard, which has all rows of an id."""

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self._shard = shard

    def check(self, row: Row) -> Row:
        """Return the row, or a row with a fault; rows of other shards as they are."""
        return super().check(row) if self._shard.holds(row.key) else row


def scan(rows: Iterable[Row], name: str, ids: IdCheck, *, strict: bool) -> RowCount:
    """Check all rows before any call is made; count them, and record their ids in `ids`.

    Raises:
        DataError: for duplicate ids and invalid UTF-8 always, for any bad line if `strict`, and where
            no row can be read because the columns have other names.
    """
    count, bad, first = 0, 0, None
    for row in rows:
        count += 1
        fault = ids.check(row).fault
        if fault and (strict or fault != row.fault or "UTF-8" in fault):
            hint = row.hint or "nothing was sent; mend the line first"
            raise DataError(f"{name}:{row.line}: {fault}", hint=hint)
        if fault:
            bad, first = bad + 1, first or row
    if first is not None and bad == count and first.hint:
        raise DataError(f"{name}:{first.line}: {first.fault}", hint=first.hint)
    return RowCount(count, bad, "" if first is None else f"{name}:{first.line}: {first.fault}")


class BadRows(Struct):
    """Counts the rows of the input `name` that cannot be read."""

    name: str
    rows: int = 0
    first_fault: str = ""

    def questions(self, rows: Iterable[Row]) -> Iterator[Question]:
        """The questions of rows, without those that cannot be read."""
        for row in rows:
            if row.question is not None:
                yield row.question
            else:
                self.add(row, row.fault)

    def add(self, row: Row, fault: str) -> None:
        """Count one."""
        self.rows += 1
        self.first_fault = self.first_fault or f"{self.name}:{row.line}: {fault}"

    def to_dict(self) -> dict[str, Json]:
        """Their number and the first, as a dry run says them; nothing where there is none."""
        return {"bad_rows": self.rows, "first_bad_row": self.first_fault} if self.rows else {}


def open_input(path: Path) -> IO[bytes]:
    """Open an input file for reading, unbuffered.

    Raises:
        DataError: when it is missing, a folder, compressed or not readable.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError as exc:
        raise DataError(f"{path}: {exc.strerror or exc}") from exc
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        if file.read(2) == b"\x1f\x8b":
            file.close()
            raise DataError(f"{path}: is compressed", hint=f"zcat {path} | automix ask")
        file.seek(0)
    return file


# ---------------------------------------------------------------- rows out

_UNSAFE = lazy_pattern("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


_encode_row = json_encoder(json.JSONEncoder(ensure_ascii=False, allow_nan=False))


def dumps(row: Json) -> str:
    """One line of JSON, UTF-8, safe on a terminal and under `splitlines`.

    Controls, bidirectional marks, other line ends and lone surrogates are escaped; all
    other text stays readable.

    Example:
        >>> dumps({"answer": "Köln"})
        '{"answer": "Köln"}'
    """
    text = _encode_row(row)
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNSAFE.sub(lambda m: f"\\u{ord(m.group()):04x}", text)


def printable(text: str) -> str:
    r"""Escape control characters other than line feed and tab, for a terminal.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return _CONTROLS.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


_CONTROLS = lazy_pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def stdin_kind() -> Literal["terminal", "pipe", "file", "none"]:
    """What standard input is: `terminal`, `pipe` (FIFO or socket), `file`, or `none`."""
    try:
        fd = sys.stdin.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError):
        return "none"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return "pipe"
    if stat.S_ISREG(mode):
        return "file"
    return "terminal" if os.isatty(fd) else "none"
