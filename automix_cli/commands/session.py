"""What a command that calls models has open: a profile, a cascade, the cache, and a reporter on stderr."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from automix_cli.errors import StorageError, UsageError, redact

if TYPE_CHECKING:
    from rich.console import Console

    from automix_cli.backends.base import Backend, Request
    from automix_cli.cascade.batch import Batch
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.data.output import Earlier
    from automix_cli.profile.model import Limits, Profile, Tier
    from automix_cli.records import Price


_GRACE = 15  # seconds for rows in flight, once somebody wants to stop


@dataclass(slots=True)
class Reporter:
    """Messages for the person at the terminal: stderr, never stdout.

    `later` collects what the cache and the backends have to tell when the run is over.
    """

    quiet: bool = False
    verbose: bool = False
    later: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """Print a line, unless quiet; it may quote what a server said, and that may quote a key."""
        if self.quiet:
            return
        try:
            print(redact(text), file=sys.stderr, flush=True)
        except BrokenPipeError:
            raise
        except OSError:  # a full disk behind stderr: what was paid for matters more than what is said of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def once(self, text: str) -> None:
        """Print a line the first time only."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def detail(self, text: str) -> None:
        """Print a line only when asked for more."""
        if self.verbose:
            self.say(text)

    @property
    def animated(self) -> bool:
        """Whether a progress bar would be seen."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def stdout_console() -> Console:
    """A Rich console on stdout for tables; piped, it is as wide as it needs to be and has no colour."""
    from rich.console import Console

    class Tables(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 (called where the error is at hand; Rich itself would exit with 1)

    out = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (the caller closed stdout)
    wide = None if out.isatty() else 120
    console = Tables(file=out, highlight=False, markup=False, emoji=False, width=wide)
    if console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


def stderr_console() -> Console:
    """A Rich console on stderr; it honours NO_COLOR and TERM=dumb by itself."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How results are shown, and where they go."""

    json: bool = False
    explain: bool = False
    output: Path | None = None
    force: bool = False
    ordered: bool = True
    silent: bool = False
    earlier: Earlier | None = None

    @property
    def name(self) -> str:
        """The destination, for messages."""
        return str(self.output or "stdout")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options that decide where completions come from."""

    profile: str | None = None
    tiers: str | None = None
    tier: str | None = None
    no_cache: bool = False
    refresh: bool = False
    offline: bool = False
    concurrency: int | None = None
    max_cost: float | None = None
    on_budget: Literal["stop", "degrade"] = "stop"


def choose_profile(options: CallOptions) -> Profile:
    """The profile that `--profile`, `--tiers`, `--tier` and `-j` ask for.

    Raises:
        ProfileError: when none is found or it cannot be used.
        UsageError: when the options contradict each other.
    """
    from automix_cli.profile.search import load_profile, profile_of_models

    if options.profile and options.tiers:
        raise UsageError("--profile and --tiers exclude each other")
    if options.offline and (options.refresh or options.no_cache):
        raise UsageError("--offline answers from the cache: it excludes --refresh and --no-cache")
    if options.tiers:
        profile = profile_of_models([m.strip() for m in options.tiers.split(",") if m.strip()])
    else:
        profile = load_profile(options.profile)
    if options.tier:
        profile = replace(profile, tiers=(profile.tier(options.tier),), router=None)
    limits = profile.limits
    if options.concurrency is not None:
        limits = replace(limits, concurrency=options.concurrency)
    if options.max_cost is not None:
        if not math.isfinite(options.max_cost):
            raise UsageError("--max-cost: expected dollars", hint="leave it out to set no cap")
        limits = replace(limits, max_cost=options.max_cost)
    if options.on_budget == "degrade" and limits.max_cost is None:
        raise UsageError("--on-budget degrade needs a budget", hint="--max-cost USD")
    return replace(profile, limits=limits)


def open_cascade(
    profile: Profile, options: CallOptions, reporter: Reporter, embedder: Tier | None = None
) -> Cascade:
    """The cascade over the cache over whatever the models stand behind.

    `embedder` is the embedding model that will be called besides the tiers; by default the one that
    the profile's router reads.

    Raises:
        Unauthorised: (exit 2 here, nothing was spent) when a key is missing.
    """
    from automix_cli.backends.cache import Cached
    from automix_cli.backends.store import Store
    from automix_cli.backends.store_folder import cache_folder
    from automix_cli.cascade.answer import Degrading
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.profile.router import embedder_of, router_policy

    embedder = embedder or embedder_of(profile)
    called = profile.tiers if embedder is None else (*profile.tiers, embedder)
    if not options.offline:
        _check_keys(called, profile)
        _check_signal(profile)
    announce(called, profile, reporter)
    store = Store.temporary() if options.no_cache else Store(cache_folder(os.environ))
    degrading = Degrading() if options.on_budget == "degrade" else None
    wire = open_wire(called, profile, reporter, final=degrading is None)
    backend = Cached(wire, store, refresh=options.refresh, offline=options.offline, notes=reporter.later)
    return Cascade(profile, backend, router_policy(profile), degrading)


def open_wire(called: Sequence[Tier], profile: Profile, reporter: Reporter, *, final: bool = True) -> Backend:
    """What stands behind the cache: the simulated tiers, and LiteLLM for all others.

    `called` are the tiers, and the embedding model if there is one. `final` tells whether the
    budget, once it has refused a call, refuses all others.
    """
    from automix_cli.backends.base import PrefixBackend
    from automix_cli.backends.budget import Budget, BudgetedBackend
    from automix_cli.cascade.bills import note_maybe_billed

    on_maybe_billed = [note_maybe_billed]
    rpm = {t.model: t.rpm for t in called if t.rpm}
    wire = PrefixBackend(
        {"demo/": _demo_backend, "": lambda: _litellm_backend(profile.limits, rpm, on_maybe_billed, reporter)}
    )
    if profile.limits.max_cost is None:
        return wire
    prices = {(t.model, t.api_base): _price_for_budget(profile, t) for t in called}
    budgeted = BudgetedBackend(
        wire, Budget(profile.limits.max_cost, final=final), lambda r: prices[r.model, r.api_base]
    )
    on_maybe_billed.append(budgeted.note_maybe_billed)
    return budgeted


def _price_for_budget(profile: Profile, tier: Tier) -> Price:
    """What a budget counts for a tier: a cap on unknown prices would be no cap."""
    price = profile.budget_price(tier)
    if price is None:
        where = f"at tier {tier.name}: price: {{input: …, output: …}}"
        raise UsageError(
            f"--max-cost needs the price of {tier.model}, which is unknown",
            hint=f"tell it in the profile, {where if tier in profile.tiers else price_of_embedding(tier)}",
        )
    return price


def price_of_embedding(tier: Tier) -> str:
    """How a profile tells the price of an embedding model."""
    return f"embedding: {{model: {tier.model}, price: {{input: …}}}}"


def _demo_backend() -> Backend:
    from automix_cli.backends.demo.tiers import DemoBackend

    return DemoBackend()


def _litellm_backend(
    limits: Limits,
    rpm: Mapping[str, float],
    on_maybe_billed: Sequence[Callable[[Request], None]],
    reporter: Reporter,
) -> Backend:
    from automix_cli.backends.litellm import LiteLLMBackend
    from automix_cli.backends.retry import Retrier

    def tell(request: Request) -> None:
        for told in on_maybe_billed:
            told(request)

    return LiteLLMBackend(
        Retrier(
            attempts=limits.attempts,
            concurrency=limits.concurrency,
            rpm=rpm,
            on_maybe_billed=tell,
        ),
        notes=reporter.later,
    )


def run_live(cascade: Cascade, job: Callable[[Cascade], Awaitable[int]], reporter: Reporter) -> int:
    """Run a job with an event loop of its own; the cache and the connections are closed at its end."""
    import asyncio

    async def main() -> int:
        try:
            return await job(cascade)
        finally:
            await cascade.backend.aclose()
            for note in reporter.later:
                reporter.once(note)

    return asyncio.run(main())


def _check_keys(called: Sequence[Tier], profile: Profile) -> None:
    """Refuse to start when a tier's key is not in the environment: half a run helps nobody."""
    for tier in called:
        missing = missing_key(tier)
        if missing:
            name = f"tier {tier.name} ({tier.model})" if tier in profile.tiers else tier.model
            raise UsageError(
                f"{name} needs a key: {missing} is not set",
                hint=f'export {missing}=…, or without a key: automix ask --profile demo "What is 17 * 23?"',
            )


def _check_signal(profile: Profile) -> None:
    """Refuse log-probabilities where a provider gives none: half-way through is too late to learn it."""
    verification = profile.verification
    if verification.signal != "logprob":
        return
    from automix_cli.backends.litellm_library import listed_params

    wanted = {"logprobs"} if verification.logprob_of == "answer" else {"logprobs", "top_logprobs"}
    verified = profile.tiers if len(profile.tiers) == 1 or verification.last_tier else profile.tiers[:-1]
    for tier in verified:
        if not tier.model.startswith("demo/") and not wanted <= listed_params(tier.model):
            raise UsageError(
                f"tier {tier.name} ({tier.model}) gives no log-probabilities",
                hint="the signals votes and consistency work with every model",
            )


def missing_key(tier: Tier) -> str | None:
    """The variable a tier's key should be in, when it is in none that it could be."""
    names = tier.key_envs()
    return None if not names or any(os.environ.get(n) for n in names) else names[0]


def announce(called: Sequence[Tier], profile: Profile, reporter: Reporter) -> None:
    """What a person should know of the models before they are asked, each once."""
    from automix_cli.backends.endpoints import endpoint_notes

    if any(t.api_base is None and not t.model.startswith("demo/") for t in called):
        for note in endpoint_notes(os.environ):
            reporter.once(note)
    if any(t.model.startswith("demo/") for t in called):
        reporter.once("demo tiers: simulated models, no network, prices made up")
    for tier in called:
        if tier.list_price() is None:
            reporter.once(f"price of {tier.model} unknown, so costs are null; tell it in the profile:")
            own = f"- {{name: {tier.name}, model: {tier.model}, price: {{input: …, output: …}}}}"
            reporter.once(f"  {own if tier in profile.tiers else price_of_embedding(tier)}")


def announce_router(profile: Profile, reporter: Reporter) -> None:
    """Whether the decisions to come were learned, and whether from what is still the case."""
    from automix_cli.profile.router import differences

    if profile.router is None and len(profile.tiers) > 1:
        reporter.once(
            f"profile {profile.name} is uncalibrated: it escalates when most votes say no; "
            "automix calibrate learns from your rows"
        )
    changed = differences(profile)
    if changed:
        reporter.once(f"{' and '.join(changed)} changed since this profile was calibrated: calibrate again")


def require_place(show: Show) -> None:
    """Refuse to spend on results that have nowhere to go.

    Raises:
        UsageError: stdout is closed, or the output file exists and may be neither replaced nor continued.
    """
    if show.output is None and sys.stdout is None and not show.silent:
        raise UsageError("stdout is closed: there is nowhere to write to", hint="-o FILE")
    if show.output is None:
        return
    there = os.path.exists(show.output)  # false, not an error, for a name that is too long
    if there and not os.path.isfile(show.output):
        raise UsageError(f"{show.output}: is not a regular file")
    if there and not show.force:
        raise UsageError(f"{show.output}: exists", hint="--force overwrites it, --resume continues it")


def require_other(source_fd: int, output: Path | None) -> None:
    """Refuse to write over what is being read.

    Raises:
        UsageError: input and output are the same file.
    """
    if output is not None and os.path.exists(output) and os.path.samestat(os.fstat(source_fd), output.stat()):
        raise UsageError(f"{output}: is the input as well; results need a file of their own")


@contextmanager
def written_to(show: Show) -> Iterator[IO[bytes]]:
    """The output file, locked while it is written, or stdout."""
    from automix_cli.data.output import open_output

    if show.earlier is not None:
        yield show.earlier.stream
    elif show.silent:
        with open(os.devnull, "wb") as nowhere:
            yield nowhere
    elif show.output is None:
        yield sys.stdout.buffer
    else:
        file = open_output(show.output, force=show.force)
        try:
            yield file
        finally:
            with suppress(OSError):  # every row was flushed; the rest is of one that has been told about
                file.close()


class Result(Protocol):
    """What a batch yields: something that is a row."""

    def to_dict(self) -> dict[str, Any]:
        """The row."""
        ...


class RowSource(Protocol):
    """Where rows come from."""

    @property
    def total(self) -> int | None:
        """How many there are, where that is known."""
        ...

    def stream(self) -> AsyncIterator[Any]:
        """The rows, in order."""
        ...


T = TypeVar("T", bound=Result)


async def run_rows(
    batch: Batch[Any, T],
    rows: RowSource,
    show: Show,
    reporter: Reporter,
    seen: Callable[[T], None],
    note: Callable[[float], str],
) -> list[int]:
    """Run a batch over rows: each result is written before it is counted by `seen`.

    `note` is the text beside the progress bar, given the seconds so far. Returns the
    signals that ended the run early.
    """
    from automix_cli.data.output import RowWriter

    with (
        written_to(show) as out,
        interruptible(batch, reporter) as met,
        _progress(rows, reporter, note) as advance,
    ):
        writer = RowWriter(out, show.name)
        async with aclosing(batch.run(rows.stream())) as results:
            try:
                async for result in results:
                    if row := result.to_dict():
                        writer.write(row)
                    seen(result)
                    advance()
            except (StorageError, BrokenPipeError):
                await batch.drain()  # what is being paid for goes to the cache, though its row goes nowhere
                raise
    return met


@contextmanager
def _progress(
    rows: RowSource, reporter: Reporter, note: Callable[[float], str]
) -> Iterator[Callable[[], None]]:
    """A bar with rate, errors, dollars and time left; silent off a terminal."""
    if not reporter.animated:
        yield lambda: None
        return
    from automix_cli.views.report import batch_progress

    with batch_progress(stderr_console()) as bar:
        task, started = bar.add_task("", total=rows.total, note=""), time.monotonic()
        yield lambda: bar.update(task, advance=1, note=note(time.monotonic() - started))


@contextmanager
def interruptible(batch: Batch[Any, Any], reporter: Reporter) -> Iterator[list[int]]:
    """First Ctrl-C, SIGTERM or SIGHUP: start no more rows and finish those in flight; second: drop them.

    Yields the list that the signals met are appended to. What the caller had ignored (`nohup`, a job
    in the background) stays ignored.
    """
    import asyncio

    met: list[int] = []
    kinds = [
        k for k in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(k) != signal.SIG_IGN
    ]

    def stop(number: int) -> None:
        met.append(number)
        if len(met) == 1:
            reporter.say(f"stopping: finishing the rows in flight; again, or in {_GRACE} s, drops them")
            loop.call_later(_GRACE, lambda: batch.stop(drop=True))
        batch.stop(drop=len(met) > 1)

    loop = asyncio.get_running_loop()
    for number in kinds:
        loop.add_signal_handler(number, stop, int(number))
    try:
        yield met
    finally:
        for number in kinds:
            loop.remove_signal_handler(number)
