"""A server of a profile in this process, and clients of it over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from loopback import Loopback
from msgspec.structs import replace
from profile_files import read

from automix_cli.api import CallOptions, Runtime
from automix_cli.backends.day_budget import DayBudget
from automix_cli.profile.model import Profile
from automix_cli.serving.access import Access
from automix_cli.serving.app import ChatServer, Pace
from automix_cli.serving.desk import QuestionDesk
from automix_cli.serving.lifecycle import open_socket, runner_of
from automix_cli.serving.models import ServedModels
from automix_cli.serving.request_log import LogLevel, RequestLog

NO_CACHE = CallOptions(no_cache=True)


class ListedLog(RequestLog):
    """A log that keeps what it would write."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def write(self, event: str, *, level: LogLevel = "info", **fields: Any) -> None:
        self.entries.append({"event": event, "level": level, **fields})


class Got(NamedTuple):
    """A reply: status, headers, and the body, as JSON where it is one."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def text(self) -> str:
        return str(self.body["choices"][0]["message"]["content"])

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.body["error"])


@dataclass(slots=True)
class Served:
    """A server that runs, and how to ask it."""

    url: str
    server: ChatServer
    runtime: Runtime
    session: aiohttp.ClientSession
    log: ListedLog
    ports: list[int] = field(default_factory=list)

    async def request(self, method: str, path: str, **more: Any) -> Got:
        async with self.session.request(method, f"{self.url}{path}", **more) as reply:
            raw = await reply.read()
            is_json = reply.content_type == "application/json"
            return Got(reply.status, reply.headers, json.loads(raw) if is_json else raw.decode())

    async def ask(self, text: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Got:
        body = {"model": "automix", "messages": [{"role": "user", "content": text}], **fields}
        return await self.request("POST", "/v1/chat/completions", json=body, headers=headers)

    async def stream(self, text: str, **fields: Any) -> list[str]:
        """The lines of a stream that are not empty."""
        got = await self.ask(text, stream=True, **fields)
        assert got.headers["Content-Type"] == "text/event-stream", got
        return [line for line in got.body.splitlines() if line]


@asynccontextmanager
async def running(
    profile: Profile,
    *,
    key: str = "",
    budget: DayBudget | None = None,
    pace: Pace = Pace(),  # noqa: B008 (frozen)
    keep_alive: float = 60.0,
    send_buffer: int = 0,
    patience: float = 60.0,
) -> AsyncIterator[Served]:
    options = replace(NO_CACHE, patience=patience)
    runtime, log = Runtime(profile, options, budget=budget), ListedLog()
    async with runtime as cascade:
        desk = QuestionDesk(profile.limits.concurrency)
        server = ChatServer(ServedModels(cascade), desk, Access(key), log, pace=pace)
        runner = runner_of(server, keep_alive=keep_alive)
        await runner.setup()
        listener = open_socket("127.0.0.1", 0)
        if send_buffer:  # of each of its connections, so that a reply does not fit into the system's
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        await web.SockSite(runner, listener).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = aiohttp.TCPConnector(limit=0)
        try:
            async with aiohttp.ClientSession(connector=connector) as session:
                yield Served(url, server, runtime, session, log)
        finally:
            await runner.cleanup()


def two_tiers(server: Loopback, folder: Path, limits: str = "attempts: 2", more: str = "") -> Profile:
    """A profile of two tiers behind a model server of this machine."""
    tier = f"api_base: '{server.url}', backend: direct, price: {{input: 1, output: 1}}"
    return read(
        f"name: team\ntiers:\n  - {{name: small, model: openai/small, {tier}}}\n"
        f"  - {{name: large, model: openai/large, {tier}}}\n"
        "router: {kind: majority}\nverification: {max_votes: 2, batch: [2]}\n"
        f"limits: {{{limits}}}\n{more}",
        name=str(folder / "p.yaml"),
    )
