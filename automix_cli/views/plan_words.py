"""Lines of a plan in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from automix_cli.pomdp.plan import PlanRow


def comparison_words(rows: Collection[PlanRow], of: Collection[PlanRow], names: Sequence[str]) -> str:
    """Which earlier answers the one in hand is equal to; "" where that makes no difference.

    Args:
        rows: the lines at which one action is taken.
        of: all lines of the same tier.
        names: of the tiers.

    Example:
        >>> from automix_cli.pomdp.observations import Counts
        >>> from automix_cli.pomdp.problem import Action
        >>> report = PlanRow(1, Counts(), Action("report", 1), 0.5, 0.9, joins=0)
        >>> climb = PlanRow(1, Counts(), Action("escalate", 2), 0.5, 0.4, joins=1)
        >>> [comparison_words([line], [report, climb], ("small", "middle")) for line in (report, climb)]
        ['where it agrees with small', 'where it differs']
    """
    own = {row.joins for row in rows}
    if own == {row.joins for row in of}:
        return ""
    tier = next(iter(rows)).tier
    equal = " or ".join(names[j] for j in sorted(j for j in own if j is not None and j != tier))
    words = [f"agrees with {equal}" if equal else "", "differs" if tier in own else ""]
    return f"where it {' or '.join(filter(None, words))}"
