"""Intervals of the change between two runs, and the power of a gate on it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from automix_cli.evaluation.bootstrap import Interval
from automix_cli.evaluation.paired import (
    PairedSums,
    chance_to_catch,
    paired_interval,
    rows_to_tell,
    smallest_loss_caught,
)


def scores(lost: int, won: int, same: int, *graded: float) -> PairedSums:
    change = np.array([-1.0] * lost + [1.0] * won + [0.0] * same + list(graded))
    return PairedSums(change, np.ones(len(change)), 1.0, 1.0)


def at_least(k: int, n: int, p: float) -> float:
    """The chance of k or more of n."""
    return 1 - sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k))


@pytest.mark.parametrize(("lost", "rows"), [(0, 300), (3, 100), (12, 60)])
def test_where_questions_are_only_lost_the_lower_bound_is_that_of_clopper_and_pearson(
    lost: int, rows: int
) -> None:
    low, high = paired_interval(scores(lost, 0, rows - lost))
    assert 1 - at_least(lost + 1, rows, -low) == pytest.approx(0.025, abs=0.003)
    assert high > -lost / rows


def test_the_mirror_image_of_a_change_has_the_mirror_image_of_its_interval() -> None:
    low, high = paired_interval(scores(5, 2, 90, -0.3, 0.25))
    mirrored = paired_interval(scores(2, 5, 90, 0.3, -0.25))
    assert [-mirrored.high, -mirrored.low] == pytest.approx([low, high], abs=0.003)


def test_the_order_of_questions_changes_nothing() -> None:
    own = scores(5, 2, 90, -0.3, 0.25)
    order = np.random.default_rng(1).permutation(len(own.change))
    assert paired_interval(own._replace(change=own.change[order])) == paired_interval(own)


def test_more_rows_that_come_out_alike_narrow_the_interval_and_a_higher_level_widens_it() -> None:
    own = scores(4, 2, 94)
    widths = [
        high - low
        for low, high in (
            paired_interval(own, times=4),
            paired_interval(own),
            paired_interval(own, 0.99),
        )
    ]
    assert widths == sorted(widths)


@pytest.mark.parametrize("lost_and_won", [(0.03, 0.03), (0.01, 0.0), (0.02, 0.01)], ids=str)
def test_the_interval_misses_the_truth_no_more_often_than_it_says(lost_and_won: tuple[float, float]) -> None:
    """At 100 rows, where the plain bootstrap misses it in 7 to 37 of 100 runs at one end."""
    lost, won = lost_and_won
    rng, truth, missed = np.random.default_rng(2), won - lost, np.zeros(2)
    seen: dict[tuple[int, ...], Interval] = {}
    for drawn in rng.multinomial(100, [lost, won, 1 - lost - won], size=150).tolist():
        key = tuple(drawn)
        if key not in seen:
            seen[key] = paired_interval(scores(*key))
        missed += [seen[key].low > truth, seen[key].high < truth]
    assert (missed / 150 <= 0.025 + 0.02).all()


def test_a_ratio_is_bounded_by_its_own_rows() -> None:
    """Costs that all rise by a tenth have no doubt about the ratio but for one question more."""
    old = np.linspace(1.0, 2.0, 200)
    sums = PairedSums(0.1 * old, old, 0.2, float(old.mean()))
    low, high = paired_interval(sums)
    assert sums.value == pytest.approx(0.1)
    assert 0.09 < low < 0.1 < high < 0.11


def test_rows_that_tell_do_tell_and_half_of_them_do_not() -> None:
    own = scores(12, 2, 186)

    def is_told(interval: Interval) -> bool:
        return interval.high < -0.01

    rows = rows_to_tell(own, 200, 0.95, is_told)
    assert rows is not None
    assert is_told(paired_interval(own, times=1.05 * rows / 200))
    assert not is_told(paired_interval(own, times=0.5 * rows / 200))
    assert rows_to_tell(scores(2, 2, 196), 200, 0.95, lambda interval: interval.low > 0) is None


@pytest.mark.parametrize(
    ("rows", "differing", "loss", "bar"),
    [(100, 0.1, 0.08, 0.0), (200, 0.06, 0.06, 0.0), (300, 0.06, 0.04, -0.01)],
)
def test_the_power_is_what_simulated_gates_catch(
    rows: int, differing: float, loss: float, bar: float
) -> None:
    rng, caught = np.random.default_rng(3), 0
    shares = [(differing + loss) / 2, (differing - loss) / 2, 1 - differing]
    seen: dict[tuple[int, ...], bool] = {}
    for drawn in rng.multinomial(rows, shares, size=150).tolist():
        key = tuple(drawn)
        if key not in seen:
            seen[key] = paired_interval(scores(*key)).high < bar
        caught += seen[key]
    stated = chance_to_catch(rows, differing, loss, bar)
    error = math.sqrt(max(stated * (1 - stated), 0.01) / 150)
    assert caught / 150 == pytest.approx(stated, abs=3 * error + 0.02)


@pytest.mark.parametrize("differing", [0.7, 0.95, 1.0])
def test_the_power_is_a_chance_where_nearly_all_questions_differ(differing: float) -> None:
    powers = [chance_to_catch(100, differing, share * differing) for share in (0.0, 0.5, 1.0)]
    assert 0 <= powers[0] <= 0.025 < powers[1] <= powers[2] <= 1
    assert 0 < (smallest_loss_caught(100, differing) or 0.0) < differing


def test_power_rises_with_the_loss_and_falls_with_the_bar() -> None:
    powers = [chance_to_catch(300, 0.1, loss) for loss in (0.0, 0.02, 0.05, 0.1)]
    assert powers == sorted(powers)
    assert powers[0] <= 0.025
    assert chance_to_catch(300, 0.1, 0.05, -0.02) < powers[2]
    assert chance_to_catch(300, 0.1, smallest_loss_caught(300, 0.1) or 0.0) == pytest.approx(0.8, abs=0.02)
    with pytest.raises(ValueError, match="at most the share that differs"):
        chance_to_catch(100, 0.05, 0.06)
