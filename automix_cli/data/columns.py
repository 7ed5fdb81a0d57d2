"""Rows of others as question or trace rows, by a mapping of their columns.

`question=QUESTION,expected=answers.text` maps columns onto the keys of a row; dots lead into nested
objects, and into each object of a list. Published tables of other projects read with one `--columns`
option each:

- AutoMix's released table (JSONL):
  `small.score=llama13b_f1,small.confidence=p_ver_13b,large.score=llama70b_f1`
- RouteLLM's response tables (CSV, True and False):
  `small.score=mixtral-8x7b-instruct-v0.1,large.score=gpt-4-1106-preview`
- RouterBench's wide table (a score in `MODEL`, a cost in `MODEL|total_cost`):
  `id=sample_id,dataset=eval_name,small.score=MODEL,small.cost=MODEL|total_cost,large.score=…`
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from automix_cli.data.row_keys import ROW_KEYS, SCORE_ALIAS, TIER_KEYS
from automix_cli.errors import DataError, UsageError, did_you_mean
from automix_cli.records import Json

_FLAT_TIER_KEYS = tuple(key.name for key in TIER_KEYS if key.flat)
_FLAT_ROW_KEYS = (*(key.name for key in ROW_KEYS if key.flat), "answer")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TRUTH = {"true": 1.0, "false": 0.0}


class MappedColumn(NamedTuple):
    """One column of a table: where it goes in a row (`tier` "" is the row itself)."""

    tier: str
    key: str
    column: str


class _Absent:
    """Stands for the value of a column that a row does not have."""


_ABSENT = _Absent()


def column_of(row: Mapping[str, Json], column: str) -> Json | _Absent:
    """The value of a column, or else where the dots of its name lead; `_ABSENT` where they lead nowhere.

    Example:
        >>> column_of({"answers": [{"text": "Rome"}, {"text": "Roma"}]}, "answers.text")
        ['Rome', 'Roma']
    """
    if column in row:
        return row[column]
    name, dot, rest = column.partition(".")
    while dot:
        if name in row:
            return _inside(row[name], rest)
        part, dot, rest = rest.partition(".")
        name = f"{name}.{part}"
    return _ABSENT


def _inside(value: Json, path: str) -> Json | _Absent:
    """What a path leads to in a nested value; in a list, for each of its objects, or at an index."""
    if isinstance(value, dict):
        return column_of(value, path)
    if not isinstance(value, list):
        return _ABSENT
    index, _, rest = path.partition(".")
    if index.isdecimal():
        item = value[int(index)] if int(index) < len(value) else None
        return _inside(item, rest) if rest else item
    values = [_inside(item, path) for item in value]
    return [v for v in values if not isinstance(v, _Absent)] if value else []


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which columns make up a row; `read_columns` makes one of `text`, that of the option."""

    columns: tuple[MappedColumn, ...]
    text: str = field(default="", compare=False)

    @property
    def has_tiers(self) -> bool:
        """Whether it maps what tiers did, so that rows are traces."""
        return any(m.tier for m in self.columns)

    def map_rows(self, rows: Iterable[tuple[int, Json]]) -> Iterator[tuple[int, Json]]:
        """Turn numbered rows of a table into numbered question or trace rows.

        Columns that are not mapped keep their names, so `question`, `prompt`, `id` and the
        other keys of a question row need no mapping.

        Raises:
            DataError: for a cell that is no number where one is needed, with its line.
            UsageError: at the end, for a mapped column that no row had.
        """
        unseen, last = {m.column for m in self.columns}, None
        for line, row in rows:
            try:
                yield line, self.map_row(row)
            except DataError as exc:
                raise DataError(f"line {line}: {exc.message}") from None
            if unseen:
                unseen = {column for column in unseen if isinstance(column_of(row, column), _Absent)}
                last = row
        if unseen and last is not None:
            raise self.no_column(last, sorted(unseen)[0])

    def map_one(self, row: Json) -> Json:
        """One row, refused where it lacks a mapped column.

        Raises:
            DataError: for a cell of the wrong kind.
            UsageError: it lacks a column.
        """
        if isinstance(row, dict) and any(isinstance(column_of(row, m.column), _Absent) for m in self.columns):
            raise self.no_column(row)
        return self.map_row(row)

    def no_column(self, row: Mapping[str, Json], column: str = "") -> UsageError:
        """The error of a mapped column that rows do not have; `row` shows which they have."""
        from automix_cli.data.suggested_columns import names_in

        lacking = [m.column for m in self.columns if isinstance(column_of(row, m.column), _Absent)]
        column = column or lacking[0]
        return UsageError(
            f"--columns: no column {column!r}{did_you_mean(column, names_in(row))}",
            hint=f"the columns are {', '.join(names_in(row))}",
        )

    def map_row(self, row: Json) -> Json:
        """One row of a table in the shape of a question or trace row; empty cells are not recorded.

        Example:
            >>> read_columns("small.score=right").map_row({"prompt": "2 + 2?", "right": "True"})
            {'prompt': '2 + 2?', 'right': 'True', 'tiers': {'small': {'score': 1.0}}}
        """
        if not isinstance(row, dict) or None in row:
            raise DataError("expected one row with as many cells as there are columns")
        mapped_row = {key: value for key, value in row.items() if value != ""}
        tiers: dict[str, dict[str, Json]] = {m.tier: {} for m in self.columns if m.tier}
        for tier, key, column in self.columns:
            value = column_of(row, column)
            value = None if isinstance(value, _Absent) or value == "" else value
            if tier:
                tiers[tier][key] = None if value is None else _cell(value, key, column)
            else:
                mapped_row[key] = (
                    _json_cell(value, column, 'choices like ["Rome", "Paris"]') if key == "choices" else value
                )
        question = row.get("question")
        if isinstance(question, dict) and "choices" in question:  # beside a stem that is mapped, as in ARC
            mapped_row.setdefault("choices", question["choices"])
        return {**mapped_row, "tiers": tiers} if tiers else mapped_row


def read_columns(text: str) -> ColumnMapping:
    """Read a `--columns` mapping: `KEY=COLUMN` and `TIER.KEY=COLUMN`, separated by commas.

    A tier's name may contain dots (the last one separates it from the key). A column's name may
    contain anything; one with a comma is quoted: `small.score=f1,"large.score=f1, large"`.

    Raises:
        UsageError: for what is not of that form, and keys that are unknown or mapped twice.

    Example:
        >>> read_columns("small.score=llama13b_f1").columns
        (MappedColumn(tier='small', key='score', column='llama13b_f1'),)
    """
    items = next(csv.reader([text], skipinitialspace=True), [])
    columns = tuple(_mapping(item) for item in items)
    targets = [(m.tier, m.key) for m in columns]
    twice = [t for t in targets if targets.count(t) > 1]
    if twice:
        raise UsageError(f"--columns: {'.'.join(filter(None, twice[0]))} is mapped twice")
    if not columns:
        raise UsageError("--columns: nothing is mapped", hint="write for example question=COLUMN")
    return ColumnMapping(columns, text)


def _mapping(item: str) -> MappedColumn:
    target, equals, column = item.partition("=")
    tier, _, key = target.strip().rpartition(".")
    key = "score" if tier and key == SCORE_ALIAS else key
    if not equals or not column or not key:
        raise UsageError(f"--columns: expected KEY=COLUMN or TIER.KEY=COLUMN, got {item!r}")
    keys = _FLAT_TIER_KEYS if tier else _FLAT_ROW_KEYS
    if key not in keys:
        raise UsageError(
            f"--columns: unknown key {key!r} in {item!r}{did_you_mean(key, keys)}",
            hint=f"known are {', '.join(keys)}",
        )
    return MappedColumn(tier, key, column)


def _cell(value: Json, key: str, column: str) -> Json:
    """Convert a cell to the type of its key: CSV cells are all text, and True and False are scores."""
    if value is None or key == "answer":
        return value
    if key == "votes":
        return _json_cell(value, column, "votes like [1, 0, null]")
    if key == "failed":
        return _read_failure(value)
    if isinstance(value, bool) and key == "score":
        return float(value)
    if not isinstance(value, str):
        return value
    if key == "score" and value.strip().lower() in _TRUTH:
        return _TRUTH[value.strip().lower()]
    if _DECIMAL.fullmatch(value.strip()):
        return float(value)
    raise DataError(f"column {column!r}: expected a number, got {value!r:.40}")


def _json_cell(value: Json, column: str, example: str) -> Json:
    """Read a list; in a CSV cell it is written as in JSON, like the example.

    Example:
        >>> _json_cell("[1, 0, null]", "votes", "votes like [1]")
        [1, 0, None]
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"column {column!r}: expected {example}, got {value!r:.40}") from None


def _read_failure(value: Json) -> Json:
    """Read the kind of a failure, or whether there was one: true or false, 1 or 0."""
    truth = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(truth, value)


def read_amounts(text: str, option: str) -> dict[str, float]:
    """Read `a=1,b=20`: dollars per tier.

    Raises:
        UsageError: naming `option`, for anything but finite numbers of 0 or more.

    Example:
        >>> read_amounts("a=1,b=2e-5", "--costs")
        {'a': 1.0, 'b': 2e-05}
    """
    amounts: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = item.strip().rpartition("=")
        fits = equals and name and _DECIMAL.fullmatch(number) and 0 <= float(number) <= sys.float_info.max
        if not fits or name in amounts:
            raise UsageError(f"{option}: expected TIER=DOLLARS, each tier once, got {item!r}")
        amounts[name] = float(number)
    return amounts
