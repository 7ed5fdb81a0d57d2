"""How long a reply may be before any call: from a word to `max_tokens`, with a stated guess between."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.server_record import Lengths
from automix_cli.fitting.student import student_quantile

ReplyEnd = Literal["short", "guess", "long"]
"""Which length a reply has of which nobody knows it: the least, the guess, or the most."""

REPLY_ENDS: tuple[ReplyEnd, ...] = ("short", "guess", "long")

_LEAST_REPLY = 1.0  # token
_OF_LABEL = 1 / 2  # that a reply which holds a right answer is at least as long as
_QUANTILE = 0.975
_FIRM = 0.1  # half of a range, in powers of e, that is told as one figure


class ReplyRange(NamedTuple):
    """Tokens of a reply at least, as guessed, and at most; all the same where enough calls have shown them.

    `prompts` is how many calls have shown the guess: their mean.
    """

    short: float
    guess: float
    long: float
    prompts: int = 0

    def at(self, end: ReplyEnd) -> float:
        """The length at one of the ends, or between them."""
        return float(getattr(self, end))

    @property
    def is_known(self) -> bool:
        """Whether enough calls have shown the length, or `max_tokens` leaves no choice."""
        return self.short == self.long


def reply_range(
    lengths: Lengths, request: Request, label_tokens: float | None = None, questions: int = 1
) -> ReplyRange:
    """How long replies are on average, as calls have shown it, or else may be.

    Before any call the guess is the geometric mean of the ends: as many times the one as the other is it.
    That takes each order of magnitude for as likely, and so does the prior that stays while few calls
    were seen: it counts as one of them, with the spread of such lengths. With k prompts whose replies have
    the mean m, and the spread s beside it (in shares of m, the prior among them), the mean of n replies to
    come is taken to lie between m / e^h and m · e^h, h = t · s · √(1/k + 1/n), with t the 97.5 % quantile
    of Student's distribution with k degrees of freedom. Where h is at most a tenth, the mean stands alone.

    Args:
        lengths: of replies to such requests.
        request: whose `max_tokens` is the most.
        label_tokens: of the right answers in the rows, which a reply holds.
        questions: to be asked.

    Example:
        >>> from automix_cli.backends.base import Request
        >>> request = Request(model="m", messages=(), params=(("max_tokens", 1024),), timeout=5)
        >>> reply_range(Lengths(), request)
        ReplyRange(short=1.0, guess=32.0, long=1024.0, prompts=0)
        >>> reply_range(Lengths(), request, 128.0).guess, reply_range(Lengths(90, 3), request).guess
        (256.0, 30.0)
        >>> seen = Lengths(30 * 20, 20, prompts=20, squares=30**2 * 20)
        >>> [round(end) for end in reply_range(seen, request, questions=200)[:3]]
        [25, 30, 36]
    """
    most = float(request.max_tokens)
    least = min(most, max(_LEAST_REPLY, _OF_LABEL * (label_tokens or 0.0)))
    mean, prompts = lengths.mean, lengths.prompts or lengths.completions
    if mean is None:
        return ReplyRange(least, math.sqrt(least * most), most)
    half = _half_width(lengths, prompts, most, questions)
    if half <= _FIRM:
        return ReplyRange(mean, mean, mean, prompts)
    low, high = mean * math.exp(-half), mean * math.exp(half)
    return ReplyRange(min(mean, max(least, low)), mean, max(mean, min(most, high)), prompts)


def _half_width(lengths: Lengths, prompts: int, most: float, questions: int) -> float:
    """By which power of e the mean of replies to come may differ from the mean of those that were seen."""
    prior = max(0.0, math.log(max(most, 1.0)) / 2 - 1)  # square of the spread of a log-uniform length
    spread = lengths.square_spread
    square = prior if spread is None else (prior + spread) / prompts
    quantile = student_quantile(_QUANTILE, prompts)
    return quantile * math.sqrt(square * (1 / prompts + 1 / questions))
