"""Prompts fit their window: their context is cut, and nothing else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from automix_cli.errors import ContextTooLong
from automix_cli.prompts.messages import (
    JudgedAnswer,
    answer_messages,
    read_candidate,
    read_question,
    verification_messages,
)
from automix_cli.prompts.window import estimate_tokens, fit_window, shorten
from automix_cli.records import Message, Question

ALPHABETS = {"ascii": "abcdefgh ,.\n", "chinese": "中文字符测试。\n", "mixed": "aé中🙂\n<>…"}
MARK = re.compile(r"(.*)\n\[… (\d+) characters left out …\]\n(.*)", re.DOTALL)


def text_of(draw: random.Random, alphabet: str, length: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(length))


def check_cut(original: str, shown: str) -> None:
    """A cut context is a head and a tail of the original and says truly how much is missing."""
    if not shown:
        return
    found = MARK.fullmatch(shown)
    assert found
    head, missing, tail = found[1], int(found[2]), found[3]
    assert original.startswith(head)
    assert original.endswith(tail)
    assert missing == len(original) - len(head) - len(tail) > 0
    assert abs(len(head.encode()) - len(tail.encode())) <= 8


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS)
def test_a_shortened_context_keeps_head_and_tail_and_says_what_is_missing(alphabet: str) -> None:
    draw = random.Random(1)
    for _ in range(200):
        context = text_of(draw, alphabet, draw.randint(60, 400))
        cut = draw.randint(1, 200)
        shown = shorten(context, cut)
        check_cut(context, shown)
        if len(context.encode()) > 3 * (cut + 16):  # else nothing but the mark remains
            assert len(context.encode()) - len(shown.encode()) >= 3 * cut


COUNTS: dict[str, Callable[[Sequence[Message]], int]] = {
    "the estimate": estimate_tokens,
    "a byte a token": lambda ms: sum(4 + len(m.content.encode()) for m in ms),
    "a sign a token": lambda ms: sum(3 + len(m.content) for m in ms),
    "fewer than estimated": lambda ms: sum(len(m.content.encode()) for m in ms) // 4,
    "words": lambda ms: sum(len(m.content.split()) for m in ms),
}
ANSWER = "a long answer " * 20
BUILDS: dict[str, Callable[[Question], tuple[Message, ...]]] = {
    "verification": lambda q: verification_messages(q, ANSWER),
    "answer": lambda q: answer_messages(q, "Answer with one word. " * 10),
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS)
def test_a_prompt_is_fitted_by_cutting_its_context_and_nothing_else(
    alphabet: str, count: Callable[[Sequence[Message]], int], build: Callable[[Question], tuple[Message, ...]]
) -> None:
    draw = random.Random(2)
    least = count(build(Question(text="Who? " * 20, context="")))
    for _ in range(12):
        context = text_of(draw, alphabet, draw.choice([0, 10, 300, 2000]))
        question = Question(text="Who? " * 20, context=context, id="q")
        window = least + draw.choice([0, 20, 100, 500, 5000])
        fitted = fit_window(build, question, window, count)
        whole = build(question)
        assert count(fitted.messages) <= window
        assert fitted.messages[:-1] == whole[:-1]
        shown = (
            read_candidate(fitted.messages) or JudgedAnswer(read_question(fitted.messages), ANSWER)
        ).question
        assert fitted.messages == build(replace(question, context=shown.context))
        assert fitted.cut is (shown.context != context) is (fitted.messages != whole)
        assert fitted.cut is (count(whole) > window)
        if fitted.cut:
            assert shown.context is not None
            check_cut(context, shown.context)


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_little_more_is_cut_than_the_window_asks(count: Callable[[Sequence[Message]], int]) -> None:
    question = Question(text="Who?", context="some words " * 2000)
    whole = count(BUILDS["answer"](question))
    least = count(BUILDS["answer"](replace(question, context="")))
    for tenths in range(1, 10):
        window = least + (whole - least) * tenths // 10
        fitted = fit_window(BUILDS["answer"], question, window, count)
        assert window - 0.02 * whole < count(fitted.messages) <= window


@pytest.mark.parametrize("context", ["word " * 200_000, " " * 10**6, "1" * 10**6, "a" * 10**5 + "中" * 10**5])
def test_a_prompt_is_fitted_in_a_few_rounds(context: str) -> None:
    asked: list[int] = []

    def count(messages: Sequence[Message]) -> int:
        text = messages[-1].content
        asked.append(len(text) // 80 + 3 * len(re.findall(r"\w", text)))
        return asked[-1]

    fit_window(BUILDS["answer"], Question(text="Who?", context=context), 1000, count)
    assert len(asked) < 20


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_prompt_that_does_not_fit_without_its_context_is_refused(
    build: Callable[[Question], tuple[Message, ...]],
) -> None:
    least = estimate_tokens(build(Question(text="Who?", context="")))
    for context in ("", "x", "word " * 1000):
        question = Question(text="Who?", context=context)
        with pytest.raises(ContextTooLong, match=rf"window of {least - 1}$"):
            fit_window(build, question, least - 1)
        assert estimate_tokens(fit_window(build, question, least).messages) <= least


def test_without_a_window_or_a_context_a_prompt_is_left_alone() -> None:
    long = "word " * 5000
    for question, window in ((Question(text="Who?", context=long), None), (Question(text=long), 10)):
        fitted = fit_window(BUILDS["answer"], question, window)
        assert fitted == (BUILDS["answer"](question), False)


def test_tokens_are_not_counted_where_a_token_per_byte_would_fit() -> None:
    asked: list[int] = []

    def count(messages: Sequence[Message]) -> int:
        asked.append(len(messages))
        return 100

    question = Question(text="Who?", context="word " * 1000)
    most = 3 * estimate_tokens(BUILDS["answer"](question))
    assert fit_window(BUILDS["answer"], question, most, count) == (BUILDS["answer"](question), False)
    assert asked == []
    assert fit_window(BUILDS["answer"], question, most - 1, count) == (BUILDS["answer"](question), False)
    assert len(asked) == 1


def test_the_estimate_grows_with_text_and_with_messages() -> None:
    assert estimate_tokens([]) == 0
    assert estimate_tokens([Message("user", "")]) == 4
    assert estimate_tokens([Message("user", "x" * 300)]) == 104
    assert estimate_tokens([Message("user", "中" * 100)]) == 104
    assert estimate_tokens([Message("user", "\ud800")]) == 5
    assert estimate_tokens([Message("user", "a"), Message("user", "b")]) == 10
