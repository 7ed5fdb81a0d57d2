"""Lines of a plan in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from automix_cli.pomdp.observations import Counts
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


def overlap_words(rows: Collection[PlanRow], names: Sequence[str]) -> str:
    """What decides where the same evidence on a tier leads to several actions; "" where none does.

    Args:
        rows: all lines of a tier.
        names: of the tiers.

    Example:
        >>> from automix_cli.pomdp.observations import Counts
        >>> from automix_cli.pomdp.problem import Action
        >>> rows = [PlanRow(1, Counts(2, 2, 2), Action("report", j), 0.5, 0.9) for j in (0, 1)]
        >>> overlap_words(rows, ("small", "middle")), overlap_words(rows[:1], ("small", "middle"))
        (' (where two of these hold, what small showed decides)', '')
    """
    if len({(row.joins, row.counts) for row in rows}) == len({(r.joins, r.counts, r.action) for r in rows}):
        return ""
    earlier = " and ".join(names[: next(iter(rows)).tier])
    return f" (where two of these hold, what {earlier} showed decides)"


def ranges(values: Iterable[int]) -> list[str]:
    """Whole numbers as ranges.

    Example:
        >>> ranges({0, 1, 2, 4})
        ['0–2', '4']
    """
    spans: list[list[int]] = []
    for value in sorted(values):
        if spans and spans[-1][1] == value - 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return [str(low) if low == high else f"{low}–{high}" for low, high in spans]


def condition_words(values: Sequence[str], *, at_once: bool) -> str:
    """At which values an action is taken, and whether already at the answer, before any vote.

    Example:
        >>> condition_words(["1/1"], at_once=False), condition_words(["1/1", "2/2"], at_once=True)
        ('at 1/1', 'right away, and at 1/1, 2/2')
    """
    parts = ("right away" if at_once else "", f"at {', '.join(values)}" if values else "")
    return ", and ".join(filter(None, parts))


def bins_words(counts_of_rows: list[Counts], cuts: tuple[float, ...]) -> list[str]:
    """Bins of a confidence as ranges of it; one past the last is a confidence that is missing.

    Example:
        >>> bins_words([Counts(0, 1, 1)], (0.5,)), bins_words([Counts(0, 1, 1), Counts(1, 1, 1)], (0.5,))
        (['confidence 0–0.5'], ['any confidence'])
    """
    edges = ("0", *(f"{c:.3g}" for c in cuts), "1")
    bins = {c.value for c in counts_of_rows if c.parsed and c.value <= len(cuts)}
    bounds = [r.partition("–") for r in ranges(bins)]
    spans = [f"{edges[int(low)]}–{edges[int(high or low) + 1]}" for low, _, high in bounds]
    if spans:
        spans[0] = "any confidence" if len(bins) > len(cuts) else f"confidence {spans[0]}"
    missing = ["no confidence"] if any(c.value > len(cuts) for c in counts_of_rows) else []
    return spans + missing
