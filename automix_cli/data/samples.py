"""MAJ@k: the plurality of k sampled answers of one model, from samples that were recorded.

    texts of a row ─▶ judge (once, when rows are read) ─▶ Samples ─▶ plurality_scores(k, order)

Of the texts nothing is kept but which of them agree and what each scores, so that the answer
of any k of them, in any order, is a matter of counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats
from automix_cli.scoring import equivalent, score

NO_SAMPLE = -1
FEWEST = 3  # samples without which there is no majority to speak of


class Judged(NamedTuple):
    """The samples of one row: equal `kinds` agree; `scores` are against what was expected."""

    kinds: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


def judge(texts: Sequence[str], expected: Sequence[str], scorer: str, choices: Sequence[str] = ()) -> Judged:
    """Tell which samples agree, and score each; without an expected answer there is nothing to tell.

    Different answers are compared in the order of their texts, so that what agrees depends
    neither on the order of the file nor on that in which they are drawn.

    Example:
        >>> judge(["It is 7", "8", "7.0"], ["7"], "numeric")
        Judged(kinds=(0, 1, 0), scores=(1.0, 0.0, 1.0))
    """
    if not expected:
        return Judged()
    said = [text.strip() for text in texts]
    leaders: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for text in sorted(set(said)):
        like = next((seen for seen in leaders if equivalent(text, seen, scorer, choices)), text)
        kinds[text] = leaders.setdefault(like, len(leaders))
    scores = {text: score(text, expected, scorer, choices) for text in kinds}
    return Judged(tuple(kinds[text] for text in said), tuple(scores[text] for text in said))


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
    def of(cls, rows: Sequence[Judged], cost: Floats) -> Samples:
        """From rows of different lengths."""
        width = max((len(row.kinds) for row in rows), default=0)
        kinds = np.full((len(rows), width), NO_SAMPLE, dtype=np.int16)
        scores = np.full((len(rows), width), np.nan)
        for at, row in enumerate(rows):
            kinds[at, : len(row.kinds)], scores[at, : len(row.scores)] = row
        return cls(kinds, scores, cost)

    @classmethod
    def absent(cls, rows: int) -> Samples:
        """Rows without any."""
        return cls.of([Judged()] * rows, np.full(rows, np.nan))

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """One after the other."""
        width = max(part.kinds.shape[1] for part in parts)
        return cls(
            np.concatenate([_widened(part.kinds, width, NO_SAMPLE) for part in parts]),
            np.concatenate([_widened(part.scores, width, np.nan) for part in parts]),
            np.concatenate([part.cost for part in parts]),
        )

    @property
    def held(self) -> NDArray[np.intp]:
        """How many judged samples each row holds."""
        counts: NDArray[np.intp] = (self.kinds != NO_SAMPLE).sum(axis=1)
        return counts

    def subset(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Samples:
        """Those of some rows."""
        return Samples(self.kinds[rows], self.scores[rows], self.cost[rows])

    def plurality_scores(self, k: int, keys: NDArray[np.uint64]) -> Floats:
        """What the commonest of the first k samples scores, as it was first worded; ties go to the first.

        Source: the majority vote of Self-Consistency (arXiv 2203.11171), the MAJ@k of "Lessons
        Learned from LLM Routing" (arXiv 2405.00467).

        Args:
            k: how many; every row must hold as many.
            keys: n×K, samples are drawn by rising key.
        """
        keys = np.where(self.kinds == NO_SAMPLE, np.iinfo(np.uint64).max, keys)
        order = keys.argsort(axis=1, kind="stable")[:, :k]
        kinds, scores = (np.take_along_axis(a, order, axis=1) for a in (self.kinds, self.scores))
        agreeing = np.stack([(kinds == kinds[:, [i]]).sum(axis=1) for i in range(k)], axis=1)
        first: Floats = scores[np.arange(len(scores)), agreeing.argmax(axis=1)]
        return first

    def costs(self, k: int, whole: Floats) -> Floats:
        """USD of k samples; NaN where nothing is recorded.

        Where a row records what one more sample costs, what `whole` holds beyond its samples is
        the prompt that they share (some providers charge it once for all that are sampled
        together), and is paid once. Else `whole` is the price of one answer, and k of them cost
        k times as much: too much, for such a provider, by k - 1 prompts.

        Args:
            k: how many.
            whole: n, USD, what is recorded as the cost of the tier's answer.
        """
        prompt = np.nan_to_num(np.maximum(whole - self.held * self.cost, 0.0))
        costs: Floats = np.where(np.isnan(self.cost), k * whole, prompt + k * self.cost)
        return costs


def _widened(values: NDArray[Any], width: int, filling: float) -> NDArray[Any]:
    missing = width - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=filling)
