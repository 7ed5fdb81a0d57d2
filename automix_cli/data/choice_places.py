"""Right answers that are the place of a choice, as in MMLU's rows: `choices: [...]`, `answer: 1`.

A row alone does not tell whether its number is a place, or from where places count: a whole file does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from automix_cli.data.rows import choices_in, has_gold, value_of
from automix_cli.data.suggested_columns import name_under
from automix_cli.errors import DataError
from automix_cli.records import Json

LETTERS_AND_TEXTS = (
    "note: rows with choices are answered by a letter, and the right answers are texts; "
    "task: {scorer: choice} in the profile judges by both"
)
"""What is said where another scorer would find no answer right."""

_DRAW_KEY = "draw_check"  # of rows that a person labelled, with the words of a choice


class ChoicePlaces(Struct, frozen=True):
    """From where the right answers of a file count choices; `is_sure` where its rows show it."""

    column: str
    first: int
    is_sure: bool

    def words(self) -> str:
        """How the right answers are read, in words."""
        how = "" if self.is_sure else ": that is a guess, and no row shows it"
        return f"{self.column} is the place of a choice, and {self.first} is the first{how}"

    def resolve(self, row: Json) -> Json:
        """A row whose right answer is the choice itself.

        Example:
            >>> ChoicePlaces("answer", 0, True).resolve({"choices": ["Rome", "Oslo"], "answer": 1})["answer"]
            'Oslo'
        """
        choices, place = _choices_of(row), _place_of(row)
        if place is None or not 0 <= place - self.first < len(choices):
            return row
        return {**row, name_under(row, "expected"): choices[place - self.first]}


def _choices_of(row: Json) -> Sequence[Json]:
    """The choices of a row; none where it has no list of them."""
    choices = choices_in(row) if isinstance(row, dict) else None
    return choices if isinstance(choices, list) else ()


def _place_of(row: Mapping[str, Json]) -> int | None:
    """The right answer of a row as a whole number; None where it is none."""
    gold = value_of(row, "expected")
    gold = gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
    if isinstance(gold, int) and not isinstance(gold, bool):
        return gold
    is_digits = isinstance(gold, str) and gold.strip().isascii() and gold.strip().isdigit()
    return int(gold) if is_digits and len(gold) < 9 else None


def find_places(rows: Callable[[], Iterable[tuple[int, Json]]], name: str) -> ChoicePlaces | None:
    """How the right answers of a file count choices; None where they are no places of choices.

    They are where all are whole numbers from 0 to the number of choices, and most are no choice themselves.

    Args:
        rows: makes the numbered rows of the file; one that is unlike ends the search.
        name: of the file.

    Raises:
        DataError: some right answers count from 0, and some from 1.
    """
    column, labels, own, has_zero, has_top = "", 0, 0, False, False
    for _, row in rows():
        choices = _choices_of(row)
        if not choices or _DRAW_KEY in row:
            return None
        if not has_gold(row):
            continue
        place = _place_of(row)
        if place is None or not 0 <= place <= len(choices):
            return None
        column = column or name_under(row, "expected")
        labels, own = labels + 1, own + (str(place) in {str(choice).strip() for choice in choices})
        has_zero, has_top = has_zero or place == 0, has_top or place == len(choices)
    if 2 * own >= labels:
        return None
    if has_zero and has_top:
        raise DataError(
            f"{name}: {column} is the place of a choice, and counts in some rows from 0, in others from 1",
            hint="--columns expected=COLUMN names a column that holds the choice itself, or its letter",
        )
    return ChoicePlaces(column, 1 if has_top else 0, has_zero or has_top)


def is_place(expected: Sequence[str], choices: Sequence[str]) -> bool:
    """Whether the right answer of a row that stands alone may be the place of a choice, and judges nothing.

    Example:
        >>> is_place(["1"], ["Rome", "Oslo"]), is_place(["1"], ["1", "2"]), is_place(["B"], ["Rome", "Oslo"])
        (True, False, False)
    """
    place = _place_of({"expected": list(expected)}) if choices else None
    return place is not None and str(place) not in choices and 0 <= place <= len(choices)
