"""Cross-fitting: what each setting of a family costs and scores on rows that it was not fitted on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.families import COST_GRID, Candidate, CostGrid, Family
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Setting
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.rules import AlwaysPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossfit:
    """How settings are measured on rows that they were not fitted on.

    Attributes:
        folds: parts that the rows are divided into.
        repeats: divisions into folds that are averaged, where rows are few.
        few_rows: from this many rows on one division is enough.
        many_rows: above, one fold is measured, and at most a fifth of this many rows of it.
        least_rows: below, nothing can be cross-fitted.
        grid: how finely cost_weights are searched.
    """

    folds: int = 5
    repeats: int = 3
    few_rows: int = 2_000
    many_rows: int = 20_000
    least_rows: int = 20
    grid: CostGrid = COST_GRID

    def enough(self, rows: int) -> bool:
        """Tell whether so many rows can be cross-fitted."""
        return rows >= self.least_rows


CROSSFIT = Crossfit()


class Curve(NamedTuple):
    """Mean cost and score of each setting on rows that its policy was not fitted on."""

    settings: tuple[Setting, ...]
    points: tuple[Point, ...]


NO_CURVE = Curve((), ())


def crossfit(
    table: TraceTable,
    family: Family,
    *,
    seed: int,
    options: Crossfit = CROSSFIT,
    abstain_value: float = 0.0,
) -> Curve:
    """Fit on all folds but one, measure every setting on that one, in turn.

    With many rows one turn measures as many as it takes to choose. With few, the whole is
    repeated with other folds and other orders of the votes, so that luck in one order decides less.
    """
    sums, family = CurveSums(), family.with_cost_grid(table)
    for r in range(options.repeats if len(table) < options.few_rows else 1):
        variant = table.reseed(table.seed + r) if r else table
        fold = folds_of(table, options.folds, seed + 1000 * r)
        for k in range(options.folds if len(table) <= options.many_rows else 1):
            candidates = family.candidates(variant.subset(fold != k))
            sums.add(candidates, variant, measured_rows(fold == k, options), abstain_value)
    return sums.curve()


def measured_rows(mask: NDArray[np.bool_], options: Crossfit) -> Ints:
    """Return the places in a mask, at most a fifth of `many_rows`: rows stand in no telling order."""
    return np.flatnonzero(mask)[: options.many_rows // 5]


class CurveSums:
    """Sums of cost and score per setting, over folds."""

    def __init__(self) -> None:
        self._settings: tuple[Setting, ...] = ()
        self._sums: Floats = np.zeros((0, 2))
        self._rows = 0

    def add(
        self, candidates: Sequence[Candidate], table: TraceTable, rows: Ints, abstain_value: float
    ) -> None:
        """Replay all candidates on some rows; those that decide alike once."""
        table = _with_rounded_lengths(table)
        self._settings = tuple(c.setting for c in candidates)
        by_key: dict[Hashable, tuple[float, float]] = {}
        sums = []
        for place, (_, policy, key) in enumerate(candidates):
            key = place if key is None else key
            if key not in by_key:
                run = replay(policy, table, rows, abstain_value=abstain_value)
                by_key[key] = (float(run.cost.sum()), float(run.score.sum()))
            sums.append(by_key[key])
        self._sums = np.array(sums) + (self._sums if self._rows else 0.0)
        self._rows += len(rows)

    def curve(self) -> Curve:
        """Return the means."""
        means = self._sums / max(self._rows, 1)
        return Curve(self._settings, tuple(Point(float(c), float(q)) for c, q in means))


def _with_rounded_lengths(table: TraceTable) -> TraceTable:
    """Round prompt lengths to half an octave: coarse plans need no more, and replays run faster."""
    lengths = 2 ** (np.rint(2 * np.log2(np.maximum(table.input_tokens, 1.0))) / 2)
    return replace(table, input_tokens=lengths)


class Singles(NamedTuple):
    """What each single tier scores and costs on each row, n×N."""

    score: Floats
    cost: Floats

    def points(self) -> tuple[Point, ...]:
        """Return their means."""
        return tuple(
            Point(float(c), float(q))
            for c, q in zip(self.cost.mean(axis=0), self.score.mean(axis=0), strict=True)
        )


def singles(table: TraceTable) -> Singles:
    """Replay every single tier."""
    runs = [replay(AlwaysPolicy(len(table.tiers), j), table) for j in range(len(table.tiers))]
    return Singles(np.stack([r.score for r in runs], axis=1), np.stack([r.cost for r in runs], axis=1))
