"""`automix` in a process forked from one that has imported it: many short commands without its start-up time.

    with ForkServer(folder / "socket", folder / "automix"):
        subprocess.run([folder / "automix", "--version"])

The command sends its arguments, folder, environment and standard streams to the server, which forks; the copy
runs `automix_cli.cli.run` on these streams and gets the signals of the command; its exit code becomes
that of the command. What Python itself reads when it starts, such as PYTHONWARNINGS, has no effect.
The server ends when whoever started it has gone, however that ended.

    with ForkServer(…) as server:
        copy = server.start(["ask", "…"], folder, environment, [0, 1, 2])  # without the command in between
        copy.join(seconds); copy.exitcode, copy.pid

Such a copy may be prepared by a function of a file: `start(…, prepare=(file, name of the function, value))`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent


GUESTS = ("litellm_provider",)
"""Modules that no command loads: they import LiteLLM, whose guests they are."""


def _modules_of_the_package() -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "automix_cli").rglob("*.py"))
    return [".".join(p.parts) for p in sorted(paths) if not p.stem.startswith("__") and p.stem not in GUESTS]


PRELOAD = (  # the command first: it has the warnings of all others ignored
    *("automix_cli.cli", "numpy", "diskcache", "yaml", "rich.console", "rich.table", "rich.tree"),
    *_modules_of_the_package(),
)

# No site packages: it starts in a fraction of the time.
_CLIENT = """#!{python} -SI
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), None])
    socket.send_fds(server, [request[:1].encode()], [0, 1, 2])
    server.sendall(request[1:].encode() + b"\\n")
    lines = server.makefile()
    pid = int(lines.readline())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    code = int(lines.readline() or 70)
    sys.exit(code if code >= 0 else 128 - code)
"""


class Copy:
    """A command that runs in a copy of the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lines = connection, connection.makefile()
        self.pid = int(self._lines.readline())
        self.exitcode: int | None = None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end; `exitcode` is the negative number of a signal that it died of."""
        if self.exitcode is None and select.select([self._connection], [], [], timeout)[0]:
            self.exitcode = int(self._lines.readline())
            self._lines.close()
            self._connection.close()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        self.join(0)
        return self.exitcode is None


class ForkServer:
    """A server at a socket, and the command that calls it; both last as long as the with-block.

    `preload` are modules that the server imports before it forks; `python` are variables that Python reads
    when it starts, without their PYTHON: `path="folder"` has modules of that folder found first.
    """

    def __init__(self, address: Path, command: Path, preload: Sequence[str] = PRELOAD, **python: str) -> None:
        self.address, self.command, self.preload = address, command, preload
        self.variables = {f"PYTHON{name.upper()}": value for name, value in python.items()}
        self.variables["PYTHONPATH"] = ":".join(filter(None, [python.get("path"), str(ROOT)]))

    def __enter__(self) -> ForkServer:
        self.command.write_text(_CLIENT.format(python=sys.executable, address=str(self.address)))
        self.command.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.address), *self.preload],
            env={**os.environ, **self.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._process.stdout is None or self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the fork server did not start")
        return self

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[int],
        prepare: tuple[str, str, Any] | None = None,
    ) -> Copy:
        """Start a command on open streams; `prepare` is a file, a function in it and what to give it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.address))
        request = json.dumps([list(arguments), str(folder), dict(environment), prepare])
        socket.send_fds(connection, [request[:1].encode()], list(streams))
        connection.sendall(request[1:].encode() + b"\n")
        return Copy(connection)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):  # a copy that is left may hold the other end
            if pipe is not None:
                pipe.close()


# ---------------------------------------------------------------- the server


def serve(address: str, preload: Sequence[str]) -> None:
    """Fork for every request; returns in the copies only."""
    for name in preload:
        with contextlib.suppress(ImportError):  # a module that is broken fails in the commands that need it
            importlib.import_module(name)
    if "automix_cli.cli" in sys.modules:
        _warm_up()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        gc.collect()
        gc.freeze()  # else every copy looks through all of this again
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            if os.fork() == 0:
                break
            client.close()
            _bury()
        else:
            sys.exit()
    _answer(client)


def _warm_up() -> None:
    """Do once what every command would do again: load all commands with their options, read the prices."""
    import typer

    from automix_cli import cli
    from automix_cli.backends import catalog

    cli.app = typer.main.get_command(cli.app)  # type: ignore[assignment]
    for name in cli.COMMANDS:
        cli.load_command(name)
    catalog.list_price("nobody/knows")


def _bury() -> None:
    """Wait for the copies that have ended; their time then counts as that of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(client: socket.socket) -> None:
    """Run one command in a further copy, and send its exit code."""
    data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += client.recv(1 << 16)
    if pid := os.fork():
        client.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    client.close()
    arguments, folder, environment, prepare = json.loads(data)
    _take(streams)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["automix", *arguments]
    if prepare:
        file, name, value = prepare
        sys.path.insert(0, str(Path(file).parent))
        getattr(importlib.import_module(Path(file).stem), name)(value)


def _take(streams: list[int]) -> None:
    """Make the streams of the client those of this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def _run() -> NoReturn:
    """Run the command and end as Python does, but for taking all modules apart: that takes as long again."""
    from automix_cli.cli import run

    try:
        run()
    except SystemExit as end:
        code = end.code or 0
    else:
        code = 0
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 120  # as Python says it
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
    _run()
