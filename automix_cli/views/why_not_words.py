"""Why routing does not pay: what a cheaper tier and its votes cost, how often it does, what votes tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.health import signal_of
from automix_cli.evaluation.payer import Offer
from automix_cli.evaluation.reliability import auroc
from automix_cli.texts import count_of

_TELLS = 0.8  # AUROC from which on a signal tells much, though less than was asked for


class Obstacle(NamedTuple):
    """What stands between a cheaper tier and saving money with it, on the rows of a table.

    Attributes:
        tier: the cheaper one; `other` the one that takes every question.
        votes: the most that are recorded on one of its answers.
        whole: how many times the other's answer its answer and all votes cost.
        least: the same with one vote; of a signal that comes with the answer, with that.
        enough: on what share of the rows its answer scores as high as the other's.
        signal: what shows whether an answer is right.
        auroc: how well that tells answers that are right from others; None where it cannot be said.
    """

    tier: str
    other: str
    votes: int
    whole: float
    least: float
    enough: float
    signal: str
    auroc: float | None


def obstacle(table: TraceTable, tier: str, other: str) -> Obstacle | None:
    """Measure what stands in the way; None where a cost is unknown, or the other tier costs nothing."""
    j, k = table.tiers.index(tier), table.tiers.index(other)
    base = float(table.cost[:, k].mean())
    rounds = np.nan_to_num(np.array([table.round_cost[:, j], table.vote_cost[:, j]]))
    votes = int(table.votes[:, j].sum(axis=1).max()) if table.signals[j] == "votes" else 0
    once, each = (float(own.mean()) for own in rounds)
    answer = float(table.cost[:, j].mean())
    if not base > 0 or not np.isfinite(answer):
        return None
    signal = signal_of(table, j)
    return Obstacle(
        tier=tier,
        other=other,
        votes=votes,
        whole=(answer + (once + votes * each if votes else 0.0)) / base,
        least=(answer + (once + each if votes else 0.0)) / base,
        enough=float((table.score[:, j] >= table.score[:, k]).mean()),
        signal=table.signals[j],
        auroc=auroc(signal, table.score[:, j] >= 0.5).value if np.isfinite(signal).any() else None,
    )


def why_not_words(own: Obstacle) -> str:
    """Write the reason in figures: the costs, the answers, or the votes, whichever it is.

    Example:
        >>> why_not_words(Obstacle("small", "large", 8, 1.55, 1.1, 0.7, "votes", 0.9))
        'Why: small and 8 votes cost 1.55 × what large costs, with one vote 1.1 ×: nothing is left to save.'
    """
    subject = f"{own.tier} and {count_of(own.votes, 'vote')} cost" if own.votes else f"{own.tier} costs"
    fewer = f", with one vote {own.least:.3g} ×" if own.votes > 1 else ""
    cost = f"{subject} {own.whole:.3g} × what {own.other} costs{fewer}"
    if own.least >= 1:
        return f"Why: {cost}: nothing is left to save."
    share = f"{100 * own.enough:.0f} %"
    if own.enough <= own.least:
        perfect = "even a perfect verifier would save nothing"
        return f"Why: {cost}, and does as well as {own.other} on {share} of these rows only: {perfect}."
    does = f"it does as well as {own.other} on {share} of these rows"
    return f"Why: {cost}; {does}, but {_signal_words(own)}."


def _signal_words(own: Obstacle) -> str:
    """What the signal tells."""
    if own.auroc is None:
        return "nothing that is recorded tells which ones"
    name = "votes tell" if own.signal == "votes" else "confidence tells"
    little = (
        "too little which ones" if own.auroc < _TELLS else "which ones not surely enough for what was asked"
    )
    return f"its {name} {little} (AUROC {own.auroc:.2f}, where 0.5 is chance and 1 is perfect)"


def why_not_lines(offer: Offer, table: TraceTable) -> list[str]:
    """Say why the baseline takes every question; nothing where routing does, or no tier is cheaper.

    Of several cheaper tiers the one is looked at with which most could be saved.
    """
    if not offer.is_baseline:
        return []
    names = table.tiers[: table.tiers.index(offer.baseline.tier)]
    every = [own for name in names if (own := obstacle(table, name, offer.baseline.tier)) is not None]
    return [why_not_words(max(every, key=lambda own: own.enough - own.least))] if every else []
