"""A backend that looks on disk before it pays.

    Cached.complete ─▶ all samples stored? ─▶ done, nothing spent
                    └▶ flight: one per prompt in this process ─▶ lease: one per prompt among
                       processes ─▶ inner backend ─▶ stored, then returned

A prompt is everything that changes the text: model, endpoint, messages and parameters. Each
sample of it is an entry of its own, so going from 4 votes to 8 pays for four. Timeouts, key
variables and `n` are no part of it.

A completion cut off at its token limit (flag `truncated`) is stored like any other: it was
paid for, and asking again would buy the same. Blank text is never stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from automix_cli.backends.base import Backend, Request
from automix_cli.backends.store import SCHEMA, Busy, Store, canonical
from automix_cli.errors import BackendError, BadResponse, CacheMiss, StorageError, UsageError
from automix_cli.records import Completion

T = TypeVar("T")


def fingerprint(request: Request) -> str:
    """SHA-256 of everything in a request that changes the text, the sample's number apart.

    Example:
        >>> a = Request(model="m", messages=(), params=(("top_p", 1), ("seed", 7)), timeout=5)
        >>> b = Request(model="m", messages=(), params=(("seed", 7), ("top_p", 1)), n=8)
        >>> fingerprint(a) == fingerprint(b)
        True
    """
    asked = {
        "schema": SCHEMA,
        "model": request.model,
        "api_base": request.api_base,
        "messages": request.messages,
        "params": request.param,
        **({"embeds": True} if request.embeds else {}),
    }
    return hashlib.sha256(canonical(asked).encode()).hexdigest()


@dataclass(slots=True)
class _Flight:
    """A request under way for some samples of a prompt, and how many callers wait for it.

    `done` fills as completions come, so that what a failing flight did buy is not lost.
    """

    samples: tuple[int, ...]
    done: dict[int, Completion] = field(default_factory=dict)
    waiting: int = 0
    dropped: bool = False
    blamed: bool = False
    task: asyncio.Task[None] = field(init=False)

    def error(self) -> BaseException | None:
        """Why it failed, if it did; only the first to ask is told of attempts and bills.

        A flight that was dropped for want of callers is no error: whoever joined it late
        asks again.
        """
        if self.dropped or self.task.cancelled():
            return None if self.dropped else asyncio.CancelledError()
        error = self.task.exception()
        if isinstance(error, BackendError) and self.blamed:
            error = copy(error)
            error.maybe_billed = False
            error.attempts = 0
        self.blamed = True
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
        self._since = time.time() if refresh else 0.0
        self._offline = offline
        self._notes = [] if notes is None else notes
        self._flights: dict[str, _Flight] = {}

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Return all `n` completions; fewer only when a later one failed after some were paid.

        Raises:
            BackendError: what the inner backend raised.
            CacheMiss: offline, and a sample is not stored.
            StorageError: when a completion cannot be stored.
        """
        prompt = fingerprint(request)
        wanted = range(request.first, request.first + request.n)
        have: dict[int, Completion] = {}
        while missing := self._look_up(prompt, wanted, have):
            if self._offline:
                raise CacheMiss(
                    f"sample {missing[0]} of this prompt to {request.model} is not in the cache",
                    hint="run once without --offline",
                )
            flight = self._flights.get(prompt) or self._depart(prompt, request, missing)
            await self._arrive(flight)
            # Taken out: the first to wake is the one who pays, the others find them stored.
            have |= {i: flight.done.pop(i) for i in missing if i in flight.done}
            error = flight.error()
            if error and not set(self._look_up(prompt, wanted, have)).isdisjoint(flight.samples):
                leading = tuple(have[i] for i in takewhile(have.__contains__, wanted))
                if isinstance(error, BackendError) and not all(c.cached for c in leading):
                    return leading
                raise error
        return tuple(have[i] for i in wanted)

    def _look_up(self, prompt: str, wanted: Iterable[int], have: dict[int, Completion]) -> tuple[int, ...]:
        """Add what is stored to `have`; return the samples that are still missing."""
        for sample in wanted:
            if sample not in have:
                stored = self.store.get(prompt, sample, self._since)
                if stored is not None:
                    have[sample] = stored
        return tuple(i for i in wanted if i not in have)

    # ------------------------------------------------------------ flights

    def _depart(self, prompt: str, request: Request, missing: tuple[int, ...]) -> _Flight:
        """Start asking for the missing samples, in a task that no single caller owns."""
        flight = self._flights[prompt] = _Flight(missing)

        def landed(task: asyncio.Task[None]) -> None:
            del self._flights[prompt]
            if not task.cancelled():
                task.exception()  # seen, even when no caller is left to be told

        flight.task = asyncio.create_task(self._fly(flight, prompt, request))
        flight.task.add_done_callback(landed)
        return flight

    async def _arrive(self, flight: _Flight) -> None:
        """Wait for a flight; when the last one waiting is cancelled, so is the flight."""
        flight.waiting += 1
        try:
            await asyncio.wait({flight.task})
        except asyncio.CancelledError:
            if flight.waiting == 1:
                flight.dropped = True
                flight.task.cancel()
                await asyncio.wait({flight.task})
            raise
        finally:
            flight.waiting -= 1

    async def _fly(self, flight: _Flight, prompt: str, request: Request) -> None:
        """Take the lease, see what others stored meanwhile, ask for the rest."""
        await self._take_lease(prompt, request)
        try:
            for first, n in _runs(self._look_up(prompt, flight.samples, flight.done)):
                await self._ask(flight, prompt, request.part(first, n))
        finally:
            with contextlib.suppress(StorageError):  # it lapses with this process at the latest
                self.store.release(prompt)

    async def _take_lease(self, prompt: str, request: Request) -> None:
        # Outlives the slowest request (attempts, and the waits between them); the owner's death
        # is noticed without it, so it matters only for an owner on another machine.
        seconds = 15 * max(request.timeout, 4.0)
        pause = 0.02
        while not await self._patiently(functools.partial(self.store.take, prompt, seconds)):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.5)

    async def _ask(self, flight: _Flight, prompt: str, request: Request) -> None:
        """Buy a run of samples, each stored before anybody sees it."""
        if self._live is None:
            self._live = self._inner() if callable(self._inner) else self._inner
        while request.n:
            bought = (await self._live.complete(request))[: request.n]
            if not bought:
                raise BadResponse(f"{request.model}: no completion came back")
            new = dict(enumerate(bought, request.first))
            await self._patiently(functools.partial(self.store.put, prompt, new))
            flight.done |= new
            request = request.part(request.first + len(new), request.n - len(new))

    async def _patiently(self, write: Callable[[], T]) -> T:
        """Try a write until the lock is free, without holding up the event loop, for the store's patience."""
        until = time.monotonic() + self.store.patience
        while True:
            try:
                return write()
            except Busy:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.1)

    async def aclose(self) -> None:
        """Close the inner backend, if it was ever made, and the store."""
        if self._live is not None:
            await self._live.aclose()
        if damaged := self.store.stats.corrupt:
            entries = "1 entry" if damaged == 1 else f"{damaged:,} entries"
            self._notes.append(
                f"the cache in {self.store.folder} had {entries} damaged: not used, asked again"
            )
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
