"""Folds of whole questions."""

from __future__ import annotations

import numpy as np

from automix_cli.data.groups import Grouping
from automix_cli.data.traces import TraceTable
from automix_cli.pomdp.arrays import Ints


def folds_of(table: TraceTable, folds: int, seed: int) -> Ints:
    """Return the fold of each row of a table; see `fold_groups`."""
    return fold_groups(table.grouping, folds, seed)


def fold_groups(grouping: Grouping, folds: int, seed: int) -> Ints:
    """Return the fold of each row: whole groups, largest first, each to the emptiest fold.

    Groups of one size are taken in an order drawn by the seed. Neither the order of the rows nor
    their ids matter.

    Example:
        >>> grouping = Grouping.of(np.array([7, 7, 1, 2, 3, 4], dtype=np.uint64))
        >>> np.bincount(fold_groups(grouping, 3, seed=0)).tolist()
        [2, 2, 2]
    """
    order, sizes = grouping.shuffle(seed, "folds"), grouping.sizes
    fold, rows = np.zeros(len(grouping), dtype=np.intp), np.zeros(folds, dtype=np.intp)
    for size in np.flatnonzero(np.bincount(sizes))[::-1].tolist():
        own = order[sizes[order] == size]
        fold[own] = _emptiest(rows, size, len(own))
        rows += size * np.bincount(fold[own], minlength=folds)
    return fold[grouping.groups]


def _emptiest(rows: Ints, size: int, groups: int) -> Ints:
    """Return the fold of each of so many groups of one size, which go to the emptiest in turn.

    A fold is the emptiest again when the others hold what it holds with the groups that it took:
    so the groups go to the lowest of the levels that folds have after 0, 1, 2, … groups.
    """
    if not rows.any():
        return np.arange(groups) % len(rows)
    most = -(-groups // len(rows)) + int(rows.max() - rows.min()) // size + 1
    levels = rows[:, None] + size * np.arange(min(most, groups))
    fold = np.repeat(np.arange(len(rows)), levels.shape[1])
    return fold[np.argsort(levels, axis=None, kind="stable")[:groups]]
