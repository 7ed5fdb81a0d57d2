"""Runs `automix` in real processes that need a tenth of a second: forked from one that has it all loaded.

    world = World(server, folder)                             # its tiers call through CLIENT
    ran = world.run("ask", "-i", path)                        # to its end
    child = world.start("ask", "-i", path); child.kill(9)     # or not
    world.run("ask", …, crash=("after a commit", 3))  # SIGKILL at the third time

    child = world.start("ask", …, leap=60); child.leap()      # its event loop finds itself a minute later

What a child is to meet, such as a crash, is in `trouble.py`.
"""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from fork_server import Copy
from loopback import Entry, Loopback
from shell import PATIENCE, Ran, warm_server

CANARY = "canary-4f1d9c6b7a5e4830-key"
CLIENT = "direct"
"""The `backend` of all tiers; `--client litellm` runs the same tests through LiteLLM."""
WAITS = 0.02
"""Seconds of the first wait between attempts, at most; people wait up to half a second."""


# ---------------------------------------------------------------- children


class Child:
    """A process that runs `automix`."""

    def __init__(self, process: Copy, out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    def kill(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def leap(self) -> None:
        """Let the time pass that the child was started with, so that no test waits for a timeout."""
        self.kill(signal.SIGUSR1)

    def wait(self, timeout: float = PATIENCE) -> Ran:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill(signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"still running after {timeout} s: {self.err.read_text()[-2000:]}")
        return Ran(self.process.exitcode, self.out.read_text("utf-8", "replace"), self.err.read_text())


TROUBLE = str(Path(__file__).with_name("trouble.py"))
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _start(
    client: str, argv: list[str], env: dict[str, str], cwd: Path, streams: list[str], settings: Any
) -> Copy:
    server = warm_server("preload") if client == "litellm" else warm_server()
    flags = (os.O_RDONLY, _WRITE, _WRITE)
    opened = [os.open(path, flag, 0o600) for path, flag in zip(streams, flags, strict=True)]
    try:
        return server.start(argv, cwd, env, opened, prepare=(TROUBLE, "prepare", settings))
    finally:
        for number in opened:
            os.close(number)


class World:
    """A server, a folder with a profile and questions, a cache of its own."""

    def __init__(
        self, server: Loopback, folder: Path, *, name: str = "one", client: str = "", **settings: Any
    ) -> None:
        self.server, self.folder, self.name, self.client = server, folder, name, client or CLIENT
        self.cache = folder / f"cache-{name}"
        self.out = folder / f"{name}.jsonl"
        self.profile = self.write_profile(**settings)
        self._children: list[Child] = []

    def write_profile(self, url: str = "", *, keyed: bool = True, **limits: Any) -> Path:
        """Two tiers on the server, two votes an answer."""
        limits = {"concurrency": 4, "timeout": 20, "attempts": 6, **limits}
        key = "api_key_env: CANARY_KEY, " if keyed else ""
        common = f'backend: {self.client}, api_base: "{url or self.server.url}", {key}'
        path = self.folder / f"{self.name}.yaml"
        path.write_text(
            f"version: 1\nname: world\ntiers:\n"
            f"  - {{name: small, model: openai/tiny, {common}"
            f"price: {{input: 1, output: 2}}, params: {{max_tokens: 64}}}}\n"
            f"  - {{name: large, model: openai/huge, {common}"
            f"price: {{input: 10, output: 20}}, params: {{max_tokens: 64}}}}\n"
            "router: {kind: majority}\nverification: {max_votes: 2, batch: [2]}\n"
            f"limits: {json.dumps(limits)}\n"
        )
        return path

    def questions(self, count: int, stem: str = "q") -> Path:
        path = self.folder / f"{stem}{count}.jsonl"
        path.write_text(
            "".join(
                json.dumps({"id": f"{stem}{n}", "question": f"What is {stem} {n}?"}) + "\n"
                for n in range(count)
            )
        )
        return path

    def start(
        self,
        *args: str | Path,
        env: dict[str, str] | None = None,
        stdin: str | Path = os.devnull,
        **settings: Any,
    ) -> Child:
        number = len(self._children) + 1
        out, err = (self.folder / f"{self.name}-{number}.{kind}" for kind in ("out", "err"))
        given = {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"], "CANARY_KEY": CANARY}
        given |= {"AUTOMIX_CACHE_DIR": str(self.cache), "AUTOMIX_PROFILE": str(self.profile), **(env or {})}
        streams = [str(stdin), settings.pop("stdout", str(out)), str(err)]
        settings = {"waits": WAITS, **settings}
        process = _start(self.client, [*map(str, args)], given, self.folder, streams, settings)
        self._children.append(Child(process, Path(streams[1]), err))
        return self._children[-1]

    def end(self) -> None:
        """Kill what still runs, so that a test that failed disturbs no other."""
        for child in self._children:
            if child.process.is_alive():
                child.kill(signal.SIGKILL)
                child.process.join()

    def run(self, *args: str | Path, timeout: float = PATIENCE, **settings: Any) -> Ran:
        return self.start(*args, **settings).wait(timeout)

    def ask(self, questions: Path, *args: str | Path, **settings: Any) -> Ran:
        """`ask` from a file to the world's output."""
        return self.run("ask", "-i", questions, "-o", self.out, *args, **settings)


# ---------------------------------------------------------------- what is left behind

NEVER_EQUAL = ("spent_usd", "latency_s", "usage")


def rows(path: Path) -> list[dict[str, Any]]:
    """Every line of an output, each a whole object."""
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n"), "the last line is torn"
    return [json.loads(line) for line in text.split("\n")[:-1]]


def comparable(path: Path) -> list[dict[str, Any]]:
    """The rows without what no two runs share."""
    found = rows(path)
    for row in found:
        for holder in (row, *row["route"]):
            for key in NEVER_EQUAL:
                holder.pop(key, None)
        if row["error"]:
            row["error"].pop("attempts")
    return found


def paid(entries: list[Entry]) -> list[Entry]:
    """The calls whose completion was delivered: a 200, whole, that holds a completion."""
    return [e for e in entries if e.status == 200 and e.fully_sent and e.usable and not e.fault]


def double_paid(server: Loopback) -> int:
    """Completions delivered beyond the first of the same body."""
    return sum(n - 1 for n in Counter(e.body_sha for e in paid(server.calls)).values())
