"""Files of rows to label: trace rows with the chance that each was drawn, and a label once there is one.

    {"id": …, "question": …, "tiers": {…}, "drawn": "chosen", "inclusion": 0.31, "draw_rows": 28, …}
    {…, "expected": "26", "tiers": {"small": {…, "score": 0.0}, …}, "labelled_by": "person"}

A person's keys, an editor or another tool fills them in: `expected`, or a `score` of every tier. `skipped`
is true where somebody looked at the row and could not tell. `drawn` is chosen, random or both, and `look` how
many times the number of rows was fixed; it is left out where that was once, before the first label. See
`label_reader` for what is checked when such a file is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.jsonl import dumps
from automix_cli.data.label_draw import LabelDraw
from automix_cli.data.label_reader import read_labels, with_draw
from automix_cli.data.labelled import DataFile, LabelFileError, TableOptions, scored_rows
from automix_cli.data.row_keys import DRAW_KEYS, LABEL_KEYS, ROW_KEY_NAMES, SCORE_ALIAS
from automix_cli.data.rows import answer_text, has_gold, question_from_dict, value_of
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
    return with_draw(
        [
            {
                "id": ids[row],
                **{key: value for key, value in rows[str(ids[row])].items() if key not in DRAW_KEYS},
                "drawn": draw.part_of(row),
                "inclusion": 1.0 if has_judgement(rows[str(ids[row])]) else float(draw.inclusion[row]),
            }
            for row in draw.order
        ]
    )


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
    look = max(row.get("look") or 1 for row in earlier) + has_labels
    extra = {"look": look} if look > 1 else {}
    before = {str(row["id"]): row for row in earlier}
    first = [
        {**row, **{key: own[ident][key] for key in DRAW_KEYS if key in own[ident]}}
        for ident, row in before.items()
    ]
    return with_draw([{**row, **extra} for row in (*first, *(r for i, r in own.items() if i not in before))])


def has_judgement(row: Mapping[str, Json]) -> bool:
    """Whether a row says what is right: by a gold answer, or by a score of every tier that answered."""
    if has_gold(row):
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
        part = self.path.with_name(f".{self.path.name}.automix-part")
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

    lock = path.with_name(f".{path.name}.automix-lock")
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
    """Labels by the ids of rows as text, to be read beside the rows that were drawn.

    Attributes:
        name: of the file.
        rows: as `read_labels` gives them; only labels are taken from them, and how they were drawn.
        lines: of each row, by its id; an error names it.
    """

    name: str
    rows: Mapping[str, Json]
    lines: Mapping[str, int] = {}

    @classmethod
    def read(cls, path: Path, say: Callable[[str], None] = lambda text: None) -> LabelsOfRows:
        """Read a file that `automix label` wrote, whoever filled it in; `say` takes a note on blanks."""
        labels = read_labels(path)
        if note := labels.note():
            say(note)
        return cls(labels.name, {str(row["id"]): row for row in labels.rows}, labels.lines)

    def merge(self, rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Numbered trace rows, with the labels of those that were drawn.

        A row that had a label before the draw stands for itself alone: its inclusion is 1.

        Raises:
            DataError: a row to label belongs to no row, asks something else, or has other answers.
        """
        left = dict(self.rows)
        for index, (line, row) in enumerate(rows):
            ident = value_of(row, "id") if isinstance(row, dict) else None
            own = left.pop(str(index if ident is None else ident), None)
            if own is not None and isinstance(row.get("tiers"), dict):
                self._check(line, row, own)
                yield line, with_label_of(row, own)
            elif isinstance(row, dict) and has_judgement(row):
                yield line, {**row, "inclusion": 1.0}
            else:
                yield line, {**row, "inclusion": None} if isinstance(row, dict) else row
        if left:
            first = next(iter(left))
            others = f", and {len(left) - 1:,} more of its ids are in none" if len(left) > 1 else ""
            raise self._error(first, f"no row has the id {first}{others}")

    def _check(self, line: int, row: Json, own: Json) -> None:
        """Refuse a label that was given to other answers, or to another question."""
        ident = str(own["id"])
        if answers_of(row) != answers_of(own):
            raise self._error(ident, f"the answers to {ident} are not those of line {line} of the rows")
        try:
            here = question_of(own)
        except DataError as exc:
            raise self._error(ident, exc.message) from None
        if any(here) and here != question_of(row):
            raise self._error(ident, f"the question of {ident} is not that of line {line} of the rows")

    def _error(self, ident: str, problem: str) -> LabelFileError:
        line = self.lines.get(ident)
        where = self.name if line is None else f"{self.name}:{line}"
        return LabelFileError(f"{where}: {problem}", hint="read it beside the rows that it was drawn from")


def with_label_of(row: Json, own: Json) -> Json:
    """A trace row with the label of another and how that was drawn; all else is the row's own.

    Example:
        >>> label = {"expected": "4", "inclusion": 0.5, "tiers": {"s": {"score": 1, "cost": 9}}}
        >>> with_label_of({"id": 1, "gold": None, "tiers": {"s": {"answer": "4", "cost": 2}}}, label)
        {'id': 1, 'tiers': {'s': {'answer': '4', 'cost': 2, 'score': 1}}, 'expected': '4', 'inclusion': 0.5}
    """
    bare = {key: value for key, value in row.items() if key not in _REPLACED}
    tiers = {name: _with_score_of(step, own["tiers"].get(name)) for name, step in row["tiers"].items()}
    label = {key: own[key] for key in (*LABEL_KEYS, *DRAW_KEYS) if own.get(key) is not None}
    return {**bare, "tiers": tiers, **label}


_REPLACED = frozenset({*ROW_KEY_NAMES["expected"], *LABEL_KEYS, *DRAW_KEYS})


def _with_score_of(step: Json, own: Json) -> Json:
    """What a tier did, with the score of a label."""
    if not isinstance(step, dict):
        return step
    scores = {key: own[key] for key in _SCORES if own.get(key) is not None} if own else {}
    return {**{key: value for key, value in step.items() if key not in _SCORES}, **scores}


_SCORES = ("score", SCORE_ALIAS)


def question_of(row: Json) -> tuple[Any, ...]:
    """What a row asks: its text, context, choices and earlier messages.

    Raises:
        DataError: a value of it has the wrong shape.
    """
    question = question_from_dict({**row, "expected": None}, textless=True)
    return question.text, question.context, question.choices, question.history


def answers_of(row: Json) -> dict[str, str | None]:
    """The answer of each tier of a trace row; None where it gave none."""
    return {
        name: answer_text(step.get("answer")) if isinstance(step, dict) else None
        for name, step in row["tiers"].items()
    }


def trace_rows(
    data: DataFile, options: TableOptions, labels: Path | None, say: Callable[[str], None]
) -> tuple[NumberedRows, TableOptions]:
    """The numbered trace rows of a file, with labels of another, and the options that are left to apply.

    Args:
        data: traces.
        options: of the command line.
        labels: a file that `automix label` wrote; None for none.
        say: takes a note on labels that are blank.
    """
    if labels is None:
        return data.numbered_rows, options
    return labelled_rows(data, options, LabelsOfRows.read(labels, say))


def labelled_rows(
    data: DataFile, options: TableOptions, labels: LabelsOfRows
) -> tuple[NumberedRows, TableOptions]:
    """The same with labels at hand; without any, rows that have a label stand for themselves alone."""
    return lambda: labels.merge(data.numbered_rows()), options
