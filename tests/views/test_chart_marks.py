"""Marks of policies that did the same are set apart, and none of them leaves the frame."""

import math

import pytest

from automix_cli.views.chart_labels import Box
from automix_cli.views.chart_marks import marks_apart

FRAME = Box(0, 0, 300, 300)


@pytest.mark.parametrize("count", [2, 4, 12])
@pytest.mark.parametrize("place", [(150.0, 150.0), (2.0, 298.0), (300.0, 0.0)])
def test_marks_at_one_place_do_not_lie_on_one_another(place: tuple[float, float], count: int) -> None:
    drawn = marks_apart([place] * count, FRAME)
    assert drawn[0] == place, "the first stays"
    assert all(FRAME.holds(Box(*own, *own)) for own in drawn)
    pairs = [(a, b) for k, a in enumerate(drawn) for b in drawn[:k]]
    assert min(math.dist(a, b) for a, b in pairs) >= 12


def test_a_mark_that_lies_on_no_other_stays() -> None:
    places = [(10.0, 10.0), (30.0, 10.0), (41.0, 10.0)]
    assert marks_apart(places, FRAME) == places


def test_a_mark_near_one_that_was_moved_is_no_reason_to_move_it() -> None:
    """Three in a row, each on the next one: the last lies on none that stays."""
    places = [(100.0, 100.0), (108.0, 100.0), (116.0, 100.0)]
    drawn = marks_apart(places, FRAME)
    assert (drawn[0], drawn[2]) == (places[0], places[2])
    assert math.dist(drawn[1], places[1]) > 12
