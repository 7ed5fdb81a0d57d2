"""`automix` in a process forked from one that has imported it: many short commands without its start-up time.

    with ForkServer(folder / "socket", folder / "automix"):
        subprocess.run([folder / "automix", "--version"])

The command sends its arguments, folder, environment and standard streams to the server, which forks; the copy
runs `automix_cli.cli.run` on these streams and gets the signals of the command; its exit code becomes
that of the command. What Python itself reads when it starts, such as PYTHONWARNINGS, has no effect.
The server ends when whoever started it has gone, however that ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent


def _modules_of_the_package() -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "automix_cli").rglob("*.py"))
    return [".".join(path.parts) for path in sorted(paths) if not path.stem.startswith("__")]


_PRELOAD = (  # the command first: it has the warnings of all others ignored
    *("automix_cli.cli", "numpy", "diskcache", "yaml", "rich.console", "rich.table", "rich.tree"),
    *_modules_of_the_package(),
)

# No site packages: it starts in a fraction of the time.
_CLIENT = """#!{python} -SI
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)])
    socket.send_fds(server, [request[:1].encode()], [0, 1, 2])
    server.sendall(request[1:].encode() + b"\\n")
    lines = server.makefile()
    pid = int(lines.readline())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    sys.exit(int(lines.readline() or 70))
"""


class ForkServer:
    """A server at a socket, and the command that calls it; both last as long as the with-block.

    `preload` are modules that the server imports before it forks; `python` are variables that Python reads
    when it starts, without their PYTHON: `path="folder"` has modules of that folder found first.
    """

    def __init__(
        self, address: Path, command: Path, preload: Sequence[str] = _PRELOAD, **python: str
    ) -> None:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


# ---------------------------------------------------------------- the server


def serve(address: str, preload: Sequence[str]) -> None:
    """Fork for every request; returns in the copies only."""
    for name in preload:
        with contextlib.suppress(ImportError):  # a module that is broken fails in the commands that need it
            importlib.import_module(name)
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


def _bury() -> None:
    """Wait for the copies that have ended; their time then counts as that of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(client: socket.socket) -> None:
    """Run one command in a further copy, which ends as any process does, and send its exit code."""
    data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += client.recv(1 << 16)
    if pid := os.fork():
        client.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        client.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
        os._exit(0)
    client.close()
    arguments, folder, environment = json.loads(data)
    _take(streams)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["automix", *arguments]


def _take(streams: list[int]) -> None:
    """Make the streams of the client those of this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
    from automix_cli.cli import run

    run()
