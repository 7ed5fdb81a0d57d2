"""Many rows: each is worked on, written and counted; a signal or a hopeless error ends the run early."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

from automix_cli.backends.cache import Cached
from automix_cli.cascade.baseline import CostTally
from automix_cli.cascade.batch import Batch, interruptible
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.checks import Check, answer_text, check_of, tier_name
from automix_cli.cascade.tally import CheckTally, Tally
from automix_cli.cascade.verification import Verification
from automix_cli.data.destination import Destination
from automix_cli.data.jsonl import Row
from automix_cli.data.output import EarlierRows, RowWriter
from automix_cli.data.shards import Stamp
from automix_cli.errors import AutomixError, DataError, StorageError, redact
from automix_cli.records import Answer, Json, Question, RowError

T = TypeVar("T")

_READY_FROM = 16
"""Calls at once from which on as many rows more stand ready. With fewer, the next call of a row that has
begun would wait long for a place that such a row has taken."""

Stopper: TypeAlias = Callable[[Batch[Any, Any], Callable[[str], None]], AbstractContextManager[list[int]]]
"""Stops a batch from outside, and yields a list that is not empty once it did; see `interruptible`."""


class RowSource(Protocol):
    """Where rows come from."""

    def stream(self) -> AsyncIterator[Row]:
        """The rows, in order."""
        ...


class Ending(NamedTuple, Generic[T]):
    """Why a run ended early, if it did: signals received, and results after which no other can follow."""

    signals: list[int]
    stops: list[T]

    @property
    def early(self) -> bool:
        """Whether rows were left out."""
        return bool(self.signals or self.stops)

    @property
    def exit_code(self) -> int:
        """The exit code of a run that a signal ended; 0 without a signal."""
        return 128 + self.signals[0] if self.signals else 0


class RowJob(ABC, Generic[T]):
    """Work on rows: `work` makes a result of a row, `count` adds it up once it is written.

    `earlier` holds the rows of an earlier run, which are kept where their input is the same.
    """

    def __init__(self, cascade: Cascade, earlier: EarlierRows | None = None) -> None:
        self.cascade, self.earlier = cascade, earlier

    @abstractmethod
    async def work(self, row: Row) -> T:
        """The result of a row; what is wrong with the row becomes part of it."""

    @abstractmethod
    def to_dict(self, result: T) -> Mapping[str, Json]:
        """The row that is written; an empty one is not written."""

    @abstractmethod
    def ends_run(self, result: T) -> bool:
        """Whether no other row can fare better than this one."""

    @abstractmethod
    def count(self, result: T) -> None:
        """Add a result to what the batch comes to."""

    async def run(
        self,
        rows: RowSource,
        destination: Destination,
        *,
        say: Callable[[str], None],
        on_result: Callable[[T], None] = lambda result: None,
        ordered: bool = True,
        stopper: Stopper = interruptible,
    ) -> Ending[T]:
        """Work on all rows: each result is written before it is counted and given to `on_result`.

        `stopper` is the context in which the batch runs, and by which it can be stopped.

        Raises:
            StorageError: the disk is full.
            BrokenPipeError: the reader of stdout went away.
        """
        stops: list[T] = []

        async def work(row: Row) -> T:
            result = await self.work(row)
            if self.ends_run(result):  # at once: this row's turn to be written may be long in coming
                stops.append(result)
                batch.stop()
            return result

        def take(result: T) -> None:
            if fields := self.to_dict(result):
                writer.write(fields)
            self.count(result)
            on_result(result)

        at_most = self.cascade.profile.limits.concurrency
        ready = at_most if at_most >= _READY_FROM else 0
        batch = Batch(work, concurrency=at_most, ready=ready, ordered=ordered, at_once=self._at_once(work))
        with destination.open() as stream:
            writer = RowWriter(stream, destination.name)
            with stopper(batch, say) as signals:
                await _drain_into(take, batch, rows)
            ending = Ending(signals, stops)
            if not ending.early:
                destination.finish()
        return ending

    def _at_once(self, work: Callable[[Row], Awaitable[T]]) -> Callable[[Row], T] | None:
        """Work on a row whose completions are all stored; None where rows may not begin anew.

        Looking for the row of an earlier run counts what became of it, which must happen once.
        """
        backend = self.cascade.backend
        if self.earlier is not None or not isinstance(backend, Cached):
            return None
        return lambda row: backend.without_loop(work(row))


async def _drain_into(take: Callable[[T], None], batch: Batch[Row, T], rows: RowSource) -> None:
    """Give every result of a batch to `take`."""
    async with aclosing(batch.run(rows.stream())) as results:
        try:
            async for result in results:
                take(result)
        except (StorageError, BrokenPipeError):
            await batch.drain()  # what is being paid for goes to the cache, though its row goes nowhere
            raise


# ---------------------------------------------------------------- answers

EarlierRow: TypeAlias = dict[str, Json]
"""A row that an earlier run finished, as it was written."""


class AnswerJob(RowJob["Answer | EarlierRow"]):
    """Answers questions; those that an earlier run has answered keep their rows.

    `stamp` is what the rows of a shard carry.
    """

    def __init__(
        self, cascade: Cascade, earlier: EarlierRows | None = None, stamp: Stamp | None = None
    ) -> None:
        super().__init__(cascade, earlier)
        self._stamp = {} if stamp is None else {"shard": stamp.to_dict()}
        costs = CostTally(baseline=cascade.baseline.name)
        self.tally = Tally(costs=costs, scorer=cascade.profile.task.scorer)

    async def work(self, row: Row) -> Answer | EarlierRow:
        """The answer; an error of automix itself on one row must not lose the others."""
        if row.question is None:
            return fault_row(row)
        if earlier := self._earlier_row(row.question):
            return earlier
        try:
            check_class(row.question, self.cascade)
        except DataError as exc:
            return input_error(row.question, row, exc.message)
        return await answer_or_error(self.cascade, row.question)

    def _earlier_row(self, question: Question) -> EarlierRow | None:
        """The row of an earlier run, if it has all that this run would put into it."""
        if self.earlier is None:
            return None
        shadow, sha = self.cascade.shadow, self.cascade.input_sha(question)
        if shadow is None:
            return self.earlier.take(question.id, sha)
        return self.earlier.take(question.id, sha, shadow.misses)

    def to_dict(self, result: Answer | EarlierRow) -> Mapping[str, Json]:
        """The row, new or as it was."""
        row = result.to_dict() if isinstance(result, Answer) else result
        return {**row, **self._stamp} if self._stamp else row

    def ends_run(self, result: Answer | EarlierRow) -> bool:
        """Whether the error of this row will meet every other row."""
        return isinstance(result, Answer) and result.error is not None and result.error.fatal

    def count(self, result: Answer | EarlierRow) -> None:
        """Count a new answer."""
        if isinstance(result, Answer):
            self.tally.add(result)


async def answer_or_error(cascade: Cascade, question: Question) -> Answer:
    """The answer to a question; a fault of automix itself makes an error row.

    Raises:
        AutomixError: no other question can fare better, as where the cache cannot be written.
    """
    try:
        return await cascade.answer(question)
    except AutomixError:
        raise
    except Exception as exc:
        error = RowError(type="internal", message=redact(f"{type(exc).__name__}: {exc}"))
        return Answer(question=question).with_error(error)


def fault_row(row: Row) -> Answer:
    """The error row of a line that holds no question, or whose question is not asked."""
    if row.question is not None:
        return input_error(row.question, row, row.fault)
    ident = row.index if row.id is None else row.id
    raw = row.raw if isinstance(row.raw, dict) else {}
    text = raw.get("question")
    question = Question(
        text=text if isinstance(text, str) else "", id=ident, index=row.index, metadata=raw.get("metadata")
    )
    return input_error(question, row, row.fault)


def input_error(question: Question, row: Row, fault: str) -> Answer:
    """The error row of a line that is refused."""
    error = RowError(type="invalid_input", message=f"line {row.line}: {fault}")
    return Answer(question=question).with_error(error)


def check_class(question: Question, cascade: Cascade) -> None:
    """Refuse a class that no row of calibration could have had.

    Raises:
        DataError: a list, an object or a text that is too long stands where the class is looked for.
    """
    if cascade.classes is not None:
        cascade.classes.check(question)


# ---------------------------------------------------------------- verifications


class VerifyJob(RowJob["Verification | EarlierRow"]):
    """Verifies answers: by `tier`, else by the tier that a row names, else by the cheapest.

    An answer is correct from `threshold` on; `reasons` adds to the rows what the verifier wrote. Rows
    that an earlier run has verified in the same way are kept.
    """

    def __init__(
        self,
        cascade: Cascade,
        earlier: EarlierRows | None = None,
        *,
        tier: str | None,
        votes: int,
        threshold: float,
        reasons: bool,
    ) -> None:
        super().__init__(cascade, earlier)
        self.tier, self.votes, self.threshold, self.reasons = tier, votes, threshold, reasons
        self.tally = CheckTally()

    async def verify(self, check: Check) -> Verification:
        """The verification of an answer, with its verdict at the threshold."""
        result = replace(
            await self.cascade.verify(check.question, check.answer, check.tier, self.votes),
            input_sha=self._sha(check),
            profile_sha=self.cascade.profile_sha,
        )
        if result.confidence is None:
            return result
        return replace(result, verdict="correct" if result.confidence >= self.threshold else "incorrect")

    def _sha(self, check: Check) -> str:
        """A short hash of all that the row of a verification depends on, but for the profile."""
        settings = (check.tier.name, self.votes, self.threshold, self.reasons)
        return self.cascade.input_sha(check.question, check.answer, *settings)

    async def work(self, row: Row) -> Verification | EarlierRow:
        """The verification of a row; an error of automix itself on one row must not lose the others."""
        try:
            check = check_of(row, self.cascade.profile, self.tier)
            check_class(check.question, self.cascade)
            earlier = self.earlier and self.earlier.take(check.question.id, self._sha(check))
            return earlier or await self.verify(check)
        except DataError as exc:
            problem = RowError(type="invalid_input", message=f"line {row.line}: {exc.message}")
        except AutomixError:
            raise
        except Exception as exc:
            problem = RowError(type="internal", message=redact(f"{type(exc).__name__}: {exc}"))
        return self._error_row(row, problem)

    def _error_row(self, row: Row, problem: RowError) -> Verification:
        """The row of an answer that could not be verified."""
        ident = row.index if row.id is None else row.id
        return Verification(
            question=row.question or Question(text="", id=ident, index=row.index),
            answer=answer_text(row.raw),
            tier=tier_name(row.raw, self.cascade.profile, self.tier),
            signal=self.cascade.profile.verification.signal,
            error=problem,
        )

    def to_dict(self, result: Verification | EarlierRow) -> Mapping[str, Json]:
        """The row, new or as it was."""
        return result.to_dict(reasons=self.reasons) if isinstance(result, Verification) else result

    def ends_run(self, result: Verification | EarlierRow) -> bool:
        """Whether the error of this row will meet every other row."""
        return isinstance(result, Verification) and result.error is not None and result.error.fatal

    def count(self, result: Verification | EarlierRow) -> None:
        """Count one row, new or kept."""
        if isinstance(result, Verification):
            self.tally.add(result)
        else:
            self.tally.add_earlier(result["verdict"])
