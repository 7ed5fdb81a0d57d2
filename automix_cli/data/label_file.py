"""Files of rows to label: trace rows with the chance that each was drawn, and a label once there is one.

    {"id": …, "question": …, "tiers": {…}, "drawn": "chosen", "inclusion": 0.31}
    {…, "expected": "26", "tiers": {"small": {…, "score": 0.0}, …}, "labelled_by": "person"}

A person's keys, an editor or another tool fills them in: `expected`, or a `score` of every tier. `skipped`
is true where somebody looked at the row and could not tell. `drawn` is chosen, random or both, and `look` how
many times the number of rows was fixed; it is left out where that was once, before the first label.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.jsonl import dumps
from automix_cli.data.label_draw import LabelDraw
from automix_cli.data.labelled import DataFile, TableOptions, read_data, scored_rows
from automix_cli.data.row_keys import DRAW_KEYS, SCORE_ALIAS
from automix_cli.data.rows import value_of
from automix_cli.errors import DataError, StorageError, UsageError
from automix_cli.pomdp.arrays import Floats
from automix_cli.records import Json

NumberedRows = Callable[[], Iterator[tuple[int, Any]]]
"""Gives numbered rows anew at each call."""


def rows_to_label(rows: Mapping[str, Json], ids: Sequence[str | int], draw: LabelDraw) -> list[Json]:
    """The rows of a draw, in the order in which they are shown; one that has a label stands for itself alone.

    Args:
        rows: all rows by their ids as text.
        ids: of the rows of the draw.
        draw: places in `ids`.
    """
    return [
        {
            "id": ids[row],
            **rows[str(ids[row])],
            "drawn": draw.part_of(row),
            "inclusion": 1.0 if has_judgement(rows[str(ids[row])]) else float(draw.inclusion[row]),
        }
        for row in draw.order
    ]


def is_drawn_alike(rows: Sequence[Json], others: Sequence[Json]) -> bool:
    """Whether two lists hold the same rows to label, in whatever order, each with the same chance."""
    chances, other_chances = (
        sorted((str(row["id"]), round(row["inclusion"], 6)) for row in part) for part in (rows, others)
    )
    return chances == other_chances


def add_rows(earlier: Sequence[Json], rows: Sequence[Json]) -> list[Json]:
    """The rows of a larger draw, after those of a smaller one, whose labels stay.

    `look` says in each row how many times their number was fixed after labels had been given.
    """
    own = {str(row["id"]): row for row in rows}
    has_labels = any(has_judgement(row) or row.get("skipped") for row in earlier)
    look = max(row.get("look", 1) for row in earlier) + has_labels
    extra = {"look": look} if look > 1 else {}
    before = {str(row["id"]): row for row in earlier}
    first = [
        {**row, **{key: own[ident][key] for key in DRAW_KEYS if key in own[ident]}}
        for ident, row in before.items()
    ]
    return [{**row, **extra} for row in (*first, *(r for i, r in own.items() if i not in before))]


def has_judgement(row: Mapping[str, Json]) -> bool:
    """Whether a row says what is right: by a gold answer, or by a score of every tier that answered."""
    if value_of(row, "expected") is not None:
        return True
    steps = [step for step in (row.get("tiers") or {}).values() if isinstance(step, dict)]
    return bool(steps) and all(
        step.get("score", step.get(SCORE_ALIAS)) is not None or step.get("failed") for step in steps
    )


def scores_of(row: Json, tiers: Sequence[str], scorer: str) -> Floats | None:
    """The score of each tier on a row: as it says, else by its gold answer; None where one is not known."""
    [(_, own)] = scored_rows(iter([(1, row)]), scorer)
    steps = [own["tiers"].get(tier) or {} for tier in tiers]
    scores = [0.0 if step.get("failed") else step.get("score", step.get(SCORE_ALIAS)) for step in steps]
    return None if None in scores else np.array(scores, dtype=np.float64)


def read_labels(path: Path) -> list[Json]:
    """The rows of a file to label.

    Raises:
        DataError: a row does not say how it was drawn; naming file and line.
    """
    rows = []
    for line, row in read_data(path).numbered_rows():
        if "id" not in row or "inclusion" not in row:
            raise DataError(f"{path}:{line}: is no row that automix label drew", hint="-o names another file")
        rows.append(row)
    return rows


class LabelFile:
    """Rows to label in a file, which is replaced whole at each label: it is valid at every moment.

    Attributes:
        path: of the file.
        rows: in the order in which they are shown.
    """

    def __init__(self, path: Path, rows: Sequence[Json]) -> None:
        self.path, self.rows = path, list(rows)

    def put(self, place: int, row: Json) -> None:
        """Put a row in its place, and write the file through to the disk.

        Raises:
            StorageError: it cannot be written.
        """
        self.rows[place] = row
        self.write()

    def write(self) -> None:
        """Replace the file."""
        part = self.path.with_name(f"{self.path.name}.part")
        text = "".join(f"{dumps(row)}\n" for row in self.rows).encode()
        try:
            with open(part, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                part.unlink()
            raise StorageError(f"{self.path}: {exc.strerror or exc}") from exc


@contextlib.contextmanager
def lock_labels(path: Path) -> Iterator[None]:
    """Keep other processes from labelling in the same file.

    Raises:
        UsageError: another process does.
    """
    import fcntl

    lock = path.with_name(f"{path.name}.lock")
    try:
        file = open(lock, "wb")  # noqa: SIM115 (closed below, after the file is gone)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written: {exc.strerror}") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):  # it was just given up
                raise FileNotFoundError
        except OSError as exc:
            raise UsageError(f"{path}: another process is labelling there") from exc
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


# ---------------------------------------------------------------- labels beside the rows


class LabelsOfRows(NamedTuple):
    """Rows of a file to label by their ids as text, to be read in place of the rows they were drawn from."""

    name: str
    rows: Mapping[str, Json]

    @classmethod
    def read(cls, path: Path) -> LabelsOfRows:
        """Read a file that `automix label` wrote, whoever filled it in."""
        return cls(str(path), {str(row["id"]): row for row in read_labels(path)})

    def merge(self, rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Numbered trace rows, with the labels of those that were drawn.

        A row that had a label before the draw stands for itself alone: its inclusion is 1.

        Raises:
            DataError: a row to label belongs to no row, or has other answers.
        """
        left = dict(self.rows)
        for index, (line, row) in enumerate(rows):
            ident = value_of(row, "id") if isinstance(row, dict) else None
            own = left.pop(str(index if ident is None else ident), None)
            if own is not None:
                self._check(line, row, own)
                yield line, {**row, **own}
            elif isinstance(row, dict) and has_judgement(row):
                yield line, {**row, "inclusion": 1.0}
            else:
                yield line, {**row, "inclusion": None} if isinstance(row, dict) else row
        if left:
            raise DataError(
                f"{self.name}: {len(left):,} rows are not among these rows, such as {next(iter(left))}",
                hint="read it beside the rows that it was drawn from",
            )

    def _check(self, line: int, row: Json, own: Json) -> None:
        if answers_of(row) != answers_of(own):
            raise DataError(
                f"{self.name}: the answers to {own['id']} are not those of line {line}",
                hint="read it beside the rows that it was drawn from",
            )


def answers_of(row: Json) -> dict[str, str | None]:
    """The answer of each tier of a trace row; None where it gave none."""
    tiers = row.get("tiers") or {}
    return {name: (step or {}).get("answer") for name, step in tiers.items()}


def trace_rows(
    data: DataFile, options: TableOptions, labels: Path | None
) -> tuple[NumberedRows, TableOptions]:
    """The numbered trace rows of a file, with labels of another, and the options that are left to apply.

    Args:
        data: traces, or a flat table whose columns the options map.
        options: of the command line.
        labels: a file that `automix label` wrote; None for none.
    """
    if labels is None:
        return data.numbered_rows, options
    return labelled_rows(data, options, LabelsOfRows.read(labels))


def labelled_rows(
    data: DataFile, options: TableOptions, labels: LabelsOfRows
) -> tuple[NumberedRows, TableOptions]:
    """The same with labels at hand; without any, rows that have a label stand for themselves alone."""
    from automix_cli.data.columns import read_columns

    columns = None if options.columns is None else read_columns(options.columns)

    def rows() -> Iterator[tuple[int, Any]]:
        source = data.numbered_rows()
        return labels.merge(source if columns is None else columns.trace_rows(source))

    return rows, replace(options, columns=None)
