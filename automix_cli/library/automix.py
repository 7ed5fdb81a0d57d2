"""The face of automix for Python programs.

    from automix_cli import Automix

    with Automix.from_profile("demo") as automix:
        answer = automix.ask("What is 17 * 23?")
        answer.answer, answer.tier, answer.cost_usd, answer.to_dict()

Every call has two names: `ask` waits for its result, `aask` is awaited. Both may be used from any thread
and any event loop, and beside each other: the calls run on one event loop of the object's own.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, Unpack

from automix_cli.api import CallOptions, TakeNote, choose_profile
from automix_cli.library.questions import Askable, question_of
from automix_cli.profile.model import Profile
from automix_cli.records import Answer, Json

if TYPE_CHECKING:
    from types import TracebackType

    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.verification import Verification
    from automix_cli.library.measuring import BenchOptions, CalibrateOptions, LabelledData
    from automix_cli.library.row_window import RowWindow
    from automix_cli.library.session import OpenProfile


class Automix:
    """A profile that questions can be put to; the options are those of the command line.

    What the budget allows (`max_cost`) is for the whole life of the object. It opens what it needs with its
    first call. `close` it, or use it in a `with` block; else it is closed when nobody holds it any more, or
    when the interpreter exits.

    Args:
        profile: which tiers there are, and how they are routed.
        options: where completions come from.
        note: takes a line that a person should know, each once; from another thread than the caller's.

    Example:
        >>> with Automix.from_profile("demo", no_cache=True) as automix:
        ...     automix.ask("What is 17 * 23?").answer
        '391'
    """

    def __init__(
        self, profile: Profile, options: CallOptions | None = None, *, note: TakeNote = lambda line: None
    ) -> None:
        from automix_cli.library.session import OpenProfile

        self._session: OpenProfile = OpenProfile(profile, options or CallOptions(), note)
        weakref.finalize(self, self._session.abandon).atexit = False

    @classmethod
    def from_profile(
        cls,
        profile: str | os.PathLike[str] | None = None,
        *,
        tier: str | None = None,
        no_cache: bool = False,
        refresh: bool = False,
        offline: bool = False,
        concurrency: int | None = None,
        max_cost: float | None = None,
        on_budget: Literal["stop", "degrade"] = "stop",
        baseline: str | None = None,
        shadow: float = 0.0,
        seed: int = 0,
        note: TakeNote = lambda line: None,
    ) -> Self:
        """Use a profile by its name or its file; without one, the profile that `automix ask` would find.

        Raises:
            ProfileError: there is none, or it cannot be used.
            UsageError: the options contradict each other.

        Example:
            >>> Automix.from_profile("demo").profile.name
            'demo'
        """
        options = CallOptions(
            profile=None if profile is None else os.fspath(profile),
            tier=tier,
            no_cache=no_cache,
            refresh=refresh,
            offline=offline,
            concurrency=concurrency,
            max_cost=max_cost,
            on_budget=on_budget,
            baseline=baseline,
            shadow=shadow,
            seed=seed,
        )
        return cls(choose_profile(options), options, note=note)

    @classmethod
    def from_tiers(cls, models: Sequence[str], *, note: TakeNote = lambda line: None, **options: Any) -> Self:
        """Use models without a profile, the cheapest first; `options` are those of `from_profile`.

        Raises:
            ProfileError: a model cannot be used.
            UsageError: the options contradict each other.

        Example:
            >>> [tier.name for tier in Automix.from_tiers(["demo/small", "demo/large"]).profile.tiers]
            ['small', 'large']
        """
        calls = CallOptions(tiers=",".join(models), **options)
        return cls(choose_profile(calls), calls, note=note)

    @property
    def profile(self) -> Profile:
        """The profile, with the limits of the options."""
        return self._session.profile

    # ------------------------------------------------------------ one question

    def ask(self, question: Askable, *, context: str | None = None) -> Answer:
        """Answer a question with the cheapest tier that can be trusted.

        A call that fails gives a row whose `status` is "error", with the reason in `error`.

        Args:
            question: a text, a row as a mapping, or a `Question`.
            context: the text that the answer must rest on.

        Raises:
            DataError: this is no question.
            UsageError: a key is missing, or the object is closed; nothing was spent.

        Example:
            >>> answer = Automix.from_profile("demo", no_cache=True).ask({"question": "What is 17 * 23?"})
            >>> answer.tier, answer.to_dict()["schema"]
            ('small', 'automix.ask/1')
        """
        return self._session.result(self._ask(question, context))

    async def aask(self, question: Askable, *, context: str | None = None) -> Answer:
        """Answer a question; see `ask`. Cancelling the caller's task cancels its calls.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with Automix.from_profile("demo", no_cache=True) as automix:
            ...         return (await automix.aask("What is 17 * 23?")).answer
            >>> asyncio.run(main())
            '391'
        """
        return await self._session.aresult(self._ask(question, context))

    def _ask(self, question: Askable, context: str | None) -> Future[Answer]:
        record = question_of(question, context)
        return self._session.start(lambda cascade: cascade.answer(record))

    # ------------------------------------------------------------ many questions

    def ask_many(self, questions: Iterable[Askable]) -> Iterator[Answer]:
        """Answer questions side by side, and yield their rows in the order of the questions.

        As many are at work as the profile's concurrency allows, and few are read ahead: `questions` may be a
        generator, which is read in the caller's thread. One that is no question gives an error row, as in a
        batch of the command line. Breaking off cancels what is under way.

        Raises:
            AutomixError: an error that every other question would meet, after the rows under way; or the
                options cannot be used.

        Example:
            >>> automix = Automix.from_profile("demo", no_cache=True)
            >>> [row.answer for row in automix.ask_many(["What is 17 * 23?", {"prompt": "What is 6 * 7?"}])]
            ['391', '42']
        """
        window = self._window()
        try:
            for question in questions:
                if window.is_over:
                    break
                window.add(question)
                while window.is_full or window.has_next:
                    yield window.take(self._session.result(window.next))
            while window.next_rows:
                yield window.take(self._session.result(window.next))
            window.check()
        finally:
            window.cancel()

    async def aask_many(self, questions: Iterable[Askable] | AsyncIterable[Askable]) -> AsyncIterator[Answer]:
        """Answer questions side by side; see `ask_many`. Asynchronous generators may be given, too.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with Automix.from_profile("demo", no_cache=True) as automix:
            ...         return [row.answer async for row in automix.aask_many(["What is 17 * 23?"])]
            >>> asyncio.run(main())
            ['391']
        """
        window = self._window()
        try:
            async for question in _async_items(questions):
                if window.is_over:
                    break
                window.add(question)
                while window.is_full or window.has_next:
                    yield window.take(await self._session.aresult(window.next))
            while window.next_rows:
                yield window.take(await self._session.aresult(window.next))
            window.check()
        finally:
            window.cancel()

    def _window(self) -> RowWindow:
        from automix_cli.library.row_window import RowWindow

        return RowWindow(self._session)

    # ------------------------------------------------------------ verification

    def verify(
        self,
        question: Askable,
        answer: str,
        *,
        context: str | None = None,
        tier: str | None = None,
        votes: int | None = None,
        threshold: float = 0.5,
    ) -> Verification:
        """Check an answer: how likely it is right, and why.

        Args:
            question: as for `ask`.
            answer: the answer to check.
            context: what the answer must rest on.
            tier: the tier that checks; the cheapest if None.
            votes: how many votes are bought; as many as the profile says if None.
            threshold: the least confidence of a correct answer, 0 to 1.

        Raises:
            DataError: this is no question.
            UsageError: there is no such tier, the profile's signal is one of the tier's own answer, or
                as for `ask`.

        Example:
            >>> automix = Automix.from_profile("demo", no_cache=True)
            >>> automix.verify("What is 17 * 23?", "391").verdict
            'correct'
        """
        return self._session.result(self._verify(question, answer, context, tier, votes, threshold))

    async def averify(
        self,
        question: Askable,
        answer: str,
        *,
        context: str | None = None,
        tier: str | None = None,
        votes: int | None = None,
        threshold: float = 0.5,
    ) -> Verification:
        """Check an answer; see `verify`.

        Example:
            >>> import asyncio
            >>> automix = Automix.from_profile("demo", no_cache=True)
            >>> asyncio.run(automix.averify("What is 17 * 23?", "400")).verdict
            'incorrect'
        """
        future = self._verify(question, answer, context, tier, votes, threshold)
        return await self._session.aresult(future)

    def _verify(
        self,
        question: Askable,
        answer: str,
        context: str | None,
        tier: str | None,
        votes: int | None,
        threshold: float,
    ) -> Future[Verification]:
        from automix_cli.cascade.checks import Check, check_signal_of_answers
        from automix_cli.cascade.jobs import VerifyJob

        check_signal_of_answers(self.profile)
        checker = self.profile.tiers[0] if tier is None else self.profile.tier(tier)
        check = Check(question_of(question, context), answer, checker)
        most = votes or self.profile.verification.max_votes or 1

        async def verify(cascade: Cascade) -> Verification:
            job = VerifyJob(cascade, tier=tier, votes=most, threshold=threshold, reasons=False)
            return await job.verify(check)

        return self._session.start(verify)

    # ------------------------------------------------------------ calibrate and compare

    def calibrate(self, data: LabelledData, **options: Unpack[CalibrateOptions]) -> dict[str, Json]:
        """Learn when to escalate from labelled questions, or from traces, and prove what it saves.

        Questions are asked of every tier. Only with `output` the router is written; this object goes on
        with the profile that it has.

        Args:
            data: a file, or rows as they stand in one.
            options: those of the command line; see `CalibrateOptions`.

        Returns:
            What `automix calibrate --json` prints.

        Raises:
            DataError: the rows cannot be read.
            UsageError: the options contradict each other, or as for `ask`.
            GateError: no setting meets the objective, or none can be certified.
            BackendError: no further call could succeed, or none did.

        Example:
            >>> scores = {"small": {"score": 1, "cost": 1}, "large": {"score": 1, "cost": 9}}
            >>> rows = [{"id": n, "tiers": scores} for n in range(30)]
            >>> Automix.from_profile("demo").calibrate(rows)["setting"]
            {'always': 'small'}
        """
        from automix_cli.library.measuring import calibrate_rows

        return calibrate_rows(self._session, data, options)

    async def acalibrate(self, data: LabelledData, **options: Unpack[CalibrateOptions]) -> dict[str, Json]:
        """Learn when to escalate, in a thread; see `calibrate`. Cancelling does not end it, `close` does."""
        import asyncio

        return await asyncio.to_thread(self.calibrate, data, **options)

    def bench(self, data: LabelledData, **options: Unpack[BenchOptions]) -> dict[str, Json]:
        """Compare ways of routing on rows that they did not learn from.

        Args:
            data: a file, or rows as they stand in one: traces, or questions, which are asked of every tier.
            options: those of the command line; see `BenchOptions`.

        Returns:
            What `automix bench --json` prints.

        Raises:
            DataError: the rows cannot be read.
            UsageError: the options contradict each other, or as for `ask`.
            GateError: `fail_under` is missed; its `report` is what would have been returned.
            BackendError: no further call could succeed, or none did.

        Example:
            >>> scores = {"small": {"score": 1, "cost": 1}, "large": {"score": 1, "cost": 9}}
            >>> rows = [{"id": n, "tiers": scores} for n in range(30)]
            >>> sorted(Automix.from_profile("demo").bench(rows, policies="always")["policies"])
            ['always:large', 'always:small']
        """
        from automix_cli.library.measuring import bench_rows

        return bench_rows(self._session, data, options)

    async def abench(self, data: LabelledData, **options: Unpack[BenchOptions]) -> dict[str, Json]:
        """Compare ways of routing, in a thread; see `bench`. Cancelling does not end it, `close` does."""
        import asyncio

        return await asyncio.to_thread(self.bench, data, **options)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Cancel the calls under way, and close the cache and the connections; once closed, it stays so.

        Example:
            >>> automix = Automix.from_profile("demo")
            >>> automix.close()
            >>> automix.ask("What is 17 * 23?")
            Traceback (most recent call last):
            automix_cli.errors.UsageError: this Automix is closed
        """
        self._session.close()

    async def aclose(self) -> None:
        """Close, without holding up the caller's event loop; see `close`."""
        import asyncio

        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "an Automix cannot be copied or pickled: it holds an event loop and connections; give the other "
            "process the profile's name, and make one there: Automix.from_profile(…)"
        )

    def __repr__(self) -> str:
        return f"<Automix: profile {self.profile.name}{', closed' if self._session.is_closed else ''}>"


async def _async_items(items: Iterable[Askable] | AsyncIterable[Askable]) -> AsyncIterator[Askable]:
    """The items of either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
