"""Shares that live rows are compared with: escalations, first votes, answers that are not the baseline's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.replay import Replayed
from automix_cli.pomdp.arrays import Bools, Floats


def rates_of(table: TraceTable, run: Replayed) -> tuple[tuple[str, int, int], ...]:
    """Return shares that later batches are compared with, as (hits, cases), in expectation, rounded.

    Cases are counted in questions, because copies of one tell no more than one: of all questions, and
    for a tier's first votes of those on which it is asked, votes are bought and the first can be read.
    """
    weight = table.n_groups / len(table)
    rates = [("escalated", round(weight * float(run.escalated.sum())), table.n_groups)]
    for j, name in enumerate(table.tiers):
        checks = weight * run.checks[:, j]
        if table.signals[j] == "votes" and checks.any():
            correct, incorrect, _ = table.votes[:, j].T / np.maximum(table.votes[:, j].sum(axis=1), 1)[None]
            hits, cases = float(checks @ correct), float(checks @ (correct + incorrect))
            rates.append((name, round(hits), round(cases)))
    return tuple(rates)


# ---------------------------------------------------------------- answers that differ


class DifferingShare(NamedTuple):
    """On how many of `cases` questions, in expectation, another answer is reported than the tier's."""

    tier: str
    hits: float
    cases: int


def differing_shares(table: TraceTable, run: Replayed) -> tuple[DifferingShare, ...]:
    """Return the share for each tier; nothing where answers are not recorded or cannot be compared.

    Answers are equal where their canonical forms are. Where the tier has no answer nothing is lost, and
    where nothing is reported the tier's answer is.
    """
    if not table.compares_answers:
        return ()
    weight = table.n_groups / len(table)
    chances = (_of_tier(table, run, j) for j in range(len(table.tiers)))
    return tuple(
        DifferingShare(name, round(weight * float(chance.sum()), 2), table.n_groups)
        for name, chance in zip(table.tiers, chances, strict=True)
    )


def _of_tier(table: TraceTable, run: Replayed, tier: int) -> Floats:
    """The chances to differ from one tier's answer; 0 where it gave none."""
    is_equal = table.first_equal == table.first_equal[:, [tier]]
    chances: Floats = differing_chances(run.reports, is_equal) * ~table.failed[:, tier]
    return chances


def differing_chances(reports: Floats, is_equal: Floats | Bools) -> Floats:
    """The chance on each row that no answer equal to a tier's is reported: n.

    Args:
        reports: n×N, the chance to report each answer; where nothing may be reported, below 1 in all.
        is_equal: n×N, whether an answer is equal to the tier's (1 or 0).

    Example:
        >>> differing_chances(np.array([[0.25, 0.75], [0.5, 0.25]]), np.array([[0, 1], [1, 1]])).tolist()
        [0.25, 0.25]
    """
    chances: Floats = (1.0 - (reports * is_equal).sum(axis=1)).clip(0.0, 1.0)
    return chances
