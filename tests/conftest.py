"""Fixtures for all tests: no key, no user folder, no proxy and no terminal leaks in from the machine."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest
from fork_server import ForkServer
from shell import Ran, automix

from automix_cli.backends.foreign_warnings import ignore_foreign_warnings

LEAKY = ("AUTOMIX_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_API", "OPENROUTER_", "OLLAMA_", "LITELLM_")
TERMINAL = (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "COLUMNS", "LINES", "TERMINAL_WIDTH"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS", "CI", "PYTHONIOENCODING", "PYTHONUTF8"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The fault suite through the other client: python -m pytest tests/faults --client litellm."""
    parser.addoption("--client", choices=("direct", "litellm"), default="direct")


def pytest_configure() -> None:
    """Child processes obey signals even where whoever started the tests ignores them, like nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


OWN = "automix_cli|tests|faults|benchmarks|test_[a-z_]+|conftest|known|loopback|recorded|shell"


@pytest.fixture(autouse=True)
def foreign_warnings() -> None:
    """Warnings are errors where we warn; what a library says is no error, whomever it blames.

    `filterwarnings` in pyproject.toml goes by whom a warning blames, and holds while tests are collected.
    """
    ignore_foreign_warnings(OWN)
    warnings.filterwarnings("error", category=pytest.PytestWarning)  # it found something in our threads


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of homes; pytest would read a folder of thousands to find the next one."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]) -> Path:
    """An empty home, no keys, an own cache folder."""
    home = next(homes)
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(LEAKY) or name in TERMINAL or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    return home


# ---------------------------------------------------------------- commands that call models, without the
# seconds that LiteLLM takes to be imported


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], ForkServer]]:
    """Starts the fork server when it is first called, and ends it with the tests."""
    folder = tmp_path_factory.mktemp("fork")
    with ExitStack() as stack:
        yield cache(
            lambda: stack.enter_context(ForkServer(folder / "socket", folder / "automix", ["preload"]))
        )


@pytest.fixture
def forked_command(start_server: Callable[[], ForkServer], clean_environment: Path) -> tuple[str, ...]:
    """`automix` in a process that has LiteLLM imported; the server starts in the environment of a test."""
    return (str(start_server().command),)


@pytest.fixture
def forked(forked_command: tuple[str, ...]) -> Callable[..., Ran]:
    """`shell.automix` with that command."""
    return partial(automix, command=forked_command)
