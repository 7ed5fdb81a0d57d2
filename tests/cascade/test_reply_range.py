"""How long replies are taken to be after few calls: the range holds the mean of those to come."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from automix_cli.backends.base import Request
from automix_cli.backends.server_record import Lengths
from automix_cli.cascade.reply_range import ReplyRange, reply_range
from automix_cli.records import Completion
from automix_cli.usage import Usage

REQUEST = Request(model="m", messages=(), params=(("max_tokens", 1024),), timeout=5)
ROWS, TRIALS = 200, 400
Draw = Callable[[random.Random], int]
WORD: Draw = lambda rng: rng.randint(1, 5)  # noqa: E731
SENTENCE: Draw = lambda rng: rng.randint(50, 100)  # noqa: E731
PAGE: Draw = lambda rng: rng.randint(20, 400)  # noqa: E731
MIXED: Draw = lambda rng: rng.choice((WORD, SENTENCE, PAGE))(rng)  # noqa: E731


def seen(lengths: list[int]) -> Lengths:
    total = Lengths()
    for tokens in lengths:
        total = total.plus(Lengths.of([Completion(text="x", usage=Usage(output_tokens=tokens, calls=1))], 9))
    return total


def ranges(draw: Draw, calls: int, trials: int = TRIALS) -> list[tuple[ReplyRange, float]]:
    """Ranges after so many calls, each with the mean of the replies that then come."""
    rng = random.Random(f"{calls}")
    return [
        (
            reply_range(seen([draw(rng) for _ in range(calls)]), REQUEST, questions=ROWS),
            sum(draw(rng) for _ in range(ROWS)) / ROWS,
        )
        for _ in range(trials)
    ]


@pytest.mark.parametrize("calls", [1, 2, 5, 20])
@pytest.mark.parametrize("draw", [WORD, SENTENCE, PAGE, MIXED], ids=["word", "sentence", "page", "mixed"])
def test_the_mean_to_come_lies_in_the_range_in_nine_of_ten_trials(draw: Draw, calls: int) -> None:
    holds = [own.short <= mean <= own.long for own, mean in ranges(draw, calls)]
    assert sum(holds) >= 0.9 * TRIALS


@pytest.mark.parametrize("draw", [WORD, SENTENCE, PAGE, MIXED], ids=["word", "sentence", "page", "mixed"])
def test_it_narrows_with_calls_and_only_many_give_one_figure(draw: Draw) -> None:
    widths = {}
    for calls in (1, 2, 5, 20):
        own = [reply for reply, _ in ranges(draw, calls, 40)]
        assert not any(reply.is_known for reply in own)
        widths[calls] = sum(reply.long / reply.short for reply in own)
    assert widths[1] > widths[2] > widths[5] > widths[20]


def test_many_alike_give_one_figure() -> None:
    assert reply_range(seen([80] * 100), REQUEST, questions=ROWS) == (80.0, 80.0, 80.0, 100)


def test_replies_to_one_prompt_count_as_one_call() -> None:
    votes = [Completion(text="x", usage=Usage(output_tokens=80, calls=1))] * 100
    assert not reply_range(Lengths.of(votes, 9), REQUEST, questions=ROWS).is_known
