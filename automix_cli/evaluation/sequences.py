"""Bounds that hold at every look: after each row, at a time of one's choosing, for ever.

An interval for a fixed number of rows is wrong far more often than it says when one looks at it again and
again. A confidence sequence is not: the probability that it ever misses the truth is at most alpha.

    share_bounds    for a share, from k of n: the beta-binomial mixture (Robbins, Ann. Math. Stat. 41, 1970)
    share_move      against a share that was itself measured on rows; `share_rise` on one side of it
    capital         against "the mean is at most 0" (Waudby-Smith and Ramdas, JRSS B 86, 2024, 1-27)
    mean_bound      the upper bound of a mean that follows from it

Each rests on the same fact: the capital of a bettor who cannot be expected to win reaches 1/alpha with
probability at most alpha (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Floats

STAKES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
"""What bettors stake, of the most that may be staked."""

_HALVINGS = 60  # halvings of [0, 1]: finer than a float near 1
_MEANS = (
    *(0.05 * i for i in range(19, 4, -1)),
    *(0.0025 * i for i in range(80, -20, -1)),
    *(-0.05 * i for i in range(1, 20)),
)  # that `mean_bound` bets against, in this order

# ---------------------------------------------------------------- shares


class ShareBounds(NamedTuple):
    """k of n, and where the share behind them lies."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share observed; None without rows."""
        return self.k / self.n if self.n else None


def share_bounds(k: int, n: int, alpha: float = 0.05) -> ShareBounds:
    """Bound a share after k of n: all p with B(k+½, n-k+½)/B(½, ½) < p^k (1-p)^(n-k) / alpha.

    Example:
        >>> [round(bound, 4) for bound in share_bounds(2, 1000)[2:]]
        [0.0, 0.0123]
        >>> share_bounds(0, 0)
        ShareBounds(k=0, n=0, low=0.0, high=1.0)
    """
    if not n:
        return ShareBounds(k, n, 0.0, 1.0)
    least = _log_beta(k + 0.5, n - k + 0.5) - _log_beta(0.5, 0.5) + math.log(alpha)

    def holds(p: float) -> bool:
        return _log_likelihood(p, k, n) > least

    low = 0.0 if k == 0 else _edge(holds, 0.0, k / n)
    high = 1.0 if k == n else _edge(holds, 1.0, k / n)
    return ShareBounds(k, n, low, high)


def _edge(holds: Callable[[float], bool], outside: float, inside: float) -> float:
    """The point between two where a condition ceases to hold, on the side where it does not."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (outside, middle) if holds(middle) else (middle, inside)
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(p: float, k: int, n: int) -> float:
    if (p <= 0 and k) or (p >= 1 and n > k):
        return -math.inf
    return (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if n > k else 0.0)


def share_move(k: int, n: int, hits: float, cases: float) -> float:
    """Bet that the share behind k of n is not the one that `hits` of `cases` were seen of: the capital.

    The share of those cases is not known exactly, so that the mixture for it is their posterior: with
    very many cases the capital reaches 1/alpha where `share_bounds` leave hits/cases out.

    Example:
        >>> share_move(3, 100, 20, 100) > 20 > share_move(18, 100, 20, 100)
        True
    """
    if not n or not cases:
        return 0.0
    a, b = hits + 0.5, cases - hits + 0.5
    bet = _log_beta(k + 0.5, n - k + 0.5) - _log_beta(0.5, 0.5)
    null = _log_beta(k + a, n - k + b) - _log_beta(a, b)
    return math.exp(min(bet - null, 700.0))


def share_rise(k: int, n: int, hits: float, cases: float) -> float:
    """The same where the share is above the one seen before; 0 elsewhere.

    Example:
        >>> share_rise(30, 100, 20, 1000) > 20 > share_rise(3, 100, 20, 1000)
        True
    """
    is_above = bool(n and cases) and k / n > hits / cases
    return share_move(k, n, hits, cases) if is_above else 0.0


# ---------------------------------------------------------------- means


def capital(gain: Floats, most_lost: float) -> float:
    """Return the highest capital that bets against "E[gain] ≤ 0" reached, from a capital of 1.

    Args:
        gain: independent values in an order that says nothing of them.
        most_lost: none of them is below minus this.

    Example:
        >>> capital(np.full(200, 0.1), 0.9) > 10, capital(np.zeros(200), 0.9)
        (True, 1.0)
    """
    highest = float(log_capitals(gain, most_lost).max(initial=0.0))
    return math.exp(min(highest, 700.0))


def log_capitals(gain: Floats, most_lost: float) -> Floats:
    """The logarithm of the capital after each bet."""
    most = 1 / max(most_lost, 1e-12)  # a stake beyond this could lose more than there is
    before = np.arange(len(gain))
    mean = (np.cumsum(gain) - gain) / (before + 1)
    square = (0.25 + np.cumsum(gain**2) - gain**2) / (before + 1)
    adaptive = np.clip(mean / np.maximum(square, 1e-12), 0.0, 0.75 * most)
    stakes = np.vstack([adaptive, *(np.full(len(gain), s * most) for s in STAKES)])
    logs = np.cumsum(np.log1p(stakes * gain), axis=1)
    peak = logs.max(axis=0)
    mixture: Floats = np.log(np.exp(logs - peak).mean(axis=0)) + peak  # the mean of fair bets is a fair bet
    return mixture


def mean_bound(values: Floats, alpha: float = 0.05) -> float:
    """Bound the mean of values in -1..1 from above, at every look.

    Means are refuted one after the other, from 1 down, until one is not: so that it does not matter
    whether a mean below that one could be refuted, too.

    Example:
        >>> mean_bound(np.zeros(1000)) < 0.01, mean_bound(np.zeros(0))
        (True, 1.0)
    """
    bound = 1.0
    for mean in _MEANS:
        if capital(mean - values, 1 - mean) < 1 / alpha:
            break
        bound = round(mean, 6)
    return bound
