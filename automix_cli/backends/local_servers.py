"""Servers on this machine that speak the OpenAI protocol, and the models that they list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

_SECONDS_TO_ANSWER = 0.8
"""Seconds that a server has to answer; one on this machine needs far less."""
_LONGEST_LISTING = 4 * 1024 * 1024
_MOST_MODELS = 500


class LocalServer(NamedTuple):
    """A server of a known kind: where it listens by default, and the prefix of its models' names."""

    name: str
    address: str
    prefix: str


LOCAL_SERVERS = (
    LocalServer("Ollama", "http://127.0.0.1:11434/v1", "ollama_chat"),
    LocalServer("vLLM", "http://127.0.0.1:8000/v1", "hosted_vllm"),
    LocalServer("llama.cpp", "http://127.0.0.1:8080/v1", "hosted_vllm"),
    LocalServer("LM Studio", "http://127.0.0.1:1234/v1", "lm_studio"),
    LocalServer("SGLang", "http://127.0.0.1:30000/v1", "hosted_vllm"),
)


class ServerReply(NamedTuple):
    """What an address answers when it is asked for its models.

    Attributes:
        address: the base address.
        problem: why there was no answer; "" where there was one, of whatever kind.
        status: of the answer; 0 without one.
        models: the names that it lists.
    """

    address: str
    problem: str
    status: int = 0
    models: tuple[str, ...] = ()

    @property
    def is_reachable(self) -> bool:
        """Whether a server answered."""
        return not self.problem


def ask_for_models(address: str, timeout: float = _SECONDS_TO_ANSWER, key: str = "") -> ServerReply:
    """Ask a server for its models; nothing is paid, and without `key` none is sent.

    Args:
        address: its base address, such as http://127.0.0.1:8000/v1.
        timeout: in seconds.
        key: sent as a bearer token.
    """
    import http.client

    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        try:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            connection.request("GET", f"{parts.path.rstrip('/')}/models", headers=headers)
            reply = connection.getresponse()
            return ServerReply(address, "", reply.status, _names(reply.read(_LONGEST_LISTING)))
        finally:
            connection.close()
    except TimeoutError:
        return ServerReply(address, f"no answer within {timeout:g} s")
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return ServerReply(address, getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)


def _names(body: bytes) -> tuple[str, ...]:
    """The names of models in the body of an answer; none where it is no list of models.

    Example:
        >>> _names(b'{"data": [{"id": "gemma3:4b"}, {"id": 7}]}')
        ('gemma3:4b',)
    """
    try:
        models = json.loads(body)["data"]
        return tuple(m["id"] for m in models if isinstance(m["id"], str))[:_MOST_MODELS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()


def ask_all(
    addresses: Iterable[str], timeout: float = _SECONDS_TO_ANSWER, keys: Mapping[str, str] | None = None
) -> dict[str, ServerReply]:
    """Ask several servers at the same time; `keys` are sent to the address that each is of."""
    own = keys or {}
    different = list(dict.fromkeys(addresses))
    if not different:
        return {}
    with ThreadPoolExecutor(len(different)) as pool:
        replies = pool.map(lambda address: ask_for_models(address, timeout, own.get(address, "")), different)
        return dict(zip(different, replies, strict=True))


def ollama_address(environ: Mapping[str, str]) -> str:
    """Where Ollama is asked: where its variable says, else at its default address."""
    base = environ.get("OLLAMA_API_BASE", "").rstrip("/")
    if not base:
        return LOCAL_SERVERS[0].address
    return base if base.endswith("/v1") else f"{base}/v1"
