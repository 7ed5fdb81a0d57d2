"""Names on a chart lie on no line where there is room for them, and never on one another or outside."""

import numpy as np
import pytest

from automix_cli.views.chart_labels import Box, Segment, labels_beside

FRAME = Box(0, 0, 380, 320)


@pytest.mark.parametrize("x", [60.0, 200.0, 330.0, 370.0])
@pytest.mark.parametrize("rise", [20.0, 90.0, 250.0])
def test_the_name_of_the_dearest_tier_is_not_on_the_line_of_mixes_that_ends_there(
    x: float, rise: float
) -> None:
    small, large = (10.0, 280.0), (x, 280.0 - rise)
    mix: list[Segment] = [(small, large), (large, (380.0, 280.0 - rise))]
    names = [("small", small), ("large", large)]
    own = list(labels_beside(names, mix, FRAME))
    assert [label.text for label in own] == ["small", "large"]
    assert all(FRAME.holds(label.box) for label in own)
    assert not own[0].box.meets(own[1].box)
    assert not any(label.box.is_crossed(line) for label in own for line in mix)


@pytest.mark.parametrize("seed", range(5))
def test_a_line_runs_through_a_box_where_one_of_its_points_lies_within(seed: int) -> None:
    box, t = Box(100, 80, 180, 120), np.linspace(0, 1, 2001)[:, None]
    ends = np.random.default_rng(seed).uniform((0, 0), (280, 200), size=(40, 2, 2))
    for start, end in ends:
        points = start + t * (end - start)
        within, near = (
            bool(
                (
                    (points > (box.left - room, box.top - room))
                    & (points < (box.right + room, box.bottom + room))
                )
                .all(axis=1)
                .any()
            )
            for room in (0, 0.5)
        )
        is_crossed = box.is_crossed((tuple(start), tuple(end)))
        assert within <= is_crossed <= near
