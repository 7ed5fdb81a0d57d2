"""A loss in words that need no sign: what is below zero is a gain, and is called one."""

from __future__ import annotations

import math

from automix_cli.texts import DUST


def loss_words(share: float) -> str:
    """Say what is lost or gained, of a loss in points of 1.

    Example:
        >>> loss_words(0.0123), loss_words(-0.004), loss_words(0.00001)
        ('loses 1.2 points', 'gains 0.4 points', 'loses under 0.1 points')
    """
    if abs(share) < DUST:
        return "loses nothing"
    amount = _few_points(share)
    return f"{'gains' if share < 0 else 'loses'} {amount} points"


def loss_bounds_words(low: float, high: float, value: float | None = None) -> str:
    """The bounds of a loss; the numbers alone where they have the sign of its estimate.

    Example:
        >>> loss_bounds_words(0.002, 0.011, 0.004), loss_bounds_words(-0.011, -0.002, -0.004)
        ('0.2 to 1.1', '0.2 to 1.1')
        >>> loss_bounds_words(-0.002, 0.011, 0.004), loss_bounds_words(0.002, 0.011)
        ('from a gain of 0.2 to a loss of 1.1', 'a loss of 0.2 to 1.1')
        >>> loss_bounds_words(0.00499, 0.00501)
        'a loss of 0.5'
    """
    if value is not None and value > 0 and low >= 0:
        return f"{_points(low)} to {_points(high)}"
    if value is not None and value < 0 and high <= 0:
        return f"{_points(high)} to {_points(low)}"
    ends = _noun(low), _noun(high)
    if ends[0] == ends[1]:
        return ends[0]
    if low >= DUST or high <= -DUST:
        near, far = sorted((abs(low), abs(high)))
        return f"{_noun(math.copysign(near, low))} to {_points(far)}"
    return f"from {ends[0]} to {ends[1]}"


def _noun(share: float) -> str:
    if abs(share) < DUST:
        return "no loss"
    return f"a {'gain' if share < 0 else 'loss'} of {_few_points(share)}"


def _few_points(share: float) -> str:
    """The points, of which some are there."""
    amount = _points(share)
    return "under 0.1" if amount == "0.0" else amount


def _points(share: float) -> str:
    return f"{100 * abs(share):.1f}"
