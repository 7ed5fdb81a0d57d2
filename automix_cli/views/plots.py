"""Cost against quality: as an SVG written by hand, as characters, and as a PNG where matplotlib is there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from automix_cli.evaluation.bench import Outcome
from automix_cli.evaluation.metrics import Point, hull
from automix_cli.evaluation.policy_entry import Group
from automix_cli.views.bench_view import BenchView, amount

# Okabe and Ito's colours, told apart by people who see few; then darker kin of theirs.
_COLOURS: dict[Group, tuple[str, ...]] = {
    "single tier": ("#7a7f87",),
    "majority": ("#9a9fa7",),
    "mix": ("#7a7f87",),
    "rule": ("#e69f00", "#b8860b", "#d07c3c", "#a65e2e"),
    "query": (
        "#009e73",
        "#56b4e9",
        "#66a61e",
        "#1b9e9e",
        "#8fb339",
        "#2f7f6f",
        "#7fb8a4",
        "#4c8c2b",
        "#3f9fb5",
        "#5f7f3f",
    ),
    "pomdp": ("#cc79a7", "#0072b2"),
    "bound": ("#9aa0a6",),
}
_OURS = "#d62728"
_SHAPES: dict[Group, str] = {
    "single tier": "square",
    "majority": "square",
    "mix": "cross",
    "rule": "triangle",
    "query": "diamond",
    "pomdp": "circle",
    "bound": "ring",
}


class Bar(NamedTuple):
    """A value with its interval; both ends are the value where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One policy as it is drawn; cost in USD per 1,000 questions."""

    name: str
    group: Group
    colour: str
    shape: str
    cost: Bar
    quality: Bar
    curve: tuple[Point, ...]


def series(view: BenchView) -> list[Series]:
    """Every policy, in the order of the tables; curves are of the first split, so only of a single one."""
    counts: dict[Group, int] = {}
    found = []
    for outcome in view.found.outcomes:
        colours, place = _COLOURS[outcome.group], counts.get(outcome.group, 0)
        colour = _OURS if outcome.name == "pomdp" else colours[place % len(colours)]
        counts[outcome.group] = place + (outcome.name != "pomdp")
        found.append(_series(outcome, colour, with_curve=len(view.found.cuts) == 1))
    return found


def _series(o: Outcome, colour: str, *, with_curve: bool) -> Series:
    drawn = o.curve if with_curve and o.group != "single tier" else ()
    points = [Point(1000 * (p.cost.value or 0), p.quality.value or 0) for p in drawn]
    return Series(
        name=o.name,
        group=o.group,
        colour=colour,
        shape=_SHAPES[o.group],
        cost=_bar(o, "cost", 1000),
        quality=_bar(o, "quality", 1),
        curve=tuple(sorted(points)),
    )


def _bar(o: Outcome, name: str, scale: float) -> Bar:
    m = o.measures[name]
    value = m.value or 0.0
    return Bar(
        scale * value,
        scale * (value if m.low is None else m.low),
        scale * (value if m.high is None else m.high),
    )


def single_hull(found: Sequence[Series]) -> tuple[Point, ...]:
    """What random mixes of single tiers reach: corners, and level from the last one on."""
    corners = hull([Point(s.cost.value, s.quality.value) for s in found if s.group == "single tier"])
    farthest = max(s.cost.high for s in found)
    return (*corners, Point(max(farthest, corners[-1].cost), corners[-1].quality))


class Axis(NamedTuple):
    """A range of values and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
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


def axes(found: Sequence[Series]) -> tuple[Axis, Axis]:
    """Of cost and of quality, with room for every interval."""
    costs = [s.cost.high for s in found] + [p.cost for s in found for p in s.curve]
    qualities = [x for s in found for x in (s.quality.low, s.quality.high)]
    qualities += [p.quality for s in found for p in s.curve]
    return axis(costs, from_zero=True, most=8), axis(qualities)


# ------------------------------------------------------------------ SVG

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


class _Canvas(NamedTuple):
    """Where values come to lie on the page."""

    x: Axis
    y: Axis

    def at(self, point: Point) -> tuple[float, float]:
        """Pixels of a point."""
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + width * self.x.share(point.cost), _TOP + height * (1 - self.y.share(point.quality))

    def path(self, points: Sequence[Point]) -> str:
        """Straight lines through points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))


def frontier_svg(view: BenchView) -> str:
    """The plot as a file of its own, legible on light and on dark ground."""
    found = series(view)
    canvas = _Canvas(*axes(found))
    headline = view.found.headline
    ordered = sorted(found, key=lambda s: (s.group != "bound", s.name == headline))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(view.sentence())}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="28">Cost against {escape(view.measure)}, held out</text>',
        *_frame(canvas, view.measure),
        f'<polyline class="hull" points="{canvas.path(single_hull(found))}"/>',
        *(line for s in ordered for line in _drawn(s, canvas, headline)),
        *_tier_names(found, canvas),
        *_legend(found, headline),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _frame(canvas: _Canvas, measure: str) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for tick in canvas.y.ticks:
        _, y = canvas.at(Point(canvas.x.low, tick))
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text class="small" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for tick in canvas.x.ticks:
        x, _ = canvas.at(Point(tick, canvas.y.low))
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
    yield f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"/>'
    centre, middle = (_LEFT + right) / 2, (_TOP + bottom) / 2
    yield f'<text x="{centre}" y="{_HEIGHT - 18}" text-anchor="middle">USD per 1,000 questions</text>'
    turned = f'transform="rotate(-90 20 {middle})"'
    yield f'<text x="20" y="{middle}" text-anchor="middle" {turned}>{escape(measure)}</text>'


def _drawn(s: Series, canvas: _Canvas, headline: str) -> Iterator[str]:
    """Curve, both intervals, the point itself."""
    ours = s.name == headline
    faint = 1.0 if ours else 0.35 if s.group == "bound" else 0.6
    yield f"<g><title>{escape(_hover(s))}</title>"
    if len(s.curve) > 1:
        width = 2.5 if ours else 1.2
        yield (
            f'<polyline points="{canvas.path(s.curve)}" fill="none" stroke="{s.colour}" '
            f'stroke-width="{width}" stroke-opacity="{faint}"/>'
        )
    for a, b in (
        (Point(s.cost.low, s.quality.value), Point(s.cost.high, s.quality.value)),
        (Point(s.cost.value, s.quality.low), Point(s.cost.value, s.quality.high)),
    ):
        (x1, y1), (x2, y2) = canvas.at(a), canvas.at(b)
        yield (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{s.colour}" stroke-opacity="{faint}" stroke-width="1.2"/>'
        )
    x, y = canvas.at(Point(s.cost.value, s.quality.value))
    yield _mark(s, x, y, 7 if ours else 5)
    yield "</g>"


def _hover(s: Series) -> str:
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


def _tier_names(found: Sequence[Series], canvas: _Canvas) -> Iterator[str]:
    """Single tiers by name, beside their squares."""
    for s in found:
        if s.group == "single tier":
            x, y = canvas.at(Point(s.cost.value, s.quality.value))
            late = x > _WIDTH - _RIGHT - 90
            anchor, dx = ("end", -12) if late else ("start", 12)
            name = escape(s.name.removeprefix("always:"))
            yield f'<text x="{x + dx:.1f}" y="{y + 18:.1f}" text-anchor="{anchor}">{name}</text>'


def _legend(found: Sequence[Series], headline: str) -> Iterator[str]:
    x, step = _WIDTH - _RIGHT + 24, min(20.0, (_HEIGHT - _TOP - 60) / (len(found) + 1))
    yield f'<line class="hull" x1="{x - 8}" y1="{_TOP + 4}" x2="{x + 8}" y2="{_TOP + 4}"/>'
    yield f'<text class="small" x="{x + 18}" y="{_TOP + 8}">best mix of single tiers</text>'
    for place, s in enumerate(found, 1):
        y = _TOP + 4 + step * place
        weight = ' font-weight="600"' if s.name == headline else ""
        yield _mark(s, x, y, 5)
        yield f'<text class="small" x="{x + 18}" y="{y + 4:.1f}"{weight}>{escape(s.name)}</text>'


# ------------------------------------------------------------------ characters

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def terminal_plot(view: BenchView, width: int = 100, height: int = 20) -> str:
    """The plot in characters: a letter per policy, dots for the best mix of single tiers."""
    found = series(view)
    x, y = axes(found)
    columns = max(30, min(width, 110) - 10)
    grid = [[" "] * columns for _ in range(height)]

    def put(point: Point, mark: str) -> None:
        column = round(x.share(point.cost) * (columns - 1))
        row = round((1 - y.share(point.quality)) * (height - 1))
        grid[row][column] = mark

    corners = single_hull(found)
    for left, right in pairwise(corners):
        for k in range(columns + 1):
            t = k / columns
            put(Point(*(a + t * (b - a) for a, b in zip(left, right, strict=True))), "·")
    letters = dict(zip((s.name for s in found), _LETTERS, strict=False))
    for s in sorted(found, key=lambda s: (s.name == view.found.headline, s.group == "single tier")):
        put(Point(s.cost.value, s.quality.value), letters.get(s.name, "?"))
    return "\n".join([*_framed(grid, x, y, view.measure), "", *_keys(found, letters, columns)])


def _framed(grid: list[list[str]], x: Axis, y: Axis, measure: str) -> Iterator[str]:
    height, columns = len(grid), len(grid[0])
    labels = {round((1 - y.share(tick)) * (height - 1)): f"{tick:g}" for tick in y.ticks}
    yield f"{measure}"
    for row, cells in enumerate(grid):
        yield f"{labels.get(row, ''):>7} {'┤' if row in labels else '│'}{''.join(cells).rstrip()}"
    yield " " * 8 + "└" + "─" * columns
    ruler = [" "] * (columns + 12)
    for tick in x.ticks:
        text = f"{tick:g}"
        start = 9 + round(x.share(tick) * (columns - 1)) - len(text) // 2
        if (
            start + len(text) <= len(ruler)
            and not "".join(ruler[max(start - 1, 0) : start + len(text)]).strip()
        ):
            ruler[start : start + len(text)] = text
    yield "".join(ruler).rstrip()
    yield f"{'USD per 1,000 questions':>{9 + columns}}"


def _keys(found: Sequence[Series], letters: dict[str, str], columns: int) -> Iterator[str]:
    """Which letter is who, in columns; dots are the best mix."""
    cells = [f"{letters.get(s.name, '?')} {s.name}" for s in found] + ["· best mix of single tiers"]
    width = max(len(cell) for cell in cells) + 2
    many = max(1, (columns + 8) // width)
    for start in range(0, len(cells), many):
        yield "".join(f"{cell:{width}}" for cell in cells[start : start + many]).rstrip()


# ------------------------------------------------------------------ PNG


def write_png(view: BenchView, path: Path) -> None:
    """The plot as a PNG, drawn with matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    found = series(view)
    figure = Figure(figsize=(10, 6), dpi=160, layout="constrained")
    plot = figure.add_subplot()
    plot.plot(*zip(*single_hull(found), strict=True), "--", color="#57606a", label="best mix of single tiers")
    markers = {"square": "s", "cross": "x", "triangle": "^", "diamond": "D", "circle": "o", "ring": "o"}
    for s in found:
        if len(s.curve) > 1:
            plot.plot(*zip(*s.curve, strict=True), color=s.colour, linewidth=1, alpha=0.6)
        plot.errorbar(
            s.cost.value,
            s.quality.value,
            xerr=[[max(s.cost.value - s.cost.low, 0)], [max(s.cost.high - s.cost.value, 0)]],
            yerr=[[max(s.quality.value - s.quality.low, 0)], [max(s.quality.high - s.quality.value, 0)]],
            fmt=markers[s.shape],
            color=s.colour,
            markerfacecolor="none" if s.shape == "ring" else s.colour,
            label=s.name,
        )
    plot.set(
        xlabel="USD per 1,000 questions", ylabel=view.measure, title=f"Cost against {view.measure}, held out"
    )
    plot.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    figure.savefig(path)
