"""What the profile's own rule did with questions whose calls the cache holds: run again, nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from automix_cli.backends.cache import Cached
from automix_cli.backends.store import Store
from automix_cli.cascade.call_costs import CallCost
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.question_facts import FactsReader
from automix_cli.errors import StorageError
from automix_cli.fitting.student import student_quantile
from automix_cli.pomdp.problem import Policy
from automix_cli.profile.model import Profile
from automix_cli.records import Answer, Question
from automix_cli.texts import count_of

_FEWEST_RUNS = 10  # runs that tell what others will take
_LIKELY_SHARE = 0.975  # of what may come, at the upper end of what is likely
_LEAST_FREEDOM = 2
_LONGER_REPLIES = 2.5  # a run beside those that were seen: square of the spread of lengths of any order
_MOST_CUT = 0.1  # of the questions that were begun, and of which the cache does not hold all


class PastRun(NamedTuple):
    """Completions and dollars of one question, how many votes were bought, and whether it went on."""

    calls: int
    usd: float
    votes: int
    escalated: bool


class PastBills:
    """The runs that a plan holds beside what it expected of the same questions, and what follows for all.

    Attributes:
        runs: with their questions' expected bills.
        expected: of all questions that answers may send on, those of the runs among them.
        questions: how many those are.
        further_usd: what all of them would cost beyond the first tier if each went on.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[PastRun, CallCost]] = []
        self.expected, self.questions, self.further_usd = CallCost(), 0, 0.0

    def note(self, run: PastRun | None, expected: CallCost, further_usd: float) -> None:
        """Count a question, with its run where there was one, and what going on would cost."""
        self.expected, self.questions = self.expected.plus(expected), self.questions + 1
        self.further_usd += further_usd
        if run is not None:
            self.runs.append((run, expected))

    @property
    def tell_all(self) -> bool:
        """Whether there are enough of them to expect of all questions what those took."""
        return len(self.runs) >= _FEWEST_RUNS

    def excess(self) -> CallCost:
        """By how much all questions take more than was expected, if they are as those of the runs."""
        calls = self._ratio("calls") - 1, self._ratio("usd") - 1
        return CallCost(calls[0] * self.expected.calls, calls[1] * self.expected.usd)

    def _ratio(self, name: str) -> float:
        whole = math.fsum(getattr(run, name) for run, _ in self.runs)
        return whole / (math.fsum(getattr(bill, name) for _, bill in self.runs) or 1.0)

    def deviation(self) -> float:
        """The standard deviation of the dollars of all: of those to come, and of the ratio itself.

        Where none of the runs went on, or each did, others may all the same: about one in so many.
        """
        n, ratio = len(self.runs), self._ratio("usd")
        squares = math.fsum((run.usd - ratio * bill.usd) ** 2 for run, bill in self.runs)
        squares += _LONGER_REPLIES * (math.fsum(run.usd for run, _ in self.runs) / n) ** 2
        variance = squares / max(1, n - 1) * self.questions * (1 + self.questions / n)
        if sum(run.escalated for run, _ in self.runs) in (0, n):
            variance += (self.further_usd / (n + 2)) ** 2
        return math.sqrt(variance)

    def half_width(self) -> float:
        """Half of the 95 % interval of the dollars of all.

        Most of the money is in answers that went on, or in those that did not: the rarer of both are what
        was seen, so that they alone are the degrees of freedom of Student's distribution.
        """
        escalated = sum(run.escalated for run, _ in self.runs)
        rarer = min(escalated, len(self.runs) - escalated)
        return student_quantile(_LIKELY_SHARE, max(_LEAST_FREEDOM, rarer)) * self.deviation()

    def words(self) -> str:
        """How often answers went on, and how many votes they got."""
        n = len(self.runs)
        escalated, votes = (
            sum(part) / n for part in zip(*((r.escalated, r.votes) for r, _ in self.runs), strict=True)
        )
        return (
            f"{escalated:.0%} of answers escalated, {votes:.1f} votes a question, "
            f"as on {count_of(n, 'question')} in the cache"
        )


def past_runs(
    profile: Profile, policy: Policy[Any], questions: Sequence[Question], folder: Path
) -> Mapping[int, PastRun]:
    """The runs of those questions of which the cache in a folder holds every call, by their places.

    None where the cache holds only a part of many: those that it holds whole would be the cheap ones.
    """
    if not (folder / "cache.db").is_file() or not FactsReader.of(profile).is_complete:
        return {}
    with suppress(StorageError):  # a run would say what is wrong with it
        store = Store(folder)
        try:
            answers = _answers(Cascade(profile, Cached(_no_backend, store, offline=True), policy), questions)
        finally:
            store.close()
        begun = [place for place, answer in answers.items() if any(step.calls for step in answer.route)]
        runs = {place: own for place in begun if (own := _run_of(answers[place])) is not None}
        return runs if len(begun) - len(runs) <= _MOST_CUT * len(begun) else {}
    return {}


def _no_backend() -> Any:
    raise AssertionError("a dry run asks for nothing")


def _answers(cascade: Cascade, questions: Sequence[Question]) -> dict[int, Answer]:
    """What the cascade answers, from the cache alone."""
    backend = cascade.backend
    assert isinstance(backend, Cached)
    return {i: backend.without_loop(cascade.answer(question)) for i, question in enumerate(questions)}


def _run_of(answer: Answer) -> PastRun | None:
    """What an answer took; None where the cache does not hold all of it, or a price is unknown."""
    if answer.cost_usd is None or (answer.error is not None and answer.error.type == "cache_miss"):
        return None
    votes = sum(len(step.votes) for step in answer.route)
    calls = votes + sum(max(1, len(step.samples)) for step in answer.route)
    return PastRun(calls, answer.cost_usd, votes, answer.escalated)
