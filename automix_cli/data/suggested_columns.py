"""What the columns of a row are called, and the `--columns` option that would map them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from automix_cli.data.row_keys import ANSWER_NAMES, PLAIN_NAMES, ROW_KEY_NAMES, plain_name
from automix_cli.records import Json

_LONGEST_LIST = 20
_DEPTH = 3
_WORDS = {
    "question": ("question", "prompt", "query", "problem", "instruction", "text", "user", "input", "title"),
    "expected": (
        *("expected", "answer", "target", "ideal", "gold", "correct", "reference", "solution", "label"),
        *("completion", "response", "output"),
    ),
}


class _NestedColumn(NamedTuple):
    name: str
    value: Json


def _columns(row: Mapping[str, Json], depth: int = _DEPTH) -> Iterator[_NestedColumn]:
    """The columns of a row; those of nested objects have dots in their names."""
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if isinstance(inner, dict) and inner and depth > 1:
            yield from (_NestedColumn(f"{name}.{c.name}", c.value) for c in _columns(inner, depth - 1))
        elif name:
            yield _NestedColumn(name, value)


def names_in(row: Mapping[str, Json]) -> list[str]:
    """The names of a row's columns, as `--columns` takes them.

    Example:
        >>> names_in({"q": "Who?", "answers": {"text": ["Ada"], "start": [3]}})
        ['q', 'answers.text', 'answers.start']
    """
    names = [column.name for column in _columns(row)]
    return names if len(names) <= _LONGEST_LIST else [*names[:_LONGEST_LIST], "…"]


def name_under(row: Mapping[str, Json], key: str) -> str:
    """The column that a row's question, or its right answer, is read from.

    Example:
        >>> row = {"Type": "sum", "Question": "2 + 2?", "Best Answer": "4"}
        >>> name_under(row, "question"), name_under(row, "expected")
        ('Question', 'Best Answer')
    """
    own = [name for name, value in row.items() if value is not None]
    answers = frozenset(map(plain_name, ANSWER_NAMES)) if key == "expected" else frozenset()
    ways = (
        *(name for name in ROW_KEY_NAMES[key] if name in own),
        *(name for name in own if plain_name(name) in PLAIN_NAMES[key]),
        *(name for name in own if plain_name(name) in answers),
        *(name for name in ("answers", "messages", "body") if name in own),
    )
    return next(iter(ways), key)


def columns_option(row: Mapping[str, Json], keys: Sequence[str]) -> str:
    """The option that maps a row's columns onto keys; COLUMN stands where none looks like the key.

    Keys that a row has under a name of their own need no mapping.

    Example:
        >>> columns_option({"problem": "2 + 2?", "solution": {"text": "4"}}, ("question", "expected"))
        '--columns question=problem,expected=solution.text'
    """
    columns, names = list(_columns(row)), dict[str, str]()
    for key in keys:
        if not _has(row, key):
            names[key] = _nearest(columns, key, names.values()) or "COLUMN"
    parts = [_item(f"{key}={name}") for key, name in names.items()]
    return f"--columns {shlex.quote(','.join(parts))}"


def _has(row: Mapping[str, Json], key: str) -> bool:
    """Whether a row has a value under one of the names of a key."""
    names = PLAIN_NAMES[key] | (set(map(plain_name, ANSWER_NAMES)) if key == "expected" else set())
    return any(
        value is not None and not isinstance(value, dict) and plain_name(name) in names
        for name, value in row.items()
    )


def _nearest(columns: Sequence[_NestedColumn], key: str, others: Collection[str]) -> str | None:
    """The column beside `others` whose name has the first of a key's words; None where no name has any."""
    free = [c.name for c in columns if c.name not in others and not isinstance(c.value, dict)]
    for word in _WORDS.get(key, ()):
        for name in free:
            own = plain_name(name)
            if word in own and "id" not in own.split("."):
                return name
    return None


def _item(item: str) -> str:
    """An item of the option; one with a comma is quoted."""
    return f'"{item}"' if "," in item else item
