"""Servers in processes of their own, and somebody who uses `automix` on them."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from environment import server_environment
from shell import PATIENCE, Ran, automix


class Log(NamedTuple):
    """The lines that a server writes."""

    path: Path

    @property
    def requests(self) -> int:
        """Completions and embeddings that were requested of LiteLLM's proxy until now."""
        return sum('"POST ' in line for line in self.path.read_text("utf-8", "replace").splitlines())


class Server(NamedTuple):
    """The address of a server, without `/v1`, and its log."""

    url: str
    log: Log


class User:
    """Somebody with a folder, a profile in it, and the `automix` command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"AUTOMIX_CACHE_DIR": str(folder / "cache")}

    def run(self, *args: str | Path, **env: str) -> Ran:
        """Run the command in the folder."""
        return automix(*args, cwd=self.folder, env={**self.env, **env})

    def ask(self, *args: str | Path, **env: str) -> Ran:
        """Ask with the profile in the folder."""
        return self.run("ask", "--profile", "profile.yaml", *args, **env)

    def row(self, *args: str | Path, **env: str) -> dict[str, Any]:
        """Ask one question, and return its row."""
        ran = self.ask(*args, "--json", **env)
        assert ran.out, ran.err
        row: dict[str, Any] = json.loads(ran.out)
        return row

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server_process(log: Path, *command: str | Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server until the end of the block, with variables of its own; it ends when its stdin does."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "llama" in log.name else errors,
            stderr=errors,
            cwd=log.parent,
            env=server_environment(HOME=str(log.parent), **env),
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            opener.open(url, timeout=30).close()
            return
        except OSError:
            alive = process.poll() is None and time.monotonic() < end
            assert alive, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.2)
