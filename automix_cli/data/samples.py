"""MAJ@k: the plurality of k sampled answers of one model, from samples that were recorded.

    texts of a row ─▶ judge (once, when rows are read) ─▶ Samples ─▶ plurality_scores(k, order)

Of the texts only two facts are kept: which of them agree, and the score of each. The plurality
of any k of them, in any order, then follows by counting.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def plurality_scores(self, k: int, keys: NDArray[np.uint64]) -> Floats:
        """Score the plurality of the first k samples, in its first wording; ties go to the first drawn.

        Source: the majority vote of Self-Consistency (arXiv 2203.11171), the MAJ@k of "Lessons
        Learned from LLM Routing" (arXiv 2405.00467).

        Args:
            k: how many samples; every row must have as many.
            keys: n×K; samples are drawn in the order of rising keys.
        """
        keys = np.where(self.kinds == NO_SAMPLE, np.iinfo(np.uint64).max, keys)
        order = keys.argsort(axis=1, kind="stable")[:, :k]
        kinds, scores = (np.take_along_axis(a, order, axis=1) for a in (self.kinds, self.scores))
        agreeing = np.stack([(kinds == kinds[:, [i]]).sum(axis=1) for i in range(k)], axis=1)
        first: Floats = scores[np.arange(len(scores)), agreeing.argmax(axis=1)]
        return first

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
