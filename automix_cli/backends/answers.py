"""The bytes of an HTTP answer: read up to a limit, unpacked, and checked to be what was asked for."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterable
from typing import Any

import msgspec

from automix_cli.backends.refusals import error_in, is_failed_choice, message_in
from automix_cli.errors import BadResponse, redact

MAX_BODY = 16 * 2**20
"""Bytes of an answer, unpacked, beyond which it is not read on."""


async def read_pieces(pieces: AsyncIterable[bytes], packing: str) -> bytes:
    """A body that comes piece by piece, decompressed, if it is not too large.

    Decompression is bounded, so that a small body cannot fill the memory. `packing` is the
    content encoding that the server named.

    Raises:
        BadResponse: too large, or with an encoding that was not requested.
    """
    packing = packing.lower()
    if packing not in ("identity", "gzip", "deflate", ""):
        raise BadResponse(f"an answer packed as {packing}, which was not asked for", maybe_billed=True)
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing in ("gzip", "deflate") else None
    body = bytearray()
    async for piece in pieces:
        try:
            body += unpack.decompress(piece, MAX_BODY + 1) if unpack else piece
        except zlib.error as exc:
            raise BadResponse("an answer whose packing is broken", maybe_billed=True) from exc
        if len(body) > MAX_BODY:
            error = BadResponse(f"an answer of more than {MAX_BODY >> 20} MiB", maybe_billed=True)
            error.retries = 0
            raise error
    return bytes(body)


def json_object(body: bytes, where: str, request_body: bytes = b"") -> dict[str, Any]:
    """The JSON object of an answer with a good status; `request_body` is the body of the request.

    Raises:
        BadResponse: not a JSON object.
        BackendError: an error that came with status 200.
    """
    try:
        reply = _read_json(body)
    except (ValueError, RecursionError) as exc:
        message = message_in(body)
        raise BadResponse(
            redact(f"{where} sent something that is not JSON: {message}"), maybe_billed=True
        ) from exc
    if not isinstance(reply, dict):
        raise BadResponse(f"{where} sent JSON that is no object", maybe_billed=True)
    if (error := error_in(reply, body, where, request_body)) is not None:
        raise error
    return reply


def _read_json(body: bytes) -> Any:
    """The value of a JSON text; Python's reader, which takes four times as long, reads more of what is none.

    Raises:
        ValueError: it is none, for either of them.
    """
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        return json.loads(body)


_decode = msgspec.json.Decoder().decode


def sound_choices(choices: Any) -> list[Any]:
    """The choices that have a message and no failure; a missing list is an empty one."""
    if not isinstance(choices, list):
        return []
    answers = [c for c in choices if isinstance(c, dict) and isinstance(c.get("message"), dict)]
    return [c for c in answers if not is_failed_choice(c)]
