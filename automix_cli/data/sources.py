"""The sources of questions: an argument, a pipe or a file."""

from __future__ import annotations

import os
import random
import select
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from msgspec import Struct

from automix_cli.data.jsonl import (
    MAX_LINE,
    IdCheck,
    Line,
    OwnIdCheck,
    Row,
    RowCount,
    open_input,
    parse_json,
    parse_line,
    read_chunks,
    row_of,
    row_of_value,
    scan,
    split_lines,
    stdin_kind,
    stream_lines,
    valid_id,
)
from automix_cli.data.shards import Shard, ShardSurvey, Stamp, id_hash
from automix_cli.errors import DataError, UsageError
from automix_cli.records import Question

if TYPE_CHECKING:  # a question on the command line needs neither
    from automix_cli.data.choice_places import ChoicePlaces
    from automix_cli.data.columns import ColumnMapping
    from automix_cli.data.file_formats import FileRecord
    from automix_cli.data.id_lines import IdLines

Form = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "text"]

TEXT_LIMIT = 64 * 1024  # a longer text is probably a data file given by mistake, not one question
CONTEXT_LIMIT = 64 * 1024 * 1024
_MOST_ROWS_KEPT = 10_000  # of those that were checked: they are not read again
_MOST_BYTES_KEPT = 4 * 1024 * 1024  # of their lines; rows take several times as much
WHOLE_FILE_LIMIT = 4 * 1024 * 1024 * 1024  # of a file that is read whole
_PATIENCE = 2.0


class Single(Struct, frozen=True):
    """One question."""

    question: Question


@dataclass(slots=True)
class Rows:
    """Rows of an input; `fd` is read from `first` on as JSONL, and again from the start if seekable.

    `records` are the rows of a file in another format. `columns` maps the columns of either onto the keys
    of a row, and `places` says how right answers count choices, where they do. `shard` takes its part of the
    rows that are picked, and `stamp` says which.
    """

    fd: int
    name: str
    first: bytes = b""
    seekable: bool = False
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    records: Iterable[FileRecord] | None = None
    columns: ColumnMapping | None = None
    places: ChoicePlaces | None = None
    shard: Shard | None = None
    stamp: Stamp | None = None
    survey: ShardSurvey | None = None
    counts: RowCount | None = None
    ids: IdCheck = field(default_factory=IdCheck)
    _first_rows: deque[Row] = field(init=False, repr=False, compare=False, default_factory=deque)

    def check(self, *, strict: bool) -> None:
        """Scan a seekable input once before any call is made, no further than its limit; see `jsonl.scan`.

        Raises:
            UsageError: `strict` on a pipe, which cannot be read twice.
        """
        if strict and self.is_pipe:
            raise UsageError("--strict reads the input twice, and this is a pipe", hint="-i FILE, or < FILE")
        if self.is_pipe:
            self.stamp = None if self.shard is None else Stamp(self.shard)
            return
        is_simple = self.records is None and self.shard is None and self.sample is None
        rows: Iterator[Row] = islice(self._rows_to_keep() if is_simple else self._rows(), self.limit)
        self.survey = None if self.shard is None else ShardSurvey(self.shard.count)
        rows = rows if self.survey is None else self.survey.of(rows)
        self.counts = scan(rows, self.name, self.ids, strict=strict)
        if self.survey is not None and self.shard is not None:
            self._refuse_repeats(self.survey.repeats())
            if self.sample is not None:  # which rows are drawn is known only when all were counted
                self.survey.recount(self._draw(self._rows()))
            self.stamp = self.stamp_of(self.shard.index)

    def _refuse_repeats(self, hashes: Set[int]) -> None:
        """Refuse ids that stand twice in other shards, found by their hashes."""
        if hashes:
            rows = (row for row in islice(self._rows(), self.limit) if id_hash(row.key) in hashes)
            scan(rows, self.name, IdCheck(), strict=False)

    def stamp_of(self, index: int) -> Stamp:
        """The stamp of any shard of the rows picked, after `check`."""
        assert self.survey is not None
        return self.survey.stamp(index, self.limit, self.sample, None if self.sample is None else self.seed)

    @property
    def count(self) -> int | None:
        """The number of rows, after `check`; None for a pipe."""
        return None if self.counts is None else self.counts.rows

    def all_ids(self) -> IdLines | None:
        """The ids of all rows, or of the shard's, after `check`; None for a pipe."""
        return None if self.is_pipe else self.ids.ids

    @property
    def is_pipe(self) -> bool:
        """Whether the rows can be read only once."""
        return not self.seekable and self.records is None

    @property
    def total(self) -> int | None:
        """The number of rows that will be read, where it is known beforehand."""
        if self.stamp is not None:
            return self.stamp.rows
        bounds = [n for n in (self.count, self.sample, self.limit) if n is not None]
        return min(bounds) if self.count is not None else None

    def pick(self, *, limit: int | None, sample: int | None, seed: int, shard: Shard | None = None) -> Rows:
        """The same rows, but only the first `limit`, or `sample` of them at random; of these a shard."""
        if limit is not None and sample is not None:
            raise UsageError("--limit and --sample exclude each other")
        ids = IdCheck() if shard is None else OwnIdCheck(shard)
        return replace(self, limit=limit, sample=sample, seed=seed, shard=shard, ids=ids)

    @property
    def share(self) -> float:
        """The share of all rows picked that the shard has, after `check`; 1 without a shard.

        Of a pipe it is taken to be the same for every shard.
        """
        if self.stamp is None:
            return 1.0
        if self.stamp.rows is None or not self.stamp.input_rows:
            return 1 / self.stamp.shard.count
        return self.stamp.rows / self.stamp.input_rows

    def with_columns(self, columns: str | None) -> Rows:
        """The same rows, with their columns mapped as the option says.

        Raises:
            UsageError: it is no mapping, or maps what tiers did.
        """
        if columns is None:
            return self
        from automix_cli.data.columns import read_columns

        mapping = read_columns(columns)
        if mapping.has_tiers:
            raise UsageError("--columns: here rows hold questions, and no tiers")
        return replace(self, columns=mapping)

    def with_places(self, say: Callable[[str], None] = lambda line: None) -> Rows:
        """The same rows, with right answers that are places of choices read as those choices.

        Of a pipe nobody can tell, and its rows stay as they are; so do those that count in two ways.
        """
        if self.is_pipe:
            return self
        from automix_cli.data.choice_places import find_places

        try:
            places = find_places(lambda: ((row.index, row.raw) for row in self._rows()), self.name)
        except DataError as exc:
            say(f"{exc.message}: its answers get no score")
            return self
        if places is not None:
            say(f"read: {places.words()}")
        return replace(self, places=places)

    def _lines(self) -> Iterator[Line]:
        if self.seekable:
            os.lseek(self.fd, 0, os.SEEK_SET)
        return split_lines(chain((self.first,), read_chunks(self.fd)))

    def _rows(self, read: Callable[[Line, int], Row] | None = None) -> Iterator[Row]:
        """All rows, as they stand in the input."""
        if self.records is None:
            read = read or self._row
            return (read(line, index) for index, line in enumerate(self._lines()))
        return (self._row_of_record(record, index) for index, record in enumerate(self.records))

    def _rows_to_keep(self) -> Iterator[Row]:
        """All rows of lines; the first ones are kept, as far as they take little memory."""
        self._first_rows.clear()
        size = 0
        for index, line in enumerate(self._lines()):
            row = self._row(line, index)
            size += len(line.data or b"")
            if index < _MOST_ROWS_KEPT and size <= _MOST_BYTES_KEPT:
                self._first_rows.append(row)
            yield row

    def _rows_once_more(self) -> Iterator[Row]:
        """All rows after `check`: those that it kept, each given away, and the others read again."""
        first_rows, self._first_rows = self._first_rows, deque()
        count = len(first_rows)
        while first_rows:
            yield first_rows.popleft()
        if self.counts is not None and count == self.counts.rows:
            return
        for index, line in enumerate(self._lines()):
            if index >= count:
                yield self._own_row(line, index)

    def _own_row(self, line: Line, index: int) -> Row:
        """A line as a row; of one of another shard only what it is known by, which takes half the time."""
        if self.shard is None or self.columns is not None or self.places is not None:
            return self._row(line, index)
        try:
            raw = parse_line(line)
        except DataError as exc:
            return Row(index, line.number, None, exc.message)
        other = Row(index, line.number, None, id=valid_id(raw))
        return row_of_value(raw, index, line.number) if self.shard.holds(other.key) else other

    def _row(self, line: Line, index: int) -> Row:
        """A line as a row."""
        if self.columns is None and self.places is None:
            return row_of(line, index)
        from automix_cli.data.file_formats import FileRecord

        try:
            record = FileRecord(line.number, parse_line(line))
        except DataError as exc:
            record = FileRecord(line.number, None, exc.message)
        return self._row_of_record(record, index)

    def _row_of_record(self, record: FileRecord, index: int) -> Row:
        """A record as a row, with its columns mapped."""
        if record.fault:
            return Row(index, record.number, None, record.fault, raw=record.row)
        try:
            raw = record.row if self.columns is None else self.columns.map_one(record.row)
        except (DataError, UsageError) as exc:
            return Row(index, record.number, None, exc.message, raw=record.row, hint=exc.hint)
        if self.places is not None and isinstance(raw, dict):
            raw = self.places.resolve(raw)
        return row_of_value(raw, index, record.number)

    def all(self) -> Iterator[Row]:
        """All rows picked, read without an event loop (dry runs, and samples of a pipe)."""
        source = self._rows_once_more() if self._first_rows else self._rows(self._own_row)
        rows = map(self.ids.check, source)
        choice = islice(rows, self.limit) if self.sample is None else iter(self._draw(rows))
        return choice if self.shard is None else (row for row in choice if self.is_own(row))

    def every_row(self) -> Iterator[Row]:
        """All rows picked, whatever their ids: nothing is kept in memory of rows that went by."""
        rows = self._rows()
        return islice(rows, self.limit) if self.sample is None else iter(self._draw(rows))

    def is_own(self, row: Row) -> bool:
        """Whether a row belongs to the shard that is asked for, if one is."""
        return self.shard is None or self.shard.holds(row.key)

    def _draw(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Rows drawn at random, in their order; those of a pipe wait in memory until all are read."""
        if self.count is None:
            rows = list(rows)
        total = len(rows) if isinstance(rows, list) else self.count or 0
        indices = set(random.Random(self.seed).sample(range(total), min(self.sample or 0, total)))
        return (row for row in rows if row.index in indices)

    async def stream(self) -> AsyncIterator[Row]:
        """The rows picked, in order; a pipe is read as its rows come."""
        if not self.is_pipe or self.sample is not None:
            for row in self.all():
                yield row
            return
        index = 0
        async for line in stream_lines(self.first, self.fd):
            if self.limit is not None and index >= self.limit:
                break
            row = self._own_row(line, index)
            if self.is_own(row):
                yield self.ids.check(row)
            index += 1


def find_source(
    question: str | None,
    *,
    input_file: Path | None,
    context: Path | None,
    form: Form,
    ignore_stdin: bool,
    columns: str | None,
    say: Callable[[str], None],
) -> Single | Rows | None:
    """The one question or the rows that the options and stdin give; None when there is neither.

    Raises:
        UsageError: options that contradict each other.
        DataError: an input that can be neither rows nor a question.
    """
    if question is not None:
        if input_file is not None:
            raise UsageError("QUESTION and -i exclude each other", hint="put the question into the file")
        if columns is not None:
            raise UsageError("--columns goes with rows; this is one question")
        return Single(question_of(question, read_context(context, ignore_stdin=ignore_stdin, say=say)))
    if context is not None:
        raise UsageError("--context goes with a QUESTION", hint='rows carry theirs in "context"')
    rows = open_rows(input_file)
    if rows is None:
        return None
    source = _sniff(rows, form, say)
    return source if isinstance(source, Single) else source.with_columns(columns).with_places(say)


def open_rows(input_file: Path | None) -> Rows | None:
    """The rows of a file or of stdin, not yet read; None when there is neither."""
    if input_file is not None and str(input_file) != "-":
        # The descriptor stays open as long as the process: rows are read while others are answered.
        with open_input(input_file) as file:
            fd = os.dup(file.fileno())
        return Rows(fd, str(input_file), seekable=_is_seekable(fd))
    if stdin_kind() in ("pipe", "file"):
        return Rows(0, "stdin", seekable=_is_seekable(0))
    if input_file is not None:
        raise UsageError("-i - reads stdin, and nothing is piped into it")
    return None


def read_rows(
    input_file: Path | None, *, columns: str | None, say: Callable[[str], None], form: Form = "auto"
) -> Rows | None:
    """The rows of a file or of stdin, where a text is never one question; None when there is neither.

    Raises:
        DataError: a file in a format that holds no rows.
        UsageError: `columns` is no mapping.
    """
    from automix_cli.data.file_formats import format_of

    rows = open_rows(input_file)
    if rows is None:
        return None
    own = format_of(rows.name) if form == "auto" else form
    if own not in (None, "jsonl", "text"):
        rows = _whole(rows, own, say)
    return rows.with_columns(columns)


def _whole(rows: Rows, form: Any, say: Callable[[str], None], head: bytes = b"") -> Rows:
    """The rows of a file in another format: of Parquet a batch at a time, of any other whole.

    A .json file may hold an object a line all the same.
    """
    from automix_cli.data.file_formats import ParquetRecords, is_document, read_records

    if form == "parquet" and rows.seekable and not head:
        return replace(rows, records=ParquetRecords(rows.name, lambda: _another_reader(rows.fd)))
    content = head + _read_all(rows.fd, WHOLE_FILE_LIMIT)
    if form == "json" and not is_document(content):
        with suppress(DataError):
            if _is_object(next(split_lines((content,)), Line(0, b"")).data or b""):
                return rows if rows.seekable else replace(rows, first=content)
    return replace(rows, records=read_records(content, form, rows.name, say))


def _another_reader(fd: int) -> BinaryIO:
    """A file that is open, opened once more to be read from its beginning."""
    file = os.fdopen(os.dup(fd), "rb")
    file.seek(0)
    return file


def question_of(text: str, context: str | None) -> Question:
    """The question of a command line."""
    if not text.strip():
        raise UsageError("the question is empty")
    return Question(text=text.strip(), context=context)


def read_context(path: Path | None, *, ignore_stdin: bool, say: Callable[[str], None]) -> str | None:
    """Read the context of a single question from a file or stdin; a blank one counts as none."""
    if path is not None and str(path) != "-":
        with open_input(path) as file:
            text = _decode(_read_all(file.fileno(), CONTEXT_LIMIT), str(path))
    elif path is not None or (not ignore_stdin and stdin_kind() in ("pipe", "file")):
        _say_if_silent(say)
        text = _decode(_read_all(0, CONTEXT_LIMIT), "stdin")
    else:
        return None
    return text if text.strip() else None


def _say_if_silent(say: Callable[[str], None]) -> None:
    """Report that stdin is read: waiting for an open pipe that sends nothing looks like a hang."""
    if stdin_kind() == "pipe" and not select.select([0], [], [], _PATIENCE)[0]:
        say("reading context from stdin; --ignore-stdin skips it")


def _read_all(fd: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for chunk in read_chunks(fd):
        size += len(chunk)
        if size > limit:
            raise DataError(f"the text is over {limit // 1024:,} KiB")
        parts.append(chunk)
    return b"".join(parts)


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DataError(f"{name}: invalid UTF-8 at byte {exc.start + 1}") from exc


def _sniff(rows: Rows, form: Form, say: Callable[[str], None]) -> Single | Rows:
    """Distinguish rows from text: by the option, the file's name, or the first line that is not blank."""
    from automix_cli.data.file_formats import format_of, is_document, is_table, read_records

    own = (format_of(rows.name) or form) if form == "auto" else form
    if own == "jsonl":
        return rows
    if own == "text":
        return Single(question_of(_decode(_read_all(rows.fd, CONTEXT_LIMIT), rows.name), None))
    if own != "auto":
        return _whole(rows, own, say)
    head, line = _first_line(rows.fd)
    if line is None or _is_object(line):
        return rows if rows.seekable else replace(rows, first=head)
    if line[:1] in (b"{", b"["):
        data = head + _read_all(rows.fd, WHOLE_FILE_LIMIT)
        if is_document(data):
            return replace(rows, records=read_records(data, "json", rows.name, say))
        raise DataError(
            f"{rows.name}: starts like JSON, but its first line is not a JSON object",
            hint="one object a line, or --input text to ask it as it stands",
        )
    data = head + _read_all(rows.fd, CONTEXT_LIMIT)
    if is_table(data[:TEXT_LIMIT].decode("utf-8", "replace")):
        return replace(rows, records=read_records(data, "csv", rows.name, say))
    if len(data) > TEXT_LIMIT:
        raise DataError(
            f"{rows.name}: over {TEXT_LIMIT // 1024} KiB of text, and not JSONL",
            hint="--input text asks it as one question, --input csv reads it as a table",
        )
    return Single(question_of(_decode(data, rows.name), None))


def _is_seekable(fd: int) -> bool:
    try:
        return os.lseek(fd, 0, os.SEEK_CUR) == 0
    except OSError:
        return False


def _first_line(fd: int) -> tuple[bytes, bytes | None]:
    """All bytes read so far, and the first line in them that is not blank (None without one)."""
    head = b""
    while len(head) <= MAX_LINE:
        chunk = os.read(fd, 1 << 16)
        head += chunk
        whole = head[: head.rfind(b"\n") + 1] if chunk else head
        line = next(split_lines((whole,)), None)
        if line is not None or not chunk:
            return head, None if line is None else line.data
    raise DataError(f"the first line is longer than {MAX_LINE // (1024 * 1024)} MB")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except DataError:
        return False
