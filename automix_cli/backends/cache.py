"""A cache in front of a backend: completions that are stored are not bought again.

    Cached.complete ─▶ all samples stored? ─▶ done, nothing spent
                    └▶ flight: one per prompt in this process ─▶ lease: one per prompt among
                       processes ─▶ inner backend ─▶ stored, then returned

A prompt is everything that changes the text: model, endpoint, messages and parameters. Each
sample of it is an entry of its own, so going from 4 votes to 8 pays for four. Timeouts, key
variables and `n` are no part of it.

A completion cut off at its token limit (flag `truncated`) is stored like any other: it was
paid for, and asking again would buy the same. Blank text is never stored as a completion: a reply
without text, and the refusal of a prompt (too long, filtered), are stored as the errors that they
are, so that nobody asks again unless told to.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar

from automix_cli.backends.base import Backend, NeedsLoop, Request, result_at_once
from automix_cli.backends.store import Store
from automix_cli.backends.store_entries import ENTRY_SCHEMA, canonical
from automix_cli.errors import (
    NO_ANSWER_ERRORS,
    BackendError,
    BadResponse,
    CacheMiss,
    StorageError,
    UsageError,
)
from automix_cli.records import Completion

if TYPE_CHECKING:
    import asyncio  # imported where a call is made: it takes long to load, and a stored answer needs none

    from automix_cli.backends.group_commit import GroupCommit
    from automix_cli.backends.server_record import ServerRecord

T = TypeVar("T")


def fingerprint(request: Request, schema: int = ENTRY_SCHEMA) -> str:
    """SHA-256 of everything in a request that changes the text, without the sample's number.

    Example:
        >>> a = Request(model="m", messages=(), params=(("top_p", 1), ("seed", 7)), timeout=5)
        >>> b = Request(model="m", messages=(), params=(("seed", 7), ("top_p", 1)), n=8)
        >>> fingerprint(a) == fingerprint(b)
        True
    """
    content = {
        "schema": schema,
        "model": request.model,
        "api_base": request.api_base,
        "messages": request.messages,
        "params": request.param,
        **({"embeds": True} if request.embeds else {}),
    }
    return hashlib.sha256(canonical(content).encode()).hexdigest()


@dataclass(slots=True)
class _Flight:
    """A request under way for some samples of a prompt, and who waits for it.

    `completions` fills as they come, so that those of a flight that fails later are not lost. `version` is
    that of the store at some time before the samples were looked for and not found.
    """

    samples: tuple[int, ...]
    completions: dict[int, Completion] = field(default_factory=dict)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    is_cancelled: bool = False
    is_reported: bool = False
    has_lease: bool = False
    version: int | None = None
    task: asyncio.Task[None] = field(init=False)

    def error(self) -> BaseException | None:
        """Why it failed, if it did; attempts and bills are reported to the first caller only.

        A flight that was cancelled because nobody waited has no error: a caller that joined
        late starts another one.
        """
        import asyncio

        if self.is_cancelled or self.task.cancelled():
            return None if self.is_cancelled else asyncio.CancelledError()
        error = self.task.exception()
        if isinstance(error, BackendError) and self.is_reported:
            error = copy(error)
            error.maybe_billed = False
            error.attempts = 0
        self.is_reported = True
        return error


class Cached:
    """A backend that asks another one only for samples that are not stored.

    Completions from the store, and those that another caller is paying for at this moment,
    come back with `cached=True` and their nominal usage and latency. Of several callers for
    one prompt only one asks; if its request fails, the others get the same error, marked as
    neither billed nor attempted. Cancelling one of them does not disturb the rest.

    Args:
        inner: the backend that pays, or a function that makes it when first needed.
        store: where completions are kept; None keeps them until `aclose` (`--no-cache`), so
            that equal requests of one run are still paid once.
        refresh: accept only entries stored from now on, and replace the others.
        offline: never ask `inner`.
        notes: where closing puts what a user should be told.

    Attributes:
        has_loop: whether an event loop runs; without one nothing can be asked for.

    Raises:
        UsageError: when `refresh` and `offline` are both set.
    """

    def __init__(
        self,
        inner: Backend | Callable[[], Backend],
        store: Store | None,
        *,
        refresh: bool = False,
        offline: bool = False,
        notes: list[str] | None = None,
    ) -> None:
        if refresh and offline:
            raise UsageError("--refresh and --offline contradict each other")
        self._inner = inner
        self._live: Backend | None = None
        self.store = Store.temporary() if store is None else store
        self.has_loop = True
        self._since = self.store.begin_refresh() if refresh else 0
        self._offline = offline
        self._has_sibling = False  # which stores through the same connection
        self._notes = [] if notes is None else notes
        self._flights: dict[str, _Flight] = {}
        self._new_failures: set[tuple[str, int]] = set()
        self._old_refusals: set[tuple[str, int]] = set()

    @functools.cached_property
    def _commits(self) -> GroupCommit:
        from automix_cli.backends.group_commit import GroupCommit

        return GroupCommit(self.store)

    @functools.cached_property
    def _record(self) -> ServerRecord:
        from automix_cli.backends.server_record import ServerRecord  # a run that buys nothing needs none

        return ServerRecord()

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Return all `n` completions; fewer only when a later one failed, or has no text.

        Raises:
            BackendError: what the inner backend raises, or once raised for a refusal or a mute reply.
            CacheMiss: offline, and a sample is not stored.
            NeedsLoop: a sample is not stored, and no event loop runs.
            StorageError: when a completion cannot be stored.
        """
        prompt = fingerprint(request)
        samples = range(request.first, request.first + request.n)
        have: dict[int, Completion] = {}
        if request.n == 1:  # as most requests are: the short way
            if (completion := self.store.get(prompt, request.first, self._since)) is not None:
                return (completion,)
            missing: tuple[int, ...] = (request.first,)
        else:
            missing = self._look_up(prompt, samples, have)
        while missing:
            if failure := self.store.get_failure(prompt, missing[0], self._since):
                if missing[0] > request.first:
                    break
                self._note_refusal(failure, prompt, missing[0])
                raise failure
            self._check_may_ask(request, missing[0])
            flight = self._flights.get(prompt) or self._depart(prompt, request, missing)
            await self._arrive(flight)
            # Removed from the flight: the caller that wakes first counts them as bought, others as cached.
            have |= {i: flight.completions.pop(i) for i in missing if i in flight.completions}
            error = flight.error()
            if error and not set(self._look_up(prompt, samples, have)).isdisjoint(flight.samples):
                leading = tuple(have[i] for i in takewhile(have.__contains__, samples))
                if isinstance(error, BackendError) and not all(c.cached for c in leading):
                    return leading
                raise error
            missing = self._look_up(prompt, samples, have)
        return tuple(have[i] for i in takewhile(have.__contains__, samples))

    def _note_refusal(self, failure: BackendError, prompt: str, sample: int) -> None:
        """Note a refusal that an earlier run met, to be told at the end."""
        if failure.reply is None and (prompt, sample) not in self._new_failures:
            self._old_refusals.add((prompt, sample))

    def _check_may_ask(self, request: Request, sample: int) -> None:
        """Refuse to ask for a sample that is not stored where nothing can be asked for; see `complete`."""
        if self._offline:
            raise CacheMiss(
                f"sample {sample} of this prompt to {request.model} is not in the cache",
                hint="run once without --offline",
            )
        if not self.has_loop:
            raise NeedsLoop

    def _look_up(self, prompt: str, samples: Iterable[int], have: dict[int, Completion]) -> tuple[int, ...]:
        """Add stored samples to `have`; return those that are still missing."""
        missing = [i for i in samples if i not in have]
        if missing:
            have |= self.store.get_samples(prompt, missing, self._since)
        return tuple([i for i in missing if i not in have])

    def without_loop(self, job: Awaitable[T]) -> T:
        """The result of a job to which everything that it asks for is stored.

        Nothing is asked for and nothing is spent where something is not: the job can begin anew.

        Raises:
            NeedsLoop: a sample is not stored, or the job waits for something else.
        """
        self.has_loop = False
        try:
            return result_at_once(job)
        finally:
            self.has_loop = True

    # ------------------------------------------------------------ flights

    def _depart(self, prompt: str, request: Request, missing: tuple[int, ...]) -> _Flight:
        """Start a request for the missing samples, in a task that no single caller owns."""
        import asyncio

        flight = self._flights[prompt] = _Flight(missing, version=self.store.version)

        def end_flight(task: asyncio.Task[None]) -> None:
            del self._flights[prompt]
            if not task.cancelled():
                task.exception()  # retrieved, because asyncio warns of exceptions that are not
            for caller in flight.waiting:
                if not caller.done():
                    caller.set_result(None)

        flight.task = asyncio.create_task(self._fly(flight, prompt, request))
        flight.task.add_done_callback(end_flight)
        return flight

    async def _arrive(self, flight: _Flight) -> None:
        """Wait for a flight; when the last one waiting is cancelled, so is the flight."""
        import asyncio

        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flight.waiting.append(end)
        try:
            await end
        except asyncio.CancelledError:
            if len(flight.waiting) == 1:
                flight.is_cancelled = True
                flight.task.cancel()
                await asyncio.wait({flight.task})
            raise
        finally:
            flight.waiting.remove(end)

    async def _fly(self, flight: _Flight, prompt: str, request: Request) -> None:
        """Take the lease, look up what others have stored meanwhile, request the rest."""
        try:
            if self.store.is_shared:
                await self._take_lease(flight, prompt, request)
            runs = _runs(i for i in flight.samples if i not in flight.completions)
            for first, n in runs:
                is_last = (first, n) == runs[-1]
                await self._ask(flight, prompt, request.part(first, n), is_last=is_last)
        finally:
            if flight.has_lease:
                with contextlib.suppress(StorageError):  # it lapses with this process at the latest
                    self.store.release(prompt)

    async def _take_lease(self, flight: _Flight, prompt: str, request: Request) -> None:
        """Wait for the lease, and take up what is stored by then."""
        import asyncio

        # Outlives the slowest request (attempts, and the waits between them); the owner's death
        # is noticed without it, so it matters only for an owner on another machine.
        seconds = 15 * max(request.timeout, 4.0)
        pause = 0.02
        while not await self._commits.do(functools.partial(self._try_lease, flight, prompt, seconds)):
            while self.store.is_taken(prompt):
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, 0.5)

    def _try_lease(self, flight: _Flight, prompt: str, seconds: float) -> bool:
        flight.has_lease = self.store.take(prompt, seconds)
        if flight.has_lease and (self._has_sibling or flight.version != self.store.version):
            self._look_up(prompt, flight.samples, flight.completions)
        return flight.has_lease

    async def _ask(self, flight: _Flight, prompt: str, request: Request, *, is_last: bool) -> None:
        """Buy a run of samples, and store each before it is returned; the lease goes with the last."""
        inner = self._open_inner()
        while True:
            try:
                completions = (await inner.complete(request))[: request.n]
            except NO_ANSWER_ERRORS as exc:
                if exc.lasts:
                    keep = functools.partial(self.store.put_failure, prompt, request.first, exc)
                    await self._commits.do(keep, is_owed=True)
                    self._new_failures.add((prompt, request.first))
                raise
            if not completions:
                raise BadResponse(f"{request.model}: no completion came back")
            self._record.note(request, completions)
            new = dict(enumerate(completions, request.first))
            is_whole = len(new) == request.n
            is_end = flight.has_lease and is_last and is_whole
            await self._commits.do(functools.partial(self._keep, prompt, new, is_end=is_end), is_owed=True)
            flight.has_lease = flight.has_lease and not is_end
            flight.completions |= new
            if is_whole:
                return
            request = request.part(request.first + len(new), request.n - len(new))

    def _keep(self, prompt: str, completions: dict[int, Completion], *, is_end: bool) -> None:
        if is_end:
            self.store.put_and_release(prompt, completions)
        else:
            self.store.put(prompt, completions)

    def refreshing(self) -> Cached:
        """The same cache for somebody who accepts nothing that was stored before; this one closes both."""
        sibling = Cached(self._open_inner(), self.store, refresh=True, notes=self._notes)
        self._has_sibling = sibling._has_sibling = True
        return sibling

    def _open_inner(self) -> Backend:
        """The inner backend, made when first needed."""
        if self._live is None:
            self._live = self._inner() if callable(self._inner) else self._inner
        return self._live

    async def aclose(self) -> None:
        """Close the inner backend, if it was ever made, and the store."""
        try:
            if self._live is not None:
                await self._live.aclose()
        finally:
            if count := self.store.stats.corrupt:
                entries = "1 entry" if count == 1 else f"{count:,} entries"
                self._notes.append(
                    f"the cache in {self.store.folder} had {entries} damaged: not used, asked again"
                )
            if old := len(self._old_refusals):
                refusals = "1 refusal" if old == 1 else f"{old:,} refusals"
                self._notes.append(f"{refusals} remembered from an earlier run; --refresh asks again")
            if "_record" in vars(self):
                self._record.save(self.store)
            self.store.close()


def _runs(samples: Iterable[int]) -> list[tuple[int, int]]:
    """Contiguous runs of rising sample numbers, as (first, count).

    Example:
        >>> _runs([0, 1, 4])
        [(0, 2), (4, 1)]
    """
    runs: list[tuple[int, int]] = []
    for i in samples:
        if runs and sum(runs[-1]) == i:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((i, 1))
    return runs
