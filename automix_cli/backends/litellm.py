"""Completions from every provider that LiteLLM reaches.

LiteLLM gets one request at a time: no retries, no `.env`, no price list from the network, no
redirects, no key but the one passed with the call, no parameter dropped silently. Its replies are
checked before they count as answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automix_cli.backends.base import Request
from automix_cli.backends.client import Client
from automix_cli.backends.endpoints import Endpoint, shared_route
from automix_cli.backends.foreign_warnings import ignore_warnings_in_calls
from automix_cli.backends.litellm_errors import map_error, message_of, raise_mapped, refusal_of, status_of
from automix_cli.backends.litellm_library import Clients, listed_params, load_litellm
from automix_cli.backends.litellm_replies import read_completions, read_embedding
from automix_cli.backends.prefixes import Prefixes
from automix_cli.backends.replies import Reply, sendable
from automix_cli.errors import BadRequest, BadResponse
from automix_cli.records import Completion

ANTHROPIC_MAX_TOKENS = 1024  # Anthropic requires a limit


@dataclass(slots=True)
class LiteLLMBackend(Client):
    """Completions from any model that LiteLLM can reach; see `Client`."""

    prefixes: Prefixes = field(default_factory=Prefixes)
    _clients: Clients | None = None

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Request `n` completions; see `Backend.complete`."""
        self.prefixes.note(request)
        return await Client.complete(self, request)

    async def send(self, request: Request) -> tuple[Completion, ...]:
        """Send one request; those with one marked prefix wait for the first of them."""
        async with self.prefixes.turn(request):
            return await Client.send(self, request)

    def prepare(self) -> None:
        """Import LiteLLM."""
        load_litellm()

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.aclose()

    def provider_takes_n(self, model: str) -> bool:
        """Whether LiteLLM lists `n` for the model."""
        return "n" in listed_params(model)

    def supports_logprobs(self, model: str) -> bool:
        """Whether a model returns the log-probabilities of its likeliest tokens."""
        return {"logprobs", "top_logprobs"} <= listed_params(model)

    async def exchange(self, request: Request) -> Reply:
        """Send one request and read the reply."""
        response = await self._send(shared_route(request) if request.embeds else request)
        try:
            return (read_embedding if request.embeds else read_completions)(response)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError) as exc:
            raise BadResponse(f"{request.model} sent a reply that cannot be read: {exc}") from exc

    async def _send(self, request: Request) -> Any:
        """Call LiteLLM; call it again at once when a refusal can be avoided by other arguments."""
        litellm, endpoint = load_litellm(), self.endpoint(request)
        self._clients = self._clients or Clients(litellm)
        self._clients.register(endpoint, request.model)
        while True:
            arguments = self._arguments(request, endpoint)
            ignore_warnings_in_calls()
            try:
                return await (litellm.aembedding if request.embeds else litellm.acompletion)(**arguments)
            except asyncio.CancelledError as exc:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled this task, so the library did: without an error the row would be lost.
                raise BadResponse(f"{request.model}: the call was cancelled by LiteLLM") from exc
            except Exception as exc:  # LiteLLM raises ValueError, KeyError and TypeError as well
                if not (self._clients.switch_client(endpoint, exc) or self._adapt(request, arguments, exc)):
                    raise_mapped(exc, endpoint, request.model, [m.content for m in request.messages])

    def _arguments(self, request: Request, endpoint: Endpoint) -> dict[str, Any]:
        """The keyword arguments of `litellm.acompletion`, or of `litellm.aembedding`."""
        assert self._clients is not None
        params = self.params_for(request)
        if endpoint.provider == "anthropic":
            params.setdefault("max_tokens", ANTHROPIC_MAX_TOKENS)
        if request.n > 1:
            params["n"] = request.n
        if request.embeds:
            params["input"] = [sendable(m.content) for m in request.messages]
            if "dimensions" in params:  # LiteLLM allows it for OpenAI's own models only
                params["allowed_openai_params"] = ["dimensions"]
            if endpoint.provider == "azure":  # its SDK would else request base64
                params["encoding_format"] = "float"
        else:
            params["messages"] = self.prefixes.messages(request)
        return params | {
            "model": request.model,
            "timeout": request.timeout,
            "max_retries": 0,
            "drop_params": False,
            "api_key": endpoint.api_key,
            "api_base": endpoint.api_base,
            "client": self._clients.client(endpoint),
        }

    def _adapt(self, request: Request, arguments: Mapping[str, Any], exc: Exception) -> bool:
        """Whether the call can be made otherwise, after a refusal of the server or of LiteLLM itself."""
        error = map_error(exc, [m.content for m in request.messages])
        # An exception without a status is a refusal of LiteLLM's own, perhaps of a new class.
        if type(error) is not BadRequest and (type(error) is not BadResponse or status_of(exc)):
            return False
        text = f"{message_of(exc)} {error.message}"
        if "cache_control" in text and (request.model, request.endpoint) not in self.prefixes.refusing:
            self.prefixes.refusing.add((request.model, request.endpoint))
            return True
        return self.learn(request, arguments, text, refusal_of(exc))
