"""Whether another scorer finds answers right that the scorer of the task finds wrong.

A scorer that does not fit makes a good tier look useless. None of them is known to be right: what is seen
is that they differ, and on which answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from automix_cli.scoring import score

_NEARLY_WRONG = 0.1  # quality of a tier, up to which its scorer is doubted
_FEWEST_ANSWERS = 5  # of that tier
_MANY_MORE = 0.25  # of its answers that another scorer must find right beside those of the own one
_OTHERS = ("numeric", "choice", "json", "contains", "exact")  # those that grade by overlap find too much
_RIGHT = 0.5


class TierAnswer(NamedTuple):
    """An answer of a tier, and the right answers and choices of its row."""

    tier: str
    text: str
    expected: tuple[str, ...]
    choices: tuple[str, ...] = ()

    def is_right(self, scorer: str) -> bool:
        """Whether a scorer finds it right."""
        return score(self.text, self.expected, scorer, self.choices) >= _RIGHT


class OtherScorer(NamedTuple):
    """A scorer that finds many answers of a tier right of which the own one finds nearly all wrong.

    Attributes:
        own, other: the scorers.
        tier: whose answers they differ most on.
        own_right, other_right: per tier, how many answers each finds right.
        answers: per tier, how many there are.
        example: an answer of the tier that only the other one finds right.
    """

    own: str
    other: str
    tier: str
    own_right: Mapping[str, int]
    other_right: Mapping[str, int]
    answers: Mapping[str, int]
    example: TierAnswer


def is_doubtful(right: float, answers: int) -> bool:
    """Whether so few of a tier's answers are right that its scorer is to be looked at.

    Example:
        >>> is_doubtful(0, 40), is_doubtful(5, 40), is_doubtful(0, 4)
        (True, False, False)
    """
    return answers >= _FEWEST_ANSWERS and right <= _NEARLY_WRONG * answers


def other_scorer(answers: Iterable[TierAnswer], scorer: str) -> OtherScorer | None:
    """The scorer that finds most of the answers right, where the own one finds nearly all of a tier wrong.

    Of scorers that find as many, the one that looks at numbers, options or values comes before words.

    Args:
        answers: of all tiers.
        scorer: of the task.
    """
    every = list(answers)
    counts = _counts(every, [True] * len(every))
    verdicts = [answer.is_right(scorer) for answer in every]
    own = _counts(every, verdicts)
    doubtful = [tier for tier in counts if is_doubtful(own[tier], counts[tier])]
    best: OtherScorer | None = None
    for name in _OTHERS if doubtful else ():
        view = None if name == scorer else _finding(every, verdicts, name, doubtful)
        if view and (best is None or _rights(view) > _rights(best)):
            best = OtherScorer(scorer, name, view.tier, own, view.other_right, counts, view.example)
    return best


class _Finding(NamedTuple):
    tier: str
    other_right: Mapping[str, int]
    example: TierAnswer


def _rights(view: _Finding | OtherScorer) -> int:
    return sum(view.other_right.values())


def _finding(
    every: Sequence[TierAnswer], own: Sequence[bool], name: str, doubtful: Sequence[str]
) -> _Finding | None:
    """What a scorer finds right of the doubtful tiers; None where it is not many more."""
    verdicts = [answer.is_right(name) for answer in every]
    only = [a for a, mine, its in zip(every, own, verdicts, strict=True) if its and not mine]
    more = _counts(only, [True] * len(only))
    counts = _counts(every, [True] * len(every))
    shares = {tier: more.get(tier, 0) / counts[tier] for tier in doubtful}
    tier = max(shares, key=lambda own: shares[own])
    if shares[tier] < _MANY_MORE:
        return None
    example = min((a for a in only if a.tier == tier), key=lambda a: len(a.text))
    return _Finding(tier, _counts(every, verdicts), example)


def _counts(answers: Sequence[TierAnswer], verdicts: Sequence[bool]) -> dict[str, int]:
    """Per tier, how many of its answers are right by these verdicts."""
    counts: dict[str, int] = {}
    for answer, is_right in zip(answers, verdicts, strict=True):
        counts[answer.tier] = counts.get(answer.tier, 0) + is_right
    return counts
