"""The signature of a recorded row: all that decides what a policy does on it, and how often it occurs.

Two rows have one signature when a policy may know the same of them beforehand and every tier
that it looks at shows the same: as many CORRECT, INCORRECT and unparsed votes, a confidence
in the same bin, as many agreeing samples, or no answer at all; and, for a policy that compares
answers, the same ones are equal. Files of thousands of rows have tens of signatures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.pomdp.arrays import Floats, Ints, different_codes
from automix_cli.pomdp.problem import Facts, Observation, Policy
from automix_cli.pomdp.signals import SIGNAL_FACTS

Cuts = Sequence[float]


class Evidence(NamedTuple):
    """The K different things that one tier shows on some rows.

    Attributes:
        code: n, which of them each row shows.
        votes: K×3, the numbers of CORRECT, INCORRECT and unparsed votes; zeros for other signals.
        observations: K, what comes with the answer, or is bought as one vote.
        failed: K, whether the tier gave no answer.
    """

    code: Ints
    votes: Ints
    observations: tuple[Observation, ...]
    failed: tuple[bool, ...]


class Signatures(NamedTuple):
    """The S signatures of some rows.

    Attributes:
        of_row: n, which of them each row has.
        facts: the different facts that decisions depend on, each with one row's as example.
        facts_code: S, which of the facts.
        evidence: per tier that is looked at, by its place.
        evidence_code: S per tier that is looked at, which of its evidence.
        first_equal: S×N, the first tier with an equal answer, -1 where a tier failed; None where
            answers are not compared.
    """

    of_row: Ints
    facts: tuple[Facts, ...]
    facts_code: Ints
    evidence: Mapping[int, Evidence]
    evidence_code: Mapping[int, Ints]
    first_equal: Ints | None = None

    def __len__(self) -> int:
        return len(self.facts_code)


def signatures_of(
    table: TraceTable,
    rows: Ints,
    facts: tuple[tuple[Facts, ...], Ints],
    tiers: Collection[int],
    cuts: Mapping[int, Cuts],
    *,
    compares: bool = False,
) -> Signatures:
    """Find the signatures of some rows.

    Args:
        table: the recorded rows.
        rows: which of them.
        facts: the different facts, and which of them each row has; see `facts_of`.
        tiers: places of the tiers that are looked at.
        cuts: per tier, the edges between the bins of a continuous confidence.
        compares: whether answers are compared.
    """
    evidence = {j: evidence_of(table, rows, j, cuts.get(j, ())) for j in sorted(tiers)}
    columns = [facts[1], *(e.code for e in evidence.values())]
    first_equal = table.subset(rows).first_equal if compares else None
    if first_equal is not None:
        columns += list(first_equal.T + 1)
    first, of_row = distinct(columns)
    return Signatures(
        of_row=of_row,
        facts=facts[0],
        facts_code=facts[1][first],
        evidence=evidence,
        evidence_code={j: e.code[first] for j, e in evidence.items()},
        first_equal=None if first_equal is None else first_equal[first],
    )


def distinct(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Find the different lines of equally long columns of codes (0 or more).

    Returns:
        The place of the first row of each line, and the line of each row.

    Example:
        >>> distinct([np.array([0, 1, 0]), np.array([2, 2, 2])])
        (array([0, 1]), array([0, 1, 0]))
    """
    code = columns[0].astype(np.int64)
    for column in columns[1:]:
        size = int(column.max(initial=0)) + 1
        if int(code.max(initial=0)) >= np.iinfo(np.int64).max // (size + 1):
            code = different_codes(code).of_each
        code = code * size + column
    _, first, of_row = different_codes(code)
    return first, of_row


def facts_of(
    policy: Policy[Any], tokens: Floats, question_classes: Ints | None, logits: Floats | None = None
) -> tuple[tuple[Facts, ...], Ints]:
    """Find facts that the policy tells apart, and to which of them it takes those of each row.

    Those of one row stand for all of which the same is relevant.
    """
    none = np.isnan(tokens)
    sizes, size_of = np.unique(np.where(none, -1.0, tokens), return_inverse=True)
    classes = np.zeros(len(tokens), dtype=np.intp) if question_classes is None else question_classes
    lines = np.zeros(len(tokens), dtype=np.intp)
    if logits is not None:
        lines = np.unique(logits, axis=0, return_inverse=True)[1].ravel().astype(np.intp)
    first, of_row = distinct([size_of.astype(np.intp), classes, lines])
    places: dict[Facts, int] = {}
    examples: list[Facts] = []
    code = np.empty(len(first), dtype=np.intp)
    for k, row in enumerate(first):
        size = float(sizes[size_of[row]])
        own = () if logits is None else tuple(logits[row].tolist())
        facts = Facts(None if size < 0 else size, int(classes[row]), own)
        code[k] = places.setdefault(policy.relevant(facts), len(places))
        if code[k] == len(examples):
            examples.append(facts)
    return tuple(examples), code[of_row]


def evidence_of(table: TraceTable, rows: Ints, j: int, cuts: Cuts) -> Evidence:
    """Find what tier j shows on some rows, one value standing for all confidences of a bin."""
    signal = SIGNAL_FACTS[table.signals[j]]
    confidence, failed = table.confidence[rows, j], table.failed[rows, j]
    if signal.continuous:
        bins = np.searchsorted(np.array(cuts, dtype=np.float64), confidence, side="right")
        shown_code = np.where(np.isnan(confidence), len(cuts) + 1, bins)
    elif signal.of_samples:
        samples = table.sample_counts[rows, j].astype(np.intp)
        agreeing = np.nan_to_num(np.rint(confidence * samples)).astype(np.intp)
        shown_code = samples * (int(samples.max(initial=0)) + 1) + agreeing
    else:
        shown_code = table.recorded_votes[j].code[rows]
    first, code = distinct([np.where(failed, 0, shown_code), failed.astype(np.intp)])
    return Evidence(
        code=code,
        votes=_votes(table, rows[first], j),
        observations=tuple(_observation(table, int(row), j) for row in rows[first]),
        failed=tuple(map(bool, failed[first])),
    )


def _votes(table: TraceTable, rows: Ints, j: int) -> Ints:
    if SIGNAL_FACTS[table.signals[j]].purchase != "rounds":
        return np.zeros((len(rows), 3), dtype=np.intp)
    votes: Ints = table.votes[rows, j].astype(np.intp)
    return votes


def _observation(table: TraceTable, row: int, j: int) -> Observation:
    signal = SIGNAL_FACTS[table.signals[j]]
    if table.failed[row, j]:
        return Observation(failed=True)
    confidence = float(table.confidence[row, j])
    if signal.continuous:
        return Observation(signal=None if np.isnan(confidence) else confidence)
    if signal.of_samples:
        k = int(table.sample_counts[row, j])
        return Observation(0 if np.isnan(confidence) else int(np.rint(confidence * k)), k, k)
    return Observation()
