"""`automix serve` as a process: signals, streams under way, keys, and what it will not start with."""

import http.client
import json
import signal
from contextlib import closing
from pathlib import Path

import pytest
from loopback import Call, Loopback, Reply
from serve_process import ServeProcess, serve_process
from served import two_tiers
from shell import PATIENCE, automix, until


def open_stream(server: ServeProcess, text: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": text}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    return connection


@pytest.mark.parametrize("drop", [False, True], ids=["one signal", "two signals"])
def test_a_signal_finishes_the_streams_under_way_and_a_second_one_ends_them(
    drop: bool, tmp_path: Path
) -> None:
    is_open: list[bool] = []
    calls: list[str] = []

    def reply(call: Call) -> Reply:
        calls.append(call.prompt)
        return Reply(texts=("4",), gate=lambda: bool(is_open))

    with Loopback(reply) as server:
        two_tiers(server, tmp_path)
        with serve_process(tmp_path, "--profile", "./p.yaml") as process:
            stream = open_stream(process, "2 + 2?")
            until(lambda: len(calls) == 1)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.stderr
            assert json.loads(process.process.stderr.readline())["event"] == "stopping"
            until(lambda: _is_refused(process.port))
            if drop:
                process.process.send_signal(signal.SIGTERM)
            else:
                is_open.append(True)
            response = stream.getresponse()
            text = response.read().decode()
            stream.close()
            assert process.end() == 143
    if drop:
        assert response.status in (200, 503)  # 200 on a machine that took three seconds to come here
        assert '"code":"unavailable"' in text
    else:
        assert (response.status, text.rstrip().splitlines()[-1]) == (200, "data: [DONE]")
    assert process.entries[-1]["event"] == "stopped"
    assert "2 + 2?" not in json.dumps(process.entries)


def _is_refused(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return True
        return False


def test_the_budget_of_a_day_survives_a_restart(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
    with Loopback(lambda call: Reply(texts=("4",), usage=usage)) as server:
        two_tiers(server, tmp_path)
        text = (tmp_path / "p.yaml").read_text()
        (tmp_path / "p.yaml").write_text(text.replace("price:", "params: {max_tokens: 10}, price:"))
        statuses = []
        for n in range(3):
            args = ("--profile", "./p.yaml", "--max-cost-per-day", "0.00014")
            with serve_process(tmp_path, *args) as process:
                with closing(open_stream(process, f"riddle {n}?")) as stream:
                    response = stream.getresponse()
                    statuses.append(response.status)
                    response.read()
                assert process.end(signal.SIGINT) == 130
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize(
    ("limits", "args", "option"),
    [
        ("attempts: 2", ("--max-cost-per-day", "1"), "--max-cost-per-day"),
        ("max_cost: 1", ("--max-cost-per-day", "2"), "limits.max_cost"),
    ],
)
def test_a_price_that_a_budget_needs_is_asked_for_by_the_name_of_its_option(
    limits: str, args: tuple[str, str], option: str, tmp_path: Path
) -> None:
    profile = "version: 1\ntiers: [{name: small, model: openai/x, api_base: 'http://127.0.0.1:9/v1'}]\n"
    (tmp_path / "p.yaml").write_text(f"{profile}limits: {{{limits}}}\n")
    ran = automix("serve", "--profile", "./p.yaml", "--port", "0", *args, cwd=tmp_path)
    assert ran.code == 2
    assert f"{option} needs the price of openai/x" in ran.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--host", "0.0.0.0"], ["needs a key", "--api-key-env AUTOMIX_SERVER_KEY"]),
        (["--api-key-env", "NO_SUCH_KEY"], ["NO_SUCH_KEY is not set", "export NO_SUCH_KEY="]),
        (["--host", "203.0.113.7", "--api-key-env", "HOME"], ["--host 203.0.113.7", "--host 127.0.0.1"]),
        (["--max-cost-per-day", "nan"], ["expected a finite number"]),
    ],
)
def test_what_it_does_not_start_with(args: list[str], words: list[str], tmp_path: Path) -> None:
    ran = automix("serve", "--profile", "demo", "--port", "0", *args, cwd=tmp_path)
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err
