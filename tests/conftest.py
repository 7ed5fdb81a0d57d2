"""Fixtures for all tests: no key, no user folder, no proxy and no terminal leaks in from the machine."""

import compileall
import gc
import os
import shutil
import signal
import warnings
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from automix_cli.backends.foreign_warnings import ignore_foreign_warnings
from automix_cli.process import ONE_THREAD

LEAKY = ("AUTOMIX_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_API", "OPENROUTER_", "OLLAMA_", "LITELLM_")
TERMINAL = (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "COLUMNS", "LINES", "TERMINAL_WIDTH"),
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS", "CI", "PYTHONIOENCODING", "PYTHONUTF8"),
)
MEMORY = Path("/dev/shm")
"""Linux keeps these files in memory; a disk takes its time for each of thousands of databases."""

PACKAGE = Path(__file__).parents[1] / "automix_cli"

collect_ignore = ["preload.py"]  # to be looked through for doctests it would be imported, and LiteLLM with it


def pytest_addoption(parser: pytest.Parser) -> None:
    """The fault suite through the other client: python -m pytest tests/faults --client litellm."""
    parser.addoption("--client", choices=("direct", "litellm"), default="direct")


os.environ |= {name: "1" for name in ONE_THREAD if name not in os.environ}


def pytest_configure(config: pytest.Config) -> None:
    """Child processes obey signals even where whoever started the tests ignores them, like nohup.

    They do not compile the package anew, either, where PYTHONDONTWRITEBYTECODE has nothing kept.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(PACKAGE, quiet=2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ |= {"TMPDIR": str(MEMORY), "PYTEST_DEBUG_TEMPROOT": str(MEMORY)}


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2 << 30


WITH_LITELLM = {
    *("test_clients", "test_litellm_backend", "test_openai_http", "test_prefixes", "test_wordings"),
    *("test_embedding", "test_ledger", "test_bundled_profiles"),
    *("test_attacks", "test_both_clients", "test_true_bills", "test_wire", "test_litellm_provider"),
}
"""The files that import LiteLLM, or fork from a process that has: one worker runs them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to the workers, and all those with LiteLLM to one: its import takes seconds."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "LiteLLM" if Path(file).stem in WITH_LITELLM else file

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the tests and modules: all of them last to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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
