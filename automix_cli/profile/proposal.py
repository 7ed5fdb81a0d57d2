"""What a machine has to make tiers of: keys of providers, and servers with models of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from automix_cli.backends.catalog import model_problem, provider_of, standard_key_envs
from automix_cli.backends.local_servers import (
    LOCAL_SERVERS,
    LocalServer,
    ServerReply,
    ask_all,
    ollama_address,
)
from automix_cli.errors import UsageError
from automix_cli.profile.bundled import bundled_path
from automix_cli.profile.model import MAX_TIERS, Tier, order_problems
from automix_cli.profile.read import read_profile
from automix_cli.profile.tier_order import cheapest_first
from automix_cli.texts import TIER_NAME, TIER_NAME_RULE

_WITH_PROFILES = ("openai", "anthropic", "gemini", "openrouter")
_ANSWERS_NOTHING = re.compile(r"embed|rerank|whisper|tts|moderation|clip|bge-|minilm", re.IGNORECASE)


class Proposal(NamedTuple):
    """Tiers that could be asked here, cheapest first.

    Attributes:
        name: of the provider or server.
        reason: why it can be asked here.
        tiers: as many as there should be.
        models: all models that it has; those of a provider are not known.
        extends: the bundled profile that the tiers are those of; "" for none.
        guess: what the order of the models goes by where it is a guess; else "".
    """

    name: str
    reason: str
    tiers: tuple[Tier, ...]
    models: tuple[Tier, ...] = ()
    extends: str = ""
    guess: str = ""


def proposals(environ: Mapping[str, str]) -> list[Proposal]:
    """What can be asked here: by a key that is present, or on a server of this machine that answers."""
    return [*_by_key(environ), *_by_server(environ)]


def _by_key(environ: Mapping[str, str]) -> Iterator[Proposal]:
    """The bundled profiles of providers whose key is present."""
    for provider in _WITH_PROFILES:
        name = next((n for n in standard_key_envs(f"{provider}/") if environ.get(n, "").strip()), None)
        if name is not None:
            profile = read_profile(bundled_path(provider), trusted=True, origin="bundled")
            yield Proposal(provider, f"{name} is set", profile.tiers, extends=provider)


def _by_server(environ: Mapping[str, str]) -> Iterator[Proposal]:
    """The servers of this machine that list models."""
    servers = [LOCAL_SERVERS[0]._replace(address=ollama_address(environ)), *LOCAL_SERVERS[1:]]
    replies = ask_all(server.address for server in servers)
    for server in servers:
        if own := proposal_of(server, replies[server.address]):
            yield own


def proposal_of(server: LocalServer, reply: ServerReply) -> Proposal | None:
    """The models that a server lists, cheapest first; None where it lists none that can answer."""
    names = [name for name in reply.models if not _ANSWERS_NOTHING.search(name)]
    base = None if server.prefix == "ollama_chat" else server.address
    candidates = tuple(
        Tier(name=name, model=f"{server.prefix}/{name}", api_base=base)
        for name in names
        if not model_problem(f"{server.prefix}/{name}")
    )
    if not candidates:
        return None
    order = cheapest_first(candidates)
    models, reason = order.models, "" if order.is_known else order.reason
    count = f"{len(models)} model{'' if len(models) == 1 else 's'}"
    return Proposal(
        server.name, f"{server.address} lists {count}", named_tiers(_ends(models)), models, "", reason
    )


def tiers_of_option(text: str, api_base: str | None, api_key_env: str | None) -> tuple[Tier, ...]:
    """The tiers of `--tiers small=MODEL,large=MODEL`, or of models alone; cheapest first.

    Behind an address, a model without a provider that is known is one of a server of the OpenAI protocol.

    Raises:
        UsageError: too many, equal or unknown models, or the dearer one first.

    Example:
        >>> [tier.model for tier in tiers_of_option("small=Qwen/Q-4B,large=demo/large", "http://h/v1", None)]
        ['hosted_vllm/Qwen/Q-4B', 'demo/large']
    """
    parts = [part.strip().rpartition("=") for part in text.split(",")]
    models = [_behind(model, api_base) for _, _, model in parts]
    plain = tuple(Tier(name="model", model=m, api_base=api_base, api_key_env=api_key_env) for m in models)
    problems = [problem for model in models if (problem := model_problem(model))]
    if not 1 <= len(plain) <= MAX_TIERS:
        problems.append(f"expected 1 to {MAX_TIERS} tiers, got {len(plain)}")
    tiers = named_tiers(plain)
    own = tuple(replace(t, name=name or t.name) for t, (name, _, _) in zip(tiers, parts, strict=False))
    problems += [f"tier {n}: expected {TIER_NAME_RULE}" for n in _names(own) if not TIER_NAME.fullmatch(n)]
    problems += [message for _, message in order_problems(own, _names(own))]
    if problems:
        raise UsageError(f"--tiers: {'; '.join(problems)}", hint="--tiers small=openai/gpt-6-luna,large=…")
    return own


def _names(tiers: Sequence[Tier]) -> list[str]:
    return [tier.name for tier in tiers]


def _behind(model: str, api_base: str | None) -> str:
    """The full name of a model behind an address."""
    is_whole = "/" in model and provider_of(model) is not None
    return model if api_base is None or is_whole else f"hosted_vllm/{model}"


def _ends(models: Sequence[Tier]) -> Sequence[Tier]:
    """The smallest and the largest model; one model stays alone."""
    return models if len(models) < 2 else (models[0], models[-1])


def named_tiers(models: Sequence[Tier]) -> tuple[Tier, ...]:
    """The models as tiers with short names, cheapest first."""
    names = {1: ("only",), 2: ("small", "large"), 3: ("small", "medium", "large")}
    numbers = tuple(f"tier{i}" for i in range(1, MAX_TIERS + 1))
    own = names.get(len(models), numbers)
    return tuple(replace(model, name=name) for name, model in zip(own, models, strict=False))
