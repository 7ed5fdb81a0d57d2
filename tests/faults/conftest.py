"""For every test here: the key that all runs carry is found in no byte that they wrote."""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import nursery
import pytest
from loopback import Loopback, default_reply
from nursery import CANARY, World


def pytest_configure(config: pytest.Config) -> None:
    """Take the client that all tiers call through."""
    nursery.CLIENT = config.getoption("--client")


FORMS = [
    CANARY.encode(),
    base64.b64encode(CANARY.encode()),
    quote(CANARY, safe="").encode(),
    CANARY[::-1].encode(),
]


def hits(*folders: Path) -> list[Path]:
    """Files below the folders that hold the canary in any form."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(form in path.read_bytes() for form in FORMS)]


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback(keep_bodies=True) as server:
        yield server


@pytest.fixture
def world(server: Loopback, tmp_path: Path) -> Iterator[World]:
    """A folder of its own on a server that remembers nothing."""
    server.forget()
    server.reply = default_reply
    world = World(server, tmp_path)
    yield world
    world.end()


@pytest.fixture(autouse=True)
def no_key_is_written(tmp_path: Path, clean_environment: Path) -> Iterator[None]:
    """The canary watch."""
    yield
    assert hits(tmp_path, clean_environment) == []
