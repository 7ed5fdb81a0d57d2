"""Commands that call models, without the seconds that LiteLLM takes to be imported."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import pytest
from fork_server import ForkServer
from shell import Ran, automix


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
