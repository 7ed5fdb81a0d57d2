"""Rows that ask the same question are a group, whatever the rows' ids and order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trace_rows import numbered

from automix_cli.data.duplicates import normal_form
from automix_cli.data.groups import Grouping, copies_note, question_content, question_keys, why_no_verdict
from automix_cli.data.read_traces import ROWS_AT_A_TIME, read_table
from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError

TIERS = {"small": {"score": 1}}


def groups_of(rows: list[dict[str, Any]], **options: Any) -> list[int]:
    """The group of each row, numbered by first appearance."""
    groups = read_table(numbered([{"tiers": TIERS, **row} for row in rows]), **options).groups.tolist()
    first = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return [first[group] for group in groups]


@pytest.mark.parametrize(
    "others",
    [
        ["ascii only"],
        ["plain", "  doubled   blanks "],
        ["a tab\tand\na line", "Ünïcode"],
        ["cafe\u0301", "CAFÉ", "café"],
        ["", "  ", "x"],
        ["", "a \0 b"],
        ["\0", "\0\0"],
        ["\x1c\x1d a", "\u2028b\u00a0c", "\ud800"],
        ["STRASSE", "straße"],
    ],
)
def test_texts_have_one_key_exactly_where_their_normal_forms_are_equal(others: list[str]) -> None:
    texts = ["Who wrote Dune?", "who  wrote\ndune? ", "who wrote emma?", *others]
    keys = question_keys(texts, range(len(texts)))
    for i, one in enumerate(texts):
        for k, other in enumerate(texts):
            alike = normal_form(one) == normal_form(other) and (i == k or bool(normal_form(one)))
            assert (keys[i] == keys[k]) == alike, (one, other)
    for i, text in enumerate(texts):
        assert question_keys([text], [i]) == keys[i], "whatever else is read along with it"


def test_a_question_is_its_text_context_choices_and_earlier_messages() -> None:
    contents = [
        question_content("q"),
        question_content("q", "c"),
        question_content("q", None, ["c"]),
        question_content("q", None, ["c", "d"]),
        question_content("q", "c", ["d"]),
        question_content("q", None, None, [("user", "c")]),
        question_content("q", None, None, [("assistant", "c")]),
    ]
    assert len(set(question_keys(contents, range(len(contents))).tolist())) == len(contents)
    assert question_content("q", ["a", "b"]) == question_content("q", "a\n\nb")
    assert question_content("q", None, ["d", "c"]) == question_content("q", None, ["c", "d"])


def test_equal_questions_are_read_as_one_group_under_every_alias() -> None:
    chat = {"messages": [{"role": "user", "content": "Who?"}]}
    rows = [
        {"question": "Who?"},
        {"prompt": "who? "},
        chat,
        {"question": "Who?", "context": "Dune"},
        {"input": "WHO?", "context": ["dune"]},
        {"question": "Who?", "choices": ["A", "B"]},
        {"question": "Who?", "choices": ["a", "b "]},
        {"messages": [{"role": "system", "content": "x"}, *chat["messages"]]},
    ]
    assert groups_of([{"id": i, **row} for i, row in enumerate(rows)]) == [0, 0, 0, 1, 1, 2, 2, 3]


def test_rows_without_text_are_groups_by_id() -> None:
    assert groups_of([{"id": "a"}, {"id": "b", "question": " "}, {"id": 3}]) == [0, 1, 2]
    assert groups_of([{}, {}, {"context": "c"}, {"context": "C"}]) == [0, 1, 2, 2]
    assert groups_of([{"context": ""}, {"context": []}, {"context": "c"}, {"choices": []}]) == [0, 1, 2, 3]


def test_a_column_decides_where_a_row_has_a_value_in_it() -> None:
    rows = [
        {"question": "a", "metadata": {"passage": 7}},
        {"question": "b", "metadata": {"passage": "7"}},
        {"question": "b", "metadata": {"passage": 8}},
        {"question": "b", "metadata": None},
        {"question": "B"},
        {"question": "c", "metadata.passage": 8},
    ]
    assert groups_of(rows) == [0, 1, 1, 1, 1, 2]
    assert groups_of(rows, group_column="metadata.passage") == [0, 0, 1, 2, 2, 1]
    with pytest.raises(UsageError, match=r"--group: no row has a value in column 'passage'"):
        groups_of(rows, group_column="passage")


def copied(questions: int, copies: int) -> TraceTable:
    rows = [{"question": f"q {i % questions}", "tiers": TIERS} for i in range(questions * copies)]
    return read_table(numbered(rows))


def test_groups_depend_neither_on_ids_nor_on_the_order_of_rows() -> None:
    rows = [{"question": f"q {i % 300}", "tiers": TIERS} for i in range(3 * ROWS_AT_A_TIME)]
    table = read_table(numbered([row | {"id": i} for i, row in enumerate(rows)]))
    order = np.random.default_rng(0).permutation(len(rows))
    other = read_table(numbered([rows[i] | {"id": f"new {i}"} for i in order]))
    np.testing.assert_array_equal(other.group_keys, table.group_keys)
    np.testing.assert_array_equal(other.groups, table.groups[order])
    assert table.n_groups == 300
    assert (np.diff(table.group_keys.astype(object)) > 0).all()


@pytest.mark.parametrize("as_mask", [False, True])
def test_some_rows_keep_their_keys_and_are_numbered_anew(as_mask: bool) -> None:
    table = copied(50, 3)
    rows = np.flatnonzero(np.random.default_rng(1).random(150) < 0.3)
    part = table.subset(np.isin(np.arange(150), rows) if as_mask else rows)
    assert sorted(set(part.groups.tolist())) == list(range(part.n_groups))
    np.testing.assert_array_equal(part.group_keys[part.groups], table.group_keys[table.groups][rows])
    assert table.subset(rows[:0]).n_groups == 0


def test_a_mean_of_means_counts_each_question_once() -> None:
    grouping = Grouping.of(np.array([5, 1, 5, 5], dtype=np.uint64))
    assert grouping.means(np.array([1.0, 4.0, 2.0, 3.0])).tolist() == [4.0, 2.0]
    assert grouping.sizes.tolist() == [1, 3]
    assert grouping.copies == 2


def test_each_purpose_and_seed_has_an_order_of_its_own() -> None:
    grouping = copied(200, 1).grouping
    orders = {tuple(grouping.shuffle(seed, purpose)) for seed in (0, 1, -1) for purpose in ("a", "b")}
    assert len(orders) == 6
    assert all(sorted(order) == list(range(200)) for order in orders)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ([1] * 29, "29 questions, and at least 30 are needed"),
        ([4] * 29, "29 questions, and at least 30 are needed"),
        ([1] * 30, ""),
        ([10] + [1] * 90, ""),
        ([11] + [1] * 90, "one question has 11 of 101 rows, and would decide alone"),
    ],
)
def test_few_questions_or_one_that_outweighs_the_others_decide_nothing(sizes: list[int], reason: str) -> None:
    grouping = Grouping.of(np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes))
    assert why_no_verdict(grouping) == reason


def test_copies_are_counted_and_above_a_twentieth_the_figures_are_for_new_questions() -> None:
    assert copies_note(copied(100, 1).grouping) == ""
    assert copies_note(copied(250, 4).grouping) == (
        "1,000 rows, 250 questions: 750 copies; figures are for new questions"
    )
    five = Grouping.of(np.concatenate([np.arange(95), np.arange(5)]).astype(np.uint64))
    assert copies_note(five) == "100 rows, 95 questions: 5 copies"
