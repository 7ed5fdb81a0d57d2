"""Prefixes of prompts that a provider caches only where they are marked.

A mark makes the first call dearer (a quarter of the prefix) and the following ones much cheaper (a tenth
of it), so a prefix is marked only when it is sent again: where a request is for several completions, or
when its context was sent before. Calls with one prefix wait for the first that is marked, because a
cache has nothing to give before that call was answered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct, field

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.catalog import least_marked_prefix
from automix_cli.backends.replies import sendable
from automix_cli.backends.usage import estimate
from automix_cli.records import Message

MARK = {"cache_control": {"type": "ephemeral"}}


def prefix_key(request: Request) -> str | None:
    """What tells a request's prefix from others; None where it is too short, or the model takes no marks.

    The prefix ends with the context.
    """
    least = None if request.embeds else least_marked_prefix(request.model)
    end = 0 if least is None or not request.messages else prompts.context_end(request.messages[-1].content)
    if least is None or not end:
        return None
    *others, last = request.messages
    prefix = [*others, Message(last.role, last.content[:end])]
    parts = [request.model, request.endpoint, *(part for message in prefix for part in message)]
    if sum(estimate(message.content) for message in prefix) < least:
        return None
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def marked_messages(request: Request) -> list[dict[str, Any]]:
    """The messages as the OpenAI protocol has them, the last in two parts of which the first is marked."""
    *others, last = request.messages
    end = prompts.context_end(last.content)
    parts = [{"type": "text", "text": sendable(last.content[:end]), **MARK}]
    parts.append({"type": "text", "text": sendable(last.content[end:])})
    return [*plain_messages(tuple(others)), {"role": last.role, "content": parts}]


def plain_messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The messages as the OpenAI protocol has them."""
    return [{"role": m.role, "content": sendable(m.content)} for m in messages]


class Prefixes(Struct):
    """The prefixes that a client has sent, and those that it marks.

    `refusing` holds the models and endpoints that do not take marks, whatever the table says.
    """

    refusing: set[tuple[str, str]] = field(default_factory=set)
    _keys: set[str] = field(default_factory=set)
    _writes: dict[str, asyncio.Event] = field(default_factory=dict)
    _marked_keys: set[str] = field(default_factory=set)

    def note(self, request: Request) -> None:
        """Note a request that is about to be sent, before it is cut into parts."""
        key = prefix_key(request)
        if key is None:
            return
        if request.n > 1 or key in self._keys:
            self._marked_keys.add(key)
        self._keys.add(key)

    def messages(self, request: Request) -> list[dict[str, Any]]:
        """The messages to send, marked where that pays."""
        is_marked = self._key_if_marked(request) is not None
        return marked_messages(request) if is_marked else plain_messages(request.messages)

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[None]:
        """Wait for the first marked request with this prefix, unless this is it."""
        key = self._key_if_marked(request)
        if key is None:
            yield
        elif key in self._writes:
            await self._writes[key].wait()
            yield
        else:
            self._writes[key] = asyncio.Event()
            try:
                yield
            finally:
                self._writes[key].set()

    def _key_if_marked(self, request: Request) -> str | None:
        if not self._marked_keys or (request.model, request.endpoint) in self.refusing:
            return None
        key = prefix_key(request)
        return key if key in self._marked_keys else None
