"""The marks of policies on a chart: a shape and a colour each, no two alike.

Every colour has a contrast of 3 to 1 or more on white ground and on the dark ground of the page. They are
near those of Okabe and Ito, which colour-blind people can tell apart; shapes tell apart what colours do not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from automix_cli.evaluation.policy_entry import Group

LIGHT_GROUND, DARK_GROUND = "#ffffff", "#0d1117"

_GREY, _BLUE, _SKY, _GREEN, _AMBER = "#7a7f87", "#0072b2", "#3a93c8", "#00936b", "#bf7f00"
_BROWN, _PINK, _RED, _TEAL, _OLIVE = "#a65e2e", "#c46b9d", "#d62728", "#1b8f8f", "#71902a"

SHADES = (_SKY, _BLUE, _AMBER, "#d55e00", _OLIVE, "#4c8c2b", _PINK, "#8b4f9d")
"""Of bars: two for each tier, its answers and its votes."""


class Mark(NamedTuple):
    """A regular shape.

    `corners` is 0 for a circle and 2 for a cross; `turn` is in parts of a full turn; the inner
    corners of a star lie at `inner` times the radius.
    """

    corners: int
    turn: float = 0.0
    inner: float = 1.0
    is_filled: bool = True


_CIRCLE, _SQUARE, _DIAMOND, _CROSS = Mark(0), Mark(4, 1 / 8), Mark(4), Mark(2)
_UP, _DOWN, _RIGHT, _LEFT = (Mark(3, turn) for turn in (0, 1 / 2, 1 / 4, 3 / 4))
_PENTAGON, _HEXAGON, _STAR, _SPARK = Mark(5), Mark(6), Mark(5, inner=0.45), Mark(4, inner=0.4)
_TRIPOD, _BURST = Mark(3, inner=0.25), Mark(8, inner=0.35)
_SHAPES: dict[Group, tuple[Mark, ...]] = {
    "single tier": (_SQUARE,),
    "majority": tuple(mark._replace(is_filled=False) for mark in (_SQUARE, _LEFT, _RIGHT)),
    "mix": (_CROSS,),
    "rule": (_UP, _DOWN, _RIGHT, _LEFT),
    "query": (
        *(_DIAMOND, _PENTAGON, _HEXAGON, _SPARK, Mark(8)),
        *(_TRIPOD, _SPARK._replace(turn=1 / 8), _TRIPOD._replace(turn=1 / 2), _BURST, Mark(5, 1 / 2)),
    ),
    "pomdp": (_STAR, Mark(6, inner=0.55), Mark(8, inner=0.6)),
    "bound": tuple(
        mark._replace(is_filled=False) for mark in (_CIRCLE, _DIAMOND, _UP, _PENTAGON, _DOWN, _HEXAGON)
    ),
}
_COLOURS: dict[Group, tuple[str, ...]] = {
    "single tier": (_GREY,),
    "majority": (_GREY,),
    "mix": (_GREY,),
    "rule": (_AMBER, "#8b4f9d", "#5a6fd0", "#b5446e", _BROWN),
    "query": (_GREEN, _SKY, _OLIVE, _TEAL, "#4c8c2b", "#2f7f6f", "#5b9a86"),
    "pomdp": (_PINK, _BLUE, "#8b6fc4"),
    "bound": (_GREY,),
}


class Look(NamedTuple):
    """A mark with its colour."""

    mark: Mark
    colour: str


def look_of(name: str, group: Group, place: int) -> Look:
    """Return how a policy is drawn; `place` is its number among those of its group.

    Single tiers share one look: their names stand beside them.
    """
    if name == "pomdp":
        return Look(_CIRCLE, _RED)
    marks, colours = _SHAPES[group], _COLOURS[group]
    return Look(marks[place % len(marks)], colours[place % len(colours)])


def mark_svg(look: Look, x: float, y: float, size: float) -> str:
    """Draw a mark around a point; `size` is the radius of a circle of about the same area."""
    mark, colour = look
    style = f'class="halo" fill="{colour}" stroke-width="1"'
    if not mark.is_filled:
        style = f'fill="none" stroke="{colour}" stroke-width="2"'
    if mark.corners == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>'
    if mark.corners == 2:
        d = f"M{x - size:.1f},{y - size:.1f}l{2 * size},{2 * size}m0,{-2 * size}l{-2 * size},{2 * size}"
        return f'<path d="{d}" stroke="{colour}" stroke-width="2" fill="none"/>'
    return f'<polygon points="{_corners(mark, x, y, 1.35 * size)}" {style}/>'


def _corners(mark: Mark, x: float, y: float, radius: float) -> str:
    """Return the corners of a polygon, the first at the top."""
    is_star = mark.inner < 1
    count = mark.corners * (2 if is_star else 1)
    points = []
    for k in range(count):
        angle = 2 * math.pi * (k / count + mark.turn)
        r = radius * (mark.inner if is_star and k % 2 else 1)
        points.append(f"{x + r * math.sin(angle):.1f},{y - r * math.cos(angle):.1f}")
    return " ".join(points)
