"""What Python programs ask with: a text, a row as in JSONL files, or a `Question`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from automix_cli.data.jsonl import Row, row_of_value
from automix_cli.errors import DataError
from automix_cli.records import NoId, Question

Askable: TypeAlias = "str | Mapping[str, Any] | Question"
"""A question: its text, a row of the shapes that `automix ask` reads, or the record itself."""


def row_of(value: Askable, index: int = 0) -> Row:
    """What was given, as the row at place `index`; what is wrong with it stands in the row's `fault`.

    Example:
        >>> row_of({"prompt": "2 + 2?", "id": "q1"}).question.text
        '2 + 2?'
        >>> row_of("  ").fault, row_of(7).fault
        ('question: is empty', 'expected text, a row or a Question, got int')
    """
    if isinstance(value, Question):
        question = replace(value, index=index, id=index if isinstance(value.id, NoId) else value.id)
        fault = "" if question.text.strip() else "question: is empty"
        return Row(
            index, index + 1, None if fault else question, fault, id=question.id, raw=question.to_dict()
        )
    if isinstance(value, str):
        return row_of_value({"question": value}, index, index + 1)
    if isinstance(value, Mapping):
        return row_of_value(dict(value), index, index + 1)
    problem = f"expected text, a row or a Question, got {type(value).__name__}"
    return Row(index, index + 1, None, problem)


def question_of(value: Askable, context: str | None = None) -> Question:
    """One question, with the text that the answer must rest on.

    Raises:
        DataError: it is none, or brings a context of its own besides `context`.

    Example:
        >>> question_of("When does it end?", "The lease ends in May.").context
        'The lease ends in May.'
    """
    row = row_of(value)
    if row.question is None:
        raise DataError(row.fault, hint=row.hint)
    if context is None:
        return row.question
    if row.question.context is not None:
        raise DataError("context: is given, and stands in the row, too")
    return replace(row.question, context=context)
