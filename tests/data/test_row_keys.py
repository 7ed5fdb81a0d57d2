"""Every declared key of a row is read, by each reader to the same value, and written back."""

from collections.abc import Callable
from typing import Any

import pytest

from automix_cli.data.columns import read_columns
from automix_cli.data.read_traces import read_table
from automix_cli.data.row_keys import ROW_KEYS, TIER_KEYS, RowKey, TierKey
from automix_cli.data.rows import question_from_dict, trace_from_dict
from automix_cli.errors import DataError, UsageError
from automix_cli.records import Question, Step

TIER_VALUES: dict[str, tuple[Any, Callable[[Step], Any]]] = {
    "failed": ("no_text", lambda step: step.failed),
    "score": (0.25, lambda step: step.score),
    "confidence": (0.5, lambda step: step.confidence),
    "votes": ([1, 0, None], lambda step: [verdict.value for verdict in step.votes]),
    "answer": ("Paris", lambda step: step.answer),
    "samples": (["Paris", "Rome"], lambda step: list(step.samples)),
    "cost": (2.0, lambda step: step.answer_cost),
    "vote_cost": (3.0, lambda step: step.vote_cost),
    "round_cost": (4.0, lambda step: step.round_cost),
    "sample_cost": (5.0, lambda step: step.sample_cost),
    "input_tokens": (6, lambda step: step.answer_usage.input_tokens),
    "output_tokens": (7, lambda step: step.answer_usage.output_tokens),
    "latency": (8.0, lambda step: step.latency_s),
}
ROW_VALUES: dict[str, tuple[Any, Callable[[Question], Any]]] = {
    "id": ("q1", lambda question: question.id),
    "question": ("Which?", lambda question: question.text),
    "context": ("A text.", lambda question: question.context),
    "expected": ("Paris", lambda question: question.expected[0]),
    "choices": (["Rome", "Paris"], lambda question: list(question.choices)),
    "metadata": ({"a": 1}, lambda question: question.metadata),
    "dataset": ("d", lambda question: question.dataset),
    "split": ("test", lambda question: question.split),
}


def by_name(key: RowKey | TierKey) -> str:
    return key.name


def on_tier(cell: dict[str, Any]) -> dict[str, Any]:
    return {"question": "Which?", "tiers": {"small": cell}}


def test_the_values_of_these_tests_are_of_all_declared_keys() -> None:
    assert list(TIER_VALUES) == [key.name for key in TIER_KEYS]
    assert list(ROW_VALUES) == [key.name for key in ROW_KEYS]


@pytest.mark.parametrize("key", TIER_KEYS, ids=by_name)
def test_a_key_of_a_tier_is_read_by_both_readers_to_the_same_value(key: TierKey) -> None:
    value, field = TIER_VALUES[key.name]
    row = on_tier({key.name: value})
    step = trace_from_dict(row).steps[0]
    assert field(step) == value
    if key.step:
        assert getattr(step, key.step) == value
    table = read_table([(1, row)])
    if key.name == "failed":
        assert table.failed.tolist() == [[True]]
    elif key.column:
        assert getattr(table, key.name).tolist() == [[value]]
    elif key.name == "votes":
        assert table.votes.tolist() == [[[1, 1, 1]]]
    elif key.name == "samples":
        assert table.sample_counts.tolist() == [[2]]


@pytest.mark.parametrize("key", [key for key in TIER_KEYS if key.kind == "number"], ids=by_name)
def test_a_number_beyond_its_highest_is_refused_by_both_readers(key: TierKey) -> None:
    row = on_tier({key.name: float("inf") if key.highest > 1 else 1.5})
    with pytest.raises(DataError, match=f"tiers.small.{key.name}: expected a finite number"):
        trace_from_dict(row)
    if key.column:
        with pytest.raises(DataError, match=f"line 1: tiers.small.{key.name}: expected a finite number"):
            read_table([(1, row)])


def test_a_tier_with_every_key_is_written_as_it_was_read() -> None:
    cell = {name: value for name, (value, _) in TIER_VALUES.items() if name != "failed"}
    assert trace_from_dict(on_tier(cell)).to_dict()["tiers"] == {"small": cell}


@pytest.mark.parametrize("key", ROW_KEYS, ids=by_name)
def test_a_key_of_a_row_is_read_under_each_of_its_names(key: RowKey) -> None:
    value, field = ROW_VALUES[key.name]
    for name in (key.name, *key.aliases):
        row = {"question": "Which?", name: value} if key.name != "question" else {name: value}
        assert field(question_from_dict(row)) == value


@pytest.mark.parametrize("key", [*ROW_KEYS, *TIER_KEYS], ids=by_name)
def test_a_column_can_be_mapped_onto_every_flat_key_and_no_other(key: RowKey | TierKey) -> None:
    of_tier = isinstance(key, TierKey)
    mapping = f"small.{key.name}=column" if of_tier else f"{key.name}=column,small.score=other"
    if not key.flat:
        with pytest.raises(UsageError, match=f"unknown key '{key.name}'"):
            read_columns(mapping)
        return
    value = (TIER_VALUES if of_tier else ROW_VALUES)[key.name][0]
    row = read_columns(mapping).map_row({"column": value, "other": 1})
    assert (row["tiers"]["small"] if of_tier else row)[key.name] == value
