"""Questions that are in both the training and the test rows, word for word or nearly.

A router that was trained on a question looks better on its duplicates than it is.
`near_duplicates` finds them exactly, without sampling: two sets of shingles whose Jaccard similarity is at
least t share one of their rarest few, so only those are looked up (prefix filtering: Chaudhuri,
Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007). 14,000 rows take about two seconds.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

SHINGLE = 3  # consecutive words or punctuation marks
_MANY = 50  # questions that share a shingle; more share a template's

_Shingle = tuple[str, ...]
Shingles = frozenset[_Shingle]

_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


def normal_form(text: str) -> str:
    r"""Normalise case, blanks and Unicode composition, which never change a question.

    Punctuation stays, because 3 + 4 is not 3 - 4.

    Example:
        >>> normal_form("  Who wrote\nDune? ") == normal_form("who wrote dune?")
        True
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def tokens_of(form: str) -> list[str]:
    """The words and punctuation marks of a normal form."""
    return _WORD_OR_MARK.findall(form)


def shingles(text: str) -> Shingles:
    """The runs of three words or punctuation marks in a text; the whole text where it is shorter.

    Example:
        >>> sorted(shingles("Who wrote Dune?"))
        [('who', 'wrote', 'dune'), ('wrote', 'dune', '?')]
    """
    tokens = tokens_of(normal_form(text))
    runs = max(1, len(tokens) - SHINGLE + 1)
    return frozenset(tuple(tokens[i : i + SHINGLE]) for i in range(runs))


class Twin(NamedTuple):
    """A test row and the training row most like it; `similarity` is 1 for equal normal forms."""

    test: int
    train: int
    similarity: float


class Duplicates(NamedTuple):
    """The test rows that have a twin in training, out of `rows` test rows."""

    exact: tuple[Twin, ...]
    near: tuple[Twin, ...]
    rows: int

    @property
    def share(self) -> float:
        """Share of the test rows that have a twin."""
        return (len(self.exact) + len(self.near)) / self.rows if self.rows else 0.0


def near_duplicates(
    train_texts: Sequence[str], test_texts: Sequence[str], threshold: float = 0.8
) -> Duplicates:
    """Find the test questions that are also in training, word for word or nearly.

    Rows without a recorded question have a blank text; blank texts are never twins.

    Args:
        train_texts: questions of the training rows.
        test_texts: questions of the test rows.
        threshold: the least Jaccard similarity of the shingles of a near twin, above 0.

    Example:
        >>> train = ["Who wrote Dune?", "How far is the Moon from the Earth, on average, in km?"]
        >>> duplicates = near_duplicates(train, ["who wrote dune?", "Who wrote Emma?"])
        >>> duplicates.exact, duplicates.near
        ((Twin(test=0, train=0, similarity=1.0),), ())
    """
    first = {form: i for i, form in reversed(list(enumerate(map(normal_form, train_texts)))) if form}
    forms = [normal_form(text) for text in test_texts]
    exact = tuple(Twin(i, first[form], 1.0) for i, form in enumerate(forms) if form in first)
    test_sets = {i: shingles(form) for i, form in enumerate(forms) if form and form not in first}
    train_sets = {i: shingles(form) for form, i in first.items()}
    return Duplicates(exact, tuple(_near(train_sets, test_sets, threshold)), len(test_texts))


def _near(train_sets: dict[int, Shingles], test_sets: dict[int, Shingles], threshold: float) -> list[Twin]:
    """The nearest training row of each test row, where one is similar enough."""
    frequency = Counter(shingle for own in (*train_sets.values(), *test_sets.values()) for shingle in own)

    holders = defaultdict(list)
    for i, own in train_sets.items():
        for shingle in _rarest(own, threshold, frequency):
            holders[shingle].append(i)
    twins = []
    for i, own in test_sets.items():
        partners = {j for shingle in _rarest(own, threshold, frequency) for j in holders.get(shingle, ())}
        nearest = max(((_jaccard(own, train_sets[j]), -j) for j in partners), default=(0.0, 0))
        if nearest[0] >= threshold:
            twins.append(Twin(i, -nearest[1], nearest[0]))
    return twins


def similar_pairs(forms: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs of different normal forms that are as similar as that.

    A shingle that many forms share is the wording of a template, by which nothing is looked up.
    """
    sets = [shingles(form) for form in forms]
    frequency = Counter(shingle for own in sets for shingle in own)
    holders: dict[_Shingle, list[int]] = defaultdict(list)
    for i, own in enumerate(sets):
        rare = [s for s in _rarest(own, threshold, frequency) if frequency[s] <= _MANY]
        partners = {j for shingle in rare for j in holders[shingle]}
        yield from ((j, i) for j in sorted(partners) if _jaccard(own, sets[j]) >= threshold)
        for shingle in rare:
            holders[shingle].append(i)


def _rarest(own: Shingles, threshold: float, frequency: Mapping[_Shingle, int]) -> list[_Shingle]:
    """The rarest shingles, as many as it takes that two sets as similar as `threshold` share one."""
    overlap = math.ceil(threshold * len(own) - 1e-9)
    return sorted(own, key=lambda s: (frequency[s], s))[: len(own) - overlap + 1]


def _jaccard(a: Shingles, b: Shingles) -> float:
    return len(a & b) / len(a | b)
