"""Fit how likely the answers of tiers are to be equal, and tell whether that is worth knowing.

Every chance is a count with a few pseudo-rows: of a pair of tiers drawn to the chance of all
pairs, of a larger class drawn to that of a pair. Two wrong answers that are equal say more where
there are many ways to be wrong, so the chances are those of the task, learned from its rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from automix_cli.fitting.confidence import LAST_MARGIN
from automix_cli.pomdp.agreement import AgreementModel, AnswerClass, Pair
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.model import answer_classes

PAIR_PSEUDO_ROWS = 2.0


class Answers(NamedTuple):
    """What is recorded of the answers of N tiers on n rows.

    Attributes:
        first_equal: n×N, the first tier with an equal answer; -1 where a tier failed.
        right: n×N, 1 where the answer is right.
    """

    first_equal: Ints
    right: Ints

    def take(self, rows: Bools) -> Answers:
        """The answers of some rows."""
        return Answers(self.first_equal[rows], self.right[rows])


def fit_agreement(answers: Answers, fold: Ints) -> AgreementModel | None:
    """Return the model of equal answers, None where it does not foretell left-out rows better.

    Whether answers are equal must depend on whether they are right: the likelihood of rows left out is
    compared with that of chances which do not know it, by the margin that other observations need.

    Args:
        answers: with an answer or a failure of every tier.
        fold: n, of the cross-fit; rows of one question in one fold.
    """
    return _fit_bytes(answers.first_equal.tobytes(), answers.right.tobytes(), fold.tobytes(), len(fold))


@lru_cache(maxsize=32)
def _fit_bytes(first_equal: bytes, right: bytes, fold: bytes, rows: int) -> AgreementModel | None:
    """The same of arrays as bytes, kept: what routers read in questions changes nothing of it."""
    table = (np.frombuffer(array, dtype=np.intp).reshape(rows, -1) for array in (first_equal, right))
    answers, folds = Answers(*table), np.frombuffer(fold, dtype=np.intp)
    blind = answers._replace(right=np.zeros_like(answers.right))
    gain = _left_out_likelihood(answers, folds) - _left_out_likelihood(blind, folds)
    return _estimate(answers) if gain > LAST_MARGIN else None


def _left_out_likelihood(answers: Answers, fold: Ints) -> float:
    """The logarithm of the chance of all rows, each foretold by the rows of other folds."""
    return sum(
        log_likelihood(_estimate(answers.take(fold != k)), answers.take(fold == k)) for k in np.unique(fold)
    )


def _estimate(answers: Answers) -> AgreementModel:
    """The chances of a set of rows."""
    tiers = answers.right.shape[1]
    pairs = [(i, j) for j in range(tiers) for i in range(j)]
    counts = {pair: _count_pair(answers, *pair) for pair in pairs}
    rows, equal = np.sum(list(counts.values()), axis=0).T if pairs else np.zeros((2, 3))
    wrong, one_right, right = (equal + 0.5) / (rows + 1)
    chances = {pair: Pair(_shrink(own[2], right), _shrink(own[0], wrong)) for pair, own in counts.items()}
    return AgreementModel(
        pairs=tuple(tuple(chances[i, j] for i in range(j)) for j in range(tiers)),
        groups=tuple(_shrink(_count_group(answers, j), wrong) for j in range(tiers)),
        one_right=float(one_right),
    )


def _shrink(count: Floats, towards: float) -> float:
    """The share of equal answers among rows, with pseudo-rows."""
    rows, equal = count
    return float((equal + PAIR_PSEUDO_ROWS * towards) / (rows + PAIR_PSEUDO_ROWS))


def _count_pair(answers: Answers, i: int, j: int) -> Floats:
    """Rows, and those with equal answers, where both are wrong, one is right, both are; shape (3, 2)."""
    both = (answers.first_equal[:, [i, j]] >= 0).all(axis=1)
    right = answers.right[both][:, [i, j]].sum(axis=1)
    equal = answers.first_equal[both, i] == answers.first_equal[both, j]
    counts = [(right == k).sum() for k in range(3)], [(equal & (right == k)).sum() for k in range(3)]
    return np.array(counts, dtype=float).T


def _count_group(answers: Answers, j: int) -> Floats:
    """Rows on which tier j is wrong and two wrong answers before it are equal, and those that it joins."""
    wrong = (answers.right == 0) & (answers.first_equal >= 0)
    rows = equal = 0
    for i in range(j):
        for h in range(i):
            group = (
                wrong[:, h]
                & wrong[:, i]
                & (answers.first_equal[:, h] == answers.first_equal[:, i])
                & wrong[:, j]
            )
            rows += int(group.sum())
            equal += int((answers.first_equal[group, h] == answers.first_equal[group, j]).sum())
    pairs = max(1, j * (j - 1) // 2)  # a group of three holds three pairs: a row counts about once
    return np.array([rows / pairs, equal / pairs])


def log_likelihood(model: AgreementModel, answers: Answers) -> float:
    """The logarithm of the chance of all these partitions, given which answers are right."""
    patterns, rows = np.unique(np.hstack(answers), axis=0, return_counts=True)
    total = 0.0
    for pattern, count in zip(patterns, rows, strict=True):
        total += count * _pattern_log_chance(model, *np.split(pattern, 2))
    return float(total)


def _pattern_log_chance(model: AgreementModel, first: Ints, right: Ints) -> float:
    """The logarithm of the chance of one partition: the tiers answer in order."""
    state = int(right @ (1 << np.arange(len(right))))
    total = 0.0
    for j in range(1, len(first)):
        earlier = [(i, int(first[i])) for i in range(j) if first[i] >= 0]
        classes: list[AnswerClass] = answer_classes(earlier)
        if first[j] < 0 or not classes:
            continue
        leaders = [members[0] for members in classes]
        place = leaders.index(first[j]) if first[j] in leaders else len(leaders)
        total += float(np.log(model.chances(j, classes)[place, state]))
    return total
