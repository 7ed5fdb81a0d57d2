"""Fit prompts to a model's context window by cutting the middle out of their context."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from automix_cli.errors import ContextTooLong
from automix_cli.records import Message, Question

_BYTES_PER_TOKEN = 3


def estimate_tokens(messages: Iterable[Message]) -> int:
    """An estimate of prompt tokens: one per three UTF-8 bytes and four per message.

    Too high for English (about four bytes a token) and close for code and other languages, so
    that a prompt which is estimated to fit does fit.

    Example:
        >>> estimate_tokens([Message("user", "What is 17 * 23?")])
        10
    """
    return sum(4 + math.ceil(len(_utf8(m.content)) / _BYTES_PER_TOKEN) for m in messages)


def shorten(context: str, tokens: int) -> str:
    r"""Cut the middle out of a context so that about `tokens` fewer tokens remain.

    Example:
        >>> shorten("a" * 100 + "b" * 100, 48)
        'aaaa\n[… 192 characters left out …]\nbbbb'
    """
    data = _utf8(context)
    keep = max(0, len(data) - (tokens + _GAP_TOKENS) * _BYTES_PER_TOKEN)
    head = data[: (keep + 1) // 2].decode("utf-8", "ignore")
    tail = data[len(data) - keep // 2 :].decode("utf-8", "ignore")
    return f"{head}\n[… {len(context) - len(head) - len(tail)} characters left out …]\n{tail}"


_GAP_TOKENS = 16


class FittedPrompt(NamedTuple):
    """A prompt that fits a context window, and whether its context had to be cut."""

    messages: tuple[Message, ...]
    cut: bool


def fit_window(
    build: Callable[[Question], tuple[Message, ...]],
    question: Question,
    window: int | None,
    count: Callable[[Sequence[Message]], int] = estimate_tokens,
) -> FittedPrompt:
    """Build a prompt of at most `window` tokens by cutting the middle of its context.

    Instructions, examples, question and answer are never cut. `count` is not called where a
    token per byte would fit. Without a context, or with an unknown window (None), the prompt
    stays unchanged.

    Raises:
        ContextTooLong: when even without its context the prompt does not fit.
    """
    messages = build(question)
    if window is None or question.context is None:
        return FittedPrompt(messages, False)
    if _BYTES_PER_TOKEN * estimate_tokens(messages) <= window:
        return FittedPrompt(messages, False)
    total = count(messages)
    if total <= window:
        return FittedPrompt(messages, False)
    bare = count(build(replace(question, context="")))
    if bare > window:
        raise ContextTooLong(
            f"the prompt needs {bare - window} tokens more than the model's window of {window}"
        )
    return FittedPrompt(_cut_to(build, question, question.context, window, count, total - bare), True)


def _cut_to(
    build: Callable[[Question], tuple[Message, ...]],
    question: Question,
    whole: str,
    window: int,
    count: Callable[[Sequence[Message]], int],
    context_tokens: int,
) -> tuple[Message, ...]:
    """The prompt with as much of the whole context as the window has room for."""
    # `count` may count more or fewer tokens in this text than the estimate: scale each cut by the ratio.
    rate = len(_utf8(whole)) / _BYTES_PER_TOKEN / context_tokens
    messages, context, cut = build(question), whole, 0
    while (excess := count(messages) - window) > 0:
        # Cut from the whole context each time, so that the number of characters left out stays right.
        cut += math.ceil(excess * rate)
        shorter = shorten(whole, cut)
        context = shorter if len(shorter) < len(context) else ""
        messages = build(replace(question, context=context))
    return messages


def _utf8(text: str) -> bytes:
    """UTF-8 that survives lone surrogates, which JSON input may hold."""
    return text.encode("utf-8", "surrogatepass")
