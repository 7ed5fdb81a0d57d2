"""The server's answers to requests: OpenAI's chat protocol over a cascade, its health and its counters.

    around       access, errors in OpenAI's shape, log and counters of every request
    handlers     /v1/chat/completions  /v1/models  /healthz  /metrics

The server library is aiohttp's, which the direct client brings along: docs/serve.md has the measurement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct, field

from automix_cli.backends.cache import Cached
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import check_class
from automix_cli.data.jsonl import parse_json
from automix_cli.errors import AutomixError, DataError
from automix_cli.records import Answer
from automix_cli.serving import chat_reply
from automix_cli.serving.access import Access
from automix_cli.serving.chat_reply import ErrorReply, ReplyIdentity, plain_error
from automix_cli.serving.chat_request import ChatRequest, ChatRequestError, read_chat_request
from automix_cli.serving.desk import QuestionDesk, TurnedAway
from automix_cli.serving.exchange import GONE, MOST_BODY, Exchange, http_error
from automix_cli.serving.metrics import Metrics
from automix_cli.serving.models import ServedModels
from automix_cli.serving.request_log import RequestLog

Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]


class Pace(Struct, frozen=True, kw_only=True):
    """Seconds that the server waits: for a body, before a stream begins, between comments, for a reader."""

    body: float = 30.0
    before_stream: float = 3.0
    between_comments: float = 10.0
    reader: float = 60.0


class ChatServer(Struct):
    """The handlers, and all that they share."""

    models: ServedModels
    desk: QuestionDesk
    access: Access
    log: RequestLog
    metrics: Metrics = field(default_factory=Metrics)
    pace: Pace = field(default_factory=Pace)
    start_time: int = field(default_factory=lambda: int(time.time()))

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=MOST_BODY)
        for method, path, handle in (
            ("POST", "/v1/chat/completions", self._chat),
            ("GET", "/v1/models", self._list_models),
            ("GET", "/v1/models/{name:.+}", self._one_model),
            ("GET", HEALTH, self._health),
            ("GET", METRICS, self._metrics),
            ("*", "/{other:.*}", _nowhere),
        ):
            app.router.add_route(method, path, self._around(handle))
        return app

    # ------------------------------------------------------------ around every request

    def _around(self, handle: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of an address, with what becomes of its requests in log and counters."""

        async def handle_request(request: web.Request) -> web.StreamResponse:
            exchange, status = Exchange(request), GONE
            try:
                response = await self._respond(exchange, handle)
                status = response.status
                await self._deliver(exchange, response)
                return response
            finally:
                self._record(exchange, status)

        return handle_request

    async def _deliver(self, exchange: Exchange, response: web.StreamResponse) -> None:
        """Send a reply that is whole; a stream has been sent already."""
        if "cut" in exchange.entry:
            return
        try:
            async with asyncio.timeout(self.pace.reader):
                await response.prepare(exchange.request)
                await response.write_eof()
        except (ConnectionError, TimeoutError) as exc:
            _give_up(exchange, response, exc)

    def _record(self, exchange: Exchange, status: int) -> None:
        """Count and log a request that has ended."""
        seconds = time.monotonic() - exchange.start
        self.metrics.count_request(exchange.path, status, seconds)
        if exchange.path not in (HEALTH, METRICS):
            entry = {**exchange.entry, "status": status, "seconds": round(seconds, 4)}
            self.log.write("request", level="error" if status >= 500 else "info", **entry)

    async def _respond(self, exchange: Exchange, handle: Handler) -> web.StreamResponse:
        """The reply of a handler, or the error that it ends with."""
        refusal = None if exchange.path == HEALTH else self.access.refusal(exchange.request.headers)
        if refusal is not None:
            return exchange.error(refusal)
        try:
            return await handle(exchange)
        except web.HTTPException as exc:
            return exchange.error(http_error(exc))
        except ChatRequestError as exc:
            status = 404 if exc.code == NO_MODEL else 400
            return exchange.error(plain_error(status, exc.message, code=exc.code, param=exc.param))
        except TurnedAway as exc:
            return exchange.error(_unavailable(exc))
        except AutomixError as exc:
            self.log.write("fault", level="error", id=exchange.ident, message=exc.message, hint=exc.hint)
            return exchange.error(plain_error(500, exc.message, type="server_error", code="internal_error"))

    # ------------------------------------------------------------ chat

    async def _chat(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a chat completion request, whole or as a stream."""
        body = await self._read(exchange.request)
        wish, cascade = self._understand(body, exchange)
        exchange.entry |= {"model": wish.model, "stream": wish.stream}
        if wish.ignored_fields:
            self.log.once("ignored_fields", fields=wish.ignored_fields, message=_IGNORED)
        cascade = _fresh_or_not(cascade, exchange.request.headers)
        work = self.desk.answer(cascade, wish.question, len(body))
        if wish.stream:
            return await self._stream(exchange, wish, work)
        answer = await work
        self._note(exchange, wish, answer)
        if not has_text(answer):
            return exchange.error(chat_reply.error_reply(answer))
        reply = chat_reply.completion(answer, _identity(exchange, wish))
        return exchange.json(reply, headers=_wish_headers(wish) | chat_reply.headers(answer))

    async def _read(self, request: web.Request) -> bytes:
        """The whole body.

        Raises:
            HTTPException: it is too large, or comes too slowly.
        """
        try:
            async with asyncio.timeout(self.pace.body):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None

    def _understand(self, body: bytes, exchange: Exchange) -> tuple[ChatRequest, Cascade]:
        """What is asked for, and the cascade that is to answer.

        Raises:
            ChatRequestError: it cannot be served.
        """
        try:
            fields = parse_json(body)
        except DataError as exc:
            raise ChatRequestError(f"the body: {exc.message}", code="invalid_json") from None
        cascade = self.models.find(fields.get("model") if isinstance(fields, dict) else None)
        wish = read_chat_request(fields, (cascade or self.models.whole).profile, exchange.ident)
        if cascade is None:
            raise no_model_error(wish.model, self.models)
        try:
            check_class(wish.question, cascade)
        except DataError as exc:
            raise ChatRequestError(exc.message, param="automix") from None
        return wish, cascade

    def _note(self, exchange: Exchange, wish: ChatRequest, answer: Answer) -> None:
        """Put what became of a question into the log and the counters."""
        self.metrics.count_answer(wish.model, answer)
        exchange.entry |= {
            "tier": answer.tier,
            "route": [f"{step.tier}:{step.action}" for step in answer.route],
            "calls": answer.usage.calls,
            "cost_usd": answer.cost_usd,
            "spent_usd": answer.spent_usd,
            "error": self.log.error_of(answer),
        }

    # ------------------------------------------------------------ a stream

    async def _stream(
        self, exchange: Exchange, wish: ChatRequest, work: Coroutine[Any, Any, Answer]
    ) -> web.StreamResponse:
        """Send the answer as events; comments keep the connection alive until it is there.

        An answer, or an error, that comes soon has its own status and headers. Later ones come in a
        stream that has begun with status 200.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task}, timeout=self.pace.before_stream)
            soon = task.result() if task.done() else None
            if soon is not None and not has_text(soon):
                self._note(exchange, wish, soon)
                return exchange.error(chat_reply.error_reply(soon))
            response = _begin_stream(exchange, wish, soon)
            try:
                await response.prepare(exchange.request)
                await self._send_stream(exchange, wish, response, task)
            except (ConnectionError, TimeoutError) as exc:
                _give_up(exchange, response, exc)
            return response
        finally:
            task.cancel()

    async def _send_stream(
        self, exchange: Exchange, wish: ChatRequest, response: web.StreamResponse, task: asyncio.Task[Answer]
    ) -> None:
        """Send comments until the answer is there, then the events."""
        while not task.done():
            await self._write(response, b": thinking\n\n")
            await asyncio.wait({task}, timeout=self.pace.between_comments)
        for event in self._events(exchange, wish, task):
            await self._write(response, event)
        await response.write_eof()

    def _events(self, exchange: Exchange, wish: ChatRequest, task: asyncio.Task[Answer]) -> Iterator[bytes]:
        """The chunks of an answer that is there, or its error as an event."""
        try:
            answer = task.result()
        except TurnedAway as exc:
            yield chat_reply.event(_unavailable(exc).body)
            return
        self._note(exchange, wish, answer)
        if has_text(answer):
            yield from chat_reply.chunks(answer, _identity(exchange, wish), include_usage=wish.include_usage)
        else:
            yield chat_reply.event(chat_reply.error_reply(answer).body)

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send bytes to a reader who takes them; one who does not is given up."""
        async with asyncio.timeout(self.pace.reader):
            await response.write(data)

    # ------------------------------------------------------------ all else

    async def _list_models(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.json({"object": "list", "data": list(self.models.to_json(self.start_time))})

    async def _one_model(self, exchange: Exchange) -> web.StreamResponse:
        name = exchange.request.match_info["name"]
        for model in self.models.to_json(self.start_time):
            if model["id"] == name:
                return exchange.json(model)
        raise no_model_error(name, self.models)

    async def _health(self, exchange: Exchange) -> web.StreamResponse:
        """Whether the server takes questions; says nothing else, for it asks for no key."""
        if self.desk.is_stopping:
            return exchange.json({"status": "stopping"}, 503)
        return exchange.json({"status": "ok"})

    async def _metrics(self, exchange: Exchange) -> web.StreamResponse:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self.metrics.text().encode(), headers=exchange.headers | headers)


def _give_up(exchange: Exchange, response: web.StreamResponse, error: Exception) -> None:
    """Drop a client that went away, or reads no more: closing alone would keep what it has not read."""
    exchange.entry["cut"] = type(error).__name__
    response.force_close()
    if (transport := exchange.request.transport) is not None:
        transport.abort()


# ---------------------------------------------------------------- replies

HEALTH, METRICS = "/healthz", "/metrics"
NO_MODEL = "model_not_found"
_IGNORED = "the profile decides about these: what a request says of them has no effect"


def has_text(answer: Answer) -> bool:
    """Whether a row is answered with a completion: it has an answer, or abstained."""
    return answer.status in ("ok", "abstained")


def _identity(exchange: Exchange, wish: ChatRequest) -> ReplyIdentity:
    return ReplyIdentity(f"chatcmpl-{exchange.ident}", wish.model, int(time.time()))


def _begin_stream(exchange: Exchange, wish: ChatRequest, answer: Answer | None) -> web.StreamResponse:
    """A stream with its headers; those that an answer has are there if it came soon."""
    response = web.StreamResponse(headers=exchange.headers | _wish_headers(wish))
    response.content_type = "text/event-stream"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold the comments back
    if answer is not None:
        response.headers.update(chat_reply.headers(answer))
    return response


def _wish_headers(wish: ChatRequest) -> dict[str, str]:
    return {"x-automix-ignored": ",".join(wish.ignored_fields)[:1000]} if wish.ignored_fields else {}


async def _nowhere(exchange: Exchange) -> web.StreamResponse:
    """The handler of all other addresses."""
    raise web.HTTPNotFound


def _unavailable(exc: TurnedAway) -> ErrorReply:
    """The reply to a question that was not begun, or given up because the server stops."""
    return plain_error(503, str(exc), type="server_error", code="unavailable", is_worth_retrying=True)


def no_model_error(name: str, models: ServedModels) -> ChatRequestError:
    """The error of a name that is no model's."""
    problem = f"there is no model {name[:100]!r}: this server has {', '.join(models.names)}"
    return ChatRequestError(problem, param="model", code=NO_MODEL)


def _fresh_or_not(cascade: Cascade, headers: Mapping[str, str]) -> Cascade:
    """The cascade, with nothing from the cache where the request asks for a new answer."""
    wishes = {wish.strip().lower() for wish in headers.get("Cache-Control", "").split(",")}
    if "no-cache" not in wishes:
        return cascade
    assert isinstance(cascade.backend, Cached)
    return cascade.with_backend(cascade.backend.refreshing())
