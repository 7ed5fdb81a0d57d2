"""Where marks stand on a chart: those that would lie on one another are set apart around their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from automix_cli.views.chart_labels import Box, Place

_SAME_PLACE = 10.0  # marks whose centres are nearer lie on one another
_APART = 12.0  # between the centres of marks
_NEAREST, _STEP, _FARTHEST = 17.0, 12.0, 80.0  # from a place to the marks around it
_TURNS = (1, 3, 7, 5, 2, 4, 6, 8)  # in eighths: diagonals first, since intervals run along the axes


def marks_apart(places: Sequence[Place], frame: Box) -> list[Place]:
    """Where each mark is drawn: the first at a place stays there, and others go around it.

    Args:
        places: of the marks, those that are to stay first.
        frame: that no mark leaves that is moved.

    Example:
        >>> marks_apart([(50.0, 50.0), (51.0, 50.0)], Box(0, 0, 100, 100))
        [(50.0, 50.0), (63.0, 62.0)]
    """
    anchors = _first_of_each(places)
    marks: list[Place] = list(anchors)
    result = list[Place]()
    for place in places:
        if place in anchors:
            result.append(anchors.pop(anchors.index(place)))
            continue
        free = (own for own in _around(place) if frame.holds(Box(*own, *own)))
        result.append(next((own for own in free if not _is_near(own, marks, _APART)), place))
        marks.append(result[-1])
    return result


def _first_of_each(places: Sequence[Place]) -> list[Place]:
    """The places that have none of these nearby before them."""
    anchors = list[Place]()
    for place in places:
        if not _is_near(place, anchors, _SAME_PLACE):
            anchors.append(place)
    return anchors


def _is_near(place: Place, others: Sequence[Place], distance: float) -> bool:
    return any(math.dist(place, other) < distance for other in others)


def _around(place: Place) -> Iterator[Place]:
    """The places around one, the nearest first."""
    x, y = place
    radius = _NEAREST
    while radius <= _FARTHEST:
        for turn in _TURNS:
            angle = turn * math.pi / 4
            yield round(x + radius * math.cos(angle), 1), round(y + radius * math.sin(angle), 1)
        radius += _STEP
