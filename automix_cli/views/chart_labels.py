"""Where names stand on a chart: beside their points, and on no line where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

_CHARACTER = 7.2  # units that a character is wide, at most on the mean
_ABOVE, _BELOW = 10.0, 3.0  # of the base line of a text
_GAP = 12.0  # between a point and its name

Place: TypeAlias = tuple[float, float]
Segment: TypeAlias = tuple[Place, Place]


class Box(NamedTuple):
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, other: Box) -> bool:
        """Whether another lies within."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def meets(self, other: Box) -> bool:
        """Whether both have an area in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def is_crossed(self, segment: Segment) -> bool:
        """Whether a straight line runs through.

        Example:
            >>> box = Box(0, 0, 10, 10)
            >>> box.is_crossed(((-5, -5), (15, 15))), box.is_crossed(((-5, 0), (0, 20)))
            (True, False)
        """
        (x, y), (to_x, to_y) = segment
        first, last = 0.0, 1.0
        for start, step, low, high in (
            (x, to_x - x, self.left, self.right),
            (y, to_y - y, self.top, self.bottom),
        ):
            if step == 0:
                if not low < start < high:
                    return False
                continue
            enter, leave = sorted(((low - start) / step, (high - start) / step))
            first, last = max(first, enter), min(last, leave)
        return first < last


class Label(NamedTuple):
    """A name, the place of its base line, and which end of it stands there."""

    text: str
    x: float
    y: float
    anchor: str

    @property
    def box(self) -> Box:
        """About the room that it takes."""
        width = _CHARACTER * len(self.text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Box(left, self.y - _ABOVE, left + width, self.y + _BELOW)


def labels_beside(
    points: Sequence[tuple[str, Place]],
    segments: Sequence[Segment],
    frame: Box,
    marks: Sequence[Place] = (),
) -> Iterator[Label]:
    """Give each point its name on the side where the fewest lines run through it.

    Args:
        points: names with their places.
        segments: all lines of the chart.
        frame: that names may not leave.
        marks: that stand elsewhere.
    """
    boxes = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in (*(place for _, place in points), *marks)]
    for name, place in points:
        every = list(_sides(name, place))
        own = [label for label in every if frame.holds(label.box)] or every
        best = min(own, key=lambda label: _trouble(label.box, segments, boxes))
        boxes.append(best.box)
        yield best


def _sides(name: str, place: Place) -> Iterator[Label]:
    """The places around a point, those that are easiest to read first."""
    x, y = place
    yield Label(name, x + _GAP, y + 18, "start")
    yield Label(name, x + _GAP, y - 8, "start")
    yield Label(name, x - _GAP, y - 8, "end")
    yield Label(name, x - _GAP, y + 18, "end")
    yield Label(name, x + 4, y + 24, "middle")
    yield Label(name, x + 4, y - 16, "middle")
    yield Label(name, x - 6, y - 16, "start")
    yield Label(name, x - _GAP, y + 34, "end")
    yield Label(name, x - _GAP, y - 24, "end")


def _trouble(box: Box, segments: Sequence[Segment], boxes: Sequence[Box]) -> int:
    """How many lines, names and points a name would lie on; names and points weigh more."""
    return sum(map(box.is_crossed, segments)) + 10 * sum(map(box.meets, boxes))
