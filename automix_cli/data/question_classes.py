"""Classes of questions that a column of the rows names.

    a row's value ─▶ read_class (a name, or None) ─▶ NamedClasses.place ─▶ the class whose prior is used

A class must be known before any call, as a topic or a customer is. One with few questions is not
told apart: such rows, those without a name, and live rows of a class that no training row had
share the prior of all questions.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automix_cli.data.groups import column_value
from automix_cli.data.row_keys import (
    ANSWER_NAMES,
    DRAW_KEYS,
    LABEL_KEYS,
    PLAIN_NAMES,
    ROW_KEY_NAMES,
    plain_name,
)
from automix_cli.errors import DataError, UsageError
from automix_cli.pomdp.arrays import Ints
from automix_cli.records import Json, Question

LEAST_QUESTIONS = 10  # of a class, for a prior of its own
MOST_CLASSES = 50  # so that a profile has room for their counts, and plans take seconds
LONGEST_NAME = 100  # characters
MOST_COLUMNS = 20  # of possible classes that traces keep
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_OTHER_MEANING = {*DRAW_KEYS, *LABEL_KEYS, *(name for names in ROW_KEY_NAMES.values() for name in names)}


class ClassColumn(NamedTuple):
    """What the rows of a table hold in the class column: n names, None where a row has none."""

    name: str
    values: NDArray[np.object_]

    def take(self, rows: Ints | NDArray[np.bool_]) -> ClassColumn:
        """The names of some rows (indices or a mask)."""
        return self._replace(values=self.values[rows])


class NamedClasses(Struct, frozen=True):
    """The classes of a column that have priors of their own; after them comes that of all others.

    Attributes:
        column: that names a question's class.
        names: of the classes.
    """

    column: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, column: ClassColumn, groups: Ints) -> NamedClasses:
        """The classes with enough questions, in the order of their names; of too many the largest.

        Example:
            >>> column = ClassColumn("topic", np.array(["law"] * 12 + ["art"] * 15 + [None, "zoo"]))
            >>> NamedClasses.of(column, np.arange(29)).names
            ('art', 'law')
        """
        questions: dict[str, set[int]] = {}
        for name, group in zip(column.values.tolist(), groups.tolist(), strict=True):
            if name is not None:
                questions.setdefault(name, set()).add(group)
        large = {name: len(own) for name, own in questions.items() if len(own) >= LEAST_QUESTIONS}
        order = sorted(large, key=lambda name: (-large[name], name))
        return cls(column.name, tuple(sorted(order[:MOST_CLASSES])))

    def __len__(self) -> int:
        """How many priors there are, that of all other questions included."""
        return len(self.names) + 1

    def place(self, name: str | None) -> int:
        """The place of a class; the last one for all that have no prior of their own."""
        return self.names.index(name) if name in self.names else len(self.names)

    def places(self, values: Sequence[str | None]) -> Ints:
        """The place of each of n names."""
        place_of = {name: k for k, name in enumerate(self.names)}
        return np.array([place_of.get(name, len(self.names)) for name in values], dtype=np.intp)  # type: ignore[arg-type]

    def name_of(self, question: Question) -> str | None:
        """The class of a question; None where it has none with a prior of its own."""
        value = class_value(_fields_of(question), self.column)
        name = None if isinstance(value, dict | list) else _name(value)
        return name if name in self.names else None

    def check(self, question: Question) -> None:
        """Refuse a question whose class no training row could have had.

        Raises:
            DataError: see `read_class`.
        """
        read_class(_fields_of(question), self.column)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"column": self.column, "names": list(self.names)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> NamedClasses:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: the names are no texts, or one stands twice.
        """
        if not all(isinstance(name, str) for name in (row["column"], *row["names"])):
            raise ValueError("classes need a column and different names")
        names = tuple(_name(name) or "" for name in row["names"])
        if len(set(names)) < len(names):
            raise ValueError("classes need a column and different names")
        return cls(row["column"], names)


def check_class_column(column: str | None) -> None:
    """Refuse a column that nobody can know before the answer.

    Raises:
        UsageError: it holds the right answers, or what tiers did.
    """
    name = plain_name((column or "").partition(".")[0])
    if name in PLAIN_NAMES["expected"] | {*map(plain_name, ANSWER_NAMES), "answers", "tiers"}:
        raise UsageError(
            f"--class-column: {column!r} is not known before a question is answered",
            hint="name a column that live rows have too, such as a topic or a customer",
        )


def _fields_of(question: Question) -> dict[str, Json]:
    """What a question brings besides its text."""
    own = {"dataset": question.dataset, "split": question.split, "metadata": question.metadata}
    return {**question.columns, **own}


def class_value(row: Mapping[str, Json], column: str) -> Json:
    """The value of a column, else (where it is null or blank) the one of that name inside `metadata`.

    Example:
        >>> class_value({"topic": "law"}, "topic"), class_value({"metadata": {"topic": "art"}}, "topic")
        ('law', 'art')
    """
    value, metadata = column_value(row, column), row.get("metadata")
    return column_value(metadata, column) if is_blank(value) and isinstance(metadata, dict) else value


def is_blank(value: Json) -> bool:
    """Whether a value is null, or text of blanks alone."""
    return value is None or (isinstance(value, str) and not value.strip())


def read_class(row: Mapping[str, Json], column: str) -> str | None:
    """The class that a row names; None for no value and for blank text.

    A number or a truth value is read as JSON writes it, so that 7 and "7" are one class; so are 7.0 and
    7, and the two spellings that Unicode has for one text.

    Raises:
        DataError: the value is a list or an object, or longer than a name may be.

    Example:
        >>> [read_class({"topic": value}, "topic") for value in ("law", 7, 7.0, "7.0", True, " ", None)]
        ['law', '7', '7', '7', 'true', None, None]
    """
    value = class_value(row, column)
    if isinstance(value, dict | list):
        kind = "a list" if isinstance(value, list) else "an object"
        raise DataError(f"{column}: a class is text, a number, true or false, got {kind}")
    name = _name(value)
    if name is not None and len(name) > LONGEST_NAME:
        raise DataError(f"{column}: a class has a name of at most {LONGEST_NAME} characters, got {len(name)}")
    return name


def _name(value: Json) -> str | None:
    """A plain value as the name of a class; other files may write the same value in other ways."""
    if value is None:
        return None
    name = unicodedata.normalize("NFC", value if isinstance(value, str) else json.dumps(value)).strip()
    whole = _WHOLE_NUMBER.fullmatch(name)
    return (whole[1] if whole else name) or None


def possible_classes(rows: Sequence[Mapping[str, Json]]) -> tuple[str, ...]:
    """The columns whose values could be classes, at most `MOST_COLUMNS`: short values, one in several rows.

    Example:
        >>> rows = [{"topic": "law", "stamp": k, "text": "x" * 900, "list": [1]} for k in range(2)]
        >>> possible_classes(rows)
        ('topic',)
    """
    values: dict[str, Counter[str]] = {}
    for row in rows:
        for column, value in row.items():
            if column not in _OTHER_MEANING and (name := _short_name(value)) is not None:
                values.setdefault(column, Counter())[name] += 1
    repeats = [column for column, counts in values.items() if max(counts.values()) > 1]
    return tuple(repeats[:MOST_COLUMNS])


def _short_name(value: Json) -> str | None:
    """The class that a value names; None for values that name none."""
    is_plain = isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())
    name = _name(value) if is_plain else None
    return name if name is not None and len(name) <= LONGEST_NAME else None
