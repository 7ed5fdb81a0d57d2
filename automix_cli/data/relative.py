"""Scores beside a baseline's, for rows of which only some have a label, or none.

Where a tier's answer is equal to the baseline's, both score the same, whatever is right. Labels matter only
where answers differ. There a row counts with its expected difference f, and a labelled one corrects that by
what it shows, (D - f)/π, with π the chance that it was to be labelled: the mean over rows is then right on
average, however good f is (the difference estimator; Cassel, Särndal and Wretman, Biometrika 63, 1976).
Without any label each difference counts as lost: what is said of the loss is then the most that it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.folds import folds_of
from automix_cli.data.labelled import TableOptions, scored_rows, table_of, with_file_name
from automix_cli.data.random_labels import note_on_choice, random_part
from automix_cli.data.rows import has_blank_gold
from automix_cli.data.traces import TraceTable, tier_index
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.scoring import comparison_of
from automix_cli.texts import count_of

_FOLDS = 5  # in which expected differences are fitted
_PSEUDO_ROWS = 2.0  # on which every difference is a loss


class RelativeScores(Struct, frozen=True, kw_only=True, eq=False):
    """What answers are worth beside a baseline's.

    Attributes:
        baseline: its name.
        worth: n×N, 1 where the answer is equal to the baseline's, else 1 and the difference expected or seen.
        least: n×N, the same with every difference that no label shows taken for a loss: it needs no weights.
        has_label: n, whether a row has a label.
        chance: n, with which a row with answers that differ came to be labelled, or skipped; 1 on others.
        look: how many times the number of labels was fixed: after the first, they had been looked at before.
        is_unlike: n, whether a label shows an answer that is equal to the baseline's and scored otherwise.
        is_skipped: n, whether a row was to be labelled, and could not be.
    """

    baseline: str
    worth: Floats
    least: Floats
    has_label: Bools
    chance: Floats
    is_unlike: Bools
    is_skipped: Bools
    look: int = 1

    @property
    def n_skipped(self) -> int:
        """How many rows were to be labelled, and could not be."""
        return int(self.is_skipped.sum())

    def open_losses(self, differing: Floats) -> tuple[float, float]:
        """How far the mean loss may lie below and above what it is without the labels that were not given.

        A row that was skipped counts as its label would: a difference d by (d - f)/π, with d the least or
        the most that it can be.

        Args:
            differing: n, chances to report another answer than the baseline's.
        """
        own = self.is_skipped & (self.least < 1).any(axis=1)
        differs = self.least[own] < 1
        worth, weight = self.worth[own], differing[own] / self.chance[own]
        most = np.where(differs, worth, -np.inf).max(axis=1)  # what a loss takes away of it
        least = np.where(differs, worth, np.inf).min(axis=1)
        n = max(len(self.is_skipped), 1)
        return float((weight * (2 - least)).sum()) / n, float((weight * most).sum()) / n

    def take(self, rows: Ints | Bools) -> RelativeScores:
        """Those of some rows (indices or a mask)."""
        return replace(
            self,
            worth=self.worth[rows],
            least=self.least[rows],
            has_label=self.has_label[rows],
            chance=self.chance[rows],
            is_unlike=self.is_unlike[rows],
            is_skipped=self.is_skipped[rows],
        )


def score_beside(
    table: TraceTable, baseline: str, *, say: Callable[[str], None] = lambda text: None
) -> TraceTable:
    """Score every answer by whether it is equal to the baseline's; labels tell what other answers are worth.

    Args:
        table: with the answers of every tier, and scores on rows with a label.
        baseline: a tier.
        say: takes a note on rows that are left out, because the baseline gave no answer.

    Raises:
        DataError: some tier's answers are not recorded, or the baseline never gave one.
    """
    at = tier_index(baseline, table.tiers, "--baseline")
    mute = table.failed[:, at]
    if mute.all() and len(table):
        raise DataError(f"{baseline} gave no answer on any row")
    if mute.any():
        say(f"{int(mute.sum()):,} of {len(table):,} rows are left out: {baseline} gave no answer there")
        table = table.without_rows(mute)
    if not table.compares_answers:
        raise DataError(
            "rows without a label need the answers of every tier, and some are not recorded",
            hint="--drop-incomplete keeps the rows that score every tier",
        )
    is_equal = _equal_to(table, at)
    is_known = has_label(table)
    has_chance = ~np.isnan(_inclusion(table))
    chance = _chance_of_label(table, is_equal, is_known)
    difference = np.where(is_known[:, None], table.score - table.score[:, [at]], 0.0)
    relative = RelativeScores(
        baseline=baseline,
        worth=1 + _differences(table, is_equal, is_known, difference, chance),
        least=np.where(is_equal, 1.0, 1 + np.where(is_known[:, None], difference, -1.0)),
        has_label=is_known,
        chance=chance,
        look=table.look,
        is_unlike=np.asarray((is_equal & (difference != 0)).any(axis=1)),
        is_skipped=has_chance & ~is_known,
    )
    return replace(table, score=is_equal.astype(float), relative=relative)


def _equal_to(table: TraceTable, at: int) -> Bools:
    """n×N, whether an answer is equal to that of the tier at a place."""
    classes = table.answer_classes
    is_equal = (classes == classes[:, [at]]) & (classes >= 0) & ~table.failed
    is_equal[:, at] = True
    return np.asarray(is_equal)


def has_label(table: TraceTable) -> Bools:
    """n, whether a row scores every tier."""
    return np.asarray(~np.isnan(table.score).any(axis=1))


def _chance_of_label(table: TraceTable, is_equal: Bools, is_known: Bools) -> Floats:
    """n, the chance that a row with answers that differ came to be labelled, or skipped; 1 on others.

    Without an inclusion probability it counts as drawn at random from all rows with answers that differ.
    """
    chance, rows = _inclusion(table), ~is_equal.all(axis=1)
    at_random = np.isnan(chance)
    share = float((rows & at_random & is_known).sum()) / max(int((rows & at_random).sum()), 1)
    return np.where(rows & (is_known | ~at_random), np.where(at_random, share, chance), 1.0)


def _differences(
    table: TraceTable, is_equal: Bools, is_known: Bools, difference: Floats, chance: Floats
) -> Floats:
    """ψ, n×N: 0 on equal answers, else the expected difference, corrected on labelled rows.

    The expected difference is fitted on other folds.
    """
    differs = ~is_equal
    rows = differs.any(axis=1)
    if not (is_known & rows).any():
        return np.where(differs, -1.0, 0.0)
    fold, psi = folds_of(table, _FOLDS, seed=0), np.zeros(differs.shape)
    weight = np.where(is_known & rows, 1 / chance, 0.0)
    for k in range(_FOLDS):
        learn, here = fold != k, fold == k
        counts = (weight[:, None] * differs)[learn]
        sums = (counts * difference[learn]).sum(axis=0) - _PSEUDO_ROWS
        expected = sums / (counts.sum(axis=0) + _PSEUDO_ROWS)
        psi[here] = expected + weight[here, None] * (difference[here] - expected)
    return np.where(differs, psi, 0.0)


def _inclusion(table: TraceTable) -> Floats:
    """n, the chance with which a row was drawn to be labelled; NaN where that is not recorded."""
    return np.full(len(table), np.nan) if table.inclusion is None else table.inclusion


# ------------------------------------------------------------------ a file, labelled or not


_FEW = 0.05  # of the rows: to leave them out loses less than to go by a baseline's answers on all of them


def misses_few(labels: int, rows: int) -> bool:
    """Whether so few rows lack a label that the others are used alone.

    Example:
        >>> misses_few(299, 300), misses_few(30, 300), misses_few(300, 300)
        (True, False, False)
    """
    return 0 < rows - labels <= _FEW * rows


class TableReader(NamedTuple):
    """Numbered trace rows, to be read as a table whatever share of them has a label.

    `rows` gives them anew at each call, since answers may have to be compared in another form. `has_all_rows`
    says that labels were read beside the rows they were drawn from, so that no row is absent.
    """

    rows: Callable[[], Iterator[tuple[int, Any]]]
    options: TableOptions
    name: str
    scorer: str
    has_all_rows: bool = False

    def table(
        self, *, labels_from: str | None, baseline: str | None, say: Callable[[str], None]
    ) -> TraceTable:
        """Read the table; where some row with all answers has no label, scores are beside a baseline's.

        Args:
            labels_from: the tier whose answers count as right, whatever labels there are.
            baseline: the tier that costs and scores are compared with; None takes the last one.
            say: takes notes on what is left out, and on labels.

        Raises:
            DataError: rows that can be used with no option given.
        """
        table = self._read(self.scorer, say)
        if labels_from is not None:
            blank = replace(table, score=np.full_like(table.score, np.nan), inclusion=None)
            return self._beside(blank, labels_from, say)
        complete = has_label(table)
        if self.options.drop_incomplete or complete.all():
            return self._labelled_alone(table, say, drop=self.options.drop_incomplete)
        own = self._with_comparison(table)
        if not (own.answer_classes >= 0).any():
            return self._labelled_alone(table, say, drop=False)
        if baseline is None and table.inclusion is None and misses_few(int(complete.sum()), len(table)):
            say(
                f"note: {int((~complete).sum()):,} of {count_of(len(table), 'row')} without a label are left "
                f"out; --baseline {table.tiers[-1]} compares all with its answers"
            )
            return self._labelled_alone(table, say, drop=True)
        self._require_answers(own, may_drop=True)
        if baseline is None and not complete.any():
            raise DataError(
                f"{self.name}: none of {len(table):,} rows has a label",
                hint=f"--baseline {table.tiers[-1]} bounds what can be lost against it, without any label",
            )
        may_drop = complete.any() and table.inclusion is None
        alone = "; --drop-incomplete uses the rows with a label alone" if may_drop else ""
        say(
            f"{int(complete.sum()):,} of {len(table):,} rows have a label: answers are compared with "
            f"those of {baseline or table.tiers[-1]}{alone}"
        )
        return self._beside(table, baseline or table.tiers[-1], say)

    def table_beside(self, baseline: str | None, *, say: Callable[[str], None]) -> TraceTable:
        """Read the table with scores beside a baseline's, whatever labels there are.

        Args:
            baseline: a tier; None takes the last one.
            say: takes notes on what is left out.

        Raises:
            DataError: answers are not recorded, or the baseline never gave one.
        """
        table = self._read(self.scorer, say)
        self._require_answers(self._with_comparison(table), may_drop=False)
        return self._beside(table, baseline or table.tiers[-1], say)

    def _read(self, compare: str, say: Callable[[str], None] = lambda text: None) -> TraceTable:
        blanks = 0

        def rows() -> Iterator[tuple[int, Any]]:
            nonlocal blanks
            for line, row in self.rows():
                blanks += isinstance(row, dict) and has_blank_gold(row)
                yield line, row

        table = table_of(scored_rows(rows(), self.scorer), self.options, self.name, self.scorer, compare)
        if blanks:
            say(f'note: "expected" is blank in {blanks:,} of {len(table):,} rows: no label')
        return table

    def _require_answers(self, table: TraceTable, *, may_drop: bool) -> None:
        """Refuse rows without a label of which some tier's answer is not recorded.

        Args:
            table: with its answers compared.
            may_drop: whether rows without a label may be left out.

        Raises:
            DataError: naming the tiers, and on how many rows.
        """
        lacks = np.isnan(table.score) & (table.answer_classes < 0) & ~table.failed
        if not lacks.any():
            return
        counts = zip(table.tiers, lacks.sum(axis=0), strict=True)
        parts = ", ".join(f"{name} on {count:,}" for name, count in counts if count)
        alone = "; --drop-incomplete uses labels alone" if may_drop and table.inclusion is None else ""
        first = table.ids[int(lacks.any(axis=1).argmax())]
        raise DataError(
            f"{self.name}: {int(lacks.any(axis=1).sum()):,} of {len(table):,} rows have no label and lack "
            f"an answer: {parts} (the first: {first})",
            hint=f'a tier that gave none says "failed": true{alone}',
        )

    def _with_comparison(self, table: TraceTable) -> TraceTable:
        """The table with its answers compared: of free text only equal forms are equal."""
        compare = comparison_of(self.scorer)
        return table if compare == self.scorer else self._read(compare)

    def _beside(self, table: TraceTable, baseline: str, say: Callable[[str], None]) -> TraceTable:
        own = replace(table, answer_classes=self._with_comparison(table).answer_classes)
        try:
            return score_beside(own, baseline, say=say)
        except DataError as exc:
            raise with_file_name(exc, self.name) from None

    def _labelled_alone(self, table: TraceTable, say: Callable[[str], None], *, drop: bool) -> TraceTable:
        """The rows with a label; where some were chosen to be labelled, those drawn at random alone."""
        is_known = has_label(table)
        try:
            own = table.require_scores(drop=drop)
            if own.inclusion is None or (self.has_all_rows and is_known.all()):
                if note := note_on_choice(self._with_comparison(table).answer_classes, is_known):
                    say(note)
                return own
            draws = np.array([row.get("drawn") for _, row in self.rows()], dtype=object)
            part, note = random_part(own, draws[is_known].tolist())
        except DataError as exc:
            raise with_file_name(exc, self.name) from None
        if note:
            say(note)
        return part
