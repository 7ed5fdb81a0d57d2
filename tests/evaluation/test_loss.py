"""What is said of a loss: the most of it without a label, and by labels where there are enough."""

from typing import Any

import numpy as np
import pytest

from automix_cli.data.labelled import TableOptions
from automix_cli.data.relative import TableReader
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.held_out import HeldOutRun
from automix_cli.evaluation.loss import LossAgainst, effective_labels, loss_of

ROWS = 200  # on a quarter of which the small tier's answer differs


def table_with(labels: int, **extra: Any) -> TraceTable:
    """The small tier is right on every other row on which answers differ; the first so many have a label."""
    rows = []
    for n in range(ROWS):
        small = "b" if n % 4 == 0 else "a"
        expected = {"expected": "b" if n % 8 == 0 else "a"} if n % 4 == 0 and n < 4 * labels else {}
        tiers = {"small": {"answer": small, "cost": 1}, "large": {"answer": "a", "cost": 9}}
        rows.append({"id": n, "question": f"question {n}", "tiers": tiers, **expected, **extra})
    reader = TableReader(lambda: enumerate(rows, 1), TableOptions(), "rows.jsonl", "exact")
    return reader.table(labels_from=None, baseline="large", say=lambda text: None)


def loss_of_small(table: TraceTable) -> LossAgainst:
    """The loss of reporting the small tier's answer on every row."""
    none = np.zeros(len(table))
    run = HeldOutRun(
        table.worth[:, 0],
        none,
        none,
        none,
        none,
        1 - table.score[:, 0],
        np.eye(2)[[0] * len(table)],
        none,
        0,
        1,
        1,
    )
    loss = loss_of(table, run, Resamples.of_table(table, 0))
    assert loss is not None
    return loss


def test_without_a_label_the_share_that_differs_bounds_the_loss() -> None:
    loss = loss_of_small(table_with(0))
    assert loss.differing == 0.25
    assert 0.25 < loss.most < 0.4
    assert loss.labels == (0, 0)
    assert loss.by_labels is None


def test_labels_of_all_rows_that_differ_tell_the_loss() -> None:
    """Half of these rows lose an answer, and the other half win one."""
    by_labels = loss_of_small(table_with(50)).by_labels
    assert by_labels is not None
    assert by_labels.value == pytest.approx(0)
    assert by_labels.low < 0 < by_labels.high


def test_few_labels_give_no_estimate() -> None:
    few, enough = (loss_of_small(table_with(n)) for n in (4, 5))
    assert few.labels == (4, 4)
    assert few.by_labels is None
    assert enough.by_labels is not None
    assert enough.by_labels.high - enough.by_labels.low > 2 * enough.differing  # so few hardly tell more


def test_labels_of_rows_that_are_not_reported_tell_nothing() -> None:
    table = table_with(50)
    relative = table.relative
    assert relative is not None
    is_reported = np.arange(ROWS) < ROWS // 2
    assert effective_labels(np.where(is_reported, 0.25, 0.0), relative) == pytest.approx(25)
    assert effective_labels(np.zeros(ROWS), relative) == 0


def test_labels_that_were_looked_at_before_their_number_was_fixed_anew_prove_less() -> None:
    first, second = (loss_of_small(table_with(50, look=look)).by_labels for look in (1, 2))
    assert first is not None
    assert second is not None
    assert first.value == second.value
    assert second.high - second.low > 1.2 * (first.high - first.low)


def test_too_many_rows_without_the_label_they_were_drawn_for_give_no_estimate() -> None:
    loss = loss_of_small(table_with(40, inclusion=0.8))
    assert loss.n_skipped > 0
    assert loss.by_labels is None
