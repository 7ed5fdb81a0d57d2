"""Cost against quality as an SVG: the file `frontier.svg`, and the charts of the page.

The file has the narrow drawing, with the legend below, so that its type can be read on a phone; the page has
it for phones, and a wide one. On the page they also have attributes that the page's script reads: each
policy's group and legend entry carry its name, and points carry the text shown beside the pointer; the other
settings of a policy are dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from automix_cli.evaluation.bench import PolicyOutcome
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point, hull
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.evaluation.policy_entry import Group
from automix_cli.evaluation.settings import setting_text
from automix_cli.texts import share_text
from automix_cli.views.bench_view import BenchView
from automix_cli.views.cells import amount, bounds_texts, interval_text, value_text
from automix_cli.views.chart_labels import Box, Place, Segment, labels_beside
from automix_cli.views.chart_marks import marks_apart
from automix_cli.views.marks import Look, look_of, mark_svg

# ------------------------------------------------------------------ series


class Bar(NamedTuple):
    """A value with its interval; both ends are the value where there is none."""

    value: float
    low: float
    high: float


class CurveDot(NamedTuple):
    """A setting on a curve, and what the page says about it."""

    point: Point
    text: str


class Series(Struct, frozen=True, kw_only=True):
    """One policy on the chart; cost in USD per 1,000 questions.

    Attributes:
        name: of the policy; `group` its kind.
        look: the colour of everything of it, and the mark of its point.
        cost, quality: at the chosen setting, with intervals.
        dots: all settings, by rising cost; none for single tiers and repeated splits.
        text: what the page says about the point.
    """

    name: str
    group: Group
    look: Look
    cost: Bar
    quality: Bar
    dots: tuple[CurveDot, ...]
    text: str

    @property
    def point(self) -> Point:
        """The chosen setting."""
        return Point(self.cost.value, self.quality.value)

    @property
    def curve(self) -> list[Point]:
        """The points of all settings."""
        return [dot.point for dot in self.dots]


def series(view: BenchView) -> list[Series]:
    """Every policy, in the order of the tables; curves are of the first split, so only of a single one."""
    counts: dict[Group, int] = {}
    rows = []
    for outcome in view.comparison.outcomes:
        place = counts.get(outcome.group, 0)
        counts[outcome.group] = place + (outcome.name != "pomdp")
        look = look_of(outcome.name, outcome.group, place)
        rows.append(_series(outcome, look, view.measure, with_curve=len(view.comparison.partitions) == 1))
    return rows


def _series(o: PolicyOutcome, look: Look, name: str, *, with_curve: bool) -> Series:
    settings = o.curve if with_curve and o.group != "single tier" else ()
    dots = [
        CurveDot(
            Point(1000 * (p.cost.value or 0), p.quality.value or 0),
            f"{o.name}\n{setting_text(p.setting)}\n{_point_text(p.quality, p.cost, name)}",
        )
        for p in settings
    ]
    quality, cost = o.measures["quality"], o.measures["cost"]
    return Series(
        name=o.name,
        group=o.group,
        look=look,
        cost=_bar(cost, 1000),
        quality=_bar(quality, 1),
        dots=tuple(sorted(dots)),
        text=f"{o.name}\n{setting_text(o.choices[0].setting)}\n{_point_text(quality, cost, name)}",
    )


def _bar(m: Measure, scale: float) -> Bar:
    value = m.value or 0.0
    return Bar(
        scale * value,
        scale * (value if m.low is None else m.low),
        scale * (value if m.high is None else m.high),
    )


def _point_text(quality: Measure, cost: Measure, name: str) -> str:
    """What is said of a point; `name` is what a score is called."""
    texts = []
    for key, measure in (("quality", quality), ("cost", cost)):
        spec = MEASURE_BY_KEY[key]
        bounds = interval_text(spec, measure, between=" to ")
        texts.append(value_text(spec, measure) + (f" ({bounds})" if bounds else ""))
    return f"{name} {texts[0]}\n{texts[1]} USD per 1,000"


def single_hull(rows: Sequence[Series]) -> tuple[Point, ...]:
    """The best random mixes of single tiers: corners of their hull, and level from the last one on."""
    corners = hull([s.point for s in rows if s.group == "single tier"])
    farthest = max(s.cost.high for s in rows)
    return (*corners, Point(max(farthest, corners[-1].cost), corners[-1].quality))


# ------------------------------------------------------------------ axes


class Axis(NamedTuple):
    """A range of values and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """The place of a value between both ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def axis(values: Sequence[float], *, from_zero: bool = False, most: int = 7) -> Axis:
    """A range around values with round ticks.

    Example:
        >>> axis([0.61, 0.94]).ticks
        (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    """
    low, high = (0.0 if from_zero else min(values)), max(values)
    span = (high - low) or abs(high) or 1.0
    rough = span / most
    base = 10 ** math.floor(math.log10(rough))
    step = next(base * k for k in (1, 2, 2.5, 5, 10) if base * k >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


class Axes(NamedTuple):
    """Of cost, and of quality."""

    x: Axis
    y: Axis


def axes(rows: Sequence[Series], *, fewer: bool = False) -> Axes:
    """Both axes, with room for every interval; fewer ticks of cost where there is little room."""
    costs = [s.cost.high for s in rows] + [p.cost for s in rows for p in s.curve]
    qualities = [x for s in rows for x in (s.quality.low, s.quality.high)]
    qualities += [p.quality for s in rows for p in s.curve]
    return Axes(axis(costs, from_zero=True, most=5 if fewer else 8), axis(qualities))


# ------------------------------------------------------------------ the drawing


class _Layout(NamedTuple):
    """Where things lie, in units of the drawing: the whole, margins around the plot, and the legend.

    The legend has a column beside the plot (`columns` is 0), or that many columns below it.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    columns: int = 0

    @property
    def x(self) -> tuple[int, int]:
        """Both ends of the cost axis."""
        return self.left, self.width - self.right

    @property
    def y(self) -> tuple[int, int]:
        """The top and the bottom of the plot."""
        return self.top, self.height - self.bottom


_WIDE = _Layout(width=1000, height=600, left=72, right=250, top=54, bottom=64)
_SIZE, _HEADLINE_SIZE = 5, 7  # of marks
_FILE_WIDTH = 480  # at which a browser shows the file where there is room
_TICK_CHARACTER = 7.4  # units that a character of a tick is wide, at most
_TOUCH = 10  # radius around a mark that a finger may miss it by
_ENTRY = 22  # height of an entry of the legend below the plot
_LONGEST_IN_COLUMN = 22  # characters of a name where two columns are 380 units wide


def _narrow(names: Sequence[str]) -> _Layout:
    """A drawing as wide as a phone, whose legend has as many rows as the names need."""
    columns = 2 if max(map(len, names)) <= _LONGEST_IN_COLUMN else 1
    legend = _ENTRY * (1 + math.ceil(len(names) / columns)) + 12
    return _Layout(380, 380 + legend, left=58, right=20, top=12, bottom=52 + legend, columns=columns)


STYLE = """
svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;background:#fff}
text{fill:#24292f;font-size:13px}.title{font-size:17px;font-weight:600}.small{font-size:12px;fill:#57606a}
.grid{stroke:#e3e6ea}.frame{stroke:#8c959f;fill:none}
.hull{stroke:#57606a;stroke-dasharray:6 4;fill:none;stroke-width:1.5}
.leader{stroke-width:1}.halo{stroke:#fff}.soft{opacity:.65}.softer{opacity:.45}
@media (prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.small{fill:#9da7b3}
.grid{stroke:#262c36}.frame{stroke:#6e7681}.hull{stroke:#9da7b3}.halo{stroke:#0d1117}.soft{opacity:.85}.softer{opacity:.7}}
"""


def frontier_svg(view: BenchView) -> str:
    """The chart as a file of its own, legible on light and on dark ground, and on a phone."""
    return "\n".join(_Chart.of(view, _narrow_of(view), on_page=False).lines()) + "\n"


def page_svg(view: BenchView) -> str:
    """A wide chart for the page, which has the styles and reads the `data-` attributes."""
    return "\n".join(_Chart.of(view, _WIDE, on_page=True).lines()) + "\n"


def phone_svg(view: BenchView) -> str:
    """The chart of the file for a page as narrow as a phone."""
    return "\n".join(_Chart.of(view, _narrow_of(view), on_page=True).lines()) + "\n"


def _narrow_of(view: BenchView) -> _Layout:
    return _narrow([outcome.name for outcome in view.comparison.outcomes])


class _Chart(Struct, frozen=True, kw_only=True):
    """All that is drawn, and where values lie."""

    series: list[Series]
    axes: Axes
    layout: _Layout
    headline: str
    measure: str
    sentence: str
    on_page: bool

    @classmethod
    def of(cls, view: BenchView, layout: _Layout, *, on_page: bool) -> _Chart:
        rows = series(view)
        return cls(
            series=rows,
            axes=axes(rows, fewer=bool(layout.columns)),
            layout=layout,
            headline=view.comparison.headline,
            measure=view.measure,
            sentence=view.sentence(),
            on_page=on_page,
        )

    def lines(self) -> Iterator[str]:
        """The whole SVG: lines below marks, bounds below other policies, the headline policy's line above."""
        by_layer = sorted(self.series, key=lambda s: (s.group != "bound", s.name == self.headline))
        yield from self._head()
        if not self.layout.columns:
            words = f"Cost against {escape(self.measure)}, held out"
            yield f'<text class="title" x="{self.layout.left}" y="28">{words}</text>'
        yield from self._frame()
        yield f'<polyline class="hull" points="{self._path(single_hull(self.series))}"/>'
        for s in by_layer:
            yield from self._lines_of(s)
        place_of = self._mark_places()
        for s in by_layer:
            yield from self._mark(s, place_of[s.name])
        yield from self._tier_names()
        yield from self._legend()
        yield "</svg>"

    def _head(self) -> Iterator[str]:
        size = f'viewBox="0 0 {self.layout.width} {self.layout.height}"'
        if self.on_page:
            yield f'<svg {size} role="group" aria-label="{escape(self.sentence)}">'
            return
        height = round(_FILE_WIDTH * self.layout.height / self.layout.width)
        size += f' width="{_FILE_WIDTH}" height="{height}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        yield f"<title>{escape(self.sentence)}</title>"
        yield f"<style>{STYLE}</style>"

    # -------------------------------------------------------------- places

    def _at(self, point: Point) -> tuple[float, float]:
        """Pixels of a point."""
        (left, right), (top, bottom) = self.layout.x, self.layout.y
        x, y = self.axes.x.share(point.cost), self.axes.y.share(point.quality)
        return left + (right - left) * x, top + (bottom - top) * (1 - y)

    def _path(self, points: Sequence[Point]) -> str:
        """Straight lines through points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._at, points))

    # -------------------------------------------------------------- the frame

    def _frame(self) -> Iterator[str]:
        (left, right), (top, bottom) = self.layout.x, self.layout.y
        for tick in self.axes.y.ticks:
            _, y = self._at(Point(self.axes.x.low, tick))
            yield f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            yield f'<text class="small" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in self.axes.x.ticks:
            x, _ = self._at(Point(tick, self.axes.y.low))
            yield f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            text = f"{tick:,.10g}"
            x = min(x, self.layout.width - _TICK_CHARACTER / 2 * len(text))  # the last one stays whole
            yield f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
        yield f'<rect class="frame" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
        yield from self._axis_titles((left + right) / 2, (top + bottom) / 2)

    def _axis_titles(self, centre: float, middle: float) -> Iterator[str]:
        y, x = self.layout.y[1] + 46, min(20, self.layout.left - 44)
        words = "USD per 1,000 questions, held out" if self.layout.columns else "USD per 1,000 questions"
        yield f'<text x="{centre}" y="{y}" text-anchor="middle">{words}</text>'
        rotate = f'transform="rotate(-90 {x} {middle})"'
        yield f'<text x="{x}" y="{middle}" text-anchor="middle" {rotate}>{escape(self.measure)}</text>'

    # -------------------------------------------------------------- policies

    def _lines_of(self, s: Series) -> Iterator[str]:
        """Curve, both intervals, and on the page the other settings of a policy."""
        is_headline = s.name == self.headline
        soft = "" if is_headline else ' class="softer"' if s.group == "bound" else ' class="soft"'
        yield self._group(s)
        yield f"<g{soft}>"
        yield from self._curve(s, 2.5 if is_headline else 1.2)
        yield from self._bars(s)
        if self.on_page:
            yield from self._dots(s)
        yield "</g></g>"

    def _mark_places(self) -> dict[str, Place]:
        """Where marks are drawn: the headline policy's at its place, then those of tiers, others beside."""
        by_rank = sorted(self.series, key=lambda s: (s.name != self.headline, s.group != "single tier"))
        (left, right), (top, bottom) = self.layout.x, self.layout.y
        places = marks_apart([self._at(s.point) for s in by_rank], Box(left, top, right, bottom))
        return {s.name: place for s, place in zip(by_rank, places, strict=True)}

    def _mark(self, s: Series, place: Place) -> Iterator[str]:
        """The mark of a policy at its chosen setting, and a line to its place where it stands beside that."""
        yield self._group(s)
        (x, y), (at_x, at_y) = place, self._at(s.point)
        if place != (at_x, at_y):
            ends = f'x1="{at_x:.1f}" y1="{at_y:.1f}" x2="{x:.1f}" y2="{y:.1f}"'
            yield f'<line class="leader" {ends} stroke="{s.look.colour}"/>'
        mark = mark_svg(s.look, x, y, _HEADLINE_SIZE if s.name == self.headline else _SIZE)
        if self.on_page:
            around = f'<circle class="touch" cx="{x:.1f}" cy="{y:.1f}" r="{_TOUCH}"/>'
            mark = f'<g class="hit" data-text="{escape(s.text)}">{around}{mark}</g>'
        yield mark
        yield "</g>"

    def _group(self, s: Series) -> str:
        if self.on_page:
            return f'<g class="policy" data-policy="{escape(s.name)}">'
        return f"<g><title>{escape(_tooltip(s))}</title>"

    def _curve(self, s: Series, width: float) -> Iterator[str]:
        if len(s.curve) > 1:
            yield (
                f'<polyline points="{self._path(s.curve)}" fill="none" stroke="{s.look.colour}" '
                f'stroke-width="{width}"/>'
            )

    def _bars(self, s: Series) -> Iterator[str]:
        """The intervals of cost and of quality."""
        for start, end in _bars(s):
            (x1, y1), (x2, y2) = self._at(start), self._at(end)
            yield (
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                f'stroke="{s.look.colour}" stroke-width="1.2"/>'
            )

    def _dots(self, s: Series) -> Iterator[str]:
        for dot in s.dots:
            x, y = self._at(dot.point)
            yield (
                f'<circle class="hit" data-text="{escape(dot.text)}" cx="{x:.1f}" cy="{y:.1f}" r="3" '
                f'fill="{s.look.colour}"/>'
            )

    def _tier_names(self) -> Iterator[str]:
        """Single tiers by name, beside their squares."""
        (left, right), (top, bottom) = self.layout.x, self.layout.y
        points = [
            (s.name.removeprefix("always:"), self._at(s.point))
            for s in self.series
            if s.group == "single tier"
        ]
        frame, marks = Box(left, top, right, bottom), list(self._mark_places().values())
        for text, x, y, anchor in labels_beside(points, self._segments(), frame, marks):
            yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

    def _segments(self) -> list[Segment]:
        """Every line that is drawn within the frame."""
        paths = [single_hull(self.series), *(s.curve for s in self.series)]
        paths += [ends for s in self.series for ends in _bars(s)]
        place_of = self._mark_places()
        ends = ((self._at(s.point), place_of[s.name]) for s in self.series)
        leaders = [(place, mark) for place, mark in ends if place != mark]
        return [*(pair for path in paths for pair in pairwise(map(self._at, path))), *leaders]

    # -------------------------------------------------------------- the legend

    def _legend(self) -> Iterator[str]:
        x, y = self._entry_place(0)
        yield f'<line class="hull" x1="{x - 8:g}" y1="{y:.1f}" x2="{x + 8:g}" y2="{y:.1f}"/>'
        yield f'<text class="small" x="{x + 18:g}" y="{y + 4:.1f}">best mix of single tiers</text>'
        for place, s in enumerate(self.series, 1):
            x, y = self._entry_place(place)
            weight = ' font-weight="600"' if s.name == self.headline else ""
            if self.on_page:
                yield f'<g class="entry" role="button" tabindex="0" aria-pressed="true" {_for_policy(s)}>'
            yield mark_svg(s.look, x, y, 5)
            yield f'<text class="small" x="{x + 18:g}" y="{y + 4:.1f}"{weight}>{escape(s.name)}</text>'
            if self.on_page:
                yield "</g>"

    def _entry_place(self, place: int) -> tuple[float, float]:
        """The place of the mark of an entry of the legend; the first entry is that of the mix."""
        layout = self.layout
        if not layout.columns:
            step = min(20.0, (layout.height - layout.top - 60) / (len(self.series) + 1))
            return layout.x[1] + 24, layout.top + 4 + step * place
        row, column = divmod(place - 1, layout.columns) if place else (-1, 0)
        return 18 + column * layout.width / layout.columns, layout.y[1] + 76 + _ENTRY * row + _ENTRY


def _bars(s: Series) -> tuple[tuple[Point, Point], ...]:
    """The ends of both intervals."""
    return (
        (Point(s.cost.low, s.quality.value), Point(s.cost.high, s.quality.value)),
        (Point(s.cost.value, s.quality.low), Point(s.cost.value, s.quality.high)),
    )


def _for_policy(s: Series) -> str:
    return f'data-for="{escape(s.name)}"'


def _tooltip(s: Series) -> str:
    low, high = bounds_texts(s.quality.low, s.quality.high, ".3f")
    bounds = "" if s.quality.low == s.quality.high else f" ({low}–{high})"
    quality = f"{share_text(s.quality.value, '.3f')}{bounds}"
    return f"{s.name}: {quality} for {amount(s.cost.value)} USD per 1,000"
