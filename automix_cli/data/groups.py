"""Which rows ask the same question: those stay together wherever rows are divided or drawn.

    texts or a column ─▶ keys (64 bits each) ─▶ Grouping ─▶ folds, cuts, halves, resamples

Copies of a question are not independent: a policy that was fitted on one copy and is measured on
another looks better than it is, and intervals over rows are too narrow. A key depends on the
content of a row alone, so nothing that is decided by keys depends on the order of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automix_cli.data.duplicates import normal_form
from automix_cli.errors import UsageError, did_you_mean
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.records import Json, Question
from automix_cli.texts import count_of

Keys = NDArray[np.uint64]

FEWEST_GROUPS = 30  # below, nothing is said about routing
LARGEST_SHARE = 0.1  # of the rows in one group; above, that group decides the figures
FEW_COPIES = 0.05  # share of the rows; above, the report says what its figures are for


# ---------------------------------------------------------------- keys

# Marks between the parts of a question; none is a blank, so that they outlast `normal_form`.
_ROW_END, _CONTEXT, _CHOICE, _MESSAGE, _ID, _COLUMN = "\0", "\1", "\2", "\3", "\4", "\5"

_BLANKS = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"  # what `str.split` takes for blanks, in ASCII, but " " itself
_LONG = 500  # characters from which on joining texts takes longer than it saves


def question_content(
    text: str, context: Json = None, choices: Json = None, history: Sequence[tuple[str, str]] = ()
) -> str:
    r"""Everything that makes a question what it is, in one text.

    Example:
        >>> question_content("Who?", context=["a", "b"], choices=["x", "y"])
        'Who? \x01 a\n\nb \x02 x \x02 y'
    """
    if context:
        text = f"{text} {_CONTEXT} {_join(context)}"
    if choices:
        own = choices if isinstance(choices, list | tuple) else (choices,)
        text = f" {_CHOICE} ".join((text, *sorted(map(str, own))))  # the same options make one question
    if history:
        text = f" {_MESSAGE} ".join((text, *map(" ".join, history)))
    return text


def _join(context: Json) -> str:
    """A context as one text; a list of passages is that of a question row."""
    return "\n\n".join(map(str, context)) if isinstance(context, list) else str(context)


def question_keys(contents: Sequence[str], ids: Sequence[object]) -> Keys:
    """The key of each row: of its normalised content, or of its id where it has none.

    Example:
        >>> first, copy, other = question_keys(["Who  wrote Dune?", "who wrote dune?", ""], [1, 2, 3])
        >>> bool(first == copy), bool(first == other)
        (True, False)
    """
    forms = _normal_forms(contents)
    if b"" in forms:
        forms = [form or _utf8(f"{_ID}{ident}") for form, ident in zip(forms, ids, strict=True)]
    digests = b"".join([sha256(form).digest()[:8] for form in forms])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _normal_forms(contents: Sequence[str]) -> list[bytes]:
    """The `normal_form` of each text, in UTF-8; short ones all at once, which is faster."""
    if not any(contents):
        return [b""] * len(contents)
    if sum(map(len, contents)) < _LONG * len(contents):
        whole = f" {_ROW_END} ".join(contents)
        if whole.count(_ROW_END) == len(contents) - 1:
            return [form.strip() for form in _normalise(whole).split(_ROW_END.encode())]
    return [_normalise(text) for text in contents]


def _normalise(text: str) -> bytes:
    """The `normal_form` of a text, in UTF-8."""
    if not text.isascii():
        return _utf8(normal_form(text))
    plain = text.lower().encode()
    for blank in _BLANKS:
        plain = plain.replace(bytes([blank]), b" ")
    if b"  " in plain or b" " in (plain[:1], plain[-1:]):
        plain = b" ".join(plain.split())
    return plain


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def text_key(text: str) -> int:
    """The key of a text as it stands."""
    return int.from_bytes(sha256(_utf8(text)).digest()[:8], "little")


# ---------------------------------------------------------------- a column of the user's


def column_keys(rows: Sequence[Mapping[str, Json]], column: str) -> dict[int, int]:
    """The keys of the rows that have a value in a column, by their places.

    Example:
        >>> len(set(column_keys([{"doc": 7}, {}, {"doc": "7"}], "doc").values()))
        1
    """
    values = ((i, column_value(row, column)) for i, row in enumerate(rows))
    return {i: value_key(value) for i, value in values if value is not None}


def with_column_keys(keys: Keys, by_column: Mapping[int, int]) -> Keys:
    """The keys of rows with those of a column in the places that have one; see `column_keys`."""
    own = keys.copy()
    own[list(by_column)] = list(by_column.values())
    return own


def empty_column(option: str, column: str, row: Mapping[str, Json]) -> UsageError:
    """The error of a column in which no row has a value; `row` shows which columns there are."""
    names, metadata = list(row), row.get("metadata")
    if isinstance(metadata, dict):
        names += [f"metadata.{name}" for name in metadata]
    if column in names or (option == "--class-column" and f"metadata.{column}" in names):
        return UsageError(
            f"{option}: column {column!r} is blank or null in every row",
            hint=f"the columns are {', '.join(names)}",
        )
    return UsageError(
        f"{option}: no row has a value in column {column!r}{did_you_mean(column, names)}",
        hint=f"the columns are {', '.join(names)}",
    )


def column_value(row: Mapping[str, Json], column: str) -> Json:
    """The value under a column's name; dots lead into nested objects where no column has that name.

    Example:
        >>> column_value({"metadata": {"passage": 7}}, "metadata.passage")
        7
    """
    if column in row:
        return row[column]
    value: Json = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def value_key(value: Json) -> int:
    """The key of a value of a column; 7 and "7" are the same, as ids are."""
    return text_key(f"{_COLUMN}{value if isinstance(value, str) else json.dumps(value, sort_keys=True)}")


# ---------------------------------------------------------------- groups


class Grouping(Struct, frozen=True, eq=False):
    """Which group each of n rows belongs to.

    Attributes:
        groups: n, 0..G-1, in the order of the groups' keys.
        keys: G, rising; see `question_keys`.
        question_keys: n, of what each row asks, where the values of a column make the groups, so that a
            group may hold different questions; None where each group is a question.
        joins_alike: whether nearly equal questions are in one group, see `near_copies`.
    """

    groups: Ints
    keys: Keys
    question_keys: Keys | None = None
    joins_alike: bool = False

    @classmethod
    def of(cls, row_keys: Keys, question_keys: Keys | None = None) -> Grouping:
        """Rows with equal keys are a group.

        Example:
            >>> Grouping.of(np.array([9, 4, 9], dtype=np.uint64)).groups.tolist()
            [1, 0, 1]
        """
        keys, groups = np.unique(row_keys, return_inverse=True)
        return cls(groups.reshape(-1), keys, question_keys)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sizes(self) -> Ints:
        """The number of rows of each group."""
        sizes: Ints = np.bincount(self.groups, minlength=len(self.keys))
        return sizes

    @property
    def row_keys(self) -> Keys:
        """The key of each row's question, whatever makes the groups."""
        return self.keys[self.groups] if self.question_keys is None else self.question_keys

    @property
    def noun(self) -> str:
        """What a group is called: a question, unless a column makes the groups."""
        return "question" if self.question_keys is None else "group"

    @property
    def n_questions(self) -> int:
        """How many different questions there are."""
        return len(self.keys) if self.question_keys is None else len(np.unique(self.question_keys))

    @property
    def copies(self) -> int:
        """Rows beyond the first of their question."""
        return len(self.groups) - self.n_questions

    def subset(self, rows: Ints | NDArray[np.bool_]) -> Grouping:
        """The groups of some rows (indices or a mask), numbered anew in the same order."""
        groups = self.groups[rows]
        is_present = np.zeros(len(self.keys), dtype=np.bool_)
        is_present[groups] = True
        own = None if self.question_keys is None else self.question_keys[rows]
        own_groups = (np.cumsum(is_present) - 1)[groups]
        return Grouping(own_groups, self.keys[is_present], own, self.joins_alike)

    def means(self, values: Floats) -> Floats:
        """The mean over the rows of each group of a value per row."""
        means: Floats = np.bincount(self.groups, values, len(self.keys)) / self.sizes
        return means

    def shuffle(self, seed: int, purpose: str) -> Ints:
        """All groups in an order that depends on their keys, the seed and the purpose only."""
        salt = np.uint64(text_key(f"{purpose}:{seed}"))
        return np.argsort(_mix(self.keys ^ salt))


def _mix(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbours become independent."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def group_questions(
    questions: Sequence[Question], rows: Sequence[Mapping[str, Json]], column: str | None
) -> Grouping:
    """Which questions are the same, or have the same value in a column of their rows.

    Raises:
        UsageError: no row has a value in the column.
    """
    contents = [question_content(q.text, q.context, q.choices, q.history) for q in questions]
    keys = question_keys(contents, [q.id for q in questions])
    if column is None:
        return Grouping.of(keys)
    by_column = column_keys(rows, column)
    if not by_column:
        raise empty_column("--group", column, rows[0])
    return Grouping.of(with_column_keys(keys, by_column), keys)


# ---------------------------------------------------------------- what can be said


def why_no_verdict(grouping: Grouping) -> str:
    """Why these rows cannot tell whether routing pays; "" where they may.

    Example:
        >>> why_no_verdict(Grouping.of(np.arange(12, dtype=np.uint64)))
        '12 questions, and at least 30 are needed'
    """
    groups, rows = len(grouping), len(grouping.groups)
    if groups < FEWEST_GROUPS:
        return f"{count_of(groups, grouping.noun)}, and at least {FEWEST_GROUPS} are needed"
    largest = int(grouping.sizes.max())
    if largest > LARGEST_SHARE * rows:
        return f"one {grouping.noun} has {largest:,} of {rows:,} rows, and would decide alone"
    return ""


def copies_note(grouping: Grouping) -> str:
    """How many rows are copies or share a group, and what figures are then for; "" where none do.

    Example:
        >>> keys = np.array([1, 1, 2, 3], dtype=np.uint64)
        >>> copies_note(Grouping.of(keys))
        '4 rows, 3 questions: 1 copy; figures are for new questions'
        >>> copies_note(Grouping.of(np.array([7, 7, 7, 8], dtype=np.uint64), keys))
        '4 rows, 3 questions: 1 copy; 2 groups, and figures are for new groups'
    """
    groups, rows, copies = len(grouping), len(grouping.groups), grouping.copies
    if groups == rows and not copies:
        return ""
    copies_words = f": {copies:,} {'copy' if copies == 1 else 'copies'}" if copies else ""
    note = f"{count_of(rows, 'row')}, {count_of(grouping.n_questions, 'question')}{copies_words}"
    if grouping.question_keys is not None:
        alike = " of nearly equal questions" if grouping.joins_alike else ""
        return f"{note}; {count_of(groups, 'group')}{alike}, and figures are for new groups"
    return f"{note}; figures are for new questions" if copies > FEW_COPIES * rows else note
