"""Runs `automix` as people do: a child process with real streams."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COMMAND: tuple[str, ...] = (sys.executable, "-m", "automix_cli")
PATIENCE = 600.0
"""Seconds after which a process counts as stuck; no test is about this time, however busy the machine is."""


class Ran(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """stdout as JSONL, read strictly."""
        return [json.loads(line, parse_constant=_refuse) for line in self.out.split("\n")[:-1]]


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} in the output")


def environment(**extra: str) -> dict[str, str]:
    """The test's environment, in which child processes find the package of this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **extra}


def automix(
    *args: str | Path,
    stdin: str | bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
    command: Sequence[str] = COMMAND,
) -> Ran:
    """Run one command to its end; without `stdin` there is none to read."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    done = subprocess.run(
        [*command, *map(str, args)],
        capture_output=True,
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=timeout,
        check=False,
        **given,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(*args: str | Path, command: Sequence[str] = COMMAND, **env: str) -> Ran:
    """Run one command with a terminal as its stdout, which is read to its end."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(**env),
    ) as child:
        os.close(theirs)
        screen = read_terminal(ours)
        err = child.stderr.read() if child.stderr else b""
    return Ran(child.returncode, screen, err.decode())


def read_terminal(ours: int) -> str:
    """Everything that appears on a pseudo-terminal until nobody holds its other end; closes ours."""
    screen = b""
    with contextlib.suppress(OSError):  # a closed terminal reads as an error on Linux
        while data := os.read(ours, 4096):
            screen += data
    os.close(ours)
    return screen.decode().replace("\r\n", "\n")


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def jsonl(*rows: Mapping[str, Any]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows)
