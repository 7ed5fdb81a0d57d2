"""Cross-fitting: what each setting of a family costs and scores on rows that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import Outcomes, expected_cost, expected_score
from automix_cli.evaluation.families import (
    COST_GRID,
    CostGrid,
    Family,
    FittedFamily,
    SettingRows,
    settings_at,
)
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.settings import Setting
from automix_cli.pomdp.arrays import Bools, Floats, Ints


class Crossfit(Struct, frozen=True, kw_only=True):
    """How settings are measured on rows that they were not fitted on.

    Attributes:
        folds: parts that the questions are divided into.
        repeats: divisions into folds that are averaged, where questions are few.
        few_questions: from this many questions on one division is enough.
        many_questions: above, one fold is measured, and at most a fifth of this many questions of it.
        least_questions: below so many questions, nothing can be cross-fitted.
        grid: how finely cost_weights are searched.
    """

    folds: int = 5
    repeats: int = 3
    few_questions: int = 2_000
    many_questions: int = 20_000
    least_questions: int = 20
    grid: CostGrid = COST_GRID

    def enough(self, questions: int) -> bool:
        """Tell whether so many questions can be cross-fitted."""
        return questions >= self.least_questions

    def repeats_for(self, questions: int) -> int:
        """Return the number of divisions for so many questions."""
        return self.repeats if questions < self.few_questions else 1


CROSSFIT = Crossfit()


class Curve(NamedTuple):
    """What each of K settings costs and scores on rows that its policy was not fitted on.

    Attributes:
        settings: K.
        columns: K×n, row by row.
        rows: n, the places of these rows in the table.
    """

    settings: tuple[Setting, ...]
    columns: SettingRows
    rows: Ints

    @property
    def points(self) -> tuple[Point, ...]:
        """Mean cost and score per setting."""
        if not self.settings:
            return ()
        costs, scores = self.columns.cost.mean(axis=1), self.columns.score.mean(axis=1)
        return tuple(Point(float(c), float(q)) for c, q in zip(costs, scores, strict=True))


NO_CURVE = Curve((), SettingRows(np.empty((0, 0)), np.empty((0, 0))), np.empty(0, dtype=np.intp))


def crossfit(
    table: TraceTable,
    family: Family,
    *,
    seed: int,
    options: Crossfit = CROSSFIT,
    whole: FittedFamily | None = None,
) -> Curve:
    """Fit on all folds but one, measure every setting on that one, in turn.

    With many questions one turn measures as many as it takes to choose. With few, the whole is
    repeated with other folds, so that luck in one division decides less.

    Args:
        table: the rows.
        family: of the policies.
        seed: of the divisions.
        options: folds and repeats.
        whole: the fit to all rows, whose settings the curve has, where there is one already.
    """
    table = table.with_vote_limit()
    whole = family.fit(table) if whole is None else whole
    levels = whole.levels()
    sums = CurveSums(len(table))
    for r in range(options.repeats_for(table.n_groups)):
        fold = folds_of(table, options.folds, seed + 1000 * r)
        for k in measured_folds(table.n_groups, options):
            fitted, rows = family.fit(table.subset(fold != k)), measured_rows(table, fold == k, options)
            sums.add(rows, fitted.play(table, rows, fitted.places(levels)))
    return sums.curve(settings_at(whole, levels))


def measured_folds(questions: int, options: Crossfit) -> range:
    """Return the folds that are measured: all, or with many questions the first."""
    return range(options.folds if questions <= options.many_questions else 1)


def measured_rows(table: TraceTable, mask: Bools, options: Crossfit) -> Ints:
    """Return the places in a mask, all rows of each question.

    Of more questions than a fifth of `many_questions`, those are taken whose keys come first.
    """
    rows = np.flatnonzero(mask)
    questions, most = np.flatnonzero(np.bincount(table.groups[rows])), options.many_questions // 5
    return rows if len(questions) <= most else rows[table.groups[rows] < questions[most]]


class CurveSums:
    """Scores and costs per setting and row, averaged over the divisions in which a row was measured."""

    def __init__(self, rows: int) -> None:
        self._times = np.zeros(rows)
        self._parts: list[tuple[Ints, SettingRows]] = []

    def add(self, rows: Ints, setting_rows: SettingRows) -> None:
        """Add what the settings came to on some rows."""
        self._parts.append((rows, setting_rows))
        self._times[rows] += 1

    def curve(self, settings: Sequence[Setting]) -> Curve:
        """Return the means."""
        if not self._parts:
            return NO_CURVE
        rows = np.flatnonzero(self._times)
        place_of = np.zeros(len(self._times), dtype=np.intp)
        place_of[rows] = np.arange(len(rows))
        score, cost = np.zeros((2, len(self._parts[0][1].score), len(rows)))
        for own_rows, own in self._parts:
            score[:, place_of[own_rows]] += own.score
            cost[:, place_of[own_rows]] += own.cost
        times = self._times[rows]
        return Curve(tuple(settings), SettingRows(score / times, cost / times), rows)


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

    def on_rows(self, rows: Ints | Bools) -> Singles:
        """Return the same on some rows."""
        return Singles(self.score[rows], self.cost[rows])


def singles(table: TraceTable) -> Singles:
    """Score and charge every single tier; where it gave no answer, that is a score of 0 at its cost."""
    rows, signature = np.arange(len(table)), np.zeros(len(table), dtype=np.intp)
    scores, costs = [], []
    for only in np.eye(len(table.tiers)):
        never = np.zeros((1, len(table.tiers)))
        outcomes = Outcomes(only[None], only[None], never, never, np.zeros(1), np.zeros(1))
        scores.append(expected_score(table, rows, signature, outcomes, 0.0))
        costs.append(expected_cost(table, rows, signature, outcomes))
    return Singles(np.stack(scores, axis=1), np.stack(costs, axis=1))
