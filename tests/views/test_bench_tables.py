"""The tables of `bench`: which cells have a star."""

from __future__ import annotations

from io import StringIO

import pytest
from comparisons import compared, view_of
from known import draw_table, two_tiers
from msgspec.structs import replace
from rich.console import Console

from automix_cli.evaluation.curves import Measure
from automix_cli.views.bench_tables import bench_table
from automix_cli.views.bench_view import BenchView


@pytest.fixture(scope="module")
def view() -> BenchView:
    table = draw_table(two_tiers(), 120, 0)
    return view_of(compared(table), table)


def qualities(view: BenchView, values: dict[str, float]) -> dict[str, str]:
    """The printed qualities of policies that are given these."""
    outcomes = tuple(
        replace(o, measures={**o.measures, "quality": Measure(values[o.name])}) if o.name in values else o
        for o in view.comparison.outcomes
    )
    own = replace(view, comparison=replace(view.comparison, outcomes=outcomes))
    screen = StringIO()
    Console(file=screen, width=120).print(bench_table(own, "points").table)
    rows = (line.split() for line in screen.getvalue().splitlines())
    return {row[0]: row[1] for row in rows if row and row[0] in values}


def test_all_that_tie_as_printed_have_a_star(view: BenchView) -> None:
    found = qualities(view, {"threshold": 0.92541, "pomdp": 0.92539, "double-threshold": 0.9244})
    assert found == {"threshold": "0.925*", "pomdp": "0.925*", "double-threshold": "0.924"}


def test_a_single_best_has_the_only_star_and_baselines_have_none(view: BenchView) -> None:
    found = qualities(view, {"threshold": 0.92, "pomdp": 0.93, "always:medium": 0.93})
    assert found == {"threshold": "0.920", "pomdp": "0.930*", "always:medium": "0.930"}
