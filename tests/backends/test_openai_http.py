"""The direct client: what it alone does, what it leaves alone, and where it agrees with LiteLLM."""

import asyncio
import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from calls import CANARY, ask, client, complete, error_of, texts
from loopback import Call, Loopback, Reply
from shell import COMMAND, PATIENCE, environment, until

from automix_cli.backends import openai_http, openai_wire
from automix_cli.backends.base import Request
from automix_cli.backends.catalog import list_price, standard_key_envs
from automix_cli.backends.choice import client_of, gives_logprobs, not_direct
from automix_cli.backends.endpoints import openai_endpoint
from automix_cli.backends.litellm_library import listed_params, load_litellm
from automix_cli.backends.openai_http import DirectBackend
from automix_cli.backends.openai_providers import PROVIDERS
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BadRequest, Unreachable

DIRECT = "direct openai/m"


def headers_sent(route: str, environ: dict[str, str], **fields: Any) -> dict[str, str]:
    """The headers of one request."""
    seen: list[Call] = []

    def reply(call: Call) -> str:
        seen.append(call)
        return "ok"

    with Loopback(reply) as server:
        assert texts(complete(ask(server, route, **fields), backend=client(route, environ=environ))[0])
    return dict(seen[0].headers)


# ---------------------------------------------------------------- which client


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_of_the_list_is_called_directly_unless_the_tier_says_otherwise(provider: str) -> None:
    model = f"{provider}/m"
    assert client_of(model, ()) == client_of(model, (), backend="direct") == "direct"
    assert client_of(model, (), backend="litellm") == "litellm"
    assert client_of(model, (), api_base="https://example.com/v1") == "direct"


@pytest.mark.parametrize(
    ("model", "params", "why"),
    [
        ("anthropic/claude-haiku-4-5", (), "anthropic does not speak the OpenAI protocol"),
        ("gemini/gemini-2.5-flash", (), "gemini does not speak the OpenAI protocol"),
        ("azure/m", (), "azure does not speak the OpenAI protocol"),
        ("ollama_chat/m", ("num_ctx",), "num_ctx is no parameter of the OpenAI protocol of ollama_chat"),
        (
            "ollama/m",
            ("top_k", "keep_alive", "seed"),
            "keep_alive, top_k are no parameters of the OpenAI protocol of ollama",
        ),
        ("hosted_vllm/m", ("thinking",), "thinking is no parameter of the OpenAI protocol of hosted_vllm"),
        ("openai/gpt-5-pro", (), "openai serves openai/gpt-5-pro by its responses protocol only"),
    ],
)
def test_what_the_protocol_cannot_say_goes_through_litellm(
    model: str, params: tuple[str, ...], why: str
) -> None:
    assert not_direct(model, params) == why
    assert client_of(model, params) == "litellm"


def test_a_model_that_is_named_without_its_provider_is_called_by_that_name() -> None:
    assert client_of("gpt-4o-mini", ()) == "direct"
    with Loopback(lambda call: call.model) as server:
        (done,) = complete(ask(server, "direct gpt-4o-mini"))
    assert texts(done) == ["gpt-4o-mini"]


def test_the_direct_client_refuses_what_it_cannot_call() -> None:
    with Loopback() as server:
        error = error_of(complete(ask(server, "direct anthropic/m"))[0])
        assert type(error) is BadRequest
        assert "does not speak the OpenAI protocol" in error.message
        assert not server.ledger


# ---------------------------------------------------------------- addresses, keys and the environment


@pytest.mark.parametrize(
    ("fields", "environ", "sent"),
    [
        ({}, {}, None),
        ({}, {"OPENAI_API_KEY": CANARY}, None),
        ({"api_key_env": "MY_KEY"}, {"MY_KEY": CANARY, "OPENAI_API_KEY": "another-one"}, f"Bearer {CANARY}"),
        ({"api_key_env": "MY_KEY"}, {"MY_KEY": f" {CANARY}\n"}, f"Bearer {CANARY}"),
    ],
)
def test_an_address_gets_the_key_that_was_named_for_it_or_none(
    fields: dict[str, str], environ: dict[str, str], sent: str | None
) -> None:
    assert headers_sent(DIRECT, environ, **fields).get("authorization") == sent


@pytest.mark.parametrize("provider", [p for p in PROVIDERS if PROVIDERS[p].address])
def test_each_providers_own_key_goes_to_its_own_address(provider: str) -> None:
    for name in standard_key_envs(f"{provider}/m"):
        endpoint = openai_endpoint(Request(model=f"{provider}/m", messages=()), {name: CANARY})
        assert (endpoint.api_base, endpoint.api_key, endpoint.key_env) == (
            PROVIDERS[provider].address,
            CANARY,
            name,
        )


@pytest.mark.parametrize(
    ("api_base", "environ", "address"),
    [
        (None, {}, "http://localhost:11434/v1"),
        (None, {"OLLAMA_API_BASE": "http://127.0.0.1:1/"}, "http://127.0.0.1:1/v1"),
        ("http://127.0.0.1:2", {"OLLAMA_API_BASE": "http://127.0.0.1:1"}, "http://127.0.0.1:2/v1"),
        ("http://127.0.0.1:2/v1", {}, "http://127.0.0.1:2/v1"),
    ],
)
def test_ollama_speaks_the_protocol_below_v1(
    api_base: str | None, environ: dict[str, str], address: str
) -> None:
    request = Request(model="ollama_chat/m", messages=(), api_base=api_base)
    assert openai_endpoint(request, environ).api_base == address


def test_nothing_of_the_environment_but_the_key_is_sent(
    monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    for name in ("CUSTOM_HEADERS", "ORG_ID", "ORGANIZATION", "PROJECT_ID", "API_KEY", "BASE_URL"):
        monkeypatch.setenv(f"OPENAI_{name}", f"X-Planted: {CANARY}")
    (clean_environment / ".netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}\n")
    headers = headers_sent(DIRECT, {"MY_KEY": "the-only-key-0123"}, api_key_env="MY_KEY")
    said = json.dumps(headers)
    assert CANARY not in said
    assert base64.b64encode(f"me:{CANARY}".encode()).decode() not in said
    assert headers.keys() == {
        *("host", "content-type", "content-length", "authorization", "user-agent", "accept-encoding"),
        "accept",
    }


def test_a_cookie_is_not_sent_back() -> None:
    seen: list[str | None] = []

    def reply(call: Call) -> Reply:
        seen.append(call.headers.get("cookie"))
        return Reply(texts=("ok",), headers={"Set-Cookie": "session=1"})

    with Loopback(reply) as server:
        complete(ask(server, DIRECT), ask(server, DIRECT, "another"))
    assert seen == [None, None]


def test_a_host_that_does_not_answer_the_knock_is_unreachable_and_bills_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_http, "CONNECT_SECONDS", 0.2)
    # 192.0.2.0/24 is nobody's; a network that refuses it at once gives the same class of error.
    request = Request(model="openai/m", messages=(), api_base="https://192.0.2.1/v1")
    error = error_of(complete(request, backend=DirectBackend(Retrier(attempts=1, patience=0)))[0])
    assert type(error) is Unreachable
    assert not error.maybe_billed


# ---------------------------------------------------------------- connections


def test_a_cancelled_call_closes_its_connection() -> None:
    async def main(server: Loopback) -> None:
        backend = DirectBackend()
        task = asyncio.create_task(backend.complete(ask(server, DIRECT, timeout=2 * PATIENCE)))
        while not server.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(until, lambda: server.busy == 0)  # the server saw the connection end
        await backend.aclose()

    with Loopback(lambda call: Reply(gate=lambda: False)) as server:
        asyncio.run(main(server))


def test_connections_are_used_again_and_closed_at_the_end() -> None:
    async def main(server: Loopback) -> None:
        backend = DirectBackend()
        for i in range(5):
            await backend.complete(ask(server, DIRECT, f"{i}"))
        session = backend._session
        assert session is not None
        await backend.aclose()
        assert session.closed
        assert backend._session is None
        await backend.complete(ask(server, DIRECT, "again"))
        await backend.aclose()

    with Loopback() as server:
        asyncio.run(main(server))
        assert server.connections == 2


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("route", "params", "sent"),
    [
        (DIRECT, {"max_tokens": 9, "seed": 1}, {"max_tokens": 9, "seed": 1}),
        ("direct mistral/m", {"seed": 1}, {"random_seed": 1}),
        (
            "direct hosted_vllm/m",
            {"top_k": 4, "extra_body": {"guided_choice": ["a"]}},
            {"top_k": 4, "guided_choice": ["a"]},
        ),
        (DIRECT, {"reasoning_effort": "low", "stop": ["\n"]}, {"reasoning_effort": "low", "stop": ["\n"]}),
    ],
)
def test_parameters_stand_in_the_body_by_the_providers_names(
    route: str, params: dict[str, Any], sent: dict[str, Any]
) -> None:
    seen: list[dict[str, Any]] = []

    def reply(call: Call) -> str:
        seen.append(call.params)
        return "ok"

    with Loopback(reply) as server:
        complete(ask(server, route, params=params))
    assert seen == [sent]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "n",
            "model",
            "messages",
            "stream",
            "max_tokens",
            "max_completion_tokens",
            "best_of",
            "num_predict",
        ),
        *("extra_body", "Max_Tokens", "maxOutputTokens"),
    ],
)
@pytest.mark.parametrize("route", [DIRECT, "litellm openai/m"])
def test_extra_fields_of_a_body_change_nothing_that_the_request_itself_says(name: str, route: str) -> None:
    with Loopback() as server:
        error = error_of(complete(ask(server, route, params={"extra_body": {name: 3}}))[0])
        assert type(error) is BadRequest
        assert error.message == f"extra_body: {name} cannot be set here"
        assert not server.ledger


# ---------------------------------------------------------------- in agreement with LiteLLM


@pytest.mark.contract
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_list_of_providers_says_of_n_and_logprobs_what_litellm_says(provider: str) -> None:
    listed = listed_params(f"{provider}/m")
    assert PROVIDERS[provider].takes_n == ("n" in listed)
    assert PROVIDERS[provider].logprobs == ("logprobs" in listed) == ("top_logprobs" in listed)


@pytest.mark.contract
@pytest.mark.parametrize(
    "model",
    [
        *("gpt-4o", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano-2025-08-07", "gpt-5-chat-latest"),
        *("gpt-5.1", "o1", "o3-mini", "o4-mini", "unheard-of"),
    ],
)
def test_which_models_of_openai_give_logprobs_is_known_as_litellm_knows_it(model: str) -> None:
    ours = gives_logprobs("direct", f"openai/{model}", alternatives=True)
    assert ours == gives_logprobs("litellm", f"openai/{model}", alternatives=True)


@pytest.mark.contract
def test_reasons_to_finish_are_read_as_litellm_reads_them() -> None:
    load_litellm()
    from litellm.litellm_core_utils.core_helpers import _FINISH_REASON_MAP, map_finish_reason

    known = ("stop", "length", "content_filter", "tool_calls", "eos_token", "eos", "max_tokens", "refusal")
    for reason in (*known, "SAFETY", "MAX_TOKENS", "RECITATION", "PROHIBITED_CONTENT", "STOP", "unheard-of"):
        assert openai_wire.finish_reason(reason) == map_finish_reason(reason), reason
    cut = {reason for reason, meaning in _FINISH_REASON_MAP.items() if meaning == "length"}
    assert {openai_wire.finish_reason(reason) for reason in cut - {"compaction", "pause_turn"}} <= {
        "length",
        "stop",
    }


@pytest.mark.parametrize(
    "message",
    [
        {"content": "plain"},
        {"content": "<think>so\nso</think>\n\n4"},
        {"content": "<thinking>so</thinking>4"},
        {"content": "4 <think>kept</think>"},
        {"content": "<think>never ends"},
        {"content": "<think>x</think>y", "reasoning_content": "said apart"},
        {"content": "y", "reasoning": "said apart"},
        {"content": "y", "tool_calls": None, "refusal": None},
    ],
)
def test_reasoning_before_the_text_is_no_text_for_either_client(message: dict[str, Any]) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    with Loopback(lambda call: Reply(body=body)) as server:
        done = [complete(ask(server, route))[0] for route in (DIRECT, "litellm openai/m")]
    assert texts(done[0]) == texts(done[1])


def test_text_in_parts_is_joined() -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        {"type": "text", "text": "3"},
        {"type": "text", "text": "9"},
    ]
    choice = {"index": 0, "message": {"content": parts}, "finish_reason": "stop"}
    with Loopback(lambda call: Reply(body=json.dumps({"choices": [choice]}).encode())) as server:
        assert texts(complete(ask(server, DIRECT))[0]) == ["39"]


ELEVEN = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
FOURTEEN = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


@pytest.mark.parametrize(
    "usage",
    [
        {**ELEVEN, "prompt_cache_hit_tokens": 4},
        {**ELEVEN, "prompt_tokens_details": {"cached_tokens": 4}},
        {**ELEVEN, "prompt_tokens_details": None},
        {**FOURTEEN, "completion_tokens_details": {"reasoning_tokens": 3}},
        {**FOURTEEN, "reasoning_tokens": 3},
        {"prompt_tokens": 9, "total_tokens": 9},
        {"prompt_tokens": 9, "completion_tokens": 2},
    ],
)
def test_usage_is_read_alike_by_either_client(usage: dict[str, Any]) -> None:
    with Loopback(lambda call: Reply(texts=("a", "b c"), usage=usage)) as server:
        done = [complete(ask(server, route, n=2))[0] for route in (DIRECT, "litellm openai/m")]
    ours, theirs = ([(c.usage, c.flags) for c in outcome] for outcome in done)
    assert ours == theirs


@pytest.mark.parametrize(
    "block", [None, {}, {"content": None}, {"content": [{"token": "a"}]}, {"tokens": []}, 3]
)
def test_logprobs_that_make_no_sense_are_none(block: Any) -> None:
    assert openai_wire.read_logprobs(block) == ()


# ---------------------------------------------------------------- embeddings


@pytest.mark.parametrize("model", ["openai/e", "mistral/e", "ollama/e", "hosted_vllm/e"])
def test_an_embedding_is_the_same_through_either_client(model: str) -> None:
    def embed(backend: str) -> Any:
        route = f"{backend} {model}"
        with Loopback() as server:
            (done,) = complete(ask(server, route, text="how long is a mile?", embeds=True))
            assert [e.path for e in server.ledger] == ["/v1/embeddings"]
        return [(c.text, c.usage, c.flags) for c in done]

    assert embed("direct") == embed("litellm")


# ---------------------------------------------------------------- what is not imported

CHILD = """
import sys
sys.argv = ["automix", *sys.argv[1:]]
from automix_cli.cli import main
try: main()
except SystemExit as end: assert not end.code, end.code
loaded = {"litellm", "openai", "httpx", "pydantic", "aiohttp"} & set(sys.modules)
assert loaded == {"aiohttp"}, loaded
from automix_cli.backends.bare_contexts import _bare
assert _bare, "aiohttp has read the certificates of the system"
"""


def test_a_question_to_a_provider_of_the_list_imports_no_litellm_and_has_its_price(tmp_path: Path) -> None:
    with Loopback(lambda call: "391") as server:
        profile = tmp_path / "one.yaml"
        profile.write_text(
            "version: 1\nname: one\ntiers:\n"
            f'  - {{name: small, model: openai/gpt-4o-mini, api_base: "{server.url}", api_key_env: MY_KEY}}\n'
        )
        ran = subprocess.run(
            [COMMAND[0], "-c", CHILD, "ask", "--profile", str(profile), "--json", "What is 17 * 23?"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(MY_KEY=CANARY),
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert len(server.calls) == 1
    row, price = json.loads(ran.stdout), list_price("openai/gpt-4o-mini")
    assert row["answer"] == "391"
    assert price is not None
    assert row["cost_usd"] > 0
