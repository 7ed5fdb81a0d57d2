"""Where labels tell most, and what those given so far settle, at every look."""

import numpy as np
import pytest
from msgspec.structs import replace

from automix_cli.data.label_draw import draw_labels, label_weights
from automix_cli.data.label_file import LabelsOfRows
from automix_cli.data.labelled import TableOptions
from automix_cli.data.relative import TableReader
from automix_cli.evaluation.label_plan import LabelPlan, place_to_label_for
from automix_cli.evaluation.label_sequence import SequentialDraw
from automix_cli.evaluation.objective import Objective
from automix_cli.fitting.router_block import Settings
from automix_cli.views.label_view import labelled_policy

N = 120


def sequence(seed: int, n: int, skips: int = 0) -> tuple[SequentialDraw, float]:
    """Rows of unequal worth, n of them labelled in the order of a draw; and the loss on all."""
    rng = np.random.default_rng(seed)
    worth = np.where(rng.random(N) < 0.5, np.nan, rng.random(N))
    loss = np.nan_to_num(worth) * rng.choice([-1.0, 0.0, 1.0], size=N, p=[0.3, 0.3, 0.4])
    draw = draw_labels(range(N), label_weights(worth), n, 10, seed)
    with_label = np.full(N, np.nan)
    with_label[draw.order] = loss[draw.order]
    with_label[draw.by_weight[:skips]] = np.nan
    return SequentialDraw(draw, np.nan_to_num(worth), with_label, np.zeros(N)), float(loss.mean())


def test_bounds_at_every_look_miss_the_loss_in_few_draws() -> None:
    misses, widths = 0, []
    for seed in range(80):
        own, loss = sequence(seed, 25)
        low, high = own.bounds()
        misses += not low <= loss <= high
        widths.append(high - low)
    assert misses <= 4
    assert np.mean(widths) < 0.35  # without a label they are half the mean worth on either side: 0.5


def test_the_estimate_is_right_on_average() -> None:
    errors = []
    for seed in range(300):
        own, loss = sequence(seed, 12)
        estimate = own.estimate()
        assert estimate is not None
        errors.append(estimate - loss)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(300)


def test_labels_of_all_rows_that_differ_leave_nothing_open() -> None:
    own, loss = sequence(0, N)
    assert own.bounds() == pytest.approx((loss, loss), abs=1e-6)
    assert own.estimate() == pytest.approx(loss)


def test_rows_that_were_skipped_count_at_their_worst() -> None:
    (whole, loss), (holes, _) = sequence(3, N), sequence(3, N, skips=5)
    low, high = holes.bounds()
    skips = whole.draw.by_weight[:5]
    most = float(whole.most[skips[~np.isin(skips, whole.draw.random)]].sum()) / N
    assert low < loss < high
    assert high - low <= 2 * most + 1e-6


@pytest.mark.parametrize("n", [12, 25, 60])
def test_the_estimate_lies_in_its_bounds(n: int) -> None:
    """One label of a row that is rarely chosen counts for many, and never for more than is possible."""
    for seed in range(15):
        own, _ = sequence(seed, n)
        low, high = own.bounds()
        value = own.estimate()
        assert value is not None
        assert low <= value <= high


def test_where_rows_were_skipped_there_is_no_estimate() -> None:
    """Those may be the hard ones: above 5 % of the rows that somebody came past."""
    few, many = sequence(3, N, skips=2)[0], sequence(3, N, skips=8)[0]
    assert few.estimate() is not None
    assert many.estimate() is None
    at_end = replace(few, skips=frozenset(few.draw.order[-1:]))
    assert at_end.n_skipped == few.n_skipped


def test_without_a_label_the_bounds_are_the_share_that_differs() -> None:
    own, _ = sequence(1, 20)
    bare = SequentialDraw(own.draw, own.most, np.full(N, np.nan), own.earlier)
    assert bare.estimate() is None
    assert bare.bounds() == pytest.approx((-own.most.mean(), own.most.mean()), abs=1e-6)


# ---------------------------------------------------------------- the plan


def plan(**labels: str) -> LabelPlan:
    """Three tiers without costs; `mid` differs from `large` on every third row, `small` on every other."""
    rows = [
        {
            "id": n,
            "question": f"question {n}",
            "tiers": {
                "small": {"answer": "b" if n % 2 else "a"},
                "mid": {"answer": "c" if n % 3 else "a"},
                "large": {"answer": "a"},
            },
            **({"expected": labels[str(n)]} if str(n) in labels else {}),
        }
        for n in range(60)
    ]
    no_labels = LabelsOfRows("", {})
    reader = TableReader(
        lambda: no_labels.merge(iter(enumerate(rows, 1))), TableOptions(), "rows.jsonl", "exact"
    )
    return LabelPlan.of(reader.table_beside(None, say=lambda text: None), Settings(), Objective(), 0)


def test_without_costs_every_other_answer_counts_as_reported() -> None:
    own = plan()
    assert own.run is None
    assert own.why_no_run.startswith("no cost is recorded for small, mid, large; --costs")
    assert own.reports[0].tolist() == [0.5, 0.5, 0.0]
    assert [None if np.isnan(worth) else worth for worth in own.worth[:6]] == [None, 1.0, 0.5, 0.5, 0.5, 1.0]
    assert own.differing == pytest.approx((50 / 60, 70 / 120))


def test_rows_that_had_a_label_are_not_chosen_and_count_as_they_are() -> None:
    own = plan(**{"1": "b"})
    assert np.isnan(own.worth[1])
    draw = own.draw(20, 0)
    assert 1 not in draw.by_weight
    rows = np.flatnonzero(~np.isnan(own.worth))
    scores = {row: own.table.score[row] for row in rows}  # the baseline is right on each
    everything = own.draw_parts(60, 0, 0)
    settled = own.so_far(everything, scores)
    lost = float(np.nansum(own.worth)) - 0.5  # on row 1 small wins, and large is as wrong as mid
    assert settled.value == pytest.approx(lost / 60)
    assert settled.at_end == 0


def test_more_labels_are_offered_for_a_narrower_interval() -> None:
    own = plan()
    draw = own.draw(16, 0)
    settled = own.so_far(draw, {})
    assert settled.next_step is not None
    wider = own.draw_parts(len(draw.by_weight) + settled.next_step.labels, 0, 0)
    assert own.so_far(wider, {}).at_end <= settled.next_step.width < settled.at_end
    assert 20 <= own.proposal(0) <= 200


def test_where_the_baseline_alone_is_chosen_rows_are_drawn_for_a_cheaper_policy() -> None:
    """Labels may show that answers that differ are as right, which agreement never does."""
    rows = [
        {
            "id": n,
            "question": f"question {n}",
            "tiers": {
                "small": {"answer": "a" if n % 5 < 3 else "b", "cost": 1},
                "large": {"answer": "a", "cost": 20},
            },
        }
        for n in range(60)
    ]
    reader = TableReader(lambda: iter(enumerate(rows, 1)), TableOptions(), "rows.jsonl", "exact")
    table = reader.table_beside(None, say=lambda text: None)
    own = LabelPlan.of(table, Settings(), Objective("keep", 0.98), 0)
    assert own.most_open > 0
    assert labelled_policy(own) in ("the policy of --keep 0.7", "every other answer")
    large, small = np.tile([0.0, 1.0], (60, 1)), np.tile([1.0, 0.0], (60, 1))
    assert place_to_label_for(table, [large, large]) is None
    assert place_to_label_for(table, [large, small, small]) == 2
    assert place_to_label_for(table, [small, large]) == 0
