"""LiteLLM itself: imported once, with guarded clients that make one request at a time."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from automix_cli import process
from automix_cli.backends.bare_contexts import fill_contexts
from automix_cli.backends.catalog import provider_of
from automix_cli.backends.endpoints import Endpoint, is_openai
from automix_cli.backends.foreign_warnings import ignore_warnings_in_calls, ignored_in_import
from automix_cli.backends.litellm_errors import message_of

_IMPORT_SETTINGS = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else: a price list from the network
    "LITELLM_MODE": "PRODUCTION",  # else: a `.env` from any folder above
}


@cache
def load_litellm() -> Any:
    """Import LiteLLM offline and without its `.env`.

    In a program of somebody else nothing of it stays: the variables are taken back, LiteLLM is as it would
    be without us, and one that is imported already is taken as it is.
    """
    fill_contexts()
    with ignored_in_import(), _import_settings(), _without_collection():
        import litellm

        litellm.ModelResponse()  # builds the schemas that every call needs
    ignore_warnings_in_calls()  # other schemas are built, and warned about, when first needed
    if process.is_ours():
        litellm.suppress_debug_info = True  # else: advertisements on stdout
    return litellm


@contextlib.contextmanager
def _import_settings() -> Iterator[None]:
    """Set the variables that the import reads, unless they are set; they stay where the process is ours."""
    names = [name for name in _IMPORT_SETTINGS if name not in os.environ and "litellm" not in sys.modules]
    os.environ.update({name: _IMPORT_SETTINGS[name] for name in names})
    try:
        yield
    finally:
        for name in () if process.is_ours() else names:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from the half a million objects that the import makes.

    Scanning them takes as long as making them, hence the pause and the freeze. The collector of somebody
    else's program is left alone.
    """
    if not process.is_ours():
        yield
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


@cache
def listed_params(model: str) -> frozenset[str]:
    """The OpenAI parameters that LiteLLM lists for a model; no server is asked."""
    litellm = load_litellm()
    provider = provider_of(model)
    name = model.partition("/")[2] if provider and model.startswith(f"{provider}/") else model
    params = litellm.get_supported_openai_params(model=name, custom_llm_provider=provider)
    return frozenset(params or ())


_ACCOUNT = ("OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")


@contextlib.contextmanager
def _without_account_of_openai(base: str) -> Iterator[None]:
    """Hide from the SDK what belongs to an account at OpenAI, unless the address is OpenAI's own."""
    names = () if is_openai(base) else [name for name in _ACCOUNT if name in os.environ]
    account = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(account)


class Clients:
    """Guarded clients, made once: an HTTP handler, and SDK clients over the same connections.

    LiteLLM takes its own handler for most providers and an SDK client for the others. Which is which
    differs from release to release, and it raises at once when it gets the wrong one. It ignores
    both for cohere, replicate, models of the responses protocol and Gemini's embeddings: these
    requests are not guarded.
    """

    def __init__(self, litellm: Any) -> None:
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

        from automix_cli.backends.http_guard import Guard

        self._litellm = litellm
        self._handler = AsyncHTTPHandler(timeout=None)
        client = self._handler.client
        client.follow_redirects = False
        client._transport = Guard(client._transport)
        self._by_sdk = {"openai", "azure"}
        self._sdk: dict[Endpoint, Any] = {}
        self._registered_models: set[str] = set()

    def register(self, endpoint: Endpoint, model: str) -> None:
        """Register an Ollama model, so that LiteLLM does not ask Ollama about it, which blocks the loop."""
        if endpoint.provider in ("ollama", "ollama_chat") and model not in self._registered_models:
            self._registered_models.add(model)
            free = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
            self._litellm.register_model({model: free | {"litellm_provider": endpoint.provider}})

    def client(self, endpoint: Endpoint) -> Any:
        """The client for LiteLLM's `client=`."""
        if endpoint.provider not in self._by_sdk:
            return self._handler
        if endpoint not in self._sdk:
            self._sdk[endpoint] = self._sdk_client(endpoint)
        return self._sdk[endpoint]

    def switch_client(self, endpoint: Endpoint, exc: Exception) -> bool:
        """Use an SDK client from now on if LiteLLM could not use the handler; return whether that is so."""
        if endpoint.provider in self._by_sdk or "AsyncHTTPHandler" not in message_of(exc):
            return False
        self._by_sdk.add(endpoint.provider)
        return True

    def _sdk_client(self, endpoint: Endpoint) -> Any:
        """An SDK client without retries: LiteLLM sets two on every client that it gets."""
        import openai

        never = property(lambda self: 0, lambda self, retries: None)
        kind = openai.AsyncAzureOpenAI if endpoint.provider == "azure" else openai.AsyncOpenAI
        once = type(kind.__name__, (kind,), {"max_retries": never})
        options = {"api_key": endpoint.api_key, "http_client": self._handler.client}
        if endpoint.provider != "azure":
            with _without_account_of_openai(endpoint.api_base or ""):
                return once(base_url=endpoint.api_base, **options)
        version = os.environ.get("AZURE_API_VERSION") or self._litellm.AZURE_DEFAULT_API_VERSION
        base = endpoint.api_base or os.environ.get("AZURE_API_BASE", "")
        with _without_account_of_openai(base):
            return once(azure_endpoint=base, api_version=version, **options)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._handler.close()
