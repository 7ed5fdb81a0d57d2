"""A model provider on 127.0.0.1: real sockets, scripted replies, deterministic faults, a ledger.

It speaks the OpenAI chat protocol and its embeddings, Anthropic's messages and Ollama's chat:

    with Loopback() as server:                        # default replies: answers and verdicts
        ...  # openai/any-name with api_base=server.url
        assert len(server.calls) == 3

    with Loopback(lambda call: "391") as server: ...              # one text for every choice
    with Loopback(lambda call: Reply(status=503)) as server: ...  # trouble
    with Loopback(faults=Storm(seed=7, rate=0.3)) as server: ... # a storm, the same one each time

Replies come from a function of the call, so a test can be as clever as it needs; it
runs in the server's thread. Everything by default depends on the request's body
alone, never on arrival order: a run with recoverable faults gets the same texts
as a run without.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import math
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from msgspec import Struct

Fault = Literal["", "drop", "reset", "truncate", "hang", "drip", "whitespace", "endless", "long", "short"]
Framing = Literal["length", "chunked", "close"]
AUTH_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


class Call(NamedTuple):
    """One request, as a reply function sees it."""

    path: str
    model: str
    messages: tuple[dict[str, Any], ...]
    n: int
    params: dict[str, Any]
    headers: Mapping[str, str]
    auth: str
    body_sha: str
    number: int
    attempt: int

    @property
    def prompt(self) -> str:
        """All message texts, one after the other; of an embedding the text to embed."""
        given = self.params.get("input", ())
        embedded = [given] if isinstance(given, str) else list(given)
        return "\n".join([*(text_of(m.get("content")) for m in self.messages), *embedded])

    @property
    def verifies(self) -> bool:
        """Whether this asks for a verdict on an answer."""
        return "Verification Decision" in self.prompt

    def draw(self, choice: int = 0) -> int:
        """A number that depends on the body and the choice alone."""
        return int(digest(f"{self.body_sha}/{choice}")[:12], 16)


class Reply(Struct, frozen=True, kw_only=True):
    """What the server does with one request.

    `texts` holds one text per choice (None is a null content); a single one serves all
    choices. `vector` is the embedding of every text (None: one that depends on the text alone).
    `usage` replaces the counted usage; `{}` leaves the field out. `body` replaces the whole
    body, `headers` are added. `gate` holds the reply back until it returns true. `fault` breaks
    the wire:

        drop        close without a byte           whitespace  headers, then blanks for ever
        reset       half the body, then RST        endless     a body without end
        truncate    half the body, then EOF        long        Content-Length beyond the body
        hang        read, and never answer         short       Content-Length below the body
        drip        one byte every `pace` seconds
    """

    texts: tuple[str | None, ...] = ("",)
    vector: tuple[float, ...] | None = None
    finish_reason: str = "stop"
    usage: Mapping[str, Any] | None = None
    logprobs: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    latency: float = 0.0
    gate: Callable[[], bool] | None = None
    body: bytes | None = None
    fault: Fault = ""
    pace: float = 0.05
    gzip: bool = False
    framing: Framing = "length"


@dataclass(slots=True)
class Entry:
    """One line of the ledger.

    `status` is 0 until (and unless) a status line went out; `usable` tells whether the body is a
    completion rather than one that the script made up.
    """

    number: int
    path: str
    model: str
    n: int
    body_sha: str
    attempt: int
    auth: str
    time: float
    status: int = 0
    fully_sent: bool = False
    fault: str = ""
    usable: bool = True
    body: bytes = b""


ReplyFunction = Callable[[Call], Reply | str]


def digest(text: str | bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def text_of(content: Any) -> str:
    """The text of a message's content, whether a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def tokens(text: str) -> list[str]:
    """Words with the white space before them: near enough to tokens.

    Example:
        >>> tokens("the answer is 4")
        ['the', ' answer', ' is', ' 4']
    """
    return re.findall(r"\s*\S+", text)


# ---------------------------------------------------------------- what it says by default


def default_reply(call: Call) -> Reply:
    """Play both roles: answer a question, or judge an answer, always the same for the same body."""
    speak = verdict if call.verifies else answer
    return Reply(texts=tuple(speak(call, i) for i in range(call.n)))


def answer(call: Call, choice: int) -> str:
    """An answer that belongs to the question; seven in ten samples agree."""
    stray = call.draw(choice) % 10 >= 7 and call.n > 1
    return f"answer {digest(call.prompt)[:8]}" + (f"-{choice}" if stray else "")


def verdict(call: Call, choice: int) -> str:
    """Reasons and a closing verdict, CORRECT for six in ten."""
    side = "Correct" if call.draw(choice) % 10 < 6 else "Incorrect"
    return (
        f"The context was compared with the answer, word by word (case {call.draw(choice) % 997}).\n"
        f"Verification Decision: The AI generated answer is {side}."
    )


# ---------------------------------------------------------------- faults by schedule

RECOVERABLE: Mapping[str, Reply] = {
    "429": Reply(status=429),
    "429 and when": Reply(status=429, headers={"Retry-After": "0"}),
    "500": Reply(status=500),
    "502": Reply(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    "503 in a moment": Reply(status=503, headers={"retry-after-ms": "5"}),
    "504": Reply(status=504),
    "529": Reply(status=529),
    "drop": Reply(fault="drop"),
    "reset": Reply(fault="reset", texts=("lost",)),
    "truncate": Reply(fault="truncate", texts=("lost",)),
    "not JSON": Reply(body=b'{"choices": [{"message": {"content": "lo'),
    "HTML": Reply(body=b"<html>please log in</html>", headers={"Content-Type": "text/html"}),
}


class Storm:
    """A storm: which attempts at which body fail, and how, is fixed by (seed, body, attempt).

    Every fourth attempt at a body goes through, so no request meets more than three
    faults in a row.
    """

    def __init__(self, seed: int, rate: float, kinds: Mapping[str, Reply] = RECOVERABLE) -> None:
        self.seed, self.rate, self.kinds = seed, rate, dict(kinds)
        self.served: Counter[str] = Counter()

    def kind(self, body_sha: str, attempt: int) -> str | None:
        """The fault of this attempt, if it has one."""
        draw = int(digest(f"{self.seed}/{body_sha}/{attempt}")[:16], 16)
        if attempt % 4 == 3 or (draw % 2**32) / 2**32 >= self.rate:
            return None
        return list(self.kinds)[(draw >> 32) % len(self.kinds)]

    def __call__(self, call: Call) -> Reply | None:
        """The faulty reply to this call, if it is to fail."""
        kind = self.kind(call.body_sha, call.attempt)
        if kind is None:
            return None
        self.served[kind] += 1
        return self.kinds[kind]


# ---------------------------------------------------------------- protocols


def error_body(status: int) -> bytes:
    """An error as OpenAI words it (Anthropic's has the same `error.message`)."""
    code = {429: "rate_limit_exceeded", 401: "invalid_api_key"}.get(status, f"status_{status}")
    error = {"message": f"the server says {status}", "type": "error", "code": code}
    return json.dumps({"type": "error", "error": error}).encode()


def spoken(call: Call, reply: Reply) -> list[tuple[str | None, str]]:
    """The choices: (text cut to max_tokens, finish reason)."""
    limit = call.params.get("max_tokens") or call.params.get("max_completion_tokens") or math.inf
    texts = reply.texts * call.n if len(reply.texts) == 1 else reply.texts
    said: list[tuple[str | None, str]] = []
    for text in texts:
        words = tokens(text or "")
        if len(words) > limit:
            said.append(("".join(words[: int(limit)]), "length"))
        else:
            said.append((text, reply.finish_reason))
    return said


def counted(call: Call, said: list[tuple[str | None, str]]) -> tuple[int, int]:
    """Prompt and completion tokens."""
    return len(tokens(call.prompt)) + 3, sum(len(tokens(text or "")) for text, _ in said)


def logprob_block(text: str, top: int) -> dict[str, Any]:
    """Log-probabilities for every token, the same for the same token."""

    def one(token: str, rank: int = 0) -> dict[str, Any]:
        p = (0.55 + int(digest(token)[:4], 16) / 2**16 * 0.44) / (rank + 1) ** 3
        return {"token": token, "logprob": math.log(p), "bytes": list(token.encode())}

    return {
        "content": [
            one(t) | {"top_logprobs": [one(t if r == 0 else f"{t}~{r}", r) for r in range(top)]}
            for t in tokens(text)
        ]
    }


def openai_body(call: Call, reply: Reply) -> dict[str, Any]:
    """A `chat.completion` object."""
    said = spoken(call, reply)
    read, wrote = counted(call, said)
    choices = []
    for i, (text, why) in enumerate(said):
        message = {"role": "assistant", "content": text}
        choices.append({"index": i, "message": message, "finish_reason": why, "logprobs": None})
        if call.params.get("logprobs"):
            top = int(call.params.get("top_logprobs") or 0)
            choices[-1]["logprobs"] = reply.logprobs or logprob_block(text or "", top)
    usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
    return {
        "id": f"chatcmpl-{call.body_sha[:12]}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": call.model,
        "choices": choices,
    } | used(reply, usage)


def anthropic_body(call: Call, reply: Reply) -> dict[str, Any]:
    """A `message` object: always one choice."""
    text, why = next(iter(spoken(call, reply)), (None, "stop"))
    read, wrote = counted(call, [(text, why)])
    stop = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    return {
        "id": f"msg_{call.body_sha[:12]}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": stop.get(why, why),
        "stop_sequence": None,
    } | used(reply, {"input_tokens": read, "output_tokens": wrote})


def ollama_body(call: Call, reply: Reply) -> dict[str, Any]:
    """The answer of `/api/chat` without streaming: always one choice."""
    text, why = next(iter(spoken(call, reply)), (None, "stop"))
    read, wrote = counted(call, [(text, why)])
    return {
        "model": call.model,
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": text or ""},
        "done": True,
        "done_reason": why,
        "prompt_eval_count": read,
        "eval_count": wrote,
    }


def used(reply: Reply, usage: dict[str, Any]) -> dict[str, Any]:
    """The `usage` field: counted, replaced or left out."""
    if reply.usage is None:
        return {"usage": usage}
    return {"usage": dict(reply.usage)} if reply.usage else {}


WIDTH = 24  # of a default embedding


def default_vector(text: str) -> list[float]:
    """An embedding: how often each hashed word stands in a text, and a little of its own."""
    vector = [int(digest(f"{i}/{text}")[:4], 16) / 2**20 for i in range(WIDTH)]
    for word in text.casefold().split():
        vector[int(digest(word)[:8], 16) % WIDTH] += 1.0
    return vector


def embeddings_body(call: Call, reply: Reply) -> dict[str, Any]:
    """A list of embeddings, one per text."""
    given = call.params.get("input", ())
    texts = [given] if isinstance(given, str) else given
    read = len(tokens(call.prompt))
    data = [
        {
            "object": "embedding",
            "index": i,
            "embedding": default_vector(t) if reply.vector is None else reply.vector,
        }
        for i, t in enumerate(texts)
    ]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "data": data, "model": call.model} | used(reply, usage)


SPEAKS = (
    (re.compile(r"/chat/completions$"), openai_body),
    (re.compile(r"/v1/messages$"), anthropic_body),
    (re.compile(r"/api/chat$"), ollama_body),
    (re.compile(r"/v1/embeddings$"), embeddings_body),
)


def protocol(path: str) -> Callable[[Call, Reply], dict[str, Any]] | None:
    """Who answers on this path."""
    return next((speak for pattern, speak in SPEAKS if pattern.search(path)), None)


# ---------------------------------------------------------------- the server


class Loopback:
    """The server, in a thread of its own, from `with` to the end of the block.

    Attributes:
        reply, faults: may be replaced while it runs.
        elsewhere: what is said on paths where no protocol is spoken.
        models: the names that are listed; where `wants_key` is set, to nobody who does not send it.
        url: the OpenAI base address (`…/v1`); `root` is the address without `/v1`.
        connections: sockets accepted.
        busy, peak: requests in hand now; most of them at once.
    """

    def __init__(
        self,
        reply: ReplyFunction = default_reply,
        *,
        faults: Callable[[Call], Reply | None] | None = None,
        keep_bodies: bool = False,
    ) -> None:
        self.reply, self.faults, self.keep_bodies = reply, faults, keep_bodies
        self.elsewhere = Reply(status=404)
        self.models: tuple[str, ...] = ("any",)
        self.wants_key = ""
        self.port = 0
        self._place: socket.socket | None = None
        self.connections = self.peak = self.busy = 0
        self._era = 0  # raised by `forget`: requests of an earlier one may hang for ever, and count no more
        self._ledger: list[Entry] = []
        self._attempts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
        self._server: asyncio.Server | None = None
        self._mistake: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._place is not None:
            self._place.close()
        if self._mistake is not None:
            raise self._mistake

    @property
    def root(self) -> str:
        """The address, as `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base address that OpenAI clients want."""
        return f"{self.root}/v1"

    @property
    def ledger(self) -> list[Entry]:
        """Every request so far; those that were answered are marked as such."""
        self._do(self._settle())
        return list(self._ledger)

    @property
    def calls(self) -> list[Entry]:
        """The requests that asked for a completion."""
        return [entry for entry in self.ledger if protocol(entry.path)]

    @property
    def delivered(self) -> list[Entry]:
        """The calls that were answered in full with a status of 200 and no fault."""
        return [e for e in self.calls if e.status == 200 and e.fully_sent and not e.fault]

    def forget(self) -> None:
        """Start the ledger and the attempt numbers afresh."""
        self._do(self._settle())
        self._ledger.clear()
        self._attempts.clear()
        self.connections = self.peak = self.busy = 0
        self._era += 1

    def up(self) -> None:
        """Listen (again, on the same port)."""
        self._do(self._listen())

    def down(self) -> None:
        """Stop listening and break every connection."""
        self._do(self._silence())

    def _do(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _settle(self) -> None:
        # A client can read the last byte before the handler has marked its entry; a turn later it has.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        if self._place is None:
            # Bound, but never listening: while the server is down nobody else gets its port.
            self._place = socket.socket()
            self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._place.bind(("127.0.0.1", 0))
            self.port = self._place.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=1024, limit=2**20, reuse_address=True
        )

    async def _silence(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        # Again until there is none: a connection of this very moment makes a task of its own.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)  # the loop alone would not keep it: one that hangs would be collected
        self.connections += 1
        # drain() shall return only when the kernel has it all, else "fully sent" would be a guess.
        writer.transport.set_write_buffer_limits(0)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server is being stopped
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read one request and answer it; whether the connection can be used again."""
        incoming = await read_request(reader)
        if incoming is None:
            return False
        call, entry = self._note(*incoming)
        era = self._era
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            reply = self._choose(call)
            if reply.latency:
                await asyncio.sleep(reply.latency)
            while reply.gate is not None and not reply.gate():
                if reader.at_eof() or reader.exception() is not None:
                    return False  # the client went away, so nobody waits for this reply
                await asyncio.sleep(0.01)
            return await deliver(writer, call, reply, entry)
        finally:
            if era == self._era:
                self.busy -= 1

    def _note(self, path: str, headers: dict[str, str], body: bytes) -> tuple[Call, Entry]:
        sha = digest(body)
        attempt = self._attempts[sha]
        self._attempts[sha] += 1
        try:
            params = json.loads(body)
        except ValueError:
            params = {}
        messages = tuple(params.pop("messages", ()))
        if isinstance(params.get("system"), str | list):
            messages = ({"role": "system", "content": params.pop("system")}, *messages)
        auth = next((headers[name] for name in AUTH_HEADERS if name in headers), "")
        model, n = str(params.pop("model", "")), int(params.pop("n", 1) or 1)
        call = Call(path, model, messages, n, params, headers, auth, sha, len(self._ledger), attempt)
        kept = body if self.keep_bodies else b""
        entry = Entry(call.number, path, model, n, sha, attempt, auth, time.monotonic(), body=kept)
        self._ledger.append(entry)
        return call, entry

    def _choose(self, call: Call) -> Reply:
        if call.path.endswith("/models"):
            if self.wants_key not in call.auth:
                return Reply(status=401)
            models = [{"id": name, "object": "model"} for name in self.models]
            return Reply(body=json.dumps({"object": "list", "data": models}).encode())
        if protocol(call.path) is None:
            return self.elsewhere
        try:
            chosen = (self.faults(call) if self.faults else None) or self.reply(call)
        except Exception as exc:  # a mistake in the test's script: told when the block ends
            self._mistake = exc
            return Reply(status=500)
        return Reply(texts=(chosen,)) if isinstance(chosen, str) else chosen


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """One request: path, headers (lower case) and body; None when it is not HTTP."""
    first = await reader.readexactly(1)
    if not first.isalpha():  # a TLS hello on a plain port
        return None
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join([chunk async for chunk in read_chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return request_line.split(" ")[1].partition("?")[0], headers, body


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The chunks of a chunked body."""
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


async def deliver(writer: asyncio.StreamWriter, call: Call, reply: Reply, entry: Entry) -> bool:
    """Send the reply, or break it off as its fault says; whether the connection survives."""
    entry.fault, entry.usable = reply.fault, reply.body is None
    if reply.fault == "drop":
        return False
    if reply.fault == "hang":
        await asyncio.Event().wait()
    body = body_of(call, reply)
    entry.status = reply.status
    writer.write(head_of(reply, body))
    for piece in pieces(reply, body):
        writer.write(piece)
        await writer.drain()
        if reply.fault in ("drip", "whitespace"):
            await asyncio.sleep(reply.pace)
    if reply.fault == "long":
        await asyncio.Event().wait()
    if reply.fault == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    entry.fully_sent = reply.fault in ("", "drip")
    return entry.fully_sent and reply.framing != "close"


def body_of(call: Call, reply: Reply) -> bytes:
    """The body before framing."""
    body = reply.body
    if body is None:
        speak = protocol(call.path)
        good = reply.status == 200 and speak is not None
        body = json.dumps(speak(call, reply)).encode() if good and speak else error_body(reply.status)
    return gzip.compress(body) if reply.gzip else body


def head_of(reply: Reply, body: bytes) -> bytes:
    """Status line and headers."""
    unbounded = reply.fault in ("whitespace", "endless")
    headers = {"Content-Type": "application/json"} | dict(reply.headers)
    if reply.gzip:
        headers["Content-Encoding"] = "gzip"
    if reply.framing == "chunked" or unbounded:
        headers["Transfer-Encoding"] = "chunked"
    elif reply.framing == "length":
        headers["Content-Length"] = str(len(body) + {"long": 64, "short": -8}.get(reply.fault, 0))
    else:
        headers["Connection"] = "close"
    version = "1.0" if reply.framing == "close" else "1.1"
    lines = [f"HTTP/{version} {reply.status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def pieces(reply: Reply, body: bytes) -> Iterator[bytes]:
    """What goes out after the headers, write by write."""
    if reply.fault in ("whitespace", "endless"):
        blank = b" " if reply.fault == "whitespace" else b" " * 65536
        while True:
            yield b"%x\r\n%s\r\n" % (len(blank), blank)
    if reply.fault in ("reset", "truncate"):
        yield body[: len(body) // 2]
    elif reply.fault == "drip":
        yield from (body[i : i + 1] for i in range(len(body)))
    elif reply.framing == "chunked":
        half = len(body) // 2
        for part in (body[:half], body[half:]):
            if part:
                yield b"%x\r\n%s\r\n" % (len(part), part)
        yield b"0\r\nX-Trailer: done\r\n\r\n"
    else:
        yield body


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """The address of a port on which nobody listens (held, so that nobody will)."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def profile_for(server: Loopback, folder: Path, **extra: str) -> Path:
    """A two-tier profile whose models stand on a loopback server; the rule of half decides."""
    path = folder / "loopback.yaml"
    lines = [f"{key}: {value}" for key, value in {"router": "{kind: majority}", **extra}.items()]
    path.write_text(
        f"""
version: 1
name: loopback
tiers:
  - {{name: small, model: openai/tiny, api_base: "{server.url}", price: {{input: 1, output: 2}}}}
  - {{name: large, model: openai/huge, api_base: "{server.url}", price: {{input: 10, output: 20}}}}
"""
        + "\n".join(lines)
    )
    return path
