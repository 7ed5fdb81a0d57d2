"""How likely the answers of several tiers are to be equal, given which of them are right.

Answers that are equal form a class. When a tier has answered, its answer joins the class of one
or more earlier tiers, or is new. Equality is transitive, so what is observed is a partition of
the answers, never one bit for each pair of tiers: "all three agree" is one fact, not three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from automix_cli.errors import DataError, reading_problem
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.observations import ConsistencyObservations, ObservationModel, VoteObservations

AnswerClass = tuple[int, ...]
"""Tiers with equal answers, in the order in which they were asked; the first one names the class."""

SUPPORT_LEVELS = 3  # of the evidence on an answer: see `support`


class Pair(NamedTuple):
    """An earlier tier and a later one: the chance that the later one's answer is equal.

    Attributes:
        both_right: where both are right.
        both_wrong: where both are wrong; one number, or one for each level of `support`.
    """

    both_right: float
    both_wrong: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementModel:
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
        >>> model = AgreementModel(pairs=((), (Pair(0.9, (0.2,)),)), groups=(0.0, 0.0), one_right=0.01)
        >>> model.chances(1, [(0,)], {})[:, 0].round(2).tolist()  # joins, new; states 00, 10, 01, 11
        [[0.2, 0.01, 0.01, 0.9], [0.8, 0.99, 0.99, 0.1]]
    """

    pairs: tuple[tuple[Pair, ...], ...]
    groups: tuple[float, ...]
    one_right: float

    def __post_init__(self) -> None:
        if [len(row) for row in self.pairs] != list(range(len(self.groups))):
            raise ValueError("agreement: tier j needs a pair with each of the j tiers before it")
        pairs = [pair for row in self.pairs for pair in row]
        if any(len(pair.both_wrong) not in (1, SUPPORT_LEVELS) for pair in pairs):
            raise ValueError(f"agreement: both_wrong has 1 or {SUPPORT_LEVELS} chances")
        chances = [p for pair in pairs for p in (pair.both_right, *pair.both_wrong)]
        if not all(0 <= p < 1 for p in (*chances, *self.groups, self.one_right)):
            raise ValueError("agreement: each chance must lie in [0, 1)")

    def looks_at_support(self, tier: int, earlier: int) -> bool:
        """Whether the evidence on the earlier tier's answer matters."""
        return len(self.pairs[tier][earlier].both_wrong) > 1

    def chances(self, tier: int, classes: Sequence[AnswerClass], support: Mapping[int, Ints]) -> Floats:
        """Return the chance to join each class, and at last that of a new answer.

        Args:
            tier: the one that has answered.
            classes: of the answers so far.
            support: for earlier tiers, the level of evidence on their answers at each of H histories;
                a tier that is left out has had none.

        Returns:
            shape (classes + 1, H, 2^N); H is 1 where no support matters.
        """
        right = (np.arange(2 ** len(self.groups)) >> np.arange(len(self.groups))[:, None]) & 1 == 1
        leaders = [members[0] for members in classes]
        odds = np.zeros((0, 1, right.shape[1]))
        if classes:
            of_class = np.stack([right[list(members)].any(axis=0) for members in classes])
            own = right[tier]
            n_right = of_class.sum(axis=0)
            both_right = _odds([self.pairs[tier][i].both_right for i in leaders])[:, None]
            others = np.where(own, len(classes) - n_right, n_right)
            both_wrong = _columns([self._odds_of_wrong(tier, c, support) for c in classes])
            odds = np.where(
                of_class != own,
                _odds([self.one_right])[0] / np.maximum(others, 1),
                both_right / np.maximum(n_right, 1),
            )[:, None]
            odds = np.where((~of_class & ~own)[:, None], both_wrong[:, :, None], odds)
        total = 1 + odds.sum(axis=0, keepdims=True)
        return np.concatenate([odds / total, 1 / total])

    def _odds_of_wrong(self, tier: int, members: AnswerClass, support: Mapping[int, Ints]) -> Floats:
        """The odds that a wrong answer joins a wrong class, at each history."""
        if len(members) > 1:
            return _odds([self.groups[tier]])
        levels = _odds(self.pairs[tier][members[0]].both_wrong)
        return levels[support.get(members[0], np.zeros(1, dtype=np.intp))] if len(levels) > 1 else levels

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "pairs": [[[pair.both_right, *pair.both_wrong] for pair in row] for row in self.pairs],
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
    both_right, *both_wrong = map(float, numbers)
    return Pair(both_right, tuple(both_wrong))


def _odds(chances: Sequence[float]) -> Floats:
    values: Floats = np.array(chances, dtype=float)
    return np.asarray(values / (1 - values))


def _columns(rows: list[Floats]) -> Floats:
    return np.stack(np.broadcast_arrays(*rows))


def support(observation: ObservationModel, values: Ints, parsed: Ints) -> Ints:
    """Return how well answers are supported: 0 without evidence, 1 by less than half of it, else 2.

    Of a confidence, the upper half of its bins counts as more; one that did not come is no evidence.

    Args:
        observation: what the tier's signal shows.
        values: `Counts.value` of each answer.
        parsed: `Counts.parsed` of each answer.

    Example:
        >>> votes = VoteObservations(shapes=((1, 3), (3, 1)))
        >>> support(votes, np.array([0, 1, 2]), np.array([0, 3, 3])).tolist()
        [0, 1, 2]
    """
    if isinstance(observation, VoteObservations | ConsistencyObservations):
        return np.where(parsed > 0, 1 + (2 * values >= parsed), 0)
    bins = len(getattr(observation, "cuts", ())) + 1
    return np.where((parsed > 0) & (values < bins), 1 + (2 * values >= bins), 0)
