"""MAJ@k: the plurality of k sampled answers of one model, from samples that were recorded.

    texts of a row ─▶ judge (once, when rows are read) ─▶ Samples ─▶ plurality_scores(k)

Of the texts only two facts are kept: which of them agree, and the score of each. The plurality
of any k of them, in any order, then follows by counting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats
from automix_cli.scoring import equivalent, score

NO_SAMPLE = -1
FEWEST = 3  # samples: with fewer, there is no majority that differs from a single answer


class JudgedSamples(NamedTuple):
    """The samples of one row: equal `kinds` agree; `scores` are against what was expected."""

    kinds: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


def judge(
    texts: Sequence[str], expected: Sequence[str], scorer: str, choices: Sequence[str] = ()
) -> JudgedSamples:
    """Group the samples that agree, and score each; without an expected answer there are none.

    Different answers are compared in the order of their texts, so that the groups depend
    neither on the order of the file nor on the order in which they are drawn.

    Example:
        >>> judge(["It is 7", "8", "7.0"], ["7"], "numeric")
        JudgedSamples(kinds=(0, 1, 0), scores=(1.0, 0.0, 1.0))
    """
    if not expected:
        return JudgedSamples()
    answers = [text.strip() for text in texts]
    leaders: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for text in sorted(set(answers)):
        like = next((leader for leader in leaders if equivalent(text, leader, scorer, choices)), text)
        kinds[text] = leaders.setdefault(like, len(leaders))
    scores = {text: score(text, expected, scorer, choices) for text in kinds}
    return JudgedSamples(tuple(kinds[text] for text in answers), tuple(scores[text] for text in answers))


@lru_cache(maxsize=4096)
def plurality_chances(sizes: tuple[int, ...], k: int) -> tuple[float, ...]:
    """Return the chance of each group to be the plurality of k drawn without replacement.

    Of equally large groups, the one drawn first wins: each with the same chance.

    Example:
        >>> plurality_chances((2, 1), 1), plurality_chances((2, 1), 3)
        ((0.6666666666666666, 0.3333333333333333), (1.0, 0.0))
    """
    every = math.comb(sum(sizes), k)
    return tuple(
        sum(
            math.comb(size, count) * _ways_of_others((*sizes[:g], *sizes[g + 1 :]), k - count, count) / every
            for count in range(1, min(size, k) + 1)
        )
        for g, size in enumerate(sizes)
    )


def _ways_of_others(sizes: tuple[int, ...], k: int, most: int) -> float:
    """Count the draws of k from groups with at most `most` of each, one over 1 + the ties for each."""
    ways = {(0, 0): 1}  # by (drawn, groups that have `most`)
    for size in sizes:
        following: dict[tuple[int, int], int] = {}
        for (total, ties), number in ways.items():
            for count in range(min(size, most, k - total) + 1):
                key = total + count, ties + (count == most)
                following[key] = following.get(key, 0) + number * math.comb(size, count)
        ways = following
    return sum(number / (1 + ties) for (total, ties), number in ways.items() if total == k)


class Samples(NamedTuple):
    """The judged samples of one tier on n rows, at most K on each.

    Attributes:
        kinds: n×K, which of the row's different answers it is; NO_SAMPLE beyond the last.
        scores: n×K, 0..1, NaN beyond the last.
        cost: n, USD of one more sample; NaN where not recorded.
    """

    kinds: NDArray[np.int16]
    scores: Floats
    cost: Floats

    @classmethod
    def of(cls, rows: Sequence[JudgedSamples], cost: Floats) -> Samples:
        """Combine the samples of rows of different lengths."""
        width = max((len(row.kinds) for row in rows), default=0)
        kinds = np.full((len(rows), width), NO_SAMPLE, dtype=np.int16)
        scores = np.full((len(rows), width), np.nan)
        for at, row in enumerate(rows):
            kinds[at, : len(row.kinds)], scores[at, : len(row.scores)] = row
        return cls(kinds, scores, cost)

    @classmethod
    def absent(cls, rows: int) -> Samples:
        """Rows without samples."""
        return cls.of([JudgedSamples()] * rows, np.full(rows, np.nan))

    @classmethod
    def concatenate(cls, parts: Sequence[Samples]) -> Samples:
        """The rows of all parts, one part after the other."""
        width = max(part.kinds.shape[1] for part in parts)
        return cls(
            np.concatenate([_widen(part.kinds, width, NO_SAMPLE) for part in parts]),
            np.concatenate([_widen(part.scores, width, np.nan) for part in parts]),
            np.concatenate([part.cost for part in parts]),
        )

    @property
    def counts(self) -> NDArray[np.intp]:
        """The number of judged samples of each row."""
        counts: NDArray[np.intp] = (self.kinds != NO_SAMPLE).sum(axis=1)
        return counts

    def subset(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Samples:
        """The samples of some rows (indices or a mask)."""
        return Samples(self.kinds[rows], self.scores[rows], self.cost[rows])

    def plurality_scores(self, k: int) -> Floats:
        """Score the plurality of k samples, in expectation over which k are drawn and in which order.

        Of equally frequent answers the one drawn first wins, in its first wording.

        Source: the majority vote of Self-Consistency (arXiv 2203.11171), the MAJ@k of "Lessons
        Learned from LLM Routing" (arXiv 2405.00467).

        Args:
            k: how many samples; every row must have as many.
        """
        expected = np.zeros(len(self.kinds))
        for row, (kinds, scores) in enumerate(zip(self.kinds, self.scores, strict=True)):
            groups = [scores[kinds == kind] for kind in np.unique(kinds[kinds != NO_SAMPLE])]
            chances = plurality_chances(tuple(len(group) for group in groups), k)
            expected[row] = sum(p * float(g.mean()) for p, g in zip(chances, groups, strict=True))
        return expected

    def costs(self, k: int, whole: Floats) -> Floats:
        """USD of k samples; NaN where nothing is recorded.

        Where a row records the cost of one more sample, the rest of `whole` is the prompt that
        the samples share, and is paid once (some providers charge it once for all answers that
        are sampled together). Elsewhere `whole` is the price of one answer, and k of them cost
        k times as much; for such a provider that is too much, by k - 1 prompts.

        Args:
            k: how many samples.
            whole: n, USD, the recorded cost of the tier's answer.
        """
        prompt = np.nan_to_num(np.maximum(whole - self.counts * self.cost, 0.0))
        costs: Floats = np.where(np.isnan(self.cost), k * whole, prompt + k * self.cost)
        return costs


def _widen(values: NDArray[Any], width: int, filling: float) -> NDArray[Any]:
    missing = width - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=filling)
