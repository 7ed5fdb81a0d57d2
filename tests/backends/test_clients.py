"""Every client of model servers, over real sockets: what goes out, what comes back, what is made of trouble.

LiteLLM takes seconds to import, so everything runs in this process, against one server per test.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from calls import (
    BOTH,
    CANARY,
    CLIENTS,
    LITELLM,
    ROUTES,
    ask,
    client,
    complete,
    error_of,
    model_of,
    one_choice,
    params_sent,
    says,
    texts,
)
from loopback import RECOVERABLE, Call, Loopback, Reply, Storm, nobody
from shell import PATIENCE

from automix_cli.backends.answers import MAX_BODY
from automix_cli.backends.base import Request
from automix_cli.backends.catalog import standard_key_envs
from automix_cli.backends.client import Client
from automix_cli.backends.endpoints import OWN_HOSTS, endpoint_notes
from automix_cli.backends.openai_providers import PROVIDERS
from automix_cli.backends.refusals import error_class, status_error
from automix_cli.backends.retry import Retrier
from automix_cli.backends.usage import split_usage
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    NoText,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    Unreachable,
)
from automix_cli.records import Completion, Message
from automix_cli.usage import Usage

both = pytest.mark.parametrize("route", BOTH)

# ---------------------------------------------------------------- answers


@pytest.mark.contract
@pytest.mark.parametrize(
    "route",
    [
        *LITELLM,
        "litellm openrouter/a/m",
        "litellm mistral/m",
        "litellm lm_studio/m",
        *(f"direct {p}/m" for p in PROVIDERS),
    ],
)
def test_a_completion_comes_back_from_every_kind_of_provider(route: str) -> None:
    with Loopback(lambda call: "four") as server:
        (done,) = complete(ask(server, route))
        assert texts(done) == ["four"]
        assert done[0].finish_reason == "stop"
        assert done[0].usage.calls == 1
        assert done[0].usage.output_tokens == 1
        assert done[0].usage.input_tokens > 0
        assert 0 < done[0].latency_s < 20
        assert not done[0].flags
        assert len(server.ledger) == 1


@both
def test_messages_and_parameters_arrive_as_given(route: str) -> None:
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
            backend=route.partition(" ")[0],
        )
        complete(request)
    (call,) = seen
    assert call.model == "some/model"
    assert [(m["role"], m["content"]) for m in call.messages] == [("system", "Be brief."), ("user", "2 + 2?")]
    assert call.params == params
    assert call.headers["accept-encoding"] == "identity"


@both
def test_half_a_surrogate_pair_is_neither_sent_nor_returned(route: str) -> None:
    body = json.dumps(one_choice("a \ud800 b")).encode()
    with Loopback(lambda call: Reply(body=body)) as server:
        (done,) = complete(ask(server, route, text="what is \udfff?"))
        assert texts(done) == ["a � b"]
        assert len(server.calls) == 1


@both
def test_log_probabilities_are_read_with_their_alternatives(route: str) -> None:
    with Loopback(lambda call: "Paris it is") as server:
        (done,) = complete(ask(server, route, params={"logprobs": True, "top_logprobs": 3}))
        tokens = done[0].logprobs
        assert "".join(t.token for t in tokens) == "Paris it is"
        assert all(len(t.top) == 3 and t.top[0] == (t.token, t.logprob) and t.logprob < 0 for t in tokens)
        (plain,) = complete(ask(server, route))
        assert plain[0].logprobs == ()


def failed_choice(text: str, **failure: Any) -> bytes:
    body = one_choice(text)
    body["choices"][0] |= failure
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "failure",
    [
        {"finish_reason": "error", "error": {"code": 502, "message": "upstream"}},
        {"finish_reason": "error"},
        {"error": {"message": "upstream"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("text", ["The ans", ""])
@both
def test_a_provider_that_failed_inside_a_choice_is_asked_again(
    route: str, text: str, failure: dict[str, Any]
) -> None:
    bodies = [failed_choice(text, **failure), failed_choice("The answer is 4.")]
    with Loopback(lambda call: Reply(body=bodies.pop(0))) as server:
        assert texts(complete(ask(server, route))[0]) == ["The answer is 4."]
    with Loopback(lambda call: Reply(body=failed_choice(text, **failure))) as server:
        error = error_of(complete(ask(server, route), attempts=2)[0])
        assert type(error) is BadResponse
        assert len(server.ledger) == 2


def test_groq_may_leave_out_its_service_and_openrouter_hears_of_no_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OR_SITE_URL", f"https://{CANARY}.example")
    monkeypatch.setenv("OR_APP_NAME", CANARY)
    seen: list[Call] = []

    def reply(call: Call) -> Reply:
        seen.append(call)
        return Reply(body=json.dumps(one_choice("4")).encode())

    with Loopback(reply) as server:
        for route in ("litellm groq/small", "litellm openrouter/x"):
            (done,) = complete(ask(server, route))
            assert (texts(done), done[0].service_tier) == (["4"], "standard")
    assert len(seen) == 2
    assert not any({"http-referer", "x-title"} & call.headers.keys() for call in seen)
    assert not any(CANARY in str(call.headers) for call in seen)


# ---------------------------------------------------------------- several completions


@pytest.mark.contract
@pytest.mark.parametrize(
    ("route", "requests"),
    [
        *(
            ("direct openai/m", 1),
            ("direct hosted_vllm/m", 1),
            ("direct mistral/m", 5),
            ("direct ollama/m", 5),
        ),
        *(("litellm openai/m", 1), ("litellm hosted_vllm/m", 1)),
        *(("litellm anthropic/m", 5), ("litellm ollama_chat/m", 5)),
    ],
)
def test_several_completions_cost_one_request_where_n_is_taken(route: str, requests: int) -> None:
    with Loopback() as server:
        (done,) = complete(ask(server, route, n=5))
        assert len(done) == 5
        assert [e.n for e in server.calls] == [5 if requests == 1 else 1] * requests
        assert sum(c.usage.calls for c in done) == requests


@both
def test_the_shares_of_a_request_add_up_to_its_usage(route: str) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 11, "total_tokens": 1011}
    details = {"prompt_tokens_details": {"cached_tokens": 998}}
    details |= {"completion_tokens_details": {"reasoning_tokens": 7}}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage | details)) as server:
        (done,) = complete(ask(server, route, n=3))
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


@both
def test_a_server_that_returns_fewer_is_asked_one_by_one_from_then_on(route: str) -> None:
    with Loopback(lambda call: Reply(texts=("only one",))) as server:
        server.reply = lambda call: Reply(body=json.dumps(one_choice("only one")).encode())
        backend = client(route, Retrier())
        first, second = complete(ask(server, route, n=4), ask(server, route, n=4), backend=backend)
        assert (len(first), len(second)) == (1, 4)
        assert [e.n for e in server.calls] == [4, 1, 1, 1, 1]
        assert not backend.supports_n("openai/m", server.url)
        assert backend.supports_n("openai/m", "http://127.0.0.1:1/v1")
        assert backend.supports_n("openai/other", server.url)


@both
@pytest.mark.parametrize("wording", ["'n' : number must be at most 1", "n must be 1, got 4"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_n_is_asked_one_by_one(route: str, status: int, wording: str) -> None:
    with Loopback(lambda call: says(status, wording) if call.n > 1 else "one") as server:
        first, second = complete(ask(server, route, n=3), ask(server, route, n=3))
        assert texts(first) == texts(second) == ["one"] * 3
        assert [e.n for e in server.calls] == [3, 1, 1, 1, 1, 1, 1]


SINGLES = ("direct mistral/m", "litellm anthropic/m")


@pytest.mark.parametrize("route", SINGLES)
def test_of_several_single_calls_those_that_succeed_are_kept(route: str) -> None:
    def reply(call: Call) -> Reply:
        return says(400, "no luck") if call.attempt % 2 else Reply(texts=("yes",))

    with Loopback(reply) as server:
        some, none = complete(ask(server, route, n=4), ask(server, route, n=3, params={"max_tokens": 0}))
        assert texts(some) == ["yes", "yes"]
        assert len(none) == 2
        server.reply = lambda call: says(401, "no")
        (refused_all,) = complete(ask(server, route, n=3))
        assert isinstance(refused_all, Unauthorised)


@both
def test_more_choices_than_asked_for_are_cut(route: str) -> None:
    with Loopback(lambda call: Reply(texts=("a", "b", "c"))) as server:
        (done,) = complete(ask(server, route))
        assert texts(done) == ["a"]


# ---------------------------------------------------------------- answers that are none


@both
@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (Reply(texts=()), NoText, 2),
        (Reply(texts=(None,)), NoText, 2),
        (Reply(texts=("",)), NoText, 1),
        (Reply(texts=(" \n\t ",)), NoText, 1),
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
    route: str, reply: Reply, kind: type[BackendError], requests: int
) -> None:
    with Loopback(lambda call: reply) as server:
        error = error_of(complete(ask(server, route))[0])
        assert type(error) is kind
        assert len(server.calls) == requests == error.attempts


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("reply", [Reply(texts=()), Reply(texts=(" ",)), Reply(body=b"{}")])
def test_nothing_usable_is_never_an_answer_whatever_the_provider(route: str, reply: Reply) -> None:
    with Loopback(lambda call: reply) as server:
        assert isinstance(error_of(complete(ask(server, route))[0]), BadResponse)
        assert len(server.calls) <= 4


@pytest.mark.parametrize("route", [*BOTH, *LITELLM[1:3]])
def test_what_a_filter_withheld_is_no_answer_and_not_asked_for_again(route: str) -> None:
    with Loopback(lambda call: Reply(texts=("I",), finish_reason="content_filter")) as server:
        error = error_of(complete(ask(server, route))[0])
        assert type(error) is ContentFiltered
        assert error.maybe_billed
        assert len(server.calls) == 1


@both
@pytest.mark.parametrize(("reason", "kind"), [("length", NoText), ("content_filter", ContentFiltered)])
def test_a_reply_without_text_says_what_it_used(route: str, reason: str, kind: type[BackendError]) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15}
    with Loopback(lambda call: Reply(texts=("",), finish_reason=reason, usage=usage)) as server:
        error = error_of(complete(ask(server, route))[0])
    assert type(error) is kind
    assert error.reply.usage == Usage(input_tokens=5, output_tokens=10, calls=1)
    assert (error.reply.text, error.reply.flags) == ("", ())


@both
def test_a_reply_without_text_and_usage_is_estimated_and_flagged_and_a_refusal_used_nothing(
    route: str,
) -> None:
    with Loopback(lambda call: Reply(texts=("",), finish_reason="length", usage={})) as server:
        error = error_of(complete(ask(server, route))[0])
    assert error.reply.flags == ("usage_suspect",)
    assert error.reply.usage.input_tokens > 0
    with Loopback(
        lambda call: Reply(status=400, body=b'{"error": {"message": "prompt is too long"}}')
    ) as server:
        error = error_of(complete(ask(server, route))[0])
    assert (type(error), error.reply) == (ContextTooLong, None)


@both
def test_a_cut_answer_is_kept_and_flagged(route: str) -> None:
    with Loopback(lambda call: "one two three") as server:
        (done,) = complete(ask(server, route, params={"max_tokens": 2}))
        assert (done[0].text, done[0].finish_reason, done[0].flags) == ("one two", "length", ("truncated",))


@both
def test_blank_choices_are_left_out_and_what_they_cost_is_borne_by_the_others(route: str) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
    with Loopback(lambda call: Reply(texts=("a", "", None, "d"), usage=usage)) as server:
        (done,) = complete(ask(server, route, n=4))
    assert texts(done) == ["a", "d"]
    assert sum((c.usage for c in done), Usage()) == Usage(input_tokens=10, output_tokens=9, calls=1)


@both
def test_an_answer_packed_though_nobody_asked_is_unpacked(route: str) -> None:
    with Loopback(lambda call: Reply(texts=("391",), gzip=True, framing="chunked")) as server:
        assert texts(complete(ask(server, route))[0]) == ["391"]


@both
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_every_framing_is_understood(route: str, framing: Any) -> None:
    with Loopback(lambda call: Reply(texts=("391",), framing=framing)) as server:
        assert [texts(done) for done in complete(*[ask(server, route)] * 3)] == [["391"]] * 3


# ---------------------------------------------------------------- usage


@both
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
    route: str, usage: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    with Loopback(lambda call: Reply(texts=("four words are here",), usage=usage)) as server:
        (done,) = complete(ask(server, route, text="How many words are there in all?", n=2))
    total = sum((c.usage for c in done), Usage())
    assert [c.flags for c in done] == [("usage_suspect",)] * 2
    if expected:
        assert (total.input_tokens, total.output_tokens) == expected
    else:
        assert 5 <= total.input_tokens <= 12
        assert 7 <= total.output_tokens <= 10


@both
def test_reasoning_that_was_left_out_of_the_output_is_charged(route: str) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 30}}
    with Loopback(lambda call: Reply(texts=("a",), usage=usage)) as server:
        (done,) = complete(ask(server, route))
    assert done[0].usage == Usage(input_tokens=10, output_tokens=35, reasoning_tokens=30, calls=1)
    assert not done[0].flags


# ---------------------------------------------------------------- trouble on the wire


class LeapingLoop(asyncio.SelectorEventLoop):
    """A real event loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def waited_out(backend: Client, request: Request, server: Loopback) -> Any:
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


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("fault", ["drop", "reset", "truncate"])
def test_a_broken_connection_is_one_request_that_may_be_billed(route: str, fault: Any) -> None:
    billed: list[Request] = []
    with Loopback(lambda call: Reply(fault=fault, texts=("x" * 500,))) as server:
        request = ask(server, route)
        error = error_of(complete(request, attempts=1, on_maybe_billed=lambda r, _: billed.append(r))[0])
        assert type(error) is BadResponse
        assert error.maybe_billed
        assert billed == [request]
        assert len(server.ledger) == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("fault", ["hang", "drip", "whitespace", "long"])
def test_a_connection_that_does_not_end_is_one_request_that_may_be_billed(route: str, fault: Any) -> None:
    billed: list[Request] = []

    async def main() -> Any:
        backend = client(route, Retrier(attempts=1, on_maybe_billed=lambda r, _: billed.append(r)))
        outcome = await waited_out(backend, request, server)
        await backend.aclose()
        return outcome

    with (
        Loopback(lambda call: Reply(fault=fault, pace=0.01, texts=("x" * 5000,))) as server,
        asyncio.Runner(loop_factory=LeapingLoop) as runner,
    ):
        request = ask(server, route)
        error = error_of(runner.run(main()))
        assert type(error) is TimedOut
        assert error.maybe_billed
        assert billed == [request]
        assert len(server.ledger) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_faults_of_every_kind_are_survived_three_in_a_row(route: str) -> None:
    storm = Storm(seed=1, rate=1.0)
    with Loopback(lambda call: "391", faults=storm) as server:
        for kind, reply in RECOVERABLE.items():
            storm.kinds = {kind: reply}
            server.forget()
            assert texts(complete(ask(server, route))[0]) == ["391"], kind
            assert len(server.calls) == 4, kind


@both
def test_a_storm_changes_no_answer_and_pays_for_none_twice(route: str) -> None:
    async def everything(server: Loopback) -> list[list[str]]:
        backend = client(route, Retrier(backoff=0.001, concurrency=8))
        requests = [ask(server, route, text=f"question {i}", n=1 + i % 3) for i in range(120)]
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


@pytest.mark.parametrize("route", ROUTES)
def test_a_server_that_goes_away_and_comes_back_is_waited_for(route: str) -> None:
    async def main(server: Loopback) -> list[list[str]]:
        back, waits, ahead = asyncio.Event(), Counter[Any](), [0.0]

        async def sleep(seconds: float) -> None:
            """The third wait of a call lasts until the server is back; the clock leaps over all others."""
            waits[asyncio.current_task()] += 1
            if waits[asyncio.current_task()] == 3:
                await back.wait()
            ahead[0] += seconds
            await asyncio.sleep(0)

        def clock() -> float:
            return time.monotonic() + ahead[0]

        # What never reached the server is no attempt, so that two of them are enough.
        own = {"patience": PATIENCE, "sleep": sleep, "clock": clock}
        retrier = Retrier(attempts=2, backoff=0.001, concurrency=4, **own)
        backend = client(route, retrier)
        first = await backend.complete(ask(server, route, "before"))
        server.down()
        waiting = [asyncio.create_task(backend.complete(ask(server, route, f"{i}"))) for i in range(6)]
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


@pytest.mark.parametrize("route", ROUTES)
def test_a_cancelled_call_ends_at_once_and_the_next_one_works(route: str) -> None:
    async def main(server: Loopback) -> list[str]:
        backend = client(route, Retrier(concurrency=1))
        task = asyncio.create_task(backend.complete(ask(server, route, timeout=2 * PATIENCE)))
        while not server.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)
        server.reply = lambda call: "391"
        done = await backend.complete(ask(server, route))
        await backend.aclose()
        return texts(done)

    with Loopback(lambda call: Reply(fault="hang")) as server:
        assert asyncio.run(main(server)) == ["391"]
        assert len(server.calls) == 2


@pytest.mark.parametrize("route", SINGLES)
def test_no_more_requests_are_in_flight_than_allowed(route: str) -> None:
    async def many(server: Loopback) -> None:
        backend = client(route, Retrier(concurrency=5))
        await asyncio.gather(*(backend.complete(ask(server, route, f"{i}", n=4)) for i in range(10)))
        await backend.aclose()

    with Loopback(lambda call: Reply(texts=("a",), gate=lambda: server.peak >= 5)) as server:
        asyncio.run(many(server))
        assert len(server.calls) == 40
        assert server.peak == 5
        assert server.connections <= 5


@pytest.mark.parametrize("route", ROUTES)
def test_a_refused_connection_names_host_and_cause(route: str) -> None:
    with nobody() as url:
        model = model_of(route)
        address = url.removesuffix("/v1") if model.startswith(("anthropic", "ollama")) else url
        request = Request(
            model=model, messages=(Message("user", "q"),), api_base=address, backend=route.partition(" ")[0]
        )
        error = error_of(complete(request)[0])
    host = url.split("/")[2]
    assert type(error) is Unreachable
    assert error.message == f"cannot reach {host}: connection refused"
    assert host in error.hint
    assert error.fatal
    assert not error.maybe_billed


@both
def test_tls_to_a_plain_port_is_unreachable_and_no_request(route: str) -> None:
    with Loopback() as server:
        secure = server.url.replace("http:", "https:")
        error = error_of(complete(ask(server, route, api_base=secure))[0])
        assert type(error) is Unreachable
        assert not server.ledger


# ---------------------------------------------------------------- refusals by status

STATUSES: list[tuple[Reply, type[BackendError], int]] = [
    (says(400, "bad field"), BadRequest, 1),
    (says(401, "Incorrect API key provided"), Unauthorised, 1),
    (says(402, "payment required"), QuotaExhausted, 1),
    (says(403, "forbidden"), Unauthorised, 1),
    (says(403, "your input was flagged by moderation"), ContentFiltered, 1),
    (says(404, "no such model"), UnknownModel, 1),
    (says(405, "method not allowed"), BadRequest, 1),
    (says(408, "timeout"), TimedOut, 2),
    (says(409, "conflict"), BadResponse, 2),
    (says(413, "too large"), ContextTooLong, 1),
    (says(422, "unprocessable"), BadRequest, 1),
    (says(425, "too early"), BadResponse, 2),
    (says(429, "slow down"), RateLimited, 2),
    (says(429, "You exceeded your current quota", "insufficient_quota"), QuotaExhausted, 1),
    (says(400, "Your credit balance is too low to access the API"), QuotaExhausted, 1),
    (says(400, "maximum context length is 10 tokens", "context_length_exceeded"), ContextTooLong, 1),
    (says(400, "prompt is too long: 200001 tokens > 200000 maximum"), ContextTooLong, 1),
    (says(413, "the input exceeds the maximum tokens"), ContextTooLong, 1),
    (says(400, "rejected as a result of our safety system", "content_policy_violation"), ContentFiltered, 1),
    (says(400, "triggering Azure OpenAI's content management policy", "content_filter"), ContentFiltered, 1),
    (says(500, "broken"), BadResponse, 2),
    (says(500, "content_filter crashed"), BadResponse, 2),
    (Reply(status=502, body=b"<html>Bad Gateway</html>"), BadResponse, 2),
    (says(503, "later"), BadResponse, 2),
    (Reply(status=504, body=b""), BadResponse, 2),
    (says(529, "overloaded"), BadResponse, 2),
]


@pytest.mark.contract
@pytest.mark.parametrize("route", ROUTES)
def test_every_status_becomes_its_error_for_every_provider(route: str) -> None:
    with Loopback() as server:
        for number, (reply, kind, requests) in enumerate(STATUSES):
            server.reply = lambda call, reply=reply: reply  # type: ignore[misc]
            server.forget()
            error = error_of(complete(ask(server, route, text=f"case {number}"), attempts=2)[0])
            case = (reply.status, error.message)
            assert type(error) is kind, case
            assert (len(server.calls), error.attempts) == (requests, requests), case
            assert f"answered {reply.status}" in error.message, case
            assert not error.maybe_billed, case


@both
@pytest.mark.parametrize("status", [400, 200])
def test_a_prompt_that_an_error_repeats_is_no_refusal_of_a_key(route: str, status: int) -> None:
    text = "Explain API key not valid errors"
    error_body = json.dumps({"error": {"message": f"cannot render {text}", "code": 400}}).encode()
    with Loopback(lambda call: Reply(status=status, body=error_body)) as server:
        error = error_of(complete(ask(server, route, text=text))[0])
    assert (type(error), error.fatal) == (BadRequest, False)


@pytest.mark.parametrize("route", ROUTES)
def test_what_the_provider_asks_to_wait_is_read_from_its_headers(route: str) -> None:
    with Loopback(lambda call: says(429, "slow", **{"Retry-After": "3600"})) as server:
        error = error_of(complete(ask(server, route))[0])
        assert isinstance(error, RateLimited)
        assert (error.retry_after, error.fatal, len(server.calls)) == (3600.0, True, 1)
        assert "asks to wait 3600 s" in error.message


@pytest.mark.contract
@pytest.mark.parametrize(
    ("route", "status"),
    [
        *((route, status) for route in BOTH for status in (301, 302, 303, 307, 308)),
        *((f"litellm {p}/m", 307) for p in ("anthropic", "azure", "hosted_vllm", "ollama_chat", "gemini")),
        *((f"litellm {p}/m", 307) for p in ("openrouter", "deepinfra", "mistral", "groq", "lm_studio")),
    ],
)
def test_no_redirect_is_followed(route: str, status: int) -> None:
    with Loopback() as elsewhere, Loopback() as server:
        away = Reply(status=status, headers={"Location": f"{elsewhere.url}/chat/completions"}, body=b"")
        server.elsewhere, server.reply = away, lambda call: away
        backend = client(route, Retrier(backoff=0.001), environ={"MY_KEY": CANARY})
        error = error_of(complete(ask(server, route, api_key_env="MY_KEY"), backend=backend)[0])
        assert type(error) is BadRequest
        assert error.fatal
        assert "redirects to 127.0.0.1" in error.message
        assert len(server.ledger) == 1
        assert not elsewhere.ledger


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_has_a_class(status: int) -> None:
    kind = error_class(status, "")
    assert kind.retryable == (status in (408, 409, 425, 429) or status >= 500)
    assert kind.fatal == (status in (401, 402, 403))
    assert type(status_error(status, {}, b"", "host")) is kind


@pytest.mark.parametrize("backend", CLIENTS)
@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        ("openai/m", {}, "OPENAI_API_KEY"),
        ("groq/m", {}, "GROQ_API_KEY"),
        ("openai/m", {"api_key_env": "MY_KEY"}, "MY_KEY"),
        ("openai/m", {"api_key_env": "MY_KEY", "api_base": "http://127.0.0.1:9/v1"}, "MY_KEY"),
    ],
)
def test_a_missing_key_is_found_before_anything_is_sent(
    model: str, fields: dict[str, str], names: str, backend: str
) -> None:
    request = Request(model=model, messages=(Message("user", "q"),), **fields)  # type: ignore[arg-type]
    error = error_of(complete(request, backend=CLIENTS[backend](environ={}))[0])
    assert type(error) is Unauthorised
    assert error.message == f"no key for {model}: {names} is not set"
    assert error.hint == f"export {names}=…"


@pytest.mark.parametrize("backend", CLIENTS)
def test_a_key_is_not_sent_unencrypted_to_another_machine(backend: str) -> None:
    request = Request(model="openai/m", messages=(), api_base="http://192.0.2.1/v1", api_key_env="MY_KEY")
    error = error_of(complete(request, backend=CLIENTS[backend](environ={"MY_KEY": CANARY}))[0])
    assert type(error) is Unauthorised
    assert "unencrypted" in error.message


@pytest.mark.parametrize("backend", CLIENTS)
@pytest.mark.parametrize("model", ["hosted_vllm/m", "lm_studio/m", "litellm_proxy/m"])
def test_a_server_without_an_address_is_asked_for_one(model: str, backend: str) -> None:
    request = Request(model=model, messages=())
    error = error_of(complete(request, backend=CLIENTS[backend](environ={}))[0])
    assert type(error) is BadRequest
    assert "needs an address" in error.message


@pytest.mark.parametrize("backend", CLIENTS)
def test_a_local_server_may_be_named_by_the_environment(backend: str) -> None:
    with Loopback(lambda call: "391") as server:
        calls = CLIENTS[backend](environ={"HOSTED_VLLM_API_BASE": server.url})
        request = Request(model="hosted_vllm/m", messages=(Message("user", "q"),))
        assert texts(complete(request, backend=calls)[0]) == ["391"]


@pytest.mark.contract
@pytest.mark.parametrize(
    ("backend", "provider"),
    [*(("direct", p) for p in OWN_HOSTS if p in PROVIDERS), *(("litellm", p) for p in OWN_HOSTS)],
)
def test_no_variable_redirects_a_providers_key(
    provider: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, names = OWN_HOSTS[provider]
    key = standard_key_envs(f"{provider}/m")[0]
    with Loopback() as proxy, Loopback() as elsewhere:
        for name in names:
            monkeypatch.setenv(name, elsewhere.url)
        # A proxy that lets nothing through shows which host was wanted, and the wish goes no further.
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.root)
        monkeypatch.setenv(key, CANARY)
        request = Request(model=f"{provider}/m", messages=(Message("user", "q"),), backend=backend)
        assert isinstance(complete(request, attempts=1)[0], BadResponse)
        host = address.split("/")[2]
        assert {e.path for e in proxy.ledger} == {f"{host}:443"}
        assert not elsewhere.ledger
        assert [n.split()[0] for n in endpoint_notes(os.environ)] == list(names)


@pytest.mark.parametrize("route", ROUTES)
def test_a_proxy_of_the_environment_does_not_see_what_stays_on_this_machine(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback() as proxy, Loopback(lambda call: "391") as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.root)
        assert texts(complete(ask(server, route))[0]) == ["391"]
        assert not proxy.ledger


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_that_the_server_quotes_is_masked(route: str) -> None:
    with Loopback(lambda call: says(401, f"Incorrect API key provided: {call.auth}")) as server:
        backend = client(route, environ={"MY_KEY": CANARY})
        error = error_of(complete(ask(server, route, api_key_env="MY_KEY"), backend=backend)[0])
        assert CANARY not in f"{error.message} {error.hint} {error!r} {backend!r}"
        assert "[key]" in error.message
        assert error.hint == "check the key: export MY_KEY=…"


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_that_is_set_anew_after_a_refusal_is_taken(route: str) -> None:
    with Loopback(lambda call: "391" if call.auth.endswith("new") else says(401, "no")) as server:
        environ, now = {"MY_KEY": "old"}, [0.0]
        backend = client(route, Retrier(clock=lambda: now[0]), environ=environ)
        request = ask(server, route, api_key_env="MY_KEY")
        assert type(error_of(complete(request, backend=backend)[0])) is Unauthorised
        environ["MY_KEY"], now[0] = "new", 100.0
        assert texts(complete(request, backend=backend)[0]) == ["391"]


@both
@pytest.mark.parametrize("name", ["api_key", "base_url", "num_retries", "extra_headers", "mock_response"])
def test_what_is_not_a_sampling_parameter_cannot_be_slipped_in(route: str, name: str) -> None:
    with Loopback() as server:
        error = error_of(complete(ask(server, route, params={name: "x"}))[0])
        assert type(error) is BadRequest
        assert name in error.message
        assert not server.ledger


@pytest.mark.parametrize("backend", CLIENTS)
def test_a_temperature_that_the_server_refuses_is_left_out_from_then_on(backend: str) -> None:
    def reply(call: Call) -> Reply | str:
        words = "Unsupported value: 'temperature' does not support 0 with this model."
        return says(400, words) if "temperature" in call.params else "ok"

    seen, notes = params_sent(f"{backend} openai/brand-new", reply, temperature=0, top_p=0.5)
    assert ["temperature" in p for p in seen] == [True, False, False]
    assert all(p["top_p"] == 0.5 for p in seen)
    assert len(notes) == 1


@pytest.mark.parametrize("backend", CLIENTS)
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
def test_a_refusal_in_new_words_is_understood(backend: str, words: str) -> None:
    def reply(call: Call) -> Reply | str:
        return says(422, words) if call.params.keys() & {"temperature", "top_p"} else "ok"

    seen, notes = params_sent(f"{backend} openai/brand-new", reply, temperature=0, top_p=0.5)
    assert [sorted(p) for p in seen] == [["temperature", "top_p"], ["top_p"], [], []]
    assert len(notes) == 2


@pytest.mark.parametrize("backend", CLIENTS)
def test_max_tokens_is_renamed_for_a_server_that_wants_another_name(backend: str) -> None:
    def reply(call: Call) -> Reply | str:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return says(400, words) if "max_tokens" in call.params else "ok"

    seen, notes = params_sent(f"{backend} openai/brand-new", reply, max_tokens=9)
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


@pytest.mark.parametrize("route", [*BOTH, LITELLM[1]])
def test_a_parameter_that_only_a_field_names_is_understood(route: str) -> None:
    reply = refuses("top_p", "temperature", "max_tokens")
    seen, notes = params_sent(route, reply, temperature=0, top_p=0.5, max_tokens=9)
    assert sorted(seen[0]) == ["max_tokens", "temperature", "top_p"]
    assert seen[3:] == [{"max_completion_tokens": 9}] * 2
    assert notes == [
        f"{model_of(route)} refuses {name}: it samples in its own way" for name in ("top_p", "temperature")
    ]


@both
def test_a_field_that_names_n_is_understood_and_one_that_names_anything_else_is_in_the_message(
    route: str,
) -> None:
    with Loopback(refuses("n", "seed")) as server:
        first, second = complete(ask(server, route, n=2), ask(server, route, params={"seed": 1}))
        assert texts(first) == ["ok", "ok"]
        assert "Not possible. (unsupported_parameter: seed)" in error_of(second).message


@both
def test_completions_are_frozen_values(route: str) -> None:
    with Loopback(lambda call: "391") as server:
        (done,) = complete(ask(server, route))
    own = done[0]
    assert own == Completion(text="391", usage=own.usage, prompt=own.prompt, latency_s=own.latency_s)


# ---------------------------------------------------------------- counts that servers get wrong


def chat_of(texts: tuple[str, ...], prompt: int, output: int) -> Reply:
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return Reply(texts=texts, usage=usage)


@both
@pytest.mark.parametrize(
    ("counted", "expected", "is_corrected"),
    [(10, 40, True), (11, 44, True), (40, 40, False), (36, 36, False)],
)
def test_a_server_that_counts_one_of_several_choices_is_corrected_and_flagged(
    route: str, counted: int, expected: int, is_corrected: bool
) -> None:
    with Loopback(
        lambda call: chat_of(("this text has ten tokens, of four bytes.",) * 4, 9, counted)
    ) as server:
        (done,) = complete(ask(server, route, n=4))
    assert sum(c.usage.output_tokens for c in done) == expected
    assert {c.flags for c in done} == {("usage_corrected",) if is_corrected else ()}


@both
@pytest.mark.parametrize(("counted", "expected"), [(20, 20), (10, 20)])
def test_closing_lines_alone_have_long_tokens_and_their_right_count_stands(
    route: str, counted: int, expected: int
) -> None:
    """One such line has 58 bytes, and ten tokens of OpenAI's."""
    line = "Verification Decision: The AI generated answer is Correct."
    with Loopback(lambda call: chat_of((line,) * 2, 9, counted)) as server:
        (done,) = complete(ask(server, route, n=2))
    assert sum(c.usage.output_tokens for c in done) == expected


@both
@pytest.mark.parametrize(("generated", "expected"), [(30, 60), (60, 30)])
def test_the_server_s_own_word_tells_that_it_counted_one_of_several_choices(
    route: str, generated: int, expected: int
) -> None:
    """llama.cpp tells it in `timings`: short texts of many tokens could not."""
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "yes, " * 6}}
    body = {
        "object": "chat.completion",
        "model": "m",
        "choices": [choice | {"index": index} for index in range(2)],
        "usage": {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39},
        "timings": {"prompt_n": 9, "predicted_n": generated, "predicted_ms": 4.5},
    }
    with Loopback(lambda call: Reply(body=json.dumps(body).encode())) as server:
        (done,) = complete(ask(server, route, n=2))
    assert sum(c.usage.output_tokens for c in done) == expected


@both
@pytest.mark.parametrize(("read", "is_cut"), [(8000, False), (6000, False), (4096, True), (2048, True)])
def test_a_context_that_the_server_cut_is_flagged_and_said_once(route: str, read: int, is_cut: bool) -> None:
    text = "word and " * 3556  # about 8,000 tokens of four bytes
    backend = client(route)
    with Loopback(lambda call: chat_of(("four",), read, 1)) as server:
        first, second = complete(*[ask(server, route, text=text)] * 2, backend=backend)
    expected = ("context_cut_by_server",) if is_cut else ()
    assert [c.flags for c in (*first, *second)] == [expected] * 2
    assert len([note for note in backend.notes if "cuts the context" in note]) == int(is_cut)
