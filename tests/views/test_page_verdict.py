"""The figures at the top of the page are those of the comparison, and none stand there that say nothing."""

from __future__ import annotations

import pytest
from comparisons import compared, view_of
from known import draw_table, two_tiers
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import Bench
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.verdict import Alternative, Edge
from automix_cli.views.page_verdict import Tile, tiles, tiles_html


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 300, 0)


@pytest.fixture(scope="module")
def routed(table: TraceTable) -> Bench:
    return compared(table, "pomdp", Objective("budget", 12.0))


def with_verdict(result: Bench, kind: str, single: str) -> Bench:
    """The same comparison, in which routing is refused for a single tier."""
    outcomes = [
        replace(o, verdict=o.verdict._replace(kind=kind)) if o.name == "pomdp" else o for o in result.outcomes
    ]
    return replace(result, outcomes=tuple(outcomes), single=single)


def test_a_router_has_saving_quality_and_edge(routed: Bench, table: TraceTable) -> None:
    ours, large = (routed.outcome(name).measures for name in ("pomdp", "always:medium"))
    saving, gain, edge = tiles(view_of(routed, table))
    assert saving.figure == f"{100 * (1 - ours['cost'].value / large['cost'].value):.0f} % cheaper"
    assert saving.words.startswith("than medium for every question: $")
    points = 100 * (ours["quality"].value - large["quality"].value)
    assert gain.figure == f"{points:+.1f} points"
    assert gain.words.startswith("of quality beside medium (95 %: ")
    assert edge.figure == f"{ours['edge'].value:+.1f} points"
    assert edge.words.startswith("edge: ")


def test_where_the_baseline_answers_there_is_no_edge_of_nothing(routed: Bench, table: TraceTable) -> None:
    refused = replace(with_verdict(routed, "single tier", "medium"), alternative=None)
    [alone] = tiles(view_of(refused, table))
    assert alone.figure == "no routing"
    assert alone.words.startswith("medium alone: $")


def test_a_lower_share_at_which_routing_pays_is_shown_instead(routed: Bench, table: TraceTable) -> None:
    other = Alternative(0.9, 0.42, Edge(0.1, 0.05, 0.15))
    refused = replace(with_verdict(routed, "single tier", "medium"), alternative=other)
    _, tile = tiles(view_of(refused, table))
    assert tile == Tile(
        "42 % cheaper",
        "if 90 % of the best tier's quality is enough; edge +10.0 points (95 %: +5.0 to +15.0)",
    )


def test_a_cheap_tier_alone_has_no_edge_of_a_router(routed: Bench, table: TraceTable) -> None:
    saving, gain = tiles(view_of(with_verdict(routed, "do not route", "small"), table))
    assert saving.figure.endswith("% cheaper")
    assert gain.words.startswith("of quality beside medium")


def test_one_tier_has_no_figures_and_no_markup(routed: Bench, table: TraceTable) -> None:
    one = table.pick(["small"])
    assert tiles_html(view_of(compared(one, "pomdp"), one)) == ""
