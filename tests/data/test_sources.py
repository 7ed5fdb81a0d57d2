"""Rows of a file that are checked first and worked on then."""

import asyncio
import json
from pathlib import Path

import pytest

from automix_cli.data import sources
from automix_cli.data.jsonl import Row
from automix_cli.data.sources import Rows, open_rows


def checked_rows(path: Path, limit: int | None) -> Rows:
    rows = open_rows(path)
    assert rows is not None
    picked = rows.pick(limit=limit, sample=None, seed=0)
    picked.check(strict=False)
    return picked


async def streamed(rows: Rows) -> list[Row]:
    return [row async for row in rows.stream()]


@pytest.mark.parametrize("limit", [None, 0, 2, 5, 50])
@pytest.mark.parametrize(("most_rows", "most_bytes"), [(0, 10**6), (3, 10**6), (10**6, 10**6), (10**6, 150)])
def test_rows_kept_from_the_check_are_those_of_the_file_and_are_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, most_rows: int, most_bytes: int
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"id": n, "question": f"What is {n} + {n}?"}) for n in range(8)]
    path.write_text("\n\n".join([*lines[:4], "no row", *lines[4:]]), encoding="utf-8")
    expected = list(checked_rows(path, limit).every_row())

    monkeypatch.setattr(sources, "_MOST_ROWS_KEPT", most_rows)
    monkeypatch.setattr(sources, "_MOST_BYTES_KEPT", most_bytes)
    parsed: list[int] = []
    parse = sources.row_of
    monkeypatch.setattr(sources, "row_of", lambda line, n: (parsed.append(n), parse(line, n))[1])
    rows = checked_rows(path, limit)
    assert asyncio.run(streamed(rows)) == expected
    if most_rows == most_bytes:
        assert parsed == [row.index for row in expected]
    assert list(rows.all()) == expected  # read from the file, since nothing is kept any more
