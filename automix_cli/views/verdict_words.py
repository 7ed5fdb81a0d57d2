"""Verdicts in words, for `calibrate` and `bench`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from automix_cli.data.groups import Grouping
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.verdict import OTHER_SHARES, Alternative, Edge, RoutingVerdict
from automix_cli.fitting.query_router_kinds import WrittenKind
from automix_cli.texts import count_of, per_cent
from automix_cli.views.loss_words import loss_bounds_words, loss_words
from automix_cli.views.payer_lines import signed_points


def measure_of(table: TraceTable) -> str:
    """What a score is called: beside a baseline it is no accuracy."""
    relative = table.relative
    if relative is None:
        return "quality"
    return f"{'quality beside' if relative.has_label.any() else 'agreement with'} {relative.baseline}"


def edge_words(edge: Edge | RoutingVerdict, measure: str = "quality") -> str:
    """Write d with its interval.

    Args:
        edge: d.
        measure: what a score is called; points of quality need no word.

    Example:
        >>> edge_words(Edge(0.025, 0.002, 0.045))
        '+2.5 points over the best random mix of tiers at its cost (95 %: +0.2 to +4.5)'
    """
    value = edge.edge if isinstance(edge, RoutingVerdict) else edge.value
    points = "points" if measure == "quality" else f"points of {measure}"
    return f"{_points(value)} {points} over the best random mix of tiers at its cost ({bounds_words(edge)})"


def bounds_words(edge: Edge | RoutingVerdict) -> str:
    """Write the interval of d.

    Example:
        >>> bounds_words(Edge(0.0, -0.001, 0.02))
        '95 %: -0.1 to +2.0'
    """
    return f"95 %: {_points(edge.low)} to {_points(edge.high)}"


def _points(share: float) -> str:
    return signed_points(100 * share)


def more_rows_words(more_rows: int | None, noun: str = "question") -> str:
    """Write the order of magnitude of the rows that may tell more; "" for none.

    Example:
        >>> more_rows_words(100)
        '; some hundreds of questions more may tell'
        >>> more_rows_words(100_000)
        '; 100,000 questions more, or several times that, may tell'
    """
    if not more_rows:
        return ""
    words = {10: "some tens", 100: "some hundreds", 1000: "some thousands"}
    if more_rows in words:
        return f"; {words[more_rows]} of {noun}s more may tell"
    return f"; {10 ** round(math.log10(more_rows)):,} {noun}s more, or several times that, may tell"


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
    baseline: str | None = None,
    measure: str = "quality",
    kind: WrittenKind = "pomdp",
    policy: str | None = None,
    also: str = "",
) -> str:
    """Write what the whole curve says where the objective takes a single tier.

    Args:
        tier: the one that is taken.
        objective: what was asked for.
        times: how often a single tier was chosen.
        other: the lower share to keep at which routing pays.
        few: why no probability can be named; see `promises_nothing`.
        baseline: the tier that answers are compared with, where not every row has a label.
        measure: what a score is called.
        kind: of the router that was looked for.
        policy: of `bench` that was looked at in its place; None for the router.
        also: a sentence on what else is in the table, see `cheaper_row_words`.
    """
    hint = f"{also}{other_kind_words(kind)}"
    if objective.kind != "keep":
        nothing = no_policy_words(kind, policy)
        return f"Use {tier}: {nothing} serves the objective better (a single tier was chosen {times}).{hint}"
    chance = "" if few else f" with probability {share_words(objective.sure)}"
    because = f"(a single tier was chosen {times}{few and f'; {few}'})"
    nothing = no_cheaper_words(kind, policy)
    if baseline is None:
        aim = f"for {share_words(objective.value)} of the best tier's quality{chance}, {nothing} was found"
    else:
        aim = f"{nothing} loses {lost_points_words(objective.value, baseline)}{chance}"
    head = f"Use {tier}: {aim} {because}"
    if other is None:
        shares = ", ".join(f"{share:g}" for share in OTHER_SHARES if share < objective.value)
        nor = f", nor does routing surely pay with --keep {shares}" if shares else ""
        return f"{head}{nor}.{hint}"
    saving = f"{per_cent(other.saving)} of {'the best tier' if baseline is None else baseline}'s cost"
    edge = edge_words(other.edge, measure)
    return f"{head}. With --keep {other.keep:g} routing saves {saving}, {edge}.{hint}"


def no_policy_words(kind: WrittenKind, policy: str | None = None) -> str:
    """Write that nothing serves better, of what was looked at."""
    return f"no {kind_words(kind)}" if policy is None else f"no setting of {policy}"


def no_cheaper_words(kind: WrittenKind, policy: str | None = None) -> str:
    """Write what was not found: only routers of a kind, or settings of a policy, were looked at.

    Example:
        >>> no_cheaper_words("pomdp"), no_cheaper_words("knn"), no_cheaper_words("pomdp", "threshold")
        ('no cheaper pomdp plan', 'no cheaper knn router', 'no cheaper setting of threshold')
    """
    return f"no cheaper {kind_words(kind)}" if policy is None else f"no cheaper setting of {policy}"


def kind_words(kind: WrittenKind) -> str:
    """What a router of a kind is called."""
    return "pomdp plan" if kind == "pomdp" else f"{kind} router"


_SUM_ERROR = 1e-9  # share by which sums of the same costs may differ


def cheaper_row_words(rows: Mapping[str, tuple[float, float | None]], tier: str, objective: Objective) -> str:
    """Name the policies of a table that cost less than a tier and keep what was asked for; "" for none.

    Args:
        rows: per policy, and per tier as `always:TIER`, mean cost and quality on held-out rows.
        tier: the one that is taken.
        objective: what was asked for.

    Example:
        >>> rows = {"always:large": (0.02, 0.9), "threshold": (0.01, 0.9), "majority": (0.01, 0.5)}
        >>> cheaper_row_words(rows, "large", Objective("keep", 0.98))
        ' On these rows threshold is cheaper and keeps it; picked by looking, so confirm on fresh rows.'
    """
    own = rows.get(f"always:{tier}")
    best = max(
        (q for name, (_, q) in rows.items() if name.startswith("always:") and q is not None), default=None
    )
    if own is None or best is None or objective.kind != "keep":
        return ""
    names = [
        name
        for name, (cost, quality) in rows.items()
        if not name.startswith("always:") and cost < (1 - _SUM_ERROR) * own[0]
        if quality is not None and quality >= objective.value * best
    ]
    if not names:
        return ""
    verbs = "is cheaper and keeps" if len(names) == 1 else "are cheaper and keep"
    return f" On these rows {' and '.join(names)} {verbs} it; picked by looking, so confirm on fresh rows."


def other_kind_words(kind: WrittenKind) -> str:
    """Name the kind that looks at answers, too; "" where it was looked at."""
    return "" if kind == "pomdp" else " --kind pomdp, the default, looks at answers as well."


# ---------------------------------------------------------------- what is lost against a baseline


def lost_points_words(keep: float, baseline: str) -> str:
    """Write what keeping a share of a baseline stands for.

    Example:
        >>> lost_points_words(0.98, "large")
        'at most 2 points against large'
    """
    return f"at most {100 * (1 - keep):.4g} points against {baseline}"


def most_lost_words(loss: LossAgainst, noun: str) -> str:
    """Write the most that can be lost, and why, without a full stop."""
    share = f"95 %; {per_cent(loss.differing, 1)} of the {noun}s are reported and differ"
    most = f"At most {100 * loss.most:.1f}" if loss.most >= 5e-4 or not loss.most else "Under 0.1"
    return f"{most} points below {loss.baseline} on new {noun}s ({share})"


_NOTABLE_UNLIKE = 0.01  # of the bound, from which on it is said


def unlike_words(loss: LossAgainst) -> str:
    """Write what equal answers that score otherwise add to that; "" for little."""
    if loss.unlike <= _NOTABLE_UNLIKE:
        return ""
    points = f"{100 * loss.unlike:.1f} points"
    return f" {points} of that are for answers that are equal in form, and that labels score otherwise."


def labels_words(loss: LossAgainst, *, stands_above: bool = False) -> str:
    """Write what labels tell of a loss; "" without any, and where every answer is the baseline's.

    Args:
        loss: against the baseline.
        stands_above: whether its estimate was told with its interval, so that it gets no second one.
    """
    every, differing = loss.labels
    if not every or not loss.differing:
        return ""
    counts = f"{count_of(every, 'label')}, {differing:,} where answers differ"
    if loss.by_labels is None:
        verb = "has" if loss.n_skipped == 1 else "have"
        why = (
            f"{count_of(loss.n_skipped, 'row')} to label {verb} none: no estimate"
            if loss.n_skipped
            else "too few for an estimate"
        )
        return f" By labels ({counts}): {why}."
    if stands_above:
        return f" The loss above is by labels ({counts}{skipped_words(loss)})."
    value, low, high = loss.by_labels
    bounds = f"95 %: {loss_bounds_words(low, high, value)}{skipped_words(loss)}"
    return f" By labels ({counts}) it {loss_words(value)} ({bounds})."


def label_counts_words(loss: LossAgainst | None, n_rows: int, *, is_withheld: bool) -> str:
    """Say on how many labels qualities beside a baseline stand; "" where every row has one, or none.

    Args:
        loss: against the baseline; None where every row has a label.
        n_rows: of the table.
        is_withheld: whether some quality is not shown.
    """
    if loss is None or not loss.labels[0]:
        return ""
    every, differing = loss.labels
    counts = f"{every:,} of {count_of(n_rows, 'row')} have a label, {differing:,} where answers differ"
    empty = "; empty: too few labels to say" if is_withheld else ""
    return f"quality: {counts}; other rows count as these show{empty}"


def skipped_words(loss: LossAgainst) -> str:
    """Say how an interval counts rows to label that have no label; "" where each has one."""
    return f", {count_of(loss.n_skipped, 'row')} without its label lost and won" if loss.n_skipped else ""


def loss_dict(loss: LossAgainst | None) -> dict[str, Any] | None:
    """The loss as plain values, in points."""
    if loss is None:
        return None
    by_labels = None if loss.by_labels is None else [100 * share for share in loss.by_labels]
    return {
        "baseline": loss.baseline,
        "differing": loss.differing,
        "most_points": 100 * loss.most,
        "most_points_of_equal_answers": 100 * loss.unlike,
        "labels": loss.labels[0],
        "labels_where_answers_differ": loss.labels[1],
        "points_by_labels": by_labels,
        "skipped": loss.n_skipped,
    }


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
