"""What is said of a loss: the most of it without a label, and by labels where there are enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from automix_cli.data.labelled import TableOptions
from automix_cli.data.relative import TableReader
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.beside import edge_beside, loss_of_router, with_label_intervals
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.calibrate import Figures
from automix_cli.evaluation.certificate import certify
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.held_out import HeldOutRun
from automix_cli.evaluation.loss import LossAgainst, Reports, effective_labels, loss_of, unlike_share
from automix_cli.evaluation.verdict import Edge
from automix_cli.fitting.router_block import Settings
from automix_cli.texts import TOO_FEW_LABELS

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


@pytest.mark.parametrize("skip", [44, 48], ids=["lost", "won"])
def test_a_skipped_row_counts_as_lost_and_as_won_with_the_weight_of_its_label(skip: int) -> None:
    """The interval takes in the one that either label of the row would have led to."""
    every, own, rows = loss_of_small(drawn_rows()).by_labels, loss_of_small(drawn_rows(skip)), []
    assert own.n_skipped == 1
    assert own.by_labels is not None
    for right in ("a", "b"):
        other = loss_of_small(drawn_rows(changed={skip: right})).by_labels
        assert other is not None
        rows.append(other.value)
    assert every is not None
    assert any(value == pytest.approx(every.value) for value in rows)
    width = (every.high - every.low) / 2
    assert own.by_labels.low == pytest.approx(min(rows) - width, abs=0.1 * width)
    assert own.by_labels.high == pytest.approx(max(rows) + width, abs=0.1 * width)


def drawn_rows(skip: int | None = None, changed: Mapping[int, str] | None = None) -> TraceTable:
    """40 of the rows on which answers differ were drawn to be labelled, each with a chance of 0.8."""
    rows = []
    for n in range(ROWS):
        tiers = {"small": {"answer": "b" if n % 4 == 0 else "a"}, "large": {"answer": "a"}}
        right = (changed or {}).get(n, "b" if n % 8 == 0 else "a")
        is_drawn = n % 4 == 0 and n < 160
        label = {"expected": right} if is_drawn and n != skip else {}
        rows.append({"id": n, "tiers": tiers, **label, "inclusion": 0.8 if is_drawn else None})
    reader = TableReader(lambda: enumerate(rows, 1), TableOptions(), "rows.jsonl", "exact")
    return reader.table(labels_from=None, baseline="large", say=lambda text: None)


# ---------------------------------------------------------------- figures beside the baseline


def measured(table: TraceTable) -> tuple[Figures, Measure]:
    """The small tier's figure and its points above the large one, as the bootstrap of rows left them."""
    name, rough = "always:small", Measure(0.9, "", 0.85, 0.95)
    figures = (Figures(name, Measure(1.0), rough),)
    gains = {(name, "large"): Measure(-10.0, "", -15.0, -5.0)}
    own, points = with_label_intervals(figures, gains, table, {}, Resamples.of_table(table, 0))
    return own[0], points[name, "large"]


def test_a_loss_has_one_interval_wherever_it_is_named() -> None:
    table = table_with(30)
    figure, points = measured(table)
    by_labels = loss_of_small(table).by_labels
    assert by_labels is not None
    assert points == Measure(-100 * by_labels.value, "", -100 * by_labels.high, -100 * by_labels.low)
    assert (figure.quality.low, figure.quality.high) == (1 - by_labels.high, 1 - by_labels.low)


@pytest.mark.parametrize(
    "table", [table_with(2), table_with(40, inclusion=0.8)], ids=["few labels", "many rows skipped"]
)
def test_an_interval_that_is_withheld_is_withheld_everywhere(table: TraceTable) -> None:
    figure, points = measured(table)
    assert points == Measure(None, TOO_FEW_LABELS)
    assert figure.quality == Measure(None, TOO_FEW_LABELS)


def edge_of_some_small_answers(table: TraceTable) -> Edge | None:
    """d where small answers on every other row, and what comes of it costs as much as half of them."""
    is_small = np.arange(ROWS) % 2 == 0
    reports = np.eye(2)[np.where(is_small, 0, 1)]
    none, score = np.zeros(ROWS), np.where(is_small, table.worth[:, 0], 1.0)
    cost, differing = np.where(is_small, 1.0, 9.0), np.where(is_small, 1 - table.score[:, 0], 0.0)
    run = HeldOutRun(score, cost, none, none, none, differing, reports, none, 0, 1, 1)
    return edge_beside(table, run, singles(table), Resamples.of_table(table, 0))


def test_an_edge_is_as_wide_as_labels_tell_and_withheld_where_they_are_too_few() -> None:
    """One bootstrap of rows would be as wide for six labels as for fifty."""
    assert edge_of_some_small_answers(table_with(2)) is None
    few, many = (edge_of_some_small_answers(table_with(n)) for n in (6, 50))
    assert few is not None
    assert many is not None
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_without_a_label_the_agreement_keeps_its_interval() -> None:
    assert measured(table_with(0))[1] == Measure(-10.0, "", -15.0, -5.0)


def test_a_router_that_is_one_tier_has_the_loss_of_that_tier() -> None:
    table = table_with(0)
    resamples, run = Resamples.of_table(table, 0), Reports(np.ones(ROWS), np.zeros(ROWS))
    routers = {"pomdp": {}, "large": {"tier": "large"}, "small": {"tier": "small"}}
    losses = {name: loss_of_router(table, own, run, resamples) for name, own in routers.items()}
    assert {name: loss and loss.differing for name, loss in losses.items()} == {
        "pomdp": 0,
        "large": 0,
        "small": 0.25,
    }


# ---------------------------------------------------------------- a certificate


@pytest.mark.parametrize(("labels", "least"), [(0, 0.75), (50, 1.0)], ids=["no label", "all that differ"])
def test_a_certificate_beside_a_baseline_is_tested_on_points_lost(labels: int, least: float) -> None:
    """A quarter of the answers differs: without a label all of these are lost, by labels none in the mean."""
    table = table_with(labels)
    assert table.relative is not None
    assert table.relative.least[:, 0].mean() == pytest.approx(least)
    for points, routes in ((0.5, True), (0.1, labels > 0)):
        proof = certify(table, Settings(), keep=1 - points, confidence=0.8)
        assert proof.routes == routes
        assert (proof.best, proof.beside, proof.most_points) == ("large", True, 100 * points)
        assert proof.promise()["most_points"] == 100 * points


# ---------------------------------------------------------------- equal answers that score otherwise


def table_with_scores(unlike: int, equal: int = 40, differing: int = 20) -> TraceTable:
    """Labelled rows with equal answers, some of which score otherwise, and some with different ones."""

    def row(n: int, small: str, scores: tuple[float, float]) -> dict[str, Any]:
        cells = (
            {"answer": small, "cost": 1, "score": scores[0]},
            {"answer": "a", "cost": 9, "score": scores[1]},
        )
        return {
            "id": n,
            "question": f"question {n}",
            "tiers": dict(zip(("small", "large"), cells, strict=True)),
        }

    rows = [row(n, "a", (0, 1) if n < unlike else (1, 1)) for n in range(equal)]
    rows += [row(n, "b", (0, 1)) for n in range(equal, equal + differing)]
    rows += [
        {**row(n, "a", (1, 1)), "tiers": {t: {"answer": "a", "cost": 1} for t in ("small", "large")}}
        for n in range(100, 200)
    ]
    reader = TableReader(lambda: enumerate(rows, 1), TableOptions(), "rows.jsonl", "exact")
    return reader.table(labels_from=None, baseline="large", say=lambda text: None)


@pytest.mark.parametrize("unlike", [1, 2, 8])
def test_equal_answers_that_labels_score_otherwise_are_added_to_the_bound(unlike: int) -> None:
    """Of the 60 labels only the 40 of rows with equal answers can show it."""
    table, plain = table_with_scores(unlike), table_with_scores(0)
    bound, without = loss_of_small(table), loss_of_small(plain)
    assert without.unlike == unlike_share(plain) == 0
    assert unlike / 40 < bound.unlike == unlike_share(table) < (unlike + 12) / 40
    assert bound.most == pytest.approx(without.most + bound.unlike)
    assert bound.differing == without.differing  # these are equal in form
    few = table.subset(np.arange(len(table)) >= unlike)
    assert unlike_share(few) == 0  # the rows that show it are others


def test_equal_answers_that_score_otherwise_count_against_a_certificate() -> None:
    """Half a point in a hundred may be lost: with 8 of 40 equal answers scored otherwise that is no more."""
    proofs = [certify(table_with_scores(n), Settings(), keep=0.5, confidence=0.8) for n in (0, 8)]
    assert [proof.routes for proof in proofs] == [True, False]


def test_a_policy_that_always_reports_the_baseline_keeps_its_quality_however_few_labels_there_are() -> None:
    table = table_with(2)
    figures = (Figures("pomdp", Measure(9.0), Measure(1.0, "", 1.0, 1.0)),)
    run = Reports(np.ones(ROWS), np.zeros(ROWS))
    own, points = with_label_intervals(figures, {}, table, {"pomdp": run}, Resamples.of_table(table, 0))
    assert own[0].quality == Measure(1.0, "", 1.0, 1.0)
    assert points["pomdp", "large"].value == 0
