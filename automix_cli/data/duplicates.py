"""Questions that stand on both sides of a split, word for word or nearly.

A router that has seen a question's twin in training looks better than it is. `near_duplicates`
finds them exactly, without sampling: two sets of shingles whose Jaccard similarity is at least
t share one of their rarest few, so only those are looked up (prefix filtering: Chaudhuri,
Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007). 14,000 rows take about two seconds.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

SHINGLE = 3  # words and marks in a row

Shingles = frozenset[tuple[str, ...]]

_TOKEN = re.compile(r"\w+|[^\w\s]")


def normal_form(text: str) -> str:
    r"""A text without what never makes another question of it: case, blanks, composition.

    Marks stay, because 3 + 4 is not 3 - 4.

    Example:
        >>> normal_form("  Who wrote\nDune? ") == normal_form("who wrote dune?")
        True
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def shingles(text: str) -> Shingles:
    """The runs of three words or marks in a text; all of it where it is shorter.

    Example:
        >>> sorted(shingles("Who wrote Dune?"))
        [('who', 'wrote', 'dune'), ('wrote', 'dune', '?')]
    """
    tokens = _TOKEN.findall(normal_form(text))
    runs = max(1, len(tokens) - SHINGLE + 1)
    return frozenset(tuple(tokens[i : i + SHINGLE]) for i in range(runs))


class Twin(NamedTuple):
    """A test row and the training row most like it; `similarity` is 1 for equal normal forms."""

    test: int
    train: int
    similarity: float


class Duplicates(NamedTuple):
    """Test rows that have a twin in training, by place, out of `rows`."""

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
    """Find the test questions that also stand in training, or nearly.

    Blank texts, which rows without a recorded question have, are nobody's twin.

    Args:
        train_texts: questions of the training rows.
        test_texts: questions of the test rows.
        threshold: the least Jaccard similarity of the shingles of a near twin, above 0.

    Example:
        >>> train = ["Who wrote Dune?", "How far is the Moon from the Earth, on average, in km?"]
        >>> found = near_duplicates(train, ["who wrote dune?", "Who wrote Emma?"])
        >>> found.exact, found.near
        ((Twin(test=0, train=0, similarity=1.0),), ())
    """
    first = {form: i for i, form in reversed(list(enumerate(map(normal_form, train_texts)))) if form}
    forms = [normal_form(text) for text in test_texts]
    exact = tuple(Twin(i, first[form], 1.0) for i, form in enumerate(forms) if form in first)
    rest = {i: shingles(form) for i, form in enumerate(forms) if form and form not in first}
    known = {i: shingles(form) for form, i in first.items()}
    return Duplicates(exact, tuple(_near(known, rest, threshold)), len(test_texts))


def _near(known: dict[int, Shingles], rest: dict[int, Shingles], threshold: float) -> list[Twin]:
    """The best partner of each of `rest` among `known`, where one is similar enough."""
    frequency = Counter(shingle for own in (*known.values(), *rest.values()) for shingle in own)

    def rarest(own: Shingles) -> list[tuple[str, ...]]:
        """So many that two sets as similar as `threshold` must share one of them."""
        shared = math.ceil(threshold * len(own) - 1e-9)
        return sorted(own, key=lambda s: (frequency[s], s))[: len(own) - shared + 1]

    holders = defaultdict(list)
    for i, own in known.items():
        for shingle in rarest(own):
            holders[shingle].append(i)
    twins = []
    for i, own in rest.items():
        partners = {j for shingle in rarest(own) for j in holders.get(shingle, ())}
        likest = max(((_jaccard(own, known[j]), -j) for j in partners), default=(0.0, 0))
        if likest[0] >= threshold:
            twins.append(Twin(i, -likest[1], likest[0]))
    return twins


def _jaccard(a: Shingles, b: Shingles) -> float:
    return len(a & b) / len(a | b)
