"""Classes that a column names: how values are read, and which classes have priors of their own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from known import table_of

from automix_cli.data.labelled import DataFile
from automix_cli.data.question_classes import (
    LEAST_QUESTIONS,
    MOST_CLASSES,
    MOST_COLUMNS,
    ClassColumn,
    NamedClasses,
    check_class_column,
    possible_classes,
)
from automix_cli.data.rows import question_from_dict
from automix_cli.errors import DataError, UsageError

TIERS = {"tiers": {"s": {"score": 1, "cost": 1}}}
ROWS = {
    "a field": ({"topic": "law"}, "law"),
    "metadata": ({"metadata": {"topic": "law"}}, "law"),
    "the field before metadata": ({"topic": "law", "metadata": {"topic": "art"}}, "law"),
    "a field that is null": ({"topic": None, "metadata": {"topic": "art"}}, "art"),
    "blanks around": ({"topic": " law "}, "law"),
    "a blank field before metadata": ({"topic": " ", "metadata": {"topic": "art"}}, "art"),
    "a number": ({"topic": 7}, "7"),
    "a whole number with a point": ({"topic": 7.0}, "7"),
    "the same as text, as of CSV": ({"topic": "7.0"}, "7"),
    "a number with leading zeros": ({"topic": "07.0"}, "07.0"),
    "letters and marks apart": ({"topic": "cafe\u0301"}, "caf\u00e9"),
    "a truth value": ({"topic": True}, "true"),
    "blank": ({"topic": " "}, None),
    "nothing": ({}, None),
    "metadata that is no object": ({"metadata": ["topic"]}, None),
}


def column(*names: str | None) -> ClassColumn:
    return ClassColumn("topic", np.array(names, dtype=object))


@pytest.mark.parametrize(("row", "name"), ROWS.values(), ids=ROWS)
def test_a_trace_row_and_a_live_row_of_one_form_are_of_one_class(
    row: dict[str, Any], name: str | None
) -> None:
    table = table_of([{**TIERS, **row}, {**TIERS, "topic": "other"}], class_column="topic")
    assert table.class_column is not None
    assert table.class_column.values[0] == name
    live = question_from_dict({"question": "?", **row})
    names = ("07.0", "7", "art", "caf\u00e9", "law", "true")
    assert NamedClasses("topic", names).name_of(live) == name


def test_names_of_an_earlier_block_are_read_as_those_of_rows() -> None:
    classes = NamedClasses.from_dict({"column": "topic", "names": ["8.0", "cafe\u0301"]})
    assert classes.names == ("8", "caf\u00e9")
    assert classes.place(classes.name_of(question_from_dict({"question": "?", "topic": 8}))) == 0
    with pytest.raises(ValueError, match="different names"):
        NamedClasses.from_dict({"column": "topic", "names": ["8", "8.0"]})


@pytest.mark.parametrize("row", [{"topic": None}, {"topic": " ", "metadata": {"topic": ""}}], ids=str)
def test_a_column_that_is_blank_in_every_row_is_said_to_be(row: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        table_of([{**TIERS, **row}], class_column="topic")
    assert caught.value.message == "--class-column: column 'topic' is blank or null in every row"


def test_columns_that_may_be_classes_have_short_values_of_which_one_is_in_several_rows() -> None:
    rows = [
        {"question": "?", "topic": "law" if k else None, "n": 3.0, "id": 1, "own": k, "part": 0.5, "look": 1}
        for k in range(3)
    ]
    assert possible_classes(rows) == ("n", "topic")
    assert len(possible_classes([{f"c{k}": 1 for k in range(99)}] * 2)) == MOST_COLUMNS


@pytest.mark.parametrize("key", ["dataset", "split"])
def test_a_column_that_rows_have_anyway_may_name_the_class(key: str) -> None:
    assert NamedClasses(key, ("law",)).name_of(question_from_dict({"question": "?", key: "law"})) == "law"


BAD = {
    "a list": (["law"], "line 2: topic: a class is text, a number, true or false, got a list"),
    "an object": ({"a": 1}, "line 2: topic: a class is text, a number, true or false, got an object"),
    "a long text": ("x" * 101, "line 2: topic: a class has a name of at most 100 characters, got 101"),
}


@pytest.mark.parametrize(("value", "problem"), BAD.values(), ids=BAD)
def test_a_value_that_names_no_class_is_refused_in_traces_and_is_no_class_live(
    value: Any, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        table_of([{**TIERS, "topic": "law"}, {**TIERS, "topic": value}], class_column="topic")
    assert caught.value.message == problem
    live = question_from_dict({"question": "?", "topic": value})
    assert NamedClasses("topic", ("law",)).name_of(live) is None


def test_a_column_without_values_names_those_that_there_are() -> None:
    rows = [{**TIERS, "id": 1, "metadata": {"topic": "law"}}]
    with pytest.raises(UsageError, match="no row has a value in column 'topik'") as caught:
        table_of(rows, class_column="topik")
    assert "metadata.topic" in caught.value.hint


@pytest.mark.parametrize("name", ["expected", "gold", "label", "tiers.s.score"])
def test_a_column_of_answers_is_no_class(name: str) -> None:
    with pytest.raises(UsageError, match="not known before a question is answered"):
        check_class_column(name)


def test_classes_of_few_questions_are_not_told_apart_and_copies_are_one_question() -> None:
    names = ("law",) * LEAST_QUESTIONS + ("art",) * LEAST_QUESTIONS + ("zoo",) * (LEAST_QUESTIONS - 1)
    groups = np.arange(len(names))
    groups[LEAST_QUESTIONS + 1] = groups[LEAST_QUESTIONS]  # two rows on art ask one question
    classes = NamedClasses.of(column(*names, None), np.append(groups, 99))
    assert classes.names == ("law",)
    assert len(classes) == 2
    assert classes.places(["law", "art", None]).tolist() == [0, 1, 1]
    assert [classes.place(name) for name in ("law", "art", None)] == [0, 1, 1]


def test_of_too_many_classes_the_largest_are_told_apart() -> None:
    names = [f"c{k:02}" for k in range(MOST_CLASSES + 2) for _ in range(LEAST_QUESTIONS + (k > 1))]
    classes = NamedClasses.of(column(*names), np.arange(len(names)))
    assert len(classes.names) == MOST_CLASSES
    assert not {"c00", "c01"} & set(classes.names)


def test_a_part_of_a_table_keeps_its_classes() -> None:
    rows = [{**TIERS, "id": i, "topic": "law" if i % 2 else "art"} for i in range(40)]
    table = table_of(rows, class_column="topic").with_named_classes(np.arange(40) < 30)
    half = table.subset(np.arange(20, 40))
    assert half.named_classes == NamedClasses("topic", ("art", "law"))
    assert half.question_classes is not None
    assert half.question_classes.tolist() == [0, 1] * 10
    assert half.class_column is not None
    assert half.class_column.values.tolist() == ["art", "law"] * 10


def test_traces_keep_what_may_be_classes_whether_or_not_an_option_names_it() -> None:
    rows = [{"id": k, "question": f"{k}?", "topic": "law", "text": "x" * 500, "stamp": k} for k in range(2)]
    data = DataFile("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert data.values_of_possible_classes() == {0: {"topic": "law"}, 1: {"topic": "law"}}
