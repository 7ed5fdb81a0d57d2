"""How long completions are, as far as the cache knows: a forecast need not guess what was bought before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from automix_cli.backends.base import Request
from automix_cli.backends.cache import fingerprint
from automix_cli.backends.store import Store
from automix_cli.cascade.requests import RequestBuilder, sample_counts
from automix_cli.errors import StorageError
from automix_cli.profile.model import Profile
from automix_cli.records import Completion, Question

MOST_QUESTIONS = 200
"""Whose completions are looked up: enough for a mean."""


@dataclass(slots=True)
class Lengths:
    """The output tokens of completions, added up."""

    tokens: int = 0
    completions: int = 0

    def add(self, completions: Iterable[Completion]) -> None:
        """Count completions."""
        for completion in completions:
            self.tokens += completion.usage.output_tokens
            self.completions += 1

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


def cached_lengths(
    profile: Profile, questions: Sequence[Question], folder: Path
) -> Mapping[str, TierLengths]:
    """The lengths of what the cache in a folder holds for questions, by the names of the tiers.

    The cache is asked for the very requests that would be sent; a folder without one is left alone.
    """
    lengths = {tier.name: TierLengths(Lengths(), Lengths()) for tier in profile.tiers}
    if not (folder / "cache.db").is_file():
        return lengths
    try:
        store = Store(folder)
    except StorageError:  # a run would say what is wrong with it
        return lengths
    try:
        for question in questions[:MOST_QUESTIONS]:
            _add_question(lengths, profile, question, store)
    except StorageError:
        pass
    finally:
        store.close()
    return lengths


def _add_question(
    lengths: Mapping[str, TierLengths], profile: Profile, question: Question, store: Store
) -> None:
    """Count what is stored of a question: answers, and votes on the first of them."""
    builder = RequestBuilder(profile)
    for index, tier in enumerate(profile.tiers):
        counts = sample_counts(profile, index)
        answers = _look_up(store, builder.for_answer(question, tier, n=counts.answers).request)
        lengths[tier.name].answers.add(answers)
        if answers and counts.votes:
            text = answers[0].text.strip()
            votes = builder.for_votes(question, text, tier, first=0, n=counts.votes).request
            lengths[tier.name].votes.add(_look_up(store, votes))


def _look_up(store: Store, request: Request) -> list[Completion]:
    """The completions of a request that are stored, in the order of their numbers."""
    samples = store.get_samples(fingerprint(request), range(request.n))
    return [samples[i] for i in sorted(samples)]
