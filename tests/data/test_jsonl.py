"""Lines of bytes, strict JSON, question rows, and text that is safe to print."""

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from automix_cli.data.jsonl import (
    IdCheck,
    Line,
    LineSplitter,
    dumps,
    open_input,
    parse_json,
    printable,
    row_of,
    rows_of,
    scan,
    split_lines,
    stream_lines,
)
from automix_cli.errors import DataError


def lines_of(data: bytes, size: int = 7) -> list[Line]:
    return list(split_lines(data[i : i + size] for i in range(0, len(data), size)))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\n \n\t\n", []),
        (b"a", [(1, b"a")]),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\xef\xbb\xbfa\n", [(1, b"a")]),
        (b"\n\na\n\nb", [(3, b"a"), (5, b"b")]),
        ("a\u2028b\u0085c\x0bd\n".encode(), [(1, "a\u2028b\u0085c\x0bd".encode())]),
    ],
    ids=["empty", "blank", "no line feed", "lines", "crlf", "bom", "numbers", "other line ends"],
)
def test_lines_end_at_a_line_feed_and_carry_their_number(data: bytes, found: list) -> None:
    assert lines_of(data) == [Line(*f) for f in found]


def test_how_the_bytes_are_chunked_changes_nothing() -> None:
    rng = random.Random(0)
    data = b"".join(bytes(rng.choice(b"ab\r\n ") for _ in range(200)) + b"\n" for _ in range(20))
    assert all(lines_of(data, size) == lines_of(data, len(data)) for size in (1, 2, 3, 64))


def test_a_line_over_the_limit_is_one_fault_and_held_nowhere() -> None:
    splitter = LineSplitter(limit=10)
    found = [line for chunk in (b"x" * 8, b"y" * 8, b"\nshort\n") for line in splitter.feed(chunk)]
    assert found == [Line(1, None), Line(2, b"short")]
    assert "longer than" in row_of(Line(1, None), 0).fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ('{"a": 1} // no', "not JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "out of range"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "invalid UTF-8 at byte 8"),
        (b"\xff\xfe{\x00", "invalid UTF-8"),
    ],
)
def test_json_is_read_strictly(text: str | bytes, message: str) -> None:
    for own in {text, text.encode() if isinstance(text, str) else text}:
        with pytest.raises(DataError, match=message):
            parse_json(own)


@pytest.mark.parametrize(
    "text",
    [
        r'{"a" : 1, "b\t" : ":", "c": [{"a": 1}, {"a": ": "}], "": {}}',
        r'{"a\u003a": "\u003a", "b": "\n: \\ \" C:\\users \ud83d\ude00 \ud800"}',
        "[0, -0, -0.0, 1e3, 5e-324, 18446744073709551616, 123456789012345678901234567890, 1.5]",
        ' {"é: ü": null, "b": [true, false, [[]]]}\t',
        "null",
        '"a:b"',
    ],
)
def test_bytes_are_read_as_their_text_is(text: str) -> None:
    assert repr(parse_json(text.encode())) == repr(parse_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 2}',
        b'{"a" : 1, "a"\t:2}',
        b'{"x": [{"a": ":", "b": 1, "a": 2}]}',
        b'{"a": 1, "a": ":"}',
        b'{"a": ":", "a": 1}',
        rb'{"a": 1, "a": "\u003a"}',
        rb'{"a\u003a": 1, "a:": 2}',
        rb'{"\n": 1, "\n": "\":"}',
    ],
)
def test_a_key_that_stands_twice_is_found_whatever_colons_stand_around(data: bytes) -> None:
    with pytest.raises(DataError, match="stands twice"):
        parse_json(data)


def test_the_problem_of_a_line_is_returned_with_its_place_and_its_id() -> None:
    row = row_of(Line(7, b'{"id": "x", "question": 3}'), 6)
    assert (row.line, row.index, row.id, row.question) == (7, 6, "x", None)
    assert row.fault == "question: expected text, got a number"


def test_ids_are_kept_and_missing_ones_are_the_index() -> None:
    rows = list(rows_of(split_lines([b'{"question":"a","id":"x"}\n{"question":"b"}\n'])))
    assert [row.question.id for row in rows] == ["x", 1]


def test_an_id_that_stands_twice_is_found_with_both_lines() -> None:
    ids = IdCheck()
    rows = list(rows_of(split_lines([b'{"question":"a","id":1}\n{"question":"b","id":"1"}\n'])))
    rows = [ids.check(row) for row in rows]
    assert rows[0].question is not None
    assert rows[1].question is None
    assert rows[1].line == 2
    assert "first in line 1" in rows[1].fault


GOOD = b'{"question": "a"}\n'


def test_a_scan_counts_rows_and_lets_bad_lines_pass_unless_strict() -> None:
    data = GOOD + b"oops\n" + GOOD
    assert scan(rows_of(split_lines([data])), "f", IdCheck(), strict=False)[:2] == (3, 1)
    with pytest.raises(DataError, match="f:2: not JSON"):
        scan(rows_of(split_lines([data])), "f", IdCheck(), strict=True)


@pytest.mark.parametrize(
    "data", [b'{"question":"a","id":1}\n{"question":"b","id":1}\n', b'{"question":"\xff"}\n']
)
def test_a_scan_refuses_duplicate_ids_and_invalid_utf8_always(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^f:\d: "):
        scan(rows_of(split_lines([data])), "f", IdCheck(), strict=False)


def test_a_compressed_file_is_refused_with_the_way_on(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(DataError, match="compressed") as caught:
        open_input(path)
    assert "zcat" in caught.value.hint


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_an_unreadable_input_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        open_input(tmp_path / name).read()


def test_a_pipe_is_read_as_its_lines_come() -> None:
    read_end, write_end = os.pipe()

    async def main() -> list[Line]:
        lines = stream_lines(b"fir", read_end)
        os.write(write_end, b"st\nsec")
        found = [await anext(lines)]
        os.write(write_end, b"ond")
        os.close(write_end)
        return found + [line async for line in lines]

    assert asyncio.run(main()) == [Line(1, b"first"), Line(2, b"second")]
    os.close(read_end)


HOSTILE = [
    "\x1b]52;c;aGk=\x07",
    "\x9b31m",
    "\u202eevil",
    "\u2066x",
    "a\u2028b\u2029c\u0085d",
    "lone \ud800 surrogate",
    "nul \x00 tab \t",
    "[/INST] [red]",
    "\u200b\ufeff",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_row_is_one_safe_line_and_reads_back_the_same(text: str) -> None:
    line = dumps({"answer": text})
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x1b\x9b\u202e\u2066\u2028\ud800\x00")
    assert parse_json(line.encode()) == {"answer": text}


@pytest.mark.parametrize("text", HOSTILE[:7])
def test_what_a_terminal_would_obey_is_shown_instead(text: str) -> None:
    assert not set(printable(text)) & set("\x1b\x9b\x07\x00\u202e\u2066\u2028\u0085\ud800")


def test_readable_text_is_left_alone() -> None:
    assert printable("Köln 東京 🙂\n\tdone") == "Köln 東京 🙂\n\tdone"


def test_numbers_that_json_does_not_know_are_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps({"cost": float("nan")})
