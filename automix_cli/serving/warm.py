"""What the first question would wait for, done before the server listens: imports, plan, clients."""

from __future__ import annotations

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.choice import client_of
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import answer_or_error
from automix_cli.errors import BadResponse
from automix_cli.profile.model import Tier
from automix_cli.records import Question

_WARM_UP_QUESTION = Question(text="What is 2 + 2?")


async def warm_up(cascade: Cascade) -> None:
    """Answer one question from a script, which loads and plans what every question needs; nothing is sent."""
    await answer_or_error(cascade.with_backend(ScriptedBackend(_scripted_reply)), _WARM_UP_QUESTION)
    tiers = cascade.profile.tiers if cascade.embedder is None else (*cascade.profile.tiers, cascade.embedder)
    for client in {_client(tier) for tier in tiers}:
        if client == "direct":
            import automix_cli.backends.openai_http  # noqa: F401 (loads aiohttp's client)
        if client == "litellm":
            from automix_cli.backends.litellm_library import load_litellm

            load_litellm()


def _client(tier: Tier) -> str:
    names = [name for name, _ in tier.params]
    return client_of(tier.model, names, api_base=tier.api_base, backend=tier.backend)


def _scripted_reply(request: Request) -> str | Exception:
    """An answer, or votes against it, so that every tier is visited; no embedding can be made up."""
    if request.embeds:
        return BadResponse("nothing is sent while the server warms up")
    return prompts.decision(False) if prompts.is_verification(request.messages) else "4"
