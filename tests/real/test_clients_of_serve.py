"""Clients of others in front of `automix serve`, plain and streamed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environment import CLIENTS, npm_program, server_environment, server_python
from loopback import Call, Loopback, Reply
from shell import PATIENCE

sys.path.append(str(Path(__file__).parents[1] / "serving"))

from serve_process import ServeProcess, serve_process
from served import two_tiers

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
SUM = "What is 17 * 23?"


@pytest.fixture(scope="session")
def clients(server_folder: Path) -> Path:
    """The Python of the clients."""
    return server_python(server_folder, CLIENTS)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[ServeProcess]:
    with serve_process(tmp_path, "--profile", "demo") as process:
        yield process


def run(*command: str | Path, folder: Path, **env: str) -> str:
    """What a program prints."""
    variables = server_environment(HOME=str(folder), **env)
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def openai_row(clients: Path, url: str, model: str, text: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(run(clients, HERE / "openai_client.py", url, model, text, folder=folder))
    return row


def test_openai(clients: Path, demo: ServeProcess, tmp_path: Path) -> None:
    row = openai_row(clients, demo.url, "demo", SUM, tmp_path)
    assert row["models"] == ["demo", "small", "large"]
    assert (row["plain"], row["stream"]) == ("391", "391")
    assert row["usage"] == row["stream_usage"] > 1000
    assert row["block"]["route"][0]["votes"]["correct"] > 0
    assert row["error"] == {"class": "BadRequestError", "status": 400, "code": "unsupported_value"}


def test_a_mute_answer_is_not_paid_three_times_by_a_client_that_retries(
    clients: Path, tmp_path: Path
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}

    def mute(call: Call) -> Reply:
        return Reply(texts=(None,), usage=usage)

    with Loopback(mute) as server:
        two_tiers(server, tmp_path)
        with serve_process(tmp_path, "--profile", "./p.yaml") as process:
            row = openai_row(clients, process.url, "small", "why?", tmp_path)
            process.end(15)
        assert row["error"] == {"class": "InternalServerError", "status": 502, "code": "no_text"}
        chats = [e for e in process.entries if e.get("path") == "/v1/chat/completions"]
        assert len(chats) == 1
        assert len(server.calls) == chats[0]["error"]["attempts"]


def test_llm(clients: Path, demo: ServeProcess, tmp_path: Path) -> None:
    model = f"- {{model_id: automix, model_name: automix, api_base: '{demo.url}'}}\n"
    (tmp_path / "extra-openai-models.yaml").write_text(model)
    llm = clients.parent / "llm"
    home: dict[str, Any] = {"folder": tmp_path, "LLM_USER_PATH": str(tmp_path)}
    command = (llm, "-m", "automix", "--key", "none", SUM)
    assert run(*command, **home) == "391\n"
    assert run(*command, "--no-stream", **home) == "391\n"
    log = json.loads(run(llm, "logs", "--json", **home))
    assert [entry["input_tokens"] > 1000 for entry in log] == [True, True]


TASK = """\
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate


@task
def sums():
    samples = [Sample(input=f"What is {n} * 23?", target=str(n * 23)) for n in range(17, 22)]
    return Task(dataset=samples, solver=generate(), scorer=match(numeric=True))
"""


def streams(process: ServeProcess) -> set[bool]:
    """Whether the chats that a server answered were streamed; ends it."""
    assert process.end(15) == 143
    chats = [entry for entry in process.entries if entry.get("path") == "/v1/chat/completions"]
    assert {chat["status"] for chat in chats} == {200}
    return {chat["stream"] for chat in chats}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_inspect_ai(stream: bool, clients: Path, demo: ServeProcess, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    command = ("eval", "task.py", "--model", "openai-api/automix/demo", "--display", "plain")
    command = (*command, "-M", f"stream={str(stream).lower()}")
    keys = {"AUTOMIX_BASE_URL": demo.url, "AUTOMIX_API_KEY": "none"}
    text = run(clients.parent / "inspect", *command, folder=tmp_path, **keys)
    assert "accuracy  1.000" in text
    assert streams(demo) == {stream}


JOIN_CHUNKS = (
    "text.split('\\n').filter(line => line.startsWith('data: {'))"
    ".map(line => JSON.parse(line.slice(6)).choices[0]?.delta?.content ?? '').join('')"
)


def promptfoo_provider(url: str, *, stream: bool) -> dict[str, Any]:
    """Its provider for OpenAI's protocol, which reads no stream (0.121.20); that for HTTP does."""
    if not stream:
        return {"id": "openai:chat:automix", "config": {"apiBaseUrl": url, "apiKey": "none"}}
    body = {"model": "automix", "stream": True, "messages": [{"role": "user", "content": "{{prompt}}"}]}
    headers = {"Content-Type": "application/json"}
    more = {"method": "POST", "headers": headers, "body": body, "transformResponse": JOIN_CHUNKS}
    return {"id": "http", "config": {"url": f"{url}/chat/completions", **more}}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_promptfoo(stream: bool, server_folder: Path, demo: ServeProcess, tmp_path: Path) -> None:
    program = npm_program(server_folder, "promptfoo", "dist/src/entrypoint.js")
    config = {
        "providers": [promptfoo_provider(demo.url, stream=stream)],
        "prompts": ["{{question}}"],
        "tests": [{"vars": {"question": SUM}, "assert": [{"type": "equals", "value": "391"}]}],
    }
    (tmp_path / "promptfooconfig.yaml").write_text(json.dumps(config))
    quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PATH": os.environ["PATH"]}
    command = ("node", program, "eval", "--no-cache", "-o", "out.json")
    run(*command, folder=tmp_path, **quiet)
    stats = json.loads((tmp_path / "out.json").read_text())["results"]["stats"]
    assert (stats["successes"], stats["failures"], stats["errors"]) == (1, 0, 0)
    assert streams(demo) == {stream}
