"""Which rows are learned from and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.data.duplicates import Duplicates, Twin, near_duplicates, normal_form
from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.pomdp.arrays import Ints

NEAR_ROWS = 50_000  # the most rows of which nearly equal questions are searched


class Partition(NamedTuple):
    """One split: the places of the training rows and of the held-out rows, and its seed."""

    train: Ints
    test: Ints
    seed: int


def has_own_split(table: TraceTable) -> bool:
    """Whether the rows name training and held-out rows themselves."""
    return bool((table.splits == "train").any() and (table.splits == "test").any())


def partitions_of(
    table: TraceTable, share: float | None, *, repeat: int = 1, seed: int = 0
) -> list[Partition]:
    """Take the rows' own split, or random ones: one per seed from `seed` on.

    A random split orders the questions by a hash of the seed and what they ask, and keeps all
    rows of a question together. So it does not depend on the order of the file.

    Args:
        table: the rows.
        share: of training rows; None takes the rows' own split where there is one, else one half.
        repeat: how many random splits.
        seed: of the first.

    Raises:
        UsageError: for repeats of a split that the rows bring along.
    """
    if share is None and has_own_split(table):
        if repeat > 1:
            raise UsageError("--repeat draws splits, and these rows bring their own", hint="add --split 0.5")
        own = [np.flatnonzero(table.splits == name) for name in ("train", "test")]
        return [Partition(own[0], own[1], seed)]
    return [_random_cut(table, 0.5 if share is None else share, s) for s in range(seed, seed + repeat)]


def _random_cut(table: TraceTable, share: float, seed: int) -> Partition:
    """Take whole questions for training, as many as come nearest to the share of the rows."""
    order = table.grouping.shuffle(seed, "split")
    rows = np.concatenate([[0], np.cumsum(table.grouping.sizes[order])])
    training = int(np.abs(rows[:-1] - round(share * len(table))).argmin())  # one question is held out
    is_training = np.zeros(table.n_groups, dtype=np.bool_)
    is_training[order[:training]] = True
    train = is_training[table.groups]
    return Partition(np.flatnonzero(train), np.flatnonzero(~train), seed)


def duplicates_of(table: TraceTable, cut: Partition, near_rows: int = NEAR_ROWS) -> Duplicates:
    """Find held-out questions that also stand in training.

    Args:
        table: the rows.
        cut: the split.
        near_rows: in a table of more rows than this only equal questions are searched, because
            the search for nearly equal ones would take too long.
    """
    train, test = ([str(t) for t in table.texts[rows]] for rows in (cut.train, cut.test))
    if len(table) <= near_rows:
        return near_duplicates(train, test)
    return Duplicates(_equal_questions(train, test), (), len(test))


def _equal_questions(train: Sequence[str], test: Sequence[str]) -> tuple[Twin, ...]:
    first = {form: i for i, form in reversed(list(enumerate(map(normal_form, train)))) if form}
    forms = [normal_form(text) for text in test]
    return tuple(Twin(i, first[form], 1.0) for i, form in enumerate(forms) if form in first)


def dataset_names(table: TraceTable) -> list[str]:
    """Names of the datasets of the rows; none where there is only one, which needs no slices."""
    names = sorted({str(name) for name in table.datasets if name is not None})
    return names if len(names) > 1 else []
