"""A virtual environment of its own for the servers, made from the package index and kept between runs.

    python = server_python(cache_folder)    # skips the test where the packages cannot be had

It holds the newest versions of the day on which it was made; a folder that is deleted is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGES = ("litellm[proxy]", "xllamacpp", "gguf", "numpy")
CLIENTS = ("openai", "llm", "inspect_ai")
MOCK = "@copilotkit/aimock"


def server_python(cache: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """The Python in which the servers run; its environment is made when there is none."""
    name = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = cache / name
    python, mark = folder / "bin" / "python", folder / "complete"
    with _lock(cache / f"{name}.lock"):
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, python, packages)
            mark.touch()
    return python


def mock_script(cache: Path) -> Path:
    """The program of the mock, which npm installs."""
    return npm_program(cache, MOCK, "dist/cli.js")


def npm_program(cache: Path, package: str, path: str) -> Path:
    """A file of a package that npm installs when it is not there."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"{package} needs npm")
    program = cache / "node_modules" / package / path
    with _lock(cache / "npm.lock"):
        if not program.exists():
            _run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", cache, package)
    return program


def server_environment(**extra: str) -> dict[str, str]:
    """Variables for a server: it looks nothing up in the network, and finds no package of this checkout."""
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**given, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUNBUFFERED": "1", **extra}


def _install(folder: Path, python: Path, packages: tuple[str, ...]) -> None:
    if uv := shutil.which("uv"):
        _run(uv, "venv", "-q", "-p", sys.executable, folder)
        _run(uv, "pip", "install", "-q", "-p", python, *packages)
    else:
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    # A server that compiles thousands of modules at its start is not there for minutes.
    _run(python, "-m", "compileall", "-q", "-j", "0", folder / "lib", expected=(0, 1))


def _run(*command: str | Path, expected: tuple[int, ...] = (0,)) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environment)
    if done.returncode not in expected:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        pytest.skip(f"the servers cannot be installed: {' '.join(last) or command[0]}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
