"""Whether the verifier can be believed, and whether every tier answers.

`examine` looks at each tier's signal on labelled rows: does it tell right answers from
wrong ones, is it calibrated, can it be read? `mute_tiers` counts the rows on which a tier gave no
answer. `alarms` looks at the plan: does it turn the signal upside down?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.reliability import ReliabilityRow, auroc, reliability
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.observations import Counts
from automix_cli.pomdp.plan import PlanRow
from automix_cli.records import VoteCount
from automix_cli.texts import per_cent

_RARE_HISTORY = 1e-3  # of a history: what hardly happens raises no alarm


class TierHealth(NamedTuple):
    """One tier's signal on labelled rows; rows on which it gave no answer are not among them.

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


class MuteTier(NamedTuple):
    """On how many of the rows a tier gave no answer (context too long, filtered, no text)."""

    tier: str
    failed: int
    rows: int

    @property
    def text(self) -> str:
        """The count in words.

        Example:
            >>> MuteTier("small", 15, 60).text
            'small: mute on 15 of 60 rows (score 0, at what that cost)'
        """
        return f"{self.tier}: mute on {self.failed:,} of {self.rows:,} rows (score 0, at what that cost)"


def mute_tiers(table: TraceTable) -> tuple[MuteTier, ...]:
    """Count the rows on which each tier gave no answer; tiers that always gave one are left out."""
    counts = table.failed.sum(axis=0)
    return tuple(
        MuteTier(name, int(count), len(table))
        for name, count in zip(table.tiers, counts, strict=True)
        if count
    )


def uncompared_note(table: TraceTable) -> str:
    """Say whose answers are too few to compare them with those of other tiers; "" where none are there."""
    if table.compares_answers or len(table.tiers) == 1 or not (table.answer_classes >= 0).any():
        return ""
    answered = (~table.failed).sum(axis=0).tolist()
    counts = ((table.answer_classes >= 0) & ~table.failed).sum(axis=0).tolist()
    least = min(range(len(table.tiers)), key=lambda j: counts[j] / max(1, answered[j]))
    words = f"{table.tiers[least]}'s are recorded on {counts[least]:,} of {answered[least]:,} rows"
    return f"nothing looks at whether answers of tiers agree: {words}, and nine in ten are needed"


class PairAgreement(NamedTuple):
    """How often two tiers that both answered gave equal answers, and how often the first was right then.

    `right` and `right_apart` are its shares right where the answers are equal and where they differ;
    None where there are no such rows, or not every row has a label.
    """

    first: str
    second: str
    rows: int
    equal: int
    right: float | None
    right_apart: float | None

    @property
    def text(self) -> str:
        """The counts in words.

        Example:
            >>> PairAgreement("small", "large", 200, 150, 0.96, 0.4).text
            'small and large agree on 150 of 200 rows; small is right in 96 % of them, in 40 % of the others'
        """
        words = f"{self.first} and {self.second} agree on {self.equal:,} of {self.rows:,} rows"
        shares = (
            "" if self.right is None else f"{self.first} is right in {per_cent(self.right)} of them",
            "" if self.right_apart is None else f"in {per_cent(self.right_apart)} of the others",
        )
        return "; ".join(filter(None, (words, ", ".join(filter(None, shares)))))


def agreements_of(table: TraceTable, pass_score: float = 0.5) -> tuple[PairAgreement, ...]:
    """Compare the answers of neighbouring tiers."""
    first_equal, pairs = table.first_equal, []
    for j in range(1, len(table.tiers)):
        both = ~table.failed[:, j - 1 : j + 1].any(axis=1)
        right = table.score[both, j - 1] >= pass_score
        equal = first_equal[both, j - 1] == first_equal[both, j]
        shares = [float(right[own].mean()) if own.any() else None for own in (equal, ~equal)]
        if table.relative is not None:
            shares = [None, None]
        names = table.tiers[j - 1], table.tiers[j]
        pairs.append(PairAgreement(*names, len(equal), int(equal.sum()), shares[0], shares[1]))
    return tuple(pairs)


def signal_of(table: TraceTable, j: int) -> Floats:
    """Return a tier's signal, a number per row: the share of parsed votes or the confidence; else NaN."""
    if table.signals[j] != "votes":
        return table.confidence[:, j]
    correct, parsed = table.votes[:, j, 0], table.votes[:, j, :2].sum(axis=1)
    share: Floats = np.divide(correct, parsed, out=np.full(len(table), np.nan), where=parsed > 0)
    return share


def examine(table: TraceTable, pass_score: float = 0.5) -> tuple[TierHealth, ...]:
    """Examine every tier's signal; tiers that show nothing on any row are left out."""
    right = table.score >= pass_score
    health = [_tier_health(table, j, right) for j in range(len(table.tiers))]
    return tuple(tier for tier in health if tier.rows)


def _tier_health(table: TraceTable, j: int, right: NDArray[np.bool_]) -> TierHealth:
    signal, later = signal_of(table, j), None
    if j + 1 < len(table.tiers):
        wrong = ~right[:, j] & ~table.failed[:, j + 1]
        later = auroc(signal[wrong], right[wrong, j + 1])
    return TierHealth(
        tier=table.tiers[j],
        signal=table.signals[j],
        rows=int((~np.isnan(signal)).sum()),
        auroc=auroc(signal, right[:, j]),
        auroc_next=later,
        unparsed=_unparsed_share(table, j),
        table=tuple(reliability(signal, right[:, j])),
    )


def _unparsed_share(table: TraceTable, j: int) -> float:
    if table.signals[j] != "votes":
        confidence = table.confidence[~table.failed[:, j], j]
        return float(np.isnan(confidence).mean()) if len(confidence) else 0.0
    votes = VoteCount(*table.votes[:, j].sum(axis=0).tolist())
    return votes.unparsed / votes.n_votes if votes.n_votes else 0.0


def alarms(
    rows: list[PlanRow], tiers: tuple[str, ...], cuts: Callable[[int], tuple[float, ...]] = lambda tier: ()
) -> tuple[str, ...]:
    """Return a sentence for each tier whose most confident answers escalate while others are reported.

    Args:
        rows: of the plan.
        tiers: their names.
        cuts: the edges between the bins of a tier's confidence; the bin past the last is a missing one.
    """
    sentences = []
    for j, name in enumerate(tiers):
        own = [r for r in rows if r.tier == j and r.counts.parsed and r.probability >= _RARE_HISTORY]
        likely = [r for r in own if not cuts(j) or r.counts.value <= len(cuts(j))]
        escalating = [_share(r.counts) for r in likely if r.action.kind == "escalate"]
        reporting = [_share(r.counts) for r in likely if r.action.kind == "report" and r.action.tier == j]
        if escalating and reporting and max(escalating) > max(reporting):
            sentences.append(
                f"{name}: the plan escalates its most confident answers and reports less confident ones"
            )
    return tuple(sentences)


def _share(counts: Counts) -> float:
    return counts.value / counts.parsed
