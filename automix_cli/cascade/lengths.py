"""How long completions are, as far as the cache knows: a forecast need not guess what was bought before."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from automix_cli.backends.base import Request
from automix_cli.backends.cache import fingerprint
from automix_cli.backends.store import Store
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.errors import StorageError
from automix_cli.profile.model import Profile
from automix_cli.records import Completion, Question

MOST_QUESTIONS = 200
"""Whose completions are looked up: enough for a mean."""


class Lengths(NamedTuple):
    """The output tokens of completions, added up."""

    tokens: int = 0
    completions: int = 0

    @classmethod
    def of(cls, completions: Sequence[Completion]) -> Lengths:
        """Count completions."""
        return cls(sum(c.usage.output_tokens for c in completions), len(completions))

    @property
    def mean(self) -> float | None:
        """Output tokens of one completion; None where there was none.

        Example:
            >>> Lengths(30, 2).mean, Lengths().mean
            (15.0, None)
        """
        return self.tokens / self.completions if self.completions else None


class TierLengths(NamedTuple):
    """The lengths of a tier's answers and of its votes."""

    answers: Lengths
    votes: Lengths


_ByQuestion: TypeAlias = dict[int, Lengths]
"""Lengths by the place of the question."""


class _TierBook(NamedTuple):
    """The lengths of a tier's answers and of its votes, by question."""

    answers: _ByQuestion
    votes: _ByQuestion


def cached_lengths(
    profile: Profile, questions: Sequence[Question], folder: Path
) -> Mapping[str, TierLengths]:
    """The lengths of what the cache in a folder holds for questions, by the names of the tiers.

    The cache is asked for the very requests that would be sent; a folder without one is left alone.
    A tier that was asked of the hard questions only gave longer answers than it will give to all: its
    lengths count in proportion to those of the first tier on the same questions (a ratio estimate).
    """
    books = [_TierBook({}, {}) for _ in profile.tiers]
    if (folder / "cache.db").is_file():
        with suppress(StorageError):  # a run would say what is wrong with it
            _read_store(books, profile, questions[:MOST_QUESTIONS], Store(folder))
    first = books[0].answers
    return {
        tier.name: TierLengths(_balance(own.answers, first), _balance(own.votes, first))
        for tier, own in zip(profile.tiers, books, strict=True)
    }


def _balance(book: _ByQuestion, first: _ByQuestion) -> Lengths:
    """The lengths in a book, as they would be on all questions that the first tier was asked.

    Example:
        >>> easy_and_hard, hard = {0: Lengths(10, 1), 1: Lengths(30, 1)}, {1: Lengths(60, 1)}
        >>> _balance(hard, easy_and_hard).mean
        40.0
    """
    whole = _total(book, book)
    there, here = _total(first, first).mean, _total(first, book).mean
    if not (book.keys() <= first.keys() and there and here):
        return whole
    return whole._replace(tokens=round(whole.tokens * there / here))


def _total(book: _ByQuestion, places: Container[int]) -> Lengths:
    """The lengths on some questions, added up."""
    own = [lengths for place, lengths in book.items() if place in places]
    return Lengths(sum(o.tokens for o in own), sum(o.completions for o in own))


def _read_store(
    books: Sequence[_TierBook], profile: Profile, questions: Sequence[Question], store: Store
) -> None:
    """Note what is stored of questions: answers, and votes on the first of them."""
    builder = RequestBuilder(profile)
    try:
        for place, question in enumerate(questions):
            for index, tier in enumerate(profile.tiers):
                counts = sample_counts(profile, index)
                answers = _look_up(store, builder.for_answer(question, tier, n=counts.answers).request)
                if answers:
                    books[index].answers[place] = Lengths.of(answers)
                if answers and counts.votes:
                    text = answers[0].text.strip()
                    votes = builder.for_votes(question, text, tier, first=0, n=counts.votes).request
                    if checks := _look_up(store, votes):
                        books[index].votes[place] = Lengths.of(checks)
    finally:
        store.close()


def _look_up(store: Store, request: Request) -> list[Completion]:
    """The completions of a request that are stored, in the order of their numbers."""
    samples = store.get_samples(fingerprint(request), range(request.n))
    return [samples[i] for i in sorted(samples)]
