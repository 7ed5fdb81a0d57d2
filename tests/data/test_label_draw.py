"""The draw of rows to label: its chances are those that it writes."""

import numpy as np
import pytest

from automix_cli.data.label_draw import draw_labels, first_at_random, label_weights

WEIGHT = np.array([0.0, 0.2, 0.5, 1.0, 2.0, 6.0] * 5)
IDS = range(len(WEIGHT))


def test_a_mean_by_the_chances_written_is_right_on_average() -> None:
    """Each row counts with one over its chance to be drawn: in the mean over draws, with 1."""
    sums = np.zeros(len(WEIGHT))
    for seed in range(2000):
        draw = draw_labels(IDS, WEIGHT, 8, 3, seed)
        sums[draw.order] += 1 / draw.inclusion[draw.order]
    assert sums / 2000 == pytest.approx(np.ones(len(WEIGHT)), abs=0.25)
    assert sums.mean() / 2000 == pytest.approx(1.0, abs=0.03)


def test_a_larger_draw_holds_a_smaller_one() -> None:
    small, large = (draw_labels(IDS, WEIGHT, n, n // 2, 0) for n in (6, 12))
    assert set(small.by_weight) <= set(large.by_weight)
    assert set(small.random) <= set(large.random)
    assert (small.inclusion <= large.inclusion + 1e-12).all()


@pytest.mark.parametrize("n", [2, 6, 30])
def test_one_row_comes_first_whatever_the_weights(n: int) -> None:
    for weight in (WEIGHT, WEIGHT[::-1], np.ones(len(WEIGHT))):
        draw = draw_labels(IDS, weight, n - n // 2, n // 2, 0)
        assert draw.order[0] == first_at_random(IDS, 0)
        assert len(draw.order) == len(set(draw.order))


def test_where_all_rows_fit_each_is_drawn_for_certain() -> None:
    draw = draw_labels(IDS, WEIGHT, 30, 3, 0)
    assert sorted(draw.by_weight) == np.flatnonzero(WEIGHT).tolist()
    assert (draw.inclusion[WEIGHT > 0] == 1).all()


def test_another_seed_draws_others_and_the_same_the_same() -> None:
    first, again, other = (draw_labels(IDS, WEIGHT, 6, 3, seed).order for seed in (0, 0, 1))
    assert first == again != other


def test_rows_of_no_worth_are_drawn_too() -> None:
    weight = label_weights(np.array([4.0, 0.0, 0.0, 0.0]))
    assert weight.tolist() == [4.0, 0.25, 0.25, 0.25]
    assert label_weights(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]
