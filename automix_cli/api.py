"""Opens and closes what a run needs: profile, cache, client and budget.

Commands, servers and Python users begin here:

    choose_profile    which profile the options ask for
    Runtime           that profile with its cascade open; closes the cache and the connections
    open_wire         what stands behind the cache

Nothing here prints: what a person should know goes to a callback.

    with-block        async with Runtime(choose_profile(options), options) as cascade: ...
    one job           Runtime(choose_profile(options), options).run(job)
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.errors import MissingKey, StorageError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from automix_cli.backends.base import Backend, Request
    from automix_cli.backends.budget import Budget
    from automix_cli.backends.meter import MeteredBackend
    from automix_cli.backends.retry import Retrier
    from automix_cli.backends.store import Store
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.shadow import ShadowPlan
    from automix_cli.errors import BackendError
    from automix_cli.pomdp.problem import Policy
    from automix_cli.profile.model import Limits, Profile, Tier
    from automix_cli.records import ServiceTier
    from automix_cli.usage import Price

T = TypeVar("T")

TakeNote: TypeAlias = Callable[[str], None]
"""Takes one line that a person should know; the same line may come more than once."""


class CallOptions(Struct, frozen=True, kw_only=True):
    """The options that decide where completions come from.

    `max_cost_share` is the share of the cap, the profile's or that of `max_cost`, that this run may spend.
    After `patience` seconds without an answer, calls to an endpoint fail at once.
    """

    profile: str | None = None
    tiers: str | None = None
    tier: str | None = None
    no_cache: bool = False
    refresh: bool = False
    offline: bool = False
    concurrency: int | None = None
    max_cost: float | None = None
    on_budget: Literal["stop", "degrade"] = "stop"
    baseline: str | None = None
    shadow: float = 0.0
    seed: int = 0
    max_cost_share: float = 1.0
    patience: float = 60.0


def choose_profile(options: CallOptions) -> Profile:
    """The profile that `--profile`, `--tiers`, `--tier` and `-j` ask for.

    Raises:
        ProfileError: there is none, or it cannot be used.
        UsageError: the options contradict each other.
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
    return replace(profile, limits=_limits(profile.limits, options))


def _limits(limits: Limits, options: CallOptions) -> Limits:
    """The limits of a profile, with those of the options in their place."""
    if options.concurrency is not None:
        limits = replace(limits, concurrency=options.concurrency)
    if options.max_cost is not None:
        if not math.isfinite(options.max_cost):
            raise UsageError("--max-cost: expected dollars", hint="leave it out to set no cap")
        limits = replace(limits, max_cost=options.max_cost)
    if options.on_budget == "degrade" and limits.max_cost is None:
        raise UsageError("--on-budget degrade needs a budget", hint="--max-cost USD")
    if limits.max_cost is None or options.max_cost_share == 1:
        return limits
    return replace(limits, max_cost=limits.max_cost * options.max_cost_share)


def shadow_plan(profile: Profile, options: CallOptions) -> ShadowPlan | None:
    """What `--baseline`, `--shadow` and `--seed` ask for; None without the first two.

    Raises:
        UsageError: the baseline is no tier of the profile, or the only one.
    """
    if options.baseline is None and not options.shadow:
        return None
    from automix_cli.cascade.shadow import ShadowPlan
    from automix_cli.profile.router import baseline_of

    names = [tier.name for tier in profile.tiers]
    if options.shadow and len(names) == 1:
        raise UsageError(
            f"--shadow asks another tier, too, and {names[0]} is the only one",
            hint="leave out --tier, or name two models: --tiers A,B",
        )
    baseline = baseline_of(profile) if options.baseline is None else profile.tier(options.baseline)
    return ShadowPlan(baseline, options.shadow, options.seed)


# ---------------------------------------------------------------- open and close


class Runtime:
    """A profile with its cascade open: the cascade over the cache over whatever the models stand behind.

    `note` takes what a person should know, `detail` what only helps to find the cause of trouble.
    `embedder` is the embedding model that will be called besides the tiers; by default the one that
    the profile's router reads. `is_single` says that one question will be asked: what the router decides
    is then kept beside the completions, so that asking again needs no plan. `budget` stands in the place of
    the one that `limits.max_cost` asks for.

    Raises:
        UsageError: a key is missing, or a tier cannot give what the profile's signal needs; nothing
            was spent.

    Example:
        >>> from automix_cli.records import Question
        >>> options = CallOptions(profile="demo", no_cache=True)
        >>> runtime = Runtime(choose_profile(options), options)
        >>> runtime.run(lambda cascade: cascade.answer(Question(text="What is 17 * 23?"))).answer
        '391'
    """

    def __init__(
        self,
        profile: Profile,
        options: CallOptions = CallOptions(),
        *,
        note: TakeNote = lambda line: None,
        detail: TakeNote = lambda line: None,
        embedder: Tier | None = None,
        is_single: bool = False,
        budget: Budget | None = None,
    ) -> None:
        from automix_cli.profile.router import embedder_of

        self.note, self.detail, self._budget = note, detail, budget
        self._keep_memo: Callable[[], None] = lambda: None
        self._late_notes: list[str] = []
        embedder = embedder or embedder_of(profile)
        models = profile.tiers if embedder is None else (*profile.tiers, embedder)
        if not options.offline:
            _check_keys(models, profile)
            _check_signal(profile)
        for line in model_notes(models, profile):
            note(line)
        self._is_single = is_single
        self.cascade = self._open(profile, models, options, is_single and not options.no_cache)

    def _open(
        self, profile: Profile, models: Sequence[Tier], options: CallOptions, remembers: bool
    ) -> Cascade:
        from automix_cli.backends.cache import Cached
        from automix_cli.backends.store import Store
        from automix_cli.backends.store_folder import cache_folder
        from automix_cli.cascade.answer import Degrading
        from automix_cli.cascade.cascade import Cascade

        store = Store.temporary() if options.no_cache else Store(cache_folder(os.environ))
        policy = self._policy(profile, store if remembers else None)
        degrading = Degrading() if options.on_budget == "degrade" else None
        budget = self._budget or run_budget(profile, final=degrading is None)
        self.meter = open_wire(models, profile, self._late_notes, budget, options.patience, self._tell)
        backend = Cached(
            self.meter, store, refresh=options.refresh, offline=options.offline, notes=self._late_notes
        )
        self._cache = backend
        return Cascade(profile, backend, policy, degrading, shadow_plan(profile, options))

    def _tell(self, line: str) -> None:
        """Say something while the run goes on, to whoever takes notes then."""
        self.note(line)

    def _policy(self, profile: Profile, store: Store | None) -> Policy[Any] | None:
        """The policy of a calibrated profile; with a store, one that remembers there what it decided."""
        from automix_cli.profile.router import check_router, router_policy, settings_of

        check_router(profile)
        if store is None or (profile.router or {}).get("kind") != "pomdp":
            return router_policy(profile)
        from automix_cli.cascade.plan_memo import keep_memo, memo_key, open_memo

        def make() -> Policy[Any]:
            policy = router_policy(profile)
            assert policy is not None
            return policy

        names = tuple(tier.name for tier in profile.tiers)
        key = memo_key(profile.router or {}, settings_of(profile), names)
        memo = open_memo(store, key, make, len(names))
        self._keep_memo = lambda: keep_memo(store, key, memo)
        return memo

    async def __aenter__(self) -> Cascade:
        return self.cascade

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._keep_memo()
        except StorageError as exc:
            self.detail(f"the decisions were not kept: {exc.message}")
        try:
            await self.cascade.backend.aclose()
        except Exception as exc:  # what was asked for is there, and every completion is stored
            from automix_cli.backends.litellm_errors import message_of

            self.detail(f"closing the connections failed: {type(exc).__name__}: {message_of(exc)}")
        for line in self._late_notes:
            self.note(line)

    def run(self, job: Callable[[Cascade], Awaitable[T]]) -> T:
        """Run one job with an event loop of its own, and close everything at its end.

        A single question is first looked up without a loop: a cached answer needs none, and loading it takes
        long. The job begins anew where a call must be made: until then it must not show or write anything.
        """
        from automix_cli.backends.base import NeedsLoop

        if self._is_single:
            with suppress(NeedsLoop):
                return self._run_without_loop(job)
        import asyncio

        async def main() -> T:
            async with self as cascade:
                return await job(cascade)

        return asyncio.run(main())

    def _run_without_loop(self, job: Callable[[Cascade], Awaitable[T]]) -> T:
        """Run one job that makes no call, and close everything at its end.

        Raises:
            NeedsLoop: it has to make a call; nothing was closed.
        """
        from automix_cli.backends.base import NeedsLoop, result_at_once

        is_over = True
        try:
            return self._cache.without_loop(job(self.cascade))
        except NeedsLoop:
            is_over = False
            raise
        finally:
            if is_over:
                result_at_once(self.__aexit__(None, None, None))


def run_budget(profile: Profile, *, final: bool) -> Budget | None:
    """The budget of one run; None without a cap. A `final` one that has refused a call refuses all others."""
    cap = profile.limits.max_cost
    if cap is None:
        return None
    from automix_cli.backends.budget import Budget

    return Budget(cap, final=final)


def open_wire(
    models: Sequence[Tier],
    profile: Profile,
    late_notes: list[str],
    budget: Budget | None = None,
    patience: float = 60.0,
    note: TakeNote = lambda line: None,
) -> MeteredBackend:
    """What stands behind the cache: the simulated tiers, the direct client, and LiteLLM for all others.

    `models` are the tiers, and the embedding model if there is one; `late_notes` collects what the
    backends have to say at the end of the run, `note` takes what cannot wait. Nothing is sent
    that does not fit into `budget`.
    """
    from automix_cli.backends.base import ChosenBackend
    from automix_cli.backends.choice import client_for
    from automix_cli.backends.meter import MeteredBackend
    from automix_cli.cascade.failed_attempts import note_maybe_billed

    tiers = {(t.model, t.api_base): t for t in models}
    rpm = {t.model: t.rpm for t in models if t.rpm}
    hooks = _Hooks([note_maybe_billed])
    clients = _ClientMaker(profile.limits, rpm, hooks, late_notes, patience, note)
    wire: Backend = ChosenBackend(
        {"demo": _demo_backend, "direct": clients.direct, "litellm": clients.litellm}, client_for
    )
    if budget is not None:
        wire = _within_budget(wire, tiers, profile, hooks, budget)
    meter = MeteredBackend(
        inner=wire,
        price=lambda r, service: tiers[r.model, r.api_base].price_of(service),
        most_price=lambda r: tiers[r.model, r.api_base].most_price(),
    )
    hooks.on_maybe_billed.insert(0, meter.note_maybe_billed)  # before the budget may refuse
    return meter


class _Hooks(Struct):
    """Who is told of the attempts of clients: that one failed but may be billed, leaves, or has its reply."""

    on_maybe_billed: list[Callable[[Request, BackendError], None]]
    before_send: Callable[[Request], None] | None = None
    on_reply: Callable[[Request, Any], None] | None = None


def _within_budget(
    wire: Backend, tiers: Mapping[Any, Tier], profile: Profile, hooks: _Hooks, budget: Budget
) -> Backend:
    """A backend within a budget, told of every attempt of the clients behind it."""
    from automix_cli.backends.budget import BudgetedBackend

    prices = {key: _price_for_budget(profile, tier, budget.option) for key, tier in tiers.items()}

    def served_price(request: Request, service: ServiceTier) -> Price:
        key = (request.model, request.api_base)
        return profile.budget_price(tiers[key], service) or prices[key]

    backend = BudgetedBackend(
        wire,
        budget,
        lambda r: prices[r.model, r.api_base],
        served_price,
    )
    hooks.on_maybe_billed.append(backend.note_maybe_billed)
    hooks.before_send, hooks.on_reply = backend.check_before_send, backend.note_reply
    return backend


def _demo_backend() -> Backend:
    from automix_cli.backends.demo.tiers import DemoBackend

    return DemoBackend()


class _ClientMaker:
    """Makes the clients of model servers, which share their limits: one concurrency, one pace a model."""

    def __init__(
        self,
        limits: Limits,
        rpm: Mapping[str, float],
        hooks: _Hooks,
        late_notes: list[str],
        patience: float,
        note: TakeNote,
    ) -> None:
        self._limits, self._rpm, self._late_notes = limits, rpm, late_notes
        self._hooks, self._patience, self._note = hooks, patience, note

    @cached_property
    def _retrier(self) -> Retrier:
        from automix_cli.backends.retry import Retrier

        def note_all(request: Request, error: BackendError) -> None:
            for note in self._hooks.on_maybe_billed:
                note(request, error)

        return Retrier(
            attempts=self._limits.attempts,
            concurrency=self._limits.concurrency,
            patience=self._patience,
            rpm=self._rpm,
            on_maybe_billed=note_all,
            before_send=self._hooks.before_send,
            on_reply=self._hooks.on_reply,
            note=self._note,
        )

    def direct(self) -> Backend:
        from automix_cli.backends.openai_http import DirectBackend

        return DirectBackend(self._retrier, notes=self._late_notes)

    def litellm(self) -> Backend:
        from automix_cli.backends.litellm import LiteLLMBackend

        return LiteLLMBackend(self._retrier, notes=self._late_notes)


# ---------------------------------------------------------------- checks before anything is spent


def missing_key(tier: Tier) -> str | None:
    """The variable that a tier's key should stand in, when no variable holds one."""
    names = tier.key_envs()
    return None if not names or any(os.environ.get(n) for n in names) else names[0]


def _check_keys(models: Sequence[Tier], profile: Profile) -> None:
    """Refuse to start when a tier's key is not in the environment: half a run helps nobody."""
    for tier in models:
        variable = missing_key(tier)
        if variable:
            name = f"tier {tier.name} ({tier.model})" if tier in profile.tiers else tier.model
            raise MissingKey(f"{name} needs a key: {variable} is not set", variable=variable)


def _check_signal(profile: Profile) -> None:
    """Refuse log-probabilities where a provider gives none: half-way through is too late to learn it."""
    verification = profile.verification
    if verification.signal != "logprob":
        return
    from automix_cli.backends.choice import gives_logprobs

    alternatives = verification.logprob_of != "answer"
    signal_tiers = profile.tiers if len(profile.tiers) == 1 or verification.last_tier else profile.tiers[:-1]
    for tier in signal_tiers:
        if not gives_logprobs(tier.client(), tier.model, alternatives=alternatives):
            raise UsageError(
                f"tier {tier.name} ({tier.model}) gives no log-probabilities",
                hint="the signals votes and consistency work with every model",
            )


def _price_for_budget(profile: Profile, tier: Tier, option: str) -> Price:
    """What the budget of an option counts for a tier: a cap on unknown prices would be no cap."""
    price = profile.budget_price(tier)
    if price is None:
        from automix_cli.profile.unknown_prices import embedding_price_line

        where = f"at tier {tier.name}: price: {{input: …, output: …}}"
        raise UsageError(
            f"{option} needs the price of {tier.model}, which is unknown",
            hint=f"tell it in the profile, {where if tier in profile.tiers else embedding_price_line(tier)}",
        )
    return price


# ---------------------------------------------------------------- what a person should know


def model_notes(models: Sequence[Tier], profile: Profile) -> Iterator[str]:
    """What a person should know of the models before they are called."""
    if any(t.api_base is None and not t.model.startswith("demo/") for t in models):
        from automix_cli.backends.endpoints import endpoint_notes

        yield from endpoint_notes(os.environ)
    if any(t.model.startswith("demo/") for t in models):
        yield "demo tiers: simulated models, no network, prices made up"
    from automix_cli.profile.unknown_prices import price_notes

    yield from price_notes(profile, models)


def router_notes(profile: Profile) -> Iterator[str]:
    """Whether decisions are calibrated, and whether what they were calibrated on is still the case."""
    from automix_cli.profile.router import fit_notes, is_calibrated

    if not is_calibrated(profile) and len(profile.tiers) > 1:
        from automix_cli.cascade.uncalibrated import notes

        yield from notes(profile)
    router = profile.router or {}
    if (
        is_calibrated(profile)
        and router.get("kind") != "always"
        and (router.get("fitted") or {}).get("unproven")
    ):
        yield f"the router of profile {profile.name} is unproven: its rows do not show that it pays"
    yield from fit_notes(profile)
