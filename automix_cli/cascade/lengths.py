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
from automix_cli.profile.model import Profile, Tier
from automix_cli.prompts import estimate_tokens, expected_tokens
from automix_cli.records import Completion, Question

MOST_QUESTIONS = 200
"""Whose completions are looked up: enough for a mean."""


def prompt_tokens(tier: Tier, request: Request) -> int:
    """The tokens that a server is expected to count for a prompt; simulated tiers count by bytes."""
    count = estimate_tokens if tier.client() == "demo" else expected_tokens
    return count(request.messages)


class Lengths(NamedTuple):
    """The tokens of completions and of their prompts, added up.

    Attributes:
        tokens: written.
        completions: how many.
        prompt_tokens: of their prompts as servers count them, each completion's own or shared one in full.
        estimated_tokens: of the same prompts as they are estimated before a call.
        joint: completions that came with others for one prompt.
        single: completions of a server that gives one for a prompt.
    """

    tokens: int = 0
    completions: int = 0
    prompt_tokens: int = 0
    estimated_tokens: int = 0
    joint: int = 0
    single: int = 0

    @classmethod
    def of(cls, completions: Sequence[Completion], estimate: int = 0) -> Lengths:
        """Count completions of one prompt, whose tokens were estimated."""
        counts = [(c.prompt or c.usage).input_tokens for c in completions]
        return cls(
            tokens=sum(c.usage.output_tokens for c in completions),
            completions=len(completions),
            prompt_tokens=sum(counts),
            estimated_tokens=estimate * sum(count > 0 for count in counts),
            joint=sum(
                c.prompt is not None and c.usage.input_tokens < c.prompt.input_tokens for c in completions
            ),
            single=sum(c.prompt is None for c in completions),
        )

    @property
    def scale(self) -> float:
        """How many tokens a server counts for one that is estimated; 1 where none was counted."""
        return (
            self.prompt_tokens / self.estimated_tokens
            if self.prompt_tokens and self.estimated_tokens
            else 1.0
        )

    @property
    def shares_prompt(self) -> bool | None:
        """Whether the server gave several completions for one prompt; None where that was not seen.

        One that did and did not counts as one that does not.
        """
        if self.single:
            return False
        return True if self.joint else None

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

    answers: Lengths = Lengths()
    votes: Lengths = Lengths()

    @property
    def shares_prompt(self) -> bool | None:
        """Whether the tier's server gave several completions for one prompt; None where that was not seen."""
        return self.answers.shares_prompt if self.votes.shares_prompt is None else self.votes.shares_prompt


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
    return Lengths(*(sum(parts) for parts in zip(*own, strict=True))) if own else Lengths()


def _read_store(
    books: Sequence[_TierBook], profile: Profile, questions: Sequence[Question], store: Store
) -> None:
    """Note what is stored of questions: answers, and votes on the first of them."""
    builder = RequestBuilder(profile)
    try:
        for place, question in enumerate(questions):
            for index, tier in enumerate(profile.tiers):
                counts = sample_counts(profile, index)
                ask = builder.for_answer(question, tier, n=counts.answers).request
                answers = _look_up(store, ask)
                if answers:
                    books[index].answers[place] = Lengths.of(answers, prompt_tokens(tier, ask))
                if answers and counts.votes:
                    text = answers[0].text.strip()
                    votes = builder.for_votes(question, text, tier, first=0, n=counts.votes).request
                    if checks := _look_up(store, votes):
                        books[index].votes[place] = Lengths.of(checks, prompt_tokens(tier, votes))
    finally:
        store.close()


def _look_up(store: Store, request: Request) -> list[Completion]:
    """The completions of a request that are stored, in the order of their numbers."""
    samples = store.get_samples(fingerprint(request), range(request.n))
    return [samples[i] for i in sorted(samples)]
