"""How likely the answers of several tiers are to be equal, given which of them are right.

Answers that are equal form a class. When a tier has answered, its answer joins the class of one
or more earlier tiers, or is new. Equality is transitive, so what is observed is a partition of
the answers, never one bit for each pair of tiers: "all three agree" is one fact, not three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.errors import DataError, reading_problem
from automix_cli.pomdp.arrays import Floats

AnswerClass = tuple[int, ...]
"""Tiers with equal answers, in the order in which they were asked; the first one names the class."""


class Pair(NamedTuple):
    """An earlier tier and a later one: the chance that the later one's answer is equal.

    Attributes:
        both_right: where both are right.
        both_wrong: where both are wrong.
    """

    both_right: float
    both_wrong: float


class AgreementModel(Struct, frozen=True, kw_only=True):
    """P(class that an answer joins | state, classes so far), one categorical law for each tier.

    Each number is the chance to join a class when there is no other one. With more classes their
    odds add up: the chance of class k is o_k/(1 + Σ o), that of a new answer 1/(1 + Σ o). Classes
    of the same kind (all right, or all on the other side) share the odds of one, so that a right
    answer does not meet its equal more often because others were split. A class with right and wrong
    answers (equal in canonical form, unlike to the scorer) counts as right: it holds what is right.

    Attributes:
        pairs: `pairs[j][i]` for each tier j and each earlier tier i, which names the class.
        groups: for each tier, the chance that its wrong answer joins a wrong class of two or more.
        one_right: the chance that a right answer joins a wrong class, or a wrong one a right class.

    Example:
        >>> model = AgreementModel(pairs=((), (Pair(0.9, 0.2),)), groups=(0.0, 0.0), one_right=0.01)
        >>> model.chances(1, [(0,)]).round(2).tolist()  # joins, new; states 00, 10, 01, 11
        [[0.2, 0.01, 0.01, 0.9], [0.8, 0.99, 0.99, 0.1]]
    """

    pairs: tuple[tuple[Pair, ...], ...]
    groups: tuple[float, ...]
    one_right: float

    def __post_init__(self) -> None:
        if [len(row) for row in self.pairs] != list(range(len(self.groups))):
            raise ValueError("tier j needs a pair with each of the j tiers before it")
        chances = [p for row in self.pairs for pair in row for p in pair]
        if not all(0 <= p < 1 for p in (*chances, *self.groups, self.one_right)):
            raise ValueError("each chance must lie in [0, 1)")

    def chances(self, tier: int, classes: Sequence[AnswerClass]) -> Floats:
        """Return the chance to join each class, and at last that of a new answer; (classes + 1, 2^N).

        Args:
            tier: the one that has answered.
            classes: of the answers so far.
        """
        right = (np.arange(2 ** len(self.groups)) >> np.arange(len(self.groups))[:, None]) & 1 == 1
        odds, own = np.zeros((len(classes), right.shape[1])), right[tier]
        if classes:
            of_class = np.stack([right[list(members)].any(axis=0) for members in classes])
            n_right = of_class.sum(axis=0)
            leaders = [self.pairs[tier][members[0]] for members in classes]
            both_right = _odds([pair.both_right for pair in leaders])[:, None] / np.maximum(n_right, 1)
            both_wrong = _odds([self._joins_wrong(tier, members) for members in classes])[:, None]
            others = np.where(own, len(classes) - n_right, n_right)
            odds = np.where(of_class != own, _odds([self.one_right]) / np.maximum(others, 1), both_right)
            odds = np.where(~of_class & ~own, both_wrong, odds)
        total = 1 + odds.sum(axis=0)
        return np.concatenate([odds / total, [1 / total]])

    def _joins_wrong(self, tier: int, members: AnswerClass) -> float:
        """The chance that a wrong answer joins a wrong class."""
        return self.groups[tier] if len(members) > 1 else self.pairs[tier][members[0]].both_wrong

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "pairs": [[list(pair) for pair in row] for row in self.pairs],
            "groups": list(self.groups),
            "one_right": self.one_right,
        }


def read_agreement(row: Mapping[str, Any]) -> AgreementModel:
    """Read what `AgreementModel.to_dict` wrote.

    Raises:
        DataError: a key is missing, or a number is no chance.
    """
    try:
        return AgreementModel(
            pairs=tuple(tuple(_read_pair(pair) for pair in tier) for tier in row["pairs"]),
            groups=tuple(map(float, row["groups"])),
            one_right=float(row["one_right"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"agreement: {reading_problem(exc)}") from exc


def _read_pair(numbers: Sequence[Any]) -> Pair:
    both_right, both_wrong = map(float, numbers)
    return Pair(both_right, both_wrong)


def _odds(chances: Sequence[float]) -> Floats:
    values: Floats = np.array(chances, dtype=float)
    return np.asarray(values / (1 - values))
