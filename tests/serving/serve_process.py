"""`automix serve` in a process of its own, from its first line to its exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shell import PATIENCE, environment, warm_command


@dataclass(slots=True)
class ServeProcess:
    """A server that listens: its base URL, and the entries of its log so far."""

    process: subprocess.Popen[bytes]
    url: str
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def end(self, *signals: int) -> int:
        """Send signals, read the rest of the log, and return the exit code."""
        for number in signals:
            self.process.send_signal(number)
        assert self.process.stderr
        self.entries += [json.loads(line) for line in self.process.stderr]
        return self.process.wait(PATIENCE)


@contextmanager
def serve_process(
    folder: Path, *args: str | Path, command: Sequence[str] = (), **env: str
) -> Iterator[ServeProcess]:
    """Start `automix serve` on a free port, and wait until it listens."""
    words = [*(command or warm_command()), "serve", "--port", "0", *map(str, args)]
    variables = environment(AUTOMIX_CACHE_DIR=str(folder / "cache"), **env)
    with subprocess.Popen(words, cwd=folder, env=variables, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr
            entries = []
            for line in process.stderr:
                entries.append(json.loads(line))
                if entries[-1]["event"] == "listening":
                    yield ServeProcess(process, entries[-1]["url"], entries)
                    break
            else:
                raise AssertionError(entries)
        finally:
            process.terminate()  # a kill would not reach the copy that the command may run in
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
