"""Verdicts in words, for `calibrate` and `bench`."""

from __future__ import annotations

import math
from typing import Any

from automix_cli.data.groups import Grouping
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.verdict import OTHER_SHARES, Alternative, Edge, RoutingVerdict


def measure_of(table: TraceTable) -> str:
    """What a score is called: beside a baseline it is no accuracy."""
    relative = table.relative
    if relative is None:
        return "quality"
    return f"{'quality beside' if relative.has_label.any() else 'agreement with'} {relative.baseline}"


def edge_words(edge: Edge | RoutingVerdict) -> str:
    """Write d with its interval.

    Example:
        >>> edge_words(Edge(0.025, 0.002, 0.045))
        '+2.5 points over the best random mix of tiers at its cost (95 %: +0.2 to +4.5)'
    """
    value = edge.edge if isinstance(edge, RoutingVerdict) else edge.value
    return f"{_points(value)} points over the best random mix of tiers at its cost ({bounds_words(edge)})"


def bounds_words(edge: Edge | RoutingVerdict) -> str:
    """Write the interval of d.

    Example:
        >>> bounds_words(Edge(0.0, -0.001, 0.02))
        '95 %: -0.1 to +2.0'
    """
    return f"95 %: {_points(edge.low)} to {_points(edge.high)}"


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return "+0.0" if text == "-0.0" else text


def more_rows_words(more_rows: int | None, noun: str = "question") -> str:
    """Write the order of magnitude of the rows that may tell more; "" for none.

    Example:
        >>> more_rows_words(100), more_rows_words(100_000)
        ('; some hundreds of questions more may', '; 100,000 questions more, or several times that, may')
    """
    if not more_rows:
        return ""
    words = {10: "some tens", 100: "some hundreds", 1000: "some thousands"}
    if more_rows in words:
        return f"; {words[more_rows]} of {noun}s more may"
    return f"; {10 ** round(math.log10(more_rows)):,} {noun}s more, or several times that, may"


def share_words(share: float) -> str:
    """Write a share in per cent, without idle digits.

    Example:
        >>> share_words(0.98), share_words(0.985)
        ('98 %', '98.5 %')
    """
    return f"{100 * share:.4g} %"


def chance_words(chance: float) -> str:
    """Write a chance that draws gave, in whole per cent; none of them makes a thing certain.

    Example:
        >>> chance_words(0.744), chance_words(0.999), chance_words(0.0)
        ('74 %', 'over 99 %', 'under 1 %')
    """
    if chance > 0.99:
        return "over 99 %"
    return "under 1 %" if chance < 0.01 else f"{100 * chance:.0f} %"


FEWEST_TO_PROMISE = 100  # questions to learn from


def promises_nothing(grouping: Grouping) -> str:
    """Say that so few questions support no promise; "" where there are enough."""
    if len(grouping) >= FEWEST_TO_PROMISE:
        return ""
    return f"below {FEWEST_TO_PROMISE} {grouping.noun}s nothing is promised"


def single_tier_words(
    tier: str,
    objective: Objective,
    times: str,
    other: Alternative | None,
    few: str = "",
    measure: str = "quality",
) -> str:
    """Write what the whole curve says where the objective takes a single tier.

    Args:
        tier: the one that is taken.
        objective: what was asked for.
        times: how often a single tier was chosen.
        other: the lower share to keep at which routing pays.
        few: why no probability can be named; see `promises_nothing`.
        measure: what a score is called.
    """
    if objective.kind != "keep":
        return f"Use {tier}: no policy serves the objective better (a single tier was chosen {times})."
    chance = "" if few else f" with probability {share_words(objective.sure)}"
    head = (
        f"Use {tier}: for {share_words(objective.value)} of the best tier's {measure}{chance}, "
        f"nothing cheaper was found (a single tier was chosen {times}{few and f'; {few}'})"
    )
    if other is None:
        shares = ", ".join(f"{share:g}" for share in OTHER_SHARES if share < objective.value)
        return f"{head}" + (f", nor does routing surely pay with --keep {shares}." if shares else ".")
    saving = f"{100 * other.saving:.0f} % of the best tier's cost"
    return f"{head}. With --keep {other.keep:g} routing saves {saving}, {edge_words(other.edge)}."


# ---------------------------------------------------------------- as plain values


def verdict_dict(verdict: RoutingVerdict | None) -> dict[str, Any] | None:
    """A verdict as plain values, its edge and bounds in points.

    Example:
        >>> verdict_dict(RoutingVerdict("route", 0.025, 0.002, 0.045))
        {'kind': 'route', 'edge': 2.5, 'low': 0.2, 'high': 4.5, 'more_rows': None}
    """
    if verdict is None:
        return None
    return {**verdict._asdict(), **points_dict(edge=verdict.edge, low=verdict.low, high=verdict.high)}


def alternative_dict(other: Alternative | None) -> dict[str, Any] | None:
    """Another share to keep as plain values; its edge, with the bounds, is in points."""
    if other is None:
        return None
    return {
        "keep": other.keep,
        "saved": other.saving,
        "edge": [*points_dict(**other.edge._asdict()).values()],
    }


def points_dict(**shares: float) -> dict[str, float]:
    """Shares of 1 as points, without the dust of rounding."""
    return {key: round(100 * share, 10) for key, share in shares.items()}
