"""A server and its clients: what they get, what it costs, and what happens when either goes away."""

import asyncio
import json
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from loopback import Call, Loopback, Reply, default_reply
from msgspec.structs import replace
from served import running, two_tiers

from automix_cli.api import CallOptions, Runtime
from automix_cli.backends.day_budget import DayBudget
from automix_cli.backends.spending import SpendingLedger
from automix_cli.errors import UsageError
from automix_cli.profile.search import load_profile
from automix_cli.records import Answer, Question, RowError
from automix_cli.serving.app import Pace
from automix_cli.serving.lifecycle import check_reach, open_socket
from automix_cli.serving.request_log import RequestLog

SUM = "What is 17 * 23?"
DEMO = load_profile("demo")


def planned(profile: Any, texts: list[str]) -> list[dict[str, Any]]:
    """The rows that `ask` would write."""

    async def main() -> list[dict[str, Any]]:
        async with Runtime(profile, CallOptions(no_cache=True)) as cascade:
            answers = [await cascade.answer(Question(text=text)) for text in texts]
            return [row.to_dict() for row in answers]

    return asyncio.run(main())


def route_of(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(s["tier"], s["answer"], s.get("votes"), s["action"], s["calls"]) for s in row["route"]]


# ---------------------------------------------------------------- what they get


def test_a_reply_is_a_completion_with_route_money_and_the_usage_of_all_calls() -> None:
    (row,) = planned(DEMO, [SUM])

    async def main() -> None:
        async with running(DEMO) as served:
            got = await served.ask(SUM, temperature=0.3, seed=1)
            assert (got.status, got.text, got.body["model"]) == (200, row["answer"], "automix")
            assert route_of(got.body["automix"]) == route_of(row)
            assert got.body["automix"]["cost_usd"] == row["cost_usd"]
            assert got.body["usage"]["prompt_tokens"] == row["usage"]["input_tokens"]
            assert got.body["choices"][0]["finish_reason"] == "stop"
            assert got.headers["x-automix-tier"] == row["tier"]
            assert got.headers["x-automix-ignored"] == "seed,temperature"
            assert got.headers["x-request-id"] in got.body["id"]
            again = await served.ask(SUM, seed=2)
            assert again.body["automix"]["spent_usd"] == 0.0
            entries = [entry["event"] for entry in served.log.entries]
            assert entries == ["ignored_fields", "request", "ignored_fields", "request"]
            assert SUM not in json.dumps(served.log.entries)

    asyncio.run(main())


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_has_text_end_and_on_demand_the_usage(include_usage: bool) -> None:
    async def main() -> None:
        async with running(DEMO) as served:
            options = {"stream_options": {"include_usage": True}} if include_usage else {}
            lines = await served.stream(SUM, **options)
            assert lines[-1] == "data: [DONE]"
            events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
            assert len(events) == 2 + include_usage
            assert events[0]["choices"][0]["delta"]["content"] == "391"
            assert events[1]["choices"][0]["finish_reason"] == "stop"
            assert events[1]["automix"]["tier"]
            if include_usage:
                assert events[2]["choices"] == []
                assert events[2]["usage"]["total_tokens"] > 0

    asyncio.run(main())


def test_models_are_the_profile_and_each_tier_and_a_tier_is_asked_once(tmp_path: Path) -> None:
    async def main(profile: Any, server: Loopback) -> None:
        async with running(profile) as served:
            models = (await served.request("GET", "/v1/models")).body["data"]
            assert [model["id"] for model in models] == ["team", "small", "large"]
            one = await served.request("GET", "/v1/models/large")
            assert one.body["tiers"] == ["openai/large"]
            got = await served.ask("alone?", model="large")
            assert [step["tier"] for step in got.body["automix"]["route"]] == ["large"]
            assert [call.model for call in server.calls] == ["large"]
            for name, path in (("nobody", None), ("x/y", "/v1/models/x/y")):
                wrong = await (served.request("GET", path) if path else served.ask("?", model=name))
                assert (wrong.status, wrong.error["code"]) == (404, "model_not_found")
                assert "team, small, large" in wrong.error["message"]

    with Loopback() as server:
        asyncio.run(main(two_tiers(server, tmp_path), server))


def test_two_hundred_at_once_get_what_one_after_the_other_gets(tmp_path: Path) -> None:
    texts = [f"riddle {n % 60}, what is it?" for n in range(200)]

    async def main(profile: Any) -> list[Any]:
        async with running(profile) as served:
            return await asyncio.gather(*map(served.ask, texts))

    with Loopback() as server:
        profile = two_tiers(server, tmp_path)
        rows = planned(profile, texts)
        ledger = sorted((call.model, call.n, call.body_sha) for call in server.calls)
        server.forget()
        replies = asyncio.run(main(profile))
        assert sorted((call.model, call.n, call.body_sha) for call in server.calls) == ledger
    assert {reply.status for reply in replies} == {200}
    assert {row["tier"] for row in rows} == {"small", "large"}
    for row, reply in zip(rows, replies, strict=True):
        assert reply.text == row["answer"]
        block = reply.body["automix"]
        assert [s[:4] for s in route_of(block)] == [s[:4] for s in route_of(row)]
        assert block["cost_usd"] == row["cost_usd"]
    spent = sum(reply.body["automix"]["spent_usd"] for reply in replies)
    assert spent == pytest.approx(sum(row["spent_usd"] for row in rows))


# ---------------------------------------------------------------- one answer, or a new one


def test_equal_requests_share_one_answer_unless_a_new_one_is_asked_for(tmp_path: Path) -> None:
    async def main(profile: Any, server: Loopback) -> None:
        async with running(profile) as served:
            both = await asyncio.gather(
                served.ask("same?", model="small"), served.ask("same?", model="small")
            )
            assert len(server.calls) == 1
            assert sorted(got.body["automix"]["spent_usd"] > 0 for got in both) == [False, True]
            fresh = await served.ask("same?", model="small", headers={"Cache-Control": "max-age=0, No-Cache"})
            assert fresh.body["automix"]["spent_usd"] > 0
            assert len(server.calls) == 2
            await served.ask("same?", model="small")
            assert len(server.calls) == 2

    with Loopback() as server:
        asyncio.run(main(two_tiers(server, tmp_path), server))


def test_a_client_that_goes_away_stops_its_question_but_not_that_of_another(tmp_path: Path) -> None:
    is_open: list[bool] = []
    prompts: list[str] = []

    def reply(call: Call) -> Reply:
        prompts.append(call.prompt)
        return replace(default_reply(call), gate=lambda: bool(is_open))

    async def main(profile: Any) -> None:
        async with running(profile) as served:
            await served.ask("first?", model="automix", n=2)  # refused, but the connections are there
            one, other, alone = (
                asyncio.create_task(served.ask(text, stream=text == "alone?"))
                for text in ("same?", "same?", "alone?")
            )
            await until(lambda: len(prompts) == 2 and served.server.desk.at_work == 3)
            one.cancel()
            alone.cancel()
            await until(lambda: served.server.desk.at_work == 1)
            is_open.append(True)
            assert (await other).status == 200
            assert [entry["status"] for entry in served.log.entries] == [400, 499, 499, 200]

    with Loopback(reply) as server:
        asyncio.run(main(two_tiers(server, tmp_path)))
    assert sum("alone?" in prompt for prompt in prompts) == 1  # no votes on it, no other tier
    assert sum("same?" in prompt and "Decision" not in prompt for prompt in prompts) <= 2  # one a tier


async def deaf_client(port: int, body: dict[str, Any]) -> socket.socket:
    """A connection that has asked and does not read."""
    raw = json.dumps({"messages": [{"role": "user", "content": SUM}], **body}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(raw)}\r\n\r\n"
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, head.encode() + raw)
    return client


async def size_of_the_rest(client: socket.socket) -> int:
    size = 0
    while part := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
        size += len(part)
    return size


async def until(condition: Any) -> None:
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to it")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_reader_who_stops_reading_is_dropped_with_what_was_to_be_sent(stream: bool, tmp_path: Path) -> None:
    async def main(profile: Any) -> None:
        async with running(profile, pace=Pace(reader=0.1), send_buffer=4096) as served:
            port = int(urlsplit(served.url).port or 0)
            with await deaf_client(port, {"model": "small", "stream": stream}) as client:
                await until(lambda: served.log.entries)
                assert (served.log.entries[0]["cut"], served.server.desk.at_work) == ("TimeoutError", 0)
                assert await size_of_the_rest(client) < 400_000  # what the system had taken already
            assert (await served.ask(SUM, model="large")).status == 200

    with Loopback(lambda call: "4" * 400_000 if call.model == "small" else "4") as server:
        asyncio.run(main(two_tiers(server, tmp_path)))


def test_a_client_that_leaves_in_the_midst_of_a_stream_stops_its_question(tmp_path: Path) -> None:
    is_open: list[bool] = []
    prompts: list[str] = []

    async def main(profile: Any) -> None:
        pace = Pace(before_stream=0.01, between_comments=0.02)
        async with running(profile, pace=pace) as served:
            body = {"model": "automix", "stream": True, "messages": [{"role": "user", "content": SUM}]}
            url = f"{served.url}/v1/chat/completions"
            async with served.session.post(url, json=body) as reply:
                assert await reply.content.readline() == b": thinking\n"
                assert (reply.status, served.server.desk.at_work) == (200, 1)
            await until(lambda: served.server.desk.at_work == 0)
            is_open.append(True)
            assert (await served.ask("another?", model="small")).status == 200

    def reply(call: Call) -> Reply:
        prompts.append(call.prompt)
        return Reply(texts=("4",), gate=lambda: bool(is_open))

    with Loopback(reply) as server:
        asyncio.run(main(two_tiers(server, tmp_path)))
    assert sum("17 * 23" in prompt for prompt in prompts) <= 1  # no votes, no other tier


# ---------------------------------------------------------------- trouble


def mute(call: Call) -> Reply:
    return Reply(texts=(None,), usage={"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5})


def always(status: int) -> Any:
    return lambda call: Reply(status=status)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (mute, 502, "no_text"),
        (always(500), 502, "bad_response"),
        (always(429), 429, "rate_limit_exceeded"),
        (always(401), 502, "upstream_key_refused"),
        (always(402), 429, "insufficient_quota"),
        (always(404), 502, "upstream_model_unknown"),
        (always(413), 400, "context_length_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_models_have_a_status_that_says_whose_they_are(
    reply: Any, status: int, code: str, stream: bool, tmp_path: Path
) -> None:
    async def main(profile: Any) -> None:
        async with running(profile) as served:
            got = await served.ask("why?", model="small", stream=stream)
            assert (got.status, got.error["code"]) == (status, code)
            assert got.headers["x-should-retry"] == "false"
            assert served.log.entries[-1]["error"]["tier"] == "small"
            assert "message" not in served.log.entries[-1]["error"]

    with Loopback(reply) as server:
        asyncio.run(main(two_tiers(server, tmp_path, "attempts: 1")))


def test_a_mute_answer_is_paid_as_often_as_one_question_pays_it(tmp_path: Path) -> None:
    async def main(profile: Any, server: Loopback) -> None:
        async with running(profile) as served:
            await served.ask("why?", model="small")
            calls = len(server.calls)
            for _ in range(2):
                got = await served.ask("why?", model="small")
                assert (got.status, got.body["automix"]["spent_usd"]) == (502, 0.0)
            assert len(server.calls) == calls

    with Loopback(mute) as server:
        asyncio.run(main(two_tiers(server, tmp_path), server))


def test_an_error_does_not_say_what_another_client_asked(tmp_path: Path) -> None:
    def refuse(call: Call) -> Reply:
        body = json.dumps({"error": {"message": f"bad key for: {call.prompt}"}}).encode()
        return Reply(status=401, body=body)

    async def main(profile: Any) -> None:
        async with running(profile) as served:
            await served.ask("my secret plan", model="small")
            other = await served.ask("weather?", model="small")
            assert other.error["code"] == "upstream_key_refused"
            assert "secret" not in json.dumps(other.body)
            assert "secret" not in json.dumps(served.log.entries)

    with Loopback(refuse) as server:
        asyncio.run(main(two_tiers(server, tmp_path)))


def test_a_model_server_that_dies_and_returns_is_used_again(tmp_path: Path) -> None:
    async def main(profile: Any, server: Loopback) -> None:
        async with running(profile) as served:
            assert (await served.ask("one?", model="small")).status == 200
            await asyncio.to_thread(server.down)
            waiting = asyncio.create_task(served.ask("two?", model="small"))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(server.up)
            assert (await waiting).status == 200

    with Loopback() as server:
        asyncio.run(main(two_tiers(server, tmp_path), server))


def test_questions_in_line_for_a_dead_model_server_all_fail_within_its_patience(tmp_path: Path) -> None:
    async def main(profile: Any, server: Loopback) -> None:
        async with running(profile, patience=0.5) as served:
            assert (await served.ask("one?", model="small")).status == 200
            await asyncio.to_thread(server.down)
            start = asyncio.get_running_loop().time()
            replies = await asyncio.gather(*(served.ask(f"{k}?", model="small") for k in range(40)))
            assert {reply.status for reply in replies} <= {502, 503, 504}
            assert asyncio.get_running_loop().time() - start < 20

    with Loopback() as server:
        asyncio.run(main(two_tiers(server, tmp_path), server))


def test_a_slow_answer_is_kept_alive_by_comments_and_its_error_comes_as_an_event(tmp_path: Path) -> None:
    pace = Pace(before_stream=0.01, between_comments=0.02)

    def reply(call: Call) -> Reply:
        return Reply(status=413, latency=0.1) if "long" in call.prompt else Reply(texts=("4",), latency=0.1)

    async def main(profile: Any) -> None:
        async with running(profile, pace=pace) as served:
            lines = await served.stream("2 + 2?", model="small")
            assert lines.count(": thinking") >= 2
            assert '"content":"4"' in next(line for line in lines if line.startswith("data:"))
            lines = await served.stream("too long?", model="small")
            error = json.loads(lines[-1].removeprefix("data: "))["error"]
            assert error["code"] == "context_length_exceeded"

    with Loopback(reply) as server:
        asyncio.run(main(two_tiers(server, tmp_path)))


def test_the_log_says_what_kind_of_fault_it_was_and_quotes_nothing() -> None:
    answer = Answer(question=Question(text=SUM))
    row = answer.with_error(RowError(type="internal", message=f"KeyError: {SUM}"))
    assert RequestLog().error_of(row) == {
        "type": "internal",
        "tier": None,
        "attempts": 0,
        "cause": "KeyError",
    }


# ---------------------------------------------------------------- the budget of a day


def test_the_budget_of_a_day_says_when_it_starts_anew_and_does(tmp_path: Path) -> None:
    now = [datetime(2026, 11, 26, 23, 0, tzinfo=UTC)]
    ledger = SpendingLedger(tmp_path / "cache", "team")

    async def main(profile: Any, cap: float) -> list[Any]:
        budget = DayBudget(cap, ledger, clock=lambda: now[0])
        async with running(profile, budget=budget) as served:
            replies = []
            for n in range(3):
                replies.append(await served.ask(f"riddle {n}?", model="small"))
            now[0] = datetime(2026, 11, 27, 0, 1, tzinfo=UTC)
            replies.append(await served.ask("riddle 2?", model="small"))
            return replies

    usage = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
    with Loopback(lambda call: Reply(texts=("4",), usage=usage)) as server:
        profile = two_tiers(server, tmp_path)
        small = replace(profile.tiers[0], params=(("max_tokens", 10),))
        profile = replace(profile, tiers=(small, profile.tiers[1]))
        *day, next_day = asyncio.run(main(profile, 1.4e-4))
    assert [got.status for got in day] == [200, 200, 429]
    assert day[2].error["code"] == "budget_reached"
    assert "--max-cost-per-day $0.00014 (it starts anew at 2026-11-27 00:00 UTC)" in day[2].error["message"]
    assert day[2].headers["x-should-retry"] == "false"
    assert next_day.status == 200


# ---------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("key", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"Host": "localhost"}, 200),
        ("", {"Host": "evil.example:80"}, 403),
        ("", {"Origin": "http://127.0.0.1:3000"}, 403),
        ("", {"Origin": "null"}, 403),
        ("", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("s3cret-key", {}, 401),
        ("s3cret-key", {"Authorization": "Bearer s3cret-kez"}, 401),
        ("s3cret-key", {"Authorization": "Basic s3cret-key"}, 401),
        ("s3cret-key", {"Authorization": "bearer s3cret-key", "Host": "my.example"}, 200),
    ],
)
def test_who_may_ask(key: str, headers: dict[str, str], status: int) -> None:
    async def main() -> None:
        async with running(DEMO, key=key) as served:
            got = await served.request("GET", "/v1/models", headers=headers)
            assert got.status == status
            assert key == "" or key not in json.dumps([got.body, dict(got.headers), served.log.entries])
            health = await served.request("GET", "/healthz", headers=headers)
            assert (health.status, health.body) == (200, {"status": "ok"})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b"\xff", 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b'{"model": "demo", "model": "x"}', 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b'{"model": "demo"}', 400, "invalid_value"),
        ("POST", "/v1/chat/completions", b" " * (9 * 2**20), 413, "request_entity_too_large"),
        ("GET", "/v1/chat/completions", b"", 404, "not_found"),
        ("POST", "/chat/completions", b"{}", 404, "not_found"),
    ],
)
def test_requests_that_are_none(method: str, path: str, body: bytes, status: int, code: str) -> None:
    async def main() -> None:
        async with running(DEMO) as served:
            got = await served.request(method, path, data=body)
            assert (got.status, got.error["code"]) == (status, code)
            assert (await served.ask(SUM)).status == 200

    asyncio.run(main())


POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"


@pytest.mark.parametrize(("part", "reply"), [(b"GET /v1", b""), (POST, b"HTTP/1.1 408 Request Timeout\r\n")])
def test_a_head_and_a_body_that_trickle_are_given_up(part: bytes, reply: bytes) -> None:
    async def main() -> None:
        async with running(DEMO, pace=Pace(body=0.05), keep_alive=0.05) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
            writer.write(part)
            assert await asyncio.wait_for(reader.readline(), 30) == reply
            writer.close()

    asyncio.run(main())


def test_counters_say_what_became_of_requests() -> None:
    async def main() -> None:
        async with running(DEMO) as served:
            await served.ask(SUM)
            await served.request("GET", "/made/up")
            text = (await served.request("GET", "/metrics")).body
            assert 'automix_requests_total{path="/v1/chat/completions",status="200"} 1' in text
            assert 'automix_requests_total{path="/{other}",status="404"} 1' in text
            assert 'automix_answers_total{model="automix",tier="small",status="ok"} 1' in text
            assert "automix_request_seconds_count 2" in text
            heads = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
            samples = [line for line in text.splitlines() if line and not line.startswith("#")]
            assert {re.split(r"_bucket|_sum |_count |[{ ]", line)[0] for line in samples} == heads

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "key", "problem"),
    [("0.0.0.0", "", "needs a key"), ("0.0.0.0", "k", None), ("::1", "", None), ("localhost", "", None)],
)
def test_other_machines_need_a_key(host: str, key: str, problem: str | None) -> None:
    if problem is None:
        check_reach(host, key)
        return
    with pytest.raises(UsageError, match=problem):
        check_reach(host, key)


def test_a_port_in_use_is_an_error_with_the_next_one() -> None:
    with open_socket("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use") as problem:
            open_socket("127.0.0.1", port)
        assert f"--port {port + 1}" in problem.value.hint
    with pytest.raises(UsageError, match=r"--host nowhere\.invalid"):
        open_socket("nowhere.invalid", 0)
