"""Read trace rows into a table: NumPy converts and checks whole columns at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from types import NoneType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.columns import ColumnMapping
from automix_cli.data.groups import (
    Grouping,
    Keys,
    column_keys,
    empty_column,
    question_content,
    question_keys,
    with_column_keys,
)
from automix_cli.data.question_classes import ClassColumn, check_class_column, read_class
from automix_cli.data.recorded_signals import CellNumbers, confidence_columns, read_confidences
from automix_cli.data.row_keys import HIGHEST, NOT_BESIDE_FAILED, SCORE_ALIAS, TABLE_COLUMNS
from automix_cli.data.rows import answer_text, choices_in, question_from_dict, trace_from_dict, value_of
from automix_cli.data.samples import Samples, judge
from automix_cli.data.traces import Objects, RecordedVotes, TraceTable, tier_index
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.records import Json, Step, Trace
from automix_cli.scoring import COMPARABLE_SCORERS, FREE_TEXT, classes_of
from automix_cli.texts import TIER_NAME

_MOST_LOOKS = 99.0
ROWS_AT_A_TIME = 256  # rows parsed at a time: few enough to stay in the processor's cache


def read_table(
    rows: Iterable[tuple[int, Json]],
    *,
    columns: ColumnMapping | None = None,
    tiers: Sequence[str] = (),
    costs: Mapping[str, float] | None = None,
    vote_costs: Mapping[str, float] | None = None,
    signal: RecordedSignal | None = None,
    scorer: str | None = None,
    compare: str | None = None,
    group_column: str | None = None,
    class_column: str | None = None,
    confidences: str | None = None,
) -> TraceTable:
    """Read trace rows, each with its 1-based line number, into a table.

    Rows that `trace_from_dict` accepts are read, to the same values. Where it refuses a value
    that a table holds, the row is refused with the same message and its line. Values that a
    table does not hold are not checked: answers of tiers that did not fail, and without a `scorer`
    also samples and gold answers. A row without an id gets its 0-based position. Tiers come in the
    order of `tiers`; else by mean cost where every tier has one; else as they appear. Answers are
    compared under the scorer `compare`; by default they are not.

    Rows with one value of `group_column` are one group; rows without a value, and all rows where no
    column is named, are grouped by what they ask (see `groups`). The values of `class_column` are
    classes of questions (see `question_classes`). `confidences` names a key of the tiers, or is `auto`
    for all keys that may hold a confidence (see `recorded_signals`).

    Raises:
        DataError: for the first bad row, duplicate ids (`1` and `"1"` are the same id),
            no rows at all, or a column that no row has.
        UsageError: for a tier or column name that does not exist.

    Example:
        >>> table = read_table([(1, {"tiers": {"s": {"score": 1, "votes": [1, 1, 0]}}})])
        >>> table.tiers, table.max_votes, table.score.tolist()
        (('s',), (3,), [[1.0]])
    """
    if compare not in (*COMPARABLE_SCORERS, FREE_TEXT):
        compare = None
    check_class_column(class_column)
    reader = _ColumnReader(
        only=frozenset(tiers),
        scorer=scorer,
        compare=compare,
        group_column=group_column,
        class_column=class_column,
        confidences=confidences,
    )
    source = iter(rows if columns is None else columns.map_rows(rows))
    while chunk := list(islice(source, ROWS_AT_A_TIME)):
        reader.add([line for line, _ in chunk], [row for _, row in chunk])
    for name in tiers:
        tier_index(name, list(reader.names), "--tiers")
    table = reader.table().with_signal(signal).with_costs(costs or {}, vote_costs)
    return table.pick(tiers or _by_cost(table))


def _by_cost(table: TraceTable) -> Sequence[str]:
    """The tiers, cheapest first; as they appear when some tier's cost is unknown."""
    means = table.mean_cost
    if np.isnan(means).any():
        return table.tiers
    return [table.tiers[j] for j in np.argsort(means, kind="stable")]


class _OddRowError(Exception):
    """A chunk has a row that the column reader does not accept; the strict reader finds the reason."""


class _ColumnReader:
    """Collects columns chunk by chunk; no object per row is built.

    `names` are the tiers of all rows, `tiers` the cells of those in `only` (of all, where it is
    empty). Samples are judged where there is a `scorer`, answers compared where there is a `compare`.
    """

    def __init__(
        self,
        only: frozenset[str],
        scorer: str | None,
        compare: str | None,
        group_column: str | None,
        class_column: str | None,
        confidences: str | None,
    ) -> None:
        self.confidences, self.confidence_parts = confidences, list[CellNumbers]()
        self.only, self.scorer, self.compare = only, scorer, compare
        self.group_column, self.class_column = group_column, class_column
        self.names: dict[str, None] = {}
        self.lines: list[int] = []
        self.ids: list[str | int] = []
        self.texts: list[str] = []
        self.datasets: list[str | None] = []
        self.splits: list[str | None] = []
        self.inclusion: list[Floats] = []
        self.look = 1
        self.classes: list[str | None] = []
        self.keys: list[Keys] = []
        self.question_keys: list[Keys] = []
        self.has_group_column = group_column is None
        self.first_row: Mapping[str, Json] = {}
        self.tiers: dict[str, list[_Cells]] = {}

    def add(self, lines: list[int], rows: list[Json]) -> None:
        """Append a chunk; where it cannot be read, read it row by row for the message."""
        start = len(self.ids)
        try:
            self._add(rows, start)
        except _OddRowError:
            for index, (line, row) in enumerate(zip(lines, rows, strict=True), start):
                _read_row(line, row, index)
            raise DataError(f"lines {lines[0]} to {lines[-1]}: cannot be read as trace rows") from None
        self.lines += lines
        if self.confidences:
            for name in self.tiers:
                own = [row["tiers"].get(name) for row in rows]
                self.confidence_parts += read_confidences(name, own, self.confidences, start, lines)
        self.first_row = self.first_row or rows[0]
        if self.class_column is not None:
            self.classes += [
                _class_of(line, row, self.class_column) for line, row in zip(lines, rows, strict=True)
            ]

    def _add(self, rows: list[Json], start: int) -> None:
        _expect({dict}, rows)
        tiers = [row.get("tiers") for row in rows]
        _expect({dict}, tiers)
        ids = [row.get("id") for row in rows]
        if None in ids:
            ids = [_ident(row, index) for index, row in enumerate(rows, start)]
        _expect({str, int}, ids)
        names = dict.fromkeys(chain.from_iterable(tiers))
        if not all(name in self.names or TIER_NAME.fullmatch(name) for name in names):
            raise _OddRowError
        self.names |= names
        for name in names:
            if name not in self.tiers and (not self.only or name in self.only):
                self.tiers[name] = [_Cells.absent(start)] if start else []
        classes = _compare(rows, list(self.tiers), self.compare) if self.compare else {}
        for name, cells in self.tiers.items():
            chunk = _Cells.of([row.get(name) for row in tiers])
            if name in classes:
                chunk = chunk._replace(answer_classes=classes[name])
            if self.scorer and chunk.sample_counts.any():
                chunk = chunk._replace(samples=_judge_samples(rows, name, start, self.scorer))
            cells.append(chunk)
        texts, contents = _texts(rows, start)
        self.texts += texts
        self.keys.append(self._group_keys(rows, contents, ids))
        self.datasets += _words(rows, "dataset")
        self.splits += _words(rows, "split")
        inclusion = _finite_column(_plain([row.get("inclusion") for row in rows]), 1.0)
        if (inclusion == 0).any():
            raise _OddRowError
        self.inclusion.append(inclusion)
        looks = _finite_column(_plain([row.get("look") for row in rows]), _MOST_LOOKS)
        self.look = int(np.nan_to_num(looks).max(initial=self.look))
        self.ids += ids

    def _group_keys(self, rows: list[Json], contents: list[str], ids: list[Json]) -> Keys:
        """The key of the group of each row."""
        keys = question_keys(contents, ids)
        if self.group_column is None:
            return keys
        self.question_keys.append(keys)
        by_column = column_keys(rows, self.group_column)
        self.has_group_column |= bool(by_column)
        return with_column_keys(keys, by_column)

    def table(self) -> TraceTable:
        """All rows, tiers in order of appearance."""
        if not self.ids:
            raise DataError("there are no rows")
        self._check_ids()
        if not self.tiers:
            raise DataError("no row has a tier")
        if not self.has_group_column:
            raise empty_column("--group", str(self.group_column), self.first_row)
        if self.class_column is not None and not any(self.classes):
            raise empty_column("--class-column", self.class_column, self.first_row)
        parts = list(self.tiers.values())
        ids, inclusion = _objects(self.ids), np.concatenate(self.inclusion)
        votes = np.stack([np.concatenate([c.votes for c in cells]) for cells in parts], axis=1)
        failed = np.stack([np.concatenate([c.failed for c in cells]) for cells in parts], axis=1)
        sample_counts = np.stack(
            [np.concatenate([c.sample_counts for c in cells]) for cells in parts], axis=1
        )
        classes = np.stack([np.concatenate([c.answer_classes for c in cells]) for cells in parts], axis=1)
        numbers = {
            key: np.stack([np.concatenate([c.numbers[key] for c in cells]) for cells in parts], axis=1)
            for key in TABLE_COLUMNS
        }
        return TraceTable(
            tiers=tuple(self.tiers),
            ids=ids,
            texts=_objects(self.texts),
            datasets=_objects(self.datasets),
            splits=_objects(self.splits),
            failed=failed,
            answer_classes=classes,
            grouping=Grouping.of(
                np.concatenate(self.keys),
                np.concatenate(self.question_keys) if self.question_keys else None,
            ),
            votes=votes,
            sample_counts=sample_counts,
            recorded_votes=tuple(RecordedVotes.of(votes[:, j]) for j in range(len(self.tiers))),
            signals=(),
            signal_name="",
            class_column=None
            if self.class_column is None
            else ClassColumn(self.class_column, _objects(self.classes)),
            n_classes=1,
            named_classes=None,
            confidences=confidence_columns(self.confidence_parts, tuple(self.tiers), len(ids)),
            unread_confidences=tuple(value for part in self.confidence_parts for value in part.unread),
            embeddings=None,
            inclusion=None if np.isnan(inclusion).all() else inclusion,
            look=self.look,
            relative=None,
            samples=_samples(parts),
            set_aside_usd=0.0,
            most_votes=None,
            **numbers,
        )

    def _check_ids(self) -> None:
        names = [str(ident) for ident in self.ids]
        if len(set(names)) == len(names):
            return
        first: dict[str, int] = {}
        for line, name in zip(self.lines, names, strict=True):
            if name in first:
                raise DataError(f"line {line}: id {name!r} stands twice (first in line {first[name]})")
            first[name] = line


class _Cells(NamedTuple):
    """One tier over one chunk of rows.

    `answer_classes` are -1 where answers are not compared; `samples` are the judged samples, None
    without a scorer or samples.
    """

    failed: NDArray[np.bool_]
    numbers: dict[str, Floats]
    votes: NDArray[np.int16]
    sample_counts: NDArray[np.int16]
    answer_classes: NDArray[np.int16]
    samples: Samples | None = None

    @classmethod
    def absent(cls, rows: int) -> _Cells:
        """A tier that was not recorded."""
        nothing, none = np.full(rows, np.nan), np.zeros((rows, 4), dtype=np.int16)
        numbers = dict.fromkeys(TABLE_COLUMNS, nothing)
        return cls(np.zeros(rows, bool), numbers, none[:, :3], none[:, 3], none[:, 3] - 1)

    @classmethod
    def of(cls, cells: list[Json]) -> _Cells:
        """Read a tier's cells; null is a tier that was not recorded."""
        _expect({dict, NoneType}, cells)
        objects = [_NOTHING if cell is None else cell for cell in cells]
        columns = _columns(objects, (*TABLE_COLUMNS, "samples", "votes", "failed"))
        plain = {key: _plain(columns[key]) for key in TABLE_COLUMNS}
        if None in plain["score"]:
            plain["score"] = [
                cell.get(SCORE_ALIAS) if score is None else score
                for cell, score in zip(objects, plain["score"], strict=True)
            ]
            _expect({int, float, bool, NoneType}, plain["score"])
        numbers = {key: _finite_column(column, HIGHEST[key]) for key, column in plain.items()}
        failed = _failed_rows(objects, columns["failed"])
        if (numbers["score"][failed] > 0).any():
            raise _OddRowError
        numbers["score"][failed] = 0.0
        samples = columns["samples"]
        _expect({list, NoneType}, samples)
        sample_counts = np.array([len(texts) if texts else 0 for texts in samples], dtype=np.int16)
        votes = _count_votes(columns["votes"])
        return cls(failed, numbers, votes, sample_counts, np.full(len(cells), -1, dtype=np.int16))


def _compare(rows: list[Json], names: Sequence[str], scorer: str) -> dict[str, NDArray[np.int16]]:
    """The classes of equal answers of a chunk of rows, per tier."""
    cells = (cell for row in rows for cell in row["tiers"].values())
    if not any("answer" in cell for cell in cells if isinstance(cell, dict)):
        return {name: np.full(len(rows), -1, dtype=np.int16) for name in names}
    classes = np.array([_classes_of_row(row, names, scorer) for row in rows], dtype=np.int16)
    return {name: classes[:, j] for j, name in enumerate(names)}


def _classes_of_row(row: Json, names: Sequence[str], scorer: str) -> list[int]:
    cells = [row["tiers"].get(name) or _NOTHING for name in names]
    answers = [cell.get("answer") for cell in cells]
    texts = [answer if isinstance(answer, str) else answer_text(answer) for answer in answers]
    if len(set(texts)) == 1:  # most often, and much faster than to read what they mean
        return [-1 if texts[0] is None else 0] * len(texts)
    choices = choices_in(row)
    return classes_of(texts, scorer, choices if isinstance(choices, list) else ())


def _judge_samples(rows: list[Json], tier: str, start: int, scorer: str) -> Samples:
    """Judge the samples of a tier on a chunk of rows.

    The strict reader is fast enough here, because judging takes longer.
    """
    try:
        traces = [trace_from_dict(row, index) for index, row in enumerate(rows, start)]
    except DataError:
        raise _OddRowError from None
    steps = [trace.step(tier) or Step(tier=tier) for trace in traces]
    samples = [
        judge(step.samples, trace.question.expected, scorer, trace.question.choices)
        for trace, step in zip(traces, steps, strict=True)
    ]
    return Samples.of(samples, np.array([step.sample_cost for step in steps], dtype=np.float64))


def _samples(parts: Sequence[Sequence[_Cells]]) -> tuple[Samples | None, ...]:
    """The judged samples of each tier over all chunks; empty where no tier has any."""
    if not any(cells.samples for chunks in parts for cells in chunks):
        return ()
    return tuple(
        Samples.concatenate([cells.samples or Samples.absent(len(cells.sample_counts)) for cells in chunks])
        if any(cells.samples for cells in chunks)
        else None
        for chunks in parts
    )


_NOTHING: dict[str, Json] = {}
_NO_VOTES: list[Json] = []
_KEYS_WITHOUT_TEXT = {"id", "dataset", "split", "tiers"}


def _expect(kinds: set[type], values: list[Json]) -> None:
    if not set(map(type, values)) <= kinds:
        raise _OddRowError


def _columns(cells: list[dict[str, Json]], keys: Sequence[str]) -> dict[str, list[Json]]:
    """The values under each key; most keys stand in no cell, and are not looked for in each."""
    present = set[str]().union(*cells)
    nothing: list[Json] = [None] * len(cells)
    return {key: [cell.get(key) for cell in cells] if key in present else nothing for key in keys}


def _failed_rows(cells: list[dict[str, Json]], failed: list[Json]) -> NDArray[np.bool_]:
    """Which cells failed; they have nothing that comes of an answer."""
    if failed.count(None) == len(failed):
        return np.zeros(len(failed), dtype=bool)
    _expect({str, bool, NoneType}, failed)
    for cell in (cell for cell, kind in zip(cells, failed, strict=True) if kind):
        if any(cell.get(key) not in (None, []) for key in NOT_BESIDE_FAILED):
            raise _OddRowError
    if "" in failed:
        raise _OddRowError
    return np.array(failed, dtype=bool)


def _plain(values: list[Json]) -> list[Json]:
    """Check that the values are numbers (a boolean is none) or not recorded."""
    if values.count(None) != len(values):
        _expect({int, float, NoneType}, values)
    return values


def _finite_column(values: list[Json], high: float) -> Floats:
    """A column of numbers in 0..high, NaN where nothing is recorded."""
    absent = values.count(None)
    if absent == len(values):
        return np.full(absent, np.nan)
    try:
        column: Floats = np.array(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond the largest double
        raise _OddRowError from None
    fits = (column >= 0) & (column <= high)
    if int(fits.sum()) != len(values) - absent:  # NaN in the input fits nothing
        raise _OddRowError
    return column


def _count_votes(votes: list[Json]) -> NDArray[np.int16]:
    """Count the CORRECT, INCORRECT and unparsed votes of each row, n×3."""
    _expect({list, NoneType}, votes)
    lists = [_NO_VOTES if cell is None else cell for cell in votes]
    counts = np.zeros((len(votes), 3), dtype=np.int16)
    rest = np.array([len(cell) for cell in lists])
    for kind, value in enumerate((1, 0, None)):
        if not rest.any():
            break
        counts[:, kind] = [cell.count(value) for cell in lists]
        rest -= counts[:, kind]
    if rest.any():
        raise _OddRowError
    return counts


def _ident(row: Mapping[str, Json], index: int) -> Json:
    return index if (ident := value_of(row, "id")) is None else ident


_OTHER_WAYS = frozenset({"messages", "body", "options"})  # keys that ask more than the question, or another


def _texts(rows: list[Json], start: int) -> tuple[list[str], list[str]]:
    """The text of each question, and all that it asks; the strict reader reads aliases and chat rows."""
    texts = [row.get("question") for row in rows]
    if {type(text) for text in texts} == {str} and not any(_OTHER_WAYS & r.keys() for r in rows):
        parts = [(row.get("context"), row.get("choices")) for row in rows]
        if not any(context or choices for context, choices in parts):
            return texts, texts
        return texts, [question_content(text, *more) for text, more in zip(texts, parts, strict=True)]
    if all(row.keys() <= _KEYS_WITHOUT_TEXT for row in rows):
        return [""] * len(rows), [""] * len(rows)
    try:
        questions = [question_from_dict(row, start + i, textless=True) for i, row in enumerate(rows)]
    except DataError:
        raise _OddRowError from None
    contents = [question_content(q.text, q.context, q.choices or None, q.history) for q in questions]
    return [q.text for q in questions], contents


def _words(rows: list[Json], key: str) -> list[str | None]:
    values = [row.get(key) for row in rows]
    if values.count(None) == len(values):
        return values
    return [sys.intern(value) if isinstance(value, str) else None for value in values]


def _class_of(line: int, row: Mapping[str, Json], column: str) -> str | None:
    """The class that a row names; an error names its line."""
    try:
        return read_class(row, column)
    except DataError as exc:
        raise DataError(f"line {line}: {exc.message}") from None


def _objects(values: Sequence[object]) -> Objects:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


def _read_row(line: int, row: Json, index: int) -> Trace:
    """Read one row; an error names its line."""
    inclusion = row.get("inclusion") if isinstance(row, dict) else None
    is_number = isinstance(inclusion, int | float) and not isinstance(inclusion, bool)
    if inclusion is not None and not (is_number and 0 < inclusion <= 1):
        raise DataError(f"line {line}: inclusion: expected a number above 0 and at most 1, got {inclusion!r}")
    look = row.get("look") if isinstance(row, dict) else None
    if look is not None and not (type(look) in (int, float) and 0 <= look <= _MOST_LOOKS):
        raise DataError(f"line {line}: look: expected a number from 0 to {_MOST_LOOKS:g}, got {look!r:.40}")
    try:
        return trace_from_dict(row, index)
    except DataError as exc:
        raise DataError(f"line {line}: {exc.message}", hint=exc.hint) from None
