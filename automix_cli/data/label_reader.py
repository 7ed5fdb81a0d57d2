"""Read files of rows to label, whoever filled them in: every line is checked, and the draw must be whole.

Each row says of how many rows the draw was (`draw_rows`), and holds a digest of all ids and chances
(`draw_check`): a row that is missing, or a chance that was changed, would make every interval wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from automix_cli.data.labelled import read_data
from automix_cli.data.row_keys import ROW_KEY_NAMES, SCORE_ALIAS
from automix_cli.data.rows import answer_text, has_blank_gold, has_gold, trace_from_dict, value_of
from automix_cli.errors import DataError, describe_value
from automix_cli.records import Json

_LAST_LOOK = 60
_PARTS = ("chosen", "random", "both")
_OF_DRAW = ("id", "inclusion", "drawn", "draw_rows", "draw_check")
_STEP_LABEL = ("failed", "score", SCORE_ALIAS)


class LabelRows(NamedTuple):
    """The rows of a file to label, in its order.

    Attributes:
        name: of the file.
        rows: with scores as numbers, and without a gold answer that is blank.
        lines: of each row, by its id as text.
        blanks: how many gold answers were blank.
        partial: how many rows score some tiers, but not all.
        contradictions: how many say by a score that an answer is wrong which is the gold answer.
    """

    name: str
    rows: Sequence[Json]
    lines: Mapping[str, int]
    blanks: int = 0
    partial: int = 0
    contradictions: int = 0

    def note(self) -> str:
        """Say what was filled in and is no label, or is one by half; "" where there is nothing to say."""
        counts = (
            (self.blanks, '"expected" is blank', "no label there"),
            (self.partial, "only some tiers have a score", "no label there"),
            (self.contradictions, 'a score and "expected" disagree', "the score counts"),
        )
        notes = [f"{what} in {n:,} of {len(self.rows):,} rows: {then}" for n, what, then in counts if n]
        return f"note: {self.name}: {'; '.join(notes)}" if notes else ""


def with_draw(rows: Sequence[Json]) -> list[Json]:
    """The rows of a draw, each with their number and the digest of the draw.

    Args:
        rows: with `id`, `drawn` and `inclusion`, and `look` where it is not 1.
    """
    own = {"draw_rows": len(rows), "draw_check": _digest(rows)}
    return [{**row, **own} for row in rows]


def _digest(rows: Iterable[Json]) -> str:
    """A digest of how rows were drawn, in whatever order they are."""
    parts = sorted(
        f"{row['id']}\t{row['drawn']}\t{row['inclusion']:.6g}\t{row.get('look') or 1}" for row in rows
    )
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def read_labels(path: Path) -> LabelRows:
    """The rows of a file to label.

    Raises:
        DataError: naming file and line, that a row is none that was drawn, that a value of it is wrong, or
            that an id stands twice; naming the file, that rows of the draw are missing, or were changed.
    """
    rows, lines, blanks, partial, contradictions = list[Json](), dict[str, int](), 0, 0, 0
    for line, row in read_data(path).numbered_rows():
        try:
            own = _read_row(row)
            first = lines.setdefault(str(own["id"]), line)
            if first != line:
                raise DataError(f"id {own['id']!r} stands twice (first in line {first})")
        except DataError as exc:
            raise DataError(f"{path}:{line}: {exc.message}", hint=exc.hint) from None
        blanks += has_blank_gold(row)
        partial += _scores_some_tiers(own)
        contradictions += _wrong_gold_answer(own) is not None
        rows.append(own)
    _check_draw(path, rows)
    return LabelRows(str(path), rows, lines, blanks, partial, contradictions)


def _check_draw(path: Path, rows: Sequence[Json]) -> None:
    """Refuse a file that is not one whole draw."""
    if not rows:
        raise DataError(f"{path}: there are no rows", hint="automix label --force draws them anew")
    n = max(row["draw_rows"] for row in rows)
    if len(rows) != n:
        raise DataError(
            f"{path}: holds {len(rows):,} rows, and {n:,} were drawn",
            hint='every row of the draw stays in it once; one that nobody can label says "skipped": true',
        )
    check = _digest(rows)
    for row in rows:
        if row["draw_check"] != check:
            raise DataError(
                f"{path}: its rows are not as they were drawn: id, drawn, inclusion or look changed",
                hint="a label changes none of them; automix label --force draws anew",
            )


# ---------------------------------------------------------------- one row


def _read_row(row: Json) -> Json:
    """A row with scores as numbers and its gold answer, if there is one, under `expected`."""
    if lacks := [key for key in _OF_DRAW if key not in row]:
        raise DataError(
            f"is no row that automix label drew: it has no {', '.join(lacks)}",
            hint="keep every key of the rows that were drawn; a label of any other row stands in "
            'the rows themselves, as "expected"',
        )
    _check_how_drawn(row)
    tiers = row.get("tiers")
    if isinstance(tiers, dict):
        tiers = {name: _with_numbers(step) for name, step in tiers.items()}
    gold = value_of(row, "expected")
    trace_from_dict({"id": row["id"], "expected": gold, "tiers": _labels_of(tiers)})
    own = {key: value for key, value in row.items() if key not in ROW_KEY_NAMES["expected"]}
    expected = {"expected": gold} if has_gold(row) else {}
    whole = {**own, "tiers": tiers, **expected}
    _check_agreement(whole)
    return whole


def _check_how_drawn(row: Json) -> None:
    inclusion, look, skipped = row["inclusion"], row.get("look"), row.get("skipped")
    if not (_is_number(inclusion) and 0 < inclusion <= 1):
        raise DataError(
            f"inclusion: expected a number above 0 and at most 1, got {describe_value(inclusion)}"
        )
    if row["drawn"] not in _PARTS:
        raise DataError(f"drawn: expected {', '.join(_PARTS)}, got {describe_value(row['drawn'])}")
    if look is not None and not _is_count(look, _LAST_LOOK):
        raise DataError(f"look: expected a whole number from 1 to {_LAST_LOOK}, got {describe_value(look)}")
    if skipped is not None and not isinstance(skipped, bool):
        raise DataError(f"skipped: expected true or false, got {describe_value(skipped)}")
    if not _is_count(row["draw_rows"], 10**9):
        raise DataError(f"draw_rows: expected a whole number, got {describe_value(row['draw_rows'])}")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Json, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _with_numbers(step: Json) -> Json:
    """A tier's cell with its score as a number: other tools write true and false."""
    if not isinstance(step, dict) or not isinstance(step.get("score"), bool):
        return step
    return {**step, "score": float(step["score"])}


def _labels_of(tiers: Json) -> Json:
    """What labels say of tiers, to be read strictly; the rest is that of the rows."""
    if not isinstance(tiers, dict):
        return tiers
    return {name: label_of_step(step) if isinstance(step, dict) else step for name, step in tiers.items()}


def label_of_step(step: Mapping[str, Json]) -> dict[str, Json]:
    """What a label says of a tier."""
    return {key: step[key] for key in _STEP_LABEL if step.get(key) is not None}


def _check_agreement(row: Json) -> None:
    """Refuse a label whose scores say that an answer is wrong which its gold answer says is right."""
    name = None if row.get("labelled_by") is None else _wrong_gold_answer(row)
    if name is not None:
        raise DataError(
            f'tiers.{name}: its answer is "expected", and its score is {row["tiers"][name]["score"]:g}',
            hint="leave the scores out where expected was changed",
        )


def _wrong_gold_answer(row: Json) -> str | None:
    """The first tier whose answer is a gold answer, and scored as wrong; None where there is none."""
    gold = row.get("expected")
    texts = gold if isinstance(gold, list) else [gold]
    for name, step in row["tiers"].items():
        score = (step or {}).get("score")
        if has_gold(row) and score is not None and score < 0.5 and answer_text(step.get("answer")) in texts:
            return str(name)
    return None


def _scores_some_tiers(row: Json) -> bool:
    """Whether a row without a gold answer scores some tiers that answered, and others not."""
    steps = [step for step in row["tiers"].values() if isinstance(step, dict) and not step.get("failed")]
    has_score = [step.get("score", step.get(SCORE_ALIAS)) is not None for step in steps]
    return any(has_score) and not all(has_score) and not has_gold(row)
