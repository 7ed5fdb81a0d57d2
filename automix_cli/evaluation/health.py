"""Whether the verifier can be believed, and whether it still behaves as it did.

`examine` looks at each tier's signal on labelled rows: does it tell right answers from
wrong ones, is it calibrated, can it be read, and does the plan turn it upside down?
`drifted` compares shares seen in a later batch with those seen at fitting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.metrics import Measure, ReliabilityRow, auroc, reliability
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.observations import Counts
from automix_cli.pomdp.plan import PlanRow

DRIFT_P = 0.001
DRIFT_SHARE = 0.05
_RARE = 1e-3  # of a plan's chances: what hardly happens raises no alarm


class TierHealth(NamedTuple):
    """One tier's signal on labelled rows.

    Attributes:
        tier: its name.
        signal: votes, logprob, verdict or consistency.
        rows: on how many it showed something.
        auroc: chance that a right answer has the higher signal; 0.5 is useless.
        auroc_next: among wrong answers, the same for the next tier's rightness: whether the
            signal knows what escalating brings. None for the last tier.
        unparsed: share of votes that could not be read; of confidences that are missing.
        table: reliability, by the signal's own value.
    """

    tier: str
    signal: str
    rows: int
    auroc: Measure
    auroc_next: Measure | None
    unparsed: float
    table: tuple[ReliabilityRow, ...]


def signal_of(table: TraceTable, j: int) -> Floats:
    """A tier's signal as one number per row: the share of parsed votes, or the confidence; NaN without."""
    if table.signals[j] != "votes":
        return table.confidence[:, j]
    correct, parsed = table.votes[:, j, 0], table.votes[:, j, :2].sum(axis=1)
    share: Floats = np.divide(correct, parsed, out=np.full(len(table), np.nan), where=parsed > 0)
    return share


def examine(table: TraceTable, pass_score: float = 0.5) -> tuple[TierHealth, ...]:
    """The health of every tier's signal; tiers that show nothing on any row are left out."""
    right = table.score >= pass_score
    found = [_tier(table, j, right) for j in range(len(table.tiers))]
    return tuple(tier for tier in found if tier.rows)


def _tier(table: TraceTable, j: int, right: NDArray[np.bool_]) -> TierHealth:
    signal, wrong = signal_of(table, j), ~right[:, j]
    later = auroc(signal[wrong], right[wrong, j + 1]) if j + 1 < len(table.tiers) else None
    return TierHealth(
        tier=table.tiers[j],
        signal=table.signals[j],
        rows=int((~np.isnan(signal)).sum()),
        auroc=auroc(signal, right[:, j]),
        auroc_next=later,
        unparsed=_unparsed(table, j),
        table=tuple(reliability(signal, right[:, j])),
    )


def _unparsed(table: TraceTable, j: int) -> float:
    if table.signals[j] != "votes":
        return float(np.isnan(table.confidence[:, j]).mean()) if len(table) else 0.0
    votes = table.votes[:, j].sum(axis=0)
    return float(votes[2] / votes.sum()) if votes.sum() else 0.0


def alarms(rows: list[PlanRow], tiers: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence for each tier whose most confident answers go on while less confident ones are kept."""
    found = []
    for j, name in enumerate(tiers):
        settled = [r for r in rows if r.tier == j and r.counts.parsed and r.probability >= _RARE]
        going = [_share(r.counts) for r in settled if r.action.kind == "escalate"]
        staying = [_share(r.counts) for r in settled if r.action.kind == "report" and r.action.tier == j]
        if going and staying and max(going) > max(staying):
            found.append(
                f"{name}: the plan escalates its most confident answers and reports less confident ones"
            )
    return tuple(found)


def _share(counts: Counts) -> float:
    return counts.value / counts.parsed


class Drift(NamedTuple):
    """A share that moved: `name` is `escalated`, or the tier whose first votes said CORRECT."""

    name: str
    seen: float
    fitted: float
    p: float

    def text(self) -> str:
        """For people.

        Example:
            >>> Drift("escalated", 0.61, 0.31, 1e-9).text()
            'escalated 61 %, 31 % when fitted: recalibrate'
        """
        what = "escalated" if self.name == "escalated" else f"{self.name}: first vote correct"
        return f"{what} {self.seen:.0%}, {self.fitted:.0%} when fitted: recalibrate".replace("%", " %")


def drifted(fitted: Mapping[str, tuple[int, int]], seen: Mapping[str, tuple[int, int]]) -> tuple[Drift, ...]:
    """Shares that moved by over 5 points and beyond chance (p < 0.001, two-sided, pooled).

    Args:
        fitted: (hits, cases) by name, of the held-out rows at fitting.
        seen: the same of a batch.

    Example:
        >>> drifted({"escalated": (310, 1000)}, {"escalated": (61, 100)})[0].name
        'escalated'
        >>> drifted({"escalated": (310, 1000)}, {"escalated": (6, 10)})
        ()
    """
    moved = [_compare(name, fitted[name], seen[name]) for name in fitted if name in seen]
    return tuple(d for d in moved if d.p < DRIFT_P and abs(d.seen - d.fitted) > DRIFT_SHARE)


def _compare(name: str, old: tuple[int, int], new: tuple[int, int]) -> Drift:
    if not (old[1] and new[1]):
        return Drift(name, 0.0, 0.0, 1.0)
    pooled = (old[0] + new[0]) / (old[1] + new[1])
    error = math.sqrt(pooled * (1 - pooled) * (1 / old[1] + 1 / new[1]))
    shares = new[0] / new[1], old[0] / old[1]
    p = math.erfc(abs(shares[0] - shares[1]) / error / math.sqrt(2)) if error else 1.0
    return Drift(name, *shares, p)
