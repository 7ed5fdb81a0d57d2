"""The grid of prompt lengths that plans are made for: fine enough that the loss in value is small.

The best value is convex in the number of tokens (a maximum of straight lines, one per policy), and
each plan is a tangent to it. Between two grid lengths it lies above both tangents and below the
chord; where these are further apart than `GRID_LOSS` the grid is halved. So the loss is bounded, and
only few lengths are planned for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Bools, Floats, Ints

GRID_LOSS = 5e-4  # the most value that planning on the grid may lose
_STEPS = 4  # spans in a doubling of the length, before any is halved


class SpanEnds(NamedTuple):
    """The ends of P spans, columns of P."""

    low: Floats
    high: Floats


class LengthSpan(NamedTuple):
    """Two lengths that are planned for, and all between them."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Where it is halved."""
        return math.sqrt(self.low * self.high)

    @property
    def lower(self) -> LengthSpan:
        """The half of short prompts."""
        return LengthSpan(self.low, self.middle)

    @property
    def upper(self) -> LengthSpan:
        """The half of long prompts."""
        return LengthSpan(self.middle, self.high)


def span_of(tokens: float) -> LengthSpan:
    """Return the span that a length lies in, before any is halved.

    Example:
        >>> span_of(300.0).low, round(span_of(300.0).high, 1)
        (256.0, 304.4)
    """
    step = int(steps_of(np.array([tokens]))[0])
    return LengthSpan(2 ** (step / _STEPS), 2 ** ((step + 1) / _STEPS))


def steps_of(tokens: Floats) -> Ints:
    """Number the spans that lengths lie in, before any is halved."""
    return np.asarray(np.floor(_STEPS * np.log2(tokens)), dtype=np.intp)


class ValueLine(NamedTuple):
    """The values of W plans at the length that they are made for, and how much each token takes off them."""

    value: Floats
    fall: Floats

    def take(self, places: Ints | slice) -> ValueLine:
        """The same of some plans."""
        return ValueLine(self.value[places], self.fall[places])


def compare_plans(span: LengthSpan | SpanEnds, first: ValueLine, second: ValueLine) -> tuple[Floats, Bools]:
    """Return up to which length each plan for `low` is the better of two, and where two are enough.

    Each plan's value is a line in the number of tokens. Where the two lines cross, both plans are
    equally good, and the gap below the chord, which no plan exceeds, is widest.

    Args:
        span: the two lengths; numbers, or columns of P spans.
        first: the plans for `low`, of W settings; P×W for P spans.
        second: the plans for `high`.
    """
    low, high = span
    rise = second.value + second.fall * (high - low) - first.value  # of the second line, at low
    width = np.broadcast_to(high - low, rise.shape).copy()
    differs = first.fall != second.fall
    crossing = low + np.divide(rise, second.fall - first.fall, out=width, where=differs)
    crossing = np.clip(crossing, low, high)
    tangent = np.maximum(
        first.value - first.fall * (crossing - low), second.value + second.fall * (high - crossing)
    )
    share = (crossing - low) / (high - low)
    gap = (1 - share) * first.value + share * second.value - tangent
    return crossing, np.asarray((gap <= GRID_LOSS) | (high / low < 1 + 1e-6))
