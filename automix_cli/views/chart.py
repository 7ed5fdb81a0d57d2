"""Cost against quality as an SVG: the file `frontier.svg`, and the chart of the page.

Both are the same drawing. On the page it also has attributes that the page's script reads: each
policy's group and legend entry carry its name, and points carry the text shown beside the
pointer; the other settings of a policy are dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from automix_cli.evaluation.bench import PolicyOutcome
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point, hull
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.evaluation.policy_entry import Group
from automix_cli.evaluation.settings import setting_text
from automix_cli.views.bench_view import BenchView
from automix_cli.views.cells import amount, interval_text, value_text

# The colours of Okabe and Ito, which colour-blind people can tell apart, then darker ones near them.
_COLOURS: dict[Group, tuple[str, ...]] = {
    "single tier": ("#7a7f87",),
    "majority": ("#9a9fa7",),
    "mix": ("#7a7f87",),
    "rule": ("#e69f00", "#b8860b", "#d07c3c", "#a65e2e"),
    "query": (
        *("#009e73", "#56b4e9", "#66a61e", "#1b9e9e", "#8fb339"),
        *("#2f7f6f", "#7fb8a4", "#4c8c2b", "#3f9fb5", "#5f7f3f"),
    ),
    "pomdp": ("#cc79a7", "#0072b2"),
    "bound": ("#9aa0a6",),
}
_POMDP_COLOUR = "#d62728"
_SHAPES: dict[Group, str] = {
    "single tier": "square",
    "majority": "square",
    "mix": "cross",
    "rule": "triangle",
    "query": "diamond",
    "pomdp": "circle",
    "bound": "ring",
}

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One policy on the chart; cost in USD per 1,000 questions.

    Attributes:
        name: of the policy; `group` its kind.
        colour: of everything of it; `shape` of its point.
        cost, quality: at the chosen setting, with intervals.
        dots: all settings, by rising cost; none for single tiers and repeated splits.
        text: what the page says about the point.
    """

    name: str
    group: Group
    colour: str
    shape: str
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
        colours, place = _COLOURS[outcome.group], counts.get(outcome.group, 0)
        colour = _POMDP_COLOUR if outcome.name == "pomdp" else colours[place % len(colours)]
        counts[outcome.group] = place + (outcome.name != "pomdp")
        rows.append(_series(outcome, colour, with_curve=len(view.comparison.partitions) == 1))
    return rows


def _series(o: PolicyOutcome, colour: str, *, with_curve: bool) -> Series:
    settings = o.curve if with_curve and o.group != "single tier" else ()
    dots = [
        CurveDot(
            Point(1000 * (p.cost.value or 0), p.quality.value or 0),
            f"{o.name}\n{setting_text(p.setting)}\n{_point_text(p.quality, p.cost)}",
        )
        for p in settings
    ]
    quality, cost = o.measures["quality"], o.measures["cost"]
    return Series(
        name=o.name,
        group=o.group,
        colour=colour,
        shape=_SHAPES[o.group],
        cost=_bar(cost, 1000),
        quality=_bar(quality, 1),
        dots=tuple(sorted(dots)),
        text=f"{o.name}\n{setting_text(o.choices[0].setting)}\n{_point_text(quality, cost)}",
    )


def _bar(m: Measure, scale: float) -> Bar:
    value = m.value or 0.0
    return Bar(
        scale * value,
        scale * (value if m.low is None else m.low),
        scale * (value if m.high is None else m.high),
    )


def _point_text(quality: Measure, cost: Measure) -> str:
    texts = []
    for key, measure in (("quality", quality), ("cost", cost)):
        spec = MEASURE_BY_KEY[key]
        bounds = interval_text(spec, measure, between=" to ")
        texts.append(value_text(spec, measure) + (f" ({bounds})" if bounds else ""))
    return f"quality {texts[0]}\n{texts[1]} USD per 1,000"


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


def axes(rows: Sequence[Series]) -> Axes:
    """Both axes, with room for every interval."""
    costs = [s.cost.high for s in rows] + [p.cost for s in rows for p in s.curve]
    qualities = [x for s in rows for x in (s.quality.low, s.quality.high)]
    qualities += [p.quality for s in rows for p in s.curve]
    return Axes(axis(costs, from_zero=True, most=8), axis(qualities))


# ------------------------------------------------------------------ the drawing

_WIDTH, _HEIGHT = 1000, 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 250, 54, 64

_STYLE = """
svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;background:#fff}
text{fill:#24292f;font-size:13px}.title{font-size:17px;font-weight:600}.small{font-size:12px;fill:#57606a}
.grid{stroke:#e3e6ea}.frame{stroke:#8c959f;fill:none}
.hull{stroke:#57606a;stroke-dasharray:6 4;fill:none;stroke-width:1.5}
.halo{stroke:#fff}
@media (prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.small{fill:#9da7b3}
.grid{stroke:#262c36}.frame{stroke:#6e7681}.hull{stroke:#9da7b3}.halo{stroke:#0d1117}}
"""


def frontier_svg(view: BenchView) -> str:
    """The chart as a file of its own, legible on light and on dark ground."""
    return "\n".join(_Chart.of(view, on_page=False).lines()) + "\n"


def page_svg(view: BenchView) -> str:
    """The same chart for the page, which has the styles and reads the `data-` attributes."""
    return "\n".join(_Chart.of(view, on_page=True).lines()) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """All that is drawn, and where values lie."""

    series: list[Series]
    axes: Axes
    headline: str
    measure: str
    sentence: str
    on_page: bool

    @classmethod
    def of(cls, view: BenchView, *, on_page: bool) -> _Chart:
        rows = series(view)
        return cls(
            series=rows,
            axes=axes(rows),
            headline=view.comparison.headline,
            measure=view.measure,
            sentence=view.sentence(),
            on_page=on_page,
        )

    def lines(self) -> Iterator[str]:
        """The whole SVG; bounds lie below the other policies, and the headline policy above all."""
        by_layer = sorted(self.series, key=lambda s: (s.group != "bound", s.name == self.headline))
        yield from self._head()
        yield f'<text class="title" x="{_LEFT}" y="28">Cost against {escape(self.measure)}, held out</text>'
        yield from self._frame()
        yield f'<polyline class="hull" points="{self._path(single_hull(self.series))}"/>'
        for s in by_layer:
            yield from self._policy(s)
        yield from self._tier_names()
        yield from self._legend()
        yield "</svg>"

    def _head(self) -> Iterator[str]:
        size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        if self.on_page:
            yield f'<svg {size} role="group" aria-label="{escape(self.sentence)}">'
            return
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        yield f"<title>{escape(self.sentence)}</title>"
        yield f"<style>{_STYLE}</style>"

    # -------------------------------------------------------------- places

    def _at(self, point: Point) -> tuple[float, float]:
        """Pixels of a point."""
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        x, y = self.axes.x.share(point.cost), self.axes.y.share(point.quality)
        return _LEFT + width * x, _TOP + height * (1 - y)

    def _path(self, points: Sequence[Point]) -> str:
        """Straight lines through points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._at, points))

    # -------------------------------------------------------------- the frame

    def _frame(self) -> Iterator[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for tick in self.axes.y.ticks:
            _, y = self._at(Point(self.axes.x.low, tick))
            yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            yield f'<text class="small" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in self.axes.x.ticks:
            x, _ = self._at(Point(tick, self.axes.y.low))
            yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
            yield f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
        yield f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"/>'
        yield from self._axis_titles((_LEFT + right) / 2, (_TOP + bottom) / 2)

    def _axis_titles(self, centre: float, middle: float) -> Iterator[str]:
        yield f'<text x="{centre}" y="{_HEIGHT - 18}" text-anchor="middle">USD per 1,000 questions</text>'
        rotate = f'transform="rotate(-90 20 {middle})"'
        yield f'<text x="20" y="{middle}" text-anchor="middle" {rotate}>{escape(self.measure)}</text>'

    # -------------------------------------------------------------- policies

    def _policy(self, s: Series) -> Iterator[str]:
        """Curve, both intervals, the other settings on the page, the point itself."""
        is_headline = s.name == self.headline
        opacity = 1.0 if is_headline else 0.35 if s.group == "bound" else 0.6
        yield self._group(s)
        yield from self._curve(s, opacity, 2.5 if is_headline else 1.2)
        yield from self._bars(s, opacity)
        if self.on_page:
            yield from self._dots(s, opacity)
        x, y = self._at(s.point)
        mark = _mark(s, x, y, 7 if is_headline else 5)
        yield f'<g class="hit" data-text="{escape(s.text)}">{mark}</g>' if self.on_page else mark
        yield "</g>"

    def _group(self, s: Series) -> str:
        if self.on_page:
            return f'<g class="policy" data-policy="{escape(s.name)}">'
        return f"<g><title>{escape(_tooltip(s))}</title>"

    def _curve(self, s: Series, opacity: float, width: float) -> Iterator[str]:
        if len(s.curve) > 1:
            yield (
                f'<polyline points="{self._path(s.curve)}" fill="none" stroke="{s.colour}" '
                f'stroke-width="{width}" stroke-opacity="{opacity}"/>'
            )

    def _bars(self, s: Series, opacity: float) -> Iterator[str]:
        """The intervals of cost and of quality."""
        for start, end in (
            (Point(s.cost.low, s.quality.value), Point(s.cost.high, s.quality.value)),
            (Point(s.cost.value, s.quality.low), Point(s.cost.value, s.quality.high)),
        ):
            (x1, y1), (x2, y2) = self._at(start), self._at(end)
            yield (
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                f'stroke="{s.colour}" stroke-opacity="{opacity}" stroke-width="1.2"/>'
            )

    def _dots(self, s: Series, opacity: float) -> Iterator[str]:
        for dot in s.dots:
            x, y = self._at(dot.point)
            yield (
                f'<circle class="hit" data-text="{escape(dot.text)}" cx="{x:.1f}" cy="{y:.1f}" r="3" '
                f'fill="{s.colour}" fill-opacity="{opacity}"/>'
            )

    def _tier_names(self) -> Iterator[str]:
        """Single tiers by name, beside their squares."""
        for s in self.series:
            if s.group == "single tier":
                x, y = self._at(s.point)
                at_edge = x > _WIDTH - _RIGHT - 90
                anchor, dx = ("end", -12) if at_edge else ("start", 12)
                name = escape(s.name.removeprefix("always:"))
                yield f'<text x="{x + dx:.1f}" y="{y + 18:.1f}" text-anchor="{anchor}">{name}</text>'

    # -------------------------------------------------------------- the legend

    def _legend(self) -> Iterator[str]:
        x, step = _WIDTH - _RIGHT + 24, min(20.0, (_HEIGHT - _TOP - 60) / (len(self.series) + 1))
        yield f'<line class="hull" x1="{x - 8}" y1="{_TOP + 4}" x2="{x + 8}" y2="{_TOP + 4}"/>'
        yield f'<text class="small" x="{x + 18}" y="{_TOP + 8}">best mix of single tiers</text>'
        for place, s in enumerate(self.series, 1):
            y = _TOP + 4 + step * place
            weight = ' font-weight="600"' if s.name == self.headline else ""
            if self.on_page:
                yield f'<g class="entry" role="button" tabindex="0" aria-pressed="true" {_for_policy(s)}>'
            yield _mark(s, x, y, 5)
            yield f'<text class="small" x="{x + 18}" y="{y + 4:.1f}"{weight}>{escape(s.name)}</text>'
            if self.on_page:
                yield "</g>"


def _for_policy(s: Series) -> str:
    return f'data-for="{escape(s.name)}"'


def _tooltip(s: Series) -> str:
    quality = f"{s.quality.value:.3f} ({s.quality.low:.3f}–{s.quality.high:.3f})"
    return f"{s.name}: {quality} for {amount(s.cost.value)} USD per 1,000"


def _mark(s: Series, x: float, y: float, size: float) -> str:
    """The symbol of a policy."""
    style = f'class="halo" fill="{s.colour}" stroke-width="1"'
    if s.shape == "ring":
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="none" stroke="{s.colour}" stroke-width="2"/>'
        )
    if s.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>'
    if s.shape == "square":
        return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}" {style}/>'
    if s.shape == "cross":
        d = f"M{x - size:.1f},{y - size:.1f}l{2 * size},{2 * size}m0,{-2 * size}l{-2 * size},{2 * size}"
        return f'<path d="{d}" stroke="{s.colour}" stroke-width="2" fill="none"/>'
    corners = {
        "triangle": ((0, -size - 1), (size + 1, size), (-size - 1, size)),
        "diamond": ((0, -size - 1), (size + 1, 0), (0, size + 1), (-size - 1, 0)),
    }[s.shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {style}/>'
