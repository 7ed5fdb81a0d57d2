"""Verdicts in words, for `calibrate` and `bench`."""

from __future__ import annotations

import math

from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.verdict import OTHER_SHARES, Alternative, Edge, RoutingVerdict


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


def more_rows_words(more_rows: int | None) -> str:
    """Write the order of magnitude of the rows that may tell more; "" for none.

    Example:
        >>> more_rows_words(100), more_rows_words(100_000)
        ('; some hundreds of questions more may', '; 100,000 questions more, or several times that, may')
    """
    if not more_rows:
        return ""
    words = {10: "some tens", 100: "some hundreds", 1000: "some thousands"}
    if more_rows in words:
        return f"; {words[more_rows]} of questions more may"
    return f"; {10 ** round(math.log10(more_rows)):,} questions more, or several times that, may"


def share_words(share: float) -> str:
    """Write a share in per cent, without idle digits.

    Example:
        >>> share_words(0.98), share_words(0.985)
        ('98 %', '98.5 %')
    """
    return f"{100 * share:.4g} %"


def single_tier_words(tier: str, objective: Objective, times: str, other: Alternative | None) -> str:
    """Write what the whole curve says where the objective takes a single tier; `times`: how often it did."""
    if objective.kind != "keep":
        return f"Use {tier}: no policy serves the objective better (a single tier was chosen {times})."
    head = (
        f"Use {tier}: for {share_words(objective.value)} of the best tier's quality with probability "
        f"{share_words(objective.sure)}, nothing cheaper was found (a single tier was chosen {times})"
    )
    if other is None:
        shares = ", ".join(f"{share:g}" for share in OTHER_SHARES if share < objective.value)
        return f"{head}" + (f", nor does routing surely pay with --keep {shares}." if shares else ".")
    saving = f"{100 * other.saving:.0f} % of the best tier's cost"
    return f"{head}. With --keep {other.keep:g} routing saves {saving}, {edge_words(other.edge)}."
