"""Whole questions in folds of equal size, whatever the order of the file."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from trace_rows import numbered

from automix_cli.data.folds import fold_groups, folds_of
from automix_cli.data.groups import Grouping
from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable

SIZES = [[1] * 103, [4] * 25, [1, 2, 3, 4, 5, 30], [7, 7, 7, 1, 1], [50, *[1] * 20], [3], [9, 2, 2, 2, 2, 1]]


def grouping_of(sizes: list[int]) -> Grouping:
    keys = np.random.default_rng(0).integers(1 << 62, size=len(sizes)).astype(np.uint64)
    return Grouping.of(np.repeat(keys, sizes))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("folds", [2, 5])
def test_groups_go_largest_first_to_the_emptiest_fold(sizes: list[int], folds: int) -> None:
    grouping = grouping_of(sizes)
    fold = fold_groups(grouping, folds, seed=3)
    of_group = [set(fold[grouping.groups == g].tolist()) for g in range(len(sizes))]
    assert {len(own) for own in of_group} == {1}, "a group is in one fold"
    heap = [(0, k) for k in range(folds)]
    for size in sorted(sizes, reverse=True):
        rows, k = heap[0]
        heapq.heapreplace(heap, (rows + size, k))
    assert sorted(np.bincount(fold, minlength=folds)) == sorted(rows for rows, _ in heap)


def test_folds_of_single_rows_differ_by_one_row_at_most_and_by_seed() -> None:
    grouping = grouping_of([1] * 103)
    fold = fold_groups(grouping, 5, 0)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    assert (fold_groups(grouping, 5, 0) == fold).all()
    assert (fold_groups(grouping, 5, 1) != fold).mean() > 0.5


def table_of(questions: list[str]) -> TraceTable:
    rows: list[dict[str, Any]] = [{"question": q, "tiers": {"small": {"score": 1}}} for q in questions]
    return read_table(numbered(rows))


def test_neither_the_order_of_rows_nor_copies_move_a_question_to_another_fold() -> None:
    questions = [f"question {i}" for i in range(97)]
    fold = dict(zip(questions, folds_of(table_of(questions), 5, 11).tolist(), strict=True))
    shuffled = np.random.default_rng(0).permutation(np.repeat(questions, 4)).tolist()
    copies = folds_of(table_of(shuffled), 5, 11).tolist()
    assert set(zip(shuffled, copies, strict=True)) == set(fold.items())


def test_more_folds_than_questions_leave_some_empty() -> None:
    assert sorted(fold_groups(grouping_of([2, 1]), 5, 0)) == [0, 0, 1]
