"""The comparison as lines of text and Rich tables, narrower for narrow terminals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from automix_cli.evaluation.bench import PolicyOutcome
from automix_cli.evaluation.measures import DISPLAY_ORDER, MeasureSpec, TableColumn
from automix_cli.views.against_words import against_lines
from automix_cli.views.bench_view import BenchView
from automix_cli.views.cells import (
    MARKED,
    NO_VALUE,
    behind_text,
    falls_short,
    interval_text,
    lacks_labels,
    left_out,
    value_text,
    why_blank,
)

if TYPE_CHECKING:
    from rich.table import Table

BENCH_WIDE = 120  # columns of a terminal, for every column of a table
_LEAST_NAME = 20  # characters of a policy's name, before columns make room for it


def bench_parts(view: BenchView, width: int = BENCH_WIDE) -> Iterator[str | Table]:
    """Head, both tables, notes and verdict: lines of text and tables."""
    yield view.head()
    for own in (bench_table(view, "points", width), bench_table(view, "curves", width)):
        yield ""
        yield own.table
        yield from own.legend
    yield ""
    remarks = view.remarks()
    yield from [*remarks, ""] if remarks else []
    yield from view.payer_lines()
    yield view.sentence()
    if view.against is not None:
        yield ""
        yield from against_lines(view.against)


class TableWithLegend(NamedTuple):
    """A table, and what is said below it, a line each."""

    table: Table
    legend: tuple[str, ...]


def bench_table(
    view: BenchView, table: Literal["points", "curves"], width: int = BENCH_WIDE
) -> TableWithLegend:
    """Each policy at the setting that was chosen in training, or over all its settings."""
    if table == "points":
        title = (
            f"held out, at the setting chosen in training ({view.measure}; edge: points above a random mix)"
        )
    else:
        lead = "; lead: above pomdp at equal cost" if width >= BENCH_WIDE else ""
        title = f"held out, over all settings (gain: mean points above the line small to large{lead})"
    return _table(view, title, list(_columns(table)), width)


# ------------------------------------------------------------------ columns


class _Column(NamedTuple):
    """A column of a table: the values of a measure, or their intervals."""

    spec: MeasureSpec
    place: TableColumn
    is_interval: bool

    @property
    def head(self) -> str:
        return f"{self.place.head} 95 %" if self.is_interval else self.place.head

    @property
    def wide(self) -> bool:
        """Whether only wide terminals show it."""
        return self.place.interval == "wide" if self.is_interval else self.place.wide

    def text(self, outcome: PolicyOutcome, *, star: bool) -> str:
        """The cell of a policy."""
        measure = outcome.measures[self.spec.key]
        end = "*" if star else ""
        if self.is_interval:
            return interval_text(self.spec, measure) + end
        own = NO_VALUE if falls_short(self.spec, outcome.measures) else value_text(self.spec, measure)
        behind = behind_text(self.spec, outcome.measures)
        return own + (f" ({behind})" if behind else "") + end

    def lacks_labels(self, outcome: PolicyOutcome) -> bool:
        """Whether too few labels stand behind the cell of a policy, or behind what it is of."""
        keys = (self.spec.key, *filter(None, (self.place.behind,)))
        return not self.is_interval and any(lacks_labels(outcome.measures[key]) for key in keys)


def _columns(table: Literal["points", "curves"]) -> Iterator[_Column]:
    for spec in DISPLAY_ORDER:
        if spec.column is None or spec.column.table != table:
            continue
        yield _Column(spec, spec.column, is_interval=False)
        if spec.column.interval != "none":
            yield _Column(spec, spec.column, is_interval=True)


def _fitting(columns: Sequence[_Column], outcomes: Sequence[PolicyOutcome], width: int) -> list[_Column]:
    """As many columns as fit beside the names; intervals go first, then the last ones."""
    name = min(max(len(o.name) for o in outcomes), _LEAST_NAME)
    fitting = [column for column in columns if width >= BENCH_WIDE or not column.wide]
    widths = {c.head: 2 + max(len(c.head), *(len(c.text(o, star=True)) for o in outcomes)) for c in fitting}
    while len(fitting) > 1 and name + sum(widths[c.head] for c in fitting) > width:
        fitting.remove(next((c for c in reversed(fitting) if c.is_interval), fitting[-1]))
    return fitting


# ------------------------------------------------------------------ rows


def _table(view: BenchView, title: str, columns: Sequence[_Column], width: int) -> TableWithLegend:
    from rich.table import Table

    every, blank = _without_blank(view, columns)
    columns = _fitting(every, view.comparison.outcomes, width)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("policy", overflow="fold")  # the one that gives way to long names
    for column in columns:
        table.add_column(view.words(column.head), justify="right", no_wrap=True)
    groups = [group for group in view.by_kind() if group]
    for group in groups:
        _add_rows(table, view, columns, group)
        if group is not groups[-1]:
            table.add_row("")
    absent = left_out("intervals" if c.is_interval else view.words(c.head) for c in every if c not in columns)
    is_marked = any(c.lacks_labels(o) for c in columns for o in view.comparison.outcomes)
    legends = (view.words(c.place.legend) for c in columns if c.place.legend and not c.is_interval)
    legend = (
        "* best of the policies, as printed; baselines above, bounds below",
        MARKED if is_marked else "",
        "; ".join(dict.fromkeys(legends)),
        *(f"{', '.join(heads)} left out: {view.words(why)}" for why, heads in blank.items()),
        absent,
    )
    return TableWithLegend(table, tuple(filter(None, legend)))


def _without_blank(view: BenchView, columns: Sequence[_Column]) -> tuple[list[_Column], dict[str, list[str]]]:
    """The columns that show a value of somebody; of the others the headings, by why they are left out."""
    every = {o.name: o.measures for o in view.comparison.outcomes}
    policies = {o.name: o.measures for o in view.by_kind().policies} or every
    blank = [column for column in columns if why_blank(column.spec, every)]
    heads: dict[str, list[str]] = {}
    for column in blank:
        own = heads.setdefault(why_blank(column.spec, policies), [])
        own += [] if column.is_interval else [view.words(column.head)]
    outcomes = view.comparison.outcomes
    for column in columns:
        if column in blank or any(column.text(o, star=False) for o in outcomes):
            continue
        blank.append(column)  # of intervals
        measures = (o.measures[column.spec.key] for o in outcomes)
        reasons = (measure.reason for measure in measures if measure.value is not None)
        why = next(filter(None, reasons), "none has a width on these rows")
        heads.setdefault(why, []).append(view.words(column.head))
    return [column for column in columns if column not in blank], heads


def _add_rows(
    table: Table, view: BenchView, columns: Sequence[_Column], group: Sequence[PolicyOutcome]
) -> None:
    best = {column.head: _best(view, column) for column in columns}
    for o in group:
        style = "bold" if o.name == view.comparison.headline else "dim" if o.group == "bound" else None
        cells = [column.text(o, star=o.name in best[column.head]) for column in columns]
        table.add_row(o.name, *cells, style=style)


def _best(view: BenchView, column: _Column) -> frozenset[str]:
    """The policies that are best in a column as it is printed, among those that could be used."""
    if column.is_interval or column.spec.better is None:
        return frozenset()
    sign = 1 if column.spec.better == "higher" else -1
    values = {
        o.name: (sign * value, column.text(o, star=False))
        for o in view.by_kind().policies
        if (value := o.measures[column.spec.key].value) is not None
        if not column.lacks_labels(o) and not falls_short(column.spec, o.measures)
    }
    if len(values) < 2:
        return frozenset()
    _, best = max(values.values())
    return frozenset(name for name, (_, text) in values.items() if text == best)
