"""LiteLLM behind the seam, over real sockets: what goes out, what comes back, what is made of trouble.

LiteLLM takes seconds to import, so nearly everything runs in this process, against one
server per test; only what must be seen from outside runs in a child.
"""

import asyncio
import gc
import gzip
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from calls import CANARY, ask, complete, error_of, params_sent, says, texts
from loopback import Loopback, Reply
from shell import PATIENCE

from automix_cli.backends.answers import MAX_BODY
from automix_cli.backends.base import Backend, Request
from automix_cli.backends.connections import connection_error
from automix_cli.backends.endpoints import DUMMY_KEY, OWN_HOSTS
from automix_cli.backends.http_guard import read_body
from automix_cli.backends.litellm import ANTHROPIC_MAX_TOKENS, LiteLLMBackend
from automix_cli.backends.litellm_errors import ERROR_CLASSES, map_error, refusal_of
from automix_cli.backends.litellm_library import (
    _import_settings,
    _without_collection,
    listed_params,
    load_litellm,
)
from automix_cli.backends.litellm_replies import read_logprobs
from automix_cli.cascade.requests import with_room_to_think
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    Unreachable,
)
from automix_cli.process import own_process
from automix_cli.profile.model import Tier
from automix_cli.records import Message
from automix_cli.usage import Usage


def test_log_probabilities_that_make_no_sense_are_no_log_probabilities() -> None:
    odd = SimpleNamespace(token="a", logprob=None, top_logprobs=[])
    assert read_logprobs(SimpleNamespace(logprobs=SimpleNamespace(content=[odd]))) == ()
    assert read_logprobs(SimpleNamespace(logprobs=None)) == ()


def test_the_backend_is_a_backend() -> None:
    backend: Backend = LiteLLMBackend()
    asyncio.run(backend.aclose())


def test_a_bomb_that_comes_in_one_piece_stays_small() -> None:
    async def bomb() -> AsyncIterator[bytes]:
        yield packed

    packed = gzip.compress(bytes(100 << 20), compresslevel=1)
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, content=bomb())
    tracemalloc.start()
    with pytest.raises(BadResponse, match="more than 16 MiB"):
        asyncio.run(read_body(response))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MAX_BODY


@pytest.mark.contract
def test_anthropic_counts_its_cache_into_the_input() -> None:
    usage = {"input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 2}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage | {"output_tokens": 4})) as server:
        (done,) = complete(ask(server, "anthropic/claude-haiku-4-5"))
    assert done[0].usage == Usage(
        input_tokens=27, output_tokens=4, cached_input_tokens=2, calls=1, cache_write_tokens=5
    )


@pytest.mark.parametrize(
    ("exc", "cause", "words"),
    [
        (httpx.ConnectError("x"), socket.gaierror(-2, "Name or service not known"), "no such host"),
        (httpx.ConnectError("x"), ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (httpx.ConnectError("x"), OSError(101, "Connect call failed"), "network is unreachable"),
        (httpx.ConnectError("x"), ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "it does not speak TLS"),
        (httpx.ConnectTimeout("x"), None, "no answer in time"),
        (httpx.UnsupportedProtocol("x"), None, "this is no address"),
    ],
)
def test_why_a_host_cannot_be_reached_is_said(exc: Exception, cause: Exception | None, words: str) -> None:
    exc.__cause__ = cause
    error = connection_error(exc, "https", "api.example.com")
    assert type(error) is Unreachable
    assert error.message == f"cannot reach api.example.com: {words}"


def test_a_certificate_that_is_not_trusted_is_said_to_be() -> None:
    exc, cause = httpx.ConnectError("x"), ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    exc.__cause__ = cause
    error = connection_error(exc, "https", "api.example.com")
    assert "its certificate is not trusted (self-signed certificate)" in error.message


# ---------------------------------------------------------------- errors of LiteLLM itself


def litellm_exceptions() -> Iterator[type[Exception]]:
    for value in vars(load_litellm().exceptions).values():
        if isinstance(value, type) and issubclass(value, Exception) and "litellm" in value.__module__:
            yield value


def made(kind: type[Exception], **attributes: Any) -> Exception:
    """An exception of this class, without the arguments that its constructor wants."""
    exc = kind.__new__(kind, "what it says")
    nothing = dict.fromkeys(("num_retries", "max_retries", "original_exception"))
    vars(exc).update({"message": "what it says", **nothing, **attributes})
    Exception.__init__(exc, "what it says")
    return exc


EXPECTED = {
    "AuthenticationError": Unauthorised,
    "PermissionDeniedError": Unauthorised,
    "PaymentRequiredError": QuotaExhausted,
    "BudgetExceededError": QuotaExhausted,
    "NotFoundError": UnknownModel,
    "RateLimitError": RateLimited,
    "Timeout": TimedOut,
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "GuardrailRaisedException": ContentFiltered,
    "GuardrailInterventionNormalStringError": ContentFiltered,
    "BlockedPiiEntityError": ContentFiltered,
    "RejectedRequestError": ContentFiltered,
    "SensitiveDataRouteException": ContentFiltered,
    "BadRequestError": BadRequest,
    "InvalidRequestError": BadRequest,
    "UnprocessableEntityError": BadRequest,
    "UnsupportedParamsError": BadRequest,
    "LiteLLMUnknownProvider": BadRequest,
    "ImageFetchError": BadRequest,
    "VectorStoreSearchError": BadRequest,
    "ModelNotMappedError": BadRequest,
    **dict.fromkeys(("APIError", "APIConnectionError", "APIResponseValidationError"), BadResponse),
    **dict.fromkeys(("InternalServerError", "ServiceUnavailableError", "BadGatewayError"), BadResponse),
    **dict.fromkeys(("JSONSchemaValidationError", "OpenAIError", "MockException"), BadResponse),
    **dict.fromkeys(("MidStreamFallbackError", "ModifyResponseException"), BadResponse),
}


@pytest.mark.contract
def test_every_exception_class_of_litellm_is_mapped() -> None:
    """A class that a later release brings is taken for the nearest of its bases that is known."""
    kinds = list(litellm_exceptions())
    assert len(EXPECTED.keys() & {kind.__name__ for kind in kinds}) > 20
    for kind in kinds:
        error = map_error(made(kind))
        known = [EXPECTED[k.__name__] for k in kind.__mro__ if k.__name__ in EXPECTED]
        assert known, f"{kind.__name__}: a new class without a base that is known wants a decision"
        assert type(error) is known[0], kind.__name__
        assert error.message == "what it says"


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() & ERROR_CLASSES.keys()))
def test_an_unknown_class_without_a_status_is_taken_for_its_nearest_known_base(name: str) -> None:
    base = type(name, (Exception,), {})
    newer = type("UnheardOfError", (type("AlsoUnheardOfError", (base,), {}), ValueError), {})
    error = map_error(newer("litellm.UnheardOfError: what it says"))
    assert type(error) is EXPECTED[name]
    assert error.message == "what it says"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorised),
        (402, QuotaExhausted),
        (403, Unauthorised),
        (404, UnknownModel),
        (408, TimedOut),
        (409, BadResponse),
        (422, BadRequest),
        (429, RateLimited),
        (500, BadResponse),
        (529, BadResponse),
    ],
)
@pytest.mark.parametrize("bases", ["Exception", "APIError", "BadRequestError"])
@pytest.mark.parametrize("field", ["status_code", "http_status", "code", "response"])
def test_an_unknown_class_with_a_status_is_what_the_status_says(
    status: int, kind: type[BackendError], bases: str, field: str
) -> None:
    base = Exception if bases == "Exception" else type(bases, (Exception,), {})
    exc = type("UnheardOfError", (base,), {})("what it says")
    setattr(exc, field, SimpleNamespace(status_code=status) if field == "response" else status)
    assert type(map_error(exc)) is kind
    setattr(exc, field, SimpleNamespace(status_code=str(status)) if field == "response" else str(status))
    assert type(map_error(exc)) is kind


def test_an_exception_that_cannot_be_printed_is_mapped_all_the_same() -> None:
    class UnheardOfError(Exception):
        status_code = 429

        def __str__(self) -> str:
            raise AttributeError("num_retries")

    assert type(map_error(UnheardOfError("slow down"))) is RateLimited
    assert map_error(UnheardOfError("slow down")).message == "slow down"


@pytest.mark.contract
def test_what_litellm_raises_has_the_sdks_classes_as_bases() -> None:
    names = {base.__name__ for kind in litellm_exceptions() for base in kind.__mro__}
    assert {"OpenAIError", "APIError", "BadRequestError", "AuthenticationError", "RateLimitError"} <= names


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "status", "words", "kind"),
    [
        ("RateLimitError", 429, "insufficient_quota", QuotaExhausted),
        ("BadRequestError", 403, "forbidden", Unauthorised),
        ("BadRequestError", 422, "unprocessable", BadRequest),
        ("BadRequestError", 400, "prompt is too long", ContextTooLong),
        ("BadRequestError", 400, "content_policy_violation", ContentFiltered),
        ("APIError", 402, "payment", QuotaExhausted),
        ("APIError", 200, "Unable to get json response", BadResponse),
        ("APIError", 529, "overloaded", BadResponse),
        ("InternalServerError", 500, "Missing credentials. Please pass an `api_key`", Unauthorised),
        ("InternalServerError", 500, "Connection error.", BadResponse),
    ],
)
def test_status_and_words_decide_where_the_class_says_little(
    name: str, status: int, words: str, kind: type[BackendError]
) -> None:
    said = f"litellm.{name}: OpenAIException - {words}"
    exc = made(getattr(load_litellm().exceptions, name), status_code=status, message=said)
    assert type(map_error(exc)) is kind
    assert map_error(exc).message == words


@pytest.mark.parametrize("exc", [ValueError("odd"), KeyError("content"), TypeError("none"), RuntimeError()])
def test_a_bare_exception_is_a_bad_response_that_was_paid_for(exc: Exception) -> None:
    error = map_error(exc)
    assert type(error) is BadResponse
    assert error.maybe_billed
    assert error.message


@pytest.mark.contract
def test_a_header_of_litellm_tells_how_long_to_wait() -> None:
    exc = made(load_litellm().RateLimitError, status_code=429, litellm_response_headers={"retry-after": "7"})
    assert map_error(exc).retry_after == 7.0


# ---------------------------------------------------------------- keys and addresses


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "fields", "environ", "sent"),
    [
        ("openai/m", {}, {}, DUMMY_KEY),
        ("openai/m", {}, {"OPENAI_API_KEY": CANARY}, DUMMY_KEY),
        ("openai/m", {"api_key_env": "MY_KEY"}, {"MY_KEY": CANARY}, CANARY),
        ("openai/m", {"api_key_env": "OPENAI_API_KEY"}, {"OPENAI_API_KEY": CANARY}, CANARY),
        ("anthropic/m", {}, {"ANTHROPIC_API_KEY": CANARY}, DUMMY_KEY),
        ("anthropic/m", {"api_key_env": "MY_KEY"}, {"MY_KEY": CANARY}, CANARY),
        ("hosted_vllm/m", {}, {"HOSTED_VLLM_API_KEY": CANARY}, DUMMY_KEY),
        ("ollama_chat/m", {}, {"OLLAMA_API_KEY": CANARY}, DUMMY_KEY),
        ("azure/m", {"api_key_env": "MY_KEY"}, {"MY_KEY": CANARY}, CANARY),
        ("openai/m", {"api_key_env": "MY_KEY"}, {"MY_KEY": f" {CANARY}\n"}, CANARY),
    ],
)
def test_an_address_gets_the_key_that_was_named_for_it_and_no_other(
    model: str, fields: dict[str, str], environ: dict[str, str], sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with Loopback() as server:
        complete(ask(server, model, **fields))
        assert [e.auth.removeprefix("Bearer ") for e in server.calls] == [sent]


@pytest.mark.contract
def test_the_addresses_are_those_that_litellm_would_use() -> None:
    for provider, (address, _) in OWN_HOSTS.items():
        theirs = load_litellm().get_llm_provider(f"{provider}/m")[3]
        assert theirs in (None, address, address.replace("together.ai", "together.xyz"))  # its older name


@pytest.mark.contract
@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "openai/o3-mini", "anthropic/claude-opus-4-7"])
def test_a_temperature_that_litellm_knows_to_be_refused_is_left_out_and_said(model: str) -> None:
    seen, notes = params_sent(model, temperature=0.3, max_tokens=50)
    assert all("temperature" not in params for params in seen)
    assert notes == [f"{model} refuses temperature: it samples in its own way"]


class Fields(Exception):
    """What a client raises that keeps the parameter in an attribute."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("Not possible.")
        vars(self).update(fields)


@pytest.mark.parametrize(
    "exc",
    [
        Fields(param="temperature", code="unsupported_parameter"),
        Fields(body={"param": "temperature", "code": None}),
        Fields(body={"error": {"param": "generation_config.temperature"}}),
        Fields(response=httpx.Response(400, text='{"error": {"param": "temperature"}}')),
        Fields(status_code=400, body='{"error": {"param": "temperature"}}'),
    ],
    ids=lambda exc: ", ".join(vars(exc)),
)
def test_a_parameter_that_only_an_attribute_names_is_understood(
    exc: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(**arguments: Any) -> Any:
        if "temperature" in arguments:
            raise RuntimeError("wrapped") from exc
        return real.ModelResponse(choices=[{"message": {"content": f"without; top_p {arguments['top_p']}"}}])

    real = load_litellm()
    monkeypatch.setattr(real, "acompletion", refuse)
    request = Request(
        model="openai/m",
        messages=(Message("user", "q"),),
        api_base="http://127.0.0.1:9",
        params=(("temperature", 1), ("top_p", 0.5)),
    )
    (done,) = complete(request)
    assert texts(done) == ["without; top_p 0.5"]


@pytest.mark.parametrize("fields", [{}, {"param": None}, {"param": 7}, {"param": "a b"}, {"body": b"\xff"}])
def test_a_field_that_names_no_parameter_is_none(fields: dict[str, Any]) -> None:
    assert refusal_of(Fields(**fields)) == ("", "")


@pytest.mark.contract
def test_any_other_refused_parameter_is_an_error() -> None:
    with Loopback() as server:
        error = error_of(complete(ask(server, "anthropic/m", params={"seed": 1}))[0])
        assert type(error) is BadRequest
        assert "seed" in error.message
        error = error_of(complete(ask(server, "openai/gpt-5-mini", params={"logprobs": True}))[0])
        assert "logprobs" in error.message
        assert not server.ledger


@pytest.mark.contract
def test_anthropic_is_always_told_how_much_to_write_at_most() -> None:
    seen, _ = params_sent("anthropic/claude-haiku-4-5")
    assert [p["max_tokens"] for p in seen] == [ANTHROPIC_MAX_TOKENS] * 2
    seen, _ = params_sent("anthropic/claude-haiku-4-5", max_tokens=9)
    assert [p["max_tokens"] for p in seen] == [9, 9]


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "n", "logprobs"),
    [
        ("openai/gpt-4o-mini", True, True),
        ("openai/gpt-5-mini", True, False),
        ("hosted_vllm/any", True, True),
        ("anthropic/claude-haiku-4-5", False, False),
        ("ollama_chat/gemma3", False, False),
        ("mistral/mistral-small", False, False),
        ("gemini/gemini-2.5-flash", True, False),
    ],
)
def test_what_a_model_can_do_is_known_without_asking_it(model: str, n: bool, logprobs: bool) -> None:
    backend = LiteLLMBackend()
    assert (backend.supports_n(model), backend.supports_logprobs(model)) == (n, logprobs)
    assert "temperature" in listed_params(model) or "gpt-5" in model


# ---------------------------------------------------------------- seen from outside

CHILD = """
import asyncio, json, os, sys
from automix_cli.backends.base import Request
from automix_cli.backends.retry import Retrier
from automix_cli.backends.litellm import LiteLLMBackend
from automix_cli.process import own_process
from automix_cli.records import Message

assert "litellm" not in sys.modules
q = (Message("user", "q"),)
models, url = sys.argv[1].split(","), sys.argv[2]

async def main():
    backend = LiteLLMBackend(Retrier(backoff=0.001, attempts=2))
    for model in models:
        base = url if url.startswith("http") else None
        r = await asyncio.gather(
            backend.complete(Request(model=model, messages=q, api_base=base, n=2)), return_exceptions=True)
        print(json.dumps([type(r[0]).__name__, "litellm" in sys.modules]))
    await backend.aclose()

with own_process():
    asyncio.run(main())
print(json.dumps([os.environ.get("PLANTED"), os.environ.get("OPENAI_API_BASE")]))
"""


def child(*args: str, cwd: Path, **environ: str) -> tuple[list[Any], str]:
    """The JSON lines a child writes, and its stderr. Every line of stdout must be one of them."""
    root = str(Path(__file__).parents[2])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LITELLM_", "OPENAI_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, *args],
        cwd=cwd,
        env=kept | {"PYTHONPATH": root} | environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("is_ours", [True, False], ids=["the command line", "another program"])
def test_only_the_command_line_keeps_what_the_import_makes_from_the_collector(is_ours: bool) -> None:
    before = gc.get_freeze_count()
    with own_process() if is_ours else nullcontext():
        with _without_collection():
            assert gc.isenabled() is not is_ours
        assert (gc.get_freeze_count() > before) is is_ours
    assert gc.isenabled()
    if is_ours:
        gc.unfreeze()


@pytest.mark.parametrize("is_ours", [True, False], ids=["the command line", "another program"])
def test_variables_stay_only_where_the_process_is_ours(
    is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_MODE", "DEV")
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    with own_process() if is_ours else nullcontext():
        with _import_settings():
            assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
            assert os.environ["LITELLM_MODE"] == "DEV", "somebody set it"
        assert ("LITELLM_LOCAL_MODEL_COST_MAP" in os.environ) is is_ours
    os.environ.pop("LITELLM_LOCAL_MODEL_COST_MAP", None)


def test_a_missing_key_costs_no_import(tmp_path: Path) -> None:
    lines, _ = child("openai/m,gemini/m", "-", cwd=tmp_path)
    assert lines[:2] == [["Unauthorised", False]] * 2


@pytest.mark.contract
def test_litellm_is_a_silent_guest_whatever_happens(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PLANTED=yes\nOPENAI_API_BASE=http://127.0.0.1:9\n", encoding="utf-8")
    replies = {
        "unknown-model-xyz": "fine",
        "failing": Reply(status=500),
        "html": Reply(body=b"<html>"),
        "odd-usage": Reply(texts=("x",), usage={"prompt_tokens": "3"}),
        "refused": says(401, "no"),
    }
    models = [f"openai/{name}" for name in replies]
    models += ["nobody/m", "anthropic/claude-x", "ollama_chat/unheard-of"]
    noisy = {"GITHUB_ACTIONS": "1", "LITELLM_LOG": "DEBUG"}
    with Loopback(lambda call: replies.get(call.model, "fine")) as server:
        lines, stderr = child(",".join(models), server.url, cwd=tmp_path, **noisy)
        assert "/api/show" not in {re.sub("^/v1", "", e.path) for e in server.ledger}
    outcomes = [kind for kind, _ in lines[:-1]]
    assert outcomes[:5] == ["tuple", "BadResponse", "BadResponse", "tuple", "Unauthorised"]
    assert lines[-1] == [None, None]  # no `.env` was read
    assert not stderr


@pytest.mark.contract
@pytest.mark.parametrize("effort", ["low", "medium", "high"])
@pytest.mark.parametrize("limit", [16, 1024, 2048, 5000])
def test_what_litellm_lets_claude_think_with_is_below_max_tokens(effort: str, limit: int) -> None:
    tier = Tier(name="a", model="anthropic/claude-haiku-4-5")
    params = with_room_to_think({"max_tokens": limit, "reasoning_effort": effort}, tier)
    (sent, _), _ = params_sent("litellm anthropic/claude-haiku-4-5", **params)
    assert sent["thinking"]["budget_tokens"] < sent["max_tokens"]
