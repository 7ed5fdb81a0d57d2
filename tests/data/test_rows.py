"""Question and trace rows: read strictly, and written back the same."""

from typing import Any

import pytest
from trace_rows import trace_row

from automix_cli.data.rows import has_blank_gold, question_from_dict, trace_from_dict
from automix_cli.errors import DataError


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1], "expected a JSON object, got a list"),
        (True, "expected a JSON object, got a boolean"),
        ({}, "question: expected text, got nothing"),
        ({"question": 3}, "question: expected text, got a number"),
        ({"question": "  "}, "question: is empty"),
        ({"question": "q", "id": True}, "id: expected text or a whole number, got a boolean"),
        ({"question": "q", "id": 1.5}, "id: expected text or a whole number, got a number"),
        ({"question": "q", "id": [1]}, "id: expected text or a whole number, got a list"),
        ({"question": "q", "context": {"a": 1}}, "context: expected text"),
        ({"question": "q", "choices": [None]}, "choices: expected text"),
        ({"messages": []}, "messages: expected a list"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last one must be the user's"),
    ],
)
def test_a_bad_row_is_refused_with_its_key(row: Any, problem: str) -> None:
    with pytest.raises(DataError) as refused:
        question_from_dict(row)
    assert problem in refused.value.message


@pytest.mark.parametrize(
    ("row", "text", "context"),
    [
        ({"instruction": "Sum up.", "input": "A text.", "output": "x"}, "Sum up.", "A text."),
        ({"instruction": "Say hello.", "input": "", "output": "x"}, "Say hello.", None),
        ({"instruction": "Sum up.", "context": "Given.", "input": "A text."}, "Sum up.", "Given."),
        ({"question": "Who?", "instruction": "Be brief.", "input": "A text."}, "Who?", None),
    ],
)
def test_an_instruction_is_the_question_and_its_input_the_context(
    row: dict[str, Any], text: str, context: str | None
) -> None:
    question = question_from_dict(row)
    assert (question.text, question.context) == (text, context)


def test_a_chat_row_keeps_the_messages_before_the_question() -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    for row in ({"messages": chat}, {"custom_id": "x", "body": {"model": "m", "messages": chat}}):
        question = question_from_dict(row)
        assert question.text == "u"
        assert [tuple(m) for m in question.history] == [("system", "s")]


def test_a_tier_that_failed_scores_nothing_and_is_written_as_it_was_read() -> None:
    cell = {"failed": "context_length", "score": 0.0, "cost": 0.25, "latency": 1.0}
    step = trace_from_dict(trace_row(small=cell)).steps[0]
    assert (step.failed, step.score, step.answer, step.answer_cost) == ("context_length", 0.0, None, 0.25)
    assert step.to_trace() == cell


@pytest.mark.parametrize(
    ("failed", "kind"), [(True, "unknown"), ("no_text", "no_text"), (False, None), (None, None)]
)
def test_a_failure_is_recorded_by_its_kind_or_as_a_boolean(failed: Any, kind: str | None) -> None:
    step = trace_from_dict(trace_row(small={"failed": failed, "votes": [], "answer": None})).steps[0]
    assert (step.failed, step.score) == (kind, 0.0 if kind else None)


def test_a_trace_written_and_read_again_is_written_the_same() -> None:
    raw = trace_row(
        3, small={"answer": "", "score": 0.5, "votes": [1, None, 0], "cost": 0.5, "vote_cost": 0.25}
    )
    raw |= {"expected": ["a", "b"], "metadata": {"k": 1}, "dataset": "d", "split": "test"}
    raw["tiers"]["large"] = {"samples": ["x"], "confidence": 1.0, "latency": 2.0, "input_tokens": 9}
    once = trace_from_dict(raw)
    assert once.to_dict() == raw
    assert trace_from_dict(once.to_dict()) == once


@pytest.mark.parametrize(
    ("row", "is_blank"),
    [
        ({"question": "?", "expected": " "}, True),
        ({"id": 1, "prompt": "?", "gold": "", "tiers": {}}, True),
        ({"question": "?", "expected": "4"}, False),
        (
            {"id": 1, "question": "?", "context": "", "choices": [], "dataset": "", "split": "", "tiers": {}},
            False,
        ),
    ],
)
def test_a_place_for_a_right_answer_may_be_blank(row: dict[str, Any], is_blank: bool) -> None:
    assert has_blank_gold(row) == is_blank
