"""Servers as people run them, each started once for all tests that ask it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment import mock_script, server_python
from servers import Log, Server, User, free_port, server_process, wait_for

collect_ignore = [
    *("llama_server.py", "notebook_client.py", "openai_client.py", "proxy", "proxy_client.py"),
    "spend_log.py",
]
"""They run in another environment."""

HERE = Path(__file__).parent


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture(scope="session")
def server_folder(pytestconfig: pytest.Config) -> Path:
    """The folder in pytest's cache where servers stay between runs."""
    cache = pytestconfig.cache
    if cache is None:
        pytest.skip("servers are installed into pytest's cache, which is switched off")
    return Path(cache.mkdir("servers"))


@pytest.fixture(scope="session")
def python(server_folder: Path) -> Path:
    """The Python of the servers."""
    return server_python(server_folder)


@pytest.fixture(scope="session")
def llama(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Three servers of llama.cpp in one process; see `llama_server.py`."""
    log = tmp_path_factory.mktemp("llama") / "llama.log"
    with server_process(log, python, HERE / "llama_server.py", log.parent) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line, log.read_text("utf-8", "replace")[-2000:]
        yield {name: Server(url, Log(log)) for name, url in json.loads(line).items()}


@pytest.fixture(scope="session")
def proxy(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """LiteLLM's proxy in front of models that say what `proxy/config.yaml` has them say."""
    log = tmp_path_factory.mktemp("proxy") / "proxy.log"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = HERE / "proxy" / "config.yaml"
    command = ("--config", config, "--host", "127.0.0.1", "--port", str(port))
    with server_process(log, python.parent / "litellm", *command) as process:
        wait_for(f"{url}/health/liveliness", process, log)
        yield Server(url, Log(log))


@pytest.fixture(scope="session")
def mock(server_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A mock of several providers, which says what `fixtures.json` has it say."""
    log, port = tmp_path_factory.mktemp("mock") / "mock.log", free_port()
    script, url = mock_script(server_folder), f"http://127.0.0.1:{port}"
    command = (
        "node",
        script,
        "--fixtures",
        HERE / "fixtures.json",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    )
    with server_process(log, *command) as process:
        wait_for(f"{url}/health", process, log)
        yield Server(url, Log(log))
