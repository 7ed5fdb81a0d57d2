"""A profile as a provider of LiteLLM, called as its users do: plain, streamed, in an event loop or not."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loopback import Call, Loopback, Reply

from automix_cli.backends.litellm_library import load_litellm

SUM = "What is 17 * 23?"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
PROFILE = """\
version: 1
name: own
tiers:
  - {{name: small, model: openai/tiny, backend: {backend}, api_base: '{url}', price: {price}}}
limits: {{attempts: 1{limits}}}
"""


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """LiteLLM with the provider, and what belongs to all its users put back afterwards."""
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    library = load_litellm()
    from automix_cli.serving.litellm_provider import AutomixProvider

    provider = AutomixProvider()
    for name in ("provider_list", "_custom_providers", "callbacks"):
        monkeypatch.setattr(library, name, list(getattr(library, name)))
    handlers = [{"provider": "automix", "custom_handler": provider}]
    monkeypatch.setattr(library, "custom_provider_map", handlers)
    yield library
    provider.close()


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def own_profile(
    folder: Path,
    server: Loopback,
    backend: str = "direct",
    limits: str = "",
    price: str = "{input: 1, output: 2}",
) -> str:
    """The name of a model whose profile has one tier, behind a server of this machine."""
    path = folder / f"{backend}.yaml"
    path.write_text(PROFILE.format(url=server.url, backend=backend, limits=limits, price=price))
    return f"automix/{path}"


def test_a_reply_has_text_usage_cost_and_route(litellm: Any) -> None:
    reply = asyncio.run(litellm.acompletion(model="automix/demo", messages=said(SUM), seed=7))
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("391", "stop")
    assert reply.usage.total_tokens > 1000  # the votes' are in it
    assert reply._hidden_params["response_cost"] == reply.automix["spent_usd"] > 0
    headers = reply._hidden_params["additional_headers"]
    names = ("tier", "route", "confidence", "cost-usd", "ignored")
    values = [headers[f"llm_provider-x-automix-{name}"] for name in names]
    assert values == ["small", "small:report", "1", "0.000142", "seed"]
    again = litellm.completion(model="automix/demo", messages=said(SUM))
    assert again._hidden_params["response_cost"] == 0  # from the cache: nothing was spent


def test_a_stream_is_one_text_and_a_last_chunk_with_the_cost(litellm: Any) -> None:
    async def main() -> list[Any]:
        stream = await litellm.acompletion(model="automix/demo", messages=said(SUM), **USAGE)
        return [chunk async for chunk in stream]

    chunks = asyncio.run(main())
    assert [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content] == ["391"]
    assert [c.automix["tier"] for c in chunks if hasattr(c, "automix")] == ["small"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert (chunks[-1].usage.total_tokens > 1000, chunks[-1].usage.cost) == (True, 0.000142)
    plain = litellm.completion(model="automix/demo", messages=said(SUM), stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in plain) == "391"


def test_a_tier_without_a_price_has_no_cost(litellm: Any, tmp_path: Path) -> None:
    with Loopback(lambda call: "yes") as server:
        model = own_profile(tmp_path, server, price="null")
        reply = litellm.completion(model=model, messages=said(SUM))
        chunks = list(litellm.completion(model=model, messages=said("say no"), **USAGE))
    assert (reply.automix["spent_usd"], reply._hidden_params["response_cost"]) == (None, None)
    assert chunks[-1].usage.total_tokens > 0
    assert not getattr(chunks[-1].usage, "cost", None)


REFUSED = {"tools": {"tools": [TOOL]}, "n": {"n": 2}, "response_format": {"response_format": {"type": "x"}}}


@pytest.mark.parametrize("field", REFUSED)
def test_what_automix_cannot_give_is_a_400(field: str, litellm: Any) -> None:
    with pytest.raises(litellm.BadRequestError, match=f"{field}: ") as caught:
        asyncio.run(litellm.acompletion(model="automix/demo", messages=said(SUM), **REFUSED[field]))
    assert caught.value.status_code == 400


@pytest.mark.parametrize("name", ["nobody", "./none.yaml", "/no/such.yaml"])
def test_a_profile_that_is_not_there_is_a_404(name: str, litellm: Any) -> None:
    with pytest.raises(litellm.NotFoundError, match=name) as caught:
        asyncio.run(litellm.acompletion(model=f"automix/{name}", messages=said(SUM)))
    assert caught.value.status_code == 404


class Trouble(NamedTuple):
    """What a provider answers, and LiteLLM's exception for it."""

    status: int
    code: str
    exception: str
    raises: int


TROUBLES = [
    Trouble(400, "context_length_exceeded", "ContextWindowExceededError", 400),
    Trouble(400, "content_filter", "ContentPolicyViolationError", 400),
    Trouble(401, "invalid_api_key", "AuthenticationError", 401),
    Trouble(404, "model_not_found", "NotFoundError", 404),
    Trouble(429, "rate_limit_exceeded", "RateLimitError", 429),
    Trouble(429, "insufficient_quota", "RateLimitError", 429),
    Trouble(503, "overloaded", "InternalServerError", 500),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.code)
def test_an_error_is_litellms_own_and_quotes_no_prompt(
    trouble: Trouble, litellm: Any, tmp_path: Path
) -> None:
    secret = "my red balloon"

    def refuse(call: Call) -> Reply:
        error = {"code": trouble.code, "message": f"{trouble.code}: you said {call.prompt}"}
        return Reply(status=trouble.status, body=json.dumps({"error": error}).encode())

    with Loopback(refuse) as server:
        model = own_profile(tmp_path, server)
        with pytest.raises(getattr(litellm, trouble.exception)) as caught:
            asyncio.run(litellm.acompletion(model=model, messages=said(secret)))
    assert type(caught.value).__name__ == trouble.exception
    assert caught.value.status_code == trouble.raises
    assert (caught.value.llm_provider, secret in str(caught.value)) == ("automix", False)


def test_a_used_up_budget_is_a_rate_limit_before_any_call(litellm: Any, tmp_path: Path) -> None:
    with Loopback(lambda call: "yes") as server:
        model = own_profile(tmp_path, server, limits=", max_cost: 0.0000001")
        with pytest.raises(litellm.RateLimitError, match="max_cost"):
            litellm.completion(model=model, messages=said(SUM))
        assert server.calls == []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_key_that_is_not_set_is_a_401_that_names_its_variable(
    stream: bool, litellm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> Any:
        reply = await litellm.acompletion(model=model, messages=said(SUM), stream=stream)
        return [chunk async for chunk in reply] if stream else reply

    monkeypatch.delenv("OWN_KEY", raising=False)
    with Loopback(lambda call: "yes") as server:
        model = own_profile(tmp_path, server, backend="direct, api_key_env: OWN_KEY")
        with pytest.raises(
            litellm.AuthenticationError, match=r"OWN_KEY is not set.*export OWN_KEY="
        ) as caught:
            asyncio.run(ask())
        assert (caught.value.status_code, server.calls) == (401, [])
        monkeypatch.setenv("OWN_KEY", "key-of-a-test")
        assert asyncio.run(ask())


def test_litellms_timeout_ends_the_question(litellm: Any, tmp_path: Path) -> None:
    with Loopback(lambda call: Reply(fault="hang")) as server:
        model = own_profile(tmp_path, server)
        with pytest.raises(litellm.Timeout) as caught:
            asyncio.run(litellm.acompletion(model=model, messages=said(SUM), timeout=0.2))
    assert caught.value.status_code == 408


def test_loggers_see_each_answer_once_and_nothing_else_changes(litellm: Any, tmp_path: Path) -> None:
    from litellm.integrations.custom_logger import CustomLogger

    lines: list[tuple[str, float, threading.Thread]] = []

    class Log(CustomLogger):  # type: ignore[misc]
        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            lines.append((kwargs["model"], kwargs["response_cost"], threading.current_thread()))

    async def main() -> None:
        await litellm.acompletion(model=model, messages=said("say yes"))
        stream = await litellm.acompletion(model=model, messages=said("say no"), stream=True)
        assert [chunk async for chunk in stream]
        while sum(logged == name for logged, *_ in lines) < 2:
            await asyncio.sleep(0.01)

    litellm.callbacks.append(Log())
    before = (dict(os.environ), litellm.suppress_debug_info, list(sys.path))
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    with Loopback(lambda call: Reply(texts=("yes",), usage=usage)) as server:
        model = own_profile(tmp_path, server)
        name = model.removeprefix("automix/")
        asyncio.run(asyncio.wait_for(main(), 60))
        assert len(server.calls) == 2
    assert [line for line in lines if line[0] == name] == [
        (name, pytest.approx(7e-6), threading.current_thread())
    ] * 2
    # No call of a tier is logged; of tests before this one LiteLLM may still have calls of profiles to log.
    assert all(logged == "demo" or logged.endswith(".yaml") for logged, *_ in lines)
    assert before == (dict(os.environ), litellm.suppress_debug_info, list(sys.path))


def test_a_model_that_litellm_itself_would_call_is_refused_before_any_call(
    litellm: Any, tmp_path: Path
) -> None:
    with Loopback(lambda call: "yes") as server:
        model = own_profile(tmp_path, server, backend="litellm")
        with pytest.raises(
            litellm.NotFoundError, match=r"openai/tiny is called by means of LiteLLM.*litellm_proxy/NAME"
        ):
            litellm.completion(model=model, messages=said(SUM))
        assert server.calls == []
