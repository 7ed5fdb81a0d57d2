"""Runs `automix` as people do: a child process with real streams."""

import atexit
import contextlib
import functools
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from fork_server import PRELOAD, ROOT, ForkServer

COMMAND: tuple[str, ...] = (sys.executable, "-m", "automix_cli")
"""A Python of its own, for tests of how it starts, of two that share nothing, and of its last breath."""
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


@functools.cache
def warm_server(*preload: str) -> ForkServer:
    """A process that has imported `automix`, or `preload`, and forks for each command; it ends with us."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="automix-fork-")))
    address, command = folder / "socket", folder / "automix"
    return stack.enter_context(ForkServer(address, command, preload or PRELOAD, warnings="error"))


def warm_command() -> tuple[str, ...]:
    """`automix` in such a copy."""
    return (str(warm_server().command),)


def _command_for(env: Mapping[str, str]) -> Sequence[str]:
    """What Python reads when it starts has an effect on a Python that starts."""
    return COMMAND if any(name.startswith("PYTHON") for name in env) else warm_command()


def automix(
    *args: str | Path,
    stdin: str | bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
    command: Sequence[str] = (),
) -> Ran:
    """Run one command to its end; without `stdin` there is none to read.

    It runs in a warm copy unless a `command` or a variable of Python's, such as PYTHONHASHSEED, is given.
    """
    command = command or _command_for(env or {})
    data = stdin.encode() if isinstance(stdin, str) else stdin
    if command == warm_command():
        return _in_a_copy([*map(str, args)], data, cwd or Path.cwd(), environment(**(env or {})), timeout)
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


def _in_a_copy(args: list[str], data: bytes | None, cwd: Path, env: Mapping[str, str], timeout: float) -> Ran:
    """Run a command in a warm copy; its streams are pipes, as a shell makes them."""
    (out, theirs_out), (err, theirs_err) = os.pipe(), os.pipe()
    theirs_in, given = (os.open(os.devnull, os.O_RDONLY), None) if data is None else os.pipe()
    copy = warm_server().start(args, cwd, env, streams := [theirs_in, theirs_out, theirs_err])
    for number in streams:
        os.close(number)
    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(_read, out), pool.submit(_read, err)]
        if given is not None:
            pool.submit(_write, given, data)
        copy.join(timeout)
        if copy.exitcode is None:
            os.kill(copy.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(args, timeout)
    said, noted = (read.result().decode() for read in reading)
    return Ran(copy.exitcode if copy.exitcode >= 0 else 128 - copy.exitcode, said, noted)


def _read(pipe: int) -> bytes:
    with open(pipe, "rb") as stream:
        return stream.read()


def _write(pipe: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as stream:
        stream.write(data)


def on_terminal(*args: str | Path, command: Sequence[str] = (), **env: str) -> Ran:
    """Run one command with a terminal as its stdout, which is read to its end."""
    command = command or _command_for(env)
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
