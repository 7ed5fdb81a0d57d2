"""Bounds of a loss that hold after every label, while rows are labelled in the order of their draw.

Rows leave an urn in the order of their rank, u/w. Given the rank r of the row that comes next, it is each of
those left with a chance q in proportion to w/(1 - w·r). So the losses seen before it, and its own over q, are
on average the loss of all rows: bets against that cannot be expected to win (Shekhar, Xu, Lipton, Liang and
Ramdas, "Risk-limiting financial audits via weighted sampling without replacement", UAI 2023).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.label_draw import LabelDraw, chance_by
from automix_cli.evaluation.loss import MOST_SKIPPED
from automix_cli.evaluation.sequences import capital
from automix_cli.pomdp.arrays import Floats, Ints

_LOSS_ALPHA = 0.05
_BOUND_STEPS = 200  # between the sure bounds
_ROUNDED = 1e-9


class LossBounds(NamedTuple):
    """Where a loss lies, in points of 1."""

    low: float
    high: float


class SequentialDraw(Struct, frozen=True):
    """Rows labelled in the order of a draw, as far as labels go.

    Attributes:
        draw: of the rows; those of its random part count as soon as they have a label.
        most: n, the most that the loss of a row can be; its loss is not below minus this.
        loss: n, of labelled rows, else NaN.
        earlier: n, losses known before the draw.
        skips: places of the rows that were seen and could not be labelled.
    """

    draw: LabelDraw
    most: Floats
    loss: Floats
    earlier: Floats
    skips: frozenset[int] = frozenset()

    @property
    def _urn(self) -> Ints:
        """Rows that may be chosen, in the order of u/w; the random part is no chance of this draw."""
        rank = self.draw.rank
        order = np.argsort(rank, kind="stable")[: int(np.isfinite(rank).sum())]
        return order[~np.isin(order, self.draw.random)]

    def _length(self) -> int:
        """How many of the chosen rows were looked at: up to the last one that has a label."""
        urn = self._urn
        with_label = np.flatnonzero(np.isin(urn, self.draw.by_weight) & ~np.isnan(self.loss[urn]))
        return int(with_label[-1]) + 1 if len(with_label) else 0

    @property
    def n_skipped(self) -> int:
        """How many rows have no label among those that somebody came past."""
        return int(np.isnan(self.loss[self._past_rows]).sum())

    @property
    def _past_rows(self) -> list[int]:
        """The rows up to the last one with a label or a skip, in the order in which they are shown."""
        order = self.draw.order
        past = [k for k, row in enumerate(order) if row in self.skips or not math.isnan(self.loss[row])]
        return order[: past[-1] + 1] if past else []

    def estimate(self, bounds: LossBounds | None = None) -> float | None:
        """The mean loss, each label with one over the chance of its row, drawn into its bounds.

        Rows without a label lose the share of their most that rows with one lose.

        Args:
            bounds: of the same loss; None computes them.

        Returns:
            None without a label of a chosen row, and where so many rows were skipped that they may move it.
        """
        length, urn, random = self._length(), self._urn, self._random_rows
        own = urn[:length]
        threshold = float(self.draw.rank[urn[length]]) if length < len(urn) else np.inf
        weight = 1 / np.concatenate([chance_by(self.draw.weight, threshold)[own], np.ones(len(random))])
        rows = np.concatenate([own, random])
        lacks_labels = (len(urn) and not length) or (len(rows) and np.isnan(self.loss[rows]).all())
        if lacks_labels or self.n_skipped > MOST_SKIPPED * len(self._past_rows):
            return None
        value = float((self.earlier.sum() + (self._whole(rows, weight) * weight).sum()) / len(self.loss))
        low, high = bounds or self.bounds()
        return max(low, min(value, high))

    def _whole(self, rows: Ints, weight: Floats) -> Floats:
        """The losses of rows; those without a label lose at the rate of those with one."""
        loss, most = self.loss[rows], self.most[rows]
        has_label = ~np.isnan(loss)
        whole = float((most * weight)[has_label].sum())
        rate = float((loss * weight)[has_label].sum()) / whole if whole > 0 else 0.0
        return np.where(has_label, loss, rate * most)

    @property
    def _random_rows(self) -> Ints:
        return self.draw.random[self.draw.weight[self.draw.random] > 0]

    def bounds(self) -> LossBounds:
        """Bounds of the mean loss on these rows, with 95 % at every look; skipped rows are at their worst."""
        high = self._upper(self.loss, self.earlier)
        low = -self._upper(-self.loss, -self.earlier)
        return LossBounds(low - _ROUNDED, high + _ROUNDED)

    def _upper(self, loss: Floats, earlier: Floats) -> float:
        """The upper bound, with half of alpha: losses are refuted from the highest possible one down."""
        worst = np.where(np.isnan(loss), self.most, loss)
        urn, length = self._urn, self._length()
        beside = float(earlier.sum() + worst[self._random_rows].sum())
        before, value, most = self._bets(worst, urn, length)
        left = self.most[urn[length:]].sum()
        middle = beside + float(worst[urn[:length]].sum())
        highest, lowest = middle + left, middle - left
        bound = highest
        for total in np.linspace(highest, lowest, _BOUND_STEPS + 1):
            least = np.maximum(before + most - (total - beside), 1e-12)  # the most that a bet can lose
            gain = np.maximum((total - beside - value) / least, -1.0)
            if total < highest and capital(np.minimum(gain, 1e6), 1.0) < 2 / _LOSS_ALPHA:
                break
            bound = float(total)
        return float(bound / len(loss))

    def _bets(self, loss: Floats, urn: Ints, length: int) -> tuple[Floats, Floats, Floats]:
        """Per label: losses seen before it, these and its own over q, and how far that can be above them."""
        weight, rank = self.draw.weight, self.draw.rank
        before = np.concatenate([[0.0], np.cumsum(loss[urn])])[:length]
        value, most = np.zeros(length), np.zeros(length)
        for t in range(length):
            rest = urn[t:]
            hazard = weight[rest] / np.maximum(1 - weight[rest] * rank[urn[t]], 1e-12)
            total = hazard.sum()
            value[t] = before[t] + loss[urn[t]] * total / hazard[0]
            most[t] = total * float((self.most[rest] / hazard).max())
        return before, value, most
