"""How long a reply may be before any call: from a word to `max_tokens`, with a stated guess between."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.server_record import Lengths

ReplyEnd = Literal["short", "guess", "long"]
"""Which length a reply has of which nobody knows it: the least, the guess, or the most."""

REPLY_ENDS: tuple[ReplyEnd, ...] = ("short", "guess", "long")

_LEAST_REPLY = 1.0  # token
_OF_LABEL = 1 / 2  # that a reply which holds a right answer is at least as long as


class ReplyRange(NamedTuple):
    """Tokens of a reply at least, as guessed, and at most; all the same where calls have shown them."""

    short: float
    guess: float
    long: float

    def at(self, end: ReplyEnd) -> float:
        """The length at one of the ends, or between them."""
        return float(getattr(self, end))

    @property
    def is_known(self) -> bool:
        """Whether calls have shown the length, or `max_tokens` leaves no choice."""
        return self.short == self.long


def reply_range(lengths: Lengths, request: Request, label_tokens: float | None = None) -> ReplyRange:
    """How long a reply is, as calls have shown it, or else may be.

    The guess is the geometric mean of the ends: as many times the one as the other is it.

    Args:
        lengths: of replies to such requests.
        request: whose `max_tokens` is the most.
        label_tokens: of the right answers in the rows, which a reply holds.

    Example:
        >>> from automix_cli.backends.base import Request
        >>> request = Request(model="m", messages=(), params=(("max_tokens", 1024),), timeout=5)
        >>> reply_range(Lengths(), request)
        ReplyRange(short=1.0, guess=32.0, long=1024.0)
        >>> reply_range(Lengths(), request, 128.0).guess, reply_range(Lengths(90, 3), request).guess
        (256.0, 30.0)
    """
    if (mean := lengths.mean) is not None:
        return ReplyRange(mean, mean, mean)
    most = float(request.max_tokens)
    least = min(most, max(_LEAST_REPLY, _OF_LABEL * (label_tokens or 0.0)))
    return ReplyRange(least, math.sqrt(least * most), most)
