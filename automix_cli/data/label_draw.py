"""Which rows to label: drawn where labels tell most, each with a chance that is known.

Row i has a weight w and a number u in [0, 1) that depends on nothing but a seed and its id. The rows of
smallest u/w are chosen (priority sampling; Duffield, Lund and Thorup, Journal of the ACM 54, 2007): with τ
the u/w of the first row that is not, row i was chosen with probability min(1, w·τ), and a mean in which it
counts with one over that is right on average. The rows of largest w would have no such probability.

Beside them some rows are drawn of all rows alike: only they tell how often a tier is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.data.draws import uniform
from automix_cli.pomdp.arrays import Floats, Ints

_RANDOM_SHARE = 0.2  # of the labels
_FEWEST_RANDOM = 10
_LEAST_WEIGHT = 0.25  # of the mean weight: rows that matter little are drawn, too


class LabelDraw(NamedTuple):
    """n rows, and which of them are to be labelled.

    Attributes:
        by_weight: places of the rows chosen by weight, in the order of u/w.
        random: places of the rows drawn of all rows, in the order of their numbers; some may be chosen, too.
        inclusion: n, the chance to be in either.
        rank: n, u/w; infinite where a row cannot be chosen.
        weight: n, w.
    """

    by_weight: Ints
    random: Ints
    inclusion: Floats
    rank: Floats
    weight: Floats

    @property
    def order(self) -> list[int]:
        """The places of all rows to label, once each: those drawn at random spread among the chosen ones.

        The first at random comes before all: it can be shown before weights are known.
        """
        places = [(0.0, row) for row in self.random[:1]]
        places += [
            (order, row)
            for part in (self.by_weight, self.random)
            for order, row in zip((np.arange(len(part)) + 0.5) / max(len(part), 1), part, strict=True)
        ]
        return list(dict.fromkeys(int(row) for _, row in sorted(places)))

    def part_of(self, row: int) -> str:
        """How a row came to be drawn: chosen, random, or both."""
        parts = (row in self.by_weight, row in self.random)
        return "both" if all(parts) else "chosen" if parts[0] else "random"


def label_weights(worth: Floats) -> Floats:
    """Weights of rows by what their labels tell; those of little worth get a quarter of the mean.

    Args:
        worth: n, how much the loss can change with a row's label; NaN where a label tells nothing.

    Example:
        >>> label_weights(np.array([1.0, 0.0, 1.0, np.nan])).round(3).tolist()
        [1.0, 0.167, 1.0, 0.0]
    """
    tells = ~np.isnan(worth)
    mean = float(worth[tells].mean()) if tells.any() else 0.0
    least = _LEAST_WEIGHT * mean if mean > 0 else 1.0
    return np.where(tells, np.maximum(np.nan_to_num(worth), least), 0.0)


def random_part(n: int) -> int:
    """How many of n labels are drawn from all rows.

    Example:
        >>> random_part(28), random_part(100), random_part(8)
        (10, 20, 4)
    """
    return min(max(_FEWEST_RANDOM, math.ceil(_RANDOM_SHARE * n)), n // 2)


def draw_labels(
    ids: Sequence[str | int], weight: Floats, n_chosen: int, n_random: int, seed: int
) -> LabelDraw:
    """Draw rows to label by their weights, and others from all rows alike.

    A draw of more rows holds those of a smaller one with the same seed.

    Args:
        ids: of the rows.
        weight: n, 0 where a row cannot be chosen.
        n_chosen: how many by weight; where fewer rows have one, all of these.
        n_random: how many of all rows.
        seed: of the draw.

    Example:
        >>> draw = draw_labels(range(100), np.ones(100), 30, 10, seed=0)
        >>> len(draw.by_weight), len(draw.random), round(float(draw.inclusion[0]), 2)
        (30, 10, 0.38)
    """
    number = np.array([uniform("label", seed, ident) for ident in ids])
    with np.errstate(divide="ignore", invalid="ignore"):
        rank = np.where(weight > 0, number / weight, np.inf)
    random = np.argsort(_random_numbers(ids, seed), kind="stable")[:n_random]
    order = np.argsort(rank, kind="stable")[: int((weight > 0).sum())]
    first = order[:n_chosen]
    threshold = rank[order[len(first)]] if len(first) < len(order) else np.inf
    chance = chance_by(weight, threshold)
    share = len(random) / max(len(ids), 1)
    return LabelDraw(first, random, share + (1 - share) * chance, rank, weight)


def first_at_random(ids: Sequence[str | int], seed: int) -> int:
    """The place of a row that is in every draw with this seed, whatever the weights.

    Example:
        >>> first_at_random(range(100), 0) == draw_labels(range(100), np.ones(100), 30, 9, seed=0).order[0]
        True
    """
    return int(_random_numbers(ids, seed).argmin())


def _random_numbers(ids: Sequence[str | int], seed: int) -> Floats:
    return np.array([uniform("label at random", seed, ident) for ident in ids])


def chance_by(weight: Floats, threshold: float) -> Floats:
    """The chance that u/w is below a threshold: n.

    Example:
        >>> chance_by(np.array([0.5, 2.0, 0.0]), 0.8).tolist()
        [0.4, 1.0, 0.0]
    """
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, np.minimum(1.0, weight * threshold), 0.0)
