"""One entry of the store: a completion as JSON text with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from automix_cli.errors import NO_ANSWER_ERRORS, BackendError
from automix_cli.records import Completion
from automix_cli.texts import json_encoder

ENTRY_SCHEMA = 1
"""Part of every key: raising it makes all older entries misses."""


def entry_key(prompt: str, sample: int) -> str:
    """The key of one sample of a prompt (its fingerprint)."""
    return f"{prompt}/{sample}"


def failure_key(prompt: str, sample: int) -> str:
    """The key of a reply without text to one sample of a prompt."""
    return f"{prompt}/{sample}/mute"


_encode_entry = json_encoder(json.JSONEncoder(sort_keys=True, separators=(",", ":")))
_encode_struct = msgspec.json.Encoder().encode
_decode_struct = msgspec.json.Decoder(Completion).decode
_ENTRY_DECODER = json.JSONDecoder()


def canonical(value: Any) -> str:
    """JSON with one spelling per value, in ASCII, because SQLite cannot store a lone surrogate."""
    return _encode_entry(value)


def _checksum(key: str, body: str) -> str:
    """The checksum of a row and its key, so that a row under a wrong key is noticed."""
    return hashlib.sha256(f"{key}\n{body}".encode()).hexdigest()


_HEAD = len('{"sha256":"') + 64 + len('",')


def dump_entries(completions: Mapping[str, Completion], run: int) -> dict[str, str]:
    """The texts of entries by key; `run` is the number of the last refresh."""
    return {key: _dump_entry(key, completion, run) for key, completion in completions.items()}


def _dump_entry(key: str, completion: Completion, run: int) -> str:
    """An entry's text: a JSON object that begins with the checksum of the rest of it."""
    head = f'{{"schema":{ENTRY_SCHEMA},"stored":{time.time()!r},"run":{run},'
    body = head + _dump_completion(completion)[1:]
    return f'{{"sha256":"{_checksum(key, body)}",{body[1:]}'


def _dump_completion(completion: Completion) -> str:
    """A completion as a JSON object.

    msgspec takes a tenth of the time, but writes neither infinite numbers, which only log-probabilities can
    be, nor half a surrogate pair.
    """
    if not completion.logprobs:
        with contextlib.suppress(UnicodeEncodeError):
            return _encode_struct(completion).decode()
    return canonical(msgspec.to_builtins(completion))


def load_entry(key: str, text: str, since: int) -> Completion | None:
    """Read an entry, or None if it was stored before the refresh with the number `since`.

    The checksum covers the text as it is stored, and is compared before the text is parsed.
    """
    body = "{" + text[_HEAD:]
    if text[:_HEAD] != f'{{"sha256":"{_checksum(key, body)}",':
        raise ValueError("checksum differs")
    if since and _ENTRY_DECODER.decode(body).get("run", 0) < since:  # older entries have no number
        return None
    try:
        completion = _decode_struct(body)
    except ValueError:  # an infinite number, or half a surrogate pair; see `_dump_completion`
        completion = msgspec.convert(_ENTRY_DECODER.decode(body), Completion)
    return replace(completion, cached=True)


# ---------------------------------------------------------------- refusals and replies without text

_FAILURES: Mapping[str, type[BackendError]] = {kind.kind: kind for kind in NO_ANSWER_ERRORS}


def dump_failure(key: str, error: BackendError, run: int) -> str:
    """The text of an entry for a refusal or a reply without text: what it used, and the error that it was."""
    is_refusal = error.reply is None
    words = {"kind": error.kind, "message": error.message, "hint": error.hint, "is_refusal": is_refusal}
    return _dump_entry(key, replace(error.reply or Completion(text=""), text=canonical(words)), run)


def load_failure(key: str, text: str, since: int) -> BackendError | None:
    """The error of `dump_failure`, as nobody pays for it any more; None like `load_entry`."""
    reply = load_entry(key, text, since)
    if reply is None:
        return None
    words = json.loads(reply.text)
    hint = words["hint"] or "--refresh asks again"
    error = _FAILURES[words["kind"]](words["message"], hint=hint)
    error.attempts = 0
    if not words.get("is_refusal"):  # older entries are replies
        error.reply = replace(reply, text="")
    return error
