"""Rows in the files that people have: JSON, CSV, TSV, Parquet, and the logs of evaluation tools.

JSONL is read line by line in `jsonl`; everything here is read whole, Parquet files of `ask` apart. The number
of a record is that of its line in CSV and TSV, and in other files that of the row. A record that cannot be
read holds what is wrong with it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, NamedTuple

from msgspec import Struct

from automix_cli.data.documents import rows_of_archive, rows_of_document
from automix_cli.data.row_keys import CONTENT_NAMES, PLAIN_NAMES, plain_name
from automix_cli.errors import DataError, UsageError
from automix_cli.records import Json
from automix_cli.texts import count_of

FileFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "eval"]

_ENDINGS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".eval": "eval",
}
_DELIMITERS = ",;\t|"
_LONGEST_CELL = 16 * 1024 * 1024


class FileRecord(NamedTuple):
    """One record of a file: its number, its row, and in `fault` what is wrong with it."""

    number: int
    row: Json
    fault: str = ""


def format_of(name: str) -> FileFormat | None:
    """The format that the ending of a file's name stands for; None for another ending.

    Raises:
        DataError: it is that of a workbook, which is not read.

    Example:
        >>> format_of("rows.CSV"), format_of("notes.txt")
        ('csv', None)
    """
    ending = os.path.splitext(name)[1].lower()
    if ending in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{name}: is a workbook, which is not read", hint="save its sheet as CSV (UTF-8)")
    return _ENDINGS.get(ending)


def form_of_content(name: str, content: bytes) -> FileFormat:
    """The format of a file, by its name or else by its first bytes; a .json file may hold JSONL."""
    form = format_of(name)
    if content.startswith(b"PAR1"):
        return "parquet"
    if form == "jsonl":
        return form
    if form in (None, "json") and content.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        return "json" if is_document(content) else "jsonl"
    if form is None and is_table(content[:65536].decode("utf-8", "replace")):
        return "csv"
    return form or "jsonl"


def read_records(content: bytes, form: FileFormat, name: str, say: Callable[[str], None]) -> list[FileRecord]:
    """All records of a file that is not JSONL; `say` takes a note on how it was read.

    Raises:
        DataError: naming the file, that it is not of this format, or holds no rows.
        UsageError: a Parquet file, without the package that reads it.
    """
    if form == "parquet":
        return list(ParquetRecords(name, lambda: io.BytesIO(content)))
    if form == "eval":
        return _with_numbers(rows_of_archive(content, name))
    if form == "json":
        return _with_numbers(rows_of_document(parse_document(content, name), name, say))
    return list(_table(decode(content, name, say), name, "\t" if form == "tsv" else "", say))


def _with_numbers(rows: list[Json]) -> list[FileRecord]:
    return [FileRecord(number, row) for number, row in enumerate(rows, 1)]


def is_document(content: bytes) -> bool:
    """Whether a text is one JSON document with rows, rather than an object a line or plain text."""
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) or (
        isinstance(document, list) and isinstance(next(iter(document), 0), dict)
    )


def parse_document(content: bytes, name: str) -> Json:
    """Parse a whole JSON file; NaN, which logs of other tools hold among their scores, reads as null.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=lambda constant: None)
    except UnicodeDecodeError as exc:
        raise DataError(f"{name}: invalid UTF-8 at byte {exc.start + 1}") from exc
    except json.JSONDecodeError as exc:
        problem = exc.msg.removesuffix(" at")
        raise DataError(f"{name}:{exc.lineno}: not JSON: {problem} at column {exc.colno}") from exc
    except (RecursionError, ValueError) as exc:
        raise DataError(f"{name}: nested too deeply, or with a number too long to read") from exc


# ---------------------------------------------------------------- text


def decode(content: bytes, name: str, say: Callable[[str], None]) -> str:
    """The text of a table: UTF-8, else UTF-16 with its mark, else Windows-1252, which is said.

    Raises:
        DataError: it is text in none of them.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        at = exc.start
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        problem = f"{name}: neither UTF-8 nor Windows-1252 (byte {at + 1})"
        raise DataError(problem, hint="save it as UTF-8") from None
    line = content.count(b"\n", 0, at) + 1
    word = text[max(0, at - 12) : at + 12].splitlines() or [""]
    say(f"note: {name} is not UTF-8; read as Windows-1252: line {line} has {word[-1].strip()!r}")
    return text


# ---------------------------------------------------------------- CSV and TSV


def _table(text: str, name: str, delimiter: str, say: Callable[[str], None]) -> Iterator[FileRecord]:
    """The rows of a table whose first line names the columns.

    Raises:
        DataError: there is no such line, a column's name stands twice, or quotes are not closed.
    """
    if text[:4].lower() == "sep=" and len(text) > 4:  # as Excel writes it
        delimiter, text = text[4], text.partition("\n")[2]
    delimiter = delimiter or delimiter_of(text)
    try:
        rows = list(_cells(text, delimiter, csv.QUOTE_MINIMAL, name))
    except DataError:
        if delimiter != "\t":
            raise
        rows = list(_cells(text, delimiter, csv.QUOTE_NONE, name))  # many a TSV has bare quotes
    if not rows:
        raise DataError(f"{name}: there are no rows")
    header = [cell.strip() for cell in rows[0][1]]
    _check_header(header, name, say)
    for line, cells in rows[1:]:
        yield _table_record(line, cells, header)


def _check_header(header: list[str], name: str, say: Callable[[str], None]) -> None:
    """Refuse a column that rows are read by and that stands twice; of others the first counts."""
    doubles = dict.fromkeys(h for i, h in enumerate(header) if h and h in header[:i])
    clashes = [h for h in doubles if plain_name(h) in (*CONTENT_NAMES, *PLAIN_NAMES["id"])]
    if clashes:
        raise DataError(f"{name}: column {clashes[0]!r} stands twice", hint="give one of them another name")
    if doubles:
        say(f"note: {name}: of columns with one name the first counts: {', '.join(doubles)}")


def _cells(text: str, delimiter: str, quoting: Literal[0, 3], name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table as lists of cells, with the line in which each begins; blank rows are none."""
    csv.field_size_limit(_LONGEST_CELL)
    reader, line = (
        csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True),
        1,
    )
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as exc:
        raise DataError(f"{name}:{line}: {exc}", hint='a quote inside a quoted cell is doubled: ""') from exc


def _table_record(line: int, cells: list[str], header: list[str]) -> FileRecord:
    """One row by the names of its columns; cells without a name, and empty ones at the end, are left out."""
    row: dict[str, Json] = {}
    for name, cell in zip(header, cells, strict=False):
        if name:
            row.setdefault(name, cell or None)
    if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
        return FileRecord(line, row, f"has {count_of(len(cells), 'cell')}, and the header {len(header)}")
    return FileRecord(line, row)


def delimiter_of(text: str) -> str:
    """The delimiter of a table: that which stands most often in its first line, outside of quotes.

    Example:
        >>> delimiter_of('Question;"Best, or only, answer"')
        ';'
    """
    head = re.sub(r'"[^"]*"', "", text[:65536]).partition("\n")[0]
    return max(_DELIMITERS, key=head.count)


def is_table(text: str) -> bool:
    r"""Whether a text is a table of questions: its first line names a column of them, and others.

    Example:
        >>> is_table("question,expected\n2 + 2?,4\n"), is_table("question, answer\n")
        (True, False)
    """
    head, _, rest = text.partition("\n")
    names = [plain_name(cell) for cell in head.split(delimiter_of(head))]
    return bool(rest.strip()) and len(names) > 1 and any(name in PLAIN_NAMES["question"] for name in names)


# ---------------------------------------------------------------- Parquet


_PARQUET_BATCH = 1024  # rows


class ParquetRecords(Struct, frozen=True):
    """The records of a Parquet file, read a batch at a time, as often as they are iterated over.

    `source` opens what is read, the file or its content. What JSON has no form for is read as text.

    Raises:
        UsageError: without the package that reads Parquet.
    """

    name: str
    source: Callable[[], BinaryIO]

    def __iter__(self) -> Iterator[FileRecord]:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise UsageError(
                f"{self.name}: Parquet is read with pyarrow, which is not installed",
                hint="python -m pip install 'automix-cli[parquet]'",
            ) from None
        try:
            with self.source() as stream:
                batches = parquet.ParquetFile(stream).iter_batches(_PARQUET_BATCH, use_threads=False)
                rows = (row for batch in batches for row in batch.to_pylist())
                for number, row in enumerate(rows, 1):
                    yield FileRecord(number, _plain(row))
        except (ArrowException, ValueError, OSError) as exc:
            problem = str(exc).splitlines()[0]
            raise DataError(f"{self.name}: is no Parquet file that can be read: {problem}") from exc


def _plain(value: object) -> Json:
    """A value in JSON's types; a number that is none is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
