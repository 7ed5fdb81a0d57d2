"""Runs `automix` in real processes that need a tenth of a second: forked from one that has it all loaded.

    world = World(server, folder)                             # its tiers call through CLIENT
    ran = world.run("ask", "-i", path)                        # to its end
    child = world.start("ask", "-i", path); child.kill(9)     # or not
    world.run("ask", …, crash=("after the cache commit", 3))  # SIGKILL at the third time

    child = world.start("ask", …, leap=60); child.leap()      # its event loop finds itself a minute later

Crash points are armed from outside, by wrapping functions in the child; the program knows none of them.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from loopback import Entry, Loopback
from shell import PATIENCE, ROOT, Ran

CANARY = "canary-4f1d9c6b7a5e4830-key"
HERE = Path(__file__).parent
CLIENT = "direct"
"""The `backend` of all tiers; `--client litellm` runs the same tests through LiteLLM."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["preload"])


# ---------------------------------------------------------------- crash points


def _half_a_row(writer: Any, line: bytes) -> None:
    writer.stream.write(line[: len(line) // 2])
    writer.stream.flush()


POINTS: dict[str, tuple[str, str, str]] = {
    "before the request is sent": ("automix_cli.backends.retry:Retrier", "_send", "before"),
    "after the response": ("automix_cli.backends.client:Client", "_attempt", "after"),
    "after the lease": ("automix_cli.backends.store:Store", "take", "after"),
    "in the cache transaction": ("diskcache:Cache", "set", "after"),
    "after the cache commit": ("automix_cli.backends.store:Store", "put", "after"),
    "in the settling of the budget": ("automix_cli.backends.budget:Budget", "settle", "before"),
    "in the middle of a row": ("automix_cli.data.output:RowWriter", "write_line", "half"),
    "after the row": ("automix_cli.data.output:RowWriter", "write_line", "after"),
    "before two files are joined": ("automix_cli.data.output:EarlierRows", "_index", "after"),
    "before the new file takes its place": ("automix_cli.data.output:EarlierRows", "finish", "before"),
    "after the new file took its place": ("automix_cli.data.output:EarlierRows", "finish", "after"),
}


def _arm(point: str, times: int, number: int = signal.SIGKILL) -> None:
    """Have the process send itself a signal the `times`-th time it passes a point."""
    import asyncio
    import functools
    import importlib

    where, name, when = POINTS[point]
    module, _, owner = where.partition(":")
    holder = getattr(importlib.import_module(module), owner)
    real, left = getattr(holder, name), [times]

    def reached() -> bool:
        left[0] -= 1
        return left[0] == 0

    def hit() -> None:
        os.kill(os.getpid(), number)

    @functools.wraps(real)
    def sync(*args: Any, **more: Any) -> Any:
        last = reached()
        if last and when == "half":
            _half_a_row(*args)
        if last and when != "after":
            hit()
        done = real(*args, **more)
        if last and when == "after":
            hit()
        return done

    @functools.wraps(real)
    async def waiting(*args: Any, **more: Any) -> Any:
        last = reached()
        if last and when != "after":
            hit()
        done = await real(*args, **more)
        if last and when == "after":
            hit()
        return done

    setattr(holder, name, waiting if asyncio.iscoroutinefunction(real) else sync)


# ---------------------------------------------------------------- children


def _text(number: int, mode: str) -> Any:
    return os.fdopen(number, mode, 1, "utf-8", "backslashreplace" if number == 2 else None, closefd=False)


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _child(
    argv: list[str], env: dict[str, str], cwd: str, streams: list[str], settings: dict[str, Any]
) -> None:
    """Become `automix`: streams, environment, folder and arguments as a shell would give them."""
    stdin, out, err = streams
    for number, path, flags in ((0, stdin, os.O_RDONLY), (1, out, _WRITE), (2, err, _WRITE)):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w")
    sys.argv = ["automix", *argv]
    if number := settings.get("ignored"):
        signal.signal(number, signal.SIG_IGN)
    for kind, most in settings.get("limits", ()):
        import resource

        resource.setrlimit(kind, (most, most))
    if seconds := settings.get("leap"):
        _leap_on_signal(seconds)
    if crash := settings.get("crash"):
        _arm(*crash)
    from automix_cli.cli import run

    run()


def _leap_on_signal(seconds: float) -> None:
    """Put the clock of event loops forward at every SIGUSR1, as if the time had passed without a turn."""
    import asyncio

    real, ahead = asyncio.BaseEventLoop.time, [0.0]

    def leap(number: int, frame: Any) -> None:
        ahead[0] += seconds

    signal.signal(signal.SIGUSR1, leap)
    asyncio.BaseEventLoop.time = lambda loop: real(loop) + ahead[0]  # type: ignore[method-assign]


class Child:
    """A process that runs `automix`."""

    def __init__(self, process: Any, out: Path, err: Path) -> None:
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


def _start(
    argv: list[str], env: dict[str, str], cwd: Path, streams: list[str], settings: dict[str, Any]
) -> Any:
    paths = (ROOT, ROOT / "tests", HERE)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, paths))  # read when the first fork starts the server
    try:
        process = _FORKS.Process(target=_child, args=(argv, env, str(cwd), streams, settings))
        process.start()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return process


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
            f"verification: {{max_votes: 2, batch: [2]}}\nlimits: {json.dumps(limits)}\n"
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
        process = _start([*map(str, args)], given, self.folder, streams, settings)
        self._children.append(Child(process, Path(streams[1]), err))
        return self._children[-1]

    def end(self) -> None:
        """Kill what still runs, so that a test that failed disturbs no other."""
        for child in self._children:
            if child.process.is_alive():
                child.process.kill()
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
