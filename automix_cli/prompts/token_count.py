"""How many tokens a prompt is expected to have, for bills: near the mark rather than on the safe side.

A token is a piece of a word, up to three digits, a run of signs, or a line break; of scripts beyond ASCII,
three bytes. `estimate_tokens` counts high, so that what is estimated to fit does fit.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from automix_cli.records import Message

_TOKEN = re.compile(r"[A-Za-z]{1,8}|[0-9]{1,3}|[^\sA-Za-z0-9\x80-\U0010ffff]+|\n+")
_MOST_CHARACTERS = 8_000  # that are counted; of a longer text both ends are, and stand for the whole
_OF_MESSAGE, _OF_REPLY = 4, 3  # tokens around each message, and before the reply


def expected_tokens(messages: Iterable[Message]) -> int:
    """The tokens that a server is expected to count for a prompt.

    Example:
        >>> expected_tokens([Message("user", "What is 17 * 23?")])
        13
    """
    return _OF_REPLY + sum(_OF_MESSAGE + tokens_of(m.content) for m in messages)


@functools.lru_cache(maxsize=16)  # tiers and votes share their prompts
def tokens_of(text: str) -> int:
    """The tokens of a text.

    Example:
        >>> tokens_of("Is 2026 a leap year?"), tokens_of("中国的首都是哪里？")
        (7, 9)
    """
    if len(text) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        return round(tokens_of(text[:half] + text[-half:]) * len(text) / _MOST_CHARACTERS)
    if text.isascii():
        return len(_TOKEN.findall(text))
    beyond = sum(len(part.encode("utf-8", "surrogatepass")) for part in re.findall(r"[^\x00-\x7f]+", text))
    return len(_TOKEN.findall(text)) + -(-beyond // 3)
