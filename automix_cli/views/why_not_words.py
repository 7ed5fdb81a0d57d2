"""Why routing does not pay: what a cheaper tier and its votes cost, how often it does, what votes tell."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.health import signal_of
from automix_cli.evaluation.payer import Offer
from automix_cli.evaluation.reliability import auroc
from automix_cli.texts import count_of, per_cent, share_text

_TELLS = 0.8  # AUROC from which on a signal tells much, though less than was asked for
_ALL = 0.995  # and from which on it tells all


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
        fewer: the most votes with which a perfect verifier would save anything; 0 where one is too many.
        fewer_cost: how many times the other's answer the tier's answer and these cost.
        fewer_auroc: how well so few, drawn from those that are recorded, tell right answers from others.
    """

    tier: str
    other: str
    votes: int
    whole: float
    least: float
    enough: float
    signal: str
    auroc: float | None
    fewer: int = 0
    fewer_cost: float = 0.0
    fewer_auroc: float | None = None


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
    signal, enough = signal_of(table, j), float((table.score[:, j] >= table.score[:, k]).mean())
    costs = [(answer + once + n * each) / base for n in range(1, votes + 1)]
    fewer = sum(cost < enough for cost in costs)
    return Obstacle(
        tier=tier,
        other=other,
        votes=votes,
        whole=(answer + (once + votes * each if votes else 0.0)) / base,
        least=(answer + (once + each if votes else 0.0)) / base,
        enough=enough,
        signal=table.signals[j],
        auroc=auroc(signal, table.score[:, j] >= 0.5).value if np.isfinite(signal).any() else None,
        fewer=fewer,
        fewer_cost=costs[fewer - 1] if fewer else 0.0,
        fewer_auroc=_auroc_of_fewer(table, j, fewer) if fewer else None,
    )


def _auroc_of_fewer(table: TraceTable, j: int, n: int) -> float | None:
    """AUROC of the share of CORRECT among `n` votes drawn from those that each row holds, exactly."""
    right = table.score[:, j] >= 0.5
    shares: tuple[dict[float, float], dict[float, float]] = ({}, {})  # of wrong answers, of right ones
    for (correct, incorrect), hit in zip(table.votes[:, j, :2].tolist(), right.tolist(), strict=True):
        size = min(n, correct + incorrect)
        ways = math.comb(correct + incorrect, size)
        for k in range(size + 1) if size else ():
            chance = math.comb(correct, k) * math.comb(incorrect, size - k) / ways
            shares[hit][k / size] = shares[hit].get(k / size, 0.0) + chance
    wrong, hits = shares
    pairs = sum(wrong.values()) * sum(hits.values())
    better = sum(p * q * ((x > y) + (x == y) / 2) for x, p in hits.items() for y, q in wrong.items())
    return better / pairs if pairs else None


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
    share = per_cent(own.enough)
    if own.enough <= own.least:
        perfect = "even a perfect verifier would save nothing"
        return f"Why: {cost}, and does as well as {own.other} on {share} of these rows only: {perfect}."
    does = f"it does as well as {own.other} on {share} of these rows"
    if 0 < own.fewer < own.votes and own.auroc is not None and own.auroc >= _TELLS:
        return f"Why: {cost}; {does}. {_too_dear_words(own)}."
    return f"Why: {cost}; {does}, but {_signal_words(own)}."


def _scale_words(auroc: float) -> str:
    return f"AUROC {share_text(auroc, '.2f')}, where 0.5 is chance and 1 is perfect"


def _too_dear_words(own: Obstacle) -> str:
    """Say that all votes tell enough and cost too much, and what the most that can save anything tell."""
    scale, dear = _scale_words(own.auroc or 0.0), f"at {own.whole:.3g} × they cost more than they can save"
    every = f"All {own.votes} votes tell which ones ({scale}), but {dear}"
    few = f"{count_of(own.fewer, 'vote')}, the most that can save anything, with the answer"
    tell = "tells" if own.fewer == 1 else "tell"
    if own.fewer_auroc is None:
        return f"{every}; {few} cost {own.fewer_cost:.3g} ×"
    if own.fewer_auroc >= _ALL:
        most = per_cent(own.enough - own.least)
        as_much = f"{tell} as much, but the {most} that could be saved at most are not sure on these rows"
        return f"{every}; {few} cost {own.fewer_cost:.3g} × and {as_much}"
    little = own.fewer_auroc < _TELLS
    worth = f"{tell} too little" if little else f"{tell} not surely enough for what was asked"
    auroc = share_text(own.fewer_auroc, ".2f")
    return f"{every}; {few} cost {own.fewer_cost:.3g} × and {worth} (AUROC {auroc})"


def _signal_words(own: Obstacle) -> str:
    """What the signal tells."""
    if own.auroc is None:
        return "nothing that is recorded tells which ones"
    name = "votes tell" if own.signal == "votes" else "confidence tells"
    scale = _scale_words(own.auroc)
    if own.auroc >= _ALL:
        saving = f"the {per_cent(own.enough - own.least)} that could be saved at most"
        return f"though its {name} which ones ({scale}), {saving} are not sure on these rows"
    if own.auroc < _TELLS:
        return f"its {name} too little which ones ({scale})"
    noun = "votes do" if own.signal == "votes" else "confidence does"
    most, left = own.enough - own.whole, ""
    if own.votes > 1 and most > 0:
        left = f"; with all of them at most {per_cent(most)} could be saved"
    return f"its {noun} not tell which ones surely enough for what was asked ({scale}){left}"


def why_not_lines(offer: Offer, table: TraceTable) -> list[str]:
    """Say why the baseline takes every question; nothing where routing does, or no tier is cheaper.

    Of several cheaper tiers the one is looked at with which most could be saved.
    """
    if not offer.is_baseline:
        return []
    names = table.tiers[: table.tiers.index(offer.baseline.tier)]
    every = [own for name in names if (own := obstacle(table, name, offer.baseline.tier)) is not None]
    return [why_not_words(max(every, key=lambda own: own.enough - own.least))] if every else []
