"""The test server itself: what it promises to every other test."""

import contextlib
import gzip
import http.client
import json
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from loopback import RECOVERABLE, Loopback, Reply, Storm, nobody
from shell import PATIENCE, until

QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}
JUDGE: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "End with Verification Decision:"}],
}


def post(
    server: Loopback,
    body: Any = QUESTION,
    *,
    path: str = "/v1/chat/completions",
    timeout: float = PATIENCE,
    **headers: str,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def said(raw: bytes) -> list[str]:
    return [choice["message"]["content"] for choice in json.loads(raw)["choices"]]


def test_n_choices_are_returned_and_the_same_body_gets_the_same_texts() -> None:
    with Loopback() as server:
        first, second = (post(server, JUDGE | {"n": 5})[1] for _ in range(2))
        assert said(first) == said(second)
        assert len(said(first)) == 5
        assert {text.rsplit("is ", 1)[1] for text in said(first)} == {"Correct.", "Incorrect."}
        assert said(post(server, JUDGE | {"n": 5, "model": "other"})[1]) != said(first)


def test_usage_counts_all_choices_and_max_tokens_cuts_each() -> None:
    with Loopback(lambda call: "one two three four") as server:
        reply = json.loads(post(server, QUESTION | {"n": 3, "max_tokens": 2})[1])
        assert [c["message"]["content"] for c in reply["choices"]] == ["one two"] * 3
        assert {c["finish_reason"] for c in reply["choices"]} == {"length"}
        assert reply["usage"]["completion_tokens"] == 6
        assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + 6


def test_logprobs_come_for_each_token_with_the_alternatives_asked_for() -> None:
    with Loopback(lambda call: "Paris it is") as server:
        reply = json.loads(post(server, QUESTION | {"logprobs": True, "top_logprobs": 2})[1])
        content = reply["choices"][0]["logprobs"]["content"]
        assert "".join(t["token"] for t in content) == "Paris it is"
        assert all(len(t["top_logprobs"]) == 2 and t["logprob"] < 0 for t in content)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/chat/completions", ("choices", 0, "message", "content")),
        ("/v1/messages", ("content", 0, "text")),
        ("/api/chat", ("message", "content")),
    ],
)
def test_three_protocols_are_spoken(path: str, where: tuple[Any, ...]) -> None:
    with Loopback(lambda call: "391") as server:
        found = json.loads(post(server, path=path)[1])
        for key in where:
            found = found[key]
        assert found == "391"


def test_the_ledger_lists_every_request_with_what_it_carried() -> None:
    with Loopback(keep_bodies=True) as server:
        post(server, QUESTION | {"n": 2}, Authorization="Bearer key")
        post(server, QUESTION | {"n": 2})
        post(server, path="/v1/nothing")
        a, b, c = server.ledger
        assert (a.model, a.n, a.auth, a.attempt, a.status, a.fully_sent) == (
            "m",
            2,
            "Bearer key",
            0,
            200,
            True,
        )
        assert (b.auth, b.attempt, b.body_sha) == ("", 1, a.body_sha)
        assert (c.status, c.path) == (404, "/v1/nothing")
        assert json.loads(a.body)["n"] == 2
        assert server.calls == server.delivered == [a, b]
        server.forget()
        assert not server.ledger


def test_a_storm_is_fixed_by_seed_body_and_attempt() -> None:
    bodies = [f"{i:064x}" for i in range(500)]
    kinds = [[Storm(seed, 0.3).kind(b, a) for b in bodies for a in range(8)] for seed in (1, 1, 2)]
    assert kinds[0] == kinds[1] != kinds[2]
    assert set(kinds[0]) == {None, *RECOVERABLE}
    first = [Storm(1, 0.3).kind(b, 0) for b in bodies]
    assert 0.24 < sum(k is not None for k in first) / len(first) < 0.36


def test_a_storm_never_fails_one_body_more_than_three_times_in_a_row() -> None:
    storm = Storm(1, 1.0)
    row = "".join("x" if storm.kind("0" * 64, attempt) else "." for attempt in range(40))
    assert max(map(len, re.findall("x+", row))) == 3


@pytest.mark.parametrize("kind", RECOVERABLE)
def test_every_recoverable_fault_is_followed_by_the_reply_that_no_fault_would_have_changed(kind: str) -> None:
    storm = Storm(1, 1.0, {kind: RECOVERABLE[kind]})
    with Loopback(lambda call: "391", faults=storm) as server:
        for _ in range(3):
            assert not usable(server)
        assert usable(server)
        assert storm.served == {kind: 3}
        assert len(server.delivered) == 1 or kind in ("not JSON", "HTML")


def usable(server: Loopback) -> bool:
    try:
        status, raw = post(server)
        return status == 200 and said(raw) == ["391"]
    except (OSError, http.client.HTTPException, ValueError):
        return False


@pytest.mark.parametrize(
    ("fault", "hears"), [("hang", b""), ("drip", b'{"id'), ("whitespace", b"1\r\n \r\n"), ("long", b"391")]
)
def test_slow_faults_keep_the_client_waiting(fault: Any, hears: bytes) -> None:
    with Loopback(lambda call: Reply(texts=("391",), fault=fault, pace=0.02)) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as wire:
            wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            heard = b""
            while hears not in heard:
                heard += wire.recv(1)
            wire.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                for _ in range(3):
                    assert wire.recv(4096), "it is not the server that ends this"
        assert not server.delivered


@pytest.mark.parametrize("fault", ["drop", "reset", "truncate"])
def test_broken_connections_break(fault: Any) -> None:
    with Loopback(lambda call: Reply(texts=("391",), fault=fault)) as server:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            post(server)
        assert [(e.fault, e.fully_sent) for e in server.calls] == [(fault, False)]


def test_an_endless_body_does_not_end_before_the_client_does() -> None:
    with Loopback(lambda call: Reply(fault="endless")) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("POST", "/v1/chat/completions", "{}")
        assert len(connection.getresponse().read(5_000_000)) == 5_000_000
        connection.close()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_every_framing_carries_the_same_body(framing: Any) -> None:
    with Loopback(lambda call: Reply(texts=("391",), framing=framing)) as server:
        assert said(post(server)[1]) == ["391"]


def test_gzip_redirects_and_raw_bodies_are_sent_as_scripted() -> None:
    replies = [
        Reply(body=b"plain", gzip=True),
        Reply(status=307, headers={"Location": "http://127.0.0.1:9/"}, body=b""),
        Reply(body=b"\x00\xff raw"),
    ]
    with Loopback(lambda call: replies[call.number]) as server:
        assert gzip.decompress(post(server)[1]) == b"plain"
        assert post(server) == (307, b"")
        assert post(server) == (200, b"\x00\xff raw")


def test_a_mistake_in_the_script_is_raised_when_the_block_ends() -> None:
    with pytest.raises(ZeroDivisionError), Loopback(lambda call: str(1 // 0)) as server:
        assert post(server)[0] == 500


def test_a_gate_holds_a_reply_back_until_it_opens() -> None:
    opened = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        Loopback(lambda call: Reply(texts=("391",), gate=opened.is_set)) as server,
    ):
        waiting = pool.submit(post, server)
        until(lambda: server.busy == 1)
        assert not waiting.done()
        opened.set()
        assert said(waiting.result(PATIENCE)[1]) == ["391"]
        until(lambda: server.busy == 0)


def test_a_gated_request_is_dropped_when_its_client_goes_away() -> None:
    with Loopback(lambda call: Reply(gate=lambda: False)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "q"}]}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            until(lambda: server.busy == 1)
        until(lambda: server.busy == 0)


def test_the_server_can_go_away_and_come_back_on_its_port() -> None:
    with Loopback(lambda call: "391") as server:
        port = server.port
        server.down()
        with pytest.raises(ConnectionError):
            post(server)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server.up()
        assert (server.port, usable(server)) == (port, True)


def test_nobody_listens_on_the_port_of_nobody() -> None:
    with nobody() as url, pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])))


def test_a_tls_client_is_hung_up_on() -> None:
    context = ssl.create_default_context()
    with (
        Loopback() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as wire,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(wire, server_hostname="localhost")


def test_thousands_of_requests_are_served_and_counted() -> None:
    def hammer(worker: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        for i in range(250):
            connection.request("POST", "/v1/chat/completions", json.dumps({"model": f"{worker}/{i}"}))
            connection.getresponse().read()
        connection.close()
        return 250

    with Loopback() as server:
        with ThreadPoolExecutor(8) as pool:
            sent = sum(pool.map(hammer, range(8)))
        assert len(server.delivered) == sent == 2000
        assert server.connections == 8
        assert 1 <= server.peak <= 8
