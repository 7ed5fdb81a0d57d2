"""Calls of a client of model servers, one after the other, and their outcomes.

A route is a client and a model: `litellm openai/m` goes through LiteLLM, `direct openai/m` does not.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from loopback import Call, Loopback, Reply

from automix_cli.backends.base import Request
from automix_cli.backends.client import Client
from automix_cli.backends.litellm import LiteLLMBackend
from automix_cli.backends.openai_http import DirectBackend
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BackendError
from automix_cli.records import Message

BOTH = ("direct openai/m", "litellm openai/m")
LITELLM = ("litellm openai/m", "litellm hosted_vllm/m", "litellm anthropic/m", "litellm ollama_chat/m")
ROUTES = ("direct openai/m", "direct ollama/m", *LITELLM)
CANARY = "canary-0123456789-abcdef"

CLIENTS: dict[str, type[DirectBackend] | type[LiteLLMBackend]] = {
    "direct": DirectBackend,
    "litellm": LiteLLMBackend,
}


def model_of(route: str) -> str:
    return route.rpartition(" ")[2]


def client(route: str, retrier: Retrier | None = None, **fields: Any) -> Client:
    """The client of a route; without a client named it is LiteLLM."""
    return CLIENTS[route.rpartition(" ")[0] or "litellm"](retrier or Retrier(), **fields)


def base(server: Loopback, route: str) -> str:
    """The address as a model's provider wants it: with or without `/v1`."""
    return server.root if model_of(route).startswith(("anthropic", "ollama")) else server.url


def ask(server: Loopback, route: str = "openai/m", text: str = "2 + 2?", **fields: Any) -> Request:
    fields.setdefault("api_base", base(server, route))
    fields["params"] = tuple(fields.get("params", {}).items())
    backend = route.rpartition(" ")[0] or "litellm"
    messages = (Message("user", text),)
    return Request(model=model_of(route), messages=messages, backend=backend, **({"timeout": 20.0} | fields))


def complete(*requests: Request, backend: Client | None = None, **settings: Any) -> list[Any]:
    """The outcome of each request, completions or the error, one after the other."""
    route = f"{requests[0].backend} m".removeprefix("auto ")
    calls = backend or client(route, Retrier(**({"backoff": 0.001} | settings)))

    async def main() -> list[Any]:
        outcomes: list[Any] = []
        for request in requests:
            outcomes += await asyncio.gather(calls.complete(request), return_exceptions=True)
        await calls.aclose()
        return outcomes

    return asyncio.run(main())


def texts(outcome: Any) -> list[str]:
    assert isinstance(outcome, tuple), outcome
    return [completion.text for completion in outcome]


def error_of(outcome: Any) -> BackendError:
    assert isinstance(outcome, BackendError), outcome
    return outcome


def says(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    error = {"message": message, "type": code or "error", "code": code, "param": None}
    return Reply(status=status, body=json.dumps({"error": error}).encode(), headers=headers)


def one_choice(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}


def params_sent(route: str, reply: Callable[[Call], Reply | str] = lambda call: "ok", **params: Any) -> Any:
    """The parameters of each request that arrived, and the backend's notes."""
    seen: list[dict[str, Any]] = []

    def noting(call: Call) -> Reply | str:
        seen.append(call.params)
        return reply(call)

    backend = client(route)
    with Loopback(noting) as server:
        outcomes = complete(*[ask(server, route, params=params)] * 2, backend=backend)
        assert all(isinstance(o, tuple) for o in outcomes), outcomes
    return seen, backend.notes
