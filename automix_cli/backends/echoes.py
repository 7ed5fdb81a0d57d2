"""What an error repeats of the request: the words of a prompt say nothing of why it was refused.

Servers quote what they were sent, in fields, in quotation marks and bare in their sentences. A user
may ask about errors, so such words must never count as the server's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from automix_cli.texts import lazy_pattern

_BEYOND = 8
"""Characters that an echo shares with the request beyond the words that it was searched for.

Less may be chance: a long document, and a server that finds it too long, can use one and the same word.
"""
_EXCERPT = 12
"""Characters of a text that is an echo as a whole; shorter ones are words that anybody uses."""

_OCCURRENCES = 100
_LEVELS = 8

_FIELDS = lazy_pattern(
    r"(?:^|_)(?:inputs?|prompts?|messages|requests?|query|headers|user|text|ctx|content|generation)(?:_|$)"
)
_REST = lazy_pattern(
    r"""['"](?:input|prompt|messages)['"]: ?['"\[{].*|\binput_value=.*""", re.DOTALL
)  # Pydantic's, as text
_QUOTED = lazy_pattern(
    r"""(?<!\w)"[^"\n]*"(?!\w) | “[^”\n]*” | ‘[^’\n]*’ | (?<!\w)'[^'\n]*'(?!\w) | `[^`\n]*`""",
    re.VERBOSE,
)
_PARAMETER = lazy_pattern(r"max_\w+", re.ASCII)


def is_echo_field(name: str) -> bool:
    """Whether servers send back in a field of this name what they were sent.

    Example:
        >>> [is_echo_field(name) for name in ("input", "userMessage", "message")]
        [True, True, False]
    """
    return _FIELDS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None


def without_quotations(text: str) -> str:
    """A text with its quotations emptied; names in backquotes, and those of limits, stay.

    Example:
        >>> without_quotations("cannot read 'prompt is too long'; it's 'max_tokens'")
        "cannot read ''; it's 'max_tokens'"
    """
    return _QUOTED.sub(_empty_quotation, _REST.sub("", text))


def _empty_quotation(match: re.Match[str]) -> str:
    quotation = match[0]
    is_name = quotation[0] == "`" and not re.search(r"\s", quotation)
    return quotation if is_name or _PARAMETER.fullmatch(quotation[1:-1]) else quotation[0] + quotation[-1]


def is_echo(match: re.Match[str], texts: Sequence[str]) -> bool:
    """Whether a match stands in a stretch of text that one of the texts that were sent holds, too.

    Example:
        >>> match = re.search("too long", "cannot render: why is my prompt too long?")
        >>> is_echo(match, ["why is my prompt too long?"]), is_echo(match, ["The film is too long."])
        (True, False)
    """
    return any(_shares_more(match, text, at) for text in texts for at in _places(match[0], text))


def is_excerpt(text: str, texts: Sequence[str]) -> bool:
    """Whether the whole of a text is a part of one that was sent.

    Example:
        >>> is_excerpt("insufficient_quota", ["Why insufficient_quota?"]), is_excerpt("no", ["Why not?"])
        (True, False)
    """
    return len(text) >= _EXCERPT and any(text in one for one in texts)


def _places(words: str, text: str) -> Iterator[int]:
    at = text.find(words)
    for _ in range(_OCCURRENCES):
        if at < 0:
            return
        yield at
        at = text.find(words, at + 1)


def _shares_more(match: re.Match[str], text: str, at: int) -> bool:
    """Whether what surrounds a match is what surrounds the same words at a place of a text."""
    end = at + len(match[0])
    before = _common(match.string[: match.start()][-_BEYOND:][::-1], text[max(0, at - _BEYOND) : at][::-1])
    after = _common(match.string[match.end() :][:_BEYOND], text[end : end + _BEYOND])
    is_whole = before == at and end + after == len(text)
    return is_whole or before + after >= _BEYOND


def _common(one: str, other: str) -> int:
    """The length of the common beginning of two texts."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def texts_of(body: bytes) -> tuple[str, ...]:
    r"""The texts of a JSON body that was sent, and their escaped forms; none where it is something else.

    Example:
        >>> texts_of(rb'{"messages": [{"role": "user", "content": "Why?\nTell."}]}')
        ('user', 'Why?\nTell.', 'Why?\\nTell.')
    """
    try:
        texts = list(texts_in(json.loads(body)))
    except (ValueError, RecursionError):
        return ()
    escapes = (json.dumps(text, ensure_ascii=False)[1:-1] for text in texts)
    return tuple(dict.fromkeys((*texts, *escapes)))


def texts_in(value: Any, depth: int = _LEVELS) -> Iterator[str]:
    """All texts in a value of lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple) and depth:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner, depth - 1)
