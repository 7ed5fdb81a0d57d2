"""Runs `automix` as people do: a child process with real streams."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "automix_cli")


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
    timeout: float = 60,
) -> Ran:
    """Run one command to its end; without `stdin` there is none to read."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        capture_output=True,
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=timeout,
        check=False,
        **given,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def jsonl(*rows: Mapping[str, Any]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows)
