"""The profile: the tiers, how their answers are verified, and the router that decides between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs
from msgspec.structs import replace

from automix_cli.backends import catalog
from automix_cli.backends.choice import BackendName, ClientName, client_of
from automix_cli.errors import UsageError, did_you_mean
from automix_cli.pomdp.signals import LogprobOf, Signal
from automix_cli.prompts.examples import VerificationExample
from automix_cli.records import ServiceTier
from automix_cli.usage import Price

MAX_TIERS = 6
MAX_VOTES = 64

Origin = Literal["bundled", "named", "environment", "discovered", "user", "tiers-option"]


class Tier(Struct, frozen=True, kw_only=True):
    """One rung: a model with a price, cheapest first.

    `price` is what the profile says; `list_price()` falls back on LiteLLM's table.
    `params` are sampling parameters by name; `api_key_env` names the variable that holds
    the key (`key_envs()` says which are read without it). `backend` is the client that calls it,
    `service_tier` the service that is asked for; prices of the profile are those of the standard one.
    """

    name: str
    model: str
    price: Price | None = None
    params: tuple[tuple[str, Any], ...] = ()
    api_base: str | None = None
    api_key_env: str | None = None
    rpm: int | None = None
    backend: BackendName = "auto"
    service_tier: ServiceTier | None = None

    def client(self) -> ClientName:
        """The client that calls the model."""
        params = dict(self.params)
        return client_of(self.model, params, api_base=self.api_base, backend=self.backend)

    def list_price(self) -> Price | None:
        """The price of the service that is asked for; None when it is unknown."""
        return self.price_of(self.service_tier or "standard")

    def price_of(self, service: ServiceTier) -> Price | None:
        """The price of a service: the standard one's, changed as LiteLLM's table changes it.

        Where the table does not know that service, a price of the profile counts as it stands, and so
        does the table's for a tier that asks for no service; else it is unknown.
        """
        standard = self.standard_price()
        if service == "standard" or standard is None or not (standard.input or standard.output):
            return standard
        price = catalog.service_price(self.model, service, standard)
        is_known = self.price is not None or self.service_tier is None
        return standard if price is None and is_known else price

    def most_price(self) -> Price | None:
        """The most that a call can be charged: flex may be served, and billed, as standard."""
        price, standard = self.list_price(), self.standard_price()
        if price is None or standard is None or price == standard:
            return price
        return higher_price(price, standard)

    def standard_price(self) -> Price | None:
        """The profile's price, else the table's, else None: unknown.

        A local server's zero holds only while it is local: behind another host's
        `api_base` somebody may charge.
        """
        if self.price or (
            self.api_base and catalog.is_local(self.model) and not catalog.is_loopback(self.api_base)
        ):
            return self.price and catalog.with_write_rate(self.model, self.price)
        return catalog.list_price(self.model)

    def context_window(self) -> int | None:
        """How many input tokens the model takes, where LiteLLM's table knows."""
        return catalog.context_window(self.model)

    def key_envs(self) -> tuple[str, ...]:
        """Variables that may hold the key, in order of preference.

        A key goes only to the host it belongs to: with an `api_base` none but the variable
        that the profile names for it.
        """
        if self.api_key_env:
            return (self.api_key_env,)
        return () if self.api_base else catalog.standard_key_envs(self.model)


class Task(Struct, frozen=True, kw_only=True):
    """The instruction that every tier gets, and how an answer is scored.

    `abstain_value` is the worth of "no answer" on the score's scale; None: always answer.
    A score of at least `pass_score` counts as right.
    """

    instruction: str = "Answer as concisely as you can."
    scorer: str = "exact"
    abstain_value: float | None = None
    pass_score: float = 0.5


class VerificationSettings(Struct, frozen=True, kw_only=True):
    """Where confidence comes from and how much of it may be bought.

    `batch` holds how many votes one action may buy; `max_votes` 0 switches verification
    off. A `temperature` of None leaves it to the provider, since many models refuse one.
    Without `examples` the built-in ones are used.
    """

    signal: Signal = "votes"
    logprob_of: LogprobOf = "verdict"
    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    temperature: float | None = 1.0
    max_tokens: int = 512
    examples: tuple[VerificationExample, ...] = ()
    last_tier: bool = False


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of a run: requests in flight, seconds a call, attempts a call, dollars a run."""

    concurrency: int = 16
    timeout: float = 60.0
    attempts: int = 6
    max_cost: float | None = None


class Profile(Struct, frozen=True, kw_only=True):
    """A checked profile; `router` is the block `automix calibrate` wrote, None when uncalibrated.

    `router` is checked for its form only (known kind, finite numbers); `fitting` reads the rest.
    `embedding` holds price and address of an embedding model; `--embed-model` and the router
    decide whether one is used. `sources` gives for every key path the file and line of its value.
    """

    name: str
    tiers: tuple[Tier, ...]
    task: Task = Task()
    verification: VerificationSettings = VerificationSettings()
    router: Mapping[str, Any] | None = None
    embedding: Tier | None = None
    limits: Limits = Limits()
    path: Path | None = None
    origin: Origin = "named"
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether the user named this profile; a discovered one is not trusted."""
        return self.origin != "discovered"

    @property
    def sha(self) -> str:
        """Short hash over all that changes answers or routing.

        That is tiers, embedding, task, verification and router; prices too, where the profile
        has them, because planned costs steer the router. Left out are limits, keys, file names
        and the router's notes on its own fitting; LiteLLM's table too, because a half-finished
        output must stay resumable after an upgrade.
        """
        import hashlib

        body = self.to_dict()
        embedding = {"embedding": _routing_settings(body["embedding"])} if "embedding" in body else {}
        parts = {
            **embedding,
            "tiers": [_routing_settings(tier) for tier in body["tiers"]],
            "task": body["task"],
            "verification": body["verification"],
            "router": {k: v for k, v in (self.router or {}).items() if k != "fitted"},
        }
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def tier(self, name: str) -> Tier:
        """The tier of that name.

        Raises:
            UsageError: there is none.
        """
        for tier in self.tiers:
            if tier.name == name:
                return tier
        names = [t.name for t in self.tiers]
        raise UsageError(
            f"profile {self.name} has no tier {name}{did_you_mean(name, names)}",
            hint=f"tiers: {', '.join(names)}",
        )

    def embedder(self, model: str) -> Tier:
        """Price and address of an embedding model: from `embedding` where that names it, else defaults."""
        own = self.embedding
        return own if own is not None and own.model == model else embedding_tier(model=model)

    def budget_price(self, tier: Tier, service: ServiceTier | None = None) -> Price | None:
        """What a budget counts for `tier`: a discovered profile never less than LiteLLM's table.

        That is the price of a service, or the most that a call can be charged. A discovered zero for
        a provider that charges is unknown, not free.
        """
        price = _price_by(tier, service)
        if self.trusted or tier.price is None or price is None:
            return price
        table = _price_by(replace(tier, price=None), service)
        if table is None:
            return price if price.input > 0 and (price.output > 0 or tier == self.embedding) else None
        return higher_price(price, table)

    def to_dict(self) -> dict[str, Any]:
        """The effective profile in the shape of its YAML; what is unset is left out."""
        settings: dict[str, Any] = {"version": 1, "name": self.name}
        settings["tiers"] = [tier_dict(tier) for tier in self.tiers]
        settings["task"] = _settings_dict(self.task)
        settings["verification"] = _settings_dict(self.verification)
        settings["verification"]["examples"] = [
            _set_only({**e._asdict(), "choices": list(e.choices)}) for e in self.verification.examples
        ]
        if self.embedding is not None:
            settings["embedding"] = _embedding_dict(self.embedding)
        if self.router is not None:
            settings["router"] = dict(self.router)
        settings["limits"] = _settings_dict(self.limits)
        return settings


def _price_by(tier: Tier, service: ServiceTier | None) -> Price | None:
    return tier.most_price() if service is None else tier.price_of(service)


def higher_price(price: Price, other: Price) -> Price:
    """The higher of two prices, rate by rate.

    Example:
        >>> higher_price(Price(input=1, output=4), Price(input=2, output=3))
        Price(input=2, output=4, cached_input=2, cache_write=2)
    """
    return Price(
        input=max(price.input, other.input),
        output=max(price.output, other.output),
        cached_input=max(price.cached_rate, other.cached_rate),
        cache_write=max(price.write_rate, other.write_rate),
    )


def _settings_dict(settings: Any) -> dict[str, Any]:
    """A struct as a dictionary of one level, tuples as lists."""
    values = structs.asdict(settings)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != []}


def tier_dict(tier: Tier) -> dict[str, Any]:
    """A tier as the YAML has it."""
    settings = _settings_dict(tier)
    settings["price"] = _set_only(structs.asdict(tier.price)) if tier.price else None
    settings["params"] = dict(tier.params) or None
    settings["backend"] = None if tier.backend == "auto" else tier.backend
    return _set_only(settings)


def _embedding_dict(embedding: Tier) -> dict[str, Any]:
    """The `embedding` block as the YAML has it."""
    settings = tier_dict(embedding)
    del settings["name"]
    if embedding.price is not None:
        settings["price"] = {"input": embedding.price.input}
    return settings


def _routing_settings(tier: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a tier that change answers or routing; either client gets the same answers."""
    return {key: value for key, value in tier.items() if key not in ("api_key_env", "rpm", "backend")}


def embedding_tier(**settings: Any) -> Tier:
    """An embedding model as a tier that answers nothing."""
    return Tier(name="embedding", **settings)


def order_problems(tiers: Sequence[Tier | None], names: Sequence[str | None]) -> list[tuple[int, str]]:
    """Tiers that repeat an earlier one, or are cheaper than the one before in every respect."""
    problems = []
    for i, tier in enumerate(tiers):
        for j, earlier in enumerate(tiers[:i]):
            if names[i] is not None and names[i] == names[j]:
                problems.append((i, f"is named {names[i]} like tiers[{j}]"))
            elif tier and earlier and _called_alike(tier, earlier):
                problems.append((i, f"is the same model with the same parameters as tiers[{j}]"))
        before = tiers[i - 1] if i else None
        if tier and before and _undercuts(tier.list_price(), before.list_price()):
            problems.append((i, f"costs less than tiers[{i - 1}]: put the cheapest tier first"))
    return problems


def _called_alike(tier: Tier, other: Tier) -> bool:
    """Whether a call of one is a call of the other."""
    return (tier.model, tier.params, tier.api_base) == (other.model, other.params, other.api_base)


def _undercuts(price: Price | None, other: Price | None) -> bool:
    """Whether `price` is nowhere above `other` and somewhere below; unknown prices are not compared."""
    if price is None or other is None:
        return False
    pairs = ((price.input, other.input), (price.output, other.output))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
