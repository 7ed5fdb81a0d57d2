"""Cost against quality in characters, for `bench --plot`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from automix_cli.evaluation.frontier import Point
from automix_cli.views.bench_view import BenchView
from automix_cli.views.chart import Axes, Series, axes, series, single_hull

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def terminal_plot(view: BenchView, width: int = 100, height: int = 20) -> str:
    """The plot in characters: a letter per policy, dots for the best mix of single tiers."""
    rows = series(view)
    both = axes(rows)
    columns = max(30, min(width, 110) - 10)
    letters = dict(zip((s.name for s in rows), _LETTERS, strict=False))
    grid = [[" "] * columns for _ in range(height)]
    for place, mark in _marks(rows, letters, view.comparison.headline, columns):
        row, column = _cell(place, both, grid)
        grid[row][column] = mark
    marks = {s.name: grid[row][column] for s in rows for row, column in [_cell(s.point, both, grid)]}
    return "\n".join([*_frame(grid, both, view.measure), "", *_keys(rows, letters, marks, columns)])


def _cell(place: Point, both: Axes, grid: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Row and column of a place."""
    row = round((1 - both.y.share(place.quality)) * (len(grid) - 1))
    return row, round(both.x.share(place.cost) * (len(grid[0]) - 1))


def _marks(
    rows: Sequence[Series], letters: Mapping[str, str], headline: str, columns: int
) -> Iterator[tuple[Point, str]]:
    """Every mark, those that hide others last: the headline policy, before it the single tiers."""
    for start, end in pairwise(single_hull(rows)):
        for k in range(columns + 1):
            t = k / columns
            yield Point(*(a + t * (b - a) for a, b in zip(start, end, strict=True))), "·"
    for s in sorted(rows, key=lambda s: (s.name == headline, s.group == "single tier")):
        yield s.point, letters.get(s.name, "?")


def _frame(grid: list[list[str]], both: Axes, measure: str) -> Iterator[str]:
    height, columns = len(grid), len(grid[0])
    labels = {round((1 - both.y.share(tick)) * (height - 1)): f"{tick:g}" for tick in both.y.ticks}
    yield f"{measure}"
    for row, cells in enumerate(grid):
        yield f"{labels.get(row, ''):>7} {'┤' if row in labels else '│'}{''.join(cells).rstrip()}"
    yield " " * 8 + "└" + "─" * columns
    yield _ruler(both, columns)
    yield f"{'USD per 1,000 questions':>{9 + columns}}"


def _ruler(both: Axes, columns: int) -> str:
    """The ticks of the cost axis; a tick that would touch the one before it is left out."""
    ruler = [" "] * (columns + 9)
    for tick in both.x.ticks:
        text = f"{tick:g}"
        start = 9 + round(both.x.share(tick) * (columns - 1)) - len(text) // 2
        start = min(start, len(ruler) - len(text))
        is_free = not "".join(ruler[max(start - 1, 0) : start + len(text)]).strip()
        if is_free:
            ruler[start : start + len(text)] = text
    return "".join(ruler).rstrip()


def _keys(
    rows: Sequence[Series], letters: Mapping[str, str], marks: Mapping[str, str], columns: int
) -> Iterator[str]:
    """The letter of each policy, in columns; of one that another lies on, that one's, too."""
    own = [(letters.get(s.name, "?"), s.name) for s in rows]
    cells = [
        f"{letter} {name}{'' if marks[name] == letter else f', at {marks[name]}'}" for letter, name in own
    ]
    cells.append("· best mix of single tiers")
    width = max(len(cell) for cell in cells) + 2
    many = max(1, (columns + 8) // width)
    for start in range(0, len(cells), many):
        yield "".join(f"{cell:{width}}" for cell in cells[start : start + many]).rstrip()
