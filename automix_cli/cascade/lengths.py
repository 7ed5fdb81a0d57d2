"""How long completions are, as far as the cache knows: a forecast need not guess what was bought before."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from automix_cli.backends.base import Request
from automix_cli.backends.cache import fingerprint
from automix_cli.backends.server_record import Lengths, prompt_tokens, recorded_lengths
from automix_cli.backends.store import Store
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.errors import StorageError
from automix_cli.profile.model import Profile, Tier
from automix_cli.prompts.token_count import tokens_of
from automix_cli.records import Completion, Question

MOST_QUESTIONS = 200
"""Whose completions are looked up: enough for a mean."""


class TierLengths(NamedTuple):
    """The lengths of a tier's answers and votes; `label_tokens` are those of a right answer in the rows.

    `questions` is how many are to be asked.
    """

    answers: Lengths = Lengths()
    votes: Lengths = Lengths()
    label_tokens: float | None = None
    questions: int = 1

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

    The cache is asked for the very requests that would be sent; a folder without one is left alone. Where it
    holds none of them, it tells what the same models did with other questions.
    A tier that was asked of the hard questions only gave longer answers than it will give to all: its
    lengths count in proportion to those of the first tier on the same questions (a ratio estimate).
    """
    books = [_TierBook({}, {}) for _ in profile.tiers]
    records = [TierLengths() for _ in profile.tiers]
    if questions and (folder / "cache.db").is_file():
        with suppress(StorageError):  # a run would say what is wrong with it
            store = Store(folder)
            try:
                records = [_read_record(store, profile, tier, questions[0]) for tier in profile.tiers]
                _read_store(books, profile, questions[:MOST_QUESTIONS], store)
            finally:
                store.close()
    first, label = books[0].answers, _label_tokens(questions[:MOST_QUESTIONS])
    return {
        tier.name: TierLengths(
            _with_record(_balance(own.answers, first), record.answers),
            _with_record(_balance(own.votes, first), record.votes),
            label,
            max(1, len(questions)),
        )
        for tier, own, record in zip(profile.tiers, books, records, strict=True)
    }


def _label_tokens(questions: Sequence[Question]) -> float | None:
    """The mean tokens of the right answers of questions; None where none has any."""
    own = [min(map(tokens_of, question.expected)) for question in questions if question.expected]
    return sum(own) / len(own) if own else None


def _read_record(store: Store, profile: Profile, tier: Tier, question: Question) -> TierLengths:
    """What the tier's server has shown on any questions."""
    builder = RequestBuilder(profile)
    ask = builder.for_answer(question, tier).request
    check = builder.for_votes(question, "", tier, first=0, n=1).request
    return TierLengths(recorded_lengths(store, ask), recorded_lengths(store, check))


def _with_record(own: Lengths, record: Lengths) -> Lengths:
    """What is known of these questions, else of others that the server was asked.

    Example:
        >>> _with_record(Lengths(), Lengths(30, 2)).mean, _with_record(Lengths(8, 1), Lengths(30, 2)).mean
        (15.0, 8.0)
    """
    if not own.completions:
        return record
    if own.shares_prompt is None:
        return own._replace(joint=record.joint, single=record.single)
    return own


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
    return whole.scaled_by(there / here)


def _total(book: _ByQuestion, places: Container[int]) -> Lengths:
    """The lengths on some questions, added up."""
    own = [lengths for place, lengths in book.items() if place in places]
    return Lengths(*(sum(parts) for parts in zip(*own, strict=True))) if own else Lengths()


def _read_store(
    books: Sequence[_TierBook], profile: Profile, questions: Sequence[Question], store: Store
) -> None:
    """Note what is stored of questions: answers, and votes on the first of them."""
    builder = RequestBuilder(profile)
    for place, question in enumerate(questions):
        for index, tier in enumerate(profile.tiers):
            counts = sample_counts(profile, index)
            ask = builder.for_answer(question, tier, n=counts.answers).request
            answers = _look_up(store, ask)
            if answers:
                books[index].answers[place] = Lengths.of(answers, prompt_tokens(ask))
            if answers and counts.votes:
                text = answers[0].text.strip()
                votes = builder.for_votes(question, text, tier, first=0, n=counts.votes).request
                if checks := _look_up(store, votes):
                    books[index].votes[place] = Lengths.of(checks, prompt_tokens(votes))


def _look_up(store: Store, request: Request) -> list[Completion]:
    """The completions of a request that are stored, in the order of their numbers."""
    samples = store.get_samples(fingerprint(request), range(request.n))
    return [samples[i] for i in sorted(samples)]
