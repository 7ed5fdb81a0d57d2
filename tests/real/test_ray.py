"""`ask --engine ray` on two local workers of Ray itself, one of which dies.

python -m venv RAY && RAY/bin/python -m pip install -c constraints.txt '.[ray]'
AUTOMIX_RAY_PYTHON=RAY/bin/python python -m pytest -n 0 -m real tests/real/test_ray.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Loopback, default_reply
from msgspec.structs import replace

PYTHON = os.environ.get("AUTOMIX_RAY_PYTHON", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.contract,
    pytest.mark.skipif(not PYTHON, reason="AUTOMIX_RAY_PYTHON names no Python that has Ray"),
]
ROOT = Path(__file__).parents[2]
ROWS = 24


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(keep_bodies=True) as server:
        yield server


class Command(NamedTuple):
    """The words of a command, and its variables."""

    words: list[str]
    env: dict[str, str]


def command(folder: Path, server: Loopback, name: str, *args: str, **extra: str) -> Command:
    tiers = "".join(
        f"  - {{name: {tier}, model: openai/{tier}, backend: direct, api_base: '{server.url}', "
        f"price: {{input: 1, output: 2}}, params: {{max_tokens: 64}}}}\n"
        for tier in ("small", "large")
    )
    (folder / "p.yaml").write_text(
        f"version: 1\nname: p\ntiers:\n{tiers}router: {{kind: majority}}\n"
        "verification: {max_votes: 2, batch: [2]}\nlimits: {concurrency: 4, timeout: 60, attempts: 6}\n"
    )
    rows = ({"id": f"q{n}", "question": f"What is q {n}?"} for n in range(ROWS))
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    env |= {"RAY_agent_register_timeout_ms": "300000", "RAY_raylet_start_wait_time_s": "300"}
    env |= {"AUTOMIX_CACHE_DIR": str(folder / f"cache-{name}"), "RAY_USAGE_STATS_ENABLED": "0", **extra}
    script = ("-m", "automix_cli") if not args else (str(Path(__file__).with_name("ray_driver.py")),)
    words = [PYTHON, *script, "ask", "--profile", "p.yaml", "-i", "q.jsonl", "-o", f"{name}.jsonl", *args]
    return Command(words, env)


def ask(
    folder: Path, server: Loopback, name: str, *args: str, **extra: str
) -> subprocess.CompletedProcess[str]:
    words, env = command(folder, server, name, *args, **extra)
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


def comparable(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for holder in (row, *row["route"]):
            for key in ("spent_usd", "latency_s", "usage"):
                holder.pop(key, None)
    return rows


def test_a_worker_that_dies_loses_no_row_and_a_row_that_kills_cannot_loop(
    server: Loopback, tmp_path: Path
) -> None:
    assert ask(tmp_path, server, "whole").returncode == 0
    whole = comparable(tmp_path / "whole.jsonl")
    server.forget()

    ran = ask(tmp_path, server, "once", "--engine", "ray", DEADLY="q 17?", ONCE=str(tmp_path / "died"))
    assert ran.returncode == 0, ran.stderr
    assert "its worker died" in ran.stderr
    assert comparable(tmp_path / "once.jsonl") == whole
    paid = Counter(call.body_sha for call in server.calls if call.status == 200)
    assert sum(count - 1 for count in paid.values()) <= 4  # those in flight

    ran = ask(tmp_path, server, "always", "--engine", "ray", DEADLY="q 17?")
    assert ran.returncode == 3, ran.stderr
    assert "row 17 ended its worker twice while alone; it becomes an error row" in ran.stderr
    rows = comparable(tmp_path / "always.jsonl")
    assert rows[17]["error"]["type"] == "internal"
    assert [row for row in rows if row["index"] != 17] == [row for row in whole if row["index"] != 17]


def test_ctrl_c_keeps_the_rows_of_all_shards_and_resume_goes_on(server: Loopback, tmp_path: Path) -> None:
    assert ask(tmp_path, server, "whole").returncode == 0
    whole = comparable(tmp_path / "whole.jsonl")
    server.forget()

    server.reply = lambda call: replace(default_reply(call), latency=0.5)
    words, env = command(tmp_path, server, "cut", "--engine", "ray")
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=tmp_path, env=env, start_new_session=True, **pipes) as process:
        until(lambda: sum(call.status == 200 for call in server.calls) >= 20, 300)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to Ray's processes, too
        _, text = process.communicate(timeout=300)
    assert process.returncode == 130, text
    assert "stopping: the workers finish the rows they are at work on" in text
    assert "go on with: " in text
    parts = (tmp_path / "cut.jsonl.shards").glob("part-*.jsonl.part")
    rows = sum(len(part.read_text().splitlines()) for part in parts)
    assert 0 < rows < ROWS

    server.reply = default_reply
    ran = ask(tmp_path, server, "cut", "--engine", "ray", "--resume")
    assert ran.returncode == 0, ran.stderr
    assert comparable(tmp_path / "cut.jsonl") == whole
    assert max(Counter(call.body_sha for call in server.calls if call.status == 200).values()) == 1


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
