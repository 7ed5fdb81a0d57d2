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
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from loopback import RECOVERABLE, Call, Loopback, Reply, Storm, nobody
from shell import PATIENCE

from automix_cli.backends.base import Backend, Request
from automix_cli.backends.catalog import standard_key_envs
from automix_cli.backends.endpoints import DUMMY_KEY, OWN_HOSTS, endpoint_notes
from automix_cli.backends.http_guard import MAX_BODY, connection_error, error_class, read_body, status_error
from automix_cli.backends.litellm import ANTHROPIC_MAX_TOKENS, LiteLLMBackend
from automix_cli.backends.litellm_errors import ERROR_CLASSES, map_error, refusal_of
from automix_cli.backends.litellm_library import listed_params, load_litellm
from automix_cli.backends.litellm_replies import read_logprobs, split_usage
from automix_cli.backends.retry import Retrier
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    NoText,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    Unreachable,
)
from automix_cli.records import Completion, Message, Usage

FOUR = ("openai/m", "hosted_vllm/m", "anthropic/m", "ollama_chat/m")
CANARY = "canary-0123456789-abcdef"


def base(server: Loopback, model: str) -> str:
    """The address as a model's provider wants it: with or without `/v1`."""
    return server.root if model.startswith(("anthropic", "ollama")) else server.url


def ask(server: Loopback, model: str = "openai/m", text: str = "2 + 2?", **fields: Any) -> Request:
    fields.setdefault("api_base", base(server, model))
    fields["params"] = tuple(fields.get("params", {}).items())
    return Request(model=model, messages=(Message("user", text),), **({"timeout": 20.0} | fields))


def complete(*requests: Request, backend: LiteLLMBackend | None = None, **settings: Any) -> list[Any]:
    """The outcome of each request, completions or the error, one after the other."""
    backend = backend or LiteLLMBackend(Retrier(**({"backoff": 0.001} | settings)))

    async def main() -> list[Any]:
        outcomes: list[Any] = []
        for request in requests:
            outcomes += await asyncio.gather(backend.complete(request), return_exceptions=True)
        await backend.aclose()
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


# ---------------------------------------------------------------- answers


@pytest.mark.contract
@pytest.mark.parametrize("model", [*FOUR, "openrouter/a/m", "mistral/m", "perplexity/m", "lm_studio/m"])
def test_a_completion_comes_back_from_every_kind_of_provider(model: str) -> None:
    with Loopback(lambda call: "four") as server:
        (done,) = complete(ask(server, model))
        assert texts(done) == ["four"]
        assert done[0].finish_reason == "stop"
        assert done[0].usage.calls == 1
        assert done[0].usage.output_tokens == 1
        assert done[0].usage.input_tokens > 0
        assert 0 < done[0].latency_s < 20
        assert not done[0].flags
        assert len(server.ledger) == 1


def test_messages_and_parameters_arrive_as_given() -> None:
    seen: list[Call] = []

    def reply(call: Call) -> str:
        seen.append(call)
        return "ok"

    params = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7, "stop": ["\n"], "seed": 5}
    with Loopback(reply) as server:
        request = Request(
            model="openai/some/model",
            messages=(Message("system", "Be brief."), Message("user", "2 + 2?")),
            params=tuple(params.items()),
            api_base=server.url,
        )
        complete(request)
    (call,) = seen
    assert call.model == "some/model"
    assert [(m["role"], m["content"]) for m in call.messages] == [("system", "Be brief."), ("user", "2 + 2?")]
    assert call.params == params
    assert call.headers["accept-encoding"] == "identity"


def test_half_a_surrogate_pair_is_neither_sent_nor_returned() -> None:
    body = json.dumps(one_choice("a \ud800 b")).encode()
    with Loopback(lambda call: Reply(body=body)) as server:
        (done,) = complete(ask(server, text="what is \udfff?"))
        assert texts(done) == ["a � b"]
        assert len(server.calls) == 1


def test_log_probabilities_are_read_with_their_alternatives() -> None:
    with Loopback(lambda call: "Paris it is") as server:
        (done,) = complete(ask(server, params={"logprobs": True, "top_logprobs": 3}))
        tokens = done[0].logprobs
        assert "".join(t.token for t in tokens) == "Paris it is"
        assert all(len(t.top) == 3 and t.top[0] == (t.token, t.logprob) and t.logprob < 0 for t in tokens)
        (plain,) = complete(ask(server))
        assert plain[0].logprobs == ()


def test_log_probabilities_that_make_no_sense_are_no_log_probabilities() -> None:
    odd = SimpleNamespace(token="a", logprob=None, top_logprobs=[])
    assert read_logprobs(SimpleNamespace(logprobs=SimpleNamespace(content=[odd]))) == ()
    assert read_logprobs(SimpleNamespace(logprobs=None)) == ()


def test_the_backend_is_a_backend() -> None:
    backend: Backend = LiteLLMBackend()
    asyncio.run(backend.aclose())


# ---------------------------------------------------------------- several completions


@pytest.mark.contract
@pytest.mark.parametrize(("model", "requests"), [(m, 1 if m in FOUR[:2] else 5) for m in FOUR])
def test_several_completions_cost_one_request_where_n_is_taken(model: str, requests: int) -> None:
    with Loopback() as server:
        (done,) = complete(ask(server, model, n=5))
        assert len(done) == 5
        assert [e.n for e in server.calls] == [5 if requests == 1 else 1] * requests
        assert sum(c.usage.calls for c in done) == requests


def test_the_shares_of_a_request_add_up_to_its_usage() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 11, "total_tokens": 1011}
    details = {"prompt_tokens_details": {"cached_tokens": 998}}
    details |= {"completion_tokens_details": {"reasoning_tokens": 7}}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage | details)) as server:
        (done,) = complete(ask(server, n=3))
    assert [c.usage.output_tokens for c in done] == [4, 4, 3]
    assert sum((c.usage for c in done), Usage()) == Usage(
        input_tokens=1000, output_tokens=11, cached_input_tokens=998, reasoning_tokens=7, calls=1
    )
    assert all(c.usage.cached_input_tokens <= c.usage.input_tokens for c in done)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("total", [0, 1, 2, 63, 64, 1009])
def test_splitting_loses_and_invents_nothing(total: int, k: int) -> None:
    whole = Usage(input_tokens=total, output_tokens=2 * total, cached_input_tokens=total // 2, calls=1)
    parts = list(split_usage(whole, k))
    assert len(parts) == k
    assert sum(parts, Usage()) == whole
    assert [p.calls for p in parts] == [1] + [0] * (k - 1)
    assert max(p.input_tokens for p in parts) - min(p.input_tokens for p in parts) <= 1


def test_a_server_that_returns_fewer_is_asked_one_by_one_from_then_on() -> None:
    with Loopback(lambda call: Reply(texts=("only one",))) as server:
        server.reply = lambda call: Reply(body=json.dumps(one_choice("only one")).encode())
        backend = LiteLLMBackend(Retrier())
        first, second = complete(ask(server, n=4), ask(server, n=4), backend=backend)
        assert (len(first), len(second)) == (1, 4)
        assert [e.n for e in server.calls] == [4, 1, 1, 1, 1]
        assert not backend.supports_n("openai/m", server.url)
        assert backend.supports_n("openai/m", "http://127.0.0.1:1/v1")
        assert backend.supports_n("openai/other", server.url)


def one_choice(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}


@pytest.mark.parametrize("wording", ["'n' : number must be at most 1", "n must be 1, got 4"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_n_is_asked_one_by_one(status: int, wording: str) -> None:
    with Loopback(lambda call: says(status, wording) if call.n > 1 else "one") as server:
        first, second = complete(ask(server, n=3), ask(server, n=3))
        assert texts(first) == texts(second) == ["one"] * 3
        assert [e.n for e in server.calls] == [3, 1, 1, 1, 1, 1, 1]


def test_of_several_single_calls_those_that_succeed_are_kept() -> None:
    def reply(call: Call) -> Reply:
        return says(400, "no luck") if call.attempt % 2 else Reply(texts=("yes",))

    with Loopback(reply) as server:
        some, none = complete(
            ask(server, "anthropic/m", n=4), ask(server, "anthropic/m", n=3, params={"max_tokens": 0})
        )
        assert texts(some) == ["yes", "yes"]
        assert len(none) == 2
        server.reply = lambda call: says(401, "no")
        (refused_all,) = complete(ask(server, "anthropic/m", n=3))
        assert isinstance(refused_all, Unauthorised)


def test_more_choices_than_asked_for_are_cut() -> None:
    with Loopback(lambda call: Reply(texts=("a", "b", "c"))) as server:
        (done,) = complete(ask(server))
        assert texts(done) == ["a"]


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (Reply(texts=()), NoText, 2),
        (Reply(texts=(None,)), NoText, 2),
        (Reply(texts=("",)), NoText, 2),
        (Reply(texts=(" \n\t ",)), NoText, 2),
        (Reply(body=b'{"id": "x"}'), NoText, 2),
        (Reply(body=b'{"choices": null}'), NoText, 2),
        (Reply(body=b'{"choices": [{"index": 0, "message": null}]}'), NoText, 2),
        (Reply(texts=("",), finish_reason="length"), NoText, 1),
        (Reply(texts=(None,), finish_reason="length"), NoText, 1),
        (Reply(texts=("",), finish_reason="content_filter"), ContentFiltered, 1),
        (Reply(texts=("half a",), finish_reason="content_filter"), ContentFiltered, 1),
        (Reply(body=b"[1, 2]"), BadResponse, 4),
        (Reply(body=b'"text"'), BadResponse, 4),
        (Reply(body=b""), BadResponse, 4),
        (Reply(body=b"<html>log in</html>"), BadResponse, 4),
        (Reply(body=b'data: {"choices": []}\n\ndata: [DONE]\n\n'), BadResponse, 4),
        (Reply(body=b'{"error": {"message": "out of memory", "code": 500}}'), BadResponse, 6),
        (Reply(body=b'{"error": "overloaded"}'), BadResponse, 6),
        (Reply(body=b'{"error": {"message": "no such model", "code": 404}}'), UnknownModel, 1),
        (Reply(body=b"[" * 100_000), BadResponse, 4),
        (Reply(fault="endless"), BadResponse, 1),
        (Reply(body=b"0" * (MAX_BODY + 1)), BadResponse, 1),
        (Reply(body=b"0" * (64 << 20), gzip=True), BadResponse, 1),
        (Reply(body=b"{}", headers={"Content-Encoding": "br"}), BadResponse, 4),
        (Reply(body=b"{}", headers={"Content-Encoding": "gzip"}), BadResponse, 4),
    ],
)
def test_what_is_no_answer_is_an_error_and_not_asked_for_endlessly(
    reply: Reply, kind: type[BackendError], requests: int
) -> None:
    with Loopback(lambda call: reply) as server:
        error = error_of(complete(ask(server))[0])
        assert type(error) is kind
        assert len(server.calls) == requests == error.attempts


@pytest.mark.parametrize("model", FOUR)
@pytest.mark.parametrize("reply", [Reply(texts=()), Reply(texts=(" ",)), Reply(body=b"{}")])
def test_nothing_usable_is_never_an_answer_whatever_the_provider(model: str, reply: Reply) -> None:
    with Loopback(lambda call: reply) as server:
        assert isinstance(error_of(complete(ask(server, model))[0]), BadResponse)
        assert len(server.calls) <= 4


@pytest.mark.parametrize("model", FOUR[:3])
def test_what_a_filter_withheld_is_no_answer_and_not_asked_for_again(model: str) -> None:
    with Loopback(lambda call: Reply(texts=("I",), finish_reason="content_filter")) as server:
        error = error_of(complete(ask(server, model))[0])
        assert type(error) is ContentFiltered
        assert error.maybe_billed
        assert len(server.calls) == 1


@pytest.mark.parametrize(("reason", "kind"), [("length", NoText), ("content_filter", ContentFiltered)])
def test_a_reply_without_text_says_what_it_used(reason: str, kind: type[BackendError]) -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140}
    with Loopback(lambda call: Reply(texts=("",), finish_reason=reason, usage=usage)) as server:
        error = error_of(complete(ask(server))[0])
    assert type(error) is kind
    assert error.reply.usage == Usage(input_tokens=40, output_tokens=100, calls=1)
    assert (error.reply.text, error.reply.flags) == ("", ())


def test_a_reply_without_text_and_usage_is_estimated_and_flagged_and_a_refusal_used_nothing() -> None:
    with Loopback(lambda call: Reply(texts=("",), finish_reason="length", usage={})) as server:
        error = error_of(complete(ask(server))[0])
    assert error.reply.flags == ("usage_suspect",)
    assert error.reply.usage.input_tokens > 0
    with Loopback(
        lambda call: Reply(status=400, body=b'{"error": {"message": "prompt is too long"}}')
    ) as server:
        error = error_of(complete(ask(server))[0])
    assert (type(error), error.reply) == (ContextTooLong, None)


def test_a_cut_answer_is_kept_and_flagged() -> None:
    with Loopback(lambda call: "one two three") as server:
        (done,) = complete(ask(server, params={"max_tokens": 2}))
        assert (done[0].text, done[0].finish_reason, done[0].flags) == ("one two", "length", ("truncated",))


def test_blank_choices_are_left_out_and_what_they_cost_is_borne_by_the_others() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
    with Loopback(lambda call: Reply(texts=("a", "", None, "d"), usage=usage)) as server:
        (done,) = complete(ask(server, n=4))
    assert texts(done) == ["a", "d"]
    assert sum((c.usage for c in done), Usage()) == Usage(input_tokens=10, output_tokens=9, calls=1)


def test_an_answer_packed_though_nobody_asked_is_unpacked() -> None:
    with Loopback(lambda call: Reply(texts=("391",), gzip=True, framing="chunked")) as server:
        assert texts(complete(ask(server))[0]) == ["391"]


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


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_every_framing_is_understood(framing: Any) -> None:
    with Loopback(lambda call: Reply(texts=("391",), framing=framing)) as server:
        assert [texts(done) for done in complete(*[ask(server)] * 3)] == [["391"]] * 3


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10}, None),
        ({"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12}, None),
        ({"prompt_tokens": "12", "completion_tokens": "3", "total_tokens": "15"}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": 1, "total_tokens": 2}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 1, "total_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 1, "total_tokens": 2}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}, None),
        ({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 99}, (12, 3)),
    ],
)
def test_a_doubtful_usage_is_estimated_and_flagged(
    usage: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    with Loopback(lambda call: Reply(texts=("four words are here",), usage=usage)) as server:
        (done,) = complete(ask(server, text="How many words are there in all?", n=2))
    total = sum((c.usage for c in done), Usage())
    assert [c.flags for c in done] == [("usage_suspect",)] * 2
    if expected:
        assert (total.input_tokens, total.output_tokens) == expected
    else:
        assert 5 <= total.input_tokens <= 12
        assert 7 <= total.output_tokens <= 10


def test_reasoning_that_was_left_out_of_the_output_is_charged() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 30}}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage)) as server:
        (done,) = complete(ask(server))
    assert done[0].usage == Usage(input_tokens=10, output_tokens=35, reasoning_tokens=30, calls=1)
    assert not done[0].flags


@pytest.mark.contract
def test_anthropic_counts_its_cache_into_the_input() -> None:
    usage = {"input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 2}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage | {"output_tokens": 4})) as server:
        (done,) = complete(ask(server, "anthropic/claude-haiku-4-5"))
    assert done[0].usage == Usage(input_tokens=27, output_tokens=4, cached_input_tokens=2, calls=1)


# ---------------------------------------------------------------- trouble on the wire


class LeapingLoop(asyncio.SelectorEventLoop):
    """A real event loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def waited_out(backend: LiteLLMBackend, request: Request, server: Loopback) -> Any:
    """The outcome of a request whose time runs out once the server has it, a quarter at a time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    task = asyncio.gather(backend.complete(request), return_exceptions=True)
    while not server.ledger:
        await asyncio.sleep(0.01)
    while not task.done():
        await asyncio.sleep(0.05)  # in which something may arrive: it buys no time
        loop.ahead += request.timeout / 4
    return task.result()[0]


@pytest.mark.parametrize("model", FOUR)
@pytest.mark.parametrize("fault", ["drop", "reset", "truncate"])
def test_a_broken_connection_is_one_request_that_may_be_billed(model: str, fault: Any) -> None:
    billed: list[Request] = []
    with Loopback(lambda call: Reply(fault=fault, texts=("x" * 500,))) as server:
        request = ask(server, model)
        error = error_of(complete(request, attempts=1, on_maybe_billed=billed.append)[0])
        assert type(error) is BadResponse
        assert error.maybe_billed
        assert billed == [request]
        assert len(server.ledger) == 1


@pytest.mark.parametrize("model", FOUR)
@pytest.mark.parametrize("fault", ["hang", "drip", "whitespace", "long"])
def test_a_connection_that_does_not_end_is_one_request_that_may_be_billed(model: str, fault: Any) -> None:
    billed: list[Request] = []

    async def main() -> Any:
        backend = LiteLLMBackend(Retrier(attempts=1, on_maybe_billed=billed.append))
        outcome = await waited_out(backend, request, server)
        await backend.aclose()
        return outcome

    with (
        Loopback(lambda call: Reply(fault=fault, pace=0.01, texts=("x" * 5000,))) as server,
        asyncio.Runner(loop_factory=LeapingLoop) as runner,
    ):
        request = ask(server, model)
        error = error_of(runner.run(main()))
        assert type(error) is TimedOut
        assert error.maybe_billed
        assert billed == [request]
        assert len(server.ledger) == 1


@pytest.mark.parametrize("model", FOUR)
def test_faults_of_every_kind_are_survived_three_in_a_row(model: str) -> None:
    storm = Storm(seed=1, rate=1.0)
    with Loopback(lambda call: "391", faults=storm) as server:
        for kind, reply in RECOVERABLE.items():
            storm.kinds = {kind: reply}
            server.forget()
            assert texts(complete(ask(server, model))[0]) == ["391"], kind
            assert len(server.calls) == 4, kind


def test_a_storm_changes_no_answer_and_pays_for_none_twice() -> None:
    async def everything(server: Loopback) -> list[list[str]]:
        backend = LiteLLMBackend(Retrier(backoff=0.001, concurrency=8))
        requests = [ask(server, text=f"question {i}", n=1 + i % 3) for i in range(120)]
        done = await asyncio.gather(*(backend.complete(r) for r in requests))
        await backend.aclose()
        return [texts(d) for d in done]

    with Loopback() as calm:
        expected = asyncio.run(everything(calm))
        assert len(calm.calls) == 120
    storm = Storm(seed=3, rate=0.3)
    with Loopback(faults=storm) as server:
        assert asyncio.run(everything(server)) == expected
        good = [e.body_sha for e in server.delivered if Storm(3, 0.3).kind(e.body_sha, e.attempt) is None]
        assert len(good) == len(set(good)) == 120
        assert len(server.calls) == 120 + storm.served.total()
        assert storm.served.total() > 30


@pytest.mark.parametrize("model", FOUR)
def test_a_server_that_goes_away_and_comes_back_is_waited_for(model: str) -> None:
    async def main(server: Loopback) -> list[list[str]]:
        back, waits = asyncio.Event(), Counter[Any]()

        async def sleep(seconds: float) -> None:
            """The third wait of a call lasts until the server is back."""
            waits[asyncio.current_task()] += 1
            if waits[asyncio.current_task()] == 3:
                await back.wait()
            await asyncio.sleep(seconds)

        # What never reached the server is no attempt, so that two of them are enough.
        retrier = Retrier(attempts=2, backoff=0.001, concurrency=4, patience=PATIENCE, sleep=sleep)
        backend = LiteLLMBackend(retrier)
        first = await backend.complete(ask(server, model, "before"))
        server.down()
        waiting = [asyncio.create_task(backend.complete(ask(server, model, f"{i}"))) for i in range(6)]
        while [waits[task] for task in waiting] != [3] * 6:
            assert not any(task.done() for task in waiting)
            await asyncio.sleep(0.01)
        server.up()
        back.set()
        done = await asyncio.gather(*waiting)
        await backend.aclose()
        return [texts(d) for d in (first, *done)]

    with Loopback(lambda call: "391") as server:
        assert asyncio.run(main(server)) == [["391"]] * 7
        assert len(server.delivered) == 7


@pytest.mark.parametrize("model", FOUR)
def test_a_cancelled_call_ends_at_once_and_the_next_one_works(model: str) -> None:
    async def main(server: Loopback) -> list[str]:
        backend = LiteLLMBackend(Retrier(concurrency=1))
        task = asyncio.create_task(backend.complete(ask(server, model, timeout=2 * PATIENCE)))
        while not server.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)
        server.reply = lambda call: "391"
        done = await backend.complete(ask(server, model))
        await backend.aclose()
        return texts(done)

    with Loopback(lambda call: Reply(fault="hang")) as server:
        assert asyncio.run(main(server)) == ["391"]
        assert len(server.calls) == 2


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    async def many(server: Loopback) -> None:
        backend = LiteLLMBackend(Retrier(concurrency=5))
        await asyncio.gather(*(backend.complete(ask(server, "anthropic/m", f"{i}", n=4)) for i in range(10)))
        await backend.aclose()

    with Loopback(lambda call: Reply(texts=("a",), gate=lambda: server.peak >= 5)) as server:
        asyncio.run(many(server))
        assert len(server.calls) == 40
        assert server.peak == 5
        assert server.connections <= 5


@pytest.mark.parametrize("model", FOUR)
def test_a_refused_connection_names_host_and_cause(model: str) -> None:
    with nobody() as url:
        address = url if model in FOUR[:2] else url.removesuffix("/v1")
        request = Request(model=model, messages=(Message("user", "q"),), api_base=address)
        error = error_of(complete(request)[0])
    host = url.split("/")[2]
    assert type(error) is Unreachable
    assert error.message == f"cannot reach {host}: connection refused"
    assert host in error.hint
    assert error.fatal
    assert not error.maybe_billed


def test_tls_to_a_plain_port_is_unreachable_and_no_request() -> None:
    with Loopback() as server:
        secure = server.url.replace("http:", "https:")
        error = error_of(complete(ask(server, api_base=secure))[0])
        assert type(error) is Unreachable
        assert not server.ledger


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
    error = connection_error(exc, httpx.URL("https://api.example.com/v1/chat"))
    assert type(error) is Unreachable
    assert error.message == f"cannot reach api.example.com: {words}"


def test_a_certificate_that_is_not_trusted_is_said_to_be() -> None:
    exc, cause = httpx.ConnectError("x"), ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    exc.__cause__ = cause
    error = connection_error(exc, httpx.URL("https://api.example.com"))
    assert "its certificate is not trusted (self-signed certificate)" in error.message


# ---------------------------------------------------------------- refusals by status

STATUSES: list[tuple[Reply, type[BackendError], int]] = [
    (says(400, "bad field"), BadRequest, 1),
    (says(401, "Incorrect API key provided"), Unauthorised, 1),
    (says(402, "payment required"), Unauthorised, 1),
    (says(403, "forbidden"), Unauthorised, 1),
    (says(403, "your input was flagged by moderation"), ContentFiltered, 1),
    (says(404, "no such model"), UnknownModel, 1),
    (says(405, "method not allowed"), BadRequest, 1),
    (says(408, "timeout"), TimedOut, 6),
    (says(409, "conflict"), BadResponse, 6),
    (says(413, "too large"), BadRequest, 1),
    (says(422, "unprocessable"), BadRequest, 1),
    (says(425, "too early"), BadResponse, 6),
    (says(429, "slow down"), RateLimited, 6),
    (says(429, "You exceeded your current quota", "insufficient_quota"), Unauthorised, 1),
    (says(400, "Your credit balance is too low to access the API"), Unauthorised, 1),
    (says(400, "maximum context length is 10 tokens", "context_length_exceeded"), ContextTooLong, 1),
    (says(400, "prompt is too long: 200001 tokens > 200000 maximum"), ContextTooLong, 1),
    (says(413, "the input exceeds the maximum tokens"), ContextTooLong, 1),
    (says(400, "rejected as a result of our safety system", "content_policy_violation"), ContentFiltered, 1),
    (says(400, "triggering Azure OpenAI's content management policy", "content_filter"), ContentFiltered, 1),
    (says(500, "broken"), BadResponse, 6),
    (says(500, "content_filter crashed"), BadResponse, 6),
    (Reply(status=502, body=b"<html>Bad Gateway</html>"), BadResponse, 6),
    (says(503, "later"), BadResponse, 6),
    (Reply(status=504, body=b""), BadResponse, 6),
    (says(529, "overloaded"), BadResponse, 6),
]


@pytest.mark.contract
@pytest.mark.parametrize("model", FOUR)
def test_every_status_becomes_its_error_for_every_provider(model: str) -> None:
    with Loopback() as server:
        for number, (reply, kind, requests) in enumerate(STATUSES):
            server.reply = lambda call, reply=reply: reply  # type: ignore[misc]
            server.forget()
            error = error_of(complete(ask(server, model, text=f"case {number}"))[0])
            case = (reply.status, error.message)
            assert type(error) is kind, case
            assert (len(server.calls), error.attempts) == (requests, requests), case
            assert f"answered {reply.status}" in error.message, case
            assert not error.maybe_billed, case


@pytest.mark.parametrize("model", FOUR)
def test_what_the_provider_asks_to_wait_is_read_from_its_headers(model: str) -> None:
    with Loopback(lambda call: says(429, "slow", **{"Retry-After": "3600"})) as server:
        error = error_of(complete(ask(server, model))[0])
        assert isinstance(error, RateLimited)
        assert (error.retry_after, error.fatal, len(server.calls)) == (3600.0, True, 1)
        assert "asks to wait 3600 s" in error.message


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "status"),
    [
        *(("openai/m", status) for status in (301, 302, 303, 307, 308)),
        *((f"{p}/m", 307) for p in ("anthropic", "azure", "hosted_vllm", "ollama_chat", "gemini")),
        *((f"{p}/m", 307) for p in ("openrouter", "deepinfra", "mistral", "groq", "lm_studio")),
    ],
)
def test_no_redirect_is_followed(model: str, status: int) -> None:
    with Loopback() as elsewhere, Loopback() as server:
        away = Reply(status=status, headers={"Location": f"{elsewhere.url}/chat/completions"}, body=b"")
        server.elsewhere, server.reply = away, lambda call: away
        backend = LiteLLMBackend(Retrier(backoff=0.001), environ={"MY_KEY": CANARY})
        error = error_of(complete(ask(server, model, api_key_env="MY_KEY"), backend=backend)[0])
        assert type(error) is BadRequest
        assert error.fatal
        assert "redirects to 127.0.0.1" in error.message
        assert len(server.ledger) == 1
        assert not elsewhere.ledger


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
    "PaymentRequiredError": Unauthorised,
    "BudgetExceededError": Unauthorised,
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
        (402, Unauthorised),
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
        ("RateLimitError", 429, "insufficient_quota", Unauthorised),
        ("BadRequestError", 403, "forbidden", Unauthorised),
        ("BadRequestError", 422, "unprocessable", BadRequest),
        ("BadRequestError", 400, "prompt is too long", ContextTooLong),
        ("BadRequestError", 400, "content_policy_violation", ContentFiltered),
        ("APIError", 402, "payment", Unauthorised),
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


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_has_a_class(status: int) -> None:
    kind = error_class(status, "")
    assert kind.retryable == (status in (408, 409, 425, 429) or status >= 500)
    assert kind.fatal == (status in (401, 402, 403))
    assert type(status_error(status, {}, b"", "host")) is kind


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


@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        ("openai/m", {}, "OPENAI_API_KEY"),
        ("anthropic/m", {}, "ANTHROPIC_API_KEY"),
        ("gemini/m", {}, "GEMINI_API_KEY"),
        ("openai/m", {"api_key_env": "MY_KEY"}, "MY_KEY"),
        ("openai/m", {"api_key_env": "MY_KEY", "api_base": "http://127.0.0.1:9/v1"}, "MY_KEY"),
    ],
)
def test_a_missing_key_is_found_before_anything_is_sent(
    model: str, fields: dict[str, str], names: str
) -> None:
    request = Request(model=model, messages=(Message("user", "q"),), **fields)  # type: ignore[arg-type]
    error = error_of(complete(request, backend=LiteLLMBackend(environ={}))[0])
    assert type(error) is Unauthorised
    assert error.message == f"no key for {model}: {names} is not set"
    assert error.hint == f"export {names}=…"


def test_a_key_is_not_sent_unencrypted_to_another_machine() -> None:
    request = Request(model="openai/m", messages=(), api_base="http://192.0.2.1/v1", api_key_env="MY_KEY")
    error = error_of(complete(request, backend=LiteLLMBackend(environ={"MY_KEY": CANARY}))[0])
    assert type(error) is Unauthorised
    assert "unencrypted" in error.message


def test_a_server_without_an_address_is_asked_for_one() -> None:
    request = Request(model="hosted_vllm/m", messages=())
    error = error_of(complete(request, backend=LiteLLMBackend(environ={}))[0])
    assert type(error) is BadRequest
    assert "needs an address" in error.message


def test_a_local_server_may_be_named_by_the_environment() -> None:
    with Loopback(lambda call: "391") as server:
        backend = LiteLLMBackend(environ={"HOSTED_VLLM_API_BASE": server.url})
        request = Request(model="hosted_vllm/m", messages=(Message("user", "q"),))
        assert texts(complete(request, backend=backend)[0]) == ["391"]


@pytest.mark.contract
@pytest.mark.parametrize("provider", OWN_HOSTS)
def test_no_variable_redirects_a_providers_key(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address, names = OWN_HOSTS[provider]
    key = standard_key_envs(f"{provider}/m")[0]
    with Loopback() as proxy, Loopback() as elsewhere:
        for name in names:
            monkeypatch.setenv(name, elsewhere.url)
        # A proxy that lets nothing through shows which host was wanted, and the wish goes no further.
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.root)
        monkeypatch.setenv(key, CANARY)
        request = Request(model=f"{provider}/m", messages=(Message("user", "q"),))
        assert isinstance(complete(request, attempts=1)[0], BadResponse)
        host = address.split("/")[2]
        assert {e.path for e in proxy.ledger} == {f"{host}:443"}
        assert not elsewhere.ledger
        assert [n.split()[0] for n in endpoint_notes(os.environ)] == list(names)


@pytest.mark.contract
def test_the_addresses_are_those_that_litellm_would_use() -> None:
    for provider, (address, _) in OWN_HOSTS.items():
        theirs = load_litellm().get_llm_provider(f"{provider}/m")[3]
        assert theirs in (None, address, address.replace("together.ai", "together.xyz"))  # its older name


def test_a_proxy_of_the_environment_does_not_see_what_stays_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Loopback() as proxy, Loopback(lambda call: "391") as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.root)
        for model in FOUR:
            assert texts(complete(ask(server, model))[0]) == ["391"]
        assert not proxy.ledger


@pytest.mark.parametrize("model", FOUR)
def test_a_key_that_the_server_quotes_is_masked(model: str) -> None:
    with Loopback(lambda call: says(401, f"Incorrect API key provided: {call.auth}")) as server:
        backend = LiteLLMBackend(environ={"MY_KEY": CANARY})
        error = error_of(complete(ask(server, model, api_key_env="MY_KEY"), backend=backend)[0])
        assert CANARY not in f"{error.message} {error.hint} {error!r} {backend!r}"
        assert "[key]" in error.message
        assert error.hint == "check the key in MY_KEY"


@pytest.mark.parametrize("name", ["api_key", "base_url", "num_retries", "extra_headers", "mock_response"])
def test_what_is_not_a_sampling_parameter_cannot_be_slipped_in(name: str) -> None:
    with Loopback() as server:
        error = error_of(complete(ask(server, params={name: "x"}))[0])
        assert type(error) is BadRequest
        assert name in error.message
        assert not server.ledger


# ---------------------------------------------------------------- what models take


def params_sent(model: str, reply: Callable[[Call], Reply | str] = lambda call: "ok", **params: Any) -> Any:
    """The parameters of each request that arrived, and the backend's notes."""
    seen: list[dict[str, Any]] = []

    def noting(call: Call) -> Reply | str:
        seen.append(call.params)
        return reply(call)

    backend = LiteLLMBackend(Retrier())
    with Loopback(noting) as server:
        outcomes = complete(*[ask(server, model, params=params)] * 2, backend=backend)
        assert all(isinstance(o, tuple) for o in outcomes), outcomes
    return seen, backend.notes


@pytest.mark.contract
@pytest.mark.parametrize("model", ["openai/gpt-5-mini", "openai/o3-mini", "anthropic/claude-opus-4-7"])
def test_a_temperature_that_litellm_knows_to_be_refused_is_left_out_and_said(model: str) -> None:
    seen, notes = params_sent(model, temperature=0.3, max_tokens=50)
    assert all("temperature" not in params for params in seen)
    assert notes == [f"{model} refuses temperature: it samples in its own way"]


def test_a_temperature_that_the_server_refuses_is_left_out_from_then_on() -> None:
    def reply(call: Call) -> Reply | str:
        words = "Unsupported value: 'temperature' does not support 0 with this model."
        return says(400, words) if "temperature" in call.params else "ok"

    seen, notes = params_sent("openai/brand-new", reply, temperature=0, top_p=0.5)
    assert ["temperature" in p for p in seen] == [True, False, False]
    assert all(p["top_p"] == 0.5 for p in seen)
    assert len(notes) == 1


@pytest.mark.parametrize(
    "words",
    [
        "`temperature` and `top_p` are deprecated for this model.",
        "Temperature must be left out; so must topP.",
        "Sampling parameters are fixed for reasoning models",
        "sampling controls: unavailable",
        "unknown field: top-p, temperature",
    ],
)
def test_a_refusal_in_new_words_is_understood(words: str) -> None:
    def reply(call: Call) -> Reply | str:
        return says(422, words) if call.params.keys() & {"temperature", "top_p"} else "ok"

    seen, notes = params_sent("openai/brand-new", reply, temperature=0, top_p=0.5)
    assert [sorted(p) for p in seen] == [["temperature", "top_p"], ["top_p"], [], []]
    assert len(notes) == 2


def test_max_tokens_is_renamed_for_a_server_that_wants_another_name() -> None:
    def reply(call: Call) -> Reply | str:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return says(400, words) if "max_tokens" in call.params else "ok"

    seen, notes = params_sent("openai/brand-new", reply, max_tokens=9)
    asked = [(p.get("max_tokens"), p.get("max_completion_tokens")) for p in seen]
    assert asked == [(9, None), (None, 9), (None, 9)]
    assert not notes


def refuses(*names: str) -> Callable[[Call], Reply | str]:
    """A server that names the parameters it refuses, one at a time, in a field and not in words."""

    def reply(call: Call) -> Reply | str:
        for name in names:
            if name in call.params or (name == "n" and call.n > 1):
                error = {"message": "Not possible.", "param": name, "code": "unsupported_parameter"}
                return Reply(status=400, body=json.dumps({"error": error}).encode())
        return "ok"

    return reply


@pytest.mark.parametrize("model", FOUR[:2])
def test_a_parameter_that_only_a_field_names_is_understood(model: str) -> None:
    reply = refuses("top_p", "temperature", "max_tokens")
    seen, notes = params_sent(model, reply, temperature=0, top_p=0.5, max_tokens=9)
    assert sorted(seen[0]) == ["max_tokens", "temperature", "top_p"]
    assert seen[3:] == [{"max_completion_tokens": 9}] * 2
    assert notes == [
        f"{model} refuses {name}: it samples in its own way" for name in ("top_p", "temperature")
    ]


def test_a_field_that_names_n_is_understood_and_one_that_names_anything_else_is_in_the_message() -> None:
    with Loopback(refuses("n", "seed")) as server:
        first, second = complete(ask(server, n=2), ask(server, params={"seed": 1}))
        assert texts(first) == ["ok", "ok"]
        assert "Not possible. (unsupported_parameter: seed)" in error_of(second).message


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
from automix_cli.backends.litellm_library import skip_last_collection
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

asyncio.run(main())
print(json.dumps([os.environ.get("PLANTED"), os.environ.get("OPENAI_API_BASE")]))
skip_last_collection()
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


def test_what_the_import_made_is_kept_from_the_collector_and_the_collector_goes_on() -> None:
    load_litellm()
    assert gc.get_freeze_count() > 100_000
    assert gc.isenabled()


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


def test_completions_are_frozen_values() -> None:
    with Loopback(lambda call: "391") as server:
        (done,) = complete(ask(server))
    assert done[0] == Completion(text="391", usage=done[0].usage, latency_s=done[0].latency_s)
